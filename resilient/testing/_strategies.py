"""Strategies for Hypothesis, which is imported when one is used and not before.

They are nouns, take no distributions, and check their arguments at once. What
they draw shrinks to the fewest and simplest steps: an answer before a failure
before a hang, no latency, one caller, nobody cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from resilient._core.options import number, shown, whole
from resilient._guard import callee
from resilient._kinds import is_stream
from resilient.testing._interest import interest_of, of_function
from resilient.testing._interest_errors import unique
from resilient.testing._steps import Fail
from resilient.testing._subject import is_guarded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

    from resilient.testing._schedule import Delivery, FailureSchedule

    Cancellation = tuple[float, Delivery]


def schedules(
    errors: Sequence[Any] = (ConnectionError, ValueError),
    *,
    max_steps: int = 8,
    latency: float = 10.0,
    hangs: bool = True,
    good: Sequence[Any] = (),
    bad: Sequence[Any] = (),
    streams: bool = False,
) -> SearchStrategy[FailureSchedule]:
    """Return schedules for any function: up to `max_steps` steps, of up to `latency` seconds.

    `errors` are what `Fail` takes: classes, functions, `Fault`s. With
    `hangs=False` no call waits for ever, with `streams=True` calls give items
    (`FaultyBackend.stream`, a server that streams). `good` are values to answer with
    instead of fresh ones, `bad` those that the function should not accept.

    Bad options are a `ValueError` or `TypeError` at once, and an `ImportError`
    names the extra where Hypothesis is missing.
    """
    whole(max_steps, "schedules(max_steps=)", least=0)
    number(latency, "schedules(latency=)", least=0)
    found = list(errors)
    if not found:
        raise ValueError("schedules(errors=) must name at least one error")
    for error in found:
        Fail(error)
    leaf = of_function(
        found, latency, list(good), list(bad), hangs=bool(hangs), stream=bool(streams)
    )
    made: SearchStrategy[FailureSchedule] = _draw().schedules(leaf, max_steps)
    return made


def schedules_for(
    what: Any,  # noqa: ANN401 - a function, a pipeline or a manager
    /,
    *,
    cancellation: bool = True,
    callers: int | None = None,
    errors: Sequence[Any] = (),
    good: Sequence[Any] = (),
    bad: Sequence[Any] = (),
) -> SearchStrategy[FailureSchedule]:
    """Return schedules of what matters to `what`, which is read from its policies.

    Errors that are and that are not tried again, one of each scope, and one
    that no policy may handle; latencies around every timeout and deadline;
    hints that can and cannot be waited for; enough failures to trip a breaker
    and one fewer, and callers around the end of its open time; a schedule for
    each target of a fallback; values that `on_result` rejects. Of a stream:
    failures before and behind items, cuts, gaps around the limits, consumers
    that close it or take their time. Of a function
    that nobody guards nothing is known: its schedules are those of
    `schedules()`, with cancellations.

    With `cancellation=False` nobody is cancelled. `callers` is the most there
    are (default: 1, or as many as a breaker or a budget needs). `errors` are
    drawn in front of those that are found, as `Fail` takes them: give some
    where `on=` accepts only what cannot be made without arguments. `good` and
    `bad` are values for functions with an `on_result` that takes only some
    kind of value.

    >>> from resilient import retry
    >>> class Busy(Exception):
    ...     def __init__(self, host: str, port: int) -> None: ...
    >>> drawn = schedules_for(retry(on=Busy), errors=[lambda: Busy("localhost", 80)])

    Bad options are a `ValueError` or `TypeError` at once, and an `ImportError`
    names the extra where Hypothesis is missing.
    """
    what = callee(what)
    if not is_guarded(what) and not callable(what):
        raise TypeError(
            f"schedules_for takes an async function, a pipeline or a manager, not {shown(what)}"
        )
    if callers is not None:
        whole(callers, "schedules_for(callers=)")
    given = list(errors)
    for error in given:
        Fail(error)
    interest = interest_of(what, callers, given, good, bad)
    if interest is None:
        stream = is_stream(what)
        found = unique([*given, ConnectionError, ValueError])
        plain = schedules(found, good=good, bad=bad, streams=stream)
        made = _draw().with_callers(plain, bool(cancellation), callers or 1, stream)
    else:
        made = _draw().schedules_for(interest, bool(cancellation))
    return cast("SearchStrategy[FailureSchedule]", made)


def cancellations(until: float = 10.0) -> SearchStrategy[Cancellation | None]:
    """Return `None`, or an instant up to `until` and how the caller is cancelled then.

    `simulate(fn, schedule, cancel_at=instant, cancel=delivery)` takes both.
    """
    number(until, "cancellations(until=)", least=0)
    made: SearchStrategy[Cancellation | None] = _draw().cancellations(until)
    return made


def arrivals(
    max_callers: int = 3, *, gaps: Sequence[float] = (0.0, 1.0, 10.0, 30.0)
) -> SearchStrategy[tuple[float, ...]]:
    """Return the instants at which up to `max_callers` callers start; the first one at 0.

    `gaps` are the seconds from one caller to the next: those around a
    breaker's `open_for` are worth trying.
    """
    whole(max_callers, "arrivals(max_callers=)")
    found = [number(gap, "arrivals(gaps=)", least=0) for gap in gaps]
    if not found:
        raise ValueError("arrivals(gaps=) must have at least one gap")
    made: SearchStrategy[tuple[float, ...]] = _draw().arrivals(max_callers, found)
    return made


def _draw() -> Any:  # noqa: ANN401 - a module
    try:
        from resilient.testing import _draw  # noqa: PLC0415 - it imports Hypothesis
    except ImportError as error:
        raise ImportError(
            "strategies need Hypothesis: pip install 'resilient-policies[testing]'"
        ) from error
    return _draw
