"""For tests of a team's own kinds: `perform` runs a handler alone, `running_worker` runs jobs as they are run."""

from haulier.testing.asked import PayloadRefused, UnknownKind
from haulier.testing.perform import NeverEnds, Performed, perform

__all__ = ["NeverEnds", "PayloadRefused", "Performed", "UnknownKind", "perform"]
