"""Single facts at the edges of the core, module by module: boundaries, defaults, whole sentences.

They are what no other test noticed when a line was broken (`mutation.py`).
"""

from __future__ import annotations

from math import inf, nextafter

import pytest

from resilient import (
    Fault,
    TimedOut,
    any_of,
    circuit_breaker,
    consecutive,
    constant,
    count_window,
    exponential,
    fallback,
    fibonacci,
    linear,
    retry,
    time_window,
    transient,
    value,
)
from resilient._core import options, table_page
from resilient._core.answers import checked
from resilient._core.backoff import backoff_of
from resilient._core.breaker import Breaker, Cause, IllegalTransitionError, Result, seconds_until
from resilient._core.breaker_policy import lesson
from resilient._core.budget import Budget
from resilient._core.chain_options import chain_policy, check_routes, last_resort, listed
from resilient._core.conditions import condition, is_unknown, result_condition
from resilient._core.deadline import ROUNDING
from resilient._core.evidence import SLOW, LastCalls, LastSeconds, Rates
from resilient._core.fallback import Cursor, FallbackPolicy, TargetSpec
from resilient._core.faults import classified, fault_of
from resilient._core.functions import refuse_async
from resilient._core.hints import LONGEST_HEADER, hint_of
from resilient._core.last_good import Answer, Answers
from resilient._core.names import error_status, error_type
from resilient._core.retry import RetryRun, Stop, Wait, give_up_note
from resilient._core.shape import MOST_LEAVES, codes_of, entry, leaves, status_of
from resilient._core.table_key import check_row, named
from resilient._core.transient import Table
from resilient._core.trips import Consecutive


class Odd(Exception):
    """An error of which nobody knows anything."""


def carrying(error=None, **attributes):
    """Return an error that has these attributes."""
    error = Odd() if error is None else error
    for name, held in attributes.items():
        setattr(error, name, held)
    return error


def refused(kind, call, *args, **kwargs):
    """Return the sentence with which a call is refused."""
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    return str(caught.value)


class TestAnswers:
    def test_an_answer_that_is_none_is_named(self):
        """The sentence has the option, the predicate, its answer, and what a predicate answers."""
        assert refused(TypeError, checked, "yes", Odd, "retry(on=)") == (
            f"retry(on=): {__name__}.Odd returned 'yes';"
            " a predicate answers True, False, None or the seconds to wait (from 0 on)"
        )


class TestBackoff:
    NUMBER = "(a number or a timedelta)"

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: exponential(base=-1), f"base must be seconds from 0 on {NUMBER}, not -1"),
            (lambda: exponential(cap=-1), f"cap must be seconds from 0 on {NUMBER}, not -1"),
            (lambda: exponential(factor=0.5), "factor must be a number of at least 1, not 0.5"),
            (
                lambda: exponential(jitter="no"),
                "jitter must be 'full', 'equal', 'decorrelated' or 'none', not 'no'",
            ),
            (lambda: constant(-1), f"wait must be seconds from 0 on {NUMBER}, not -1"),
            (
                lambda: constant(1, jitter="decorrelated"),
                "jitter must be 'full', 'equal' or 'none' without a cap, not 'decorrelated'",
            ),
            (
                lambda: backoff_of([]),
                "backoff must be at least one wait in seconds, not an empty list",
            ),
            (
                lambda: backoff_of([1, -1]),
                f"backoff[1] must be seconds from 0 on {NUMBER}, not -1",
            ),
        ],
    )
    def test_a_bad_value_is_named(self, make, sentence):
        """The sentence has the option, what it takes, and the value."""
        assert refused(ValueError, make) == sentence

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            (linear, "wait= must be what linear() returns, not the function linear itself"),
            (7, "wait= must be seconds, not 7"),
            (Odd(), "wait= must be seconds, not an Odd"),
        ],
    )
    def test_what_is_no_backoff_is_named(self, given, sentence):
        """The sentence has the option, and what is accepted there."""
        assert refused(TypeError, backoff_of, given, "wait=", "seconds") == sentence

    def test_what_is_accepted_by_default(self):
        """A backoff, a list, or a function."""
        assert refused(TypeError, backoff_of, 7) == (
            "backoff must be a backoff such as exponential() or constant(1), a list of seconds,"
            " or a function of the retry's number, not 7"
        )

    def test_an_async_function_is_no_backoff(self):
        """The sentence has the option."""

        async def late(_): ...

        assert refused(TypeError, backoff_of, late, "wait=").startswith("wait= must be a plain")

    def test_a_function_that_forgets_to_return(self):
        """The sentence has the name of the function."""

        def forgets(_): ...

        made = backoff_of(forgets)
        assert refused(TypeError, made.wait, 1, 0.5, None).endswith(
            "forgets must return seconds, not None"
        )

    @pytest.mark.parametrize(("growth", "waits"), [(linear, [0.1, 0.2]), (fibonacci, [0.1, 0.1])])
    def test_a_growth_begins_with_a_tenth_of_a_second(self, growth, waits):
        """Where no base is given it is 0.1 s."""
        made = growth(jitter="none")
        assert [made.wait(number, 0.5, None) for number in (1, 2)] == waits


