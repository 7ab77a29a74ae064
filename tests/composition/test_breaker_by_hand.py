"""A circuit breaker in one's own hands: permits, what is done by hand, what can be seen."""

from __future__ import annotations

import pickle
from dataclasses import replace

import anyio
import pytest
from breaking import both, fails, outcome, run

from resilient import (
    CircuitIsolated,
    CircuitOpen,
    FallbackManager,
    Target,
    breakers,
    circuit_breaker,
    consecutive,
    count_window,
    explain,
    exponential,
)
from resilient._core.breaker import IllegalTransitionError
from resilient.testing import virtual_time


def opened(name="hand", **options):
    """Return a breaker that has just opened for 60 s."""
    breaker = circuit_breaker(name, trip=consecutive(1), open_for=60, **options)
    breaker.acquire().fail(ConnectionError("boom"))
    assert breaker.snapshot().state == "open"
    return breaker


def seen(breaker):
    """Return what a breaker shows, but for the time that passes meanwhile."""
    return replace(breaker.snapshot(), retry_after=None)


def test_a_permit_is_settled_by_its_block():
    """A block that ends is a success, one that raises a failure, a neutral error gives it back."""
    breaker = circuit_breaker("blocks", trip=count_window(9, min_calls=9))
    with breaker.acquire():
        pass
    for error in (ConnectionError(), TypeError(), KeyboardInterrupt(), GeneratorExit()):
        with pytest.raises(type(error)) as caught, breaker.acquire():
            raise error
        assert caught.value is error
    found = breaker.snapshot()
    assert (found.calls, found.failures) == (2, 1)


def test_a_permit_is_settled_by_hand():
    """`succeed`, `fail` with an error that is judged or without one, and `release`."""
    breaker = circuit_breaker("by hand", trip=count_window(9, min_calls=9), on=ConnectionError)
    for act in (
        lambda permit: permit.succeed(),
        lambda permit: permit.fail(),
        lambda permit: permit.fail(ConnectionError()),
        lambda permit: permit.fail(ValueError()),
        lambda permit: permit.fail(KeyboardInterrupt()),
        lambda permit: permit.release(),
    ):
        act(breaker.acquire())
    found = breaker.snapshot()
    assert (found.calls, found.failures) == (3, 2)


@pytest.mark.parametrize("first", ["succeed", "fail", "release"])
@pytest.mark.parametrize("second", ["succeed", "fail", "release", "__enter__"])
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_permit_is_settled_once(first, second, mode):
    """A second settlement is a RuntimeError and changes nothing."""
    breaker = opened(mode=mode, name=f"once {mode}")
    if mode == "enforce":
        breaker.close()
    permit = breaker.acquire()
    getattr(permit, first)()
    before = seen(breaker)
    with pytest.raises(IllegalTransitionError, match="settled before"):
        getattr(permit, second)()
    assert seen(breaker) == before
    assert issubclass(IllegalTransitionError, RuntimeError)


def settles(permit):
    """Give a permit back and return an error."""
    permit.release()
    return ConnectionError()


def test_a_block_may_settle_its_permit_itself():
    """A permit that was settled inside of its block is left alone at the end of it."""
    breaker = circuit_breaker("inside", trip=count_window(9, min_calls=9))
    with breaker.acquire() as permit:
        permit.fail()
    permit = breaker.acquire()
    with pytest.raises(ConnectionError), permit:
        raise settles(permit)
    found = breaker.snapshot()
    assert (found.calls, found.failures) == (1, 1)


@both
def test_permits_that_are_never_settled_wedge_nothing(backend):
    """Probes that nobody settles lose their places after `probe_timeout`."""

    async def main():
        breaker = opened(probes=2, probe_timeout=5)
        await anyio.sleep(60)
        lost = [breaker.acquire() for _ in range(2)]
        with pytest.raises(CircuitOpen) as caught:
            breaker.acquire()
        await anyio.sleep(5)
        with breaker.acquire(), breaker.acquire():
            pass
        for permit in lost:
            permit.fail()
        return caught.value.retry_after, breaker.snapshot().state

    assert run(main, backend=backend) == (5, "closed")


