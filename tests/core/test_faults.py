"""Faults: who answers first, what an exception may say of itself, and which hints count."""

from __future__ import annotations

import copy
import gc
import math
import pickle
from datetime import timedelta
from email.message import Message
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._core.faults import FAULTS, Fault, fault_of
from resilient._core.hints import DAY, hint, hint_of
from resilient._core.shape import MOST_LEAVES, leaves
from resilient._core.transient import transient, unsent
from resilient.errors import AllTargetsFailed, Rejected, Skipped, TimedOut

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
NO_HINTS = [
    0,
    0.0,
    -1,
    -0.5,
    math.nan,
    math.inf,
    -math.inf,
    DAY + 1,
    10**400,
    True,
    "5",
    b"6",
    None,
]


class ApiError(Exception):
    """An exception that nobody knows, with whatever attributes a test gives it."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("message")
        self.__dict__.update(attributes)


def answered(status: int = 503, **headers: object) -> ApiError:
    """Return the error of an HTTP client whose response has these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiError(response=SimpleNamespace(status_code=status, headers=named))


# Fault itself


def test_fault_is_a_frozen_value():
    """Equal faults are one value: hashable, copied and pickled as themselves, never changed."""
    fault = Fault(retryable=True, retry_after=2, scope="host", health="trip", source="retry-after")
    assert fault == Fault(True, 2.0, "host", "trip", source="retry-after")
    assert hash(fault) == hash(copy.deepcopy(fault))
    assert pickle.loads(pickle.dumps(fault)) == fault
    with pytest.raises(AttributeError):
        fault.scope = "model"
    assert not hasattr(fault, "__dict__")


def test_fault_has_the_defaults_of_a_plain_failure():
    """Without more, a fault condemns nothing but its target and counts as a failure."""
    fault = Fault(retryable=False)
    assert (fault.retry_after, fault.scope, fault.health, fault.source) == (
        None, None, "failure", None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"retryable": 1}, TypeError, "retryable must be True or False, not 1"),
        ({"retryable": None}, TypeError, "retryable must be True or False, not None"),
        ({"health": "sick"}, ValueError, "health must be 'failure', 'neutral', 'cooldown' or"),
        ({"health": 5}, TypeError, "health must be"),
        ({"scope": ""}, ValueError, "scope must be a text that is not empty"),
        ({"scope": 5}, TypeError, "scope must be a text"),
        ({"source": 5}, TypeError, "source must be a text"),
        ({"retry_after": "30"}, TypeError, "retry_after must be seconds .* not '30'"),
        ({"retry_after": True}, TypeError, "retry_after must be seconds .* not True"),
    ],
)
def test_fault_refuses_what_it_cannot_mean(options, error, message):
    """A wrong value is refused when the fault is made, with the option and what is accepted."""
    with pytest.raises(error, match=message):
        Fault(**{"retryable": True, **options})


@pytest.mark.parametrize("value", [v for v in NO_HINTS if type(v) in {int, float}])
def test_fault_ignores_a_number_that_is_no_hint(value):
    """NaN, zero, negative, infinite and more than a day are no hint, and no error either."""
    assert Fault(retryable=True, retry_after=value).retry_after is None


def test_fault_takes_a_timedelta_as_hint():
    """A hint may be a `timedelta` and is kept in seconds."""
    assert Fault(retryable=True, retry_after=timedelta(minutes=2)).retry_after == 120.0


def test_source_is_keyword_only():
    """The fifth value of a fault cannot be given by position."""
    with pytest.raises(TypeError):
        Fault(True, None, None, "failure", "retry-after")


# Who answers first


def test_classify_wins_over_everything():
    """The user's own answer is taken as it is, whatever the exception and the table say."""
    error = ApiError(retryable=True, retry_after=9, status_code=503)
    mine = Fault(retryable=False, scope="request")
    assert fault_of(error, lambda _: mine) is mine


def test_classify_may_leave_the_answer_to_others():
    """A `classify` that returns `None` is as good as none."""
    assert fault_of(ConnectionError(), lambda _: None) == Fault(retryable=True)


def test_classify_may_fail_the_call():
    """What `classify` raises leaves as it is."""

    def classify(error: Exception) -> Fault | None:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        fault_of(ConnectionError(), classify)