class TestBreaker:
    def breaker(self):
        """Return a breaker that opens at the first failure."""
        return Breaker(circuit_breaker("core.edges", trip=consecutive(1))._part.options.policy)

    def test_what_cannot_happen_is_named(self):
        """The sentence has the state and what was asked for; nothing has changed."""
        breaker = self.breaker()
        assert refused(IllegalTransitionError, breaker.release) == "it is not isolated"
        assert (breaker.state, breaker.holders) == ("closed", 0)
        breaker.isolate()
        assert refused(IllegalTransitionError, breaker.close) == (
            "a circuit that is isolated cannot be reset"
        )
        assert (breaker.state, breaker.holders) == ("isolated", 1)

    def test_a_permit_is_for_one_call(self):
        """The second result of a permit is refused, and says why."""
        breaker = self.breaker()
        permit, _ = breaker.admit(0)
        breaker.settle(permit, Result(verdict="success", now=1))
        assert refused(
            IllegalTransitionError, breaker.settle, permit, Result(verdict="failure", now=2)
        ) == ("this permit was settled before: it is for one call")
        assert breaker.state == "closed"

    def test_a_new_breaker_knows_nothing(self):
        """It is closed, was never open, and nobody holds it."""
        breaker = self.breaker()
        assert (breaker.state, breaker.openings, breaker.waited) == ("closed", 0, None)
        assert (breaker.open_until, breaker.holders) == (inf, 0)
        assert (breaker.cause, breaker.origin, breaker.half_open) == (None, None, None)
        permit, change = breaker.admit(3)
        assert (permit.granted, permit.settled, permit.owner, change) == (3, False, None, None)

    def test_a_refusal_says_what_opened_the_circuit(self):
        """It has the cause and the origin of the opening, and when to come back."""
        breaker = self.breaker()
        permit, _ = breaker.admit(0)
        cause = Cause("ConnectionError", "no route")
        breaker.settle(permit, Result(verdict="failure", now=1, cause=cause))
        refusal, change = breaker.admit(2)
        assert (refusal.isolated, refusal.retry_after, change) == (False, 29, None)
        assert refusal.cause is cause
        assert refusal.origin is breaker.origin is not None

    def test_a_circuit_is_disabled_and_enabled_once(self):
        """Once more changes nothing."""
        breaker = self.breaker()
        assert breaker.enable() is None
        assert breaker.disable()[:3] == ("closed", "disabled", "disabled")
        assert breaker.disable() is None
        assert breaker.state == "disabled"
        assert breaker.enable()[:3] == ("disabled", "closed", "enabled")
        assert breaker.enable() is None

    def test_a_half_open_circuit_knows_what_it_recovers_from(self):
        """Whom it refuses hears of the same cause and origin as before; a closed one forgets."""
        breaker = self.breaker()
        cause = Cause("ConnectionError")
        breaker.settle(breaker.admit(0)[0], Result(verdict="failure", now=0, cause=cause))
        origin = breaker.origin
        probe, change = breaker.admit(30)
        refusal, _ = breaker.admit(31)
        assert change[:3] == ("open", "half_open", "due")
        assert (refusal.cause, refusal.origin) == (cause, origin)
        breaker.settle(probe, Result(verdict="success", now=32))
        assert (breaker.state, breaker.cause, breaker.origin) == ("closed", None, None)

    def test_a_wait_of_the_users_is_taken_as_it_is(self):
        """What a function for `open_for` said is the wait; the policy is not asked."""
        breaker = self.breaker()
        permit, _ = breaker.admit(0)
        change = breaker.settle(permit, Result(verdict="failure", now=1, wait=7.0))
        assert (change.open_for, breaker.waited, breaker.open_until) == (7, 7, 8)

    def test_a_difference_that_is_rounded_down_is_made_longer(self):
        """By the least there is: 0.2 + (0.9 - 0.2) is less than 0.9."""
        assert 0.2 + (0.9 - 0.2) < 0.9
        assert seconds_until(0.9, 0.2) == nextafter(0.9 - 0.2, inf)
        assert 0.2 + seconds_until(0.9, 0.2) >= 0.9

    def test_a_slow_call_is_a_cause(self):
        """A circuit that opens without an error says that a call was slow."""
        breaker = self.breaker()
        permit, _ = breaker.admit(0)
        change = breaker.settle(permit, Result(verdict="failure", now=1))
        assert (change.cause, repr(breaker.cause)) == (Cause("slow_call"), "Cause('slow_call')")


