"""What the tests of cancellation share: an observer of every call, and how to interrupt one."""

from __future__ import annotations

import gc

import pytest

from resilient._runtime.listeners import process
from resilient.events import AttemptEnded, AttemptStarted, CallEnded
from resilient.testing import cancel_at_every_await


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
        self.heard = []

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
        gc.collect()  # a coroutine or generator that was left open complains here
        return checked

    return interrupt
