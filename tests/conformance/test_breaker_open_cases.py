"""The O cases of the conformance list: what an open circuit breaker refuses, and until when."""

from __future__ import annotations

import sys
from contextlib import suppress

import anyio
import pytest

from resilient import CircuitOpen, circuit_breaker, consecutive, exponential, fallback, stack
from resilient.errors import Unacceptable
from resilient.events import BreakerChanged, CallRejected
from resilient.testing import Log, Tester, leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Service:
    """A function that fails while it is told to, behind a breaker that opens at once."""

    def __init__(self, **options):
        self.log = Log()
        self.calls = 0
        self.error = ConnectionError
        self.breaker = circuit_breaker("O", trip=consecutive(1), **options)
        self.guarded = stack(self.breaker, listeners=[self.log])(self.function)

    async def function(self):
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "answer"

    async def ends(self):
        """Make a call; return its value or the class of its error, and `retry_after`."""
        try:
            return await self.guarded()
        except CircuitOpen as refusal:
            return CircuitOpen, refusal.retry_after
        except Exception as error:
            return type(error)

    @property
    def changes(self):
        """All transitions so far: the instant, from, to, why."""
        return [
            (event.at, event.from_state, event.to_state, event.reason)
            for event in self.log.events
            if isinstance(event, BreakerChanged)
        ]


@both
def test_O01_an_open_circuit_refuses_and_says_until_when(backend):
    """Opened for 1 s: refused at once and at 0.5 s, with what is left, and nobody is called."""

    async def main():
        service = Service(open_for=1)
        assert await service.ends() is ConnectionError
        assert await service.ends() == (CircuitOpen, 1.0)
        await anyio.sleep(0.5)
        assert await service.ends() == (CircuitOpen, 0.5)
        assert service.breaker.snapshot().retry_after == 0.5
        refused = [event for event in service.log.events if isinstance(event, CallRejected)]
        assert [(event.at, event.retry_after) for event in refused] == [(0, 1), (0.5, 0.5)]
        assert all(event.enforced and event.name == "O" for event in refused)
        return service.calls, service.breaker.snapshot().refused

    assert virtual_time(main, backend=backend, check_leftovers=True) == (1, 2)


@both
def test_O02_at_the_end_of_open_for_the_next_call_probes(backend):
    """Refused at 0.999 s, admitted at exactly 1.0 s."""

    async def main():
        service = Service(open_for=1)
        await service.ends()
        service.error = None
        await anyio.sleep(0.999)
        assert (await service.ends())[0] is CircuitOpen
        await anyio.sleep(1.0 - 0.999)
        assert await service.ends() == "answer"
        assert service.changes == [
            (0, "closed", "open", "tripped"),
            (1, "open", "half_open", "due"),
            (1, "half_open", "closed", "recovered"),
        ]
        return service.calls

    assert virtual_time(main, backend=backend, check_leftovers=True) == 2


@both
def test_O05_open_for_grows_from_one_opening_to_the_next(backend):
    """5 s, then 7.5 s: refused at 6 s with 1.5 s left, admitted at 7.5 s; a close begins anew."""

    async def main():
        waits = exponential(base=5, factor=1.5, cap=600, jitter="none")
        service = Service(open_for=waits)
        await service.ends()
        await anyio.sleep(5)
        assert await service.ends() is ConnectionError
        await anyio.sleep(6)
        assert await service.ends() == (CircuitOpen, 1.5)
        await anyio.sleep(1.5)
        service.error = None
        assert await service.ends() == "answer"
        service.error = ConnectionError
        assert await service.ends() is ConnectionError
        assert await service.ends() == (CircuitOpen, 5)
        return service.calls, [
            event.open_for for event in service.log.events if getattr(event, "open_for", None)
        ]

    assert virtual_time(main, backend=backend, check_leftovers=True) == (4, [5, 7.5, 5])


@both
def test_O05_open_for_is_never_below_what_the_server_asked_for(backend):
    """A failure with a hint of 90 s opens it for 90 s, and the next one without it for 30 s."""

    async def main():
        service = Service(open_for=30)
        service.error = ConnectionError()
        service.error.retry_after = 90
        await service.ends()
        assert await service.ends() == (CircuitOpen, 90)
        service.error = ConnectionError
        await anyio.sleep(90)
        assert await service.ends() is ConnectionError
        assert await service.ends() == (CircuitOpen, 30)
        return service.calls

    assert virtual_time(main, backend=backend, check_leftovers=True) == 2


def length_of(traceback):
    length = 0
    while traceback is not None:
        traceback, length = traceback.tb_next, length + 1
    return length


