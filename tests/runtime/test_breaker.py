"""The driver of the circuit breaker: what it asks of users' functions, and what it reports."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from resilient import (
    CircuitIsolated,
    CircuitOpen,
    FallbackManager,
    Fault,
    Rejected,
    Target,
    circuit_breaker,
    consecutive,
    count_window,
    exponential,
    fallback,
    manager_of,
    retry,
    stack,
    time_window,
    timeout,
    value,
)
from resilient._runtime.clock import runtime
from resilient.events import AttemptStarted, BreakerChanged, CallRejected
from resilient.testing import Log, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
heard = pytest.mark.parametrize("listens", [False, True], ids=["unheard", "heard"])


def run(backend, main, *args):
    return virtual_time(main, *args, backend=backend, check_leftovers=True)


class Mistake(Exception):
    """What a function of the user's raises that should have decided."""


def mistaken(*_):
    raise Mistake


CALLBACKS = {
    "on": ({"on": mistaken}, Mistake),
    "classify": ({"classify": mistaken}, Mistake),
    "on_result": ({"on_result": mistaken}, Mistake),
    "on that answers nonsense": ({"on": lambda _: "yes"}, TypeError),
    "classify that answers nonsense": ({"classify": lambda _: "bad"}, TypeError),
    "on_result that answers nonsense": ({"on_result": lambda _: -1}, ValueError),
}


class Opens:
    """A breaker that was opened, whatever its options say, and is half open by now."""

    def __init__(self, listens, **options):
        self.breaker = circuit_breaker(
            "opens", trip=count_window(9, min_calls=9), open_for=1, probes=2, **options
        )
        self.calls = 0
        self.log = Log()
        self.guarded = stack(self.breaker, listeners=[self.log] if listens else [])(self.function)

    async def function(self, error):
        self.calls += 1
        if error is not None:
            raise error
        return "value"

    async def half_opened(self):
        for _ in range(9):
            self.breaker.acquire().fail()
        await anyio.sleep(1)
        self.breaker.acquire().release()
        assert self.breaker.snapshot().state == "half_open"


@both
@heard
@pytest.mark.parametrize("half_open", [False, True], ids=["closed", "half open"])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_mistake_in_what_decides_fails_the_call_and_teaches_nothing(
    backend, listens, half_open, callback
):
    """The error of the user's own function surfaces, and the permit is given back."""
    options, kind = CALLBACKS[callback]

    async def main():
        opens = Opens(listens, **options)
        if half_open:
            await opens.half_opened()
        before = opens.breaker.snapshot()
        error = None if "on_result" in options else ConnectionError()
        for _ in range(5):
            with pytest.raises(kind):
                await opens.guarded(error)
        assert opens.breaker.snapshot() == before
        return opens.calls

    assert run(backend, main) == 5


@both
@heard
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_on_result_that_is_interrupted_gives_the_permit_back(backend, listens, stop):
    """What is no Exception leaves a predicate unchanged, and the place of the probe is free."""

    async def main():
        def interrupted(_):
            raise stop

        opens = Opens(listens, on_result=interrupted)
        await opens.half_opened()
        with suppress(stop):
            await opens.guarded(None)
        return len(opens.breaker._owner().single().breaker.half_open.places)

    assert run(backend, main) == 0


@both
@heard
def test_open_for_is_asked_by_the_number_of_the_opening(backend, listens):
    """A function gets 1, 2, 3 from one opening to the next, and 1 again after a close."""
    asked = []

    def waits(number):
        asked.append(number)
        return 10 * number

    async def main():
        breaker = circuit_breaker("asked", trip=consecutive(1), open_for=waits)
        log = Log()
        function = stack(breaker, listeners=[log] if listens else [])(fails_while_told)
        found = []
        for error in (ConnectionError(),) * 3 + (None, ConnectionError()):
            with suppress(ConnectionError):
                await function(error)
            found.append(breaker.snapshot().retry_after)
            await anyio.sleep(found[-1])
        return found

    assert run(backend, main) == [10, 20, 30, 0, 10]
    # The first answer is looked at where it is written.
    assert asked == [1, 1, 2, 3, 1]


