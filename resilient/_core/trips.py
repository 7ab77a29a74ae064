"""When a closed breaker opens: what `trip=` takes.

A rule is a frozen value that can be shared by any number of breakers;
`evidence()` begins a closed period under it.

Rule 1: thresholds are reached at >=.

Rule 2: the rule is evaluated after each failure, and after a success only
where slow calls count: otherwise a success cannot be what opens the circuit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from resilient._core.evidence import LastCalls, LastSeconds, Rates, Row, Several
from resilient._core.options import seconds, shown, whole

if TYPE_CHECKING:
    from resilient._core.evidence import Evidence
    from resilient._core.options import Seconds


@runtime_checkable
class Trip(Protocol):
    """A rule that says when a closed breaker opens."""

    @property
    def slow_call(self) -> float:
        """The seconds from which on a call is slow; `inf` where that does not matter."""
        ...

    @property
    def timed(self) -> bool:
        """Whether it has to be told the time of a success."""
        ...

    @property
    def window(self) -> float:
        """The seconds for which a call is remembered; `inf` where time does not matter."""
        ...

    def evidence(self) -> Evidence:
        """Begin a closed period."""
        ...

    def describe(self) -> str:
        """Say it in words, behind "opens"."""
        ...


@dataclass(frozen=True, slots=True)
class Consecutive:
    """So many failures in a row."""

    failures: int
    slow_call: float = inf
    timed: bool = False
    window: float = inf

    def evidence(self) -> Evidence:
        """Begin with no failure."""
        return Row(self.failures)

    def describe(self) -> str:
        """Say how many."""
        s = "" if self.failures == 1 else "s"
        slow = "" if self.slow_call == inf else f" or call{s} of {self.slow_call:.6g} s"
        return f"at {self.failures} failure{s}{slow}{' in a row' if s else ''}"


@dataclass(frozen=True, slots=True)
class Window:
    """A share of bad calls among the last ones."""

    rates: Rates
    slow_call: float = inf

    def _describe(self, calls: str) -> str:
        rates = self.rates
        text = f"at {_percent(rates.failure_rate)} failures"
        if rates.slow_rate is not None:
            text += f" or {_percent(rates.slow_rate)} calls of {self.slow_call:.6g} s and more"
        return f"{text} of at least {rates.min_calls} {calls}"


@dataclass(frozen=True, slots=True)
class CountWindow(Window):
    """A share of bad calls among so many of the last."""

    size: int = 100
    timed: bool = False
    window: float = inf

    def evidence(self) -> Evidence:
        """Begin with no call."""
        return LastCalls(self.size, self.rates)

    def describe(self) -> str:
        """Say which share of how many."""
        return self._describe(f"of the last {self.size} calls")


@dataclass(frozen=True, slots=True)
class TimeWindow(Window):
    """A share of bad calls among those of the last seconds."""

    window: float = 30.0
    timed: bool = True

    def evidence(self) -> Evidence:
        """Begin with no call."""
        return LastSeconds(self.window, self.rates)

    def describe(self) -> str:
        """Say which share in how long."""
        return self._describe(f"calls in {self.window:.6g} s")


@dataclass(frozen=True, slots=True)
class AnyTrip:
    """Several rules: the first that is met opens the circuit."""

    rules: tuple[Trip, ...]

    @property
    def slow_call(self) -> float:
        """The same for all of them: a call is slow or it is not."""
        return min(rule.slow_call for rule in self.rules)

    @property
    def timed(self) -> bool:
        """Whether one of them needs the time."""
        return any(rule.timed for rule in self.rules)

    @property
    def window(self) -> float:
        """The shortest memory among them."""
        return min(rule.window for rule in self.rules)

    def evidence(self) -> Evidence:
        """Begin them all."""
        return Several(tuple((rule.evidence(), rule.slow_call < inf) for rule in self.rules))

    def describe(self) -> str:
        """Name them all."""
        return ", or ".join(rule.describe() for rule in self.rules)


def consecutive(failures: int = 5, /, *, slow_call: Seconds | None = None) -> Trip:
    """Open at so many failures in a row; one success begins anew.

    With `slow_call`, a call that takes that many seconds or more counts as one
    of them, also if it succeeds. It suits a target with few calls: with
    many, a row of failures is rare however bad the service is, and a window
    sees it earlier. `ValueError` for a number below 1.

    >>> consecutive(3).describe()
    'at 3 failures in a row'
    """
    return Consecutive(
        whole(failures, "consecutive(failures)"), _slow(slow_call, "consecutive(slow_call=)")
    )


def count_window(
    size: int = 100,
    /,
    *,
    failure_rate: float = 0.5,
    min_calls: int = 10,
    slow_call: Seconds | None = None,
    slow_rate: float | None = None,
) -> Trip:
    """Open when of the last `size` calls a share of `failure_rate` or more has failed.

    Fewer than `min_calls` calls say nothing. With `slow_call`, calls that take
    that many seconds or more are slow, and a share of `slow_rate` (0.5 where
    only `slow_call` is given) opens the circuit as well. `ValueError` for
    a rate outside of 0 to 1 (0 excluded), and for more `min_calls` than `size`.

    >>> count_window(100, failure_rate=0.3).describe()
    'at 30 % failures of at least 10 of the last 100 calls'
    """
    where = "count_window"
    held = whole(size, f"{where}(size)")
    if held > _LARGEST:
        raise ValueError(f"{where}(size) must be at most {_LARGEST}, not {shown(size)}")
    rates, slow = _rates(where, failure_rate, min_calls, slow_call, slow_rate)
    if rates.min_calls > held:
        raise ValueError(
            f"{where}(min_calls=) must be at most the size of the window, {held},"
            f" not {rates.min_calls}: it would never open"
        )
    return CountWindow(rates, slow, held)


def time_window(
    window: Seconds = 30,
    /,
    *,
    failure_rate: float = 0.5,
    min_calls: int = 10,
    slow_call: Seconds | None = None,
    slow_rate: float | None = None,
) -> Trip:
    """Open when of the calls in the last `window` seconds a share of `failure_rate` has failed.

    The window has ten buckets aligned to the clock, so its memory does not
    grow with the calls, and a call is remembered for more than nine tenths of
    it and never longer. The other options are those of `count_window`.

    The default of `circuit_breaker`: 30 s and 10 calls are enough to tell an
    outage from bad luck, and at half of the calls failing the other half is
    better served by being told at once.

    >>> time_window(10, slow_call=5, slow_rate=0.8).describe()
    'at 50 % failures or 80 % calls of 5 s and more of at least 10 calls in 10 s'
    """
    rates, slow = _rates("time_window", failure_rate, min_calls, slow_call, slow_rate)
    return TimeWindow(rates, slow, seconds(window, "time_window(window)"))


def any_of(*rules: Trip) -> Trip:
    """Open as soon as one of `rules` says so: a fast one for outages, a slow one for bad days.

    They share what a slow call is, so at most one value of `slow_call` may be
    given among them, else it is a `ValueError`.

    >>> any_of(consecutive(5), time_window(60, failure_rate=0.2)).describe()
    'at 5 failures in a row, or at 20 % failures of at least 10 calls in 60 s'
    """
    if not rules:
        raise ValueError("any_of() needs at least one rule, such as consecutive(5)")
    checked = tuple(trip_of(rule, "any_of()") for rule in rules)
    slow = {rule.slow_call for rule in checked} - {inf}
    if len(slow) > 1:
        both = " and ".join(f"{value:.6g}" for value in sorted(slow))
        raise ValueError(f"any_of() takes one slow_call= for all of its rules, not {both}")
    return AnyTrip(checked)


_LARGEST = 100_000


def trip_of(trip: Any, option: str) -> Trip:  # noqa: ANN401 - what a user wrote
    """Return a rule, or refuse what is none."""
    if isinstance(trip, type) or not isinstance(trip, Trip):
        name = getattr(trip, "__name__", None) or shown(trip)
        raise TypeError(
            f"{option} must be a rule such as consecutive(5) or time_window(30), not {name}"
        )
    return trip


def _rates(
    where: str,
    failure_rate: object,
    min_calls: object,
    slow_call: object,
    slow_rate: object,
) -> tuple[Rates, float]:
    if slow_rate is not None and slow_call is None:
        raise ValueError(f"{where}(slow_rate=) needs slow_call=: from how many seconds on?")
    if slow_call is not None and slow_rate is None:
        slow_rate = 0.5
    rates = Rates(
        _share(failure_rate, f"{where}(failure_rate=)"),
        whole(min_calls, f"{where}(min_calls=)"),
        None if slow_rate is None else _share(slow_rate, f"{where}(slow_rate=)"),
    )
    return rates, _slow(slow_call, f"{where}(slow_call=)")


def _slow(slow_call: object, option: str) -> float:
    return inf if slow_call is None else seconds(slow_call, option)


def _share(value: object, option: str) -> float:
    accepted = f"{option} must be a share above 0 and up to 1, not {shown(value)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise (ValueError if value is None else TypeError)(accepted)
    if not 0 < value <= 1:
        raise ValueError(accepted)
    return float(value)


def _percent(share: float) -> str:
    return f"{share * 100:.6g} %"
