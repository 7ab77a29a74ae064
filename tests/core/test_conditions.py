"""Conditions: what `on=` and `on_result=` accept, and what they decide."""

from __future__ import annotations

import asyncio
import functools
import math
import re
from datetime import timedelta
from decimal import Decimal
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._core.conditions import (
    BUGS,
    ResultCondition,
    condition,
    is_unknown,
    may_wait,
    not_a_bug,
    result_condition,
    with_classify,
)
from resilient._core.faults import Fault
from resilient._core.shape import MOST_LEAVES
from resilient._core.transient import transient, unsent
from resilient.errors import (
    AllTargetsFailed,
    Rejected,
    ResilientError,
    Skipped,
    TimedOut,
    Unacceptable,
)

REJECTED = Rejected("no place left", policy="bulkhead", retry_after=3)


class Busy(Exception):
    """An exception of a user's own library."""


class VeryBusy(Busy):
    """A more special one."""


class BusyGroup(ExceptionGroup):
    """A group of a user's own."""


def is_busy(error: Exception) -> bool:
    return isinstance(error, Busy)


def answering(answer: object):
    """Return a predicate that always answers this."""

    def predicate(_: object) -> object:
        return answer

    return predicate


# Types


def test_type_covers_its_instances():
    """A class covers itself and what descends from it, and nothing else."""
    on = condition(Busy)
    assert on.decide(Busy()) is True
    assert on.decide(VeryBusy()) is True
    assert on.decide(ConnectionError()) is False


def test_tuple_is_any_of():
    """A tuple, nested as deep as you like, covers what any of its members covers."""
    on = condition((ConnectionError, (Busy, (OSError,)), lambda e: str(e) == "special"))
    for error in (ConnectionError(), VeryBusy(), OSError(), ValueError("special")):
        assert on.decide(error) is True
    assert on.decide(ValueError()) is False


def test_types_alone_are_one_check():
    """A nested tuple of types becomes one flat condition."""
    assert condition((OSError, ((Busy,), KeyError))).types == (OSError, Busy, KeyError)


def test_broad_type_does_not_cover_our_own_refusals():
    """X02: `on=Exception` never acts on a `Rejected`; naming a class of ours does."""
    skipped = Skipped("claude", "cooldown")
    for error in (REJECTED, skipped):
        assert condition(Exception).decide(error) is False
        assert condition((ConnectionError, Exception)).decide(error) is False
        assert condition(ResilientError).decide(error) is True
        assert condition((ConnectionError, Rejected)).decide(error) is True
    assert condition(Skipped).decide(REJECTED) is False
    assert condition((Exception, Skipped)).decide(REJECTED) is False
    assert condition((Exception, Skipped)).decide(skipped) is True


def test_what_an_error_says_of_its_class_is_not_believed(untrusted):
    """An error is judged by its real class, and one that raises when it is asked is not asked."""
    assert condition(Exception).decide(untrusted) is True
    assert condition((Busy, AllTargetsFailed)).decide(untrusted) is False
    assert not_a_bug(untrusted)


def test_our_other_errors_are_covered_like_any():
    """A timeout of ours is a `TimeoutError` and an `Exception` to whoever names these."""
    for broad in (Exception, TimeoutError, OSError, TimedOut, ResilientError):
        assert condition(broad).decide(TimedOut(8, "attempt")) is True
    assert condition(Exception).decide(Unacceptable(1)) is True


# What is refused


@pytest.mark.parametrize(
    ("on", "error", "message"),
    [
        ((), ValueError, "on must name an error or a predicate, not an empty tuple"),
        ((Busy, ()), ValueError, "not an empty tuple"),
        (asyncio.CancelledError, ValueError, "must name an Exception, not CancelledError: canc"),
        (KeyboardInterrupt, ValueError, "cancellation and exit are never handled"),
        (BaseException, ValueError, "must name an Exception, not BaseException"),
        (BaseExceptionGroup, ValueError, "must name an Exception, not BaseExceptionGroup"),
        ((Busy, SystemExit), ValueError, "must name an Exception, not SystemExit"),
        (int, TypeError, "on must be an exception class, not the class int"),
        (Busy("secret"), TypeError, r"not an instance of .*Busy \(give the class\)"),
        ("ConnectionError", TypeError, "on must be an exception class, .* not 'ConnectionError'"),
        (None, TypeError, "on must be an exception class, a predicate or a tuple .* not None"),
        ([Busy], TypeError, "on must be .* a tuple of these, not a list"),
        ({Busy}, TypeError, "not a set"),
        (503, TypeError, "not 503"),
        (True, TypeError, "not True"),
    ],
)
def test_bad_on_is_refused_at_once(on, error, message):
    """What can never work is refused when the condition is made, with the option's name."""
    with pytest.raises(error, match=message):
        condition(on)