async def fails_while_told(error):
    if error is not None:
        raise error
    return "value"


@both
@heard
@pytest.mark.parametrize("half_open", [False, True], ids=["closed", "half open"])
def test_open_for_that_raises_leaves_the_circuit_as_it_was(backend, listens, half_open):
    """A function that fails when a circuit has to open fails the call and wedges nothing."""
    broken = []

    def waits(number):
        if broken:
            raise Mistake
        return 10.0

    async def main():
        breaker = circuit_breaker("broken", trip=consecutive(1), open_for=waits)
        function = stack(breaker, listeners=[Log()] if listens else [])(fails_while_told)
        if half_open:
            breaker.acquire().fail()
            await anyio.sleep(10)
        broken.append(True)
        for _ in range(3):
            with pytest.raises(Mistake) as caught:
                await function(ConnectionError())
            assert isinstance(caught.value.__context__, ConnectionError)
        assert breaker.snapshot().state == ("half_open" if half_open else "closed")
        broken.clear()
        with pytest.raises(ConnectionError):
            await function(ConnectionError())
        return breaker.snapshot().state

    assert run(backend, main) == "open"


@both
@heard
@pytest.mark.parametrize("asked", ["on", "classify", "on_result", "key", "open_for"])
def test_a_function_of_the_user_s_may_use_the_breaker(backend, listens, asked):
    """Whatever decides may look at the breaker, close it and take a permit: no lock is held."""
    used, defined = [], []

    def uses(*_, **__):
        if not defined:
            return 5.0  # `open_for` is asked where it is written
        try:
            breaker = circuit_breaker("used")
            handle = breaker.for_key("k") if asked == "key" else breaker
            used.append(handle.snapshot().state)
            handle.acquire().release()
            handle.close()
        except (TypeError, CircuitOpen):
            used.append("not yet")
        return {"on": True, "classify": Fault(True), "key": "k", "open_for": 5.0}.get(asked, True)

    async def main():
        breaker = circuit_breaker("used", trip=consecutive(1), **{asked: uses})
        defined.append(breaker)
        function = stack(breaker, listeners=[Log()] if listens else [])(fails_while_told)
        for error in (None, ConnectionError(), None):
            with suppress(ConnectionError, CircuitOpen):
                await function(error)
        return breaker.snapshot().state

    # What is closed by hand while a failure is judged begins a new period: it is stale.
    expected = "open" if asked in {"key", "on_result"} else "closed"
    assert run(backend, main) == expected
    assert len(used) >= 1


@both
@pytest.mark.parametrize("probes", [1, 5])
@heard
def test_of_a_hundred_concurrent_callers_as_many_run_as_there_are_places(backend, probes, listens):
    """Half open, exactly `probes` of a hundred callers at once reach the function."""
    running, most = 0, 0

    async def main():
        breaker = circuit_breaker("crowd", trip=consecutive(1), open_for=1, probes=probes)
        breaker.acquire().fail()
        await anyio.sleep(1)
        found = []

        @stack(breaker, listeners=[Log()] if listens else [])
        async def function():
            nonlocal running, most
            running += 1
            most = max(most, running)
            await anyio.sleep(0.5)
            running -= 1

        async def call():
            try:
                await function()
            except CircuitOpen as error:
                found.append(error.retry_after)
            else:
                found.append("ran")

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(call)
        return found, breaker.snapshot()

    found, snapshot = run(backend, main)
    assert (found.count("ran"), most) == (probes, probes)
    # The oldest probe has its place for as long as the first `open_for`.
    assert set(found) == {"ran", 1}
    assert (snapshot.state, snapshot.refused) == ("closed", 100 - probes)


