"""The Q cases of the conformance list: probes, what is done by hand, results that come late."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from resilient import (
    CircuitIsolated,
    CircuitOpen,
    circuit_breaker,
    consecutive,
    count_window,
    stack,
    time_window,
)
from resilient._core.breaker import IllegalTransitionError
from resilient._runtime.clock import now
from resilient.events import BreakerChanged, CallRejected
from resilient.testing import Log, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Service:
    """A service behind a breaker, whose calls wait until they are told how to end."""

    def __init__(self, *, name="Q", open_for=10, trip=None, **options):
        self.log = Log()
        self.breaker = circuit_breaker(
            name, trip=trip or consecutive(1), open_for=open_for, **options
        )
        self.guarded = stack(self.breaker, listeners=[self.log])(self.function)
        self.waiting = []
        self.ends = {}
        self.calls = 0

    async def function(self, number):
        self.calls += 1
        done = anyio.Event()
        self.waiting.append((number, done))
        await done.wait()
        if self.ends[number] is not None:
            raise self.ends[number]
        return number

    async def fails(self):
        """Make a call that fails at once."""
        number = ("at once", self.calls)
        self.ends[number] = ConnectionError("down")

        async def ends_it():
            self.end(number)

        async with anyio.create_task_group() as group:
            group.start_soon(self.outcome, number)
            await settle()
            await ends_it()

    def end(self, number, error=None):
        """Let a running call end."""
        self.ends.setdefault(number, error)
        (done,) = [done for waiting, done in self.waiting if waiting == number]
        done.set()

    async def outcome(self, number):
        """Make a call; note how it ended."""
        try:
            await self.guarded(number)
        except Exception as error:
            self.outcomes[number] = type(error)
        else:
            self.outcomes[number] = "value"

    @property
    def outcomes(self):
        return self.__dict__.setdefault("_outcomes", {})

    @property
    def state(self):
        return self.breaker.snapshot().state

    @property
    def changes(self):
        return [e.to_state for e in self.log.events if isinstance(e, BreakerChanged)]

    async def opened(self):
        """Open the circuit and wait until it is due."""
        await self.fails()
        assert self.state == "open"
        await anyio.sleep(10)
        self.calls = 0
        self.waiting.clear()


async def settle():
    """Let everything run that can."""
    await anyio.sleep(0.001)


def run(backend, main):
    return virtual_time(main, backend=backend, check_leftovers=True)


@both
def test_Q01_one_probe_at_a_time(backend):
    """While a probe runs a second call is refused; the probe closes it with one event of each."""

    async def main():
        service = Service()
        await service.opened()
        async with anyio.create_task_group() as group:
            group.start_soon(service.outcome, 1)
            await settle()
            await service.outcome(2)
            assert service.outcomes[2] is CircuitOpen
            assert service.state == "half_open"
            service.end(1)
        assert service.outcomes[1] == "value"
        return service.state, service.changes, service.calls

    state, changes, calls = run(backend, main)
    assert (state, changes, calls) == ("closed", ["open", "half_open", "closed"], 1)


@both
def test_Q03_four_of_six_concurrent_calls_probe(backend):
    """With four places two of six are refused; after four failures and `open_for` again."""

    async def main():
        service = Service(probes=4)
        await service.opened()
        found = []
        for turn in range(2):
            async with anyio.create_task_group() as group:
                for number in range(6):
                    group.start_soon(service.outcome, (turn, number))
                await settle()
                running = service.calls - 4 * turn
                for number, _ in list(service.waiting):
                    service.end(number, ConnectionError())
                    await settle()
                service.waiting.clear()
            ends = [service.outcomes[turn, number] for number in range(6)]
            found.append((running, ends.count(CircuitOpen), ends.count(ConnectionError)))
            assert service.state == "open"
            await anyio.sleep(11)
        return found, service.changes

    found, changes = run(backend, main)
    assert found == [(4, 2, 4)] * 2
    assert changes == ["open", "half_open", "open", "half_open", "open"]


@both
def test_Q04_it_opens_as_soon_as_the_quota_cannot_be_reached(backend):
    """Of 3 of 4: the second failure opens it, and the two late results are stale."""

    async def main():
        service = Service(probes=4, successes=3)
        await service.opened()
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(service.outcome, number)
            await settle()
            states = []
            for number in range(4):
                service.end(number, ConnectionError() if number < 2 else None)
                await settle()
                states.append(service.state)
            retry_after = service.breaker.snapshot().retry_after
        return states, round(retry_after, 3), service.changes

    states, retry_after, changes = run(backend, main)
    assert states == ["half_open", "open", "open", "open"]
    assert retry_after == 10 - 0.003
    assert changes == ["open", "half_open", "open"]


@both
def test_Q04_it_closes_when_the_quota_is_reached(backend):
    """Of 3 of 4: F, S, S, S closes at the third success, with empty evidence."""

    async def main():
        service = Service(probes=4, successes=3, trip=count_window(9, min_calls=1))
        await service.opened()
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(service.outcome, number)
            await settle()
            states = []
            for number in range(4):
                service.end(number, None if number else ConnectionError())
                await settle()
                states.append(service.state)
        return states, service.breaker.snapshot().calls

    assert run(backend, main) == (["half_open", "half_open", "half_open", "closed"], 0)


@both
def test_Q07_a_permit_that_is_given_back_admits_one_more(backend):
    """Of four places one is given back: one more call; giving it back twice is an error."""

    async def main():
        service = Service(probes=4)
        await service.opened()
        breaker = service.breaker
        permits = [breaker.acquire() for _ in range(4)]
        with pytest.raises(CircuitOpen):
            breaker.acquire()
        permits[0].release()
        with pytest.raises(IllegalTransitionError):
            permits[0].release()
        fifth = breaker.acquire()
        with pytest.raises(CircuitOpen):
            breaker.acquire()
        for permit in [*permits[1:], fifth]:
            permit.succeed()
        return service.state

    assert run(backend, main) == "closed"


@both
def test_Q09_decided_places_stay_taken(backend):
    """Of three, two have succeeded and one runs: another call is refused; the third closes it."""

    async def main():
        service = Service(probes=3)
        await service.opened()
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(service.outcome, number)
            await settle()
            service.end(0)
            service.end(1)
            await settle()
            assert service.state == "half_open"
            await service.outcome("fourth")
            service.end(2)
        return service.outcomes["fourth"], service.state, service.calls

    assert run(backend, main) == (CircuitOpen, "closed", 3)


@both
@pytest.mark.parametrize(("last", "state"), [(ConnectionError(), "open"), (None, "closed")])
def test_Q12_the_last_of_four_decides(backend, last, state):
    """Of 3 of 4, one after the other: F, S, S is undecided; then F opens and S closes it."""

    async def main():
        service = Service(probes=4, successes=3)
        await service.opened()
        states = []
        for number, error in enumerate([ConnectionError(), None, None, last]):
            async with anyio.create_task_group() as group:
                group.start_soon(service.outcome, number)
                await settle()
                service.end(number, error)
            states.append(service.state)
        return states

    assert run(backend, main) == ["half_open", "half_open", "half_open", state]


@both
def test_Q17_isolation_is_counted(backend):
    """Entered twice, it refuses until both are left, with one isolated and one closed event."""

    async def main():
        service = Service()
        breaker, log = service.breaker, service.log
        async with anyio.create_task_group():
            listening = stack(listeners=[log])

            async def by_hand():
                with breaker.isolate():
                    with breaker.isolate():
                        await service.outcome(1)
                    await service.outcome(2)
                    assert breaker.snapshot().state == "isolated"
                    assert breaker.snapshot().retry_after is None

            await listening.call(by_hand)
        refusals = [event.error for event in log.events if isinstance(event, CallRejected)]
        return service.outcomes, service.changes, refusals, service.state, service.calls

    outcomes, changes, refusals, state, calls = run(backend, main)
    assert outcomes == {1: CircuitIsolated, 2: CircuitIsolated}
    assert (changes, state, calls) == (["isolated", "closed"], "closed", 0)
    assert [(one.retry_after, one.opened_by) for one in refusals] == [(None, None)] * 2


@both
def test_Q17_isolation_forgets_what_had_opened_the_circuit(backend):
    """A circuit that had failed and is isolated says that it was opened by hand."""

    async def main():
        service = Service()
        await service.opened()
        with service.breaker.isolate():
            with pytest.raises(CircuitIsolated) as caught:
                await service.guarded(1)
            assert service.breaker.snapshot().opened_by is None
        return caught.value.opened_by, service.state

    assert run(backend, main) == (None, "closed")


@both
def test_Q18_a_family_is_isolated_as_a_whole(backend):
    """Two keys in use and a third that appears: all refuse; leaving it frees all three."""
    calls = []

    async def main():
        breaker = circuit_breaker("family", key="shard")

        @breaker
        async def function(shard):
            calls.append(shard)

        await function("a")
        await function("b")
        with breaker.isolate():
            for shard in "abc":
                with pytest.raises(CircuitIsolated):
                    await function(shard)
            assert breaker.snapshot().state == "isolated"
        for shard in "abc":
            await function(shard)
        return breaker.snapshot()

    snapshot = run(backend, main)
    assert (snapshot.state, snapshot.keys, snapshot.refused) == ("closed", 3, 3)
    assert "".join(calls) == "ababc"


@both
def test_Q19_isolated_it_refuses_however_long_it_takes(backend):
    """A year later it still refuses."""

    async def main():
        service = Service()
        with service.breaker.isolate():
            await anyio.sleep(365 * 86_400)
            await service.outcome(1)
        return service.outcomes[1], service.calls

    found = virtual_time(main, backend=backend, check_leftovers=True, horizon=1e9)
    assert found == (CircuitIsolated, 0)


async def failing(calls):
    calls.append(now())
    raise ConnectionError


@both
def test_Q19_disabled_it_admits_everything_and_learns_nothing(backend):
    """A hundred failures change nothing; enabled again, the first one counts."""
    calls = []

    async def main():
        breaker = circuit_breaker("disabled", trip=consecutive(2))
        function = breaker(failing)
        breaker.disable()
        for _ in range(100):
            with pytest.raises(ConnectionError):
                await function(calls)
        disabled = breaker.snapshot()
        breaker.enable()
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await function(calls)
        return disabled, breaker.snapshot()

    disabled, enabled = run(backend, main)
    assert (disabled.state, disabled.calls, disabled.refused) == ("disabled", 0, 0)
    assert (disabled.retry_after, disabled.opened_by) == (0, None)
    assert (enabled.state, len(calls)) == ("open", 102)


@both
def test_Q19_observing_it_never_refuses_and_says_what_it_would_have(backend):
    """One event a would-be opening, no error, and the would-be refusals are counted."""
    calls, log = [], Log()

    async def main():
        breaker = circuit_breaker("observe", trip=consecutive(3), open_for=10, mode="observe")
        function = stack(breaker, listeners=[log])(failing)
        for _ in range(5):
            with pytest.raises(ConnectionError):
                await function(calls)
        first = breaker.snapshot()
        await anyio.sleep(10)
        for _ in range(4):
            with pytest.raises(ConnectionError):
                await function(calls)
        return first, breaker.snapshot()

    first, second = run(backend, main)
    assert (first.state, first.refused) == ("open", 2)
    assert (second.state, second.refused, len(calls)) == ("open", 5, 9)
    changes = [event for event in log.events if isinstance(event, BreakerChanged)]
    assert [event.to_state for event in changes] == ["open", "half_open", "open"]
    refused = [event for event in log.events if isinstance(event, CallRejected)]
    assert len(refused) == 5
    assert not any(event.enforced for event in changes + refused)


@both
@pytest.mark.parametrize("error", [ConnectionError(), None], ids=["fails", "succeeds"])
@pytest.mark.parametrize("listens", [True, False])
def test_Q21_a_result_of_an_earlier_period_changes_nothing(backend, error, listens):
    """A call begins while closed, the breaker opens and half-opens: its result is stale."""

    async def main():
        service = Service(probes=2, trip=count_window(9, min_calls=1))
        if not listens:
            service.guarded = service.breaker(service.function)
        async with anyio.create_task_group() as group:
            group.start_soon(service.outcome, "old")
            await settle()
            old = service.waiting[:]
            await service.opened()
            probe = service.breaker.acquire()
            before = service.breaker.snapshot()
            assert before.state == "half_open"
            service.waiting[:] = old
            service.end("old", error)
        after = service.breaker.snapshot()
        probe.succeed()
        assert service.state == "half_open"
        service.breaker.acquire().succeed()
        return before, after, service.outcomes["old"], service.breaker.snapshot()

    before, after, outcome, closed = run(backend, main)
    assert before == after
    assert outcome == (ConnectionError if error else "value")
    assert (closed.state, closed.calls) == ("closed", 0)


@both
def test_Q21_a_result_of_an_earlier_closed_period_is_not_in_the_next(backend):
    """A failure that began before the circuit was opened and closed counts nowhere."""

    async def main():
        service = Service(trip=consecutive(1))
        async with anyio.create_task_group() as group:
            group.start_soon(service.outcome, "old")
            await settle()
            old = service.waiting[:]
            await service.fails()
            service.breaker.close()
            service.waiting[:] = old
            service.end("old", ConnectionError())
        return service.state, service.breaker.snapshot().failures, service.changes

    assert run(backend, main) == ("closed", 0, ["open"])


@pytest.mark.parametrize(
    ("backend", "delivery"), [("asyncio", "scope"), ("asyncio", "task"), ("trio", "scope")]
)
def test_Q23_a_cancelled_probe_gives_its_place_back(backend, delivery):
    """The probe's caller is cancelled: still half open, no closed event, the next call probes."""

    async def main():
        service = Service()
        await service.opened()
        scope = anyio.CancelScope()

        async def caller():
            with scope:
                await service.guarded("probe")

        async with anyio.create_task_group() as group:
            if delivery == "task":
                task = asyncio.get_running_loop().create_task(caller())
                await settle()
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
            else:
                group.start_soon(caller)
                await settle()
                scope.cancel()
                await settle()
                assert scope.cancelled_caught
            assert service.state == "half_open"
            assert service.breaker.snapshot().retry_after == 0
            assert service.changes == ["open", "half_open"]
            group.start_soon(service.outcome, "next")
            await settle()
            service.end("next")
        return service.outcomes, service.changes, service.calls

    outcomes, changes, calls = run(backend, main)
    assert outcomes["next"] == "value"
    assert (changes, calls) == (["open", "half_open", "closed"], 2)


