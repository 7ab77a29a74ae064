"""A call interrupted at each of its awaits in turn.

A coroutine that waits hands something to the loop: that is a suspension. A
wrapper around `__await__` counts them. The call runs once to be counted, then
once for each suspension, and is interrupted exactly there: by an anyio scope,
by `task.cancel()`, or by an exception that no policy may handle. After that
the same function is called again, because a call that was interrupted must
not leave anything that the next one stumbles over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio

from resilient._kinds import is_stream
from resilient._runtime.clock import now, runtime
from resilient.testing import _tasks
from resilient.testing._anatomy import anatomy_of
from resilient.testing._check import Finding, findings_of
from resilient.testing._details import Details
from resilient.testing._given import function, is_class_of, shown_or_class
from resilient.testing._invariants import LOCAL
from resilient.testing._invariants.cancelling import nothing_called_afterwards
from resilient.testing._leftovers import leftovers
from resilient.testing._record import Cancelled, Log, Raised, Result, Returned
from resilient.testing._run import CallerRun, Run
from resilient.testing._virtual import Backend, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator

    from resilient.testing._record import TargetCall

    Guarded = Callable[[], Coroutine[Any, Any, Any]]

Delivery = Literal["scope", "task"] | type[BaseException]


_ALWAYS = [
    one
    for one in LOCAL
    # What came out and what is left behind is judged here, for errors as well.
    if one.__name__
    not in {"cancellation_honoured", "nothing_left_running", "scope_clean_afterwards"}
    if not one.__name__.startswith("nothing_")
]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A call that was interrupted at suspension `at` of `of`, and the call `after` it."""

    at: int
    of: int
    run: Run
    after: Result
    delivery: Delivery

    def check(self) -> Self:
        """Assert what must hold wherever a call is interrupted.

        The interruption came out as it was (or what the target had come to
        before: a value, or behind a shield an error), nothing was called after
        it, nothing is left, `task.cancelling()` is balanced, and the next call
        returned.
        """
        wrong = [str(one) for one in broken_by(self)]
        if wrong:
            where = f"{self.run.backend}, {self.delivery}, suspension {self.at} of {self.of}: "
            raise AssertionError(where + "; ".join(wrong) + f"\n{self.run}")
        return self

    def _surfaced(self) -> bool:
        result = self.run.result
        late = isinstance(result, Returned) or not self.run.details.delivered
        if late and self._had_ended():
            return True
        if isinstance(self.delivery, str):
            return isinstance(result, Cancelled)
        return isinstance(result, Raised) and type(result.error) is self.delivery

    def _had_ended(self) -> bool:
        origin = self.run.origin
        if origin is None or self.run.cancelled_order is None:
            return False
        ended = self.run.calls[origin - 1].ended_order
        return ended is not None and ended < self.run.cancelled_order


def broken_by(one: Interrupted) -> Iterator[Finding]:
    """Go through what does not hold of a call that was interrupted."""
    yield from findings_of(_as_ordered(one.run), [nothing_called_afterwards])
    yield from findings_of(one.run, _ALWAYS)
    for left in one.run.leftovers:
        yield Finding("nothing_left_running", "nothing left behind", f"left behind: {left}")
    if not one._surfaced():  # noqa: SLF001 - a function of this module's own
        happened = f"the interruption did not surface: {one.run.result!r}"
        yield Finding("cancellation_honoured", "the interruption comes out as it is", happened)
    if not isinstance(one.after, Returned):
        happened = f"the next call did not return: {one.after!r}"
        yield Finding("next_call_works", "the call after it returns", happened)


def _as_ordered(run: Run) -> Run:
    """Return a run in which a call that was under way has begun before the interruption."""
    early = run.details.under_way
    calls = [replace(call, order=0) if call.number in early else call for call in run.calls]
    return replace(run, calls=tuple(calls))


