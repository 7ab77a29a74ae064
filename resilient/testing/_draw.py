"""The strategies themselves: the only module that imports Hypothesis.

Draws are local and lists are lists, so that shrinking works: whatever comes
first among alternatives is the simplest, and nothing is drawn only to be
thrown away.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from resilient.testing._schedule import FailureSchedule
from resilient.testing._steps import (
    FRESH,
    Bad,
    Cut,
    Fail,
    Hang,
    Interruption,
    Items,
    Ok,
    Stubborn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    from resilient.testing._interest import Interest, OfLeaf
    from resilient.testing._schedule import Delivery
    from resilient.testing._steps import Ending, Step

    Cancellation = tuple[float, Delivery]
    Consumer = tuple[int | None, float]

_SEEDS = st.integers(0, 255)
_MOST_ITEMS = 3
_NOBODY: tuple[None, Delivery] = (None, "scope")
_NO_CONSUMER: SearchStrategy[Consumer] = st.just((None, 0.0))


# Strategies are made once and drawn from often: making them is what costs.


def schedules(leaf: OfLeaf, max_steps: int) -> SearchStrategy[FailureSchedule]:
    """Return schedules of one function."""
    steps = st.lists(_steps(leaf), max_size=max_steps)
    return st.builds(FailureSchedule, steps, then=_then(leaf), jitter_seed=_SEEDS)


def with_callers(
    plain: SearchStrategy[FailureSchedule],
    cancellation: bool,  # noqa: FBT001 - passed on from an option that has a name
    callers: int,
    stream: bool,  # noqa: FBT001 - as above
) -> SearchStrategy[FailureSchedule]:
    """Return schedules like `plain`, of several callers, the first of whom may be cancelled."""
    cancelled = cancellations(10.0) if cancellation else st.none()
    consumers = _consumers([0.0, 1.0]) if stream else _NO_CONSUMER
    return _with_callers(plain, arrivals(callers, [0.0, 1.0, 5.0]), cancelled, consumers)


@st.composite
def _with_callers(
    draw: DrawFn,
    plain: SearchStrategy[FailureSchedule],
    instants: SearchStrategy[tuple[float, ...]],
    cancelled: SearchStrategy[Cancellation | None],
    consumers: SearchStrategy[Consumer],
) -> FailureSchedule:
    schedule, starts = draw(plain), draw(instants)
    at, delivery = draw(cancelled) or _NOBODY
    take, pause = draw(consumers)
    return replace(schedule, arrivals=starts, cancel_at=at, cancel=delivery, take=take, pause=pause)


def schedules_for(interest: Interest, cancellation: bool) -> SearchStrategy[FailureSchedule]:  # noqa: FBT001 - as above
    """Return schedules of what is worth trying."""
    first, *others = interest.leaves
    return _schedules_for(
        interest,
        # So many failures come first, of as many callers as it takes: a breaker trips, or just not.
        trips=st.sampled_from(interest.trips or [0]),
        # A call that began before them is answered when the circuit is half open.
        stale=st.none() | st.sampled_from(interest.outlasts) if interest.outlasts else st.none(),
        # They come at once, and together spend a budget.
        crowd=st.sampled_from([0, interest.crowd] if interest.crowd else [0]),
        # Who is cancelled is the first caller, or the one that comes last: a probe.
        last=st.booleans() if interest.outlasts else st.none(),
        steps=st.lists(_steps(first), max_size=interest.steps),
        then=_then(first),
        fallbacks=st.tuples(*map(_of_further, others)),
        consumers=_consumers(interest.pauses) if interest.stream else _NO_CONSUMER,
        gaps=st.lists(st.sampled_from(interest.gaps), max_size=interest.callers - 1),
        cancelled=_cancelled(interest.instants) if cancellation else st.none(),
    )


@st.composite
def _schedules_for(
    draw: DrawFn,
    interest: Interest,
    *,
    trips: SearchStrategy[int],
    stale: SearchStrategy[float | None],
    crowd: SearchStrategy[int],
    last: SearchStrategy[bool | None],
    steps: SearchStrategy[list[Step]],
    then: SearchStrategy[Step],
    fallbacks: SearchStrategy[tuple[FailureSchedule, ...]],
    consumers: SearchStrategy[Consumer],
    gaps: SearchStrategy[list[float]],
    cancelled: SearchStrategy[Cancellation | None],
) -> FailureSchedule:
    trip = draw(trips)
    found, ever, others = draw(steps), draw(then), [*draw(fallbacks)]
    (take, pause), between = draw(consumers), draw(gaps)
    at, delivery = draw(cancelled) or _NOBODY
    while others and others[-1] == FailureSchedule():
        others.pop()
    leaf = interest.leaves[0]
    late = draw(stale) if trip else None
    early = [] if late is None else [Ok(leaf.good[0], after=late)]
    together = max(draw(crowd), len(early) + -(-trip // interest.per_caller))
    starts = _instants([*[0.0] * together, *between][: interest.callers - 1])
    if at is not None and draw(last):
        starts = (starts[-1], *starts[:-1])
        at += starts[0]
    return FailureSchedule(
        [*early, *[Fail(leaf.errors[0])] * trip, *found],
        then=ever,
        fallbacks=others,
        arrivals=starts,
        cancel_at=at,
        cancel=delivery,
        jitter_seed=draw(_SEEDS),
        take=take,
        pause=pause,
    )


def _consumers(pauses: list[float]) -> SearchStrategy[Consumer]:
    """Return how many items the consumer takes, and how long it has each of them."""
    return st.tuples(st.none() | st.integers(1, _MOST_ITEMS), st.sampled_from(pauses))


def _of_further(leaf: OfLeaf) -> SearchStrategy[FailureSchedule]:
    return st.builds(FailureSchedule, st.lists(_steps(leaf), max_size=4), then=_then(leaf))


def _steps(leaf: OfLeaf) -> SearchStrategy[Step]:
    """Return steps, the simplest first: an answer, a failure, a bad value, a hang."""
    seconds = st.sampled_from(leaf.latencies)
    found: list[SearchStrategy[Any]] = [
        st.builds(Ok, st.sampled_from(leaf.good), after=seconds),
        st.builds(
            Fail,
            st.sampled_from(leaf.errors),
            after=seconds,
            # Most errors say nothing of when to come back.
            hint=st.sampled_from([None] * max(1, len(leaf.hints)) + leaf.hints),
        ),
    ]
    if leaf.bad:
        found.append(st.builds(Bad, st.sampled_from(leaf.bad), after=seconds))
    if leaf.stream:
        found.append(_items(leaf))
    if leaf.limited:
        # What is drawn with fewer choices is simpler, whatever its place: it takes as many as `Ok`.
        found.append(seconds.map(lambda _: Hang()))
    if leaf.stubborn:
        found.append(st.builds(Stubborn, seconds))
    return st.one_of(found)


def _items(leaf: OfLeaf) -> SearchStrategy[Items]:
    """Return streams, the simplest first: of one item, that ends, fails, is cut or hangs."""
    endings: list[Ending] = [Ok(), *(Fail(error) for error in leaf.errors[:3]), Cut()]
    if leaf.limited_items:
        endings.append(Hang())
    one = leaf.good[0]
    counts = st.integers(0, _MOST_ITEMS)
    return st.builds(
        Items,
        counts if one is FRESH else counts.map(lambda count: [one] * count),
        gap=st.sampled_from(leaf.gaps),
        then=st.sampled_from(endings),
        after=st.sampled_from(leaf.latencies),
    )


def _then(leaf: OfLeaf) -> SearchStrategy[Step]:
    """Return what every further call comes to: an answer, or always the same failure."""
    found: list[Step] = [Ok(leaf.good[0])]
    found += [Fail(error) for error in leaf.errors if error is not Interruption][:3]
    found += [Bad(value) for value in leaf.bad[:1]]
    if leaf.limited:
        found.append(Hang())
    return st.sampled_from(found)


def cancellations(until: float) -> SearchStrategy[Cancellation | None]:
    """Return `None`, or an instant and a delivery."""
    parts = st.integers(0, 40).map(lambda part: part * until / 40)
    return st.none() | st.tuples(parts, _deliveries())


def _cancelled(instants: Sequence[float]) -> SearchStrategy[Cancellation | None]:
    return st.none() | st.tuples(st.sampled_from(instants), _deliveries())


def _deliveries() -> SearchStrategy[Delivery]:
    return st.sampled_from(["scope", "task"])


def arrivals(max_callers: int, gaps: list[float]) -> SearchStrategy[tuple[float, ...]]:
    """Return the instants at which callers start."""
    return st.lists(st.sampled_from(gaps), max_size=max_callers - 1).map(_instants)


def _instants(gaps: list[float]) -> tuple[float, ...]:
    return tuple(accumulate(gaps, initial=0.0))
