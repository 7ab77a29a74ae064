"""Simulated runs and the rest of the process: other threads neither disturb nor are disturbed."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from resilient import retry
from resilient._runtime.listeners import log, process
from resilient.testing import FailureSchedule, FaultyBackend, simulate


class Ear:
    """A listener of the process."""

    def __init__(self):
        self.heard = []

    def on_event(self, event, call):
        self.heard.append(call.name)


@retry(attempts=3, backoff=[0])
async def elsewhere() -> None:
    raise ConnectionError


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_calls_of_another_thread_are_no_part_of_a_run(backend, monkeypatch):
    """The listeners of the process hear them meanwhile, the run does not."""
    ear = Ear()
    monkeypatch.setattr(process, "loud", (ear,))

    def call():
        with pytest.raises(ConnectionError):
            asyncio.run(elsewhere())

    @retry(attempts=3, backoff=[1])
    async def ask(be):
        in_a_thread(call)
        return await be("x")

    schedule = FailureSchedule.parse("x.")
    run = simulate(
        ask, schedule, backend=backend, target="real", args=[FaultyBackend(schedule)]
    ).check()
    assert (run.tries, len(run.calls)) == (2, 2)
    assert {noted.call.plan.name for noted in run.details.noted} == {ask.__qualname__}
    assert set(ear.heard) == {elsewhere.__qualname__}


def test_runs_in_several_threads_leave_the_process_as_it_was():
    """Listeners, log and garbage collector are what they were, and every run is its own."""

    def state():
        listeners = process.loud, process.quiet, process.watch
        return listeners, log.disabled, log.level, log.handlers[:], gc.isenabled(), gc.get_debug()

    before, runs = state(), []

    def check(backend):
        runs.extend(simulate(elsewhere, "xx.", backend=backend).check() for _ in range(5))

    threads = [threading.Thread(target=check, args=[one]) for one in ("asyncio", "trio") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(run.tries, len(run.calls)) for run in runs] == [(3, 3)] * 20
    assert state() == before