class TestBreakerPolicy:
    def policy(self, **given):
        """Return the policy that `circuit_breaker` makes of these options."""
        return circuit_breaker("core.edges", probes=1, **given)._part.options.policy

    def test_a_group_that_speaks_for_itself_is_not_its_members(self):
        """A group with a `retryable` of its own is judged by that, whatever is in it."""
        group = carrying(ExceptionGroup("", [TypeError()]), retryable=True, retry_after=7)
        assert lesson(self.policy(), group) == ("failure", 7)

    def test_classify_is_asked_for_the_members_of_a_group(self):
        """What `classify` knows of a member counts also where `on=` names the errors."""

        def classify(error):
            return Fault(retryable=True, retry_after=7) if isinstance(error, Odd) else None

        policy = self.policy(on=ExceptionGroup, classify=classify)
        assert lesson(policy, ExceptionGroup("", [Odd()])) == ("failure", 7)

    def test_classify_is_asked_once(self):
        """An error of which `classify` knows nothing is not shown to it again."""
        asked = []
        lesson(self.policy(on=Odd, classify=asked.append), Odd())
        assert len(asked) == 1


class TestBudget:
    def test_a_withdrawal_at_the_start_of_a_slot_lives_for_a_ttl(self):
        """It counts from that very instant: after just a ttl the token is back."""
        budget = Budget(ratio=0, reserve=1, ttl=20)
        assert budget.withdraw(6)
        assert [budget.available(now) for now in (25.9, 26)] == [0, 1]

    def test_a_look_ahead_forgets_the_oldest_slot(self):
        """Whoever looks at the end of a ttl sees the token that was taken at its start."""
        budget = Budget(ratio=0, reserve=1, ttl=10)
        assert budget.withdraw(0)
        assert not budget.withdraw(9)
        assert budget.available(10) == 1

    def test_a_slot_that_has_expired_is_empty(self):
        """However often its places are used again, nothing of a token is lost."""
        budget = Budget(ratio=0, reserve=1, ttl=10)
        for now in range(30):
            budget.deposit(now)
        assert budget.withdraw(30)


