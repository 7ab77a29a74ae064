"""`check_backend`: what a chain expects of a backend, asked of somebody's own.

The backend is built around a service that does what it is told, and called in
virtual time on asyncio and trio: on a good day, for each failure that it
should know, cancelled and interrupted while it waits, many times at once, and
in a second loop.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio

from resilient._core.fallback import REQUEST
from resilient._core.faults import Fault, fault_of
from resilient._core.names import class_name
from resilient._core.options import shown
from resilient._kinds import is_stream
from resilient._runtime.clock import now
from resilient._target import Target
from resilient.testing._backend import FaultyBackend
from resilient.testing._given import function, named, several
from resilient.testing._leftovers import leftovers
from resilient.testing._record import Cancelled, Raised, Result, Returned
from resilient.testing._schedule import FailureSchedule
from resilient.testing._steps import FRESH, Bad, Fail, Hang, Interruption, Ok, is_step
from resilient.testing._virtual import Backend, virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from resilient.testing._steps import Step

    Made = Target[Any] | Callable[..., Any]

_PRIVATE = "private-4711"
_MANY = 10
_BACKENDS: tuple[Backend, ...] = ("asyncio", "trio")


def check_backend(
    factory: Callable[[FaultyBackend], Made],
    /,
    *,
    answer: Any = FRESH,  # noqa: ANN401 - what the service answers is anything
    failures: Sequence[Step] = (Fail(ConnectionError), Fail(TimeoutError)),
    args: Sequence[Any] = (_PRIVATE,),
    kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Check that a backend of your own does what a chain of targets expects of one.

    `factory(service)` builds it: an async function (or async generator
    function), or a `Target` that has one. `service` is an async function that
    stands for what the backend asks: put it in the place of the network.
    On a good day it answers `answer`; `failures` are steps that say how it
    fails: `Fail(error)` raises, `Bad(value)` answers with what the backend has
    to take for a failure, such as a response of status 429. `args` and
    `kwargs` go to the backend; texts in them must not come back in errors.

    Raises one `AssertionError` with a line for each of these that does not hold,
    and where: a call is one request; a failure is an exception, fresh each
    time, of which it is known what follows (`retryable` and its kin, the
    target's `classify`, or the table `transient`) and which condemns no
    scope that the target has not declared; nothing of the arguments is in
    its text; a cancellation comes out at once, an interruption as it is, and
    the next call works; calls at the same time do not meet; it works in more
    than one event loop; nothing is left running or open.

    >>> class Busy(Exception):
    ...     retryable, scope, health = True, "host", "failure"
    >>> def build(service):
    ...     async def search(question):
    ...         status, body = await service(question)
    ...         if status == 503:
    ...             raise Busy
    ...         return body
    ...     return Target("search", search, scopes={"host": "search.example.org"})
    >>> check_backend(build, answer=(200, "42"), failures=[Bad((503, "")), Fail(ConnectionError)])
    """
    function(factory, "check_backend", "a function that builds the backend around a service")
    steps = _failures(failures)
    arguments = several(args, "check_backend(args=)", "a list of arguments")
    by_name = named(kwargs, "check_backend(kwargs=)")
    broken: dict[str, None] = {}
    for backend in _BACKENDS:
        asked = _Asked(factory, answer, arguments, by_name, backend)
        for rule in _RULES:
            broken.update(dict.fromkeys(rule(asked, steps)))
    if broken:
        raise AssertionError("the backend does not hold:\n" + "\n".join(f"  {x}" for x in broken))


def _failures(failures: Sequence[Step]) -> list[Fail | Bad]:
    found: list[Fail | Bad] = []
    for step in several(failures, "check_backend(failures=)", "a list of Fail(...) and Bad(...)"):
        if not is_step(step) or not isinstance(step, Fail | Bad):
            raise TypeError(
                f"check_backend(failures=) takes Fail(...) and Bad(...), not {shown(step)}"
            )
        found.append(step)
    return found


