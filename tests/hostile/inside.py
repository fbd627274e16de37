"""Addresses and paths that lead inside, and the jobs with them: taken by the API, failed for good by a worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Hosts with `{ear}`, the port of a listener that must hear nothing: five letters for five digits, so that lengths hold.
# Then those of clouds and networks.
HOSTS = ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0"]
HOSTS += ["017700000001", "0177.0.0.1", "0x7f000001", "0x7f.1", "0X7F.0.0.1", "127.0.0.0x1", "%31%32%37.0.0.1"]
HOSTS += ["127.0.0.1%2e", "０x7f.1", "①②⑦.0.0.1", "127。0。0。1", "user@127.0.0.1", "example.com@127.0.0.1", "0.0.0.0"]
HOSTS += ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"]
HOSTS += ["[fe80::1%25lo]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001::80ff:fffe]"]
HOSTS += ["127.0.0.1:{ear}@127.0.0.1", "a:b@localhost", "localhost%00.example.com", "loca\u00adlhost", "ⓛocalhost"]
CLOUDS = ["169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "[fd00:ec2::254]"]
CLOUDS += ["[fd20:ce::254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "2852039166"]
CLOUDS += ["0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.254.169.254.", "10.0.0.1", "172.16.0.1"]
CLOUDS += ["192.168.0.1", "100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "[fc00::1]", "[ff02::1]"]
PLACES = [f"http://{host}:{{ear}}/" for host in HOSTS] + [f"http://{host}/latest/meta-data/" for host in CLOUDS]
PLACES += [
    *("http://[::1", "http://a]/", "http://[]/", "http://a..b/", "http://" + "a" * 64 + ".com/", "http://a:99999/"),
    "http://a:b/",
]
PORTS = [f"http://127.0.0.1:{port}/" for port in (22, 25, 5432, 6379, 65535)]
FILES = [
    *("/etc/passwd", "///etc/passwd", "//localhost/etc/passwd", "/proc/self/environ", "../secret.png"),
    "a/../../x.png",
]
FILES += ["%2e%2e/secret.png", "..%2fsecret.png", "/dev/zero", "//evil.example/x.png", "~/x", "%00", "link.png", "."]
# Images that are small to send and large to hold, or none.
IMAGES = ["data:,x", "data:image/png;base64,!!!", "data:image/svg+xml,<svg/>", "data:,%25PDF-1.4", "data:,%25!PS-Adobe"]


def poisoned() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, request for a job) of each job that is taken and must fail for good when it runs."""
    for url in [*PLACES, *PORTS]:
        yield f"webhook to {url}", {"kind": "webhook_delivery", "payload": {"url": url, "body": {"a": 1}}}
        yield f"image from {url}", {"kind": "resize_image", "payload": {"source": url}}
    for url in PLACES[::4]:
        source = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="
        yield f"image to {url}", {"kind": "resize_image", "payload": {"source": source, "target": url}}
    for source in [*(f"file:{path}" for path in FILES), *IMAGES]:
        yield f"image from {source}", {"kind": "resize_image", "payload": {"source": source.replace("<", "%3C")}}
