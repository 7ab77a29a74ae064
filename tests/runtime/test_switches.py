"""Switches: other policies in force while a block runs, and nothing of it afterwards."""

from __future__ import annotations

import functools
import gc
import inspect
import pickle
import threading
import time

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    CircuitOpen,
    FallbackManager,
    Fault,
    Rejected,
    Target,
    TimedOut,
    circuit_breaker,
    consecutive,
    current_call,
    explain,
    fallback,
    manager_of,
    pipeline_of,
    retry,
    stack,
    timeout,
    value,
)
from resilient._switch import board
from resilient.events import RetryScheduled
from resilient.testing import (
    Log,
    fresh_breakers,
    instant,
    overrides,
    policies_off,
    policies_on,
    virtual_time,
)

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
NOW = [0]
HOUR = [3600]


@pytest.fixture(autouse=True)
def _nothing_stays():
    """No test leaves a switch thrown."""
    yield
    assert board.in_force is None


class Service:
    """A function that fails until it has been called often enough, and counts."""

    def __init__(self, failures=10**6, error=ConnectionError):
        self.failures = failures
        self.error = error
        self.calls = 0

    async def __call__(self, *args):
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.calls

    def guarded(self, *policies, **options):
        """Return the service as a function with these policies."""

        async def function(*args):
            """Ask the service."""
            return await self(*args)

        return stack(*policies, **options)(function)


def run(backend, fn, *args):
    """Run a function in real time."""
    return anyio.run(fn, *args, backend=backend)


# policies_off


@BACKENDS
def test_without_policies_there_is_one_call_and_its_error(backend):
    """A retry is off: one call, the error without a note, and afterwards it is as before."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=NOW))
    with policies_off(), pytest.raises(ConnectionError) as caught:
        run(backend, ask)
    assert (service.calls, hasattr(caught.value, "__notes__")) == (1, False)
    with pytest.raises(ConnectionError):
        run(backend, ask)
    assert service.calls == 4


@BACKENDS
def test_without_policies_there_is_no_limit(backend):
    """A timeout is off: a function that takes longer answers."""

    @timeout(1)
    async def slow():
        await anyio.sleep(5)
        return "late"

    with policies_off():
        assert virtual_time(slow, backend=backend) == "late"
    with pytest.raises(TimedOut):
        virtual_time(slow, backend=backend)


@BACKENDS
def test_without_policies_no_circuit_opens(backend):
    """A circuit breaker is off: it counts nothing and refuses nothing."""
    service = Service()
    ask = service.guarded(circuit_breaker("switched", trip=consecutive(1), open_for=30))
    with policies_off():
        for _ in range(3):
            with pytest.raises(ConnectionError):
                run(backend, ask)
    assert service.calls == 3
    with pytest.raises(ConnectionError):
        run(backend, ask)
    with policies_off(), pytest.raises(ConnectionError):
        run(backend, ask)
    with pytest.raises(CircuitOpen):
        run(backend, ask)


@BACKENDS
def test_without_policies_only_the_first_target_is_asked(backend):
    """A fallback is off: the error of the function surfaces, also through its manager."""
    service, other = Service(), Service(0)
    ask = service.guarded(fallback(to=[other.guarded()], degrade=value(7)))
    manager = manager_of(ask)
    with policies_off():
        with pytest.raises(ConnectionError):
            run(backend, ask)
        with pytest.raises(ConnectionError):
            run(backend, manager_of(ask).run)
        with pytest.raises(ConnectionError):
            run(backend, manager.run)
    assert (service.calls, other.calls) == (3, 0)
    assert run(backend, manager.run).target == "Service.guarded.<locals>.function#2"


@BACKENDS
def test_without_policies_a_manager_asks_its_first_target_once(backend):
    """Neither its targets' policies nor its further targets are in force."""
    first, second = Service(), Service(0)
    manager = FallbackManager(
        [
            Target("first", first.guarded(retry(backoff=NOW)), attempts=3),
            Target("second", second.guarded()),
        ],
        degrade=value("degraded"),
    )
    with policies_off(), pytest.raises(ConnectionError):
        run(backend, manager.run)
    assert (first.calls, second.calls) == (1, 0)
    first.failures = 0
    with policies_off():
        outcome = run(backend, manager.run)
    assert (outcome.target, outcome.value, outcome.fallback_used) == ("first", 2, False)
    assert [attempt.target for attempt in outcome.attempts] == ["first"]