def cancel_at_every_await(
    make: Callable[[Log], Guarded],
    *,
    backend: Backend,
    delivery: Delivery = "scope",
    after: Callable[[Guarded], Awaitable[Any]] | None = None,
    seed: int = 0,
) -> Iterator[Interrupted]:
    """Interrupt a call at each of its suspensions in turn, and yield what came of each.

    `make` gets a log and returns the function to call, fresh for each run:
    `lambda log: stack(retry(), listeners=[log])(log.scripted("x ."))`.
    `delivery` is `"scope"` (anyio), `"task"` (`task.cancel()`, asyncio only)
    or a class of exception to raise at that await, such as
    `KeyboardInterrupt`; no task group survives one in an await of its own, so
    that is for code that has none. `after` gets the same function when the
    interrupted call is over; by default it is called once more.

    What is no async function is a `TypeError`, and one that never suspends a
    `ValueError`.

    >>> from resilient import retry
    >>> def make(log: Log) -> Guarded:
    ...     return retry(log.scripted("x1 .1"))
    >>> [found.check().at for found in cancel_at_every_await(make, backend="asyncio")]
    [1, 2, 3]
    """
    function(make, "cancel_at_every_await", "a function that makes the one to call")
    _check_delivery(delivery, backend)
    again = _call
    if after is not None:
        again = function(after, "cancel_at_every_await(after=)", "an async function of that one")

    def interrupted(at: int) -> tuple[int, Run, Result]:
        run = partial(_scenario, make, backend, delivery, again, at)
        return virtual_time(run, backend=backend, seed=seed)

    of, uninterrupted, _ = interrupted(0)
    if not of:
        raise ValueError(
            "the call never suspends: there is no await to interrupt"
        ) from uninterrupted.error
    for at in range(1, of + 1):
        _, run, next_one = interrupted(at)
        yield Interrupted(at, of, run, next_one, delivery)


def _check_delivery(delivery: object, backend: Backend) -> None:
    if not is_class_of(delivery, BaseException) and delivery not in ("scope", "task"):
        error = ValueError if isinstance(delivery, str) else TypeError
        accepted = "'scope', 'task' or a class of exception"
        raise error(f"delivery must be {accepted}, not {shown_or_class(delivery)}")
    if delivery == "task" and backend != "asyncio":
        raise ValueError("delivery='task' is task.cancel(): asyncio only")


def _made(make: Callable[[Log], Guarded], log: Log) -> Guarded:
    """Return the function to call, which gives a coroutine and no stream."""
    option, accepted = "cancel_at_every_await", "a function that returns an async function"
    guarded = function(make(log), option, accepted)
    if is_stream(guarded):
        raise TypeError(f"{option} takes {accepted}, not one that returns an async generator")
    return guarded


async def _scenario(
    make: Callable[[Log], Guarded],
    backend: Backend,
    delivery: Delivery,
    again: Callable[[Guarded], Awaitable[Any]],
    at: int,
) -> tuple[int, Run, Result]:
    log = _Log()
    guarded = _made(make, log)
    anatomy = anatomy_of(_function_of(guarded))
    call = _Interruptible(guarded, log, at, delivery)
    call.is_users = anatomy is None or any(one.around("middleware") for one in anatomy.everything)
    began = now()
    result = await call.outcome()
    ended = now()
    caller = CallerRun(
        number=0,
        started=began,
        ended=ended,
        result=result,
        cancelled_at=call.interrupted_at,
        cancelled_order=call.interrupted_order,
    )
    run = Run(
        backend=backend,
        way="called",
        calls=tuple(log.calls),
        events=tuple(log.events),
        result=result,
        elapsed=ended - began,
        leftovers=(*leftovers(), *call.unbalanced),
        cancelled_at=call.interrupted_at,
        cancelled_order=call.interrupted_order,
        callers=(caller,),
        details=Details(
            noted=tuple(log.noted),
            guarded=tuple(log.guarded),
            anatomy=anatomy,
            under_way=frozenset(log.under_way),
            delivered=call.delivered,
        ),
    )
    next_one = await _outcome_of(again(guarded)) if at else result
    return call.suspensions, run, next_one


def _function_of(guarded: Guarded) -> Any:  # noqa: ANN401
    return guarded.func if isinstance(guarded, partial) else guarded


async def _call(guarded: Guarded) -> object:
    return await guarded()


async def _outcome_of(call: Awaitable[Any]) -> Result:
    try:
        return Returned(await call)
    except anyio.get_cancelled_exc_class():
        return Cancelled()
    except BaseException as error:  # noqa: BLE001 - whatever leaves is the result
        return Raised(error)


