"""What the queue offers is what the product uses: what only tests call stands in the tests. It ..."""

from __future__ import annotations

from tests.architecture.reading import OURS, QUEUE, room_of
from tests.architecture.uses import Place, full_name, public_functions, users


def test_the_product_uses_every_public_function_of_the_queue():
    of_the_queue = [module for module, name in OURS.items() if room_of(name) in QUEUE]
    offered = [f"{module}.{name}" for module in of_the_queue for name in public_functions(module)]

    assert len(offered) > 150
    assert [name for name in offered if not users(name)] == []


def test_the_test_above_follows_a_name_through_every_way_to_import_it():
    claim, cancel = "haulier.queue.claims.claim", "haulier.queue.jobs.cancel"

    # `from haulier.queue import claims`, and `claims.settle_and_claim`.
    assert Place("haulier.worker.steps.settle_and_claim", "Calls") in users(f"{claim}.settle_and_claim")
    # A package has a function of the same name as its module.
    assert full_name("haulier.queue.jobs", "cancel") == f"{cancel}.cancel"
    # By a relative name.
    assert any(each.module == "app.web.pages.jobs.ticked" for each in users(f"{cancel}.cancel"))
    # Not for an import alone, and not for its own body.
    assert users(f"{claim}.nothing") == set()
