"""The circuit breaker as a state machine: it takes numbers and returns decisions.

    closed ──tripped──> open ──due──> half_open ──recovered──> closed
                          ^              │
                          └──relapsed────┘

**Closed**: every call passes, and its result is evidence (see `evidence`).
When the rule says so, the circuit *trips* and is **open**: for `open_for`
seconds every call is refused, at once. The first call after that is *due*: it
finds the circuit **half open** and is a probe. One half-open period has
`probes` places. A probe takes a place and keeps it when it ends in success or
failure; a neutral end (cancelled, ignored) gives the place back, and so does
`probe_timeout`, so a probe that never ends wedges nothing. Whoever finds no
place is refused. At the `successes`-th success the service has *recovered*; as
soon as that can no longer be reached the circuit *relapses* and is open again,
for longer where `open_for` grows.

By hand a circuit is **isolated** (refuses everything until released) or
**disabled** (lets everything pass and learns nothing).

Two ideas keep results where they belong. Every state is a *period* with an
object of its own, and each admission is a one-shot `Permit` for one period: a
result that comes when its period is over changes nothing. And a permit ends as
`success`, `failure` or `neutral`; neutral gives back what it took and teaches
nothing, and is what everything but an `Exception` is.

`TRANSITIONS` is all that can happen; anything else raises and changes nothing.
The state diagram of the documentation is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nextafter
from typing import TYPE_CHECKING, Final, NamedTuple

from resilient._core.events import Origin
from resilient._core.evidence import FAILED, SLOW, Figures

if TYPE_CHECKING:
    from resilient._core.breaker_policy import BreakerPolicy
    from resilient._core.breaker_states import Reason, State
    from resilient._core.evidence import Evidence
    from resilient._core.outcome import Verdict

TRANSITIONS: Final[dict[tuple[State, Reason], State]] = {
    # what calls and time do
    ("closed", "tripped"): "open",
    ("open", "due"): "half_open",
    ("half_open", "recovered"): "closed",
    ("half_open", "relapsed"): "open",
    # what is done by hand
    ("closed", "isolated"): "isolated",
    ("open", "isolated"): "isolated",
    ("half_open", "isolated"): "isolated",
    ("disabled", "isolated"): "isolated",
    ("isolated", "released"): "closed",
    ("closed", "disabled"): "disabled",
    ("open", "disabled"): "disabled",
    ("half_open", "disabled"): "disabled",
    ("disabled", "enabled"): "closed",
    ("closed", "reset"): "closed",
    ("open", "reset"): "closed",
    ("half_open", "reset"): "closed",
}
"""(state, what happens) -> the next state."""


class IllegalTransitionError(RuntimeError):
    """What was asked for cannot happen in this state; nothing has changed."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What opened a circuit: names and a text, and no exception that would keep its frames."""

    error: str
    """Its `error.type`, or `slow_call`."""
    message: str = ""

    def __repr__(self) -> str:
        """Leave the message out: it is the service's, and may hold anything."""
        return f"Cause({self.error!r})"


class Change(NamedTuple):
    """A transition that has happened."""

    from_state: State
    to_state: State
    reason: Reason
    open_for: float | None = None
    cause: Cause | None = None
    origin: Origin | None = None
    figures: Figures | None = None


class HalfOpen:
    """One half-open period: who probes, and how it has gone."""

    __slots__ = ("failed", "places", "succeeded")

    def __init__(self) -> None:
        # Those on their way, oldest first, and until when each keeps its place.
        self.places: dict[Permit, float] = {}
        self.succeeded = 0
        self.failed = 0

    @property
    def taken(self) -> int:
        """The places that are taken: by probes on their way and by those that have ended."""
        return len(self.places) + self.succeeded + self.failed

    def expire(self, now: float) -> None:
        """Take back the places of probes that have not ended in their time."""
        for permit in [permit for permit, until in self.places.items() if until <= now]:
            del self.places[permit]


class Permit:
    """An admission to one period; settled once."""

    __slots__ = ("granted", "owner", "period", "settled")

    def __init__(self, period: Evidence | HalfOpen | None, granted: float) -> None:
        self.period = period
        self.granted = granted
        self.settled = False
        # The call that it admits with all that is inside of it, if it is one.
        self.owner: object = None


class Refusal(NamedTuple):
    """Why a call was not admitted."""

    isolated: bool
    retry_after: float | None
    cause: Cause | None
    origin: Origin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an admitted call has ended, as far as a breaker learns from it."""

    verdict: Verdict
    now: float
    duration: float = 0.0
    cause: Cause | None = None
    hint: float | None = None
    """The seconds for which the server asked to be left alone."""
    trips: bool = False
    """Whether it opens the circuit whatever the rule says."""
    rnd: float = 0.5
    """A random number from 0 to 1, for the jitter of `open_for`."""
    wait: float | None = None
    """What `open_for` says, where that is a function of the user's (`BreakerPolicy.asks`)."""


def seconds_until(instant: float, now: float) -> float:
    """Return how long it is from `now` to `instant`, so that who waits that long is not early."""
    seconds = instant - now
    if now + seconds < instant:  # the difference was rounded down
        seconds = nextafter(seconds, inf)
    return max(0.0, seconds)


