"""A run: one schedule played out, and all that came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from resilient._core.events import BreakerChanged, CallStarted, Event, FellBack, RetryScheduled
from resilient.testing import _svg
from resilient.testing._check import check
from resilient.testing._details import Details
from resilient.testing._invariants.reruns import rerun
from resilient.testing._record import Raised, Result, Returned
from resilient.testing._schedule import FailureSchedule
from resilient.testing._steps import same
from resilient.testing._waterfall import picture_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from logging import LogRecord

    from resilient._core.bound import Bound
    from resilient._core.outcome import Outcome
    from resilient.testing._book import Admission
    from resilient.testing._measured import CapturedMetric
    from resilient.testing._picture import Picture
    from resilient.testing._record import TargetCall
    from resilient.testing._spans import CapturedSpans
    from resilient.testing._virtual import Backend


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerRun:
    """What came of one caller: when it began and ended, with what, and what it left undone.

    `cancelled_awake` says that it was about to begin, or that what it waited
    for had come at that very instant, so that the cancellation met it at its
    next await. `troubles` are
    facts that should not be: a cancellation that was not taken back, a context
    that is not as it was.

    Of a stream `items` are those that it got (`None` of what is none), and
    `items_at` their places in the order of things; `closed` says that it
    closed the stream before it ended.
    """

    number: int
    started: float
    ended: float
    result: Result
    order: int = 0
    ended_order: int = 0
    cancelled_at: float | None = None
    cancelled_order: int | None = None
    cancelled_awake: bool = False
    outcome: Outcome[Any] | None = None
    troubles: tuple[str, ...] = ()
    items: tuple[Any, ...] | None = None
    items_at: tuple[int, ...] = ()
    closed: bool = False

    @property
    def elapsed(self) -> float:
        """The seconds that it took."""
        return self.ended - self.started


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Run:
    """One schedule played out, and all that came of it.

    `calls` are those that reached a scripted function, `events` everything
    that the listeners saw, in order. `result` is that of the first caller,
    `callers` has all of them. `leftovers` names what should be gone.
    `admissions` are the permits of circuit breakers, `spans` those of
    OpenTelemetry (`None` without its SDK), without metrics and log lines,
    which `metrics` and `logs` have. `details` are for the invariants.
    """

    backend: Backend
    way: str
    calls: tuple[TargetCall, ...]
    events: tuple[Event, ...]
    result: Result
    elapsed: float
    leftovers: tuple[str, ...]
    cancelled_at: float | None = None
    cancelled_order: int | None = None
    schedule: FailureSchedule = field(default=FailureSchedule())
    callers: tuple[CallerRun, ...] = ()
    admissions: tuple[Admission, ...] = ()
    spans: CapturedSpans | None = None
    details: Details = field(default=Details())

    @property
    def origin(self) -> int | None:
        """The number of the call whose very value or error came out; `None` where none did."""
        for call in reversed(self.calls):
            if self.error is not None and self.error is call.error:
                return call.number
            if isinstance(self.result, Returned) and not call.error and self._is_of(call):
                return call.number
        return None

    def _is_of(self, call: TargetCall) -> bool:
        if self.items is None:
            return self.value is call.value
        return bool(call.items) and same(self.items[-1:], tuple((call.items or ())[-1:]))

    @property
    def tries(self) -> int:
        """Turns of the retry loops, refused ones included; without a retry each target has one."""
        noted = self.details.noted
        roots = [one for one in noted if one.call.parent is None]
        started = sum(isinstance(one.event, CallStarted) for one in roots)
        if not noted:
            started = any(isinstance(event, CallStarted) for event in self.events)
        turns = sum(isinstance(event, RetryScheduled | FellBack) for event in self.events)
        return started + turns

    @property
    def waits(self) -> list[float]:
        """The seconds between an attempt and the next, in order."""
        return [event.wait for event in self.events if isinstance(event, RetryScheduled)]

    @property
    def calls_at(self) -> list[float]:
        """The instants at which the scripted functions were called."""
        return [call.started for call in self.calls]

    @property
    def value(self) -> Any:  # noqa: ANN401 - what the call returned
        """The value that was returned, of a stream all its items; `None` where none was."""
        return self.result.value if isinstance(self.result, Returned) else None

    @property
    def items(self) -> tuple[Any, ...] | None:
        """The items that a stream gave to the first caller; `None` of what is no stream."""
        return self.callers[0].items if self.callers else None

    @property
    def error(self) -> BaseException | None:
        """The error that was raised; `None` where none was."""
        return self.result.error if isinstance(self.result, Raised) else None

    @property
    def results(self) -> tuple[Result, ...]:
        """What came of each caller."""
        return tuple(caller.result for caller in self.callers) or (self.result,)

    @property
    def bound(self) -> Bound | None:
        """The worst case that `explain` promises; `None` where nothing is known of policies."""
        anatomy = self.details.anatomy
        return None if anatomy is None else anatomy.bound

    @property
    def metrics(self) -> Mapping[str, CapturedMetric]:
        """What was measured, by the names of the metrics; empty without OpenTelemetry's SDK.

        Measuring costs as much as the rest of a run, so the schedule is run
        once more for it, when this or `logs` is read for the first time.

        >>> run = simulate(retry(attempts=3, backoff=[1]), "x x .")
        >>> run.metrics["resilient.call.retries"].sum
        2
        """
        spans = self._told.spans
        return {} if spans is None else spans.metrics

    @property
    def logs(self) -> tuple[LogRecord, ...]:
        """The lines that the library's log would have, in order; see `metrics`.

        >>> run = simulate(retry(attempts=3, backoff=[1]), "x .")
        >>> [f"{line.levelname} {line.getMessage()}" for line in run.logs]
        ['WARNING target: attempt 1 of 3 failed: ConnectionError; next try in 1 s']
        """
        return self._told.details.lines

    @property
    def _told(self) -> Run:
        again = rerun(self, "told")
        return again if isinstance(again, Run) else self

    def check(
        self,
        *extra: Callable[[Run], object],
        only: Iterable[str] | None = None,
        skip: Iterable[str] = (),
    ) -> Self:
        """Ask every invariant of this run, and return it; `InvariantBroken` where one is broken.

        `extra` are functions of a run that raise an `AssertionError`. `only`
        and `skip` are names of invariants; `skip=RERUNS` leaves out those that
        run the schedule again. What an invariant is about decides whether it
        says anything: one of breakers is silent where there are none.

        >>> def fast(run: Run) -> None:
        ...     assert run.elapsed < 10
        >>> simulate(retry(attempts=3, backoff=[1]), "x .").check(fast).elapsed
        1.0
        """
        check(self, extra, only, skip)
        return self

    @property
    def breakers(self) -> dict[str, tuple[BreakerChanged, ...]]:
        """The transitions of each circuit breaker, by name, in order."""
        found: dict[str, tuple[BreakerChanged, ...]] = {}
        for event in self.events:
            if isinstance(event, BreakerChanged):
                found[event.name] = (*found.get(event.name, ()), event)
        return found

    def waterfall(self, width: int = 40) -> str:
        """Draw the run in characters: a row for each call and attempt, on one axis of time.

        >>> print(simulate(retry(attempts=2, backoff=[1]), "x2 .1").waterfall())
        target       ████████████████████████████████████████     4.00 s  ok
          attempt 1  ████████████████████                         2.00 s  ConnectionError → retry in 1.00 s
          attempt 2                                ██████████     1.00 s  ok
        """  # noqa: E501 - the picture is as wide as it is
        return self._picture().text(width)

    def waterfall_svg(self) -> str:
        """Draw the run as an SVG document, which is the same text for the same run."""
        return _svg.drawn(self._picture(), f"{self.schedule!r} on {self.backend}")

    def _picture(self) -> Picture:
        return picture_of(self.details.noted, self.calls, self.callers, self.details.name)

    @property
    def event_names(self) -> list[str]:
        """The kinds of the events, in order."""
        return [type(event).__name__ for event in self.events]

    def __repr__(self) -> str:
        """Say what was run: all that came of it would be pages."""
        return f"<Run of {self.schedule!r} on {self.backend}>"

    def __str__(self) -> str:
        """Show the calls, the events and the result, a line each."""
        lines = [str(call) for call in self.calls]
        lines += [f"{type(event).__name__} at {event.at:.6g} s" for event in self.events]
        lines.append(f"{self.result!r} after {self.elapsed:.6g} s")
        return "\n".join(f"  {line}" for line in lines)
