"""A stream that has given its first item, and what the policies around it still owe it.

Opening a stream, which is to call its function and await the first item, is an
awaitable like any other: retries, limits and fallbacks run over it as they do
over a call. What it gives is an `Opened`. From then on items pass through, and
a policy that has something to do later leaves it here: a limit puts itself
around the *source* of further items, and who wants to know how the stream
ended says so (`at_end`).
"""

from __future__ import annotations

import sys
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Protocol, cast

from resilient._runtime.attempt import NotAwaitableError
from resilient._runtime.pause import check_cancelled, discard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resilient._core.outcome import Verdict
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call
    from resilient._runtime.retry import Judge

    Told = Callable[[Verdict, Exception | None], None]


class Source(Protocol):
    """Where the items come from: an async generator, or what stands around one."""

    def __anext__(self) -> Awaitable[Any]:
        """Give the next item."""
        ...

    def asend(self, value: Any, /) -> Awaitable[Any]:  # noqa: ANN401
        """Send a value in and give the next item."""
        ...

    def athrow(self, error: BaseException, /) -> Awaitable[Any]:
        """Throw an error in and give the next item."""
        ...

    def aclose(self) -> Awaitable[Any]:
        """Close it."""
        ...


class Ends:
    """Those who want to know how a stream ended, whoever stands further inside first."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: list[Told | None] = []

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._told)

    def add(self, told: Told) -> None:
        """Tell one more, who stands outside of all others."""
        self._told.append(told)

    def settle(
        self, verdict: Verdict, error: Exception | None = None, *, first: int | None = None
    ) -> Exception | None:
        """Tell the `first` so many, or all, how it ended; nobody hears it twice.

        A user's predicate may fail the call with its own error. That is what
        those further outside hear then, and it is returned to be raised.
        """
        broken: Exception | None = None
        try:
            for place, told in enumerate(self._told[:first]):
                if told is None:
                    continue
                self._told[place] = None
                try:
                    told(verdict, error)
                except Exception as failed:
                    verdict, error = "failure", failed
                    broken = failed
        except BaseException:
            self.settle("neutral")
            raise
        return broken


class Opened:
    """A stream at its first item; `exhausted` if it ended without one."""

    __slots__ = ("ends", "exhausted", "first", "source")

    def __init__(self, source: Source, first: Any = None, *, exhausted: bool = False) -> None:  # noqa: ANN401
        self.source = source
        self.first = first
        self.exhausted = exhausted
        self.ends = Ends()

    def at_end(self, told: Told) -> None:
        """Call `told(verdict, error)` exactly once, when the stream is over.

        `"success"` is its normal end, `"failure"` comes with what the source
        raised, or with the `TimedOut` of a limit inside. Everything else is
        `"neutral"`: closed early, cancelled, an error that the consumer threw
        in, a limit outside.
        """
        self.ends.add(told)

    async def aclose(self) -> None:
        """Close a stream that nobody will see."""
        self.ends.settle("neutral")
        source, self.source = self.source, Nothing()
        await discard(source)


class FirstItem:
    """What judges results, asked about the first item; a stream without one has none to judge."""

    __slots__ = ("_judge",)

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def decide(self, opened: Opened, /) -> bool | float:
        """Return `False` (a good item), `True` (a failure), or the seconds to wait."""
        return False if opened.exhausted else self._judge.decide(opened.first)


class Nothing:
    """The source of no items."""

    __slots__ = ()

    async def __anext__(self) -> Any:  # noqa: ANN401
        """End."""
        raise StopAsyncIteration

    async def asend(self, _: Any, /) -> Any:  # noqa: ANN401
        """End."""
        raise StopAsyncIteration

    async def athrow(self, error: BaseException, /) -> Any:  # noqa: ANN401
        """Let it pass."""
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    async def aclose(self) -> None:
        """Do nothing."""


class Iterated:
    """An async iterator that is no generator, as a source.

    Nobody but us has it, so it is closed when it fails or is left, if it can be.
    """

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Any) -> None:  # noqa: ANN401
        self._iterator = iterator

    async def __anext__(self) -> Any:  # noqa: ANN401
        """Give the next item."""
        try:
            return await self._iterator.__anext__()
        except StopAsyncIteration:
            raise
        except BaseException:
            await discard(self._iterator)
            raise

    def asend(self, value: Any, /) -> Awaitable[Any]:  # noqa: ANN401
        """Give the next item, and the value to a generator that is merely not a native one."""
        asend = getattr(self._iterator, "asend", None)
        return self.__anext__() if asend is None else asend(value)

    async def athrow(self, error: BaseException, /) -> Any:  # noqa: ANN401
        """Throw into a generator that is merely not a native one; close anything else."""
        athrow = getattr(self._iterator, "athrow", None)
        try:
            if athrow is not None:
                return await athrow(error)
            await self.aclose()
            raise error
        finally:
            del error  # its traceback holds this frame

    async def aclose(self) -> None:
        """Close it, if it can be."""
        close = getattr(self._iterator, "aclose", None) or getattr(self._iterator, "close", None)
        closing: Any = close() if callable(close) else None
        if hasattr(closing, "__await__"):
            await closing


def ask(source: Source, sent: Any, thrown: BaseException | None) -> Awaitable[Any]:  # noqa: ANN401
    """Ask for the next item in the way in which the consumer did."""
    if thrown is not None:
        return source.athrow(thrown)
    return source.__anext__() if sent is None else source.asend(sent)


def opening_layer(fn: Callable[..., Any]) -> Layer:
    """Open the stream that `fn` gives for the caller's arguments, and count an attempt."""

    async def opened(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Opened:
        call.attempt += 1
        if not call.loud:
            return await _open(call, fn, args, kwargs)
        call.open_attempt()
        try:
            return await _open(call, fn, args, kwargs)
        finally:
            call.leave()

    return opened


async def _open(
    call: Call, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Opened:
    source = _source(fn, fn(*args, **kwargs))
    try:
        first = await _first(source)
    except StopAsyncIteration:
        # A source that takes a cancellation for its end has not come to its end.
        await check_cancelled(call)
        opened = Opened(Nothing(), exhausted=True)
    else:
        opened = Opened(source, first)
    call.opened = opened
    return opened


def _source(fn: Callable[..., Any], made: Any) -> Source:  # noqa: ANN401
    iterator: Any = made.__aiter__() if hasattr(made, "__aiter__") else made
    if _is_generator(iterator):
        return cast("Source", iterator)
    if hasattr(iterator, "__anext__"):
        return Iterated(iterator)
    if hasattr(made, "__await__") and callable(getattr(made, "close", None)):
        made.close()  # a coroutine that nobody will await
    name = getattr(fn, "__qualname__", type(fn).__qualname__)
    message = f"{name} returned {type(made).__qualname__}, which is no async iterator"
    raise NotAwaitableError(message)


def _is_generator(iterator: object) -> bool:
    return type(iterator) is AsyncGeneratorType


def _first(source: Source) -> Awaitable[Any]:
    """Ask for the first item of a generator whose life is ours to end.

    The hooks of the loop see the guarded generator, and that closes its source
    with it. Had they seen the source as well, the loop would close both at its
    end, or the garbage collector, at the same time and in any order.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, _leave_it)
    try:
        return source.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave_it(_: object) -> None:
    """Do nothing: a finalizer that is there keeps the interpreter from closing it at once."""
