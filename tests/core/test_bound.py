"""The worst case: its arithmetic, and that no schedule of failures exceeds it."""

from __future__ import annotations

import contextlib
import warnings
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient import FallbackManager, Target, fallback, retry, stack, timeout, value
from resilient._core.bound import Bound
from resilient._runtime.clock import now
from resilient.errors import PolicyOrderWarning
from resilient.testing import Fail, Hang, Log, Ok, virtual_time

BACKENDS = st.sampled_from(["asyncio", "trio"])


class TestArithmetic:
    def test_a_function_alone_is_one_call_without_a_limit(self):
        """Nothing is known of a function but that it is called once."""
        assert Bound() == Bound(1, inf)

    def test_a_limit_caps_the_seconds(self):
        """A timeout caps what is inside and raises nothing."""
        assert Bound(3, inf).capped(8) == Bound(3, 8)
        assert Bound(3, 5).capped(8) == Bound(3, 5)

    def test_runs_multiply_and_wait_in_between(self):
        """Four runs are four times the calls and seconds, and three waits."""
        assert Bound(2, 5.0).repeated(4, 10) == Bound(8, 4 * 5.0 + 3 * 10)
        assert Bound(1, 5.0).repeated(1, inf) == Bound(1, 5.0)
        assert Bound(1, 5.0).repeated(3, 0) == Bound(3, 15.0)

    def test_max_elapsed_lets_the_last_run_finish(self):
        """No run begins after `max_elapsed`, and one that has begun may finish."""
        assert Bound(1, 5.0).repeated(inf, 20, 30) == Bound(inf, 35.0)
        assert Bound(1, 5.0).repeated(2, 1, 30) == Bound(2, 11.0)

    def test_targets_add_up(self):
        """One after the other is the sum of both."""
        assert Bound(4, 30.0).then(Bound(2, 8.0)) == Bound(6, 38.0)
        assert Bound(4, 30.0).then(Bound()) == Bound(5, inf)

    @pytest.mark.parametrize(
        ("bound", "words"),
        [
            (Bound(1, 8.0), "at most 1 call and 8 s"),
            (Bound(4, 30.5), "at most 4 calls and 30.5 s"),
            (Bound(2, inf), "at most 2 calls and no limit of time"),
            (Bound(inf, inf), "unbounded"),
            (Bound(inf, 60), "any number of calls and at most 60 s"),
        ],
        ids=str,
    )
    def test_it_is_said_in_words(self, bound, words):
        """A bound reads as words, with units."""
        assert str(bound) == words

    bounds = st.builds(Bound, st.integers(0, 9), st.integers(0, 99).map(float) | st.just(inf))

    @given(bounds, bounds, bounds)
    def test_order_of_adding_does_not_matter(self, a, b, c):
        """Adding up is associative and commutative."""
        assert a.then(b) == b.then(a)
        assert a.then(b).then(c) == a.then(b.then(c))

    @given(bounds, st.integers(1, 9), st.integers(1, 99))
    def test_a_limit_outside_never_makes_it_worse(self, bound, times, seconds):
        """However often something is run, a limit around it caps all of it."""
        assert bound.repeated(times, 1).capped(seconds).seconds <= seconds
        assert bound.capped(seconds).capped(seconds) == bound.capped(seconds)


# Schedules

seconds = st.sampled_from([0.5, 1, 3, 10])
after = st.sampled_from([0, 0, 0.4, 2, 7])
hints = st.sampled_from([None, None, 0.5, 4, 200])
steps = st.one_of(
    st.builds(Ok, after=after),
    st.builds(Fail, st.sampled_from([ConnectionError, ValueError]), after, hints),
    st.builds(Fail, st.just(ConnectionError), after, hints),
    st.just(Hang()),
)
scripts = st.lists(steps, max_size=9).map(lambda some: [*some, Fail(ConnectionError, 1)])
retries = st.builds(
    lambda attempts, backoff, max_hint, elapsed: retry(
        attempts=attempts, backoff=backoff, max_hint=max_hint, max_elapsed=elapsed
    ),
    st.integers(1, 3),
    st.sampled_from([None, [0], [0.3, 5]]),
    st.sampled_from([1, 60]),
    st.sampled_from([None, None, 4]),
)