@BACKENDS
def test_without_policies_a_target_that_is_disabled_is_not_the_first(backend):
    """The first target that is enabled is asked."""
    first, second = Service(0), Service(0)
    enabled = [False]
    targets = [
        Target("first", first.guarded(), enabled=lambda: enabled[0]),
        Target("second", second.guarded()),
    ]
    with policies_off():
        assert run(backend, FallbackManager(targets).run).target == "second"
        enabled[0] = True
        assert run(backend, FallbackManager(targets).run).target == "first"


@BACKENDS
def test_without_policies_nothing_rests(backend):
    """A failure that lets a target rest is no reason not to ask it again."""
    service = Service()
    target = Target(
        "one", service.guarded(), classify=lambda _: Fault(False, retry_after=60, health="cooldown")
    )
    manager = FallbackManager([target])
    with policies_off():
        for _ in range(2):
            with pytest.raises(ConnectionError):
                run(backend, manager.run)
    assert service.calls == 2
    assert manager.health()["one"].failed == 0


@BACKENDS
def test_without_policies_named_targets_are_asked_by_name(backend):
    """A manager of names asks by the first of them."""
    manager = FallbackManager([Target("a", attempts=3), Target("b")])
    asked = []

    async def ask(name, data):
        asked.append((name, data))
        raise ConnectionError

    with policies_off(), pytest.raises(ConnectionError):
        run(backend, manager.run_with, ask, 1)
    assert asked == [("a", 1)]


@BACKENDS
def test_without_policies_a_pipeline_calls_plainly(backend):
    """`pipeline.call` and `pipeline.run` have no policies either."""
    service = Service()
    pipeline = stack(retry(attempts=3, backoff=NOW))
    for call in (pipeline.call, pipeline.run):
        with policies_off(), pytest.raises(ConnectionError):
            run(backend, call, service)
    assert service.calls == 2
    with pytest.raises(ConnectionError):
        run(backend, pipeline.call, service)
    assert service.calls == 5


@BACKENDS
def test_without_policies_a_block_runs_once(backend):
    """A retry block is one attempt, and its error leaves."""
    service = Service()

    async def block():
        async for attempt in retry(attempts=3, backoff=NOW):
            with attempt:
                await service()

    with policies_off(), pytest.raises(ConnectionError):
        run(backend, block)
    assert service.calls == 1
    with pytest.raises(ConnectionError):
        run(backend, block)
    assert service.calls == 4


@BACKENDS
def test_without_policies_a_stream_is_plain(backend):
    """An async generator gives its items, and its failure is not tried again."""
    begun = []

    @retry(attempts=3, backoff=NOW)
    async def items():
        begun.append(1)
        if len(begun) < 3:
            raise ConnectionError
        yield 1
        yield 2

    async def listed():
        return [item async for item in items()]

    with policies_off(), pytest.raises(ConnectionError):
        run(backend, listed)
    assert len(begun) == 1
    assert run(backend, listed) == [1, 2]


@BACKENDS
def test_without_policies_the_call_is_still_a_call(backend):
    """`current_call()` is there, and listeners are told."""
    log = Log()

    async def ask():
        return current_call().attempt

    guarded = stack(retry(), listeners=[log], name="ask")(ask)
    with policies_off():
        assert run(backend, guarded) == 1
    names = [type(event).__name__ for event in log.events]
    assert names == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]


# instant


@BACKENDS
def test_waits_pass_at_once(backend):
    """Hours of waits take no time, and are decided and reported as ever."""
    service, log = Service(3), Log()
    ask = service.guarded(retry(attempts=4, backoff=HOUR), listeners=[log])
    began = time.monotonic()
    with instant():
        assert run(backend, ask) == 4
    assert time.monotonic() - began < 60
    waits = [event.wait for event in log.events if isinstance(event, RetryScheduled)]
    assert waits == [3600, 3600, 3600]


@BACKENDS
def test_hints_pass_at_once_too(backend):
    """A server's hint is the wait, and takes no time."""

    class Busy(ConnectionError):
        retry_after = 30

    service = Service(1, Busy)
    with instant():
        assert run(backend, service.guarded(retry())) == 2


