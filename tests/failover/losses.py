"""What other losses cost than that of the primary's machine, under the same load. For docs/high-availability.md.

Usage: python -m tests.failover.losses [postgres] [standby] [switchover] [etcd]
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from lab.descendants import descendants
from tests.failover.load import load, service
from tests.failover.machines import Cluster, Machine, cluster, end
from tests.worker.conftest import Ledger

MANY = 500
WITHOUT_ETCD_SECONDS = 40.0


def lose_postgres(machines: Cluster, primary: Machine) -> None:
    """Kill Postgres on the primary's machine, where Patroni starts it again."""
    primary.kill_postgres()


def lose_standby(machines: Cluster, primary: Machine) -> None:
    """Kill the machine of a standby."""
    next(machine for machine in machines.machines if machine is not primary).kill()


def switch_over(machines: Cluster, primary: Machine) -> None:
    """Have Patroni make a standby the primary, as for an upgrade."""
    password = machines.recipe.replaced["REST_PASSWORD"]
    url, order = f"http://{primary.address}:8008/switchover", {"leader": primary.name}
    requests.post(url, json=order, auth=("patroni", password), timeout=60).raise_for_status()


def lose_etcd(machines: Cluster, primary: Machine) -> None:
    """Kill etcd on both other machines for a while, so that the third cannot decide anything."""
    for machine in machines.machines:
        if machine is not primary:
            end(descendants(machine.processes[0].process.pid))
    threading.Event().wait(WITHOUT_ETCD_SECONDS)


LOSSES = {"postgres": lose_postgres, "standby": lose_standby, "switchover": switch_over, "etcd": lose_etcd}


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="haulier-ha-")))
        machines = stack.enter_context(cluster())
        server = stack.enter_context(service(machines.url, Ledger(folder / "ledger"), folder))
        book = stack.enter_context(load(server, pause=0.02))
        for name in sys.argv[1:] or LOSSES:
            primary = machines.primary()
            book.wait_for(MANY)
            began = time.monotonic()
            LOSSES[name](machines, primary)
            book.wait_for(MANY)
            print(f"{name}: no job acknowledged for {book.longest_wait(began):.2f} s", flush=True)
            for machine in machines.machines:
                machine.start()


if __name__ == "__main__":
    main()