def test_acquire_refuses_as_a_call_does():
    """An open circuit refuses a block, with what a refusal says."""
    breaker = opened()
    with pytest.raises(CircuitOpen) as caught:
        breaker.acquire()
    assert (caught.value.breaker, caught.value.policy) == ("hand", "circuit_breaker")
    assert 59 < caught.value.retry_after <= 60
    with breaker.isolate(), pytest.raises(CircuitIsolated):
        breaker.acquire()


@pytest.mark.parametrize("kind", [CircuitOpen, CircuitIsolated])
def test_a_refusal_pickles(kind):
    """What a worker raises arrives in another process as it was."""
    breaker = opened()
    if kind is CircuitOpen:
        with pytest.raises(CircuitOpen) as caught:
            breaker.acquire()
    else:
        with breaker.isolate(), pytest.raises(CircuitIsolated) as caught:
            breaker.acquire()
    error = caught.value
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.retry_after, copy.breaker) == (str(error), error.retry_after, "hand")
    assert copy.opened_by == error.opened_by
    assert copy.__dict__ == error.__dict__


def test_a_circuit_is_closed_by_hand():
    """`close` closes an open circuit with empty evidence, and forgets how often it had opened."""
    breaker = opened()
    breaker.close()
    found = breaker.snapshot()
    assert (found.state, found.failures, found.opened_by) == ("closed", 0, None)
    counting = circuit_breaker("counting", trip=consecutive(3))
    for _ in range(2):
        counting.acquire().fail()
    counting.close()
    counting.acquire().fail()
    assert (counting.snapshot().state, counting.snapshot().failures) == ("closed", 1)


@pytest.mark.parametrize("key", [None, "k"], ids=["one circuit", "a family"])
def test_what_cannot_be_done_by_hand_changes_nothing(key):
    """Closed or disabled while isolated, closed while disabled: a RuntimeError and no change."""
    breaker = circuit_breaker("illegal", key=key)
    for number in range(3 if key else 0):
        breaker.for_key(number).acquire().succeed()

    def refused(act):
        before = breaker.snapshot()
        with pytest.raises(RuntimeError):
            getattr(breaker, act)()
        assert breaker.snapshot() == before

    with breaker.isolate():
        refused("close")
        refused("disable")
        breaker.enable()
        assert breaker.snapshot().state == "isolated"
    breaker.disable()
    breaker.disable()
    refused("close")
    breaker.enable()
    breaker.enable()
    breaker.close()
    assert breaker.snapshot().state == "closed"


@pytest.mark.parametrize("act", ["close", "disable"])
def test_a_family_is_not_half_done(act):
    """If one circuit refuses what is done to the family, none of the others is changed."""
    breaker = circuit_breaker("half", key="k", trip=consecutive(1))
    for key in "abc":
        breaker.for_key(key).acquire().fail()
    with breaker.for_key("c").isolate():
        with pytest.raises(IllegalTransitionError, match='"half" is isolated'):
            getattr(breaker, act)()
        assert breaker.for_key("a").snapshot().state == "open"
    breaker.for_key("c").disable()
    if act == "close":
        with pytest.raises(IllegalTransitionError, match='"half" is disabled'):
            breaker.close()
        assert breaker.for_key("a").snapshot().state == "open"


def test_a_family_is_worked_as_a_whole_also_where_it_is_yet_to_come():
    """Disabled, isolated and released: old and new keys are in one state."""
    breaker = circuit_breaker("whole", key="k", trip=consecutive(1))

    def states():
        seen.append(len(seen))
        return {breaker._owner().for_key(key).snapshot(0).state for key in seen}

    seen = [0]
    assert states() == {"closed"}
    breaker.disable()
    assert states() == {"disabled"}
    with breaker.isolate():
        assert states() == {"isolated"}
        with breaker.isolate(), breaker.for_key(0).isolate():
            assert states() == {"isolated"}
        assert states() == {"isolated"}
    assert states() == {"closed"}
    breaker.disable()
    assert states() == {"disabled"}
    breaker.enable()
    assert states() == {"closed"}
    assert breaker.snapshot().keys == len(seen)