@both
def test_who_listens_changes_no_random_number(backend):
    """With a listener or without, the same calls draw the same numbers: jitter is the same."""

    async def main(listens):
        waits = exponential(base=4, jitter="full")
        breaker = circuit_breaker("drawn", trip=consecutive(2), open_for=waits)
        function = stack(breaker, listeners=[Log()] if listens else [])(fails_while_told)
        for error in (None, TypeError(), None, ConnectionError(), None, *[ConnectionError()] * 2):
            with suppress(ConnectionError, TypeError):
                await function(error)
        return breaker.snapshot().retry_after, runtime().random.random()

    assert run(backend, main, False) == run(backend, main, True)


@both
@heard
def test_a_refusal_of_somebody_else_s_teaches_nothing(backend, listens):
    """A `Rejected` that comes from inside is neutral, for a closed circuit and for a probe."""

    async def main():
        opens = Opens(listens)
        refusal = Rejected("no place left", policy="bulkhead", retry_after=3)
        with pytest.raises(Rejected) as caught:
            await opens.guarded(refusal)
        assert caught.value is refusal
        assert opens.breaker.snapshot().calls == 0
        await opens.half_opened()
        with pytest.raises(Rejected):
            await opens.guarded(refusal)
        return opens.breaker.snapshot().state, opens.calls

    assert run(backend, main) == ("half_open", 2)


@both
def test_a_chain_whose_targets_all_refused_teaches_nothing(backend):
    """A breaker around a manager whose circuits are all open counts nothing."""

    async def main():
        inner = circuit_breaker("inner", trip=consecutive(1), open_for=60)
        outer = circuit_breaker("outer", trip=count_window(9, min_calls=9))
        manager = FallbackManager([Target("a", fails_while_told, policies=inner)])
        function = outer(manager.run)
        counts = []
        for _ in range(3):
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the manager makes of it
                await function(ConnectionError())
            counts.append(outer.snapshot().failures)
        return counts

    assert run(backend, main) == [1, 1, 1]


@both
def test_a_refusal_has_the_origin_of_its_opening(backend):
    """One `Origin` goes with an opening and with each refusal of it; the next one has its own."""
    log = Log()

    async def main():
        breaker = circuit_breaker("origin", trip=consecutive(1), open_for=10)
        function = stack(breaker, listeners=[log])(fails_while_told)
        for _ in range(2):
            for _ in range(3):
                with suppress(ConnectionError, CircuitOpen):
                    await function(ConnectionError())
            await anyio.sleep(10)
        with breaker.acquire(), pytest.raises(CircuitOpen):
            await function(None)
        with breaker.isolate(), pytest.raises(CircuitIsolated):
            await function(None)

    run(backend, main)
    opened = [one for one in log.events if isinstance(one, BreakerChanged) and one.open_for]
    refused = [one for one in log.events if isinstance(one, CallRejected)]
    first, second = (one.origin for one in opened)
    assert first is not second
    # The last but one was refused while somebody probed.
    assert [one.origin for one in refused] == [first, first, second, second, second, None]
    assert [one.state for one in refused[-2:]] == ["half_open", "isolated"]
    assert [(one.open_for, one.opened_by) for one in opened] == [(10, "ConnectionError")] * 2


@both
def test_an_attempt_says_which_breaker_let_it_pass(backend):
    """The innermost breaker and its state at admission, and the outer one's outside of it."""
    log = Log()

    async def main():
        outer = circuit_breaker("outer", trip=consecutive(9))
        inner = circuit_breaker("inner", trip=consecutive(1), open_for=1)
        function = stack(outer, inner, listeners=[log])(fails_while_told)
        with suppress(ConnectionError):
            await function(ConnectionError())
        await anyio.sleep(1)
        await function(None)

        for answer in (ConnectionError, "bad"):

            @stack(
                outer,
                fallback(to=[fails_while_told], on_result=lambda found: found == "bad"),
                inner,
                listeners=[log],
            )
            async def chain(_, answer=answer):
                if answer != "bad":
                    raise answer
                return answer

            await chain(None)
            inner.close()

    run(backend, main)
    found = [
        (one.breaker, one.breaker_state) for one in log.events if isinstance(one, AttemptStarted)
    ]
    assert found == [
        ("inner", "closed"),
        ("inner", "half_open"),
        *[("inner", "closed"), ("outer", "closed")] * 2,
    ]


