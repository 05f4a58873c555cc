"""Tasks that run beside something and end with it, or end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar

import structlog

from headrace.errors import BrokerError, HeadraceError

log = structlog.get_logger("produce")

_P = ParamSpec("_P")
_T = TypeVar("_T")


@asynccontextmanager
async def beside(parts: Iterable[Coroutine[None, None, None]]) -> AsyncIterator[None]:
    """Run these beside the body; the first error of any of them, or of the body, ends them all."""
    with _first_error():
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(_to_its_end(part)) for part in parts]
            yield
            for helper in helpers:
                helper.cancel()


async def all_of(parts: Iterable[Coroutine[None, None, None]]) -> None:
    """Run these at the same time until all have ended; the first error ends the others."""
    with _first_error():
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part)


async def _to_its_end(part: Coroutine[None, None, None]) -> None:
    """A task group takes a cancelled task for one that was meant to end: it would miss for ever."""
    try:
        await part
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerError(
            "the Kafka client cancelled a task that is not its own",
            remedy="run again: it goes on where it was",
        ) from None


@contextmanager
def _first_error() -> Iterator[None]:
    """Out of a task group comes the one error that ended it, not a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Await all of this, also where whoever awaits it is cancelled: he ends with it, not before.

    For what a thread writes down and somebody has to be told of afterwards: nobody else would be.
    What the one who is cancelled holds (a lock, an open ledger) is held as long. So it has to be
    something that ends by itself, and soon. What it raises then, nobody hears: it is logged.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:  # perhaps more than once
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        _tell(failure)
    raise cancelled


def _tell(failure: BaseException) -> None:
    """A traceback only for what is no ordinary failure, such as a full disk."""
    if isinstance(failure, HeadraceError):
        log.error("ended_with_an_error", reason=failure.message, remedy=failure.remedy)
    else:
        log.error("ended_with_an_error", exc_info=failure)


async def thread_to_its_end(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run it in a thread; when this ends, cancelled too, nothing of it goes on."""
    return await to_its_end(asyncio.to_thread(function, *args, **kwargs))
