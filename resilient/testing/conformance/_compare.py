"""What a case says, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._core.events import (
    AttemptEnded,
    AttemptStarted,
    BreakerChanged,
    CallEnded,
    CallStarted,
    FellBack,
    RetryScheduled,
    TargetSkipped,
)
from resilient._core.names import error_type
from resilient.testing._record import Cancelled, Raised, Returned
from resilient.testing.conformance._build import same_number
from resilient.testing.conformance._data import Data, is_list, is_number, is_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from resilient._core.events import Event
    from resilient.testing.conformance._record import Found

NEEDS_EVENTS = {"tries", "waits", "events", "counts", "changes"}
"""What cannot be told of a run that nobody listened to."""
OF_EVENTS = {"ends", "retry", "waited", "target", "attempts", "skipped"}
"""The same, of one call."""


def differences(then: Data, found: Found) -> Iterator[str]:
    """Yield what is not as the case says, and what must hold for every case."""
    refused = then.get("refused")
    if found.refused is not None:
        if refused is None or refused not in str(found.refused):
            yield f"given was refused: {found.refused}"
        return
    if refused is not None:
        yield f"given should be refused because of {refused}, and is not"
    yield from _warnings(then.get("warns", []), found.warned)
    for name, wanted in then.items():
        if name not in NEEDS_EVENTS or found.listened:
            yield from _FACTS.get(name, _nothing)(name, wanted, found)
    yield from found.left
    yield from _always(found)


def _nothing(name: str, wanted: Any, found: Found) -> Iterator[str]:  # noqa: ANN401
    del name, wanted, found
    yield from ()


def _warnings(wanted: Sequence[str], found: Sequence[str]) -> Iterator[str]:
    if len(wanted) != len(found) or any(
        text not in warned for text, warned in zip(wanted, found, strict=True)
    ):
        yield f"warns should be {list(wanted)} and is {list(found)}"


# Facts of the whole run


def _fact(of: Callable[[Found], Any]) -> Callable[[str, Any, Found], Iterator[str]]:
    def compare(name: str, wanted: Any, found: Found) -> Iterator[str]:  # noqa: ANN401
        have = of(found)
        if not _equal(wanted, have):
            yield f"{name} should be {wanted} and is {have}"

    return compare


def _tries(found: Found) -> int:
    begun = {who for who, event in found.events if isinstance(event, CallStarted)}
    turns = sum(isinstance(event, RetryScheduled | FellBack) for _, event in found.events)
    return len(begun) + turns


def _waits(found: Found) -> list[float]:
    return [event.wait for _, event in found.events if isinstance(event, RetryScheduled)]


def _kinds(found: Found) -> list[str]:
    return [type(event).__name__ for _, event in found.events]


def _outcome(_: str, wanted: Data, found: Found) -> Iterator[str]:
    yield from _of_call("outcome", wanted, found, 0)


def _outcomes(_: str, wanted: Sequence[Data], found: Found) -> Iterator[str]:
    for place, one in enumerate(wanted):
        yield from _of_call(f"outcomes[{place}]", one, found, place)


def _counts(_: str, wanted: Data, found: Found) -> Iterator[str]:
    kinds = _kinds(found)
    for kind, number in wanted.items():
        if not _equal(number, kinds.count(kind)):
            yield f"counts.{kind} should be {number} and is {kinds.count(kind)}"


def _states(name: str, wanted: Data, found: Found) -> Iterator[str]:
    for breaker, state in wanted.items():
        if found.states.get(breaker) != state:
            yield f"{name}.{breaker} should be {state} and is {found.states.get(breaker)}"


def _tokens(name: str, wanted: Data, found: Found) -> Iterator[str]:
    for budget, number in wanted.items():
        if not _equal(number, found.tokens[budget]):
            yield f"{name}.{budget} should be {number} and is {found.tokens[budget]}"


def _changes(name: str, wanted: Sequence[Data], found: Found) -> Iterator[str]:
    have = [
        {
            "at": event.at,
            "breaker": event.name,
            "from": event.from_state,
            "to": event.to_state,
            "reason": event.reason,
            "open_for": event.open_for,
            "opened_by": event.opened_by,
            "enforced": event.enforced,
        }
        for _, event in found.events
        if isinstance(event, BreakerChanged)
    ]
    yield from _each(name, wanted, have)


def _looks(name: str, wanted: Sequence[Data], found: Found) -> Iterator[str]:
    have = [
        {
            "state": shot.state,
            "calls": shot.calls,
            "failures": shot.failures,
            "slow": shot.slow,
            "failure_rate": shot.failure_rate,
            "retry_after": shot.retry_after,
            "opened_by": None if shot.opened_by is None else shot.opened_by.error,
            "refused": shot.refused,
        }
        for shot in found.looks
    ]
    yield from _each(name, wanted, have)


def _each(name: str, wanted: Sequence[Data], have: Sequence[Data]) -> Iterator[str]:
    """Compare a list of objects, of each only what is wanted."""
    if len(wanted) != len(have):
        yield f"{name} should be {len(wanted)} and are {len(have)}: {have}"
        return
    for place, (want, one) in enumerate(zip(wanted, have, strict=True)):
        for key, figure in want.items():
            if not _equal(figure, one[key]):
                yield f"{name}[{place}].{key} should be {figure!r} and is {one[key]!r}"


_FACTS: dict[str, Callable[[str, Any, Found], Iterator[str]]] = {
    "outcome": _outcome,
    "outcomes": _outcomes,
    "tries": _fact(_tries),
    "calls": _fact(lambda found: len(found.entered)),
    "calls_at": _fact(lambda found: [one.at for one in found.entered]),
    "called": _fact(lambda found: [one.target for one in found.entered]),
    "waits": _fact(_waits),
    "events": _fact(_kinds),
    "counts": _counts,
    "states": _states,
    "tokens": _tokens,
    "changes": _changes,
    "looks": _looks,
    "granted": _fact(lambda found: found.granted),
    "illegal": _fact(lambda found: found.illegal),
    "asked": _fact(lambda found: found.asked),
}


# Facts of one call


def _of_call(name: str, wanted: Data, found: Found, number: int) -> Iterator[str]:
    have = outcome_of(found, number)
    for key, figure in wanted.items():
        if key in OF_EVENTS and not found.listened:
            continue
        if key in {"attempts", "skipped"}:
            yield from _each(f"{name}.{key}", figure, have[key])
        elif key == "notes":
            yield from _notes(f"{name}.{key}", figure, have[key])
        elif key not in have:
            yield f"{name}.{key} should be {figure!r}, and there is none: {_said(have)}"
        elif not _equal(figure, have[key]):
            yield f"{name}.{key} should be {figure!r} and is {have[key]!r}: {_said(have)}"


def _notes(name: str, wanted: Sequence[str], have: Sequence[str]) -> Iterator[str]:
    if len(wanted) != len(have) or any(
        text not in note for text, note in zip(wanted, have, strict=True)
    ):
        yield f"{name} should be {list(wanted)} and are {list(have)}"


def _said(have: Data) -> str:
    for way in ("returns", "raises", "cancelled"):
        if way in have:
            return f"the call {way} {have[way]!r}"
    return "the call has not ended"


def outcome_of(found: Found, number: int) -> dict[str, Any]:
    """Return all that can be said of one call."""
    made = found.made[number]
    events = [event for who, event in found.events if who == number]
    have: dict[str, Any] = {"at": made.ended, **_of_events(events)}
    if made.items is not None:
        have["items"] = made.items
    if made.ended is not None:
        have["elapsed"] = made.ended - made.began
    match made.result:
        case Returned() if made.items is not None:
            pass
        case Returned(value):
            have["returns"] = value
            have["from_call"] = _source(found, lambda one: not one.error and one.value is value)
        case Raised(error):
            have.update(_of_error(error))
            have["from_call"] = _source(found, lambda one: one.error is error)
        case Cancelled():
            have["cancelled"] = True
        case None:
            pass
    return have


def _source(found: Found, is_it: Callable[[Any], bool]) -> int | None:
    return next((one.number for one in reversed(found.entered) if is_it(one)), None)


def _of_error(error: BaseException) -> dict[str, Any]:
    have: dict[str, Any] = {
        "raises": type(error).__name__,
        "notes": getattr(error, "__notes__", []),
        "cause": None if error.__cause__ is None else type(error.__cause__).__name__,
        "retry_after": getattr(error, "retry_after", None),
    }
    told: Any = error  # what it says of itself depends on its class
    if hasattr(told, "exceptions"):
        have["members"] = [type(member).__name__ for member in told.exceptions]
    if hasattr(told, "limit"):
        have["limit"], have["limit_after"] = told.limit, told.after
    if hasattr(told, "opened_by"):
        have["opened_by"] = None if told.opened_by is None else told.opened_by.error
    return have


def _of_events(events: Sequence[Event]) -> dict[str, Any]:
    attempts = [
        {
            name: error_type(event.error)
            if name == "error" and event.error is not None
            else getattr(event, name)
            for name in _OF_ATTEMPT
        }
        for event in events
        if isinstance(event, AttemptEnded)
    ]
    skipped = [
        {name: getattr(event, name) for name in ("target", "reason", "scope", "retry_after")}
        for event in events
        if isinstance(event, TargetSkipped)
    ]
    have: dict[str, Any] = {"attempts": attempts, "skipped": skipped}
    ended = [event for event in events if isinstance(event, CallEnded)]
    if ended:
        last = ended[-1]
        have.update(
            ends=last.outcome, retry=last.retry_result, waited=last.waited, target=last.target
        )
    return have


_OF_ATTEMPT = (
    "number", "on_target", "target", "target_index", "started", "ended", "verdict",
    "disposition", "error", "wait", "wait_source", "hint_source", "timeout", "overrun",
)  # fmt: skip


# What must hold for every case


def _always(found: Found) -> Iterator[str]:
    for number, made in enumerate(found.made):
        if made.result is None:
            yield f"call {number + 1} has not ended"
        order = made.cancelled_order
        if order is not None:
            first = next((one.number for one in found.entered if one.caller == number), None)
            for one in found.entered:
                # A function that is called by someone who is cancelled already does begin.
                if one.caller == number and one.order > order and one.number != first:
                    yield f"{one.target} was called after the cancellation, at {one.at:g} s"
    begun = sum(isinstance(event, AttemptStarted) for _, event in found.events)
    ended = sum(isinstance(event, AttemptEnded) for _, event in found.events)
    if begun != ended:
        yield f"{begun} attempts began and {ended} ended"
    starts = sum(isinstance(event, CallStarted) for _, event in found.events)
    ends = sum(isinstance(event, CallEnded) for _, event in found.events)
    if starts != ends:
        yield f"{starts} calls began and {ends} ended"


def _equal(wanted: Any, have: Any) -> bool:  # noqa: ANN401
    """Compare, with figures equal up to the rounding of float addition."""
    if is_object(wanted) and set(wanted) == {"from", "to"}:
        return bool(wanted["from"] <= have <= wanted["to"])
    if is_list(wanted) and is_list(have):
        return len(wanted) == len(have) and all(map(_equal, wanted, have))
    if is_number(wanted) and is_number(have):
        return same_number(wanted, have)
    return type(wanted) is type(have) and bool(wanted == have)