@st.composite
def pipelines(draw, others):
    """Draw some policies, of which a fallback asks guarded functions."""

    def made(kind):
        if kind == "retry":
            return draw(retries)
        if kind == "timeout":
            return timeout(draw(seconds))
        to = [timeout(draw(seconds))(other) for other in others[: draw(st.integers(0, 2))]]
        degrade = value(0) if not to or draw(st.booleans()) else None
        return fallback(to=to, degrade=degrade, switch_after=draw(st.sampled_from([0, 3, 100])))

    kinds = st.sampled_from(["retry", "timeout", "fallback"])
    return stack(*[made(kind) for kind in draw(st.lists(kinds, max_size=4))])


async def run(call):
    """Await a call that may fail, and return how long it took."""
    began = now()
    with contextlib.suppress(Exception):
        await call()
    return now() - began


@given(st.data(), BACKENDS)
def test_no_schedule_exceeds_the_bound_of_a_pipeline(data, backend):
    """No stack of policies makes more calls or takes longer than its bound says."""
    log = Log()
    target, *others = [
        log.scripted(data.draw(scripts), name) for name in ("target", "second", "third")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PolicyOrderWarning)
        pipeline = data.draw(pipelines(others))
        guarded = timeout(20)(pipeline(target))
    bound = stack(timeout(20)).policies[0].bound(pipeline.bound)

    elapsed = virtual_time(run, guarded, backend=backend, check_leftovers=True)

    assert len(log.calls) <= bound.calls
    assert elapsed <= bound.seconds + 1e-6


@given(st.data(), BACKENDS)
def test_no_schedule_exceeds_the_seconds_of_a_pipeline_with_limits(data, backend):
    """A stack whose innermost part is a timeout has a finite bound, and keeps it."""
    log = Log()
    target, *others = [
        log.scripted(data.draw(scripts), name) for name in ("target", "second", "third")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PolicyOrderWarning)
        pipeline = stack(data.draw(pipelines(others)), timeout(data.draw(seconds)))
        guarded = pipeline(target)
    assert pipeline.bound.seconds < inf

    elapsed = virtual_time(run, guarded, backend=backend, check_leftovers=True)

    assert len(log.calls) <= pipeline.bound.calls
    assert elapsed <= pipeline.bound.seconds + 1e-6


@given(
    st.lists(st.tuples(scripts, seconds, st.integers(1, 3), st.integers(0, 2)), min_size=1),
    st.none() | seconds,
    st.none() | st.sampled_from([0, 2, 50]),
    st.sampled_from([0, 3, 100]),
    BACKENDS,
)
def test_no_schedule_exceeds_the_bound_of_a_manager(made, deadline, reserve, switch_after, backend):
    """A manager makes no more calls and takes no longer than its bound, deadline included."""
    log = Log()
    manager = FallbackManager(
        [
            Target(
                f"target {number}",
                log.scripted(script),
                timeout=limit,
                attempts=attempts,
                priority=priority,
            )
            for number, (script, limit, attempts, priority) in enumerate(made[:4])
        ],
        deadline=deadline,
        reserve=reserve,
        switch_after=switch_after,
    )

    elapsed = virtual_time(run, manager.run, backend=backend, check_leftovers=True)

    assert len(log.calls) <= manager.bound.calls
    assert elapsed <= manager.bound.seconds + 1e-6
    assert deadline is None or elapsed <= deadline + 1e-6


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_bound_is_reached(backend):
    """The bound is no more than what the worst schedule takes: calls, limits and waits."""
    log = Log()
    pipeline = stack(retry(attempts=3, backoff=[20]), timeout(8))
    worst = [*[Fail(ConnectionError, 7.999, hint=59.999)] * 2, Hang()]

    elapsed = virtual_time(run, pipeline(log.scripted(worst)), backend=backend)

    assert len(log.calls) == pipeline.bound.calls == 3
    assert pipeline.bound.seconds == 3 * 8 + 2 * 60
    assert pipeline.bound.seconds - 0.01 < elapsed <= pipeline.bound.seconds
