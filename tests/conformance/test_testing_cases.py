"""The E and Y cases of the conformance list that are about who listens and about tests."""

from __future__ import annotations

import anyio
import pytest

from resilient import retry, stack
from resilient.events import AttemptEnded, CallEnded, RetryScheduled
from resilient.telemetry import Recent, only
from resilient.testing import Log, Tester, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@BACKENDS
def test_E11_a_listener_of_one_kind_of_event_gets_only_those(backend):
    """Of mixed events it hears the kind that it was registered for, in order."""
    log, retries = Log(), Log()
    guarded = stack(retry(backoff=[1]), listeners=[log, only(retries, RetryScheduled)])(
        log.scripted("x x .")
    )
    virtual_time(guarded, backend=backend)
    assert retries.events == [event for event in log.events if type(event) is RetryScheduled]
    assert [event.number for event in retries.events] == [1, 2]


@BACKENDS
def test_E11_the_last_events_are_kept_in_order(backend):
    """A ring of three holds the last three of mixed events."""
    log, recent = Log(), Recent(3)
    guarded = stack(retry(backoff=[1]), listeners=[log, recent])(log.scripted("x x ."))
    virtual_time(guarded, backend=backend)
    assert [type(noted.event) for noted in recent] == [type(event) for event in log.events[-3:]]
    assert [type(noted.event) for noted in recent][1:] == [AttemptEnded, CallEnded]


def test_Y07_virtual_time_waits_for_nothing():
    """Three attempts with waits of 1 and 2 s are as many calls and the same recorded waits."""
    runs = Tester(retry(attempts=3, backoff=[1, 2])).run("x x .")
    runs.asserts(tries=3, calls=3, from_call=3, elapsed=3, waits=[1, 2], calls_at=[0, 1, 3])


@BACKENDS
def test_Y07_an_hour_of_sleep_is_over_at_once(backend):
    """The function's own sleeps are virtual as well."""

    @retry(backoff=[3600])
    async def sleeps():
        await anyio.sleep(3600)
        return anyio.current_time()  # noqa: TID251 - the loop's own clock is virtual, too

    assert virtual_time(sleeps, backend=backend) == 3600