def test_message_names_the_option_and_not_the_value():
    """The option may have another name, and the text of an instance is not shown."""
    with pytest.raises(TypeError, match="fallback_on must be") as raised:
        condition(Busy("secret"), "fallback_on")
    assert "secret" not in str(raised.value)


class AsyncCall:
    """An object that is called asynchronously."""

    async def __call__(self, error: Exception) -> bool:
        return True


async def async_predicate(error: Exception) -> bool:
    return True


@pytest.mark.parametrize(
    "predicate",
    [async_predicate, AsyncCall(), functools.partial(async_predicate)],
    ids=["function", "object", "partial"],
)
def test_async_predicates_are_refused(predicate):
    """A predicate that would have to be awaited would always say yes."""
    for make in (condition, result_condition):
        with pytest.raises(TypeError, match="must be a plain function, not the async"):
            make(predicate)


# Predicates


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        (True, True),
        (False, False),
        (None, False),
        (0, 0.0),
        (0.0, 0.0),
        (-0.0, 0.0),
        (0.7, 0.7),
        (60, 60.0),
        (timedelta(milliseconds=700), 0.7),
        (timedelta(0), 0.0),
    ],
)
def test_r20_answers_of_a_predicate(answer, decision):
    """R20: true, false, nothing or a wait; a wait of 0 is an answer of its own."""
    for on in (condition(answering(answer)), result_condition(answering(answer))):
        found = on.decide(ConnectionError())
        assert (type(found), found) == (type(decision), decision)
        assert math.copysign(1, found) == 1


def test_negative_answers_name_the_predicate():
    """R20: a negative, infinite or NaN number is a `ValueError` that names the predicate."""
    for answer in (-1, -0.5, math.nan, math.inf, -math.inf, 10**400, timedelta(seconds=-1)):
        for make, option in ((condition, "on"), (result_condition, "on_result")):
            with pytest.raises(ValueError, match=rf"^{option}: .*predicate returned"):
                make(answering(answer)).decide(ConnectionError())


@pytest.mark.parametrize("answer", ["yes", "", [], object(), Decimal(1), 1j, Busy, mock.Mock()])
def test_other_answers_name_the_predicate(answer):
    """R20: anything but a bool, nothing or a number is a `TypeError` that names the predicate."""
    message = re.escape(f"{__name__}.answering.<locals>.predicate returned")
    for make in (condition, result_condition):
        with pytest.raises(TypeError, match=message):
            make(answering(answer)).decide(ConnectionError())


def test_message_shows_no_object_of_the_user():
    """An answer is named by its type: its text may be private."""
    secret = mock.Mock(__repr__=lambda _: "secret", __str__=lambda _: "secret")
    with pytest.raises(TypeError) as raised:
        condition(answering(secret)).decide(Busy())
    assert "secret" not in str(raised.value)


def test_predicate_may_fail_the_call():
    """What a predicate raises leaves as it is."""

    def broken(_: Exception) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        condition(broken).decide(ConnectionError())


def test_r25_predicate_is_never_shown_what_is_no_exception():
    """R25: interruption, exit and cancellation are decided without asking anybody."""
    ask = mock.Mock(return_value=True)
    errors = (KeyboardInterrupt(), SystemExit(), GeneratorExit(), asyncio.CancelledError())
    conditions = [
        condition(ask),
        condition((Busy, ask)),
        condition(Exception),
        condition((transient, ask)),
        condition(transient),
        condition(transient, classify=ask),
    ]
    for error in (*errors, BaseExceptionGroup("m", [Busy(), KeyboardInterrupt()])):
        for on in conditions:
            assert on.decide(error) is False
    ask.assert_not_called()