def test_a_key_is_worked_apart_from_its_family():
    """What is done to one key leaves the others as they are, and counts together with the rest."""
    breaker = circuit_breaker("apart", key="k", trip=consecutive(1))
    one, two = breaker.for_key(1), breaker.for_key(2)
    with one.isolate():
        assert (one.snapshot().state, two.snapshot().state) == ("isolated", "closed")
        with breaker.isolate():
            assert two.snapshot().state == "isolated"
        assert (one.snapshot().state, two.snapshot().state) == ("isolated", "closed")
    assert one.snapshot().state == "closed"


def test_isolated_an_observing_breaker_refuses_nothing():
    """`mode="observe"` never refuses, also not by hand: it counts what it would have refused."""

    async def works():
        return "value"

    async def main():
        breaker = circuit_breaker("observing", mode="observe")
        function = breaker(works)
        with breaker.isolate():
            assert await function() == "value"
            assert "only observes" in explain(function)
        return breaker.snapshot().refused

    assert run(main) == 1


def test_breakers_maps_names_to_snapshots():
    """Every breaker that was used is there by name, and the mapping cannot be changed."""
    opened("one")
    circuit_breaker("two", key="k").for_key("a").acquire().succeed()
    found = breakers()
    assert {name: shot.state for name, shot in found.items()} == {"one": "open", "two": "closed"}
    assert (found["one"].opened_by.message, found["two"].keys) == ("boom", 1)
    with pytest.raises(TypeError):
        found["three"] = found["one"]  # type: ignore[index]


def test_explain_says_the_state_at_hand():
    """The line of a breaker has its state now, its rule and when it probes."""
    breaker = opened("explained")
    assert '"explained": open; opens at 1 failure, probes after 60 s' in explain(breaker)
    with breaker.isolate():
        assert '"explained": isolated' in explain(breaker(fails))
    grows = circuit_breaker("grows", open_for=exponential(base=30, cap=600))
    assert "probes after full jitter 30 s .. 600 s" in explain(grows)
    assert "probes after 5, 10 s" in explain(circuit_breaker("listed", open_for=[5, 10]))
    assert "named after the function: closed" in explain(circuit_breaker(trip=consecutive(1)))


@both
def test_explain_says_the_state_of_a_breaker_that_is_named_after_its_function(backend):
    """Where the function is known the breaker is, alone and in a manager."""

    async def main():
        bare = circuit_breaker(trip=consecutive(1), open_for=60)
        guarded = bare(fails)
        assert f'"{fails.__module__}.fails": closed' in explain(guarded)
        with pytest.raises(ConnectionError):
            await guarded()
        assert f'"{fails.__module__}.fails": open' in explain(guarded)
        manager = FallbackManager([Target("first", fails, policies=bare)])
        assert f'"{fails.__module__}.fails": open' in manager.explain()

    virtual_time(main, backend=backend, check_leftovers=True)


@both
def test_by_hand_outside_and_inside_of_loops_it_is_one_circuit(backend):
    """A circuit that is opened without a loop refuses in one, where the clock is the process's."""
    breaker = opened("outside of loops")
    function = breaker(fails)
    if backend == "trio":
        trio = pytest.importorskip("trio")
        found = trio.run(outcome, function)
    else:
        asyncio = pytest.importorskip("asyncio")
        found = asyncio.run(outcome(function))
    assert found is CircuitOpen
    assert breaker.snapshot().refused == 1


def test_its_repr_is_its_name():
    """Of two breakers that are printed each can be told."""
    assert repr(circuit_breaker("prices", trip=consecutive(1))) == "<CircuitBreaker prices>"
    assert repr(circuit_breaker()) == "<CircuitBreaker (named after its function)>"