class Breaker:
    """The state of one circuit. Not thread-safe: its owner holds a lock around each step.

    The exception is `evidence`, the closed period: a success may be written to
    it directly (see there).
    """

    __slots__ = (
        "cause",
        "evidence",
        "half_open",
        "holders",
        "open_until",
        "openings",
        "origin",
        "policy",
        "state",
        "waited",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state: State = "closed"
        self.evidence: Evidence | None = policy.trip.evidence()
        """The closed period; `None` in every other state."""
        self.half_open: HalfOpen | None = None
        self.open_until = inf
        # How often it has opened since it was closed last, and for how long it did.
        self.openings = 0
        self.waited: float | None = None
        self.cause: Cause | None = None
        self.origin: Origin | None = None
        self.holders = 0

    def admit(self, now: float) -> tuple[Permit | Refusal, Change | None]:
        """Let a call pass, or refuse it; the first after `open_for` finds it half open."""
        change = None
        if self.state == "open" and now >= self.open_until:
            change = self._go("due")
            self.half_open = HalfOpen()
        if self.evidence is not None:
            return Permit(self.evidence, now), change
        if self.state == "disabled":
            return Permit(None, now), change
        half_open = self.half_open
        if half_open is not None:
            half_open.expire(now)
            if half_open.taken < self.policy.probes:
                permit = Permit(half_open, now)
                half_open.places[permit] = now + self.policy.probe_timeout
                return permit, change
        return self._refuse(now), change

    def settle(self, permit: Permit, result: Result) -> Change | None:
        """Take the result of an admitted call; the second one of a permit raises."""
        if permit.settled:
            raise IllegalTransitionError("this permit was settled before: it is for one call")
        permit.settled = True
        if isinstance(permit.period, HalfOpen):
            return self._probed(permit, permit.period, result)
        return self.learn(permit.period, result)

    def learn(self, evidence: Evidence | None, result: Result) -> Change | None:
        """Take the result of a call of a closed period, whose evidence was its permit."""
        if evidence is None or result.verdict == "neutral":
            return None
        failed = result.verdict == "failure"
        slow = result.duration >= self.policy.trip.slow_call
        opens = evidence.add(result.now, failed * FAILED | slow * SLOW)
        if evidence is not self.evidence:  # of an earlier period
            return None
        if opens or (failed and result.trips):
            return self._open("tripped", result, evidence.figures(result.now))
        return None

    def _probed(self, permit: Permit, half_open: HalfOpen, result: Result) -> Change | None:
        half_open.expire(result.now)
        if half_open is not self.half_open or permit not in half_open.places:
            return None  # it comes too late
        del half_open.places[permit]
        if result.verdict == "neutral":
            return None
        if result.verdict == "success" and result.duration < self.policy.trip.slow_call:
            half_open.succeeded += 1
            if half_open.succeeded >= self.policy.successes:
                return self._close("recovered")
            return None
        half_open.failed += 1
        trips = result.trips and result.verdict == "failure"
        if trips or half_open.failed > self.policy.probes - self.policy.successes:
            return self._open("relapsed", result)
        return None

    def isolate(self) -> Change | None:
        """Refuse everything until released as often as isolated."""
        change = self._go("isolated") if self.holders == 0 else None
        self.holders += 1
        return change

    def release(self) -> Change | None:
        """Undo one `isolate`; the last one closes the circuit."""
        if self.holders == 1:
            change = self._close("released")
        elif self.holders:
            change = None
        else:
            raise IllegalTransitionError("it is not isolated")
        self.holders -= 1
        return change

    def disable(self) -> Change | None:
        """Let everything pass and learn nothing."""
        return None if self.state == "disabled" else self._go("disabled")

    def enable(self) -> Change | None:
        """Take part again, closed."""
        return self._close("enabled") if self.state == "disabled" else None

    def close(self) -> Change | None:
        """Close the circuit, with empty evidence."""
        return self._close("reset")

    def retry_after(self, now: float) -> float | None:
        """Return after how many seconds the next call may pass; `None` if nobody knows."""
        if self.state == "open":
            return seconds_until(self.open_until, now)
        if self.half_open is not None:
            half_open = self.half_open
            if half_open.taken < self.policy.probes:
                return 0.0
            # The oldest probe gives its place back then, whatever becomes of it. There is one:
            # when all places have ended in a result, so has the period.
            return seconds_until(min(half_open.places.values()), now)
        return None if self.state == "isolated" else 0.0

    def figures(self, now: float) -> Figures:
        """Return what a closed circuit remembers."""
        return Figures() if self.evidence is None else self.evidence.figures(now)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost when it is made anew."""
        return self.evidence is not None

    def _refuse(self, now: float) -> Refusal:
        return Refusal(self.state == "isolated", self.retry_after(now), self.cause, self.origin)

    def _open(self, reason: Reason, result: Result, figures: Figures | None = None) -> Change:
        wait = result.wait
        if wait is None:
            wait = self.policy.open_for.wait(self.openings + 1, result.rnd, self.waited)
        change = self._go(reason)
        self.openings += 1
        self.waited = wait
        open_for = max(wait, result.hint or 0.0)
        self.open_until = result.now + open_for
        self.cause = result.cause or Cause("slow_call")
        self.origin = Origin()
        return change._replace(
            open_for=open_for, cause=self.cause, origin=self.origin, figures=figures
        )

    def _close(self, reason: Reason) -> Change:
        change = self._go(reason)
        self.evidence = self.policy.trip.evidence()
        self.openings, self.waited = 0, None
        return change

    def _go(self, reason: Reason) -> Change:
        before = self.state
        after = TRANSITIONS.get((before, reason))
        if after is None:
            raise IllegalTransitionError(f"a circuit that is {before} cannot be {reason}")
        self.state = after
        # Whatever period it was, it is over.
        self.evidence = self.half_open = None
        self.open_until = inf
        if after != "half_open":  # that knows what it tries to recover from
            self.cause = self.origin = None
        return Change(before, after, reason)