def test_first_yes_of_a_tuple_wins():
    """The members of a tuple are asked in order, until one does not say no."""
    late = mock.Mock(return_value=9)
    assert condition((answering(None), answering(2), late)).decide(Busy()) == 2.0
    assert condition((Busy, late)).decide(Busy()) is True
    late.assert_not_called()
    assert condition((late, Busy)).decide(Busy()) == 9.0
    assert condition((answering(0), Busy)).decide(Busy()) == 0.0


def test_predicates_may_be_any_plain_callable():
    """Methods, partials and objects with `__call__` are predicates."""

    class Picky:
        def __call__(self, error: Exception) -> bool:
            return is_busy(error)

        def method(self, error: Exception) -> bool:
            return is_busy(error)

    for predicate in (Picky(), Picky().method, functools.partial(is_busy), is_busy):
        on = condition(predicate)
        assert (on.decide(Busy()), on.decide(KeyError())) == (True, False)


# Tables


def test_tables_are_predicates():
    """`transient` and `unsent` stand in `on=` alone and beside others."""
    assert condition(transient).decide(TimeoutError()) is True
    assert condition(transient).decide(REJECTED) is False
    assert condition(unsent).decide(TimeoutError()) is False
    assert condition(unsent).decide(ConnectionRefusedError()) is True
    mine = condition((transient, Busy))
    assert [mine.decide(e) for e in (TimeoutError(), Busy(), KeyError())] == [True, True, False]


def test_classify_is_asked_before_the_table():
    """The user's own answer to what an error is decides, where it gives one."""

    def classify(error: Exception) -> Fault | None:
        if isinstance(error, Busy):
            return Fault(retryable=True)
        return Fault(retryable=False) if isinstance(error, TimeoutError) else None

    on = condition(transient, classify=classify)
    assert on.decide(Busy()) is True
    assert on.decide(TimeoutError()) is False
    assert on.decide(ConnectionError()) is True
    assert on.decide(KeyError()) is False
    assert on.decide(ExceptionGroup("m", [Busy(), ConnectionError()])) is True
    assert on.decide(ExceptionGroup("m", [Busy(), TimeoutError()])) is False
    assert condition((KeyError, transient), classify=classify).decide(Busy()) is True


def test_classify_may_answer_for_a_group():
    """A group that `classify` knows is not taken apart."""
    group = ExceptionGroup("m", [Busy()])

    def classify(error: Exception) -> Fault | None:
        return Fault(retryable=True) if error is group else None

    assert condition(transient, classify=classify).decide(group) is True
    assert condition((KeyError, transient), classify=classify).decide(group) is True


def test_classify_is_no_proof_of_unsent():
    """With `on=unsent`, `classify` can veto and cannot vouch."""

    def classify(error: Exception) -> Fault | None:
        return Fault(retryable=not isinstance(error, ConnectionRefusedError))

    on = condition(unsent, classify=classify)
    assert on.decide(Busy()) is False
    assert on.decide(ConnectionRefusedError()) is False
    dns = type("gaierror", (OSError,), {"__module__": "socket"})()
    assert on.decide(dns) is True


def test_wrong_answer_of_classify_fails_the_call():
    """A `classify` that answers anything but a fault is named."""
    with pytest.raises(TypeError, match="classify must return a Fault or None"):
        condition(transient, classify=answering(True)).decide(Busy())


def test_classify_of_a_target_goes_before_tables_without_one():
    """A target's `classify` is put before every table that has none, and before nothing else."""

    def busy(error: Exception) -> Fault | None:
        return Fault(retryable=True) if isinstance(error, Busy) else None

    assert with_classify(condition(transient), busy).decide(Busy()) is True
    assert with_classify(condition((KeyError, transient)), busy).decide(Busy()) is True
    for on in (condition(KeyError), condition(answering(None))):
        assert with_classify(on, busy) is on
    own = condition(transient, classify=lambda _: Fault(retryable=False))
    assert with_classify(own, busy).decide(Busy()) is False


