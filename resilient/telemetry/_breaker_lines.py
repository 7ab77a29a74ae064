"""What the log says of circuit breakers, one line for each change of state.

    breaker "openrouter" opened: 6 of 10 calls failed in 30 s, the last with 502; probes after 30 s

A refusal has no line: that its circuit opened has been said, and there may be
thousands of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient.telemetry import names
from resilient.telemetry._words import seconds

if TYPE_CHECKING:
    from resilient._core.breaker_states import Reason, State
    from resilient._core.events import BreakerChanged
    from resilient.telemetry._call import Call

_NAMES: dict[State, str] = {
    "open": names.BREAKER_OPENED,
    "half_open": names.BREAKER_HALF_OPENED,
    "closed": names.BREAKER_CLOSED,
    "isolated": names.BREAKER_ISOLATED,
    "disabled": names.BREAKER_DISABLED,
}
_BY_AN_ATTEMPT = frozenset[str]({"tripped", "relapsed", "recovered"})
_SAID: dict[Reason, str] = {
    "due": "half-open: it lets probes pass",
    "recovered": "closed: its probes succeeded",
    "isolated": "isolated by hand: nothing passes until it is released",
    "released": "closed: it is no longer isolated",
    "disabled": "disabled by hand: everything passes, and it learns nothing",
    "enabled": "closed: it is enabled again",
    "reset": "closed by hand",
}


def changed(event: BreakerChanged, call: Call) -> tuple[str, str, dict[str, Any]]:
    """Say what happened to a circuit breaker, and why."""
    said = _opened(event) if event.to_state == "open" else _SAID[event.reason]
    sentence = f'breaker "{event.name}" {said}'
    if not event.enforced:
        sentence += " (it only observes)"
    facts = {
        names.NUMBER: (call.attempt or None) if event.reason in _BY_AN_ATTEMPT else None,
        names.BREAKER: event.name,
        names.BREAKER_FROM: event.from_state,
        names.BREAKER_TO: event.to_state,
        names.BREAKER_REASON: event.reason,
        names.BREAKER_CALLS: event.calls,
        names.BREAKER_FAILURES: event.failures,
        names.BREAKER_SLOW: event.slow,
        names.RETRY_AFTER: None if event.open_for is None else float(event.open_for),
        names.ERROR_TYPE: event.opened_by,
    }
    return _NAMES[event.to_state], sentence, facts


def _opened(event: BreakerChanged) -> str:
    after = "" if event.open_for is None else f"; probes after {seconds(event.open_for)}"
    slow = event.opened_by == names.SLOW_CALL
    if event.reason == "relapsed":
        came = "was too slow" if slow else f"failed with {event.opened_by}"
        return f"opened again: a probe {came}{after}"
    return f"opened: {_figures(event)}{'' if slow else _last(event)}{after}"


def _last(event: BreakerChanged) -> str:
    if event.opened_by is None:
        return ""
    return f"{', the last' if event.failures != 1 else ''} with {event.opened_by}"


def _figures(event: BreakerChanged) -> str:
    """Say what its rule has seen."""
    if event.calls is None:
        return "its rule says so"
    of = f"of {event.calls} call{'' if event.calls == 1 else 's'}"
    bad = [f"{event.failures} {of} failed"] if event.failures else []
    if event.opened_by == names.SLOW_CALL and not event.slow:  # a row keeps no two counts
        bad = [f"{event.failures} {of} failed or {_were(event.failures or 0)} slow"]
    elif event.slow:
        bad.append(f"{event.slow} {'' if bad else f'{of} '}{_were(event.slow)} slow")
    within = "" if event.window is None else f" in {seconds(event.window)}"
    return f"{' and '.join(bad)}{within}"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
