"""Four signals that say a service is about to fail, or does, for those who have no metrics stack.

A listener counts what events tell it, over the last so many seconds, and calls
back when a share is reached: once, and again when it had gone away meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias

from resilient._core import events, options
from resilient._core.evidence import FAILED, LastSeconds, Rates
from resilient._core.names import error_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._core.options import Seconds
    from resilient.telemetry._call import Call

SignalName: TypeAlias = Literal[
    "calls_failing", "fallback_share", "slow_first_item", "throttled", "credentials"
]

_PLACES = 4096
"""Pipelines and targets that are watched; further ones are not."""

_THROTTLED = "429"
_REFUSED = frozenset({"401", "402"})
_TAIL = 0.05
"""The share of slow first items at which the 95th percentile is slow."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What has come up: which signal, of which pipeline or target, and the numbers behind it.

    `count` of the last `of` calls, attempts or first items were bad.
    """

    name: SignalName
    where: str
    count: int
    of: int

    @property
    def share(self) -> float:
        """The bad ones among all."""
        return self.count / self.of


class Signals:
    """A listener that calls `notify` with a `Signal` when one comes up.

    * `calls_failing`: a share of `failing` of a pipeline's calls failed or were rejected.
    * `fallback_share`: a share of `fallback` of a pipeline's answers came from a later target.
    * `slow_first_item`: one in twenty first items of a primary took longer than that many
      seconds. Off unless given.
    * `throttled`: a share of `throttled` of a target's attempts were told 429.
    * `credentials`: a target's attempt was told 401 or 402. The first one counts.

    Shares are of the last `window` seconds, and of fewer than `least` bad ones
    nothing is said, so that one failure at night wakes nobody. What a status
    is, an error says with its `telemetry_error_type`. `notify` is called
    between awaits: it hands on, and does not wait. `ValueError` for a share
    outside of 0 to 1 (0 excluded).

    >>> from resilient import telemetry
    >>> telemetry.install(listeners=[telemetry.Signals(print)])
    >>> telemetry.install()
    """

    def __init__(
        self,
        notify: Callable[[Signal], object],
        /,
        *,
        window: Seconds = 300,
        least: int = 5,
        failing: float = 0.01,
        fallback: float = 0.2,
        throttled: float = 0.05,
        slow_first_item: Seconds | None = None,
    ) -> None:
        if not callable(notify):
            raise TypeError(f"Signals(notify) takes a function, not {options.shown(notify)}")
        self._notify = notify
        self._window = options.seconds(window, "Signals(window=)")
        self._least = options.whole(least, "Signals(least=)")
        self._shares: dict[SignalName, float] = {
            "calls_failing": _share(failing, "failing"),
            "fallback_share": _share(fallback, "fallback"),
            "throttled": _share(throttled, "throttled"),
            "slow_first_item": _TAIL,
        }
        self._slow: float | None = None
        if slow_first_item is not None:
            self._slow = options.seconds(slow_first_item, "Signals(slow_first_item=)")
        self._seen: dict[tuple[SignalName, str], LastSeconds] = {}
        self._up: set[tuple[SignalName, str]] = set()
        # Held while numbers change, and not while `notify` runs.
        self._lock = Lock()

    def on_event(self, event: events.Event, call: Call, /) -> None:
        """Count what the event says."""
        match event:
            case events.CallEnded():
                self._call_ended(event, call)
            case events.AttemptEnded():
                self._attempt_ended(event)
            case events.StreamCommitted() if self._slow is not None and call.target_index == 0:
                self._count("slow_first_item", call.target, event.at, bad=event.after > self._slow)
            case _:
                pass

    def _call_ended(self, event: events.CallEnded, call: Call) -> None:
        name = call.plan.name
        if event.outcome != "cancelled":
            failed = event.outcome in {"failure", "rejected"}
            self._count("calls_failing", name, event.at, bad=failed)
        if event.target is not None and len(call.plan.targets) > 1:
            self._count("fallback_share", name, event.at, bad=event.outcome == "fallback")

    def _attempt_ended(self, event: events.AttemptEnded) -> None:
        kind = None if event.error is None else error_type(event.error)
        if event.disposition != "cancelled":
            self._count("throttled", event.target, event.at, bad=kind == _THROTTLED)
        place: tuple[SignalName, str] = "credentials", event.target
        if kind in _REFUSED and place not in self._up and len(self._up) < _PLACES:
            self._up.add(place)
            self._notify(Signal("credentials", event.target, 1, 1))
        elif event.verdict == "success":
            self._up.discard(place)

    def _count(self, name: SignalName, where: str, at: float, *, bad: bool) -> None:
        place = name, where
        with self._lock:
            seen = self._seen.get(place)
            if seen is None:
                if len(self._seen) >= _PLACES:
                    return
                seen = self._seen[place] = LastSeconds(self._window, _NO_RATES)
            seen.add(at, FAILED if bad else 0)
            figures = seen.figures(at)
            signal = Signal(name, where, figures.failures, figures.calls)
            is_up = signal.count >= self._least and signal.share >= self._shares[name]
            comes_up = is_up and place not in self._up
            (self._up.add if is_up else self._up.discard)(place)
        if comes_up:
            self._notify(signal)

    def __repr__(self) -> str:
        """Show what is up."""
        up = ", ".join(f"{name} of {where}" for name, where in sorted(self._up))
        return f"Signals({up or 'all quiet'})"


_NO_RATES = Rates(1, 1, None)


def _share(value: float, option: str) -> float:
    found = options.number(value, f"Signals({option}=)", least=0, most=1)
    if found == 0:
        raise ValueError(f"Signals({option}=) must be above 0, not {value!r}")
    return found