@pytest.mark.parametrize("answer", [True, "retry", 0, Fault])
def test_wrong_answer_of_classify_is_named(answer):
    """An answer that is neither a fault nor `None` is a `TypeError` that names the function."""

    def classify(error: Exception) -> object:
        return answer

    with pytest.raises(TypeError, match=r"must return a Fault or None, and .*classify returned"):
        fault_of(ConnectionError(), classify)


def test_classify_is_not_asked_about_cancellation():
    """What is no `Exception` has no fault and is shown to nobody."""
    ask = mock.Mock()
    for error in (KeyboardInterrupt(), SystemExit(), GeneratorExit(), BaseException()):
        assert fault_of(error, ask) is None
    group = BaseExceptionGroup("m", [ConnectionError(), KeyboardInterrupt()])
    assert fault_of(group, ask) is None
    ask.assert_not_called()


def test_attributes_of_the_exception_win_over_the_table():
    """An exception that says `retryable` speaks for itself, with all it says."""
    said = ApiError(
        status_code=404, retryable=True, retry_after=3, scope="model", health="trip",
        hint_source="body",
    )  # fmt: skip
    assert fault_of(said) == Fault(True, 3.0, "model", "trip", source="body")
    assert fault_of(ApiError(status_code=503, retryable=False)) == Fault(retryable=False)


def test_attributes_that_are_none_of_ours_are_left_out():
    """A scope that is no text, a health that does not exist, and an odd hint are not there."""
    said = ApiError(retryable=True, retry_after="3", scope=7, health="sick", hint_source=8)
    assert fault_of(said) == Fault(retryable=True)


@pytest.mark.parametrize("value", [1, 0, "yes", None, mock.Mock()])
def test_retryable_is_a_bool_or_nothing(value):
    """A `retryable` that is no bool leaves the answer to the table."""
    assert fault_of(ApiError(retryable=value, status_code=503)) == Fault(retryable=True)


def test_retryable_error_still_reads_the_headers():
    """An exception that says `retryable` and has no hint of its own has that of its headers."""
    error = answered(503, Retry_After="7")
    error.retryable = True
    assert fault_of(error) == Fault(True, 7.0, source="retry-after")


def test_table_answers_by_kind():
    """The kinds of the table are faults: throttled cools down, permanent teaches nothing."""
    assert fault_of(ConnectionRefusedError()) == Fault(retryable=True)
    assert fault_of(ApiError(status_code=500)) == Fault(retryable=True)
    assert fault_of(ApiError(status_code=429)) == Fault(retryable=True, health="cooldown")
    assert fault_of(ApiError(status_code=404)) == Fault(retryable=False, health="neutral")
    assert {fault.retryable for kind, fault in FAULTS.items() if kind != "permanent"} == {True}


def test_another_table_can_be_asked():
    """The table may be the user's own."""
    mine = transient.extended({ApiError: "throttled"})
    assert fault_of(ApiError(), table=mine) == Fault(retryable=True, health="cooldown")


@pytest.mark.parametrize("error", [ApiError(), RuntimeError(), ValueError(), KeyError("choices")])
def test_nobody_knows(error):
    """An unknown error and a bug have no fault."""
    assert fault_of(error) is None


def test_fault_of_a_failure_without_hint_is_not_made_anew():
    """The usual answers are made once and shared."""
    assert fault_of(ConnectionResetError()) is fault_of(BrokenPipeError())


def test_timed_out_is_transient():
    """Our own limits are builtin timeouts, and retryable like any."""
    assert fault_of(TimedOut(8, "attempt")) == Fault(retryable=True)


def test_rejection_is_not_retryable_and_keeps_its_hint():
    """A refusal of ours teaches nothing; whoever retries it by name has its hint."""
    error = Rejected("no place left", policy="bulkhead", retry_after=30)
    assert fault_of(error) == Fault(False, 30.0, health="neutral", source="retry_after")
    assert fault_of(Rejected("m", policy="bulkhead", retry_after=0)).retry_after is None


# Hints