class TestChainOptions:
    def chain(self, **given):
        """Return the policy of a chain with these options, the others as `fallback` has them."""
        others = dict.fromkeys(("on", "on_result", "routes", "degrade"))
        others |= {"switch_after": 3, "raises": "group", "midstream": "error"}
        return chain_policy("fallback", **{**others, **given})

    def test_the_defaults(self):
        """A scope that is condemned rests for 30 s; the targets are named later."""
        policy = self.chain()
        assert (policy.trip_for, policy.targets) == (30, ())

    def test_an_unknown_midstream_is_named(self):
        """The sentence names the option and what it takes."""
        assert refused(ValueError, self.chain, midstream="no") == (
            "fallback(midstream=) must be 'error' or 'restart', not 'no'"
        )

    def test_routes_to_nobody_are_named(self):
        """The sentence has every target that does not exist, and all that do."""
        routes = ((Odd, frozenset(["d", "c"])),)
        assert refused(ValueError, check_routes, routes, ["b", "a"], "fallback") == (
            "fallback(routes=) sends Odd to c, d, which is no target; there are a, b"
        )

    def test_a_bare_value_is_no_last_resort(self):
        """The sentence shows the value and what to write."""
        assert refused(TypeError, last_resort, 7, "fallback(degrade=)") == (
            "fallback(degrade=) must be value(...) or last_good(...), not 7: write value(x)"
        )
        last_resort(value(7), "fallback(degrade=)")

    @pytest.mark.parametrize(
        ("given", "shown"), [(7, "7"), ("a", "'a'"), (refused, "refused"), ({}, "a dict")]
    )
    def test_what_is_no_list_is_named(self, given, shown):
        """A function alone is named, anything else is shown."""
        assert refused(TypeError, listed, given, "fallback(to=)", "functions") == (
            f"fallback(to=) must be a list of functions, not {shown}"
        )

    def test_routes_are_a_mapping(self):
        """The sentence shows what was given instead."""
        assert refused(TypeError, self.chain, routes=7) == (
            "fallback(routes=) must map exception classes to lists of target names, not 7"
        )

    @pytest.mark.parametrize(("key", "shown"), [(7, "7"), (int, "int"), (SystemExit, "SystemExit")])
    def test_a_route_is_from_an_exception(self, key, shown):
        """The sentence names a class, and shows anything else."""
        assert refused(TypeError, self.chain, routes={key: ["a"]}) == (
            f"fallback(routes=) must have exception classes as its keys, not {shown}"
        )


class TestConditions:
    CONDITION = "retry(on=) must be an exception class, a predicate or a tuple of these"
    NEVER = "cancellation and exit are never handled"

    def test_a_result_condition_names_its_option(self):
        """A predicate on values that answers nonsense is named with the option it was given as."""

        def odd(_):
            return "yes"

        judge = result_condition(odd, "fallback(on_result=)")
        assert refused(TypeError, judge.decide, 7).startswith("fallback(on_result=): ")

    def test_what_classify_knows_is_known(self):
        """`classify` is asked about the error itself."""

        def classify(error):
            return Fault(retryable=False) if type(error) is Odd else None

        assert not is_unknown(condition(transient, classify=classify), Odd())
        assert is_unknown(condition(transient, classify=classify), Exception())

    @pytest.mark.parametrize(
        ("error", "on", "sentence"),
        [
            (ValueError, (), "retry(on=) must name an error or a predicate, not an empty tuple"),
            (
                ValueError,
                (Odd, ()),
                "retry(on=) must name an error or a predicate, not an empty tuple",
            ),
            (
                TypeError,
                7,
                f"{CONDITION}, not 7",
            ),
            (
                TypeError,
                (Odd(),),
                f"{CONDITION}, not an instance of {__name__}.Odd (give the class)",
            ),
            (TypeError, int, "retry(on=) must be an exception class, not the class int"),
            (
                ValueError,
                SystemExit,
                f"retry(on=) must name an Exception, not SystemExit: {NEVER}",
            ),
        ],
    )
    def test_what_is_no_condition_is_named(self, error, on, sentence):
        """The sentence has the option, what it takes, and what was given."""
        assert refused(error, condition, on, "retry(on=)") == sentence

    @pytest.mark.parametrize("given", [7, int])
    def test_what_is_no_predicate_on_values_is_named(self, given):
        """The sentence has the option."""
        shown = options.shown(given)
        assert refused(TypeError, result_condition, given, "retry(on_result=)") == (
            f"retry(on_result=) must be a predicate on the returned value, not {shown}"
        )

    def test_the_options_have_names_by_default(self):
        """They are those of `retry`."""
        assert refused(TypeError, condition, 7).startswith("on must be an exception class")
        assert refused(TypeError, result_condition, 7).startswith("on_result must be a predicate")

    def test_an_async_predicate_is_refused(self):
        """The sentence has the option."""

        async def late(_): ...

        for make, option in ((condition, "on="), (result_condition, "on_result=")):
            assert refused(TypeError, make, late, option).startswith(f"{option} must be a plain")


