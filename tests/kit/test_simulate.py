"""`simulate`: whatever is guarded, or not, meets a schedule in a world of its own."""

from __future__ import annotations

import asyncio
import gc
from weakref import WeakMethod

import pytest

from resilient import (
    AllTargetsFailed,
    CircuitOpen,
    FallbackManager,
    RetryBudget,
    Target,
    circuit_breaker,
    consecutive,
    explain,
    fallback,
    manager_of,
    pipeline_of,
    retry,
    stack,
    timeout,
    value,
)
from resilient.telemetry import install
from resilient.testing import (
    Cancelled,
    Fail,
    FailureSchedule,
    FaultyBackend,
    Hang,
    InvariantBroken,
    Items,
    Log,
    Ok,
    Raised,
    Returned,
    Stuck,
    Tester,
    _engine,
    simulate,
    virtual_time,
)

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@stack(timeout(30), retry(attempts=3, backoff=[1, 2]), timeout(8))
async def ask(question: str) -> str:
    raise AssertionError("the function itself is not called")


async def small(question: str) -> str:
    raise AssertionError("the function itself is not called")


def targets(run):
    return [call.target for call in run.calls]


@both
def test_a_guarded_function_meets_its_schedule(backend):
    """The policies of a function run around scripted calls, in virtual time."""
    run = simulate(ask, "x~.1", backend=backend)
    assert (run.tries, len(run.calls), run.waits) == (3, 3, [1, 2])
    assert (run.elapsed, run.value) == (pytest.approx(12), run.calls[2].value)
    assert targets(run) == ["ask"] * 3
    assert run.leftovers == ()


@both
def test_the_run_says_what_was_run(backend):
    """A run has its schedule, its backend, what each caller got, and the worst case."""
    run = simulate(ask, "x*", backend=backend, callers=2)
    assert run.schedule == FailureSchedule(then=Fail(ConnectionError), arrivals=[0, 0])
    assert (run.backend, run.bound) == (backend, ask_bound())
    assert [type(result) for result in run.results] == [Raised, Raised]
    assert run.results[0].error is not run.results[1].error
    assert [caller.elapsed for caller in run.callers] == [3, 3]
    assert {call.caller for call in run.calls} == {0, 1}


def ask_bound():
    return stack(timeout(30), retry(attempts=3, backoff=[1, 2]), timeout(8)).bound


@both
def test_a_run_has_spans(backend):
    """The spans of a run are those of its calls, with exact instants."""
    run = simulate(ask, "x.2", backend=backend)
    assert run.spans.tree() == ["ask", "  attempt ask #1 ERROR ConnectionError", "  attempt ask #2"]


@both
def test_a_run_leaves_nothing_in_the_process(backend):
    """Runs, and what checks them, use the same providers: none leaves a hook for forks."""

    def objects():
        gc.collect()
        return sum(type(one) is WeakMethod for one in gc.get_objects())

    simulate(ask, "x.", backend=backend).check()
    before = objects()
    for _ in range(3):
        run = simulate(ask, "x.", backend=backend).check()
        assert [len(run.spans), run.metrics["resilient.call.retries"].sum] == [3, 1]
    assert objects() == before


