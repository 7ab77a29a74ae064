"""`Items`: the stream that a manager gives, and how it came about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from resilient._runtime.stream import stream_entry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from types import TracebackType
    from typing import Self

    from resilient._core.outcome import Outcome
    from resilient._runtime.attempt import Layer
    from resilient._runtime.plan import Plan

T_co = TypeVar("T_co", covariant=True)


class Items(Generic[T_co]):
    """The items of a stream: what `FallbackManager.stream` gives; iterate once, `async for`.

    The first target is asked when the first item is. Leaving the block closes
    the stream. `outcome` tells afterwards how it came about.
    """

    __slots__ = ("_known", "_stream")

    def __init__(
        self, plan: Plan, run: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        # The stream tells a list and not us, of whom it is a part.
        self._known: list[Outcome[None]] = []
        self._stream = stream_entry(plan, run, self._known.append)(*args, **kwargs)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream, if it has not ended."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        """Return itself: a stream is iterated once."""
        return self

    def __anext__(self) -> Awaitable[T_co]:
        """Give the next item."""
        return self._stream.__anext__()

    @property
    def outcome(self) -> Outcome[None]:
        """How the stream came about, once it is over: ended, or closed before its end.

        Its `value` is `None`: the items were given one by one. While the
        stream can still give items, and where it has failed, it is a
        `RuntimeError` to ask.
        """
        if not self._known:
            raise RuntimeError(
                "the outcome of a stream is known when it is over and has not failed"
            )
        return self._known[0]
