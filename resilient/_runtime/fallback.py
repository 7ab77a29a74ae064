"""The driver of `fallback` and of `FallbackManager`: one walk through a chain.

The first target is asked without a cursor: only a failure, something blocked,
or a deadline of the chain makes one. What outlasts a call is on the `Chain`,
shared by all calls, threads and loops: until when a scope is not asked, how
often each target answered, which bugs were served.
"""

from __future__ import annotations

import inspect
import threading
from dataclasses import dataclass, replace
from math import inf
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
from resilient.errors import AllTargetsFailed, Rejected, Skipped, Unacceptable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resilient._core.fallback import FallbackPolicy, TargetSpec
    from resilient._core.faults import Fault
    from resilient._core.retry import Classify
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call


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
    """How a target has done: answers, failures, skips, and what it failed with last."""

    answered: int
    failed: int
    skipped: int
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
        "failed",
        "group",
        "last_errors",
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
    ) -> None:
        size = len(classify)
        self.policy = policy
        self.classify = tuple(classify)
        self.group = group
        # The index of each target in the whole pipeline, where chains may nest.
        self.places: Sequence[int] = range(size)
        self.blocked: dict[tuple[str, str], float] = {}
        self.answered = [0] * size
        self.failed = [0] * size
        self.skipped = [0] * size
        self.last_errors: list[str | None] = [None] * size
        self.bugs: dict[tuple[int, type], int] = {}
        self.lock = threading.Lock()

    def settle(self, targets: tuple[TargetSpec, ...], places: Sequence[int]) -> None:
        """Fix the targets, once their names are known."""
        self.policy = replace(self.policy, targets=targets)
        self.places = places

    def patience(self, call: Call, index: int, fault: Fault | None) -> float:
        """Return the longest wait on target `index`: while another is free, not long."""
        cursor = call.cursor or Cursor(self.policy)
        later = cursor.has_later(index, fault, call.runtime.clock(), self.blocked)
        return self.policy.switch_after if later else inf

    def learn(self, index: int, error: Exception, fault: Fault | None, now: float) -> None:
        """Remember for later calls what this failure says about the target."""
        count(self.failed, index)
        self.last_errors[index] = error_type(error)
        news = self.policy.blocks(index, fault)
        if news:
            with self.lock:
                for key, seconds in news.items():
                    self.blocked[key] = max(self.blocked.get(key, now), now + seconds)

    def expire(self, now: float) -> None:
        """Forget what is blocked no longer."""
        with self.lock:
            for key in [key for key, until in self.blocked.items() if until <= now]:
                del self.blocked[key]

    def first_of_its_kind(self, index: int, kind: type) -> int:
        """Count a bug-like error of a target and return how often it was seen."""
        with self.lock:
            self.bugs[index, kind] = times = self.bugs.get((index, kind), 0) + 1
        return times

    def health(self, now: float) -> dict[str, TargetHealth]:
        """Return what is known of each target, by name."""
        return {
            target.name: TargetHealth(
                answered=self.answered[index],
                failed=self.failed[index],
                skipped=self.skipped[index],
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
        cursor: Cursor | None = None
        index: int | None = 0
        end = call.resumed + policy.deadline
        if chain.blocked or not plain:
            cursor = call.cursor = Cursor(policy)
            index = _advance(call, chain, cursor, end)
        try:
            while index is not None:
                if cursor is not None or call.attempt:
                    call.target_index, call.before_target = chain.places[index], call.attempt
                run = runs[index]
                try:
                    if end == inf:
                        value = await run(call, args, kwargs)
                    else:
                        limit = policy.limit(index, end - call.resumed)
                        value = await within(call, limit, "total", run, args, kwargs)
                    if judge is not None and judge.decide(value) is not False:
                        call.unacceptable = True
                        raise Unacceptable(value)  # noqa: TRY301 - a bad answer is a failure
                except NotAwaitableError:
                    raise
                except Exception as error:
                    if cursor is None:
                        cursor = call.cursor = Cursor(policy)
                    before, index = index, _after(call, chain, cursor, index, error, end)
                    if index is not None:
                        _move_on(call, chain, before, index, error)
                        if isinstance(error, Unacceptable):
                            await discard(error.result)
                else:
                    count(chain.answered, index)
                    return value
                if index is not None:
                    await check_cancelled(call)
            assert cursor is not None
            return await _conclude(call, chain, cursor)
        finally:
            if cursor is not None:
                call.skipped += tuple(cursor.skipped)
                call.cursor = None
                cursor.forget()

    return fallen_back


def _advance(call: Call, chain: Chain, cursor: Cursor, end: float) -> int | None:
    now = call.runtime.clock()
    if chain.blocked:
        chain.expire(now)
    known = len(cursor.skipped)
    index = cursor.advance(now, chain.blocked, end - now)
    for skip in cursor.skipped[known:]:
        count(chain.skipped, skip.target_index)
        call.report(
            TargetSkipped(
                now,
                skip.target,
                chain.places[skip.target_index],
                skip.reason,
                skip.scope,
                skip.retry_after,
            )
        )
    return index


def _after(
    call: Call, chain: Chain, cursor: Cursor, index: int, error: Exception, end: float
) -> int | None:
    """Learn from the failure of a target and return the next one."""
    rejected = isinstance(error, Rejected)
    fault = None if rejected else fault_of(error, chain.classify[index])
    now = call.resumed = call.runtime.clock()
    if not rejected:
        chain.learn(index, error, fault, now)
    if call.hint_source is None and fault is not None and fault.retry_after is not None:
        call.hint_source = fault.source
    on = chain.policy.on
    # A refusal is no error of the target, and a bad answer has its own predicate.
    covered = rejected or isinstance(error, Unacceptable) or on is None or (
        on.decide(error) is not False
    )
    cursor.failed(index, error, fault, covered=covered, rejected=rejected)
    # The skips that this failure causes are reported behind it: it is decided first.
    if cursor.peek(now, chain.blocked, end - now) is not None or _degrades(chain, cursor):
        call.decide("failure", "fell_back", error)
        _look_for_bug(call, chain, index, error)
    else:
        call.decide("failure", "raised", error)
    return _advance(call, chain, cursor, end)


def _move_on(call: Call, chain: Chain, before: int, index: int, error: Exception) -> None:
    names = chain.policy.targets
    call.report(FellBack(call.resumed, names[before].name, names[index].name, error))


def _look_for_bug(call: Call, chain: Chain, index: int, error: Exception) -> None:
    if not isinstance(error, BUGS):
        return
    times = chain.first_of_its_kind(index, type(error))
    if times == 1:
        file, line = _where(error)
        name = chain.policy.targets[index].name
        call.report(
            BugServed(call.resumed, name, class_name(type(error)), file, line, times)
        )


def _where(error: BaseException) -> tuple[str, int]:
    trace = error.__traceback__
    if trace is None:
        return "unknown", 0
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def _degrades(chain: Chain, cursor: Cursor) -> bool:
    return chain.policy.degrade is not None and cursor.ended is None


async def _conclude(call: Call, chain: Chain, cursor: Cursor) -> Any:  # noqa: ANN401
    """Nobody answered: return the last resort, or raise what surfaces."""
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
    try:
        if chain.policy.raises == "last" and len(cursor.failures) > 1 and error.__cause__ is None:
            raise error from cursor.failures[-2].error
        raise error
    finally:
        del error


def _annotate(error: Exception, cursor: Cursor) -> None:
    if cursor.skipped:
        asked = "; ".join(
            f"{Skipped(skip.target, skip.reason, scope=skip.scope)}" for skip in cursor.skipped
        )
        annotate(error, asked, after=True)


def _group(call: Call, chain: Chain, cursor: Cursor) -> AllTargetsFailed:
    members: dict[int, Exception] = {failure.index: failure.error for failure in cursor.failures}
    for skip in cursor.skipped:
        members[skip.target_index] = Skipped(
            skip.target, skip.reason, scope=skip.scope, retry_after=skip.retry_after
        )
    errors = [members[index] for index in sorted(members)]
    failed = len(cursor.failures)
    skipped = f", {len(cursor.skipped)} not asked" if cursor.skipped else ""
    group = chain.group(f"{call.name}: {failed} targets failed{skipped}", errors)
    group.attempts = tuple(call.history or ())
    group.skipped = tuple(cursor.skipped)
    hints = [hint for error in errors if (hint := _hint(error, chain)) is not None]
    group.retry_after = min(hints, default=None)
    return group


def _hint(error: Exception, chain: Chain) -> float | None:
    if isinstance(error, Rejected):
        return error.retry_after
    fault = fault_of(error)
    return None if fault is None else fault.retry_after