class TestWhatIsTold:
    """Metrics and log lines, for which the schedule is run again when they are read."""

    @both
    def test_a_run_has_metrics(self, backend):
        """What was measured is that of the run alone, its circuit breakers included."""
        guarded = stack(retry(attempts=3, backoff=[1]), circuit_breaker("kit.told"))(small)
        metrics = simulate(guarded, "x.2", backend=backend).metrics
        assert metrics["resilient.call.retries"].sum == 1
        assert metrics["resilient.call.duration"].sum == 3
        states = metrics["resilient.circuit_breaker.state"].points
        assert {point.attributes["resilient.circuit_breaker.name"] for point in states} == {
            "kit.told"
        }

    @both
    def test_a_run_has_lines_of_the_log(self, backend, caplog):
        """The lines are those that production would have, and nobody else reads them."""
        run = simulate(ask, "x*", backend=backend)
        assert [f"{line.levelname} {line.getMessage()}" for line in run.logs] == [
            "WARNING ask: attempt 1 of 3 failed: ConnectionError; next try in 1 s",
            "WARNING ask: attempt 2 of 3 failed: ConnectionError; next try in 2 s",
            "ERROR ask: failed after 3 attempts in 3 s: ConnectionError (attempts are used up)",
        ]
        assert [one for one in caplog.records if one.name == "resilient"] == []

    def test_they_cost_one_more_run_and_only_when_they_are_read(self):
        """A run makes no metrics; both are read from one further run of the same schedule."""
        judged = []
        guarded = retry(on=lambda error: judged.append(error) or True, backoff=[0])(small)
        run = simulate(guarded, "x.")
        assert len(judged) == 1
        assert (len(run.metrics) > 0, len(run.logs), len(run.logs), len(judged)) == (True, 1, 1, 2)

    def test_without_the_sdk_there_are_lines(self, monkeypatch):
        """Where OpenTelemetry's SDK is missing there are no spans and no metrics."""
        monkeypatch.setattr(_engine, "_spans", lambda: None)
        run = simulate(ask, "x.")
        assert (run.spans, run.metrics, len(run.logs)) == (None, {}, 1)

    def test_a_run_that_cannot_be_made_again_has_none(self):
        """The runs of a `Tester` are compared with each other, and told to nobody."""
        (run,) = Tester(retry(backoff=[0])).run("x.", backends=["trio"], ways=["stack"])
        assert (run.metrics, run.logs) == ({}, ())


def test_every_run_is_the_same():
    """The seed of a schedule decides its jitter, so a schedule is one run."""
    policy = retry(attempts=3)
    one, same, other = (simulate(policy, FailureSchedule.parse("xx.")) for _ in range(3))
    other = simulate(policy, FailureSchedule([*one.schedule.steps], jitter_seed=1))
    assert one.waits == same.waits != other.waits


class TestEveryKindOfThing:
    def test_a_pipeline_without_a_function(self):
        """A pipeline is simulated around a function that is called `target`."""
        run = simulate(retry(attempts=2, backoff=[1]), "x.")
        assert (targets(run), run.elapsed) == (["target", "target"], 1)

    def test_a_method(self):
        """A guarded method is simulated as it is bound."""

        class Shop:
            @retry(attempts=2, backoff=[1])
            async def price(self, sku: str) -> int:
                raise AssertionError

        assert simulate(Shop().price, "x.").elapsed == 1
        assert simulate(Shop.price, "x.").elapsed == 1

    @both
    def test_an_object_whose_call_is_guarded(self, backend):
        """It is the method that is simulated, read by strategies and explained."""

        class Prices:
            @retry(attempts=3, backoff=[1])
            async def __call__(self, sku: str) -> float: ...

        prices = Prices()
        run = simulate(prices, "xxx", backend=backend).check()
        assert (run.tries, len(run.calls)) == (3, 3)
        assert isinstance(run.error, ConnectionError)
        assert simulate(prices, "x.", backend=backend).check().elapsed == 1
        assert pipeline_of(prices).bound.calls == 3
        assert "3 attempts" in explain(prices)

    def test_a_fallback_has_a_schedule_for_each_target(self):
        """`fallbacks` of a schedule answer for the further targets, in order."""
        guarded = fallback(to=[small, retry(attempts=2, backoff=[1])(small)])(ask)
        schedule = FailureSchedule(
            [],
            then=Fail(ConnectionError),
            fallbacks=[FailureSchedule.parse("x1"), FailureSchedule.parse("x.")],
        )
        run = simulate(guarded, schedule)
        assert targets(run) == ["ask"] * 3 + ["small"] * 3
        assert [call.index for call in run.calls] == [0, 0, 0, 1, 2, 2]
        assert run.elapsed == 1 + 2 + 1 + 1

    def test_a_manager(self):
        """A manager's targets are scripted under their names, with their own policies."""
        manager = FallbackManager(
            [Target("large", ask, timeout=5), Target("small", small, attempts=2)], deadline=60
        )
        run = simulate(manager, FailureSchedule([Fail(ValueError)], fallbacks=[[]]))
        assert (targets(run), run.value) == (["ask", "small"], run.calls[1].value)
        assert run.callers[0].outcome.fallback_used
        assert manager.health()["large"].failed == 0  # the manager itself knows nothing of it

    def test_a_manager_of_names(self):
        """Targets that are only names are scripted as well."""
        manager = FallbackManager([Target("a"), Target("b")])
        run = simulate(manager, FailureSchedule.parse("x"))
        assert (targets(run), run.value) == (["a", "b"], run.calls[1].value)

    def test_the_manager_of_a_function(self):
        """`manager_of` is simulated as its function, run for the outcome."""
        guarded = fallback(to=[small], degrade=value("sorry"))(ask)
        run = simulate(
            manager_of(guarded), FailureSchedule(then=Fail(ValueError), fallbacks=["x*"])
        )
        assert (targets(run), run.value) == (["ask", "small"], "sorry")
        assert run.callers[0].outcome.degraded

    @both
    def test_a_function_that_nobody_guards(self, backend):
        """A plain function gets a faulty backend in front of its arguments."""

        async def loops(call, question):
            for _ in range(3):
                try:
                    return await call(question)
                except ConnectionError:
                    continue
            return None

        run = simulate(loops, "x x1 .", args=["?"], backend=backend)
        assert (targets(run), run.elapsed, run.value) == (["backend"] * 3, 1, run.calls[2].value)
        assert (run.bound, run.events) == (None, ())

    def test_guarded_calls_inside_a_plain_function_are_heard(self):
        """What a plain function does through policies is part of its run."""

        async def loops(call):
            return await retry(attempts=2, backoff=[1])(call)()

        run = simulate(loops, "x.")
        assert (run.elapsed, run.event_names[0], run.calls[1].attempt) == (1, "CallStarted", 2)

    def test_the_real_function(self):
        """`target="real"` leaves everything in its place: what is faulty is an argument."""

        @retry(attempts=3, backoff=[1])
        async def twice(call):
            await call()
            return await call()

        schedule = FailureSchedule.parse(".x..")
        run = simulate(twice, schedule, args=[FaultyBackend(schedule)], target="real")
        assert (len(run.calls), run.tries, run.elapsed) == (4, 2, 1)

    @pytest.mark.parametrize("wrong", [7, int, "ask"])
    def test_anything_else_is_refused(self, wrong):
        """What cannot be called is a `TypeError` that says what can."""
        with pytest.raises(TypeError, match="takes an async function, guarded or not, a pipeline"):
            simulate(wrong)

    def test_a_plain_function_without_a_place_for_the_backend(self):
        """A function that takes no backend is told how it gets one."""

        async def alone() -> None: ...

        with pytest.raises(TypeError, match="alone is not guarded, so it is called with a Faulty"):
            simulate(alone)

    def test_a_plain_function_that_is_not_async(self):
        """A function whose result cannot be awaited fails its run and says so."""
        run = simulate(lambda backend: 7)
        assert "there is nothing to await" in str(run.error)