@pytest.mark.parametrize("value", [1, 0.5, DAY, timedelta(hours=1)])
def test_hint_is_a_number_of_seconds_up_to_a_day(value):
    """Numbers above 0 and up to a day are hints, whole, broken or as a `timedelta`."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    assert hint(value) == seconds
    assert fault_of(ApiError(status_code=503, retry_after=value)).retry_after == seconds


@pytest.mark.parametrize("value", [*NO_HINTS, mock.Mock(), [5], timedelta(0), timedelta(days=2)])
def test_what_is_no_hint_is_ignored(value):
    """Whatever else stands in `retry_after` changes nothing."""
    assert hint(value) is None
    assert fault_of(ApiError(status_code=503, retry_after=value)) == Fault(retryable=True)


def test_hint_alone_makes_nothing_retryable():
    """An unknown error with a hint is not retried by default, and its hint is not lost."""
    assert fault_of(ApiError(retry_after=5)) == Fault(False, 5.0, source="retry_after")
    assert not transient(ApiError(retry_after=5))
    error = answered(999, Retry_After="5")
    assert fault_of(error) == Fault(False, 5.0, source="retry-after")


def test_hint_over_the_answer_of_the_table():
    """A hint of the exception's own joins what the table says, before that of the headers."""
    error = answered(429, Retry_After="7")
    error.retry_after = 3
    assert fault_of(error) == Fault(True, 3.0, health="cooldown", source="retry_after")
    error.hint_source = "availability.retry_after"
    assert fault_of(error).source == "availability.retry_after"


@pytest.mark.parametrize(
    ("headers", "seconds", "source"),
    [
        ({"Retry-After": "10"}, 10, "retry-after"),
        ({"retry-after": "10.5"}, 10.5, "retry-after"),
        ({"RETRY-AFTER": " 10 "}, 10, "retry-after"),
        ({"retry-after": 10}, 10, "retry-after"),
        ({b"Retry-After": b"10"}, 10, "retry-after"),
        ({"retry-after-ms": "1500"}, 1.5, "retry-after-ms"),
        ({"Retry-After-Ms": 1500}, 1.5, "retry-after-ms"),
        ({"retry-after-ms": "250", "retry-after": "10"}, 0.25, "retry-after-ms"),
        ({"retry-after-ms": "soon", "retry-after": "10"}, 10, "retry-after"),
        ({"retry-after-ms": "0", "retry-after": "10"}, 10, "retry-after"),
        ({"Date": DATE, "Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10, "retry-after"),
        ({"Date": DATE, "Retry-After": "Sunday, 06-Nov-94 08:49:47 GMT"}, 10, "retry-after"),
        ({"Date": DATE, "Retry-After": "Sun Nov  6 08:49:47 1994"}, 10, "retry-after"),
        ({"Date": DATE, "Retry-After": "Sun, 06 Nov 1994 10:49:47 +0200"}, 10, "retry-after"),
    ],
)
def test_headers_that_are_hints(headers, seconds, source):
    """P01: delta-seconds, milliseconds and HTTP-dates are read, in any capitals."""
    for error in (ApiError(headers=headers), ApiError(response=SimpleNamespace(headers=headers))):
        assert hint_of(error) == (seconds, source)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Retry-After": ""},
        {"Retry-After": "0"},
        {"Retry-After": "-100"},
        {"Retry-After": "abc"},
        {"Retry-After": "nan"},
        {"Retry-After": "inf"},
        {"Retry-After": "1e3"},
        {"Retry-After": "1_000"},
        {"Retry-After": "٣"},
        {"Retry-After": "86401"},
        {"Retry-After": "9" * 5000},
        {"Retry-After": True},
        {"Retry-After": ["5"]},
        {"Retry-After": None},
        {"Retry-After-Ms": "-1"},
        {"X-Retry-After": "5"},
        {5: "5"},
        # A date is read against the response's own Date, or not at all.
        {"Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT"},
        {"Retry-After": "Sun, 06 Nov 1994 08:49:27 GMT", "Date": DATE},
        {"Retry-After": DATE, "Date": DATE},
        {"Retry-After": "Tue, 08 Nov 1994 08:49:47 GMT", "Date": DATE},
        {"Retry-After": "Sun, 06 Nov 1994 08:49:47 GMT", "Date": "yesterday"},
        {"Retry-After": "Sun, 99 Nov 1994 08:49:47 GMT", "Date": DATE},
        {"Retry-After": "Sun, 06 Nov 999999999999999 08:49:47 GMT", "Date": DATE},
        {"Retry-After": "Sun, 06 Nov 1994 08:49:47 +99999999", "Date": DATE},
    ],
)
def test_headers_that_are_no_hints(headers):
    """P01, P04: a past date, no date to read it against, or an odd number is no hint."""
    assert hint_of(ApiError(headers=headers)) is None


