"""A case, carried out in virtual time.

Stimuli of one instant are carried out in order, each when nothing more can
happen without it: a call that needs no time is over before the next begins.
So no figure of a case depends on how a loop orders what is ready.
"""

from __future__ import annotations

import asyncio
import warnings
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel

from resilient._core.backoff import backoff_of
from resilient._core.breaker import IllegalTransitionError
from resilient._core.outcome import Restarted
from resilient._kinds import is_stream
from resilient._runtime.clock import now, runtime
from resilient._runtime.listeners import process
from resilient.errors import CircuitOpen
from resilient.testing._leftovers import leftovers
from resilient.testing._record import Cancelled, Raised, Result, Returned
from resilient.testing._virtual import Backend, virtual_time
from resilient.testing.conformance._build import Parts, Way, backoff
from resilient.testing.conformance._record import Found, Made, caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from anyio.abc import TaskGroup

    from resilient.testing.conformance._data import Data
    from resilient.testing.conformance._load import Case
    from resilient.typing import BreakerHandle, BreakerPermit

Delivery = Literal["scope", "task"]
"""How a caller is cancelled: by an anyio scope, or (asyncio) by `task.cancel()`."""

_TURNS = 64
"""Turns of the loop after which nothing more happens at an instant."""


def carry_out(
    case: Case, backend: Backend, *, way: Way = "stack", listened: bool = True, delivery: Delivery
) -> Found:
    """Run a case once; return what came of it."""
    found = Found(listened=listened)
    with _listening(found if listened else None):
        virtual_time(_Drive(case, found, way, delivery).run, backend=backend)
    return found


@contextmanager
def _listening(listener: Found | None) -> Generator[None]:
    before = process.loud, process.quiet, process.watch
    process.loud = () if listener is None else (listener,)
    process.quiet, process.watch = (), None
    try:
        yield
    finally:
        process.loud, process.quiet, process.watch = before


class _Chance:
    """The random numbers of a case, the last for ever."""

    def __init__(self, numbers: list[float]) -> None:
        self._numbers = list(numbers)

    def random(self) -> float:
        return self._numbers.pop(0) if len(self._numbers) > 1 else self._numbers[0]

    def getrandbits(self, _: int) -> int:
        return 0  # the id of a call: no case looks at it


async def _consume(stream: Callable[[], Any], items: list[Any], take: int | None) -> None:
    """Take the items of a stream, and close it behind `take` of them."""
    async with aclosing(stream()) as source:
        while take is None or len(items) < take:
            try:
                item = await anext(source)
            except StopAsyncIteration:
                return
            items.append({"restarted": item.items} if isinstance(item, Restarted) else item)