class TestArguments:
    def test_they_are_passed_on(self):
        """`args` and `kwargs` reach what decides by them."""
        seen = []

        @circuit_breaker("kit.keyed", key=lambda *args, **kwargs: str(seen.append((args, kwargs))))
        async def shard(number: int, *, fast: bool = True) -> int: ...

        simulate(shard, args=[7], kwargs={"fast": False})
        assert seen == [((7,), {"fast": False})]

    def test_those_that_must_be_there_are_made_up(self):
        """A parameter that nobody gave and that has no default gets a text."""

        @circuit_breaker("kit.by_number", key="number")
        async def shard(number: int, *, fast: bool = True) -> int: ...

        class Shop:
            @circuit_breaker("kit.by_shop", per="instance")
            async def price(self, sku: str) -> int: ...

        assert simulate(shard, ".").value
        assert simulate(Shop.price, ".").value
        assert simulate(circuit_breaker("kit.pipeline", key="shard"), ".").value


class TestAWorldOfItsOwn:
    def test_breakers_are_closed(self):
        """What one run breaks is whole in the next, and in the process."""
        prices = circuit_breaker("kit.prices", trip=consecutive(2))
        guarded = prices(small)
        for _ in range(2):
            run = simulate(guarded, "x*", callers=3)
            assert [type(result.error) for result in run.results] == [
                ConnectionError,
                ConnectionError,
                CircuitOpen,
            ]
            assert [one.verdict for one in run.admissions] == ["failure", "failure"]
        assert prices.snapshot().state == "closed"

    def test_budgets_are_full(self):
        """A budget that one run has emptied is full in the next."""
        guarded = retry(
            attempts=9, backoff=[0], budget=RetryBudget("kit.simulated", ratio=0, reserve=2)
        )
        for _ in range(2):
            run = simulate(guarded, "x*")
            assert [move.granted for move in run.details.budgets] == [True, True, True, False]
            assert len(run.calls) == 3

    def test_a_chain_remembers_nothing(self):
        """What rests after one run is asked in the next."""
        manager = FallbackManager([Target("a", small), Target("b", small)])
        for _ in range(2):
            run = simulate(manager, FailureSchedule([Fail(ConnectionError, hint=60)]))
            assert targets(run) == ["a", "b"]

    def test_nobody_else_hears_of_it(self, caplog):
        """The listeners and the log of the process are told nothing of a simulated run."""
        log = Log()
        install(listeners=[log])
        try:
            run = simulate(ask, "x.")
        finally:
            install()
        assert (len(log.events), caplog.records) == (0, [])
        assert run.event_names[0] == "CallStarted"

    def test_listeners_of_the_pipeline_hear_it(self):
        """A listener that belongs to the pipeline is told, as in every call."""
        log = Log()
        simulate(stack(retry(), listeners=[log])(small), ".")
        assert len(log.events) == 4