@both
def test_Q25_a_probe_that_never_ends_loses_its_place(backend):
    """A lease of 10 s: at 10 s the next call probes; the old probe's failure at 12 s is stale."""

    async def main():
        service = Service(probe_timeout=10, open_for=10)
        await service.opened()
        began = now()
        async with anyio.create_task_group() as group:
            group.start_soon(service.outcome, "old")
            await anyio.sleep(9.5)
            with pytest.raises(CircuitOpen) as caught:
                await service.guarded("early")
            await anyio.sleep(began + 10 - now())
            group.start_soon(service.outcome, "new")
            await anyio.sleep(began + 12 - now())
            service.end("old", ConnectionError())
            await settle()
            state = service.state
            service.end("new")
        return caught.value.retry_after, state, service.state, service.outcomes, service.calls

    retry_after, state, last, outcomes, calls = run(backend, main)
    assert retry_after == pytest.approx(0.5)
    assert (state, last, calls) == ("half_open", "closed", 2)
    assert outcomes == {"old": ConnectionError, "new": "value", ("at once", 0): ConnectionError}


@both
def test_Q_a_slow_probe_is_no_success(backend):
    """Where slow calls count, a probe that succeeds slowly opens the circuit again."""

    async def main():
        breaker = circuit_breaker(
            "slow", trip=time_window(30, min_calls=1, slow_call=2), open_for=10, probe_timeout=99
        )
        function = breaker(anyio.sleep)
        await function(2)
        assert breaker.snapshot().state == "open"
        await anyio.sleep(10)
        await function(2)
        again = breaker.snapshot()
        await anyio.sleep(10)
        await function(1)
        return again.state, again.opened_by.error, breaker.snapshot().state

    assert run(backend, main) == ("open", "slow_call", "closed")


