"""The driver of `fallback` and of `FallbackManager`: one walk through a chain.

The first target is asked without a cursor: only a failure, something blocked,
or a deadline of the chain makes one. What outlasts a call is on the `Chain`,
shared by all calls, threads and loops: until when a scope is not asked, how
often each target answered, which bugs were served.

Between the failure of a target and the next one two things are awaited, the
closing of a bad answer and a cancellation that was asked for; both come after
the decision was reported and before the clock is read for the next target.
"""

from __future__ import annotations

import inspect
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from resilient._core.conditions import BUGS
from resilient._core.events import BugServed, Degraded, FellBack, TargetSkipped
from resilient._core.fallback import Cursor
from resilient._core.faults import fault_of
from resilient._core.names import class_name, error_type
from resilient._runtime.attempt import NotAwaitableError
from resilient._runtime.exact import count
from resilient._runtime.notes import annotate
from resilient._runtime.pause import check_cancelled, discard
from resilient._runtime.timeout import within
from resilient.errors import AllTargetsFailed, Rejected, Skipped, TimedOut, Unacceptable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from resilient._core.fallback import FallbackPolicy, TargetSpec
    from resilient._core.faults import Fault
    from resilient._core.outcome import SkippedTarget
    from resilient._core.retry import Classify
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call

    Clock = Callable[[], float]