@dataclass(slots=True)
class _Played:
    """What came of some calls of one backend."""

    results: list[Result] = field(default_factory=list[Result])
    ended: list[float] = field(default_factory=list[float])
    requests: int = 0
    left: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class _Asked:
    """The backend that is asked, on one of the two event loops."""

    factory: Callable[[FaultyBackend], Made]
    answer: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    backend: Backend

    @property
    def good(self) -> Ok:
        """The step of a good day."""
        return Ok() if self.answer is FRESH else Ok(self.answer)

    def build(self, steps: Sequence[Step]) -> tuple[FaultyBackend, Made, Callable[..., Any]]:
        """Return a service that follows `steps`, and the backend around it."""
        service = FaultyBackend(FailureSchedule(tuple(steps), then=self.good), name="service")
        made = self.factory(service)
        target = _target(made)
        call: Any = made if target is None else target.call
        if not callable(call):
            raise TypeError(f"the factory must return an async function or a Target, not {made!r}")
        return service, made, call

    def once(self, call: Callable[..., Any]) -> Awaitable[Any]:
        """Make one call; of a stream, take all its items."""
        if is_stream(call):
            return _items(partial(call, *self.args, **self.kwargs))
        made: Awaitable[Any] = call(*self.args, **self.kwargs)
        return made

    def play(self, *steps: Step, calls: int = 1, cancel_at: float | None = None) -> _Played:
        """Make `calls` one after another, the first of them cancelled if that is asked for."""
        service, _, call = self.build(steps)
        return virtual_time(self._play, service, call, calls, cancel_at, backend=self.backend)

    async def _play(
        self, service: FaultyBackend, call: Callable[..., Any], calls: int, cancel_at: float | None
    ) -> _Played:
        played = _Played()
        for number in range(calls):
            limit = cancel_at if number == 0 else None
            played.results.append(await self._result(call, limit))
            played.ended.append(now())
        played.requests = len(service.calls)
        played.left = leftovers()
        return played

    async def _result(self, call: Callable[..., Any], cancel_at: float | None) -> Result:
        with anyio.move_on_after(cancel_at):
            return await self.outcome(call)
        return Cancelled()

    async def outcome(self, call: Callable[..., Any]) -> Result:
        """Make one call; return what came of it, unless that is a cancellation."""
        try:
            return Returned(await self.once(call))
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - whatever leaves is the result
            return Raised(error)


def _target(made: object) -> Target[Any] | None:
    # Not `isinstance`: pyright would take it for a target of something unknown.
    return cast("Target[Any]", made) if issubclass(type(made), Target) else None


async def _items(stream: Callable[[], Any]) -> list[Any]:
    async with aclosing(stream()) as source:
        return [item async for item in source]


# The rules: each yields a line for what does not hold.


def _a_good_day(asked: _Asked, _: Sequence[Step]) -> Iterator[str]:
    played = asked.play()
    (result,) = played.results
    if not isinstance(result, Returned):
        yield f"answers: the service answered, and the backend {_said(result)}"
    if played.requests != 1:
        yield f"one_request: one call made {played.requests} requests"
    yield from _left(played, "a call")