@both
@pytest.mark.parametrize("streams", [False, True], ids=["call", "stream"])
def test_Q_a_call_inside_a_probe_is_a_part_of_it(backend, streams):
    """What a probe calls behind the same breaker needs no place; somebody else's call does."""

    async def main():
        service = Service(probes=2)
        await service.fails()
        await anyio.sleep(10)

        @service.breaker
        async def around():
            return await service.guarded("inside")

        @service.breaker
        async def items():
            yield await service.guarded("inside")

        async def probes():
            if streams:
                assert [item async for item in items()] == ["inside"]
            else:
                assert await around() == "inside"

        async with anyio.create_task_group() as group:
            group.start_soon(probes)
            await settle()
            group.start_soon(service.outcome, "second")
            await settle()
            with pytest.raises(CircuitOpen):
                await service.guarded("third")
            service.end("inside")
            await settle()
            half = service.state
            service.end("second")
        return half, service.state, service.calls

    assert run(backend, main) == ("half_open", "closed", 3)


@both
def test_Q_a_block_inside_a_call_is_admitted_for_itself(backend):
    """Blocks that run in one call of something else have the places that all calls have."""

    async def main():
        service = Service()
        await service.fails()
        await anyio.sleep(10)

        @stack()
        async def elsewhere():
            with service.breaker.acquire(), pytest.raises(CircuitOpen):
                service.breaker.acquire()

        await elsewhere()
        return service.state

    assert run(backend, main) == "closed"