class TestCustomBackoff:
    @pytest.mark.parametrize("none", [0, 0.0])
    def test_a_function_may_answer_that_there_is_no_wait(self, none):
        """No wait at all is an answer."""
        policy = retry(backoff=lambda _: none).policies[0].policy
        assert policy.backoff.wait(1, 0.5, None) == 0


class TestEvidence:
    RATES = Rates(failure_rate=0.5, min_calls=1, slow_rate=0.5)

    def test_slow_calls_are_whole_numbers(self):
        """How many calls were slow is a whole number."""
        evidence = LastCalls(4, self.RATES)
        evidence.add(0, SLOW)
        assert repr(evidence.figures(0).slow) == "1"

    def test_a_window_forgets_only_what_is_too_old(self):
        """The bucket that is new stays, and so do the nine before it."""
        evidence = LastSeconds(10, self.RATES)
        for now in range(25):
            evidence.success(now)
        assert evidence.figures(24).calls == 10


class TestFallback:
    def policy(self, number=2, **given):
        """Return the policy of a chain of targets a, b, ... that may each take a second."""
        targets = tuple(TargetSpec(name=name, seconds=1) for name in "abc"[:number])
        return FallbackPolicy(targets=targets, **given)

    def test_a_trip_may_rest_for_less_than_a_second(self):
        """The time for which a trip blocks is that of the option."""
        fault = Fault(retryable=False, health="trip")
        assert self.policy(trip_for=0.5).blocks(0, fault) == {("target", "a"): 0.5}

    @pytest.mark.parametrize("left", [1, 1 + ROUNDING])
    def test_the_last_moment_belongs_to_whose_turn_it_is(self, left):
        """Where what is kept for the others leaves nothing, the target may take everything."""
        cursor = Cursor(self.policy(reserve=1))
        assert cursor.limit(0, 0.0, {}, left) == left

    @pytest.mark.parametrize("left", [0, ROUNDING])
    def test_no_time_is_left_for_a_target(self, left):
        """A target that has no more than the rounding of a sum is not asked, and is named."""
        cursor = Cursor(self.policy(1))
        assert cursor.advance(0.0, {}, left) is None
        (skip,) = cursor.skipped
        assert (skip.target, skip.target_index, skip.reason) == ("a", 0, "deadline")

    def test_nothing_is_kept_of_a_call_that_is_over(self):
        """Neither errors nor an answer stay behind."""
        cursor = Cursor(self.policy(), kept=Answer(7, 0.0))
        cursor.failed(0, Odd(), None, covered=True, rejected=False)
        cursor.forget()
        assert (cursor.failures, cursor.kept) == ([], None)


class TestFaults:
    def test_a_group_is_read_by_the_table_that_is_given(self):
        """The members of a group are looked up in the same table as the group."""
        table = transient.extended({Odd: "throttled"})
        fault = fault_of(ExceptionGroup("", [Odd()]), None, table)
        assert (fault.retryable, fault.health) == (True, "cooldown")

    def test_a_hint_of_less_than_a_second_is_the_longest(self):
        """A member without a hint asks for no wait."""
        group = ExceptionGroup(
            "", [ConnectionError(), carrying(ConnectionError(), retry_after=0.5)]
        )
        assert fault_of(group).retry_after == 0.5

    def test_an_answer_that_is_no_fault_is_named(self):
        """The sentence has the function and its answer."""

        def classify(_):
            return 7

        assert refused(TypeError, classified, Odd(), classify).endswith("classify returned 7")


class TestFunctions:
    def test_an_async_function_is_named(self):
        """The sentence has the name of the function that would have to be awaited."""

        async def late(): ...

        assert refused(TypeError, refuse_async, late, "retry(on=)").endswith(
            "must be a plain function, not the async"
            f" {__name__}.TestFunctions.test_an_async_function_is_named.<locals>.late"
        )


class TestHints:
    DATES = ("Fri, 27 Nov 2026 10:00:00 GMT", "Fri, 27 Nov 2026 10:00:09 GMT")

    @pytest.mark.parametrize(("length", "hint"), [(LONGEST_HEADER, 9), (LONGEST_HEADER + 1, None)])
    def test_a_header_that_is_too_long_is_not_read(self, length, hint):
        """A date is read up to the longest header there may be."""
        date, until = self.DATES
        headers = {"Date": date, "Retry-After": until.ljust(length)}
        found = hint_of(carrying(headers=headers))
        assert (None if found is None else found[0]) == hint

    def test_the_headers_of_botocore(self):
        """They are in the metadata of its response."""
        headers = {"retry-after": "7"}
        error = carrying(response={"ResponseMetadata": {"HTTPHeaders": headers}})
        assert hint_of(error) == (7, "retry-after")