class OnlyGet:
    """Headers that can be asked and not walked."""

    def __init__(self, **values: str) -> None:
        self.values = values

    def get(self, name: str) -> str | None:
        return self.values.get(name.replace("-", "_"))


def test_headers_may_be_any_mapping_like_thing():
    """A mapping, pairs, a message, or anything with `get` is read."""
    message = Message()
    message["Retry-After"] = "10"
    for headers in (
        {"retry-after": "10"},
        [("Content-Type", "text"), ("Retry-After", "10")],
        ((b"retry-after", b"10"),),
        message,
        OnlyGet(retry_after="10"),
        OnlyGet(Retry_After="10"),
    ):
        assert hint_of(ApiError(headers=headers)) == (10.0, "retry-after")


def test_first_of_several_headers_counts():
    """A header that comes twice is the one that came first."""
    headers = [("retry-after", "3"), ("Retry-After", "9")]
    assert hint_of(ApiError(headers=headers)) == (3.0, "retry-after")


def test_hint_of_the_response_comes_before_that_of_the_error():
    """`response.headers` is asked first, and `headers` where it says nothing."""
    error = answered(503, Retry_After="3")
    error.headers = {"retry-after": "9"}
    assert hint_of(error) == (3.0, "retry-after")
    error.response = SimpleNamespace(headers={})
    assert hint_of(error) == (9.0, "retry-after")


class Raising:
    """An object of which every attribute raises."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)


class Grumpy:
    """An object of which every attribute raises but its class, which Hypothesis looks at."""

    def __getattribute__(self, name: str) -> object:
        if name == "__class__":
            return Grumpy
        raise RuntimeError(name)


class Endless:
    """Headers that never end."""

    def items(self) -> object:
        while True:
            yield "x-filler", "1"


class Breaking:
    """Headers that break after the first."""

    def items(self) -> object:
        yield "retry-after", "3"
        raise RuntimeError


# Made in the test: the test runner looks at its parameters, and these do not like that.
HOSTILE = {
    "raising": Raising,
    "mock": mock.Mock,
    "magic mock": mock.MagicMock,
    "endless": Endless,
    "number": lambda: -5,
    "text": lambda: "retry-after",
    "odd pairs": lambda: [5, None, ("a",), ("a", "b", "c")],
    "nested": lambda: {"a": {}},
    "object": object,
    "items is a number": lambda: SimpleNamespace(items=5),
    "items returns a number": lambda: SimpleNamespace(items=lambda: 5, headers=Raising()),
    "get is a number": lambda: SimpleNamespace(get=5),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_no_hint(kind):
    """Nothing that stands in for headers, a response or an attribute makes reading raise."""
    thing = HOSTILE[kind]()
    for name in ("headers", "response", "retry_after", "retryable"):
        assert fault_of(ApiError(**{name: thing})) is None
    for name in ("status_code", "status", "code", "type", "body"):
        assert fault_of(ApiError(**{name: thing})) is None
    assert fault_of(ApiError(response=SimpleNamespace(headers=thing, status_code=thing))) is None


class Unreadable(dict):
    """A response of botocore's kind that cannot be read."""

    def get(self, *_: object) -> object:
        raise RuntimeError


def test_dicts_may_be_hostile():
    """A `dict` that does not answer is as good as an empty one."""
    assert fault_of(ApiError(response=Unreadable(Error={"Code": "SlowDown"}))) is None
    assert hint_of(ApiError(headers=Unreadable({"Retry-After": "3"}))) == (3.0, "retry-after")


def test_headers_that_break_off_are_read_so_far():
    """What stood before the headers broke still counts."""
    assert hint_of(ApiError(headers=Breaking())) == (3.0, "retry-after")


def test_exceptions_may_be_hostile(untrusted):
    """An exception whose attributes raise, or that lies about its class, is merely unknown."""
    assert fault_of(untrusted) is None
    assert not transient(untrusted)
    assert transient.unknown(untrusted) is type(untrusted)


