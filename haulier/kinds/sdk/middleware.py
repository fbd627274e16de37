"""Middleware: context managers that wrap each run of a handler, on its thread and within its timeout."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack

from haulier.kinds.sdk.context import JobContext

Middleware = Callable[[JobContext], AbstractContextManager[object]]
"""A function that returns the context manager of one run, such as one made by `contextlib.contextmanager`."""


def around(middleware: Iterable[Middleware], context: JobContext) -> ExitStack[None]:
    """Enter the middleware of a run, outermost first, and return what leaves it at the end of a `with` block.

    Raises: What a middleware raises, after those outside of it have been left.
    """
    stack: ExitStack[None] = ExitStack()
    with stack:
        for each in middleware:
            stack.enter_context(_Propagating(each(context)))
        return stack.pop_all()


class _Propagating(AbstractContextManager[None, None]):
    """A context manager that cannot swallow the handler's exception: a job that failed must not look done."""

    def __init__(self, wrapped: AbstractContextManager[object]) -> None:
        if not isinstance(wrapped, AbstractContextManager):
            raise TypeError(f"a middleware must return a context manager, but returned {type(wrapped).__name__}")
        self._wrapped = wrapped

    def __enter__(self) -> None:
        self._wrapped.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._wrapped.__exit__(*raised)  # type: ignore[arg-type]