class TestLastGood:
    def test_an_answer_that_is_replaced_is_the_newest(self):
        """It goes behind those that are older now, and does not keep them from being forgotten."""
        answers = Answers(max_age=10, max_entries=5)
        for key, now in (("a", 0), ("b", 1), ("a", 5)):
            answers.put(key, key, now)
        assert answers.find("b", 12) is None
        assert answers.find("a", 12) == Answer("a", 5)

    def test_an_answer_that_is_replaced_takes_no_room(self):
        """In a full store the others stay."""
        answers = Answers(max_age=10, max_entries=2)
        for key in ("a", "b", "b"):
            answers.put(key, key, 0)
        assert answers.find("a", 1) == Answer("a", 0)


class TestNames:
    @pytest.mark.parametrize(
        ("limit", "name"),
        [
            ("attempt", "timeout"),
            ("total", "deadline_exceeded"),
            ("first_item", "first_item_timeout"),
            ("between_items", "between_items_timeout"),
        ],
    )
    def test_a_limit_of_ours_has_its_own_name(self, limit, name):
        """Which of our limits has expired is in the name of the error."""
        assert error_type(TimedOut(3, limit)) == name

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (carrying(status_code=503), 503),
            (Odd(), None),
            (carrying(status_code=503, telemetry_error_type="busy"), None),
            (carrying(TimedOut(3, "total"), status_code=503), None),
            (carrying(SystemExit(), status_code=503), None),
            (None, None),
        ],
    )
    def test_the_status_of_a_foreign_error(self, error, status):
        """Only what brings no name of its own has one, and is neither ours nor an exit."""
        assert error_status(error) == status


class TestOptions:
    SECONDS = "seconds above 0 (a number or a timedelta)"
    TAKES = (
        (options.seconds, {}, SECONDS),
        (options.seconds, {"zero": True}, SECONDS.replace("above 0", "from 0 on")),
        (options.whole, {}, "a whole number of at least 1"),
        (options.whole, {"least": 0}, "a whole number of at least 0"),
        (options.number, {"least": 1}, "a number of at least 1"),
        (options.number, {"least": 1, "most": 9}, "a number from 1 to 9"),
        (options.choice, {"allowed": ("a", "b", "c")}, "'a', 'b' or 'c'"),
        (options.text, {}, "a text that is not empty"),
    )

    @pytest.mark.parametrize(("check", "given", "accepted"), TAKES)
    @pytest.mark.parametrize(
        ("value", "shown"),
        [(None, "None"), (-1, "-1"), ("", "''"), ((), "a tuple"), (True, "True")],
    )
    def test_a_bad_option_has_a_whole_sentence(self, check, given, accepted, value, shown):
        """It says which option, what it takes, and what was given."""
        expected = f"an(option=) must be {accepted}, not {shown}"
        assert refused((TypeError, ValueError), check, value, "an(option=)", **given) == expected

    @pytest.mark.parametrize(("check", "given", "accepted"), TAKES[:6])
    @pytest.mark.parametrize("value", [float("nan"), float("-inf"), -(10**400)])
    def test_a_number_that_is_none_has_a_whole_sentence(self, check, given, accepted, value):
        """So it does for what is no number or larger than any."""
        expected = f"an(option=) must be {accepted}, not {options.shown(value)}"
        assert refused(ValueError, check, value, "an(option=)", **given) == expected

    def test_a_value_is_shown_with_its_article(self):
        """A class is shown as `a` or `an`, by the first letter of its name."""
        names = ["Xray", "ray", "Any", "any"]
        shown = [options.shown(type(name, (), {})()) for name in names]
        assert shown == ["a Xray", "a ray", "an Any", "an any"]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_longest_number_that_is_shown_has_forty_digits(self, sign):
        """One of 41 digits is not."""
        assert options.shown(sign * (10**40 - 1)) == str(sign * (10**40 - 1))
        assert options.shown(sign * 10**40) == "a number of more than 40 digits"


