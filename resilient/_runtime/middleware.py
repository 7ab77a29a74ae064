"""The driver of `middleware`: a user's coroutine function around what is inside.

The middleware runs what is inside by `proceed()`, at most as often as it said
it would. What it raises is an error like any other. Three things are not left
to it, because the policies outside rely on them.

Rule 1: a cancellation can be delayed and not eaten. What `proceed()` left with
that is no `Exception`, and what interrupted the middleware in an await of its
own, is raised again at the end. The one exception is a cancellation that the
middleware itself has asked for, by a scope of its own: nobody outside asks for
it any more when that scope is left.

Rule 2: each attempt has one end. One that the middleware makes up for, by a
further `proceed()` or by an answer of its own, ends when that begins.

Rule 3: a result that is not returned is closed, as one that a retry discards.
"""

from __future__ import annotations

import asyncio
import sys
import types
from math import inf
from typing import TYPE_CHECKING, Any, cast

import anyio

from resilient._runtime.pause import check_cancelled, discard
from resilient._runtime.task_groups import take_back

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping

    from resilient._core.outcome import Disposition
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call

    Handler = Callable[..., Awaitable[Any]]


def middleware_layer(
    handler: Handler, inner: Layer, *, name: str, calls: int, expose_args: bool
) -> Layer:
    """Run `inner` by way of `handler`, which is known as `name`."""

    async def through(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        call.by_middleware = False
        proceed = Proceed(call, inner, args, kwargs, name=name, calls=calls)
        value: Any = None
        owed: BaseException | None = None
        try:
            try:
                if expose_args:
                    made = handler(call, proceed, *args, **kwargs)
                else:
                    made = handler(call, proceed)
                value = await _watched(made, proceed)
            except BaseException as error:
                owed = await proceed.raised(error)
                if owed is None:
                    raise
            else:
                owed = await proceed.returned(value)
            if owed is not None:
                # Outside of the handler: what the middleware raised is not its context.
                raise owed
            return value
        finally:
            proceed.forget()
            owed = value = None

    return through


@types.coroutine
def _watched(middleware: Awaitable[Any], proceed: Proceed) -> Generator[Any, Any, Any]:
    """Await the middleware, and let `proceed` see what its awaits are interrupted with."""
    steps = middleware.__await__()
    answer: Any = None
    error: BaseException | None = None
    while True:
        try:
            asked = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as done:
            return done.value
        finally:
            answer = error = None  # this frame is in the traceback of what they hold
        try:
            answer = yield asked
        except BaseException as thrown:  # so asyncio interrupts
            proceed.interrupted(thrown)
            error = thrown
        else:  # so does trio: what it answers with has the error
            proceed.interrupted(getattr(answer, "error", None))


class Proceed:
    """Runs everything inside a middleware; `await proceed()` gives its result.

    It belongs to one call: to the task of the middleware, while that runs.
    """

    __slots__ = (
        "_answered",
        "_args",
        "_call",
        "_calls",
        "_failed",
        "_inner",
        "_interrupt",
        "_kwargs",
        "_left",
        "_made",
        "_name",
        "_over",
        "_results",
        "_running",
        "_task",
        "_unasked",
    )

    def __init__(
        self,
        call: Call,
        inner: Layer,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        name: str,
        calls: int,
    ) -> None:
        self._call = call
        self._inner = inner
        self._args = args
        self._kwargs = kwargs
        self._name = name
        self._calls = calls
        self._task = _current_task(call)
        self._made = 0
        self._running = self._over = False
        # How often it gave a value that no policy inside has rejected.
        self._answered = 0
        self._results: list[Any] = []
        # What the last run failed with, or was left with otherwise.
        self._failed: Exception | None = None
        self._left: BaseException | None = None
        # Whether it was left with a cancellation that nobody had asked for.
        self._unasked = False
        # What came meanwhile to an await of the middleware's own.
        self._interrupt: BaseException | None = None

    async def __call__(self) -> Any:  # noqa: ANN401 - what the user's function returns
        """Run everything inside, and return what it returns."""
        self._admit()
        call = self._call
        if self._made or self._interrupt is not None:
            await self._check_cancelled()
        if self._made:
            self._make_up_for("retried")
            call.decide("success", "returned")  # one that went well, whatever becomes of it
        self._made += 1
        self._failed = self._left = None
        self._running = True
        before = 0 if call.task is None else call.task.cancelling()
        # What the middleware has awaited is not time of what is inside.
        call.resumed = call.runtime.clock()
        try:
            value = await self._inner(call, self._args, self._kwargs)
        except Exception as error:
            self._failed = error
            take_back(call.task, before, error)
            raise
        except BaseException as error:
            self._left = error
            # A scope of the middleware's own would have asked; trio has no other way.
            self._unasked = call.task is not None and call.task.cancelling() <= before
            raise
        finally:
            self._running = False
        self._answered += not call.unacceptable
        self._results.append(value)
        return value

    def __repr__(self) -> str:
        """Show the name of the middleware."""
        return f"<proceed() of {self._name}>"

    def interrupted(self, error: BaseException | None) -> None:
        """Note what came to an await; one inside of `proceed()` is seen where that is left."""
        if error is None or isinstance(error, Exception) or self._running:
            return
        if self._interrupt is None or self._is_cancellation(self._interrupt):
            self._interrupt = error

    async def returned(self, value: Any) -> BaseException | None:  # noqa: ANN401
        """End with `value`; return what has to surface in its place."""
        self._over = True
        if not self._is_the_last_result(value):
            self._make_up_for("fell_back")
        self._call.by_middleware |= not self._answered
        owed = self._owed()
        await self._discard_all_but(value, owed)
        if self._failed is not None and owed is None:
            # The failure may be a cancellation that the target has swallowed.
            await check_cancelled(self._call)
        return owed

    async def raised(self, error: BaseException) -> BaseException | None:
        """End with `error`; return what has to surface in its place."""
        self._over = True
        owed = self._owed()
        if not isinstance(error, Exception) and (owed is None or self._is_cancellation(owed)):
            # Whatever it is, it ends the call and nothing is eaten. (An interrupt
            # would be, if a cancellation that follows it took its place.)
            owed = error
        await self._discard_all_but(None, owed)
        return None if owed is error else owed

    def forget(self) -> None:
        """Let go of everything: the middleware may keep us, and its frame keeps us as well.

        An error in our slots would be a cycle by its own traceback, and so would
        the task that ends with one.
        """
        self._failed = self._left = self._interrupt = self._task = None
        self._results.clear()
        self._args, self._kwargs = (), dict[str, Any]()

    def _admit(self) -> None:
        """Refuse a use that can only be a mistake."""
        if self._over:
            raise RuntimeError(f"proceed() of {self._name} was called after that had ended")
        if _current_task(self._call) is not self._task:
            raise RuntimeError(
                f"proceed() of {self._name} was called in another task, and a call belongs to one:"
                " await it in the middleware itself"
            )
        if self._running:
            raise RuntimeError(f"proceed() of {self._name} was called while it was running")
        if self._made == self._calls:
            times = "once" if self._calls == 1 else f"{self._calls} times"
            raise RuntimeError(
                f"{self._name} may call proceed() {times}:"
                f" write @middleware(calls={self._calls + 1}) to allow one more"
            )

    async def _check_cancelled(self) -> None:
        """Ask nobody any more once a cancellation was requested."""
        owed = self._owed()
        try:
            if owed is not None:
                raise owed
        finally:
            del owed  # its traceback has this frame
        await check_cancelled(self._call)

    def _make_up_for(self, instead: Disposition) -> None:
        """End the open attempt if it came to nothing good; `instead` is what follows it."""
        call = self._call
        if self._failed is not None:
            call.decide("failure", instead, self._failed)
        elif self._left is not None:
            call.decide("neutral", "cancelled", self._left)
        elif call.unacceptable:
            call.decide("failure", instead)

    def _is_the_last_result(self, value: Any) -> bool:  # noqa: ANN401
        """Tell whether the last run came to `value`."""
        if self._failed is not None or self._left is not None:
            return False
        return bool(self._results) and value is self._results[-1]

    async def _discard_all_but(self, kept: Any, owed: BaseException | None) -> None:  # noqa: ANN401
        if owed is not None and not self._is_cancellation(owed):
            return  # an interrupt waits for nothing, and a coroutine that is closed may not
        seen: list[Any] = [kept]
        for result in self._results:
            if not any(result is other for other in seen):
                seen.append(result)
                await discard(result)

    def _owed(self) -> BaseException | None:
        """Return what the middleware had no right to keep."""
        if self._left is not None and (self._unasked or self._is_asked_for(self._left)):
            return self._left
        if self._interrupt is not None and self._is_asked_for(self._interrupt):
            return self._interrupt
        return None

    def _is_asked_for(self, error: BaseException) -> bool:
        """Tell whether `error` is more than a cancellation that the middleware has taken back."""
        task = self._call.task
        return (
            not self._is_cancellation(error)
            or (task is not None and task.cancelling() > self._call.cancelling)
            or anyio.current_effective_deadline() == -inf
        )

    def _is_cancellation(self, error: BaseException) -> bool:
        if self._call.task is not None:
            return isinstance(error, asyncio.CancelledError)
        return isinstance(error, _trio().Cancelled)


def _current_task(call: Call) -> object:
    return _trio().lowlevel.current_task() if call.task is None else asyncio.current_task()


def _trio() -> Any:  # noqa: ANN401 - trio may be absent
    return cast("Any", sys.modules["trio"])
