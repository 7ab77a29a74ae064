"""What is worth trying against a pipeline: read from its policies.

For each function that is called in the end: the errors that the policies
around it tell apart, latencies around each of their limits, hints that can and
cannot be waited for, values that `on_result` accepts and rejects. For the
whole: when to cancel, when callers should come, and how many.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Final, cast

from resilient._breaker_part import CircuitBreakerPart
from resilient._core.hints import DAY
from resilient._kinds import is_stream
from resilient._policies import Retry, Timeout
from resilient._runtime.clock import fresh_breakers
from resilient.testing._anatomy import Around
from resilient.testing._interest_errors import Error, errors_of, retries, unique
from resilient.testing._play import Answer
from resilient.testing._steps import FRESH
from resilient.testing._subject import example_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from resilient._core.breaker_policy import BreakerPolicy
    from resilient.testing._anatomy import Choice, Guarded, Spot

_GOOD: Final[tuple[Any, ...]] = ("ok", 1, True, [1], {"ok": True}, 200)
_BAD: Final[tuple[Any, ...]] = (None, "", 0, False, [], {}, 500, 503, 429, -1, "bad", "error")
_MOST_CALLERS: Final = 12
_MOST_STEPS: Final = 10


@dataclass(slots=True, eq=False)
class OfLeaf:
    """What is worth trying of one function."""

    errors: list[Error] = field(default_factory=list[Any])
    latencies: list[float] = field(default_factory=list[float])
    hints: list[float] = field(default_factory=list[float])
    good: list[Any] = field(default_factory=list[Any])
    bad: list[Any] = field(default_factory=list[Any])
    limited: bool = False
    """Whether a limit ends a call that hangs."""
    stubborn: bool = True
    stream: bool = False
    gaps: list[float] = field(default_factory=lambda: [0.0])
    """How long after one item the next one should come."""
    limited_items: bool = False
    """Whether a limit ends a stream that hangs behind an item."""


@dataclass(slots=True)
class Interest:
    """What is worth trying of a whole pipeline."""

    leaves: list[OfLeaf]
    instants: list[float]
    """When to cancel."""
    gaps: list[float]
    """How long after one caller the next one should come."""
    callers: int
    steps: int
    trips: list[int]
    """How many calls should fail first, to trip a breaker or just not."""
    outlasts: list[float] = field(default_factory=list[float])
    """How long a call should take that began before a circuit opened, and ends when it probes."""
    crowd: int = 0
    """How many callers it takes to spend a budget."""
    per_caller: int = 1
    """How many calls one caller makes of the first function, when all of them fail."""
    pauses: list[float] = field(default_factory=lambda: [0.0])
    """How long a consumer should have each item."""

    @property
    def stream(self) -> bool:
        """Whether it gives a stream."""
        return self.leaves[0].stream


def interest_of(
    what: Any,  # noqa: ANN401 - a function, a pipeline or a manager
    callers: int | None,
    errors: Sequence[Error] = (),
    good: Sequence[Any] = (),
    bad: Sequence[Any] = (),
) -> Interest | None:
    """Return what is worth trying of `what`; `None` where nothing is known of it."""
    with fresh_breakers():  # reading a pipeline defines its breakers once more
        node = example_of(what)
    if node is None:
        return None
    leaves = [_of_leaf(node, path, list(errors), list(good), list(bad)) for path in _paths(node)]
    breakers = [part for one in node.everything for part in one.around("circuit_breaker")]
    retrying = [part for one in node.everything for part in one.around("retry")]
    spenders = [number for part in retrying if (number := _spenders(part))]
    trips = _trips(breakers)
    attempts = _attempts(node)
    if callers is None:
        callers = max([1, *spenders])
        if breakers:
            callers = min(_MOST_CALLERS, max(callers, max(trips, default=1) + 3))
    longest = sorted({seconds for leaf in leaves for seconds in leaf.latencies})
    return Interest(
        leaves=leaves,
        instants=_instants(longest),
        gaps=_gaps(breakers, longest),
        callers=callers,
        steps=int(min(_MOST_STEPS, attempts + 2)),
        trips=trips,
        crowd=max(spenders, default=0),
        outlasts=unique([wait + 0.25 for part in breakers for wait in _open_times(part)]),
        per_caller=max(1, int(min(attempts, _MOST_STEPS))),
        pauses=unique([0.0, *(gap for leaf in leaves for gap in leaf.gaps)]),
    )


def of_function(
    errors: list[Error],
    latency: float,
    good: list[Any],
    bad: list[Any],
    *,
    hangs: bool,
    stream: bool,
) -> OfLeaf:
    """Return what is worth trying of a function of which nothing is known."""
    return OfLeaf(
        errors=errors,
        latencies=sorted({latency * part for part in (0, 0.05, 0.1, 0.25, 0.5, 1)}),
        good=good or [FRESH],
        bad=bad,
        limited=hangs,
        stubborn=False,
        stream=stream,
        gaps=unique([0.0, latency / 10, latency]),
        limited_items=hangs,
    )


def _paths(node: Guarded) -> list[list[tuple[Guarded, Spot]]]:
    return [node.leads_to(path[-1].leaf) for path in node.leaves]


def _of_leaf(
    node: Guarded,
    path: list[tuple[Guarded, Spot]],
    errors: list[Error],
    good: list[Any],
    bad: list[Any],
) -> OfLeaf:
    above = [part for one, spot in path for part in one.above(spot.place)]
    around = [part for part in above if isinstance(part, Around)]
    choices = [part[0] for part in above if isinstance(part, tuple)]
    limits = sorted(set(_limits(around, choices)))
    judges = list(_judges(around, choices))
    seconds = [one.policy for one in around if isinstance(one.policy, Timeout)]
    whole = min((one.seconds for one in seconds), default=inf)
    whole = min((whole, *(one.policy.deadline for one in choices)))
    opening = min((one.first_item for one in seconds), default=inf)
    between = min((one.between_items for one in seconds), default=inf)
    return OfLeaf(
        errors=unique([*errors, *errors_of(around, choices)]),
        latencies=_latencies(limits),
        hints=_hints(around, limits) if retries(around) or choices else [],
        good=_good(node.name, judges, good),
        bad=_bad(judges, bad),
        limited=min(whole, opening) < inf,
        stream=is_stream(path[-1][1].fn),
        gaps=unique([0.0, 1.0, *(_near(between) if between < inf else [])]),
        limited_items=min(whole, between) < inf,
    )


# Time


def _limits(around: list[Around], choices: list[Choice]) -> Iterator[float]:
    for part in around:
        policy = part.policy
        if isinstance(policy, Timeout):
            yield from (policy.seconds, policy.first_item, policy.between_items)
        elif isinstance(policy, Retry):
            yield policy.policy.max_elapsed
        elif isinstance(policy, CircuitBreakerPart):
            options = (policy.options or policy.default).policy
            yield from (options.trip.slow_call, options.probe_timeout)
    yield from (one.policy.deadline for one in choices)


def _latencies(limits: Iterable[float]) -> list[float]:
    """Return latencies just below, at and just above each limit."""
    found = [0.0, 1.0]
    for limit in limits:
        if isfinite(limit) and limit > 0:
            found += _near(limit)
    return unique(sorted(found))


def _near(seconds: float) -> list[float]:
    step = 0.25 if seconds >= 1 else seconds / 4
    return [seconds - step, seconds, seconds + step]


def _hints(around: list[Around], limits: Sequence[float]) -> list[float]:
    """Return hints that can be waited for, that cannot, and that no server should give."""
    longest = [part.policy.policy.max_hint for part in around if isinstance(part.policy, Retry)]
    beyond = [limit + 1 for limit in limits if isfinite(limit)]
    found = [1.0, *(hint + 1 for hint in longest), *beyond[-1:], 0.0, -1.0, nan, inf, DAY + 1]
    return unique(found)


def _instants(latencies: Sequence[float]) -> list[float]:
    """Return instants at which something may be going on: attempts, waits, the very end."""
    halves = [seconds / 2 for seconds in latencies if seconds]
    return unique([1.0, 0.5, 0.05, 0.0, 0.01, 0.1, 2.0, *latencies, *halves])


def _gaps(breakers: list[Around], latencies: Sequence[float]) -> list[float]:
    """Return gaps between callers: at once, and around the time for which a circuit is open."""
    found = [0.0, 1.0]
    for part in breakers:
        for wait in _open_times(part):
            found += _near(wait)
        options = _options(part)
        found += [options.probe_timeout, options.trip.window]
    return unique(gap for gap in [*found, *latencies[1:3]] if isfinite(gap) and gap >= 0)


def _options(breaker: Around) -> BreakerPolicy:
    policy = cast("CircuitBreakerPart", breaker.policy)
    return (policy.options or policy.default).policy


def _open_times(breaker: Around) -> list[float]:
    """Return the shortest and the longest time for which a circuit is open at first."""
    waits = [_options(breaker).open_for.wait(1, rnd, None) for rnd in (0.0, 1.0)]
    return [wait for wait in unique(waits) if wait > 0]


def _trips(breakers: list[Around]) -> list[int]:
    """Return how many failures trip a breaker, one fewer, one more: 0 first, for none at all."""
    sizes: set[int] = set()
    for part in breakers:
        sizes |= set(_sizes(_options(part).trip))
    near = sorted({number for size in sizes for number in (size - 1, size, size + 1)} - {0})
    return [0, *(number for number in near if number <= _MOST_CALLERS)]


def _sizes(trip: Any) -> Iterator[int]:  # noqa: ANN401 - a rule of any kind
    if hasattr(trip, "rules"):
        for rule in trip.rules:
            yield from _sizes(rule)
    elif hasattr(trip, "rates"):
        yield max(trip.rates.min_calls, 1)
    else:
        yield int(getattr(trip, "failures", 1))


def _spenders(retry: Around) -> int:
    """Return how many callers it takes to spend a budget, if all that they try fails."""
    policy = cast("Retry", retry.policy)
    if policy.budget is None:
        return 0
    taken = policy.times - 1 - policy.budget.ratio  # what a caller takes more than it brings
    most = inf if taken <= 0 else (policy.budget.reserve + 1) / taken + 1
    return ceil(min(_MOST_CALLERS, max(3, most)))


def _attempts(node: Guarded) -> float:
    """Return how often the first function is called when it always fails."""
    found = 1.0
    for one, spot in node.leads_to(0):
        for part in one.above(spot.place):
            if isinstance(part, Around):
                times: float = getattr(part.policy, "times", 1)
                found *= times if isfinite(times) else _MOST_STEPS
    return ceil(found)


# Values


def _judges(around: list[Around], choices: list[Choice]) -> Iterator[Callable[[Any], Any]]:
    """Return the predicates on values, as they decide."""
    for part in around:
        policy = part.policy
        if isinstance(policy, Retry) and policy.policy.on_result is not None:
            yield policy.policy.on_result.decide
        elif isinstance(policy, CircuitBreakerPart) and policy.options is not None:
            judge = policy.options.policy.on_result
            if judge is not None:
                yield judge.decide
    for one in choices:
        if one.policy.on_result is not None:
            yield one.policy.on_result.decide


def _good(name: str, judges: list[Callable[[Any], Any]], given: list[Any]) -> list[Any]:
    """Return values that nobody rejects: `FRESH` where any will do."""
    if given:
        return given
    if all(_says(judge, Answer(0)) == "good" for judge in judges):
        return [FRESH]
    found = [one for one in _GOOD if all(_says(judge, one) == "good" for judge in judges)]
    if not found:
        raise ValueError(
            f"schedules_for: on_result= of {name} accepts none of the values that were tried:"
            " give some that are good, and some that are bad, as good=[...] and bad=[...]"
        )
    return found[:1]


def _bad(judges: list[Callable[[Any], Any]], given: list[Any]) -> list[Any]:
    if given or not judges:
        return given
    return [one for one in _BAD if any(_says(judge, one) == "bad" for judge in judges)][:2]


def _says(judge: Callable[[Any], Any], value: Any) -> str:  # noqa: ANN401
    try:
        return "good" if judge(value) is False else "bad"
    except Exception:  # noqa: BLE001 - a predicate that cannot take such a value
        return "no answer"
