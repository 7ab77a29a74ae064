"""Which target is asked next, and what it means when none answered.

A chain is walked once, forwards. After each failure the cursor is told what
is known about it (a `Fault`) and condemns what failed: a scope is one thing
that several targets depend on, such as a host or a key, so whoever shares the
condemned one need not be asked. A skipped target is recorded with its reason:
"why was nobody called?" always has an answer.

Rule 1: only an error of the target moves the chain on. What ends it (an error
that `on=` does not cover, a fault of the request itself) is never degraded.

Rule 2: if one target failed and the others were not asked because of that
very failure, its error is the answer: the group would only hide it.

Rule 3: a target is asked once for each call whether it is switched on, and
what the call has learned holds to its end: no route or condemned key is
forgotten on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from resilient._core.deadline import ROUNDING
from resilient._core.outcome import SkippedTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resilient._core.conditions import Condition, ResultCondition
    from resilient._core.faults import Fault
    from resilient._core.last_good import Answer

    Blocked = Mapping[tuple[str, str], float]
    """Until when, in seconds of the Clock, a (scope, key) is not asked."""

Raises = Literal["group", "first", "last"]
"""What surfaces when all failed."""

Midstream = Literal["error", "restart"]
"""What becomes of a stream that fails after its first item."""

Routes = tuple[tuple[type[Exception], frozenset[str]], ...]
"""Which targets may follow an error; the first class that fits decides."""

REQUEST = "request"
"""The scope of a fault that no other target could cure: the request itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpec:
    """What the chain knows of a target: a name, what it depends on, how long it may need."""

    name: str
    scopes: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = inf
    enabled: bool | Callable[[], bool] = True

    def block_keys(self) -> list[tuple[str, str]]:
        """Return everything under which this target can be blocked."""
        return [("target", self.name), *self.scopes.items()]

    def is_enabled(self) -> bool:
        """Ask whether the target takes part just now."""
        return self.enabled if isinstance(self.enabled, bool) else bool(self.enabled())


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackPolicy:
    """A chain of targets and the rules by which it is walked."""

    targets: tuple[TargetSpec, ...]
    on: Condition | None = None
    """Which errors move on; `None` means every `Exception`."""
    on_result: ResultCondition | None = None
    routes: Routes = ()
    deadline: float = inf
    reserve: float | None = None
    switch_after: float = 3.0
    trip_for: float = 30.0
    degrade: Any = None
    raises: Raises = "group"
    midstream: Midstream = "error"

    def reserved(self, index: int) -> float:
        """Return the seconds that are kept for a target while an earlier one is asked.

        By default the time that it may need, and never more than an equal
        share of the deadline.
        """
        if self.reserve is not None:
            return self.reserve
        return min(self.targets[index].seconds, self.deadline / len(self.targets))

    def blocks(self, index: int, fault: Fault | None) -> dict[tuple[str, str], float]:
        """Return what this failure blocks for later calls, with the seconds it does.

        A fault of the request says nothing about any target.
        """
        if fault is None or fault.scope == REQUEST:
            return {}
        target = self.targets[index]
        found: dict[tuple[str, str], float] = {}
        hint = fault.retry_after
        # A hint on an error that no wait would cure says nothing about when to ask again.
        asked = fault.health in {"cooldown", "trip"}
        rests = asked or (fault.retryable and (hint or 0) > self.switch_after)
        if hint is not None and rests:
            found["target", target.name] = hint
        if fault.health == "trip":
            scope = fault.scope
            key = target.scopes.get(scope) if scope is not None else None
            where = ("target", target.name) if scope is None or key is None else (scope, key)
            found[where] = max(self.trip_for, found.get(where, 0.0))
        return found


@dataclass(slots=True)
class Failure:
    """A target that failed or refused, with its error while the call lasts."""

    index: int
    error: Exception
    rejected: bool
    retry_after: float | None