@BACKENDS
@pytest.mark.parametrize(("at_most", "calls"), [(1, 1), (2, 2), (9, 3)])
def test_attempts_can_be_limited(backend, at_most, calls):
    """With attempts, each retry makes at most so many, and never more than are written."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=HOUR))
    with instant(attempts=at_most), pytest.raises(ConnectionError):
        run(backend, ask)
    assert service.calls == calls


@BACKENDS
def test_a_retry_ends_where_it_would_end_in_production(backend):
    """What is waited counts against max_elapsed and limits, also where it takes no time."""
    for policies in (
        [retry(attempts=None, max_elapsed=2.5 * 3600, backoff=HOUR)],
        [timeout(2.5 * 3600), retry(attempts=9, backoff=HOUR)],
    ):
        service = Service()
        with instant(), pytest.raises(ConnectionError) as caught:
            run(backend, service.guarded(*policies))
        assert service.calls == 3
        assert "the next wait of 3600 s" in caught.value.__notes__[0]


@BACKENDS
def test_a_circuit_probes_after_a_wait_that_took_no_time(backend):
    """The Clock has moved: what was to be waited for is over for breakers as well."""
    service = Service(1)
    ask = service.guarded(
        retry(attempts=3, on=(ConnectionError, Rejected), backoff=NOW),
        circuit_breaker("instant", trip=consecutive(1), open_for=30),
    )
    with fresh_breakers(), instant():
        assert run(backend, ask) == 2


@BACKENDS
def test_of_several_waits_the_shortest_ends_first(backend):
    """Calls that wait at the same time go on in the order in which their waits end."""
    order = []

    def one(name, wait):
        service = Service(1)

        @retry(backoff=[wait])
        async def ask():
            if service.calls:
                order.append(name)
            return await service()

        return ask

    async def main():
        async with anyio.create_task_group() as group:
            for name, wait in (("c", 30), ("a", 10), ("b", 20)):
                group.start_soon(one(name, wait))

    with instant():
        run(backend, main)
    assert order == ["a", "b", "c"]


@BACKENDS
def test_waits_of_several_calls_do_not_add_up(backend):
    """Ten calls that wait an hour each have waited an hour together."""

    async def main():
        services = [Service(1) for _ in range(10)]
        async with anyio.create_task_group() as group:
            for service in services:
                group.start_soon(service.guarded(timeout(5000), retry(backoff=HOUR)))
        return [service.calls for service in services]

    with instant():
        assert run(backend, main) == [2] * 10


@BACKENDS
def test_a_cancelled_wait_leaves_no_trace(backend):
    """A call that is cancelled while its wait passes does not hold back another one."""

    async def main():
        service = Service(1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await Service().guarded(retry(backoff=HOUR))()
        return await service.guarded(retry(backoff=HOUR))()

    with instant():
        assert run(backend, main) == 2


@BACKENDS
def test_limits_of_attempts_take_real_time(backend):
    """An attempt that hangs is cut off by its limit."""

    @timeout(0.001)
    async def hangs():
        await anyio.sleep_forever()

    with instant(), pytest.raises(TimedOut):
        run(backend, hangs)


@BACKENDS
def test_in_virtual_time_waits_pass_as_ever(backend):
    """A run in virtual time keeps its own clock: the loop's time and ours are one."""

    async def main():
        await Service(1).guarded(retry(backoff=HOUR))()
        return anyio.current_time()  # noqa: TID251 - it is the loop's time that is asked for

    with instant():
        assert virtual_time(main, backend=backend) == 3600


@BACKENDS
def test_the_clock_is_real_again_afterwards(backend):
    """After the block the Clock reads real time, in the same loop."""
    reads = []

    class Listener:
        def on_event(self, event, call):
            reads.append(event.at - time.monotonic())

    async def main():
        ask = Service(1).guarded(retry(backoff=HOUR), listeners=[Listener()])
        with instant():
            await ask()
        ahead = reads[-1]
        await ask()
        return ahead, reads[-1]

    ahead, after = run(backend, main)
    assert (ahead > 3000, abs(after) < 60) == (True, True)