def test_control_flow_is_not_swallowed():
    """A property that is interrupted interrupts: only an `Exception` is caught."""

    class Interrupted(Exception):
        @property
        def retry_after(self) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fault_of(Interrupted())


# Groups


def test_group_is_retryable_if_every_leaf_is():
    """One leaf that is not retryable is enough to keep the group from a retry."""
    good = ExceptionGroup("m", [ConnectionError(), ExceptionGroup("m", [TimeoutError()])])
    assert fault_of(good) == Fault(retryable=True)
    assert fault_of(ExceptionGroup("m", [good, ApiError(status_code=404)])).retryable is False
    assert fault_of(ExceptionGroup("m", [good, ApiError()])) == Fault(retryable=False)


def test_group_waits_for_its_longest_hint():
    """The hint of a group is the largest of its leaves', with its source."""
    group = ExceptionGroup(
        "m", [answered(503, Retry_After="3"), answered(429, retry_after_ms="9000"), TimeoutError()]
    )
    assert fault_of(group) == Fault(True, 9.0, source="retry-after-ms")


def test_group_condemns_what_all_its_leaves_condemn():
    """A scope on which all leaves agree is the group's, two different ones are none."""

    def leaf(scope: str) -> ApiError:
        return ApiError(retryable=False, scope=scope)

    assert fault_of(ExceptionGroup("m", [leaf("host"), leaf("host")])).scope == "host"
    assert fault_of(ExceptionGroup("m", [leaf("host"), leaf("model")])).scope is None


@pytest.mark.parametrize(
    ("healths", "health"),
    [
        (["neutral", "neutral"], "neutral"),
        (["neutral", "cooldown"], "cooldown"),
        (["cooldown", "failure"], "failure"),
        (["trip", "failure"], "trip"),
    ],
)
def test_group_is_as_bad_as_its_worst_leaf(healths, health):
    """The health of a group is the gravest of its leaves'."""
    group = ExceptionGroup("m", [ApiError(retryable=True, health=each) for each in healths])
    assert fault_of(group).health == health


def test_group_of_unknown_errors_is_unknown():
    """Where nobody knows any leaf, nobody knows the group."""
    assert fault_of(ExceptionGroup("m", [ApiError(), ValueError()])) is None


def test_classify_sees_the_group_and_then_its_leaves():
    """`classify` may answer for a group, and is asked about each leaf if it does not."""
    seen: list[Exception] = []
    first, second = ConnectionError(), ApiError()
    group = ExceptionGroup("m", [first, second])

    def classify(error: Exception) -> Fault | None:
        seen.append(error)
        return Fault(retryable=True) if error is second else None

    assert fault_of(group, classify) == Fault(retryable=True)
    assert seen == [group, first, second]
    whole = Fault(retryable=False, scope="request")
    assert fault_of(group, lambda error: whole if error is group else None) is whole


def test_group_speaks_for_itself_if_it_can():
    """A group that says `retryable`, or has a hint of its own, is believed."""
    group = ExceptionGroup("m", [ApiError()])
    group.retryable = True
    assert fault_of(group) == Fault(retryable=True)
    assert transient(group)
    failed = AllTargetsFailed("m", [answered(503, Retry_After="9"), TimeoutError()])
    failed.retry_after = 2
    assert fault_of(failed) == Fault(True, 2.0, source="retry_after")


def test_all_targets_failed_with_a_skip_is_not_retryable():
    """A chain of which a target was skipped is not tried again: nobody asked that one."""
    skipped = Skipped("claude", "scope_condemned", scope="credential")
    assert fault_of(AllTargetsFailed("m", [TimeoutError(), skipped])).retryable is False


def test_leaves_are_in_order_and_each_is_there_once():
    """The leaves of a group come in order, and one that is in it twice comes once."""
    one, two, three = ApiError(), ApiError(), ApiError()
    inner = ExceptionGroup("m", [two, one])
    assert leaves(ExceptionGroup("m", [one, inner, inner, three, three])) == [one, two, three]