@both
def test_O10_a_hundred_rejections_are_a_hundred_errors_of_one_length(backend):
    """Each has the same text and is an object of its own, and no traceback grows."""
    errors = []

    async def main():
        service = Service(open_for=60)
        await service.ends()
        for _ in range(100):
            try:
                await service.guarded()
            except CircuitOpen as error:
                errors.append(error)
        return service.calls

    assert virtual_time(main, backend=backend, check_leftovers=True) == 1
    assert len({id(error) for error in errors}) == 100
    assert {str(error) for error in errors} == {'circuit "O" is open; next try in 60 s'}
    assert len({length_of(error.__traceback__) for error in errors}) == 1
    assert all(error.__context__ is None and error.__cause__ is None for error in errors)


@both
def test_O10_rejections_leave_no_memory_behind(backend):
    """A thousand more rejections allocate nothing that stays."""

    async def main():
        service = Service(open_for=60)
        await service.ends()
        guarded = service.breaker(service.function)  # nobody listens

        async def refused(times):
            for _ in range(times):
                with suppress(CircuitOpen):
                    await guarded()
            return sys.getallocatedblocks()

        await refused(100)
        before = await refused(100)
        after = await refused(1000)
        assert service.calls == 1
        return after - before

    assert virtual_time(main, backend=backend, check_leftovers=True) < 50


@both
def test_O11_a_rejection_says_what_opened_the_circuit(backend):
    """`opened_by` has the type and the text of the error and neither object nor traceback."""

    async def main():
        service = Service(open_for=60)
        service.error = ConnectionError("boom")
        await service.ends()
        with pytest.raises(CircuitOpen) as caught:
            await service.guarded()
        return caught.value

    refusal = virtual_time(main, backend=backend, check_leftovers=True)
    assert (refusal.opened_by.error, refusal.opened_by.message) == ("ConnectionError", "boom")
    assert refusal.retry_after == 60
    assert "boom" not in f"{refusal} {refusal!r} {refusal.opened_by!r}"


@both
def test_O11_a_rejection_says_that_a_result_opened_the_circuit(backend):
    """Opened by a result that `on_result` rejects, it says so, and `retry_after` is set."""

    async def main():
        service = Service(open_for=60, on_result=lambda answer: answer == "answer")
        service.error = None
        assert await service.guarded() == "answer"
        with pytest.raises(CircuitOpen) as caught:
            await service.guarded()
        return caught.value, service.calls

    refusal, calls = virtual_time(main, backend=backend, check_leftovers=True)
    assert refusal.opened_by.error == "unacceptable_result"
    assert (refusal.opened_by.message, refusal.retry_after, calls) == ("", 60, 1)


def test_O11_an_unacceptable_answer_of_a_chain_counts_like_its_result():
    """`Unacceptable`, which a chain inside raises for a bad answer, opens the circuit as well."""
    breaker = circuit_breaker("chain", trip=consecutive(1), open_for=60)

    def chain(other):
        return stack(breaker, fallback(to=[other], on_result=lambda _: True, raises="last"))

    runs = Tester(chain).run(".", ".", ways=["stack"])
    runs.asserts(tries=2, calls=2, error=Unacceptable)
    for run in runs:
        (opened,) = [event for event in run.events if isinstance(event, BreakerChanged)]
        assert (opened.to_state, opened.enforced) == ("open", True)


@both
def test_O15_an_open_circuit_stays_open_until_somebody_calls(backend):
    """Long after `open_for` it reads open with `retry_after` 0; the next call is the probe."""

    async def main():
        service = Service(open_for=1)
        await service.ends()
        await anyio.sleep(100)
        snapshot = service.breaker.snapshot()
        assert (snapshot.state, snapshot.retry_after) == ("open", 0)
        assert len(service.changes) == 1
        service.error = None
        assert await service.ends() == "answer"
        assert service.changes[1:] == [
            (100, "open", "half_open", "due"),
            (100, "half_open", "closed", "recovered"),
        ]
        assert leftovers() == []
        return service.calls

    assert virtual_time(main, backend=backend) == 2


@both
def test_O15_an_open_for_of_zero_probes_at_once(backend):
    """`open_for=0` refuses nobody: the next call is the probe, also in the same instant."""

    async def main():
        service = Service(open_for=0)
        assert await service.ends() is ConnectionError
        assert await service.ends() is ConnectionError
        service.error = None
        return await service.ends(), service.calls, service.breaker.snapshot().refused

    assert virtual_time(main, backend=backend, check_leftovers=True) == ("answer", 3, 0)
