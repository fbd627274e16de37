"""For tests of what clients and operators do with jobs."""

from tests.queue.produce.crowd import crowd, many  # noqa: F401  # fixtures
from tests.queue.produce.operating import done_by, failed, preview, start  # noqa: F401  # fixtures
from tests.queue.produce.yard import locked, yard  # noqa: F401  # fixtures
from tests.queue.upkeep.conftest import archive  # noqa: F401  # fixture