def test_shared_subgroups_are_walked_once():
    """A group that holds the same group twice, sixty levels deep, has one leaf."""
    group: Exception = ConnectionError()
    for _ in range(60):
        group = ExceptionGroup("m", [group, group])
    assert len(leaves(group)) == 1
    assert fault_of(group) == Fault(retryable=True)


def test_groups_without_end_are_unknown():
    """A group of too many exceptions, wide or deep, is not looked through."""
    wide = ExceptionGroup("m", [ConnectionError() for _ in range(MOST_LEAVES + 1)])
    deep: Exception = ConnectionError()
    for _ in range(MOST_LEAVES + 1):
        deep = ExceptionGroup("m", [deep])
    for group in (wide, deep):
        assert leaves(group) is None
        assert fault_of(group) is None
        assert not transient(group)
        assert transient.unknown(group) is None


def test_members_are_read_from_the_group_itself():
    """A subclass that shows other members, itself for instance, is not believed."""

    class Cyclic(ExceptionGroup):
        @property
        def exceptions(self) -> tuple[Exception, ...]:
            return (self,)

    assert fault_of(Cyclic("m", [ConnectionError()])) == Fault(retryable=True)


# Whatever the object


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
odd = st.sampled_from([Grumpy, mock.Mock, mock.MagicMock, Endless, object]).map(
    lambda make: make()
) | st.just(print)
things = st.recursive(
    scalars | odd | st.timedeltas(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(scalars.filter(lambda v: v == v), inner, max_size=3)  # noqa: PLR0124 - no NaN
        | st.dictionaries(st.sampled_from(["Retry-After", "retry-after-ms", "Date"]), inner)
        | st.builds(
            lambda headers, code: SimpleNamespace(headers=headers, status_code=code), inner, inner
        )
    ),
    max_leaves=5,
)
NAMES = (
    "retryable", "retry_after", "scope", "health", "hint_source", "status_code", "status", "code",
    "type", "body", "errno", "sqlstate", "response", "headers",
)  # fmt: skip
KNOWN = [ApiError, OSError, ConnectionError, ValueError, ExceptionGroup]


@st.composite
def errors(draw: st.DrawFn) -> Exception:
    base = draw(st.sampled_from(KNOWN))
    cls = type("Odd", (base,), draw(st.dictionaries(st.sampled_from(NAMES), things, max_size=5)))
    return cls("m", [ConnectionError()]) if base is ExceptionGroup else cls()


@given(errors())
def test_reading_a_fault_never_raises_and_never_believes_nonsense(error):
    """Whatever an exception carries, its fault is lawful and its hint within a day."""
    table = transient.extended(
        {("tests", "Odd", 503): "transient", ("test_faults", "Odd"): "unsent"}
    )
    for which in (transient, unsent, table):
        fault = fault_of(error, table=which)
        assert fault is None or (
            type(fault.retryable) is bool
            and (fault.retry_after is None or 0 < fault.retry_after <= DAY)
            and fault.health in {"failure", "neutral", "cooldown", "trip"}
        )
        assert type(which(error)) is bool
        if which is not unsent:
            assert which(error) is (fault is not None and fault.retryable)
        which.unknown(error)


@given(st.text() | st.binary() | st.floats() | st.integers(), st.text())
def test_hint_of_a_header_is_none_or_lawful(value, date):
    """Any text or number at all as `Retry-After` is a wait within a day, or nothing."""
    found = hint_of(ApiError(headers={"Retry-After": value, "Date": date}))
    assert found is None or 0 < found[0] <= DAY


@given(st.floats(min_value=0.001, max_value=DAY).map(lambda seconds: round(seconds, 3)))
def test_hint_of_a_header_is_exact(seconds):
    """A number of seconds in a header is read to the digit."""
    error = ApiError(headers={"Retry-After": f"{seconds:.3f}"})
    assert hint_of(error) == (float(f"{seconds:.3f}"), "retry-after")


def test_reading_keeps_nothing_alive():
    """No error and no class outlives the question what it was."""
    import weakref  # noqa: PLC0415

    cls = type("Passing", (Exception,), {"status_code": 503})
    error = cls()
    dead = weakref.ref(error), weakref.ref(cls)
    assert fault_of(error) == Fault(retryable=True)
    del error, cls
    gc.collect()
    assert [ref() for ref in dead] == [None, None]