def test_only_a_predicate_may_wait():
    """Types and tables never ask for a wait of their own, and a user's predicate may."""
    for on in (Busy, transient, unsent, not_a_bug, (Busy, (transient, not_a_bug))):
        assert may_wait(condition(on)) is False
    for on in (is_busy, (transient, (Busy, is_busy))):
        assert may_wait(condition(on)) is True


def test_unknown_errors_are_told_from_bugs():
    """An error is unknown if a table alone decides and has no answer for it."""
    on = condition(transient)
    assert is_unknown(on, Busy())
    assert is_unknown(on, ExceptionGroup("m", [TimeoutError(), Busy()]))
    for known in (TimeoutError(), ValueError(), REJECTED, FileNotFoundError()):
        assert not is_unknown(on, known)
    for other in (condition(Busy), condition((transient, KeyError)), condition(unsent)):
        assert not is_unknown(other, Busy())
    classified = condition(transient, classify=lambda _: Fault(retryable=False))
    assert not is_unknown(classified, Busy())
    assert is_unknown(condition(transient, classify=lambda _: None), Busy())


# Groups


def test_group_is_judged_by_its_leaves():
    """A group is acted on if every leaf is, however deep it lies."""
    good = ExceptionGroup("m", [Busy(), ExceptionGroup("m", [VeryBusy()])])
    bad = ExceptionGroup("m", [Busy(), ExceptionGroup("m", [KeyError()])])
    for on in (condition(Busy), condition(is_busy), condition((is_busy, OSError))):
        assert on.decide(good) is True
        assert on.decide(bad) is False
    either = condition((Busy, KeyError))
    assert either.decide(bad) is True


def test_broad_type_does_not_cover_a_group_of_refusals():
    """`on=Exception` looks into a group and finds the refusal in it."""
    refused = AllTargetsFailed("m", [ConnectionError(), REJECTED])
    assert condition(Exception).decide(refused) is False
    assert condition((Exception, Rejected)).decide(refused) is True
    assert condition(Exception).decide(AllTargetsFailed("m", [ConnectionError()])) is True


def test_type_of_a_group_covers_the_group_itself():
    """A named class that is more than some exception covers its group, whatever is in it."""
    group = BusyGroup("m", [KeyError()])
    assert condition(BusyGroup).decide(group) is True
    assert condition((OSError, BusyGroup)).decide(group) is True
    assert condition((is_busy, BusyGroup)).decide(group) is True
    assert condition(ExceptionGroup).decide(group) is True
    assert condition(BusyGroup).decide(ExceptionGroup("m", [KeyError()])) is False
    failed = AllTargetsFailed("m", [REJECTED])
    assert condition(AllTargetsFailed).decide(failed) is True
    assert condition(ResilientError).decide(failed) is True
    assert condition(Busy).decide(type("Both", (BusyGroup, Busy), {})("m", [KeyError()])) is True


def test_group_waits_for_its_slowest_leaf():
    """The wait of a group is the longest that a leaf asks for, 0 included."""
    waits = {"a": 1, "b": 5, "c": 0}
    on = condition((OSError, lambda e: waits.get(str(e))))
    one, five, none = (Busy(text) for text in "abc")
    assert on.decide(ExceptionGroup("m", [one, ExceptionGroup("m", [five]), none])) == 5.0
    assert on.decide(ExceptionGroup("m", [none, OSError()])) == 0.0
    assert on.decide(ExceptionGroup("m", [OSError()])) is True
    assert on.decide(ExceptionGroup("m", [one, KeyError()])) is False


def test_group_says_retryable_itself():
    """A group with an attribute `retryable` is believed by the table, and by no other part."""
    yes, no = ExceptionGroup("m", [Busy()]), ExceptionGroup("m", [TimeoutError()])
    yes.retryable, no.retryable = True, False
    assert condition(transient).decide(yes) is True
    assert condition(transient).decide(no) is False
    assert condition((KeyError, transient)).decide(yes) is True
    assert condition((KeyError, transient)).decide(no) is False
    assert condition((TimeoutError, transient)).decide(no) is True


