"""What the tests of cancellation share: an observer of every call, and how to interrupt one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from resilient._runtime.clock import now
from resilient._runtime.listeners import process
from resilient.events import AttemptEnded, AttemptStarted, CallEnded, Event
from resilient.testing import Log, cancel_at_every_await, leftovers, virtual_time


class Private(BaseException):
    """Nothing that any policy may handle."""


DELIVERIES = [
    ("asyncio", "scope"),
    ("asyncio", "task"),
    ("trio", "scope"),
    *(
        (backend, kind)
        for backend in ("asyncio", "trio")
        for kind in (KeyboardInterrupt, SystemExit, GeneratorExit, Private)
    ),
]


@pytest.fixture(
    params=DELIVERIES, ids=lambda one: f"{one[0]}-{getattr(one[1], '__name__', one[1])}"
)
def interruption(request):
    """Return a backend and a way to interrupt a call there."""
    return request.param


class Observer:
    """Hears every call of the process, whatever policies it has, and in which order."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, Event]] = []

    def listen(self, log) -> None:
        """Begin anew with a run's `log`, which then hears every call as well."""
        self.heard = []
        heard = self.heard

        class Ordered:
            def on_event(self, event, call) -> None:
                heard.append((log.count, event))

        process.loud = (log, Ordered())

    def check(self, found) -> None:
        """Assert what must hold of an interrupted call, and that nothing is said after it."""
        found.check()
        run = found.run
        heard = self.heard[: len(run.events)]
        after = [event for order, event in heard if order > run.cancelled_order]
        if found.delivery == "scope" and self._failed_before(run):
            # A shield kept the cancellation out while the failure was on its way.
            del after[:2]
        for event in after:
            if isinstance(event, AttemptEnded):
                assert (event.verdict, event.disposition) == ("neutral", "cancelled"), run
            else:
                assert isinstance(event, CallEnded), run
                assert event.outcome == "cancelled", run

    def _failed_before(self, run) -> bool:
        """Tell whether the last attempt had failed already, and nobody knew of it yet."""
        heard = self.heard[: len(run.events)]
        before = [event for order, event in heard if order < run.cancelled_order]
        return isinstance(before[-1], AttemptStarted) and any(
            call.ended_order < run.cancelled_order and isinstance(call.error, Exception)
            for call in run.calls[-1:]
        )


@pytest.fixture
def observer(monkeypatch):
    """Return an observer of every call, for the length of a test."""
    for name in ("loud", "quiet", "watch"):
        monkeypatch.setattr(process, name, getattr(process, name))
    return Observer()


@pytest.fixture
def everywhere(observer, interruption):
    """Return a function that interrupts a call at each of its awaits and checks each."""
    backend, delivery = interruption

    def interrupt(make, **options):
        def heard(log):
            observer.listen(log)
            return make(log)

        checked = []
        for found in cancel_at_every_await(heard, backend=backend, delivery=delivery, **options):
            observer.check(found)
            checked.append(found)
        return checked

    return interrupt


@dataclass(frozen=True)
class Story:
    """One call that was cancelled: what was called, what was said, when it was over."""

    calls: list[str]
    events: list[str]
    verdicts: list[str]
    took: float
    error: BaseException
    log: Log


class Canceller:
    """Cancels one call, as a scope of the caller's or natively, now or later."""

    def __init__(self, delivery) -> None:
        self.delivery = delivery
        self.scope = anyio.CancelScope()
        self.task: Any = None
        self.asked = 0

    def now(self) -> None:
        """Ask for the cancellation."""
        self.asked += 1
        if self.delivery == "scope":
            self.scope.cancel()
        else:
            self.task.cancel()

    async def at(self, instant) -> None:
        """Ask for it at an instant."""
        await anyio.sleep(instant - now())
        self.now()


@pytest.fixture(params=DELIVERIES[:3], ids="-".join)
def cancelled(request, observer):
    """Return a function that cancels a call and checks what must hold of any."""
    backend, delivery = request.param

    def cancel(make, at=()):
        """Cancel the call of `make(log, canceller)` at instants, or let the function do it."""

        async def main():
            log, canceller = Log(), Canceller(delivery)
            observer.listen(log)
            guarded = make(log, canceller)
            found = await ended(guarded, canceller, [at] if isinstance(at, int | float) else at)
            story = Story(
                calls=[call.target for call in log.calls],
                events=[type(event).__name__ for event in log.events],
                verdicts=[one.verdict for one in log.events if isinstance(one, AttemptEnded)],
                took=round(now(), 9),
                error=found,
                log=log,
            )
            assert leftovers() == []
            canceller.asked = -1
            await guarded()  # the next call works
            return story

        async def ended(guarded, canceller, instants):
            found = []

            async def caller():
                with canceller.scope:
                    try:
                        await guarded()
                    except BaseException as error:
                        found.append(error)
                        raise
                return canceller.scope.cancelled_caught

            async with anyio.create_task_group() as group:
                for instant in instants:
                    group.start_soon(canceller.at, instant)
                if backend == "trio":
                    assert await caller()
                else:
                    canceller.task = asyncio.get_running_loop().create_task(caller())
                    await asyncio.wait([canceller.task])
                    native = delivery == "task"
                    assert canceller.task.cancelled() == native
                    assert canceller.task.cancelling() == canceller.asked * native
                group.cancel_scope.cancel()
            (error,) = found or [None]
            return error

        return virtual_time(main, backend=backend)

    cancel.backend, cancel.delivery = backend, delivery
    return cancel