@dataclass(slots=True)
class Cursor:
    """Where one call stands in its chain.

    `ended` says why nothing further is asked or degraded: the fault was in
    the `"request"`, or `"on"` does not cover the error.
    """

    policy: FallbackPolicy
    failures: list[Failure] = field(default_factory=list[Failure])
    skipped: list[SkippedTarget] = field(default_factory=list[SkippedTarget])
    refused: list[SkippedTarget] = field(default_factory=list[SkippedTarget])
    """Those of `failures` that were refused without an attempt: not asked either."""
    ended: Literal["request", "on"] | None = None
    kept: Answer | None = None
    """What was found to answer with if nobody else does."""
    _next: int = 0
    _condemned: frozenset[tuple[str, str]] = frozenset()
    _allowed: frozenset[str] | None = None
    _enabled: dict[int, bool] = field(default_factory=dict[int, bool])
    # How many of the skips a failure of this very call has caused.
    _owed: int = 0

    def advance(self, now: float, blocked: Blocked, left: float) -> int | None:
        """Move to the next target that may be asked; record those that may not."""
        while self._next < len(self.policy.targets):
            index = self._next
            self._next += 1
            skip = self._skip(index, now, blocked, left)
            if skip is None:
                return index
            self.skipped.append(skip)
            self._owed += skip.reason != "disabled" and self._owed_skip(index) is not None
        return None

    def peek(self, now: float, blocked: Blocked, left: float) -> int | None:
        """Return the target that `advance` would move to."""
        for index in range(self._next, len(self.policy.targets)):
            if self._skip(index, now, blocked, left) is None:
                return index
        return None

    def limit(self, index: int, now: float, blocked: Blocked, left: float) -> float:
        """Return the seconds that target `index` may take of the `left` ones.

        Each later target that could be asked keeps its reserve.
        """
        kept = sum(self.policy.reserved(later) for later in self._later(index, now, blocked))
        # A chain with too little left for all is for the target whose turn it is.
        return left - kept if left > kept + ROUNDING else left

    def failed(
        self,
        index: int,
        error: Exception,
        fault: Fault | None,
        *,
        covered: bool,
        rejected: bool,
        retry_after: float | None = None,
    ) -> None:
        """Learn from the failure of target `index`; `covered` says whether `on=` moves on.

        A refusal condemns nothing: nobody has heard from the target.
        """
        self._next = index + 1
        self.failures.append(Failure(index, error, rejected, retry_after))
        if fault is not None and fault.scope == REQUEST:
            self.ended = "request"
        elif not covered:
            self.ended = "on"
        self._condemned |= self._condemns(index, fault)
        self._allowed = self._routed(error)

    def has_later(
        self,
        index: int,
        error: Exception | None,
        fault: Fault | None,
        now: float,
        blocked: Blocked,
    ) -> bool:
        """Tell whether a later target could be asked if `index` failed like this."""
        ahead = Cursor(
            self.policy,
            ended="request" if fault is not None and fault.scope == REQUEST else None,
            _condemned=self._condemned | self._condemns(index, fault),
            _allowed=self._allowed if error is None else self._routed(error),
            _enabled=self._enabled,
        )
        return any(True for _ in ahead._later(index, now, blocked))

    def surfaces(self) -> Exception | None:
        """Return the one error that surfaces as it is; `None` means the group."""
        if not self.failures:
            return None
        if self.policy.raises != "group":
            return self.failures[0 if self.policy.raises == "first" else -1].error
        only = self.failures[0]
        # A target that is switched off is no other target.
        others = sum(skip.reason != "disabled" for skip in self.skipped)
        alone = len(self.failures) == 1 and others == self._owed
        return only.error if alone and (not only.rejected or others == 0) else None

    def is_rejected(self) -> bool:
        """Tell whether nobody was called: every target refused or was skipped."""
        return all(failure.rejected for failure in self.failures)

    def forget(self) -> None:
        """Let go of the errors: their tracebacks hold the frames of this call."""
        self.failures.clear()
        self.kept = None

    def _later(self, index: int, now: float, blocked: Blocked) -> Iterator[int]:
        for later in range(index + 1, len(self.policy.targets)):
            if self._skip(later, now, blocked, inf) is None:
                yield later

    def _condemns(self, index: int, fault: Fault | None) -> frozenset[tuple[str, str]]:
        if fault is None or fault.scope is None:
            return frozenset()
        key = self.policy.targets[index].scopes.get(fault.scope)
        return frozenset() if key is None else frozenset([(fault.scope, key)])

    def _routed(self, error: Exception) -> frozenset[str] | None:
        """Return who may follow `error`: an error without a route changes nothing."""
        for kind, names in self.policy.routes:
            if isinstance(error, kind):
                return names
        return self._allowed

    def _is_enabled(self, index: int) -> bool:
        if index not in self._enabled:
            self._enabled[index] = self.policy.targets[index].is_enabled()
        return self._enabled[index]

    def _skip(self, index: int, now: float, blocked: Blocked, left: float) -> SkippedTarget | None:
        target = self.policy.targets[index]
        if not self._is_enabled(index):
            return SkippedTarget(target.name, index, "disabled")
        owed = self._owed_skip(index)
        if owed is not None:
            return SkippedTarget(target.name, index, *owed)
        for key in target.block_keys():
            after = blocked.get(key, now) - now
            if after > 0 and key[0] == "target":
                return SkippedTarget(target.name, index, "cooldown", None, after)
            if after > 0:
                return SkippedTarget(target.name, index, "scope_condemned", key[0], after)
        return SkippedTarget(target.name, index, "deadline") if left <= ROUNDING else None

    def _owed_skip(self, index: int) -> tuple[str, str | None] | None:
        """Return reason and scope of a skip that a failure of this very call causes."""
        target = self.policy.targets[index]
        if self.ended == "request":
            return "scope_condemned", REQUEST
        if self.ended == "on" or (self._allowed is not None and target.name not in self._allowed):
            return "routed_away", None
        for scope, key in target.scopes.items():
            if (scope, key) in self._condemned:
                return "scope_condemned", scope
        return None