@BACKENDS
def test_a_block_waits_no_time(backend):
    """The waits of a retry block pass at once, and its attempts can be limited."""
    service = Service(2)

    async def block():
        async for attempt in retry(attempts=3, backoff=HOUR):
            with attempt:
                await service()

    with instant():
        run(backend, block)
    assert service.calls == 3
    service.calls = 0
    with instant(attempts=1), pytest.raises(ConnectionError):
        run(backend, block)
    assert service.calls == 1


# overrides


@BACKENDS
def test_one_function_gets_other_attempts(backend):
    """Only the function that is named is overridden."""
    one, other = Service(), Service()
    ask, tell = (service.guarded(retry(attempts=3, backoff=NOW)) for service in (one, other))
    with overrides(ask, attempts=1):
        for fn in (ask, tell):
            with pytest.raises(ConnectionError):
                run(backend, fn)
    assert (one.calls, other.calls) == (1, 3)


@BACKENDS
def test_attempts_can_be_more_than_are_written(backend):
    """`overrides(attempts=5)` makes five of three."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=NOW))
    with overrides(ask, attempts=5), pytest.raises(ConnectionError):
        run(backend, ask)
    assert service.calls == 5


@BACKENDS
def test_one_function_gets_other_policies(backend):
    """`policies` takes the place of everything."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=NOW))
    with overrides(ask, policies=stack(fallback(degrade=value(7)), retry(attempts=2, backoff=NOW))):
        assert run(backend, ask) == 7
    assert service.calls == 2
    with overrides(ask, policies=stack()), pytest.raises(ConnectionError):
        run(backend, ask)
    assert service.calls == 3


class Client:
    """Methods of every kind, guarded."""

    def __init__(self):
        self.calls = 0

    @retry(attempts=3, backoff=NOW)
    async def method(self):
        self.calls += 1
        raise ConnectionError

    @classmethod
    @retry(attempts=3, backoff=NOW)
    async def of_class(cls, seen):
        seen.append(cls)
        raise ConnectionError

    @staticmethod
    @retry(attempts=3, backoff=NOW)
    async def static(seen):
        seen.append(None)
        raise ConnectionError


@BACKENDS
def test_a_bound_method_is_meant_for_every_instance(backend):
    """`overrides(client.method)` and `overrides(Client.method)` are the same."""
    one, other = Client(), Client()
    bound = other.method
    for named in (one.method, Client.method):
        one.calls = other.calls = 0
        with overrides(named, attempts=1):
            for fn in (one.method, bound):
                with pytest.raises(ConnectionError):
                    run(backend, fn)
        assert (one.calls, other.calls) == (1, 1)


@BACKENDS
@pytest.mark.parametrize("name", ["of_class", "static"])
def test_class_and_static_methods_are_switched_too(backend, name):
    """They hold a guard like any other."""
    seen = []
    method = getattr(Client, name)
    with overrides(method, attempts=2), pytest.raises(ConnectionError):
        run(backend, method, seen)
    assert seen == ([Client] * 2 if name == "of_class" else [None] * 2)


@BACKENDS
def test_a_manager_gets_other_attempts(backend):
    """The retries of its targets make so many; the chain and a guarded target's own stay."""
    first, second, guarded = Service(), Service(), Service(0)
    manager = FallbackManager(
        [
            Target("first", first.guarded(), policies=retry(attempts=3, backoff=NOW)),
            Target("second", second.guarded(retry(attempts=2, backoff=NOW))),
            Target("third", guarded.guarded()),
        ]
    )
    with overrides(manager, attempts=1):
        assert run(backend, manager.run).target == "third"
    assert (first.calls, second.calls) == (1, 2)


@BACKENDS
def test_a_pipeline_gets_other_attempts(backend):
    """A pipeline that calls is overridden by itself."""
    service = Service()
    pipeline = stack(retry(attempts=3, backoff=NOW))
    with overrides(pipeline, attempts=1), pytest.raises(ConnectionError):
        run(backend, pipeline.call, service)
    assert service.calls == 1


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (overrides, ValueError, "attempts= or policies=: give one"),
        (lambda ask: overrides(ask, attempts=1, policies=stack()), ValueError, "give one of"),
        (lambda ask: overrides(ask, attempts=0), ValueError, r"overrides\(attempts=\)"),
        (lambda ask: overrides(ask, policies=7), TypeError, r"overrides\(policies=\)"),
        (lambda ask: overrides(print, attempts=1), TypeError, r"overrides\(fn\)"),
        (
            lambda ask: overrides(FallbackManager([ask]), policies=stack()),
            TypeError,
            "a manager has none of its own",
        ),
        (lambda ask: instant(attempts=0), ValueError, r"instant\(attempts\)"),
        (lambda ask: instant(attempts="2"), TypeError, r"instant\(attempts\)"),
        (policies_off(), TypeError, "a switch is no decorator"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, said):
    """A bad option is refused where it is written, and throws no switch."""
    with pytest.raises(error, match=said):
        make(Service().guarded(retry()))