@dataclass(slots=True, eq=False)
class _Log(Log):
    """Takes notes, and knows which calls no interruption could have kept from beginning.

    A task that was started before takes its first step, and may make a call in
    it. So may the user's code that is interrupted behind a shield, and hears of
    it at the await of that call.
    """

    unaware: set[_tasks.Task] = field(default_factory=set[_tasks.Task])
    under_way: list[int] = field(default_factory=list[int])

    def begun(self, *args: Any, **kwargs: Any) -> TargetCall:
        """Note a call that begins now."""
        call = Log.begun(self, *args, **kwargs)
        if _tasks.current() in self.unaware:
            self.unaware.discard(_tasks.current())
            self.under_way.append(call.number)
        return call


class _Interruptible:
    """One call, counted, and interrupted at suspension `at` (0: nowhere)."""

    def __init__(self, guarded: Guarded, log: _Log, at: int, delivery: Delivery) -> None:
        self._guarded = guarded
        self._log = log
        self._at = at
        self._delivery = delivery
        self._scope = anyio.CancelScope()
        self._task: asyncio.Task[Any] | None = None
        self.suspensions = 0
        self.interrupted_at: float | None = None
        self.interrupted_order: int | None = None
        self.delivered = False
        # Whether code of the user's runs around the calls: policies look before each attempt.
        self.is_users = False
        self.unbalanced: list[str] = []

    async def outcome(self) -> Result:
        """Make the call; return what came of it."""
        if runtime().backend == "trio":
            return await self._in_scope()
        # A task of its own: what is left of a cancellation is this call's doing.
        self._task = asyncio.get_running_loop().create_task(self._in_scope())
        await asyncio.wait([self._task])
        asked = self._delivery == "task" and self.interrupted_order is not None
        if self._task.cancelling() != asked:
            self.unbalanced.append(
                f"task.cancelling() is {self._task.cancelling()}, not {int(asked)}"
            )
        return Cancelled() if self._task.cancelled() else self._task.result()

    async def _in_scope(self) -> Result:
        result: Result = Cancelled()
        with self._scope:
            try:
                result = Returned(await self)
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - whatever leaves is the result
                result = Raised(error)
        return result

    def __await__(self) -> Generator[Any, Any, Any]:
        """Drive the call as the loop would, and count what it hands to the loop."""
        inner = self._guarded().__await__()
        resume: Callable[[], Any] = partial(inner.send, None)
        while True:
            try:
                trap = resume()
            except StopIteration as done:
                return done.value
            self.suspensions += 1
            error: BaseException | None = None
            answer: Any = None
            here = self.suspensions == self._at
            if here:
                self._interrupt()
            unshielded = self._delivery != "scope" or anyio.current_effective_deadline() == -inf
            try:
                answer = yield trap
            except BaseException as exc:  # noqa: BLE001 - goes where the loop has sent it
                error = exc
            if here and not isinstance(self._delivery, str):
                error = self._instead()
            # So does asyncio interrupt; of trio the answer has the error.
            if unshielded and (error or getattr(answer, "error", None)):
                self._hear()
            resume = partial(inner.send, answer) if error is None else partial(inner.throw, error)
            del error

    def _interrupt(self) -> None:
        self.interrupted_at = now()
        self.interrupted_order = self._log.next()
        self._log.unaware.update(filter(_tasks.is_new, _tasks.alive()))
        if self.is_users:
            self._log.unaware.add(_tasks.current())
        # An exception travels as a cancellation until it is there, so that
        # what is waited for is abandoned as the loop wants it to be.
        if self._task is not None and self._delivery != "scope":
            self._task.cancel()
        else:
            self._scope.cancel()

    def _hear(self) -> None:
        """Note that an await was interrupted, unless that was for a reason of its own."""
        if self.interrupted_order is not None:
            self.delivered = True
            self._log.unaware.discard(_tasks.current())

    def _instead(self) -> BaseException:
        assert not isinstance(self._delivery, str)
        if self._task is not None:
            self._task.uncancel()
        return self._delivery()