def _failures_are_known(asked: _Asked, steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        _, made, _ = asked.build([])
        played = asked.play(step, step, calls=2)
        results, when = played.results, f"where the service does {step!r}"
        if played.requests != len(results):
            yield f"one_request: {len(results)} calls made {played.requests} requests, {when}"
        errors = [one.error for one in results if isinstance(one, Raised)]
        if len(errors) < len(results):
            yield f"failure_is_raised: it {_said(results[0])}, {when}"
            continue
        if errors[0] is errors[1]:
            yield f"failure_is_fresh: two calls raised the same {_name(errors[0])}, {when}"
        yield from (f"{line}, {when}" for line in _of_error(errors[0], made, asked))
        yield from _left(played, "a call that failed")


def _of_error(error: BaseException, made: Made, asked: _Asked) -> Iterator[str]:
    if not isinstance(error, Exception):
        yield f"failure_is_raised: {_name(error)} is no Exception"
        return
    target = _target(made)
    fault = fault_of(error, None if target is None else target.classify)
    if fault is None:
        yield (
            f"failure_is_known: nobody knows what follows from {_name(error)}:"
            " give it `retryable`, or the target `classify=`"
        )
    yield from _attributes(error)
    scope = None if fault is None else fault.scope
    declared = () if target is None else target.scopes
    if scope is not None and scope != REQUEST and scope not in declared:
        yield f"scope_is_declared: {_name(error)} condemns {scope!r}, which no target declares"
    texts = [str(error), repr(error), *getattr(error, "__notes__", ())]
    for word in _texts((*asked.args, *asked.kwargs.values())):
        if any(word in text for text in texts):
            yield f"nothing_private: the text of {_name(error)} has an argument in it"


def _attributes(error: Exception) -> Iterator[str]:
    """Yield what an error says of itself and nobody can read."""
    told = {name: getattr(error, name, None) for name in ("retry_after", "scope", "health")}
    if not isinstance(getattr(error, "retryable", False), bool):
        yield f"failure_is_known: `retryable` of {_name(error)} is no bool"
    try:
        Fault(
            retryable=False,
            retry_after=told["retry_after"],
            scope=told["scope"],
            health=told["health"] or "failure",
        )
    except (TypeError, ValueError) as wrong:
        yield f"failure_is_known: {_name(error)}: {wrong}"


def _texts(values: Sequence[Any]) -> list[str]:
    return [value for value in values if isinstance(value, str) and len(value) >= 4]  # noqa: PLR2004 - a shorter one is in any text


def _cancellation(asked: _Asked, _: Sequence[Step]) -> Iterator[str]:
    played = asked.play(Hang(), calls=2, cancel_at=1)
    first, second = played.results
    if not isinstance(first, Cancelled):
        yield f"cancellation_honoured: cancelled at 1 s, it {_said(first)}"
    elif played.ended[0] > 1:
        yield f"cancellation_honoured: cancelled at 1 s, it left at {played.ended[0]:g} s"
    if not isinstance(second, Returned):
        yield f"cancellation_honoured: the call after one that was cancelled {_said(second)}"
    yield from _left(played, "a call that was cancelled")
    if asked.backend == "asyncio":
        yield from _native(asked)


def _native(asked: _Asked) -> Iterator[str]:
    _, _, call = asked.build([Hang()])

    async def main() -> tuple[bool, float, list[str]]:
        loop = asyncio.get_running_loop()
        task = loop.create_task(asked.outcome(call))
        loop.call_later(1, task.cancel)
        await asyncio.wait([task])
        return task.cancelled(), now(), leftovers()

    was_cancelled, ended, left = virtual_time(main)
    if not was_cancelled or ended > 1:
        yield "cancellation_honoured: task.cancel() at 1 s did not end it then"
    yield from (f"nothing_left: after task.cancel() {one}" for one in left)


def _interruption(asked: _Asked, _: Sequence[Step]) -> Iterator[str]:
    played = asked.play(Fail(Interruption), calls=2)
    first, second = played.results
    if not isinstance(first, Raised) or type(first.error) is not Interruption:
        yield f"interruption_passes: what is no Exception left as: it {_said(first)}"
    if not isinstance(second, Returned):
        yield f"interruption_passes: the call after one that was interrupted {_said(second)}"
    yield from _left(played, "a call that was interrupted")


def _together(asked: _Asked, steps: Sequence[Step]) -> Iterator[str]:
    """Let every second of many calls fail, all at the same time."""
    bad = list(steps[:1]) or [Fail(ConnectionError)]
    _, _, call = asked.build([*bad, asked.good] * (_MANY // 2))

    async def main() -> tuple[list[Result], list[str]]:
        results: list[Result] = []

        async def one() -> None:
            results.append(await asked.outcome(call))

        async with anyio.create_task_group() as group:
            for _ in range(_MANY):
                group.start_soon(one)
        return results, leftovers()

    results, left = virtual_time(main, backend=asked.backend)
    failed = sum(isinstance(one, Raised) for one in results)
    if failed != _MANY // 2:
        yield f"calls_are_independent: {_MANY // 2} of {_MANY} calls at once fail, and {failed} did"
    yield from (f"nothing_left: after {_MANY} calls at once {one}" for one in left)


def _another_loop(asked: _Asked, steps: Sequence[Step]) -> Iterator[str]:
    del steps  # only a good day
    _, _, call = asked.build([])
    for loop in ("first", "second"):
        result = virtual_time(asked.outcome, call, backend=asked.backend)
        if not isinstance(result, Returned):
            yield f"works_in_every_loop: in the {loop} loop it {_said(result)}"


_RULES: tuple[Callable[[_Asked, Sequence[Step]], Iterator[str]], ...] = (
    _a_good_day,
    _failures_are_known,
    _cancellation,
    _interruption,
    _together,
    _another_loop,
)


def _left(played: _Played, what: str) -> Iterator[str]:
    yield from (f"nothing_left: after {what} {one}" for one in played.left)


def _said(result: Result) -> str:
    match result:
        case Returned():
            return "returned"
        case Raised(error):
            return f"raised {_name(error)}"
        case Cancelled():
            return "was cancelled"


def _name(error: BaseException) -> str:
    return class_name(type(error))