class TestCallers:
    @both
    def test_they_start_at_their_instants(self, backend):
        """Each arrival is a caller, and steps go to whoever calls next."""
        schedule = FailureSchedule([Ok(after=5), Fail(ValueError)], arrivals=[0, 2])
        run = simulate(small_once(), schedule, backend=backend)
        assert [call.started for call in run.calls] == [0, 2]
        assert [type(result) for result in run.results] == [Returned, Raised]
        assert [(one.started, one.elapsed) for one in run.callers] == [(0, 5), (2, 0)]

    @pytest.mark.parametrize("callers", [0, -1, 1.5])
    def test_there_is_at_least_one(self, callers):
        """`callers` is a whole number of at least 1."""
        with pytest.raises(ValueError, match=r"simulate\(callers=\) must be a whole number"):
            simulate(ask, callers=callers)


def small_once():
    return stack(name="once")(small)


class TestCancellation:
    @both
    @pytest.mark.parametrize("cancel", ["scope", "task"])
    def test_the_first_caller_is_cancelled(self, backend, cancel):
        """`cancel_at` cancels the first caller, and trio knows of scopes only."""
        run = simulate(ask, "~", cancel_at=3, cancel=cancel, callers=2, backend=backend)
        assert (run.result, run.cancelled_at) == (Cancelled(), 3)
        assert (run.results[1], run.callers[1].cancelled_at) == (Returned(run.calls[1].value), None)
        assert (run.callers[0].ended, run.leftovers) == (3, ())
        assert run.schedule.cancel == cancel

    def test_the_schedule_s_own_is_kept(self):
        """What is not overridden is what the schedule says."""
        schedule = FailureSchedule([Hang()], cancel_at=2)
        assert simulate(ask, schedule).cancelled_at == 2
        assert simulate(ask, schedule, cancel_at=None).cancelled_at is None


class TestStuck:
    @both
    def test_a_run_that_waits_for_ever_fails(self, backend):
        """A run without an end is an `AssertionError`, on both backends."""
        with pytest.raises(Stuck, match="still waiting after 1000 virtual seconds"):
            simulate(retry(), "~", horizon=1000, backend=backend)

    def test_it_says_what_was_run(self):
        """Which schedule it was, and who waits, is part of the message."""
        with pytest.raises(Stuck) as caught:
            simulate(retry(attempts=2, backoff=[1]), "x~", backend="trio")
        assert "FailureSchedule([Fail(ConnectionError), Hang()]) on trio" in str(caught.value)
        assert "call 2 of target: 1 s .. still running" in str(caught.value)

    def test_a_running_loop_is_told_the_way_out(self):
        """Inside of a running loop there is no run, and the error says what to do."""

        async def inside():
            simulate(ask)

        with pytest.raises(RuntimeError, match="starts a loop of its own"):
            asyncio.run(inside())


