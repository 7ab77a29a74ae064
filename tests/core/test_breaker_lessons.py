"""What a breaker learns from an error: a failure, nothing, or that it has to open at once."""

from __future__ import annotations

import pytest

from resilient import Fault, Rejected, circuit_breaker, transient
from resilient._core.breaker_policy import lesson


def policy(**options):
    """Return the policy that `circuit_breaker` makes of these options."""
    return circuit_breaker("core", **options)._part.options.policy


class Unknown(Exception):
    """An error of which nobody knows anything."""


def speaks(**attributes):
    """Return an error that says itself what it is."""
    error = Unknown()
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def refusal():
    return Rejected("no", policy="bulkhead", retry_after=9)


LESSONS = [
    (ConnectionError(), "failure", None),
    (TimeoutError(), "failure", None),
    (Unknown(), "failure", None),
    (TypeError(), "neutral", None),
    (KeyError(), "neutral", None),
    (refusal(), "neutral", None),
    (speaks(status_code=503), "failure", None),
    (speaks(status_code=404), "neutral", None),
    (speaks(status_code=422), "neutral", None),
    (speaks(status_code=429), "neutral", None),
    (speaks(status_code=429, retry_after=5), "neutral", 5),
    (speaks(status_code=503, retry_after=5), "failure", 5),
    (speaks(retryable=False), "failure", None),
    (speaks(retryable=False, health="neutral"), "neutral", None),
    (speaks(retryable=True, health="cooldown", retry_after=3), "neutral", 3),
    (speaks(retryable=False, health="trip"), "trip", None),
    (speaks(retryable=False, scope="request"), "neutral", None),
    (speaks(retryable=False, scope="credential"), "failure", None),
    (ExceptionGroup("", [ConnectionError(), TypeError()]), "failure", None),
    (ExceptionGroup("", [speaks(status_code=404), TypeError()]), "neutral", None),
    (ExceptionGroup("", [refusal(), refusal()]), "neutral", None),
    (ExceptionGroup("", [refusal(), ExceptionGroup("", [Unknown()])]), "failure", None),
    (ExceptionGroup("", [refusal(), TypeError()]), "neutral", None),
    (ExceptionGroup("", [Unknown(), speaks(retryable=False, health="trip")]), "trip", None),
    (
        ExceptionGroup("", [speaks(status_code=503, retry_after=n) for n in (2, 7)]),
        "failure",
        7,
    ),
]


@pytest.mark.parametrize(("error", "taught", "hint"), LESSONS)
def test_what_an_error_teaches_by_default(error, taught, hint) -> None:
    """What tells of the caller, of the program or of patience is no failure of the service."""
    assert lesson(policy(probes=1), error) == (taught, hint)


@pytest.mark.parametrize(
    ("on", "error", "taught"),
    [
        (TypeError, TypeError(), "failure"),
        (TypeError, ConnectionError(), "neutral"),
        (Exception, speaks(status_code=404), "failure"),
        (Exception, refusal(), "neutral"),
        (Rejected, refusal(), "neutral"),
        (transient, ConnectionError(), "failure"),
        (transient, Unknown(), "neutral"),
        (transient, speaks(status_code=429), "neutral"),
        ((transient, Unknown), Unknown(), "failure"),
        ((transient, Unknown), speaks(status_code=429), "failure"),
        ((transient, KeyError), speaks(status_code=429), "neutral"),
        (lambda error: "no" not in str(error), ConnectionError("no"), "neutral"),
        (lambda error: 0, ConnectionError(), "failure"),
    ],
)
def test_what_an_error_teaches_with_on(on, error, taught) -> None:
    """A class or predicate counts what it names; the table leaves out what is no failure."""
    assert lesson(policy(on=on), error)[0] == taught


def test_classify_answers_first_and_a_target_s_where_there_is_none() -> None:
    """The breaker's own `classify` is asked, then the target's, then the error itself."""
    mine, theirs = Fault(False, health="trip"), Fault(False, health="neutral")
    own = policy(classify=lambda error: mine if isinstance(error, Unknown) else None)
    assert lesson(own, Unknown(), lambda _: theirs)[0] == "trip"
    assert lesson(own, ConnectionError(), lambda _: theirs)[0] == "failure"
    assert lesson(policy(probes=1), Unknown(), lambda _: theirs)[0] == "neutral"
    assert lesson(policy(on=transient), Unknown(), lambda _: Fault(True))[0] == "failure"
    group = ExceptionGroup("", [Unknown(), TypeError()])
    assert lesson(own, group)[0] == "trip"
    assert lesson(policy(probes=1), group, lambda _: theirs)[0] == "neutral"
    of_the_group = policy(classify=lambda error: theirs if error is group else None)
    assert lesson(of_the_group, group)[0] == "neutral"


def test_a_classify_that_answers_nonsense_is_named() -> None:
    """An answer that is no Fault is a TypeError that names the function."""

    def nonsense(_):
        return "bad"

    with pytest.raises(TypeError, match=r"nonsense returned 'bad'"):
        lesson(policy(classify=nonsense), Unknown())


def test_an_error_that_lies_teaches_something(untrusted) -> None:
    """An exception that raises whatever it is asked, or lies about its class, is a failure."""
    assert lesson(policy(probes=1), untrusted) == ("failure", None)
