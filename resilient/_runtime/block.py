"""The block form of `retry`, for code that cannot be a function of its own.

    async for attempt in retry(attempts=3):
        with attempt:
            ...

Each turn of the loop is a try, each `with` an attempt: leaving it well ends
the loop, leaving it with an error that is tried again swallows the error, and
the next turn begins after the wait. The body runs in the caller's own frame,
so nothing is called and nothing is returned.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn, Self

from resilient._core.retry import RetryRun, Wait
from resilient._runtime.call import Call, current
from resilient._runtime.entry import leave
from resilient._runtime.pause import pause
from resilient._runtime.plan import Plan
from resilient._runtime.retry import Retrying, deposit
from resilient.errors import Rejected

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

    from resilient._core.retry import RetryPolicy
    from resilient._runtime.budgets import RetryBudget


class Block:
    """An async iterator over the attempts of one block."""

    __slots__ = ("_attempt", "_call", "_last", "_plan", "_retrying", "_run", "_step")

    def __init__(self, policy: RetryPolicy, budget: RetryBudget | None) -> None:
        if policy.on_result is not None:
            message = "retry(on_result=) has no result to judge in a block; raise an error instead"
            raise TypeError(message)
        # The frame with the `async for`: two up, behind `__aiter__`.
        code = sys._getframe(2).f_code  # noqa: SLF001 - the block's only name
        name = f"{code.co_qualname} (block)"
        self._plan = Plan(
            name=name, function=name, policies=("retry",), targets=(name,), retries=True
        )
        self._retrying = Retrying(policy, budget)
        self._call: Call | None = None
        self._run: RetryRun | None = None
        self._step: Wait | None = None
        self._attempt: BlockAttempt | None = None
        # The last real error: a refusal does not take its place.
        self._last: Exception | None = None

    def __aiter__(self) -> Block:
        """Return itself: a block is iterated once."""
        return self

    async def __anext__(self) -> BlockAttempt:
        """Wait if the last attempt is to be followed by another, and begin it."""
        if self._call is None:
            self._call = Call(self._plan)
        elif self._attempt is not None and self._attempt.state == "new":
            message = "an attempt of a retry block was not used: write `with attempt:`"
            raise RuntimeError(message)
        elif self._step is None:
            raise StopAsyncIteration
        else:
            assert self._call is not None
            await self._pause(self._call, self._step)
        self._step = None
        self._attempt = BlockAttempt(self)
        return self._attempt

    async def _pause(self, call: Call, step: Wait) -> None:
        try:
            await pause(call, step.seconds)
        except BaseException as error:
            self._end(call, error)
            raise

    def enter(self) -> Token[Call | None]:
        """Begin an attempt."""
        call = self._call
        assert call is not None
        self._attempt = None  # it refers to us; only one that was not entered is of interest
        if not call.attempt:
            if self._retrying.budget is not None:
                deposit(call, self._retrying.budget)
            call.start()
        call.attempt += 1
        token = current.set(call)
        if call.loud:
            call.open_attempt()
        return token

    def exit(self, token: Token[Call | None], error: BaseException | None) -> bool:
        """End an attempt; tell whether the error is swallowed because another follows."""
        call = self._call
        assert call is not None
        leave(token)
        if call.loud:
            call.leave()
        if isinstance(error, Exception):
            return self._failed(call, error)
        if call.loud:
            call.retry_result = "first_try" if self._run is None else "recovered"
        self._end(call, error)
        return False

    def _failed(self, call: Call, error: Exception) -> bool:
        if self._run is None:
            self._run = RetryRun(self._retrying.policy, call.started)
        try:
            step = self._retrying.after_error(call, self._run, error)
        except Exception as failed:  # the user's predicate or backoff
            self._end(call, failed)
            raise
        if isinstance(step, Wait):
            self._step = step
            if not isinstance(error, Rejected):
                self._last = error
            return True
        last = self._last if isinstance(error, Rejected) else None
        why = None if last is None else f"then {error}"
        self._retrying.note(call, self._run, step, last or error, why)
        self._end(call, last or error)
        if last is not None:
            _raise(last)
        return False

    def _end(self, call: Call, error: BaseException | None) -> None:
        """End the call, and let go of what would be a cycle with the caller's frame."""
        self._last = None
        if call.loud or isinstance(error, Exception):
            call.end(error)
        call.task = None


def _raise(error: Exception) -> NoReturn:
    """Raise `error` as it is: what is being handled is not its context."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context


class BlockAttempt:
    """One attempt of a retry block; `with attempt:` runs it. `number` counts from 1."""

    __slots__ = ("_block", "_token", "number", "state")

    def __init__(self, block: Block) -> None:
        self._block = block
        self._token: Any = None
        self.state = "new"
        assert block._call is not None  # noqa: SLF001 - one idea in two classes
        self.number: int = block._call.attempt + 1  # noqa: SLF001

    def __enter__(self) -> Self:
        """Begin the attempt."""
        if self.state != "new":
            message = "an attempt of a retry block is used once: the next turn has its own"
            raise RuntimeError(message)
        self.state = "used"
        self._token = self._block.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """End the attempt; an error that is tried again goes no further."""
        return self._block.exit(self._token, error)