@both
@heard
def test_what_is_set_by_hand_meanwhile_makes_a_result_stale(backend, listens):
    """A call that began while closed teaches nothing once the circuit was disabled or closed."""

    async def main():
        breaker = circuit_breaker("meanwhile", trip=consecutive(1))

        @stack(breaker, listeners=[Log()] if listens else [])
        async def function(act):
            getattr(breaker, act)()
            raise ConnectionError

        states = []
        for act in ("close", "disable", "enable"):
            with pytest.raises(ConnectionError):
                await function(act)
            states.append(breaker.snapshot().state)
        return states, breaker.snapshot().failures

    assert run(backend, main) == (["closed", "disabled", "closed"], 0)


@both
def test_a_target_s_classify_is_asked_by_its_breaker(backend):
    """What a target knows of its errors decides what the breaker among its policies learns."""

    async def main():
        states = []
        for health in ("neutral", "trip"):
            breaker = circuit_breaker(health, trip=consecutive(2))
            manager = FallbackManager(
                [
                    Target(
                        "a",
                        fails_while_told,
                        policies=breaker,
                        classify=lambda _, health=health: Fault(False, health=health),
                    )
                ]
            )
            for _ in range(1 + (health == "neutral")):
                with pytest.raises(ConnectionError):
                    await manager.run(ConnectionError())
            states.append(breaker.snapshot().state)
        return states

    assert run(backend, main) == ["closed", "open"]


@both
def test_the_health_of_a_manager_has_the_states_of_its_circuits(backend):
    """Each target's state is that of its breaker, the worst of several, and None without one."""

    async def main():
        one = circuit_breaker("one", trip=consecutive(1))
        two = circuit_breaker("two", trip=consecutive(9))

        @circuit_breaker("inside", trip=consecutive(1))
        async def guarded(error):
            raise ConnectionError

        manager = FallbackManager(
            [
                Target("a", fails_while_told, policies=stack(one, two)),
                Target("b", guarded),
                Target("c", fails_while_told),
                Target("d", fails_while_told, policies=circuit_breaker(trip=consecutive(1))),
            ],
            degrade=value("last"),
        )
        before = [health.breaker for health in manager.health().values()]
        await manager.run(ConnectionError())
        with two.isolate():
            isolated = manager.health()["a"].breaker
        return before, [health.breaker for health in manager.health().values()], isolated

    before, after, isolated = run(backend, main)
    assert before == ["closed", "closed", None, "closed"]
    assert after == ["open", "open", None, "open"]
    assert isolated == "isolated"


@both
def test_the_health_of_a_decorated_function_has_the_state_of_its_circuit(backend):
    """The manager behind a function knows the breaker inside of its fallback."""

    async def main():
        @stack(
            fallback(degrade=value(7)), retry(attempts=2), circuit_breaker("f", trip=consecutive(1))
        )
        async def function():
            raise ConnectionError

        await function()
        return {name: health.breaker for name, health in manager_of(function).health().items()}

    (state,) = run(backend, main).values()
    assert state == "open"


@both
def test_a_slow_call_is_seen_where_the_time_passes(backend):
    """The time of a call is that of everything inside the breaker, waits included."""

    async def main():
        slow = time_window(60, min_calls=1, slow_call=5, slow_rate=1.0)
        breaker = circuit_breaker("slow", trip=slow)
        function = stack(breaker, timeout(30))(anyio.sleep)
        await function(4.875)
        assert breaker.snapshot().slow == 0
        await function(5)
        closed = breaker.snapshot()
        await function(5)
        return closed.state, closed.slow, breaker.snapshot().state

    assert run(backend, main) == ("closed", 1, "closed")


