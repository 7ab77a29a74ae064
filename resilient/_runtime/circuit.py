"""One circuit: the state machine of `_core.breaker`, shared by threads and loops.

A lock is held around each step of the machine, and around nothing else: not
around a user's predicate or backoff, a listener or an await. Two things are
done without it, because they are what a healthy and a dead service cost. A
success is written to the evidence of the closed period, in one step that no
thread can divide (a build without the interpreter's lock takes ours). And an
open circuit refuses by what it reads.

Nobody waits for the lock to hand in a result: it is put down, and whoever has
the lock takes it. The garbage collector may close a guarded coroutine in the
middle of any step, and what that hands in must not wait for this very step.

Transitions are reported outside of the lock and in the order in which they
happened: they wait in a line that one thread at a time hands out.
"""

from __future__ import annotations

from collections import deque
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from resilient._core.breaker import Breaker, Cause, Permit, Result, seconds_until
from resilient._core.breaker_policy import lesson
from resilient._core.breaker_snapshot import BreakerSnapshot
from resilient._core.events import BreakerChanged, CallRejected
from resilient._core.names import error_type
from resilient._runtime.exact import count, has_gil
from resilient.errors import CircuitIsolated, CircuitOpen

if TYPE_CHECKING:
    from resilient._core.breaker import Change, Refusal
    from resilient._core.breaker_policy import BreakerPolicy
    from resilient._core.breaker_states import State
    from resilient._core.events import Origin
    from resilient._core.evidence import Evidence
    from resilient._core.faults import Classify
    from resilient._core.outcome import Verdict
    from resilient._runtime.call import Call

ByHand = Literal["isolate", "release", "close", "disable", "enable"]
"""What a person can do to a circuit: a method of the machine."""

_LONGEST = 200
"""Characters of an error's text that are kept."""