class _Drive:
    """One run of one case."""

    _streams = False

    def __init__(self, case: Case, found: Found, way: Way, delivery: Delivery) -> None:
        self._case = case
        self._found = found
        self._way: Way = way
        self._delivery: Delivery = delivery
        self._calls: dict[str, tuple[int, Callable[[], object]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._permits: dict[str, BreakerPermit] = {}
        self._isolating: dict[tuple[str, object], list[Any]] = {}
        self._group: TaskGroup
        self._parts: Parts
        self._functions: dict[str, Callable[..., Awaitable[Any]]] = {}

    async def run(self) -> None:
        """Build what is given, do what is to be done, note what is left."""
        here = runtime()
        here.random = _Chance(self._case.given.get("rnd", [0]))  # type: ignore[assignment]  # all that is asked of one
        if not self._build():
            return
        async with anyio.create_task_group() as self._group:
            for stimulus in self._case.when:
                await self._until(stimulus.get("at", 0))
                await self._carry_out(stimulus)
            if self._tasks:
                await asyncio.wait(self._tasks)
        self._note_the_end()

    def _build(self) -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self._parts = Parts(self._case.given, self._found.target)
                if "backoff" in self._case.given:
                    self._waits = backoff_of(backoff(self._case.given["backoff"]))
                else:
                    self._functions = self._parts.guarded(self._way)
                    self._streams = any(map(is_stream, self._functions.values()))
            except (TypeError, ValueError) as error:
                self._found.refused = error.with_traceback(None)
                return False
            finally:
                self._found.warned = [str(one.message) for one in caught]
        return True

    async def _until(self, at: float) -> None:
        # By a deadline, not by a sleep: the instant is exact, whatever has passed.
        with anyio.CancelScope(deadline=at):
            if self._elapsed() < at:
                await anyio.sleep_forever()

    def _elapsed(self) -> float:
        return now() - self._stepped

    _stepped = 0.0
    """The seconds by which the Clock was stepped."""

    async def _carry_out(self, stimulus: Data) -> None:
        match stimulus:
            case {"call": name}:
                for place in range(stimulus.get("times", 1)):
                    if place and "every" in stimulus:
                        await self._until(stimulus["at"] + place * stimulus["every"])
                    await self._call(name, stimulus)
            case {"cancel": name}:
                number, cancel = self._calls[name]
                self._found.made[number].cancelled_order = self._found.next()
                cancel()
                await self._settle()
            case {"clock": seconds}:
                self._step_clock(seconds)
            case {"breaker": name}:
                self._by_hand(name, stimulus)
            case {"wait": retry}:
                wait = self._waits.wait(retry, stimulus["rnd"], stimulus.get("previous"))
                self._found.asked.append(wait)
            case _:
                self._with_tokens(stimulus)

    async def _call(self, name: str, stimulus: Data) -> None:
        of = stimulus.get("of", next(iter(self._functions)))
        number = len(self._found.made)
        made = Made(now())
        fn: Callable[[], Awaitable[Any]] = partial(self._functions[of], *stimulus.get("args", ()))
        if self._streams:
            made.items = []
            fn = partial(_consume, fn, made.items, stimulus.get("take"))
        self._found.made.append(made)
        if self._delivery == "task":
            task = asyncio.get_running_loop().create_task(self._in_task(number, fn, made))
            self._tasks.append(task)
            self._calls[name] = number, task.cancel
        else:
            scope = anyio.CancelScope()
            self._calls[name] = number, scope.cancel
            self._group.start_soon(self._in_scope, number, fn, made, scope)
        await self._settle(made)

    async def _in_scope(
        self,
        number: int,
        fn: Callable[[], Awaitable[Any]],
        made: Made,
        scope: anyio.CancelScope,
    ) -> None:
        result: Result = Cancelled()
        with scope:
            result = await self._outcome(number, fn)
        self._ended(made, result)

    async def _in_task(self, number: int, fn: Callable[[], Awaitable[Any]], made: Made) -> None:
        result: Result = Cancelled()
        task = asyncio.current_task()
        assert task is not None
        with suppress(asyncio.CancelledError):  # its own: that nothing hides it is what is asked
            result = await self._outcome(number, fn)
        if task.cancelling() != (made.cancelled_order is not None):
            self._found.left.append(f"task.cancelling() is {task.cancelling()}")
        self._ended(made, result)

    async def _outcome(self, number: int, fn: Callable[[], Awaitable[Any]]) -> Result:
        token = caller.set(number)
        try:
            return Returned(await fn())
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - whatever leaves is the result
            return Raised(error)
        finally:
            caller.reset(token)

    def _ended(self, made: Made, result: Result) -> None:
        made.ended, made.result = now(), result

    async def _settle(self, made: Made | None = None) -> None:
        for _ in range(_TURNS):
            if made is not None and made.result is not None:
                return
            await anyio.lowlevel.checkpoint()

    def _step_clock(self, seconds: float) -> None:
        here, before = runtime(), runtime().clock
        self._stepped += seconds
        here.clock = lambda: before() + seconds

    def _by_hand(self, name: str, stimulus: Data) -> None:
        handle: BreakerHandle = self._parts.breakers[name]
        if "key" in stimulus:
            handle = self._parts.breakers[name].for_key(stimulus["key"])
        holders = self._isolating.setdefault((name, stimulus.get("key")), [])
        try:
            match stimulus["do"]:
                case "look":
                    self._found.looks.append(handle.snapshot())
                case "isolate":
                    holders.append(handle.isolate())
                    holders[-1].__enter__()
                case "release":
                    holders.pop().__exit__(None, None, None)
                case by_hand:
                    getattr(handle, by_hand)()
        except (IllegalTransitionError, IndexError):
            self._found.illegal += 1

    def _with_tokens(self, stimulus: Data) -> None:
        times = stimulus.get("times", 1)
        match stimulus:
            case {"acquire": name, "as": permit}:
                try:
                    self._permits[permit] = self._parts.breakers[name].acquire()
                except CircuitOpen:
                    self._found.granted.append(0)
                else:
                    self._found.granted.append(1)
            case {"settle": name, "with": how}:
                self._settle_permit(name, how)
            case {"deposit": name}:
                for _ in range(times):
                    self._parts.budgets[name].deposit(now())
            case {"withdraw": name}:
                budget = self._parts.budgets[name]
                self._found.granted.append(sum(budget.withdraw(now()) for _ in range(times)))
            case _:
                raise NotImplementedError(stimulus)

    def _settle_permit(self, name: str, how: str) -> None:
        permit = self._permits.get(name)
        if permit is None:  # it was refused
            self._found.illegal += 1
            return
        try:
            settle = {"success": permit.succeed, "failure": permit.fail, "neutral": permit.release}
            settle[how]()
        except IllegalTransitionError:
            self._found.illegal += 1

    def _note_the_end(self) -> None:
        found = self._found
        found.left += leftovers()
        for name, breaker in self._parts.breakers.items():
            found.states[name] = breaker.snapshot().state
        for name, budget in self._parts.budgets.items():
            found.tokens[name] = budget.available
        found.over = True
        for holders in self._isolating.values():
            for holder in holders:
                holder.__exit__(None, None, None)
