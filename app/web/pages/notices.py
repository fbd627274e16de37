"""The acts on notices of the overview."""

from __future__ import annotations

from functools import partial

from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import DatabaseUnavailable
from haulier.queue.health.acknowledgements import acknowledge, show_again

from ...http.auth import caller
from ..attention.notice import Notice
from ..attention.notices import unread
from ..kit.flash import Undo, done
from ..kit.reading import read
from ..kit.return_to import asked
from ..kit.section import Section
from .overview import current_notices

section = Section("notices", __name__, within="overview")


@section.act("/notices/<mark>/acknowledge", Scope.OPERATE, slow=True)
def fold(mark: str) -> Response:
    """Fold a notice away until it gets worse."""
    notice = _with(mark)
    if notice is None:
        return done("Not acknowledged: the notice has changed meanwhile.", asked())
    act = partial(acknowledge, queues=caller().queues, actor=caller().id)
    read(lambda conn: act(conn, notice.rule, notice.things, notice.what))
    undo = Undo("Undo", "notices.unfold", {"mark": mark})
    return done("Acknowledged until it gets worse, for a day at most.", asked(), undo)


@section.act("/notices/<mark>/show", Scope.OPERATE, slow=True)
def unfold(mark: str) -> Response:
    """Show an acknowledged notice again."""
    notice = _with(mark)
    if notice is not None:
        act = partial(show_again, queues=caller().queues, actor=caller().id)
        read(lambda conn: act(conn, notice.rule, notice.things, notice.what))
    return done("The notice is shown again." if notice else "The notice has changed meanwhile.", asked())


def _with(mark: str) -> Notice | None:
    """Return the viewer's notice with this mark; None if there is no such notice any more.

    So nobody acknowledges what they have not seen, or may not see.

    Raises: DatabaseUnavailable if some notices are unknown.
    """
    notices = current_notices()
    found = next((notice for notice in notices if notice.mark == mark), None)
    if found is None and any(notice.rule == unread.__name__ for notice in notices):
        raise DatabaseUnavailable("Some checks could not be loaded, so the notice is unknown. Try again.")
    return found