class TestRetry:
    def run_of(self, **given):
        """Return a run of a retry that waits as these options say."""
        return RetryRun(retry(attempts=9, **given).policies[0].policy, began=0)

    def decided(self, run, *, hint=None, rnd=0.5):
        """Let an attempt fail, and return the wait."""
        return run.after_error(ConnectionError(), hint, left=inf, patience=inf, rnd=rnd)

    def test_a_bad_result_waits_by_chance_as_well(self):
        """The jitter of a wait after a result is that of the random number."""
        run = self.run_of(backoff=exponential(base=1), on_result=lambda _: True)
        found = run.after_result(True, left=inf, patience=inf, rnd=0.25)
        assert found == Wait(0.25, "backoff")

    def test_decorrelated_jitter_goes_by_the_wait_before(self):
        """The second wait is between the base and three times the first one."""
        run = self.run_of(backoff=exponential(base=1, cap=100, jitter="decorrelated"))
        first = self.decided(run, rnd=0.999).seconds
        assert self.decided(run, rnd=0.5).seconds == pytest.approx(1 + 0.5 * (3 * first - 1))

    @pytest.mark.parametrize(("left", "found"), [(2, Stop), (2 + ROUNDING, Stop), (2.1, Wait)])
    def test_a_wait_ends_before_the_deadline(self, left, found):
        """One that ends with it, but for the rounding of a sum, is not taken."""
        run = self.run_of(backoff=[2])
        decided = run.after_error(ConnectionError(), None, left=left, patience=inf, rnd=0.5)
        assert type(decided) is found

    def test_a_hint_as_long_as_the_wait_changes_nothing(self):
        """The wait is the one that was computed."""
        run = self.run_of(backoff=[2])
        assert self.decided(run, hint=2) == Wait(2, "backoff")

    def note(self, waits, result, wait=None, *, tries=None):
        """Return the note of a retry that has waited so and stops."""
        run = self.run_of(backoff=[1])
        run.tries, run.waits = tries or len(waits) + 1, list(waits)
        return give_up_note(run, Stop(result, wait), 7)

    def test_the_note_has_attempts_time_and_waits(self):
        """It says what was done, in a sentence."""
        assert self.note([1, 2.5], "exhausted") == (
            "gave up after 3 attempts in 7.00 s (waits 1.00, 2.50 s)"
        )

    @pytest.mark.parametrize(("number", "more"), [(10, ""), (11, ", ...")])
    def test_ten_waits_are_shown(self, number, more):
        """What is more is only said to be there."""
        shown = ", ".join(["1.00"] * 10)
        assert self.note([1] * number, "exhausted").endswith(f"(waits {shown}{more} s)")

    def test_the_note_says_why(self):
        """A wait that is too long is named, and so is an error that is not retryable."""
        assert self.note([1], "deadline", 30).endswith(
            ": the next wait of 30 s is longer than what is left or allowed"
        )
        assert self.note([1], "not_retryable").endswith(": the last error is not retryable")
        assert self.note([1], "deadline").endswith("(waits 1.00 s)")
        assert self.note([1], "exhausted", 30).endswith("(waits 1.00 s)")

    @pytest.mark.parametrize("result", ["not_retryable", "exhausted", "rejected"])
    def test_the_first_attempt_alone_needs_no_note(self, result):
        """It is the normal case; a wait that was too long is said also then."""
        assert self.note([], result) is None
        assert self.note([], "deadline", 30).startswith("gave up after 1 attempt in 7.00 s: ")