@both
@heard
def test_a_success_is_written_down_at_its_time(backend, listens):
    """A success and a failure of one instant are half of two calls, however late that is."""

    async def main():
        breaker = circuit_breaker("timed", trip=time_window(10, min_calls=2))
        function = stack(breaker, listeners=[Log()] if listens else [])(fails_while_told)
        await anyio.sleep(1000)
        await function(None)
        with suppress(ConnectionError):
            await function(ConnectionError())
        return breaker.snapshot().state

    assert run(backend, main) == "open"


@both
@heard
@pytest.mark.parametrize("option", ["on", "classify"])
def test_what_is_no_exception_is_shown_to_no_predicate(backend, listens, option):
    """Users' functions see neither a cancellation nor a KeyboardInterrupt."""
    shown = []

    def sees(error):
        shown.append(error)
        return Fault(True) if option == "classify" else True

    async def main():
        breaker = circuit_breaker("shown", trip=consecutive(1), **{option: sees})
        function = stack(breaker, listeners=[Log()] if listens else [])(fails_while_told)
        with suppress(KeyboardInterrupt):
            await function(KeyboardInterrupt())
        with suppress(KeyboardInterrupt), breaker.acquire():
            raise KeyboardInterrupt
        with anyio.move_on_after(1):
            await stack(breaker, listeners=[Log()] if listens else []).call(anyio.sleep_forever)
        return breaker.snapshot().state

    assert run(backend, main) == "closed"
    assert shown == []


@both
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_open_for_is_asked_outside_of_the_lock_for_a_slow_success_too(backend, ends):
    """Whatever opens the circuit, a slow success or a bad result, the function may look at it."""
    asked, breakers = [], []

    def waits(number):
        if breakers:
            asked.append(breakers[0].snapshot().state)
        return 5.0

    async def main():
        rule = time_window(60, min_calls=1, slow_call=1, slow_rate=1.0)
        judged = {"on_result": lambda _: True} if ends == "badly" else {}
        breakers.append(circuit_breaker("slow", trip=rule, open_for=waits, **judged))
        await breakers[0](anyio.sleep)(2)
        return breakers[0].snapshot().state

    assert run(backend, main) == "open"
    assert asked == ["closed"]


class Mute(ConnectionError):
    """An error without words."""

    def __str__(self):
        raise ValueError


@both
@heard
@pytest.mark.parametrize(
    ("error", "message"), [(ConnectionError("x" * 5000), "x" * 200), (Mute(), "")]
)
def test_the_words_of_what_opened_it_are_few(backend, listens, error, message):
    """Of a long text the beginning is kept, and an error that cannot say anything says nothing."""

    async def main():
        breaker = circuit_breaker("words", trip=consecutive(1))
        function = stack(breaker, listeners=[Log()] if listens else [])(fails_while_told)
        with suppress(ConnectionError):
            await function(error)
        return breaker.snapshot().opened_by.message

    assert run(backend, main) == message


@both
def test_what_changes_no_state_is_not_reported(backend):
    """Closing a closed circuit empties it, and is no transition for those who listen."""
    log = Log()

    async def main():
        breaker = circuit_breaker("unchanged", trip=count_window(9, min_calls=9))
        function = stack(breaker, listeners=[log])(fails_while_told)
        await function(None)

        async def by_hand():
            breaker.close()
            breaker.disable()
            breaker.disable()
            breaker.enable()
            breaker.enable()

        await stack(listeners=[log]).call(by_hand)
        return breaker.snapshot().calls

    assert run(backend, main) == 0
    changes = [one.reason for one in log.events if isinstance(one, BreakerChanged)]
    assert changes == ["disabled", "enabled"]