class Circuit:
    """One circuit of one world."""

    __slots__ = (
        "breaker",
        "judge",
        "line",
        "lock",
        "name",
        "observes",
        "plain",
        "policy",
        "refused",
        "results",
        "slow_call",
        "telling",
        "timed",
        "used",
    )

    def __init__(self, name: str, policy: BreakerPolicy) -> None:
        self.name = name
        self.policy = policy
        self.breaker = Breaker(policy)
        self.judge = policy.on_result
        self.observes = policy.mode == "observe"
        self.timed = policy.trip.timed
        self.slow_call = policy.trip.slow_call
        # Whether a success needs nothing but to be written down.
        self.plain = policy.on_result is None and self.slow_call == inf and _SHARES
        self.lock = Lock()
        self.refused = [0]
        self.results: deque[tuple[Call, Permit | Evidence, Result]] = deque()
        self.line: deque[tuple[float, Change, Call]] = deque()
        self.telling = False
        # Whether it was asked for again since its family looked (see there).
        self.used = False

    def admit(self, call: Call) -> Permit | None:
        """Admit `call`, or raise `CircuitOpen`.

        There is no permit for what passes all the same: where the circuit only
        observes, and for a part of a probe.
        """
        now = call.runtime.clock()
        breaker = self.breaker
        # The instant first: it is infinite in every state but open.
        until = breaker.open_until
        if now < until < inf and breaker.state == "open":
            cause, origin, state = breaker.cause, breaker.origin, _OPEN
            after = until - now
            if now + after < until:  # rarely: a refusal is cheap
                after = seconds_until(until, now)
            error = CircuitOpen(self.name, retry_after=after, opened_by=cause)
        else:
            with self.lock:
                self._catch_up()
                found: Permit | Refusal | None = None
                if not self._is_part_of_probe(call):
                    found, change = breaker.admit(now)
                    self._note(now, change, call)
                state = breaker.state
            self._tell()
            if found is None:
                return None
            if isinstance(found, Permit):
                found.owner = call
                return found
            kind = CircuitIsolated if found.isolated else CircuitOpen
            error = kind(self.name, retry_after=found.retry_after, opened_by=found.cause)
            origin = found.origin
        count(self.refused, 0)
        # The log has said that the circuit opened: not each of its refusals.
        if call.loud:
            self._report(call, now, error, origin, state)
        if self.observes:
            return None
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def _is_part_of_probe(self, call: Call) -> bool:
        """Tell whether `call` belongs to a probe on its way (with the lock held).

        A function that this circuit guards may call another one that it guards
        as well. Refused, that would end the probe around it without a result,
        and the circuit would never close.
        """
        half_open = self.breaker.half_open
        if half_open is None:
            return False
        owners = [permit.owner for permit in half_open.places]
        outer: Call | None = call
        while outer is not None:
            if any(owner is outer for owner in owners):
                return True
            outer = outer.parent
        return False

    def _report(
        self, call: Call, now: float, error: CircuitOpen, origin: Origin | None, state: State
    ) -> None:
        enforced, after = not self.observes, error.retry_after
        call.tell(
            CallRejected(now, "circuit_breaker", after, error, enforced, self.name, origin, state)
        )

    def returned(self, call: Call, permit: Permit | None, value: Any) -> None:  # noqa: ANN401
        """Settle `permit` by what was returned."""
        bad: bool | float = False
        if permit is not None and self.judge is not None:
            try:
                bad = self.judge.decide(value)
            except BaseException:
                self.release(call, permit)
                raise
        self.succeed(call, permit, bad=bad is not False)

    def succeed(
        self,
        call: Call,
        permit: Permit | None,
        *,
        bad: bool = False,
        took: float | None = None,
    ) -> None:
        """Settle `permit` as a success, or as a result that is a failure.

        `took` is how long it took, where that is not all the time since `permit` was given.
        """
        if permit is None:
            return
        now = call.runtime.clock()
        duration = now - permit.granted if took is None else took
        if bad:
            self._count(call, permit, "failure", now, duration, Cause("unacceptable_result"))
        elif duration >= self.slow_call:
            self._count(call, permit, "success", now, duration)
        else:
            self._settle(call, permit, Result(verdict="success", now=now, duration=duration))

    def fail(
        self,
        call: Call,
        permit: Permit | Evidence | None,
        error: BaseException,
        classify: Classify | None = None,
    ) -> None:
        """Settle `permit` by what was raised; the evidence itself is that of a closed period.

        `classify` is the answer of the target to what an error is.
        """
        if permit is None:
            return
        if not issubclass(type(error), Exception):
            self.release(call, permit)
            return
        try:
            taught, hint = lesson(self.policy, error, classify)  # type: ignore[arg-type]  # told by `type`
        except BaseException:
            self.release(call, permit)
            raise
        if taught == "neutral":
            self.release(call, permit)
            return
        now = call.runtime.clock()
        duration = now - permit.granted if isinstance(permit, Permit) else 0.0
        trips = taught == "trip"
        self._count(call, permit, "failure", now, duration, _cause(error), hint=hint, trips=trips)

    def release(self, call: Call, permit: Permit | Evidence | None) -> None:
        """Give `permit` back: nothing was learned."""
        if isinstance(permit, Permit):
            now = call.runtime.clock()
            self._settle(call, permit, Result(verdict="neutral", now=now))

    def _count(
        self,
        call: Call,
        permit: Permit | Evidence,
        verdict: Verdict,
        now: float,
        duration: float,
        cause: Cause | None = None,
        *,
        hint: float | None = None,
        trips: bool = False,
    ) -> None:
        """Settle `permit` by what may open the circuit."""
        breaker = self.breaker
        rnd = call.runtime.random.random()
        wait: float | None = None
        if self.policy.asks:
            # A function of the user's, so not behind the lock. Neither number
            # changes while the period of this permit lasts.
            try:
                wait = self.policy.open_for.wait(breaker.openings + 1, rnd, breaker.waited)
            except BaseException:
                self.release(call, permit)
                raise
        result = Result(
            verdict=verdict,
            now=now,
            duration=duration,
            cause=cause,
            hint=hint,
            trips=trips,
            rnd=rnd,
            wait=wait,
        )
        self._settle(call, permit, result)

    def _settle(self, call: Call, permit: Permit | Evidence, result: Result) -> None:
        self.results.append((call, permit, result))
        self._tell()

    def by_hand(self, call: Call, what: ByHand) -> None:
        """Take a step that a person asked for."""
        try:
            with self.lock:
                self._catch_up()
                change: Change | None = getattr(self.breaker, what)()
                self._note(call.runtime.clock(), change, call)
        finally:
            self._tell()

    def single(self) -> Circuit:
        """Return itself, as a family of one."""
        return self

    def snapshot(self, now: float) -> BreakerSnapshot:
        """Return what is known at `now`."""
        with self.lock:
            self._catch_up()
            breaker = self.breaker
            figures = breaker.figures(now)
            found = BreakerSnapshot(
                name=self.name,
                state=breaker.state,
                calls=figures.calls,
                failures=figures.failures,
                slow=figures.slow,
                retry_after=breaker.retry_after(now),
                opened_by=breaker.cause,
                refused=self.refused[0],
                min_calls=figures.min_calls,
            )
        self._tell()
        return found

    def _catch_up(self) -> None:
        """Take the results that were handed in (with the lock held)."""
        breaker = self.breaker
        while self.results:
            call, permit, result = self.results.popleft()
            if isinstance(permit, Permit):
                change = breaker.settle(permit, result)
            else:
                change = breaker.learn(permit, result)
            self._note(result.now, change, call)

    def _note(self, now: float, change: Change | None, call: Call) -> None:
        if change is not None and change.from_state != change.to_state:
            self.line.append((now, change, call))

    def _tell(self) -> None:
        """Take what was handed in and report what has happened, where nobody else does.

        Called after each step, so who finds the lock taken can leave it to
        the one that has it.
        """
        while self.results or (self.line and not self.telling):
            if not self.lock.acquire(blocking=False):
                return
            try:
                self._catch_up()
                told = None
                if self.line and not self.telling:
                    told = self.line.popleft()
                    self.telling = True
            finally:
                self.lock.release()
            if told is not None:
                now, change, call = told
                try:
                    call.report(self._event(now, change))
                finally:
                    self.telling = False
                    del told, call

    def _event(self, now: float, change: Change) -> BreakerChanged:
        origin: Origin | None = change.origin
        event = BreakerChanged(
            now,
            self.name,
            change.from_state,
            change.to_state,
            change.reason,
            change.open_for,
            None if change.cause is None else change.cause.error,
            not self.observes,
            origin,
        )
        figures, window = change.figures, self.policy.trip.window
        if figures is not None:
            event.calls, event.failures, event.slow = figures.calls, figures.failures, figures.slow
            event.window = window if window < inf else None
        return event


_OPEN: State = "open"

_SHARES = has_gil()
"""Whether a success may be written without the lock."""


def _cause(error: BaseException) -> Cause:
    try:
        message = str(error)[:_LONGEST]
    except Exception:
        message = ""
    return Cause(error_type(error), message)