# nested, and who is meant


def calls_of(fn, service, backend):
    """Count the calls of a function that always fails."""
    service.calls = 0
    with pytest.raises((ConnectionError, AllTargetsFailed)):
        run(backend, fn)
    return service.calls


@BACKENDS
def test_switches_nest(backend):
    """The one that is thrown last stands on those around it, and goes back to them."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=HOUR))
    seen = []

    def note():
        seen.append(calls_of(ask, service, backend))

    with instant():
        note()
        with policies_off():
            note()
            with policies_on(), instant(attempts=2):
                note()
            with overrides(ask, policies=retry(attempts=4, backoff=NOW)):
                note()
            with overrides(ask, attempts=4):
                note()
            note()
        with instant(attempts=1):
            note()
        note()
    assert seen == [3, 1, 2, 4, 1, 1, 1, 3]


@BACKENDS
def test_switches_end_in_any_order(backend):
    """A switch that ends while one thrown later holds takes only itself away."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=HOUR))
    off, fast = policies_off(), instant(attempts=2)
    off.__enter__()
    fast.__enter__()
    assert calls_of(ask, service, backend) == 1
    off.__exit__(None, None, None)
    assert calls_of(ask, service, backend) == 2
    fast.__exit__(None, None, None)
    assert pipeline_of(ask).policies[0].policy.attempts == 3


def test_one_switch_can_be_thrown_twice():
    """The same object nests in itself."""
    ask = Service().guarded(retry())
    switch = policies_off()
    with switch:
        with switch:
            pass
        assert pipeline_of(ask).policies == ()
    assert len(pipeline_of(ask).policies) == 1


def test_a_switch_that_is_not_thrown_cannot_be_left():
    """Leaving one twice is said, and takes no other switch away."""
    ask = Service().guarded(retry())
    switch, other = policies_off(), policies_off()
    with other:
        with switch:
            pass
        with pytest.raises(RuntimeError, match="a switch was left that is not thrown"):
            switch.__exit__(None, None, None)
        assert pipeline_of(ask).policies == ()


