"""The E and Y cases of the conformance list that are about metrics, listeners and tests."""

from __future__ import annotations

import anyio
import pytest

from resilient import retry, stack
from resilient.events import AttemptEnded, CallEnded, RetryScheduled
from resilient.telemetry import Recent, names, only
from resilient.testing import Log, Tester, virtual_time
from resilient.testing._spans import capture_spans

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@BACKENDS
def test_E07_retries_and_the_time_slept_are_metrics(backend):
    """Two retries with waits of 0.1 and 0.2 s are 2 retries and a delay of 0.3 s."""
    with capture_spans() as captured:
        virtual_time(stack(retry(backoff=[0.1, 0.2]))(Log().scripted("x x .")), backend=backend)
    found = {name: metric.points for name, metric in captured.metrics.items()}
    assert [point.sum for point in found[names.CALL_RETRIES]] == [2]
    assert [round(point.sum, 9) for point in found[names.CALL_RETRY_DELAY]] == [0.3]


@BACKENDS
def test_E07_a_call_without_retries_reports_neither(backend):
    """A call that succeeds at once is in neither of the two."""
    with capture_spans() as captured:
        virtual_time(stack(retry(backoff=[0.1]))(Log().scripted(".")), backend=backend)
    assert {names.CALL_RETRIES, names.CALL_RETRY_DELAY} & set(captured.metrics) == set()


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
