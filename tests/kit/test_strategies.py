"""Strategies: what is drawn for which policy, what never is, and what all of it shrinks to."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from resilient import (
    FallbackManager,
    Fault,
    RetryBudget,
    Target,
    circuit_breaker,
    consecutive,
    fallback,
    retry,
    stack,
    timeout,
)
from resilient.testing import (
    Bad,
    Fail,
    FailureSchedule,
    Hang,
    Interruption,
    Ok,
    Stubborn,
    arrivals,
    cancellations,
    schedules,
    schedules_for,
    simulate,
)

SEARCH = settings(
    max_examples=2000,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
FEW = settings(SEARCH, max_examples=30)
SHRINK = settings(SEARCH, phases=[Phase.generate, Phase.shrink])


async def ask(question: str) -> str: ...


async def small(question: str) -> str: ...


def draws(strategy, of, wanted):
    """Search until everything that is wanted has been drawn; `of` says what an example has."""
    seen, missing = [], list(wanted)

    def complete(example):
        found = list(of(example))
        seen.extend(found)
        missing[:] = [one for one in missing if not any(same(one, other) for other in found)]
        return not missing

    find(strategy, complete, settings=SEARCH)
    return seen


def same(one, other):
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return one == other


def never(strategy, shows):
    """Draw some examples; none of them is one that `shows` is true of."""

    @FEW
    @given(strategy)
    def one(example):
        assert not shows(example), example

    one()


def simplest(strategy, shows=lambda example: True):
    return find(strategy, shows, settings=SHRINK)


def steps(schedule):
    return [*schedule.steps, schedule.then]


def latencies(schedule):
    return [step.after for step in steps(schedule) if not isinstance(step, Hang)]


def errors(schedule):
    return [step.error for step in steps(schedule) if isinstance(step, Fail)]


def hints(schedule):
    return [step.hint for step in steps(schedule) if isinstance(step, Fail)]


def gaps(schedule):
    at = schedule.arrivals
    return [round(after - before, 6) for before, after in pairwise(at)]


class TestAnyFunction:
    """`schedules()`."""

    def test_it_draws_each_kind_of_step(self):
        """Answers, failures with each of the errors, bad values and hangs are drawn."""
        strategy = schedules([OSError, Fault(retryable=True)], good=["yes"], bad=[None])
        draws(
            strategy,
            lambda one: [type(step) for step in steps(one)] + errors(one),
            [Ok, Fail, Hang, Bad, OSError, Fault(retryable=True)],
        )
        draws(strategy, steps, [Ok("yes"), Bad(None)])

    def test_it_stays_within_its_options(self):
        """No more steps than `max_steps`, no latency above `latency`, no hang without `hangs`."""
        never(
            schedules(max_steps=3, latency=2, hangs=False),
            lambda one: (
                len(one.steps) > 3
                or max(latencies(one)) > 2
                or Hang() in steps(one)
                or one.arrivals[1:]
            ),
        )

    def test_it_cancels_nobody(self):
        """Nobody is cancelled, and no step swallows a cancellation."""
        never(schedules(), lambda one: one.cancel_at is not None or not one.cooperative)

    def test_it_shrinks_to_nothing(self):
        """The simplest schedule is the empty one, and the simplest failure is the first error."""
        assert simplest(schedules()) == FailureSchedule()
        assert simplest(
            schedules([OSError, ValueError]), lambda one: one.steps and errors(one)
        ) in {
            FailureSchedule([Fail(OSError)]),
            FailureSchedule([Ok()], then=Fail(OSError)),
        }
        assert simplest(schedules(), lambda one: len(one.steps) == 2).steps == (Ok(), Ok())

    @pytest.mark.parametrize(
        ("options", "error", "complaint"),
        [
            ({"errors": []}, ValueError, r"schedules\(errors=\) must name at least one error"),
            (
                {"errors": [OSError()]},
                TypeError,
                r"class or a function, not the instance OSError\(\)",
            ),
            ({"errors": [7]}, TypeError, "class or a function, not the instance 7"),
            (
                {"max_steps": -1},
                ValueError,
                r"max_steps=\) must be a whole number of at least 0.*-1",
            ),
            ({"max_steps": 1.5}, ValueError, r"max_steps=\) must be a whole number.*1.5"),
            ({"latency": -1}, ValueError, r"latency=\) must be a number of at least 0.*-1"),
            ({"latency": math.nan}, ValueError, r"latency=\) must be a number of at least 0.*nan"),
        ],
    )
    def test_bad_options_are_refused_at_once(self, options, error, complaint):
        """A bad option is refused before anything is drawn, by its name and its value."""
        with pytest.raises(error, match=complaint):
            schedules(**options)


class TestWhatIsReadFromPolicies:
    """`schedules_for()`."""

    def test_latencies_around_every_limit(self):
        """Each limit of time is met a little below, exactly and a little above, and by a hang."""
        guarded = stack(timeout(30), retry(attempts=2, max_elapsed=20), timeout(0.5))(ask)
        wanted = [0, 0.375, 0.5, 0.625, 19.75, 20, 20.25, 29.75, 30, 30.25]
        seen = draws(schedules_for(guarded), latencies, wanted)
        assert {one for one in seen if one > 1} == set(wanted[4:])
        draws(schedules_for(guarded), steps, [Hang()])

    def test_no_hang_where_nothing_ends_it(self):
        """Without a limit of time no call hangs: that run would be stuck."""
        never(schedules_for(retry(attempts=2)), lambda one: Hang() in steps(one))

    def test_errors_on_both_sides_of_a_condition(self):
        """Errors that are tried again come first, then others, and one that nobody may handle."""
        strategy = schedules_for(retry(on=(KeyError,), attempts=2))
        seen = draws(strategy, errors, [KeyError, ConnectionError, Interruption])
        assert set(seen) <= {KeyError, ConnectionError, TimeoutError, Interruption}
        assert simplest(strategy, errors) in {
            FailureSchedule([Fail(KeyError)]),
            FailureSchedule(then=Fail(KeyError)),
        }

    def test_a_condition_that_accepts_no_common_error(self):
        """Where no common error is accepted, an error is made that says that it is retryable."""

        def by_itself(error):
            return getattr(error, "retryable", False)

        draws(schedules_for(retry(on=by_itself)), errors, [Fault(retryable=True), ConnectionError])

    def test_an_error_that_cannot_be_made_is_left_out(self):
        """A class of errors that wants more than a text is not drawn: nobody knows what."""

        class Odd(Exception):
            def __init__(self, response):
                super().__init__(response.status)

        strategy = schedules_for(retry(on=(Odd, KeyError)))
        draws(strategy, errors, [KeyError])
        never(strategy, lambda one: Odd in errors(one))

    def test_more_steps_than_attempts(self):
        """There are up to two steps more than attempts, and never more."""
        strategy = schedules_for(retry(attempts=4))
        draws(strategy, lambda one: [len(one.steps)], range(7))
        never(strategy, lambda one: len(one.steps) > 6)

    def test_hints_that_can_and_cannot_be_waited_for(self):
        """Hints are lawful, above `max_hint`, past the deadline, and what no server should send."""
        guarded = stack(timeout(30), retry(attempts=8, max_hint=60))
        wanted = [None, 1, 61, 31, 0, -1, math.nan, math.inf, 24 * 3600 + 1]
        draws(schedules_for(guarded), hints, wanted)
        never(schedules_for(timeout(3)), lambda one: any(hint is not None for hint in hints(one)))

    def test_failures_that_trip_a_breaker_and_one_fewer(self):
        """As many failures come first as open a circuit, one fewer and one more, or none at all."""
        guarded = circuit_breaker("kit.drawn", trip=consecutive(3), open_for=30, probe_timeout=5)
        strategy = schedules_for(guarded)

        def leading(schedule):
            plain = [step == Fail(ConnectionError) for step in schedule.steps]
            return [plain.index(False) if False in plain else len(plain)]

        draws(strategy, leading, [0, 2, 3, 4])
        draws(strategy, gaps, [0, 29.75, 30, 30.25, 5])
        draws(strategy, latencies, [4.75, 5, 5.25])

    def test_a_schedule_for_each_target(self):
        """Each target has steps of its own, and faults of each scope come to it."""
        manager = FallbackManager(
            [Target("a", ask, scopes={"key": "K"}, timeout=3), Target("b", small)], deadline=5
        )
        scoped = [
            Fault(retryable=False, scope="key"),
            Fault(retryable=False, scope="key", health="trip"),
            Fault(retryable=False, scope="request"),
            Fault(retryable=True, health="cooldown"),
        ]
        draws(schedules_for(manager), errors, scoped)
        draws(schedules_for(manager), lambda one: one.of(1).steps, [Fail(ConnectionError)])
        draws(schedules_for(manager), latencies, [2.75, 3, 3.25, 4.75, 5, 5.25])
        assert simplest(schedules_for(manager), lambda one: one.fallbacks).fallbacks in {
            (FailureSchedule([Ok()]),),
            (FailureSchedule(then=Fail(ConnectionError)),),
        }
        never(schedules_for(fallback(to=[small])(ask)), lambda one: len(one.fallbacks) > 1)

    def test_values_that_a_predicate_rejects(self):
        """Good values are accepted by `on_result`, bad ones are not."""
        strategy = schedules_for(retry(on_result=lambda status: status >= 500))
        draws(strategy, steps, [Bad(500), Bad(503)])
        never(
            strategy,
            lambda one: any(isinstance(step, Ok) and step.value != 1 for step in steps(one)),
        )

    def test_values_of_a_special_kind_are_asked_for(self):
        """Where no common value is accepted, the error says how to give some, which are drawn."""
        picky = retry(on_result=lambda reply: reply.status >= 500)
        with pytest.raises(ValueError, match=r"accepts none of the values.*good=\[...\] and bad="):
            schedules_for(picky)
        draws(schedules_for(picky, good=["fine"], bad=["sorry"]), steps, [Ok("fine"), Bad("sorry")])

    def test_callers(self):
        """One caller, as many as spend a budget or trip a breaker; or as many as are asked for."""
        for what, options, most in [
            (retry(), {}, 1),
            (retry(budget=RetryBudget("kit.small", reserve=1)), {}, 3),
            (retry(budget=RetryBudget("kit.drawn")), {}, 8),
            (retry(budget=RetryBudget("kit.rich", ratio=3)), {}, 12),
            (circuit_breaker("kit.many", trip=consecutive(2)), {}, 6),
            (retry(), {"callers": 2}, 2),
        ]:
            strategy = schedules_for(what, **options)
            draws(strategy, lambda one: [len(one.arrivals)], [most])
            never(strategy, lambda one, most=most: len(one.arrivals) > most)

    def test_a_budget_is_spent(self):
        """So many callers come at once, and fail, that one of them gets no token."""
        spends = retry(attempts=4, budget=RetryBudget("kit.spent"), backoff=[1])
        draws(
            schedules_for(spends),
            lambda one: ["BudgetRefused" in simulate(spends, one).event_names],
            [True, False],
        )

    def test_errors_of_ones_own(self):
        """`errors` are drawn as well: some that cannot be made without arguments."""

        class Busy(Exception):
            def __init__(self, host, port):
                super().__init__(host, port)

        def busy():
            return Busy("localhost", 80)

        policy = retry(on=Busy, backoff=[0])
        draws(schedules_for(policy, errors=[busy]), steps, [Fail(busy)])
        draws(schedules_for(ask, errors=[busy]), steps, [Fail(busy), Fail(ConnectionError)])
        with pytest.raises(TypeError, match=r"Fail\(error\) takes a class or a function"):
            schedules_for(policy, errors=[busy()])

    def test_cancellations(self):
        """The first caller is cancelled around each limit, in both ways, or not at all."""
        draws(
            schedules_for(timeout(8)),
            lambda one: [one.cancel_at, one.cancel],
            [None, 0, 1, 4, 7.75, 8, 8.25, "scope", "task"],
        )
        never(schedules_for(timeout(8), cancellation=False), lambda one: one.cancel_at is not None)

    def test_stubborn_calls_and_seeds(self):
        """Some calls swallow their cancellation, and the jitter is seeded in many ways."""
        draws(schedules_for(retry()), lambda one: map(type, steps(one)), [Stubborn])
        seeds = draws(schedules_for(retry()), lambda one: [one.jitter_seed], [0, 1])
        assert len(set(seeds)) > 2 or len(seeds) < 20

    @pytest.mark.parametrize(
        "what",
        [
            ask,
            retry()(ask),
            stack(timeout(30), retry(), circuit_breaker("kit.simplest"), timeout(8)),
            fallback(to=[small])(ask),
        ],
        ids=["a plain function", "a retry", "a stack", "a fallback"],
    )
    def test_it_shrinks_to_nothing(self, what):
        """The simplest schedule of whatever is guarded is the empty one."""
        assert simplest(schedules_for(what)) == FailureSchedule()

    def test_a_function_that_nobody_guards(self):
        """Nothing is known of it: common errors, hangs, cancellations, and callers if asked for."""
        draws(
            schedules_for(ask, callers=2),
            lambda one: [*errors(one), *steps(one), one.cancel_at is None, len(one.arrivals)],
            [ConnectionError, ValueError, Hang(), True, False, 1, 2],
        )

    @pytest.mark.parametrize(
        ("arguments", "options", "error", "complaint"),
        [
            ([7], {}, TypeError, "takes an async function, a pipeline or a manager, not 7"),
            (["ask"], {}, TypeError, "takes an async function, a pipeline or a manager, not 'ask'"),
            (
                [ask],
                {"callers": 0},
                ValueError,
                r"callers=\) must be a whole number of at least 1.*0",
            ),
            ([ask], {"callers": 1.5}, ValueError, r"callers=\) must be a whole number.*1.5"),
        ],
    )
    def test_bad_options_are_refused_at_once(self, arguments, options, error, complaint):
        """What cannot be read, and a bad number of callers, are refused by name and value."""
        with pytest.raises(error, match=complaint):
            schedules_for(*arguments, **options)


class TestParts:
    """`cancellations()` and `arrivals()`."""

    def test_cancellations(self):
        """Nobody is cancelled, or at an instant up to the last one, in either way."""
        draws(cancellations(4), lambda one: one or [None], [None, 0, 4, "scope", "task"])
        never(cancellations(4), lambda one: one is not None and not 0 <= one[0] <= 4)
        assert simplest(cancellations(4)) is None
        assert simplest(cancellations(4), lambda one: one is not None) == (0, "scope")

    def test_arrivals(self):
        """The first caller starts at 0, the others behind it, with the gaps that are given."""
        strategy = arrivals(3, gaps=[0, 30])
        draws(strategy, lambda one: [one], [(0,), (0, 0), (0, 30), (0, 30, 60)])
        never(strategy, lambda one: one[0] != 0 or len(one) > 3)
        assert simplest(arrivals()) == (0,)

    @pytest.mark.parametrize(
        ("strategy", "options", "complaint"),
        [
            (
                cancellations,
                {"until": -1},
                r"cancellations\(until=\) must be a number of at least 0",
            ),
            (arrivals, {"max_callers": 0}, r"arrivals\(max_callers=\) must be a whole number"),
            (arrivals, {"gaps": []}, r"arrivals\(gaps=\) must have at least one gap"),
            (arrivals, {"gaps": [-1]}, r"arrivals\(gaps=\) must be a number of at least 0"),
        ],
    )
    def test_bad_options_are_refused_at_once(self, strategy, options, complaint):
        """A bad option is refused before anything is drawn, by its name."""
        with pytest.raises(ValueError, match=complaint):
            strategy(**options)


def test_without_hypothesis_the_extra_is_named(fresh_python):
    """The kit works without Hypothesis, and each strategy says what to install."""
    program = """
import sys
sys.modules["hypothesis"] = None
from resilient.testing import arrivals, cancellations, schedules, schedules_for
for make in (arrivals, cancellations, schedules, lambda: schedules_for(print)):
    try:
        make()
    except ImportError as error:
        print(error)
"""
    said = "strategies need Hypothesis: pip install 'resilient-policies[testing]'"
    assert fresh_python(program).splitlines() == [said] * 4
