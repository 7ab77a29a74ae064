"""The driver of `fallback` and of `FallbackManager`: one walk through a chain.

The first target is asked without a cursor: only a failure, something blocked,
or a deadline of the chain makes one. What outlasts the call is on its `Chain`.

Between the failure of a target and the next one two things are awaited, the
closing of a bad answer and a cancellation that was asked for; both come after
the decision was reported and before the clock is read for the next target.
"""

from __future__ import annotations

import copy
import inspect
import os
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient._core.conditions import BUGS
from resilient._core.events import BugServed, Degraded, FellBack, TargetRests, TargetSkipped
from resilient._core.faults import fault_of
from resilient._core.names import class_name
from resilient._core.outcome import SkippedTarget
from resilient._runtime.attempt import NotAwaitableError
from resilient._runtime.exact import count
from resilient._runtime.last_good import remembering
from resilient._runtime.notes import annotate
from resilient._runtime.pause import check_cancelled, discard
from resilient._runtime.task_groups import take_back
from resilient._runtime.timeout import within
from resilient.errors import (
    AllTargetsFailed,
    CircuitOpen,
    Rejected,
    Skipped,
    TimedOut,
    Unacceptable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping, Sequence

    from resilient._core.fallback import Cursor
    from resilient._core.faults import Fault
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call
    from resilient._runtime.chain import Chain


def fallback_layer(chain: Chain, runs: Sequence[Layer], *, named: bool = False) -> Layer:
    """Ask the targets of `chain`, of which `runs` are the compiled calls, in order.

    With `named` the first argument is the function to call, and not the caller's.
    """
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
                index = advance(call, chain, end)
            while index is not None:
                if call.attempt or call.cursor is not outer:
                    point_at(call, chain.places[index])
                run = runs[index]
                try:
                    if end == inf:
                        value = await run(call, args, kwargs)
                    else:
                        limit = limit_of(call, chain, index, end)
                        value = await within(call, limit, "total", run, args, kwargs)
                except NotAwaitableError:
                    raise
                except Exception as error:
                    goes_on = failed(call, chain, index, error, end)
                else:
                    if judge is None or judge.decide(value) is False:
                        count(chain.answered, index)
                        return value
                    call.unacceptable = True
                    goes_on = failed(call, chain, index, Unacceptable(value), end)
                    del value
                if goes_on:
                    await _settle(call, end)
                index = advance(call, chain, end)
            return await conclude(call, chain)
        finally:
            cursor = call.cursor
            if cursor is not None and cursor is not outer:
                call.skipped += chain.placed(unasked(cursor))
                call.cursor = outer
                cursor.forget()

    return (
        fallen_back if chain.memory is None else remembering(chain.memory, fallen_back, named=named)
    )


def point_at(call: Call, place: int) -> None:
    """Let the next attempt be one of the target at `place`, which may be asked again."""
    before = sum(attempt.target_index == place for attempt in call.history or ())
    call.target_index, call.before_target = place, call.attempt - before
    call.degraded = call.by_middleware = False
    call.retry_result = None  # that of the target before it


def limit_of(call: Call, chain: Chain, index: int, end: float) -> float:
    """Return the seconds for target `index`, with what is kept for those behind it."""
    now = call.resumed
    return chain.cursor(call).limit(index, now, chain.blocked, end - now)


def advance(call: Call, chain: Chain, end: float) -> int | None:
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


def failed(call: Call, chain: Chain, index: int, error: Exception, end: float) -> bool:
    """Learn from the failure of a target; tell whether somebody else may still answer."""
    take_back(call.task, call.cancelling, error)
    cursor = chain.cursor(call)
    rejected = isinstance(error, Rejected)
    fault = None if rejected else fault_of(error, chain.classify[index])
    covered = chain.covers(error)
    now = call.resumed = call.runtime.clock()
    hint: float | None = None
    rests: dict[tuple[str, str], float] = {}
    if isinstance(error, Rejected):
        hint = error.retry_after
        count(chain.skipped, index)
        _refused(call, chain, index, error)
    else:
        rests = chain.learn(index, error, fault, now, call.runtime.clock)
    if fault is not None and fault.retry_after is not None:
        hint = fault.retry_after
        call.hinted(fault.source)
    cursor.failed(index, error, fault, covered=covered, rejected=rejected, retry_after=hint)
    goes_on = cursor.peek(now, chain.blocked, end - now) is not None or _degrades(
        call, chain, cursor
    )
    # An error that a chain around this one may still answer for has not left the call.
    leaves = chain.leaves and not goes_on
    call.decide("failure", "raised" if leaves else "fell_back", error)
    for event in rests_of(chain, index, error, fault, rests, now):
        call.report(event)
    if goes_on and isinstance(error, BUGS):
        _report_bug(call, chain, index, error)
    return goes_on


def _refused(call: Call, chain: Chain, index: int, error: Rejected) -> None:
    """Take a target whose own policy refused for one that was not asked, if it was not."""
    if call.is_open:  # it was: the refusal came from inside
        return
    reason = "breaker_open" if isinstance(error, CircuitOpen) else error.policy
    name = chain.policy.targets[index].name
    skip = SkippedTarget(name, index, reason, retry_after=error.retry_after)
    chain.cursor(call).refused.append(skip)
    place = chain.places[index]
    call.report(TargetSkipped(call.resumed, name, place, reason, retry_after=error.retry_after))


def rests_of(
    chain: Chain,
    index: int,
    error: Exception,
    fault: Fault | None,
    rests: Mapping[tuple[str, str], float],
    now: float,
) -> Iterator[TargetRests]:
    """Say what is left alone from now on; it is told behind the attempt that began it."""
    for (scope, _), seconds in rests.items():
        yield TargetRests(
            now,
            chain.policy.targets[index].name,
            chain.places[index],
            seconds,
            None if scope == "target" else scope,
            error,
            asked=fault is not None and seconds == fault.retry_after,
        )


async def _settle(call: Call, end: float) -> None:
    """Await what has to happen before somebody else answers."""
    cursor = call.cursor
    assert cursor is not None
    error = cursor.failures[-1].error
    if isinstance(error, Unacceptable):
        await close_bad(call, error.result, end)
    await check_cancelled(call)


async def close_bad(call: Call, value: Any, end: float) -> None:  # noqa: ANN401
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


def _degrades(call: Call, chain: Chain, cursor: Cursor) -> bool:
    """Tell whether there is a last resort, and something in it."""
    if chain.policy.degrade is None or cursor.ended is not None:
        return False
    if chain.memory is None:
        return True
    # Held from here on: what was reported must not have become untrue when it is given.
    cursor.kept = chain.memory.find(call) or cursor.kept
    return cursor.kept is not None


async def _degraded(call: Call, chain: Chain, cursor: Cursor) -> Any:  # noqa: ANN401
    """Give the last resort, and let everybody know that it is one."""
    kept = cursor.kept
    if kept is None:
        made = chain.policy.degrade.produce()
        value = await made if inspect.isawaitable(made) else made
        call.age = None
    else:
        value = copy.deepcopy(kept.value)
        call.age = call.runtime.clock() - kept.at
    call.degraded = True
    call.report(Degraded(call.runtime.clock(), call.age))
    outer = call.parent
    while outer is not None:
        outer.degraded_in = outer.attempt
        outer = outer.parent
    return value


async def conclude(call: Call, chain: Chain) -> Any:  # noqa: ANN401
    """Nobody answered: return the last resort, or raise what surfaces."""
    cursor = chain.cursor(call)
    if _degrades(call, chain, cursor):
        return await _degraded(call, chain, cursor)
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


def unasked(cursor: Cursor) -> list[SkippedTarget]:
    return sorted(cursor.skipped + cursor.refused, key=lambda skip: skip.target_index)


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
    skipped = len(cursor.skipped) + len(cursor.refused)
    failed = len(cursor.failures) - len(cursor.refused)
    text = f"{failed} target{'' if failed == 1 else 's'} failed"
    if skipped:
        text += f", {skipped} not asked"
    group = chain.group(f"{call.name}: {text}", [members[index] for index in sorted(members)])
    group.attempts = tuple(call.history or ())
    group.skipped = chain.placed(unasked(cursor))
    group.retry_after = min((hint for hint in hints if hint is not None), default=None)
    return group
