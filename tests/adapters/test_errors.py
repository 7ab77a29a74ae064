"""The errors: one tree, one line of text, and nothing lost on the way through pickle."""

from __future__ import annotations

import pickle
import re

import pytest

from resilient import AllTargetsFailed, Fault, ResilientError, Skipped
from resilient_openrouter import AllModelsFailed, MissingKey, OpenRouterError, errors
from resilient_openrouter.errors import (
    AuthenticationFailed,
    ConnectFailed,
    EmptyResponse,
    TooManyRequests,
)

CLASSES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, OpenRouterError)
]


def single():
    return [kind for kind in CLASSES if kind is not AllModelsFailed]


def test_the_tree_of_the_docstring_is_the_tree():
    """The tree in the module's docstring names every class, and only those, with their bases."""
    told = re.findall(r"[├└]── (\w+)(?:\((\w+)\))?", errors.__doc__)
    assert {name for name, _ in told} == {kind.__name__ for kind in CLASSES} - {"OpenRouterError"}
    for name, base in told:
        if base:
            assert base in {kind.__name__ for kind in getattr(errors, name).__mro__}


@pytest.mark.parametrize("kind", single())
def test_each_speaks_for_itself(kind):
    """What follows from an error stands on it, in the words that the engine reads."""
    error = kind()
    assert Fault(error.retryable, error.retry_after, error.scope, error.health)
    assert issubclass(kind, OpenRouterError)
    assert not issubclass(kind, ResilientError)


@pytest.mark.parametrize("kind", single())
def test_each_pickles(kind):
    """An error comes back from pickle with its text, its facts and its class."""
    error = kind(status_code=429, retry_after=2.5, generation_id="gen-1", message="said")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


def test_the_text_begins_with_the_status():
    """The text of an error begins with its status, and with its name where there is none."""
    assert str(TooManyRequests(status_code=429)).startswith("[429] TooManyRequests: ")
    assert str(EmptyResponse()).startswith("[empty_response] EmptyResponse: ")


def test_the_text_is_one_line_of_facts():
    """The text names model, type, provider, generation and hint, and none of the server's words."""
    error = TooManyRequests(
        message="words of the server",
        status_code=429,
        model="openai/gpt-4o",
        error_type="rate_limit_exceeded",
        provider="Venice",
        generation_id="gen-1",
        retry_after=26.0,
    )
    assert str(error) == (
        "[429] TooManyRequests: a rate limit was reached"
        " (openai/gpt-4o, rate_limit_exceeded, Venice, gen-1); asks for 26 s"
    )
    assert error.message == "words of the server"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (TooManyRequests(status_code=429), "429"),
        (errors.UpstreamTimeout(status_code=524, http_status=200), "524"),
        (ConnectFailed(), "connect_failed"),
        (errors.ConnectionLost(), "connection_lost"),
        (errors.EmptyResponse(http_status=200), "empty_response"),
        (errors.MalformedResponse(http_status=200), "malformed_response"),
        (errors.LocalSaturation(), "local_saturation"),
        (MissingKey(), "missing_key"),
        (AllModelsFailed("chat: 1 targets failed", [ConnectFailed()]), "all_targets_failed"),
    ],
)
def test_the_name_for_telemetry(error, name):
    """The `error.type` is the status that counts, else the class in snake case."""
    assert error.telemetry_error_type == name


def test_a_fact_that_is_none_is_refused():
    """A misspelt fact is a `TypeError` and not an attribute that nobody reads."""
    with pytest.raises(TypeError, match="retry_afetr"):
        TooManyRequests(retry_afetr=2)


def test_a_missing_key_is_a_wrong_value():
    """A missing key is no fake 401: it is a `ValueError` too, without a status."""
    error = MissingKey("there is no API key")
    assert isinstance(error, ValueError)
    assert (str(error), error.status_code, error.retryable) == ("there is no API key", None, False)


class TestAllModelsFailed:
    def failed(self):
        members = [TooManyRequests(status_code=429), Skipped("claude", "cooldown", retry_after=3)]
        error = AllModelsFailed("chat: 1 targets failed, 1 not asked", members)
        error.retry_after, error.cost, error.unknown_costs = 3, 0.5, 2
        return error

    def test_both_ways_of_catching_it_work(self):
        """It is an `OpenRouterError` with a status of 503 and a group that `except*` splits."""
        error = self.failed()
        assert isinstance(error, OpenRouterError)
        assert isinstance(error, AllTargetsFailed)
        assert (error.status_code, error.message) == (503, "chat: 1 targets failed, 1 not asked")
        assert str(error).startswith("[503] chat: 1 targets failed")
        try:
            raise error
        except* TooManyRequests as caught:
            assert len(caught.exceptions) == 1
            assert caught.cost == 0.5
        except* Skipped as caught:
            assert caught.retry_after == 3

    def test_it_pickles(self):
        """The group comes back from pickle with its members, history and costs."""
        error = self.failed()
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.cost, again.unknown_costs) == (str(error), 0.5, 2)
        assert [str(each) for each in again.exceptions] == [str(each) for each in error.exceptions]

    def test_it_is_retryable_if_every_member_is(self):
        """Another try makes sense only where it makes sense for every target."""
        assert AllModelsFailed("no", [TooManyRequests(), ConnectFailed()]).retryable is True
        assert AllModelsFailed("no", [TooManyRequests(), AuthenticationFailed()]).retryable is False