class TestShape:
    def test_a_group_of_as_many_as_there_may_be(self):
        """The group itself counts as well."""
        most = [Odd() for _ in range(MOST_LEAVES - 1)]
        assert leaves(ExceptionGroup("", most)) == most
        assert leaves(ExceptionGroup("", [*most, Odd()])) is None

    def test_a_class_in_the_place_of_a_code_is_not_called(self):
        """Only a method gives a code: what it costs to make an object is anyone's guess."""
        made = []

        class Costly:
            def __new__(cls):
                made.append(cls)
                return 7

        assert [*codes_of(carrying(code=Costly))] == [None]
        assert made == []

    def test_only_a_dictionary_has_entries(self):
        """What merely has a `get` is not asked."""

        class Gives:
            def get(self, key):
                return key

        assert entry(Gives(), "a") is None
        assert entry({"a": 7}, "a") == 7

    @pytest.mark.parametrize(("status", "found"), [(99, None), (100, 100), (599, 599), (600, None)])
    def test_a_status_is_one_of_http(self, status, found):
        """It is from 100 to 599."""
        assert status_of(carrying(status_code=status)) == found

    @pytest.mark.parametrize(
        ("attributes", "code"),
        [
            ({"response": {"Error": {"Code": "SlowDown"}}}, "SlowDown"),
            ({"type": "overloaded_error"}, "overloaded_error"),
            ({"body": {"error": {"type": "api_error"}}}, "api_error"),
            ({"code": Odd}, None),
        ],
    )
    def test_where_a_code_is_found(self, attributes, code):
        """botocore's, `type`, and that of the body; a class in the place of a code is none."""
        assert list(codes_of(carrying(**attributes))) == [code]


class TestTableKey:
    def test_a_class_without_a_module(self):
        """Its root is the empty text."""
        assert named(type("Lost", (), {"__module__": None})) == ("", "Lost")

    def test_the_root_of_a_module_is_its_first_part(self):
        """The sentence has what to write instead."""
        assert refused(ValueError, check_row, ("a.b.c", "Busy"), "transient") == (
            "the module of a row is the root alone: 'a', not 'a.b.c'"
        )


class TestTablePage:
    def test_twenty_statuses_are_listed(self):
        """Of more only the range is said."""
        assert table_page._statuses_shown([*range(400, 420)]).endswith(" 419")
        assert table_page._statuses_shown([*range(400, 421)]) == "400 to 420, but for those above"

    def test_a_line_is_not_broken_inside_of_a_name(self):
        """A hyphen is part of a name."""
        name = "some-hyphenated-name"
        assert all(line.endswith(name) for line in table_page._filled("", " ".join([name] * 9)))


class TestTransient:
    @pytest.mark.parametrize("error", [TypeError(), KeyError(), NotImplementedError()])
    def test_a_table_of_ones_own_knows_bugs_as_well(self, error):
        """A programming error is known in every table, and retried by none."""
        table = transient.extended({Odd: "transient"})
        assert isinstance(table, Table)
        assert table.knows(error)
        assert not table(error)


class TestTrips:
    def test_the_defaults(self):
        """Five failures in a row, or half of the last hundred calls."""
        assert consecutive().describe() == "at 5 failures in a row"
        assert count_window().describe() == "at 50 % failures of at least 10 of the last 100 calls"

    def test_the_rate_of_slow_calls(self):
        """A window of time has the rate of slow calls that was given."""
        assert time_window(10, slow_call=5, slow_rate=0.8).rates.slow_rate == 0.8

    def test_the_largest_window_of_calls(self):
        """A window may hold a hundred thousand calls, and no more."""
        assert count_window(100_000).size == 100_000
        assert refused(ValueError, count_window, 100_001) == (
            "count_window(size) must be at most 100000, not 100001"
        )

    @pytest.mark.parametrize(
        ("make", "text"),
        [
            (lambda: consecutive(0), "consecutive(failures) must be"),
            (lambda: consecutive(1, slow_call=0), "consecutive(slow_call=) must be"),
            (lambda: time_window(0), "time_window(window) must be"),
            (any_of, "any_of() needs at least one rule, such as consecutive(5)"),
        ],
    )
    def test_a_bad_option_is_named(self, make, text):
        """The sentence begins with the option."""
        assert refused(ValueError, make).startswith(text)

    @pytest.mark.parametrize(
        ("trip", "name"), [(consecutive, "consecutive"), (Consecutive, "Consecutive"), (7, "7")]
    )
    def test_what_is_no_rule_is_named(self, trip, name):
        """A function that was not called and a class have their own names, all else is shown."""
        assert refused(TypeError, any_of, trip).endswith(f" or time_window(30), not {name}")


def test_the_time_for_which_a_chain_rests_is_thirty_seconds():
    """So it is for `fallback`, which has no option for it."""
    assert fallback(degrade=value(0)).policies[0].policy.trip_for == 30
