"""Sends one request over and over on several connections: by wrk if installed, else by processes of this module."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing

from lab.waiting import ROOT, environment

SENDERS = 2


OURS = "lab/bench/load.py"


def tool() -> str:
    """Return the program that sends the requests; every row of a run uses the same one, and records it."""
    return "wrk" if shutil.which("wrk") else OURS


def post(
    port: int, path: str, body: str, *, connections: int, seconds: float, sender: str | None = None
) -> dict[str, float]:
    """Return how many requests a second succeeded, and the median and 99th percentile of the answers' times.

    Raises: RuntimeError when an answer was not a success.
    """
    if (sender or tool()) == "wrk":
        return _wrk(port, path, body, connections, seconds)
    command = [sys.executable, "-m", "lab.bench.load", str(port), path, body, str(connections // SENDERS), str(seconds)]
    senders = [
        subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(SENDERS)
    ]
    said = [json.loads(sender.communicate()[0]) for sender in senders]
    if any(each["failed"] for each in said):
        raise RuntimeError("an answer was not a success")
    times = sorted(took for each in said for took in each["milliseconds"])
    return {
        "per_second": len(times) / seconds,
        "p50_ms": times[len(times) // 2],
        "p99_ms": times[len(times) * 99 // 100],
    }


def _wrk(port: int, path: str, body: str, connections: int, seconds: float) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        headers = 'wrk.headers["Content-Type"] = "application/json"'
        script.write(f'wrk.method = "POST"\nwrk.body = [==[{body}]==]\n{headers}\n')
        script.flush()
        # It takes whole seconds only.
        lasting = max(1, round(seconds))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{lasting}s", "--latency", "-s", script.name]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True, env=environment()
        )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"wrk: {done.stdout[-300:]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    percent = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+\w+)", done.stdout, re.MULTILINE))
    return {
        "per_second": float(rate[1]) if rate else 0.0,
        "p50_ms": _milliseconds(percent["50"]),
        "p99_ms": _milliseconds(percent["99"]),
    }


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if found is None:
        raise RuntimeError(f"wrk has another form: {text}")
    number, unit = found.groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]


def _send(port: int, request: bytes, until: float, milliseconds: list[float], failed: list[bytes]) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as conn:
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (began := time.monotonic()) < until:
            conn.sendall(request)
            if not (answer := _answer(conn)).startswith(b"HTTP/1.1 2"):
                failed.append(answer[:80])
                return
            milliseconds.append(1000 * (time.monotonic() - began))


def _answer(conn: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer and (read := conn.recv(65536)):
        answer += read
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    missing = int(length[1]) - len(body) if length else 0
    while missing > 0 and (read := conn.recv(65536)):
        missing -= len(read)
    return head


def _main(port: int, path: str, body: str, connections: int, seconds: float) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request = f"{head}\r\n\r\n{body}".encode()
    milliseconds: list[float] = []
    failed: list[bytes] = []
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_send, args=(port, request, until, milliseconds, failed)) for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"milliseconds": milliseconds, "failed": len(failed)}))


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