@BACKENDS
def test_an_error_in_the_block_ends_the_switch(backend):
    """A switch is over however its block is left."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=NOW))
    with pytest.raises(LookupError), policies_off():
        raise LookupError
    assert calls_of(ask, service, backend) == 3


@BACKENDS
def test_what_is_decorated_meanwhile_is_switched_and_comes_back(backend):
    """A function and a manager that are made in the block are as written after it."""
    service, target = Service(), Service()
    with policies_off():
        ask = service.guarded(retry(attempts=3, backoff=NOW))
        around = retry(attempts=2, backoff=NOW)(Service().guarded(timeout(5)))
        manager = FallbackManager(
            [Target("t", target.guarded(), policies=retry(attempts=3, backoff=NOW))]
        )
        seen = [calls_of(ask, service, backend), calls_of(manager.run, target, backend)]
    seen += [calls_of(ask, service, backend), calls_of(manager.run, target, backend)]
    assert seen == [1, 1, 3, 3]
    assert [policy.kind for policy in pipeline_of(around).policies] == ["retry", "timeout"]


@BACKENDS
def test_a_call_that_is_under_way_goes_on(backend):
    """A switch that is thrown in the middle of a call does not change it."""
    service = Service()
    switch = policies_off()
    guarded = service.guarded(retry(attempts=3, backoff=NOW))

    async def main():
        calls = []

        @retry(attempts=3, backoff=NOW)
        async def ask():
            calls.append(1)
            if len(calls) == 1:
                switch.__enter__()
            raise ConnectionError

        try:
            with pytest.raises(ConnectionError):
                await ask()
            with pytest.raises(ConnectionError):
                await guarded()
        finally:
            switch.__exit__(None, None, None)
        return len(calls)

    assert (run(backend, main), service.calls) == (3, 1)


def test_a_function_of_another_world_stays_as_it_was_written():
    """A breaker that this test has defined otherwise keeps no switch from being thrown."""
    with fresh_breakers():
        other = Service().guarded(
            retry(attempts=3), circuit_breaker("both", trip=consecutive(1)), timeout(8)
        )
    with fresh_breakers():
        mine = Service().guarded(
            retry(attempts=3), circuit_breaker("both", trip=consecutive(2)), timeout(8)
        )
        with instant(attempts=1):
            found = [pipeline_of(fn).policies[0].policy.attempts for fn in (mine, other)]
    assert found == [1, 3]


def test_a_switch_that_cannot_be_thrown_leaves_nothing(monkeypatch):
    """What is raised while it is thrown leaves everything as written."""
    ask = Service().guarded(retry(attempts=3))

    def refuses(self, fn):
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline_of(ask)).__mro__[1], "compile", refuses)
        with pytest.raises(LookupError):
            policies_off().__enter__()
    assert board.in_force is None
    assert len(pipeline_of(ask).policies) == 1


def test_what_a_switch_does_not_change_is_left_alone():
    """`instant()` compiles nothing anew, so what targets rest is remembered."""
    ask = Service().guarded(fallback(degrade=value(1)), retry(attempts=3))
    manager = FallbackManager([ask])
    before = (ask.__wrapped__, manager._compiled)
    with instant():
        assert (ask.__wrapped__, manager._compiled) == before


def test_a_switch_holds_for_every_thread():
    """Another thread finds the same policies in force."""
    service = Service()
    ask = service.guarded(retry(attempts=3, backoff=NOW))
    seen = []
    with policies_off():
        thread = threading.Thread(target=lambda: seen.append(calls_of(ask, service, "asyncio")))
        thread.start()
        thread.join()
    assert seen == [1]


def test_threads_that_throw_and_decorate_leave_all_as_written():
    """Switches thrown in many threads, while others decorate, end with nothing in force."""
    made = []

    def throws():
        for _ in range(30):
            with policies_off(), instant(attempts=1):
                pass

    def decorates():
        made.extend(Service().guarded(retry(attempts=3)) for _ in range(30))

    threads = [threading.Thread(target=work) for work in (throws, decorates) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(pipeline_of(ask).policies) for ask in made} == {1}


# what a guarded function is meanwhile


def test_a_switched_function_looks_as_ever():
    """Its name, signature, hash, equality and pickle are those of the function."""
    ask = retry(attempts=3)(_module_level)
    place, bound, written = {ask: 1}, Client().method, ask.__wrapped__
    before = (ask.__name__, ask.__doc__, str(inspect.signature(ask)), hash(ask), repr(ask))
    with policies_off():
        assert (ask.__name__, ask.__doc__, str(inspect.signature(ask)), hash(ask), repr(ask)) == (
            before
        )
        assert inspect.iscoroutinefunction(ask)
        assert (place[ask], ask == ask, ask != print) == (1, True, True)  # noqa: PLR0124
        assert (ask == written, ask != written) == (True, False)
        assert {bound: 1}[bound] == 1
        assert pickle.loads(pickle.dumps(Client.method)) is Client.method
        assert functools.partial(ask).func is ask


async def _module_level(question: str, *, size: int = 1) -> str:
    """Answer."""
    return question * size


def test_explain_says_what_is_in_force():
    """`explain` and `pipeline_of` show what would be called now."""
    ask = Service().guarded(retry(attempts=3), timeout(8), name="ask")
    manager = FallbackManager([Target("t", ask, attempts=3)])
    with policies_off():
        assert explain(ask).splitlines()[0] == "ask: 0 policies, outermost first"
    with overrides(ask, attempts=2):
        assert "at most 2 calls" in explain(ask)
    assert "at most 3 calls" in explain(ask)
    assert "retry: 3 attempts" in explain(manager)


def test_nothing_is_kept_alive():
    """A guarded function that nobody holds is gone, also where a switch was thrown over it."""
    gc.collect()
    before = len(board._known)
    ask = Service().guarded(retry())
    with policies_off():
        manager = FallbackManager([Service().guarded(retry())])
        assert len(board._known) == before + 3
    del ask, manager
    gc.collect()
    assert len(board._known) == before