def test_group_of_too_many_leaves_is_not_acted_on():
    """A group that is too large to look through is left alone."""
    group = ExceptionGroup("m", [Busy() for _ in range(MOST_LEAVES + 1)])
    for on in (condition(Busy), condition(is_busy), condition((transient, is_busy))):
        assert on.decide(group) is False


leaves = st.sampled_from([Busy, VeryBusy, KeyError, TimeoutError]).map(lambda cls: cls())
groups = st.recursive(
    leaves,
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda e: ExceptionGroup("m", e)),
)


def flat(error: Exception) -> list[Exception]:
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for member in error.exceptions for leaf in flat(member)]


@given(groups)
def test_any_group_is_the_conjunction_of_its_leaves(error):
    """Whatever its shape, a group is acted on exactly if each of its leaves is."""
    for on in (condition(Busy), condition((is_busy, KeyError)), condition((transient, Busy))):
        assert on.decide(error) is all(on.decide(leaf) for leaf in flat(error))


# Bugs


def test_not_a_bug():
    """A bug is one of five builtin errors; a missing key in an answer is none."""
    for cls in BUGS:
        assert not not_a_bug(cls())
    for error in (KeyError(), ValueError(), ConnectionError(), REJECTED, RuntimeError()):
        assert not_a_bug(error)
    assert not not_a_bug(UnboundLocalError())


def test_group_with_a_bug_is_one():
    """One leaf that looks like a bug makes the group one."""
    assert not_a_bug(ExceptionGroup("m", [KeyError(), Busy()]))
    assert not not_a_bug(ExceptionGroup("m", [KeyError(), ExceptionGroup("m", [TypeError()])]))
    on = condition(not_a_bug)
    assert on.decide(ExceptionGroup("m", [KeyError(), TypeError()])) is False


# Words for explain


@pytest.mark.parametrize(
    ("on", "words"),
    [
        (transient, "transient errors"),
        (unsent, "unsent errors"),
        (ConnectionError, "ConnectionError"),
        ((ConnectionError, TimedOut), "ConnectionError or resilient.errors.TimedOut"),
        ((OSError, KeyError, ValueError), "OSError, KeyError or ValueError"),
        (is_busy, "errors chosen by is_busy"),
        (functools.partial(answering(True)), "errors chosen by predicate"),
        (lambda e: True, "errors chosen by <lambda>"),
        (not_a_bug, "errors that are no bugs"),
        ((transient, KeyError), "transient errors or KeyError"),
        ((transient, KeyError, is_busy), "transient errors, KeyError or errors chosen by is_busy"),
    ],
    ids=lambda value: value if isinstance(value, str) else "on",
)
def test_condition_describes_itself(on, words):
    """`explain` shows what a policy acts on, in the order in which it was written."""
    assert condition(on).describe() == words


def test_objects_are_described_by_their_class():
    """A partial has the name of its function, any other object that of its class."""

    class Picky:
        def __call__(self, error: Exception) -> bool:
            return True

    assert condition(functools.partial(is_busy)).describe() == "errors chosen by is_busy"
    assert condition(Picky()).describe() == "errors chosen by Picky"
    assert condition(Picky().__call__).describe() == "errors chosen by Picky.__call__"


# Results


def test_result_condition_asks_about_any_value():
    """Any returned value is shown to the predicate, exceptions and `None` included."""
    on = result_condition(lambda value: value is None)
    assert on == ResultCondition(on.predicate)
    assert on.decide(None) is True
    assert on.decide(ConnectionError()) is False
    assert result_condition(lambda value: 2).decide("anything") == 2.0


def test_result_condition_describes_itself():
    """`explain` shows which function judges the results."""
    assert result_condition(is_busy).describe() == "results chosen by is_busy"


@pytest.mark.parametrize("on_result", [None, 500, "", Busy, (is_busy,), Busy("secret")])
def test_result_condition_takes_a_function_only(on_result):
    """A class, a value or a tuple is no predicate on results."""
    with pytest.raises(TypeError, match="on_result must be a predicate on the returned value"):
        result_condition(on_result)