class TestFaultyBackend:
    def test_elsewhere_it_goes_on_from_call_to_call(self):
        """Outside of a simulated run a backend keeps its place in its schedule."""
        backend = FaultyBackend([Fail(OSError), Ok(7), Hang()], name="prices")
        with pytest.raises(OSError, match="scheduled in call 1"):
            virtual_time(backend)
        assert virtual_time(backend) == 7
        assert [call.number for call in backend.calls] == [1, 2]
        assert (backend.__name__, repr(backend)) == (
            "prices",
            "FaultyBackend('FailureSchedule([Fail(OSError), Ok(value=7), Hang()])')",
        )

    def test_each_run_begins_with_the_first_step(self):
        """In simulated runs a backend always begins anew, and its calls are part of the run."""
        backend = FaultyBackend("x.")
        other = FaultyBackend("x.")
        manager = FallbackManager([Target("a", backend), Target("b", other)])
        for _ in range(2):
            run = simulate(manager, target="real")
            assert [call.function for call in run.calls] == [backend, other]
            assert isinstance(run.error, AllTargetsFailed)
            assert len(backend.calls) == 1


class Odd(Exception):
    """An error that wants more than a text."""

    def __init__(self, first, second):
        """Take two."""
        super().__init__(first, second)


class Coded(Exception):
    """An error that wants something else than a text."""

    def __init__(self, response):
        """Look into it."""
        super().__init__(response.status)


def raising():
    raise KeyError("key")


MISTAKEN = [
    (Odd, r"Odd cannot be made without arguments or of a text alone \(TypeError: .*lambda: Odd\("),
    (Coded, r"Coded cannot be made .* \(AttributeError: .*lambda: Coded\("),
    (lambda: 7, "<lambda> returned 7"),
    (lambda: ConnectionError, "<lambda> returned a type"),
    (lambda wanted: wanted, "<lambda> raised TypeError: .*'wanted'"),
    (raising, "raising raised KeyError: 'key'"),
]


async def swallowing(backend):
    """Take whatever comes for an answer."""
    try:
        return await backend()
    except Exception:
        return None


async def reading(backend):
    """Read a stream."""
    return [item async for item in backend.stream()]


@both
@pytest.mark.parametrize(("error", "said"), MISTAKEN)
@pytest.mark.parametrize("what", [ask, swallowing, reading])
def test_an_error_that_cannot_be_made_is_no_error_of_the_target(what, error, said, backend):
    """A `Fail` that nothing can be made of is a `TypeError` of `simulate` that names it."""
    with pytest.raises(TypeError, match=rf"Fail\(error\) takes .*{said}"):
        simulate(what, [Fail(error)], backend=backend)


@both
def test_an_error_that_cannot_be_made_is_told_also_of_a_run_that_hangs(backend):
    """The mistake comes before what it has led to."""

    async def waits(backend):
        await swallowing(backend)
        await backend()

    with pytest.raises(TypeError, match=r"Fail\(error\) takes"):
        simulate(waits, [Fail(Odd), Hang()], backend=backend)


@both
def test_a_value_that_cannot_be_compared_is_told(backend):
    """A broken invariant is told, also where an answer's `==` gives no answer."""

    class Arr:
        __eq__ = __ne__ = lambda self, _: self
        __hash__ = object.__hash__

        def __bool__(self):
            raise ValueError("ambiguous")

    async def lost(backend):
        await backend(1)
        try:
            await backend(2)
        except ConnectionError:
            return 1

    run = simulate(lost, [Ok(Arr()), Fail(ConnectionError)], backend=backend)
    assert (run.tries, len(run.calls)) == (0, 2)
    with pytest.raises(InvariantBroken, match="it returned a value"):
        run.check()
    given = simulate(stack(retry(backoff=[1]))(small), [Ok(Arr())], backend=backend).check()
    assert (given.tries, len(given.calls), given.origin) == (1, 1, 1)
    Tester(retry()).run([Ok(given.value)], backends=[backend]).asserts(
        tries=1, calls=1, value=given.value
    )


@both
def test_the_items_of_a_stream_need_no_comparison(backend):
    """Which call the items of a stream came from is told without asking the items."""

    class Arr:
        __eq__ = __ne__ = lambda self, _: self
        __hash__ = object.__hash__

        def __bool__(self):
            raise ValueError("ambiguous")

    async def words(backend):
        async for item in backend.stream():
            yield item
        async for _ in backend.stream():
            pass

    run = simulate(words, [Items([Arr()]), Items([Arr()])], backend=backend).check()
    assert (run.tries, len(run.calls), run.origin) == (0, 2, 1)