class LastResort(Protocol):
    """What `degrade=` takes: a value to answer with when nobody else did."""

    def produce(self) -> Any:  # noqa: ANN401 - any value, or an awaitable of one
        """Make the answer, a new one for each call."""
        ...

    def describe(self) -> str:
        """Say in words what it is, for `explain`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHealth:
    """How a target has done: answers, failures, skips, and what it failed with last.

    `bugs` are those failures that looked like a bug and were answered for by
    somebody else.
    """

    answered: int
    failed: int
    skipped: int
    bugs: int
    last_error: str | None
    blocked_for: float
    """Seconds for which it is not asked, 0 when it is."""


class Chain:
    """What the calls of one chain share."""

    __slots__ = (
        "answered",
        "blocked",
        "bugs",
        "classify",
        "clock",
        "failed",
        "group",
        "last_errors",
        "leaves",
        "lock",
        "places",
        "policy",
        "skipped",
    )

    def __init__(
        self,
        policy: FallbackPolicy,
        classify: Sequence[Classify | None],
        group: Callable[[str, Sequence[Exception]], AllTargetsFailed] = AllTargetsFailed,
        *,
        leaves: bool = True,
    ) -> None:
        size = len(classify)
        self.policy = policy
        self.classify = tuple(classify)
        self.group = group
        # Whether an error that leaves this chain leaves the call.
        self.leaves = leaves
        # The index of each target in the whole pipeline, where chains may nest.
        self.places: Sequence[int] = range(size)
        self.blocked: dict[tuple[str, str], float] = {}
        # Whose instants they are: that of the last call which blocked something.
        self.clock: Clock | None = None
        self.answered = [0] * size
        self.failed = [0] * size
        self.skipped = [0] * size
        self.last_errors: list[str | None] = [None] * size
        self.bugs: dict[tuple[int, str], int] = {}
        self.lock = threading.Lock()

    def settle(self, targets: tuple[TargetSpec, ...], places: Sequence[int]) -> None:
        """Fix the targets, once their names are known."""
        self.policy = replace(self.policy, targets=targets)
        self.places = places

    def patience(
        self, call: Call, index: int, fault: Fault | None, error: Exception | None = None
    ) -> float:
        """Return the longest wait on target `index`: while another is free, not long."""
        if error is not None and not self.covers(error):
            return inf
        now = call.runtime.clock()
        later = self.cursor(call).has_later(index, error, fault, now, self.blocked)
        return self.policy.switch_after if later else inf

    def cursor(self, call: Call) -> Cursor:
        """Return where `call` stands in this chain, and not in one around it."""
        found = call.cursor
        if found is None or found.policy is not self.policy:
            found = call.cursor = Cursor(self.policy)
        return found

    def covers(self, error: Exception) -> bool:
        """Tell whether `error` moves the chain on."""
        # A refusal is no error of the target, and a bad answer has its own predicate.
        if self.policy.on is None or isinstance(error, Rejected | Unacceptable):
            return True
        return self.policy.on.decide(error) is not False

    def placed(self, skips: Sequence[SkippedTarget]) -> tuple[SkippedTarget, ...]:
        """Return `skips` with the indices that the targets have in the whole pipeline."""
        return tuple(replace(skip, target_index=self.places[skip.target_index]) for skip in skips)

    def learn(
        self, index: int, error: Exception, fault: Fault | None, now: float, clock: Clock
    ) -> None:
        """Remember for later calls what this failure says about the target."""
        count(self.failed, index)
        self.last_errors[index] = error_type(error)
        news = self.policy.blocks(index, fault)
        if news:
            with self.lock:
                self._measure_by(clock)
                for key, seconds in news.items():
                    self.blocked[key] = max(self.blocked.get(key, now), now + seconds)

    def _measure_by(self, clock: Clock) -> None:
        """Forget instants of another clock: a run in virtual time is a world of its own."""
        if self.clock is not clock:
            self.clock = clock
            self.blocked.clear()

    def expire(self, now: float, clock: Clock) -> None:
        """Forget what is blocked no longer."""
        with self.lock:
            self._measure_by(clock)
            for key in [key for key, until in self.blocked.items() if until <= now]:
                del self.blocked[key]

    def count_bug(self, index: int, name: str) -> int:
        """Count a bug-like error of a target and return how often it was seen."""
        with self.lock:
            self.bugs[index, name] = times = self.bugs.get((index, name), 0) + 1
        return times

    def health(self, now: float) -> dict[str, TargetHealth]:
        """Return what is known of each target, by name."""
        with self.lock:
            bugs = dict(self.bugs)
        return {
            target.name: TargetHealth(
                answered=self.answered[index],
                failed=self.failed[index],
                skipped=self.skipped[index],
                bugs=sum(times for (place, _), times in bugs.items() if place == index),
                last_error=self.last_errors[index],
                blocked_for=max(
                    [0.0, *(self.blocked.get(key, now) - now for key in target.block_keys())]
                ),
            )
            for index, target in enumerate(self.policy.targets)
        }


def fallback_layer(chain: Chain, runs: Sequence[Layer]) -> Layer:
    """Ask the targets of `chain`, of which `runs` are the compiled calls, in order."""
    policy = chain.policy
    judge = policy.on_result
    first = policy.targets[0]
    plain = policy.deadline == inf and first.enabled is True

    async def fallen_back(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        outer = call.cursor
        end = call.resumed + policy.deadline
        index: int | None = 0
        try:
            if chain.blocked or not plain:
                index = _advance(call, chain, end)
            while index is not None:
                if call.attempt or call.cursor is not outer:
                    _point_at(call, chain.places[index])
                run = runs[index]
                try:
                    if end == inf:
                        value = await run(call, args, kwargs)
                    else:
                        limit = _limit(call, chain, index, end)
                        value = await within(call, limit, "total", run, args, kwargs)
                except NotAwaitableError:
                    raise
                except Exception as error:
                    goes_on = _failed(call, chain, index, error, end)
                else:
                    if judge is None or judge.decide(value) is False:
                        count(chain.answered, index)
                        return value
                    call.unacceptable = True
                    goes_on = _failed(call, chain, index, Unacceptable(value), end)
                    del value
                if goes_on:
                    await _settle(call, end)
                index = _advance(call, chain, end)
            return await _conclude(call, chain)
        finally:
            cursor = call.cursor
            if cursor is not None and cursor is not outer:
                call.skipped += chain.placed(cursor.skipped)
                call.cursor = outer
                cursor.forget()

    return fallen_back


def _point_at(call: Call, place: int) -> None:
    """Let the next attempt be one of the target at `place`, which may be asked again."""
    before = sum(attempt.target_index == place for attempt in call.history or ())
    call.target_index, call.before_target = place, call.attempt - before
    call.degraded = False
    call.retry_result = None  # that of the target before it


def _limit(call: Call, chain: Chain, index: int, end: float) -> float:
    now = call.resumed
    return chain.cursor(call).limit(index, now, chain.blocked, end - now)


def _advance(call: Call, chain: Chain, end: float) -> int | None:
    """Move to the next target, report those that are skipped, and that one was left."""
    cursor = chain.cursor(call)
    now = call.runtime.clock()
    if chain.blocked:
        chain.expire(now, call.runtime.clock)
    known = len(cursor.skipped)
    index = cursor.advance(now, chain.blocked, end - now)
    for skip in chain.placed(cursor.skipped[known:]):
        call.report(
            TargetSkipped(
                now, skip.target, skip.target_index, skip.reason, skip.scope, skip.retry_after
            )
        )
    for skip in cursor.skipped[known:]:
        count(chain.skipped, skip.target_index)
    if index is not None and cursor.failures:
        names, failure = chain.policy.targets, cursor.failures[-1]
        call.report(FellBack(now, names[failure.index].name, names[index].name, failure.error))
    return index


def _failed(call: Call, chain: Chain, index: int, error: Exception, end: float) -> bool:
    """Learn from the failure of a target; tell whether somebody else may still answer."""
    cursor = chain.cursor(call)
    rejected = isinstance(error, Rejected)
    fault = None if rejected else fault_of(error, chain.classify[index])
    covered = chain.covers(error)
    now = call.resumed = call.runtime.clock()
    hint: float | None = None
    if isinstance(error, Rejected):
        hint = error.retry_after
        count(chain.skipped, index)
    else:
        chain.learn(index, error, fault, now, call.runtime.clock)
    if fault is not None and fault.retry_after is not None:
        hint = fault.retry_after
        call.hint_source = call.hint_source or fault.source
    cursor.failed(index, error, fault, covered=covered, rejected=rejected, retry_after=hint)
    goes_on = cursor.peek(now, chain.blocked, end - now) is not None or _degrades(chain, cursor)
    # An error that a chain around this one may still answer for has not left the call.
    leaves = chain.leaves and not goes_on
    call.decide("failure", "raised" if leaves else "fell_back", error)
    if goes_on and isinstance(error, BUGS):
        _report_bug(call, chain, index, error)
    return goes_on


async def _settle(call: Call, end: float) -> None:
    """Await what has to happen before somebody else answers."""
    cursor = call.cursor
    assert cursor is not None
    error = cursor.failures[-1].error
    if isinstance(error, Unacceptable):
        await _close(call, error.result, end)
    await check_cancelled(call)


async def _close(call: Call, value: Any, end: float) -> None:  # noqa: ANN401
    """Close a bad answer; that counts against the deadline of the chain."""

    def closing(*_: Any) -> Awaitable[None]:
        return discard(value)

    if end == inf:
        await discard(value)
    else:
        with suppress(TimedOut):
            await within(call, max(0.0, end - call.resumed), "total", closing, (), {})
        call.fired = None
    call.resumed = call.runtime.clock()


def _report_bug(call: Call, chain: Chain, index: int, error: Exception) -> None:
    name = class_name(type(error))
    times = chain.count_bug(index, name)
    if times == 1:
        target = chain.policy.targets[index].name
        call.report(BugServed(call.resumed, target, name, *_where(error), times))


_HERE = f"{Path(__file__).parents[1]}{os.sep}"


def _where(error: BaseException) -> tuple[str, int]:
    """Return file and line of the innermost frame that is not ours."""
    found = "unknown", 0
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_HERE):
            found = file, trace.tb_lineno
        trace = trace.tb_next
    return found


def _degrades(chain: Chain, cursor: Cursor) -> bool:
    return chain.policy.degrade is not None and cursor.ended is None


async def _conclude(call: Call, chain: Chain) -> Any:  # noqa: ANN401
    """Nobody answered: return the last resort, or raise what surfaces."""
    cursor = chain.cursor(call)
    if _degrades(chain, cursor):
        made = chain.policy.degrade.produce()
        value = await made if inspect.isawaitable(made) else made
        call.degraded = True
        call.report(Degraded(call.runtime.clock()))
        return value
    call.rejected = cursor.is_rejected()
    error = cursor.surfaces()
    if error is None:
        raise _group(call, chain, cursor)
    _annotate(error, cursor)
    cause = _cause(error, chain, cursor)
    try:
        if cause is None:
            raise error
        raise error from cause
    finally:
        del error, cause


def _cause(error: Exception, chain: Chain, cursor: Cursor) -> Exception | None:
    """Return the failure before the last one, where that is raised and has no cause of its own."""
    if chain.policy.raises != "last" or len(cursor.failures) == 1:
        return None
    # The real one: a subclass may have made a property of it.
    if BaseException.__cause__.__get__(error) is not None:  # type: ignore[union-attr]
        return None
    before = cursor.failures[-2].error
    return None if before is error else before


def _annotate(error: Exception, cursor: Cursor) -> None:
    if cursor.skipped:
        asked = "; ".join(
            f"{Skipped(skip.target, skip.reason, scope=skip.scope)}" for skip in cursor.skipped
        )
        annotate(error, asked, after=True)


def _group(call: Call, chain: Chain, cursor: Cursor) -> AllTargetsFailed:
    members: dict[int, Exception] = {failure.index: failure.error for failure in cursor.failures}
    hints = [failure.retry_after for failure in cursor.failures]
    for skip in cursor.skipped:
        members[skip.target_index] = Skipped(
            skip.target, skip.reason, scope=skip.scope, retry_after=skip.retry_after
        )
        hints.append(skip.retry_after)
    failed, skipped = len(cursor.failures), len(cursor.skipped)
    text = f"{failed} target{'' if failed == 1 else 's'} failed"
    if skipped:
        text += f", {skipped} not asked"
    group = chain.group(f"{call.name}: {text}", [members[index] for index in sorted(members)])
    group.attempts = tuple(call.history or ())
    group.skipped = chain.placed(cursor.skipped)
    group.retry_after = min((hint for hint in hints if hint is not None), default=None)
    return group
