"""Whether a request comes from a program on this machine, as far as its headers show."""

from __future__ import annotations

import re
from collections.abc import Collection

LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)

# A sender of one of these headers forwards a request of somebody else, who may be anywhere. Listed is how the headers
# of proxies, routers, content networks, meshes and tunnels begin, since each product has a dozen and adds more.
_PROXIES = """
Forwarded Via Proxy- Surrogate- Early-Data X-Forward X-Original- X-Rewrite- X-Real- X-Client-IP X-Client-Cert
X-Cluster-Client- X-Remote- X-Proxy X-Via X-Host X-Scheme X-Url-Scheme X-Request-Start X-Https X-SSL- SSL-Client-
Front-End-Https Client- True-Client- WL-Proxy- X-Bluecoat-
"""
_CONTENT_NETWORKS = """
CF- CDN- Cloudfront- Fastly- Akamai- Incap- Ali- X-Akamai- X-Amz-Cf- X-CDN X-Edge- X-Fastly- X-Sucuri- X-Varnish
"""
_PLATFORMS = """
Fly- Rndr- Disguised-Host WAS-Default- X-Amzn- X-Appengine- X-ARR- X-Azure- X-Cloud-Trace- X-FD- X-Goog- X-Heroku- X-MS-
X-NF- X-Railway- X-Render- X-Site-Deployment- X-Vercel-
"""
_GATEWAYS = """
L5d- Ngrok- Tailscale- X-Consumer- X-Envoy- X-Istio- X-Kong- X-Ngrok- X-Tailscale- X-Traefik-
"""
PROXY_PREFIXES = tuple(f"{_PROXIES}{_CONTENT_NETWORKS}{_PLATFORMS}{_GATEWAYS}".split())
_ADDED = re.compile("|".join(map(re.escape, PROXY_PREFIXES)), re.IGNORECASE)


def is_local_host(host: str, own: Collection[str]) -> bool:
    """Return whether a header Host names this machine, by a name that every machine has or by one of its `own`."""
    name = re.sub(r":[0-9]{1,5}$", "", host).lower()
    return LOCAL_HOST.fullmatch(host) is not None or name in {each.lower() for each in own}


def is_of_proxy(name: str) -> bool:
    """Return whether only a proxy sends a header of this name."""
    return _ADDED.match(name) is not None
