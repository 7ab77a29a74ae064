"""Defects of the note's classes that no other test holds, each as a fact of today's."""

from __future__ import annotations

from contextlib import suppress

import pytest

from resilient import circuit_breaker, consecutive, count_window
from resilient.note import FallbackManager, ModelConfig
from resilient.testing import Fail, Hang, Log, Ok, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class OpenRouterError(Exception):
    """The error of the note: it has a status code."""

    def __init__(self, status_code):
        super().__init__(f"[{status_code}]")
        self.status_code = status_code


def unauthorized():
    return OpenRouterError(401)


@BACKENDS
def test_a_timeout_is_in_the_history(backend):
    """An attempt that timed out is recorded like any other, with its kind and its length."""
    asked = Log().scripted([Hang(), Fail(ConnectionError, after=1), Ok(after=2)])

    async def ask(model, data):
        return await asked()

    models = [
        ModelConfig("a", timeout=5, retry_count=2, priority=1),
        ModelConfig("b", timeout=9, retry_count=1, priority=2),
    ]
    outcome = virtual_time(FallbackManager(models).run_with, ask, "data", backend=backend)
    history = [(each.target, each.error, round(each.duration, 9)) for each in outcome.attempts]
    assert history == [
        ("a", "timeout", 5),
        ("a", "ConnectionError", 1),
        ("b", None, 2),
    ]


@BACKENDS
def test_three_failures_of_four_open_a_breaker_by_share(backend):
    """A thousand calls of which 75 % fail never open one that counts a row of five, and do this."""
    log = Log()
    script = ([Fail(ConnectionError)] * 3 + [Ok()]) * 250
    by_row = circuit_breaker("row", trip=consecutive(5))
    by_share = circuit_breaker("share", trip=count_window(100, failure_rate=0.5, min_calls=10))

    async def main():
        for breaker in (by_row, by_share):
            guarded = breaker(log.scripted(script))
            for _ in range(1000):
                with suppress(Exception):
                    await guarded()
        return by_row.snapshot().state, by_share.snapshot().state

    assert virtual_time(main, backend=backend) == ("closed", "open")
    assert len(log.calls) == 1000 + 10


@BACKENDS
def test_an_invalid_key_is_no_failure_of_the_service(backend):
    """A hundred 401 leave a breaker closed, with nothing counted."""
    breaker = circuit_breaker("keys", trip=consecutive(5))
    guarded = breaker(Log().scripted([Fail(unauthorized)] * 100))

    async def main():
        for _ in range(100):
            with pytest.raises(OpenRouterError):
                await guarded()
        return breaker.snapshot()

    found = virtual_time(main, backend=backend)
    assert (found.state, found.failures) == ("closed", 0)
