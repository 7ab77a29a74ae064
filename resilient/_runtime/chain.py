"""What the calls of one chain of targets share.

A `Chain` outlasts its calls and is used by all threads and loops: until when a
scope is not asked, how often each target answered, which bugs were served.
What one call knows of its way through the chain is its `Cursor`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from resilient._core.fallback import Cursor
from resilient._core.last_good import LastGood
from resilient._core.names import error_type
from resilient._runtime.exact import count
from resilient._runtime.last_good import Memory
from resilient.errors import AllTargetsFailed, Rejected, Unacceptable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from resilient._core.breaker_states import State
    from resilient._core.fallback import FallbackPolicy, TargetSpec
    from resilient._core.faults import Classify, Fault
    from resilient._core.outcome import SkippedTarget
    from resilient._runtime.call import Call

    Clock = Callable[[], float]


class Produces(Protocol):
    """A last resort that makes its answer: what `value(...)` returns."""

    def produce(self) -> Any:  # noqa: ANN401 - any value, or an awaitable of one
        """Make the answer, a new one for each call."""
        ...

    def describe(self) -> str:
        """Say in words what it is, for `explain`."""
        ...


LastResort = Produces | LastGood
"""What `degrade=` takes: something to answer with when nobody else did."""


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
    breaker: State | None = None
    """The state of its circuit breaker, the worst where it has several; `None` without one."""


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
        "memory",
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
        degrade = policy.degrade
        self.memory = Memory(degrade) if isinstance(degrade, LastGood) else None

    def anew(self) -> Chain:
        """Return a chain of the same policy that remembers nothing."""
        return Chain(self.policy, self.classify, self.group, leaves=self.leaves)

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
    ) -> dict[tuple[str, str], float]:
        """Remember for later calls what this failure says; return what begins to rest."""
        count(self.failed, index)
        self.last_errors[index] = error_type(error)
        news = self.policy.blocks(index, fault)
        if not news:
            return {}
        with self.lock:
            self._measure_by(clock)
            begun = {key: wait for key, wait in news.items() if self.blocked.get(key, now) <= now}
            for key, seconds in news.items():
                self.blocked[key] = max(self.blocked.get(key, now), now + seconds)
        return begun

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
