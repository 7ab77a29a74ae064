"""Every public name, used as a user would. Type checkers read this file; nobody runs it."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any, assert_type

import httpx
from hypothesis import given
from hypothesis.strategies import SearchStrategy

from resilient import (
    AllTargetsFailed,
    Attempt,
    CircuitBreaker,
    CircuitIsolated,
    CircuitOpen,
    FallbackManager,
    Fault,
    Outcome,
    Pipeline,
    Rejected,
    ResilientError,
    Restarted,
    RetryBudget,
    Skipped,
    Target,
    TimedOut,
    Unacceptable,
    any_of,
    breakers,
    circuit_breaker,
    consecutive,
    constant,
    count_window,
    current_call,
    explain,
    exponential,
    fallback,
    fibonacci,
    last_good,
    linear,
    manager_of,
    middleware,
    not_a_bug,
    pipeline_of,
    remaining,
    retry,
    stack,
    standard,
    time_window,
    timeout,
    transient,
    unsent,
    value,
)
from resilient.events import Event, RetryScheduled
from resilient.note import CircuitBreaker as NoteBreaker
from resilient.note import ModelConfig, call_with_fallback
from resilient.telemetry import Signal, Signals, count, install, uninstall
from resilient.testing import (
    INVARIANTS,
    RERUNS,
    Bad,
    CallerRun,
    Cancelled,
    CapturedMetric,
    CapturedSpans,
    Cut,
    Fail,
    FailureSchedule,
    FaultyBackend,
    Finding,
    Hang,
    HttpReply,
    Interrupted,
    InvariantBroken,
    Log,
    MetricPoint,
    Ok,
    Raised,
    Returned,
    Run,
    Tester,
    arrivals,
    cancel_at_every_await,
    cancellations,
    capture_spans,
    check_backend,
    check_middleware,
    instant,
    invariant,
    leftovers,
    overrides,
    policies_off,
    policies_on,
    schedules,
    schedules_for,
    simulate,
    spread_at_cap,
    virtual_time,
)
from resilient.testing import Items as Given
from resilient.testing.conformance import Case, MalformedError, check, load
from resilient.typing import (
    BreakerHandle,
    BreakerPermit,
    BreakerSnapshot,
    Call,
    Items,
    Listener,
    Proceed,
    Seconds,
    Trip,
)
from resilient_openrouter import (
    AllModelsFailed,
    Chunk,
    Clocks,
    ModelCall,
    OpenAICompatible,
    OpenRouter,
    OpenRouterError,
    OpenRouterOutcome,
    Reply,
    Usage,
    clocks,
    collect,
    reply,
)


class Busy(Exception):
    """An error of the user's own."""


def classify(error: Exception) -> Fault | None:
    return Fault(retryable=True, retry_after=2.0) if isinstance(error, Busy) else None


class Heard:
    def on_event(self, event: Event, call: object, /) -> None:
        if isinstance(event, RetryScheduled):
            assert_type(event.wait, float)


# functions


@retry
async def bare(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


@retry(
    attempts=4,
    on=(transient, unsent, Busy, lambda error: 2.5),
    on_result=lambda answer: answer is None,
    backoff=exponential(base=0.2, cap=5, jitter="equal"),
    max_elapsed=30,
    max_hint=10,
    budget=RetryBudget("typing", ratio=0.1),
    classify=classify,
    layered="warn",
)
@timeout(8)
async def called(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


async def replica(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


async def other_signature(number: int) -> bytes:
    return bytes(number)


@fallback(to=[replica], degrade=value(b""), on=not_a_bug, switch_after=1)
@timeout(30)
@retry(attempts=3, backoff=[1, 2])
async def stacked(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


@fallback(degrade=last_good(max_age=60, key=str, max_entries=9))
async def remembered(url: str) -> bytes:
    return url.encode()


@fallback(degrade=value(factory=bytes))
async def degraded(url: str) -> bytes:
    return url.encode()


llm = stack(timeout(30), retry(backoff=linear(base=1)), timeout(8), name="llm", listeners=[Heard()])


@llm
async def through_a_stack(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


@standard("prices", attempts=4, to=[replica])
async def through_the_standard(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


@retry(backoff=lambda number: number / 2)
def annotated(url: str) -> Coroutine[Any, Any, bytes]:
    return bare(url)


async def functions() -> None:
    assert_type(await bare("u", size=2), bytes)
    assert_type(await called("u", size=2), bytes)
    assert_type(await stacked("u", size=2), bytes)
    assert_type(await degraded("u"), bytes)
    assert_type(await remembered("u"), bytes)
    assert_type(await through_a_stack("u", size=2), bytes)
    assert_type(await annotated("u"), bytes)
    assert_type(tag, Pipeline)
    assert_type(await through_middleware("u", size=2), bytes)
    await through_the_standard("u")
    assert_type(await llm.call(replica, "u", size=2), bytes)
    outcome = await llm.run(replica, "u", size=2)
    assert_type(outcome, Outcome[bytes])
    assert_type(outcome.value, bytes)
    assert_type(outcome.attempts, tuple[Attempt, ...])
    await bare(1)  # E: mypy[arg-type] pyright[reportArgumentType]


@retry  # E: mypy[type-var] pyright[reportArgumentType] pyright[reportUntypedFunctionDecorator]
def plain(url: str) -> bytes:
    return url.encode()


@fallback(to=[other_signature])  # E: mypy[arg-type] pyright[reportArgumentType]
async def with_another_signature(url: str) -> bytes:
    return url.encode()


# policies of the user's own


@middleware
async def tag(call: Call, proceed: Proceed) -> Any:
    assert_type(call.attempt, int)
    return await proceed()


@middleware(calls=2)
async def twice(call: Call, proceed: Proceed) -> Any:
    await proceed()
    return await proceed()


@middleware(expose_args=True)
async def audited(call: Call, proceed: Proceed, url: str, *, size: int = 1) -> Any:
    return await proceed()


@tag
@stack(timeout(30), twice, audited, retry())
async def through_middleware(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


@middleware  # E: mypy[arg-type] pyright[reportArgumentType]
def not_async(call: Call, proceed: Proceed) -> bytes:
    return b""


# methods and other callables


async def only_a_url(url: str) -> bytes:
    return url.encode()


class Asker:
    async def __call__(self, url: str) -> bytes:
        return url.encode()


asker = retry(attempts=2)(Asker())
part = retry(functools.partial(bare, size=2))


class Client:
    @retry
    async def method(self, url: str) -> bytes:
        return url.encode()

    @retry(attempts=2)
    @timeout(8)
    async def called(self, url: str) -> bytes:
        return url.encode()

    @staticmethod
    @retry
    async def static(url: str) -> bytes:
        return url.encode()

    @classmethod
    @retry(attempts=2)
    async def of_the_class(cls, url: str) -> bytes:
        return url.encode()

    @llm
    async def through_a_stack(self, url: str) -> bytes:
        return url.encode()

    @retry
    @staticmethod
    async def above_static(url: str) -> bytes:
        return url.encode()

    @retry(attempts=2)
    @classmethod
    async def above_class(cls, url: str) -> bytes:
        return url.encode()

    async def other(self, url: str) -> bytes:
        return url.encode()

    @fallback(to=[other])
    @timeout(8)
    async def falls_back(self, url: str) -> bytes:
        return url.encode()

    @staticmethod
    @fallback(to=[only_a_url])
    async def static_falls_back(url: str) -> bytes:
        return url.encode()

    @fallback(degrade=value(b""))
    @classmethod
    async def degrades(cls, url: str) -> bytes:
        return url.encode()


async def methods(client: Client) -> None:
    assert_type(await client.method("u"), bytes)
    assert_type(await client.called("u"), bytes)
    assert_type(await client.static("u"), bytes)
    assert_type(await Client.static("u"), bytes)
    assert_type(await client.of_the_class("u"), bytes)
    assert_type(await client.through_a_stack("u"), bytes)
    assert_type(await client.above_static("u"), bytes)
    assert_type(await Client.above_class("u"), bytes)
    assert_type(await client.falls_back("u"), bytes)
    assert_type(await client.static_falls_back("u"), bytes)
    assert_type(await Client.degrades("u"), bytes)
    assert_type(await asker("u"), bytes)
    assert_type(await part("u"), bytes)
    bound: Callable[[str], Coroutine[Any, Any, bytes]] = client.method
    assert_type(await bound("u"), bytes)


# a block


async def block() -> bytes | None:
    async for attempt in retry(attempts=3, on=Busy):
        with attempt:
            assert_type(attempt.number, int)
            return await bare("u")
    return None


# managers


async def managers() -> None:
    manager = FallbackManager(
        [
            Target("first", bare, timeout=8, attempts=2, scopes={"host": "a"}, classify=classify),
            Target("second", replica, policies=stack(retry(), timeout(8)), enabled=lambda: True),
        ],
        deadline=60,
        reserve=5,
        routes={Busy: ["second"]},
        degrade=value(b""),
        raises="last",
        listeners=[Heard()],
    )
    assert_type(manager, FallbackManager[bytes])
    outcome = await manager.run("u")
    assert_type(outcome.value, bytes)
    assert_type(outcome.target, str | None)
    assert_type(outcome.age, float | None)
    for name, health in manager.health().items():
        assert_type(name, str)
        assert_type(health.failed, int)
    assert_type(explain(manager), str)

    breaker = NoteBreaker(failure_threshold=5, timeout=60)
    if breaker.can_call():
        breaker.record_success()
        breaker.record_failure(Busy())
    assert_type(breaker.is_open, bool)
    assert_type(breaker.failure_count, int)

    models = [ModelConfig("a", timeout=30, retry_count=2, priority=1)]

    async def ask(model: str, data: Any) -> str:
        return model

    assert_type(await call_with_fallback(models, ask, "data"), dict[str, Any])
    named = FallbackManager(models)
    assert_type(await named.run_with(ask, "data"), Outcome[str])
    assert_type(await named.call_with_fallback(ask, "data"), dict[str, Any])
    assert_type((await FallbackManager([bare, replica]).run("u")).value, bytes)
    mixed = FallbackManager[bytes]([Target("first", bare), replica])
    assert_type((await mixed.run("u")).value, bytes)
    behind = await manager_of(stacked).run("u")
    assert_type(behind.fallback_used, bool)


# streams


@retry
async def words(prompt: str, *, size: int = 1) -> AsyncGenerator[str, None]:
    yield prompt * size


@retry(attempts=2)
@circuit_breaker("words")
@timeout(30, first_item=5, between_items=2)
async def numbers(prompt: str, *, size: int = 1) -> AsyncIterator[int]:
    yield len(prompt) * size


@timeout(between_items=timedelta(seconds=2))
async def spoken(prompt: str, *, size: int = 1) -> AsyncIterator[str]:
    yield prompt


@stack(timeout(first_item=5), retry())
def opened(prompt: str) -> AsyncIterator[str]:
    return spoken(prompt)


@fallback(to=[spoken])
@timeout(30)
async def streamed(prompt: str, *, size: int = 1) -> AsyncIterator[str]:
    yield prompt


@fallback(to=[numbers], midstream="restart", degrade=value(0))
async def restarted(prompt: str, *, size: int = 1) -> AsyncIterator[str]:
    yield prompt


@fallback(degrade=value("sorry"))
async def sorry(prompt: str) -> AsyncGenerator[str, None]:
    yield prompt


async def other_words(number: int) -> AsyncIterator[str]:
    yield str(number)


@fallback(to=[other_words])  # E: mypy[arg-type] pyright[reportArgumentType]
async def with_another_prompt(prompt: str) -> AsyncIterator[str]:
    yield prompt


@fallback(to=[replica])  # E: mypy[arg-type] pyright[reportArgumentType]
async def mixed(url: str, *, size: int = 1) -> AsyncIterator[bytes]:
    yield url.encode()


class Speaker:
    @retry
    async def method(self, prompt: str) -> AsyncGenerator[str, None]:
        yield prompt

    @classmethod
    @timeout(30, first_item=5)
    async def of_the_class(cls, prompt: str) -> AsyncIterator[str]:
        yield prompt

    @retry
    @classmethod
    async def above_class(cls, prompt: str) -> AsyncIterator[str]:
        yield prompt

    @staticmethod
    @retry
    async def static(prompt: str) -> AsyncIterator[str]:
        yield prompt


@asynccontextmanager
@retry(attempts=2)
async def session(name: str) -> AsyncGenerator[bytes, None]:
    yield name.encode()


async def streams(speaker: Speaker) -> None:
    assert_type(words("hi", size=2), AsyncGenerator[str, None])
    assert_type([item async for item in numbers("hi", size=2)], list[int])
    assert_type([item async for item in opened("hi")], list[str])
    assert_type([item async for item in streamed("hi", size=2)], list[str])
    async for item in restarted("hi"):
        if isinstance(item, Restarted):
            assert_type(item.from_target, str)
            assert_type(item.to_target, str | None)
            assert_type(item.items, int)
        else:
            assert_type(item, str | int)
    assert_type([item async for item in sorry("hi")], list[str])
    assert_type([item async for item in speaker.method("hi")], list[str])
    assert_type([item async for item in Speaker.of_the_class("hi")], list[str])
    assert_type([item async for item in Speaker.above_class("hi")], list[str])
    assert_type([item async for item in Speaker.static("hi")], list[str])
    async with session("name") as found:
        assert_type(found, bytes)
    async with aclosing(words("hi")) as stream:
        assert_type(await anext(stream), str)
    words(1)  # E: mypy[arg-type] pyright[reportArgumentType]

    manager = FallbackManager([Target("a", words, timeout=8), Target("b", spoken)], deadline=60)
    assert_type(manager, FallbackManager[str])
    async with manager.stream("hi") as items:
        assert_type(items, Items[str])
        assert_type([item async for item in items], list[str])
    assert_type(items.outcome, Outcome[None])
    restarts = FallbackManager([words, spoken], midstream="restart")
    async with restarts.stream("hi") as marked:
        assert_type([item async for item in marked], list[str | Restarted])


# what is around a call


async def around() -> None:
    call = current_call()
    if call is not None:
        assert_type(call.attempt, int)
        assert_type(call.id, str)
    assert_type(remaining(), float)
    assert_type(pipeline_of(stacked), Pipeline)
    assert_type(pipeline_of(stacked).bound.calls, float)
    listener: Listener = Heard()
    install(listeners=[listener])
    uninstall()
    wait: Seconds = 3
    constant(wait)
    fibonacci(cap=9)


async def errors() -> None:
    try:
        await stacked("u")
    except* TimedOut as group:
        for error in group.exceptions:
            print(error)
    try:
        await stacked("u")
    except AllTargetsFailed as failed:
        assert_type(failed.attempts, tuple[Attempt, ...])
        assert_type(failed.retry_after, float | None)
    except Skipped as skipped:
        assert_type(skipped.reason, str)
    except Rejected as rejected:
        assert_type(rejected.policy, str)
    except TimedOut as late:
        assert_type(late.after, float)
    except Unacceptable as bad:
        print(bad.result)
    except ResilientError:
        raise


def without_waiting() -> None:
    assert_type(virtual_time(functions), None)


def page(signal: Signal) -> None:
    print(signal.name, signal.where, signal.count, signal.of, signal.share)


def paged() -> None:
    signals: Listener = Signals(page, window=60, least=3, throttled=0.1, slow_first_item=8)
    install(listeners=[signals], metrics=False)


def captured() -> tuple[list[str], float]:
    with capture_spans() as spans:
        virtual_time(functions)
    assert_type(spans, CapturedSpans)
    metric: CapturedMetric | None = spans.metrics.get("resilient.call.duration")
    points: tuple[MetricPoint, ...] = () if metric is None else metric.points
    lines = [record.getMessage() for record in spans.logs]
    return [*spans.tree(), spans.page(), spans.to_json(), *lines], sum(one.sum for one in points)


# circuit breakers


@circuit_breaker
async def bare_breaker(url: str, *, size: int = 1) -> bytes:
    return url.encode() * size


slow_or_down: Trip = any_of(
    consecutive(5),
    count_window(100, failure_rate=0.3, min_calls=20),
    time_window(60, slow_call=5, slow_rate=0.5),
)
shards = circuit_breaker(
    "shards",
    trip=slow_or_down,
    on=(transient, Busy),
    on_result=lambda answer: answer is None,
    classify=classify,
    open_for=exponential(base=30, cap=600),
    probes=3,
    successes=2,
    probe_timeout=5,
    mode="observe",
    key="shard",
)
assert_type(shards, CircuitBreaker)


@shards
async def sharded(shard: str, number: int) -> float:
    return number / 2


class Shop:
    @circuit_breaker(per="instance")
    async def fetch(self, url: str) -> bytes:
        return url.encode()


async def broken(shop: Shop) -> None:
    assert_type(await bare_breaker("x", size=2), bytes)
    assert_type(await sharded("eu", 1), float)
    assert_type(await shop.fetch("x"), bytes)
    await sharded("eu", "1")  # E: mypy[arg-type] pyright[reportArgumentType]
    handle = shards.for_key("eu")
    assert_type(handle, BreakerHandle)
    assert_type(handle.snapshot(), BreakerSnapshot)
    assert_type(breakers()["shards"].failure_rate, float | None)
    with handle.acquire() as permit, handle.isolate():
        assert_type(permit, BreakerPermit)
        permit.fail(ValueError())
    try:
        await stack(timeout(30), retry(), circuit_breaker("shards"), timeout(8))(bare)("x")
    except CircuitIsolated:
        raise
    except CircuitOpen as error:
        assert_type(error.breaker, str)
        assert_type(error.retry_after, float | None)
        print(error.opened_by and error.opened_by.error)


standard("prices", breaker=circuit_breaker("prices", open_for=10))


# conformance cases


def conforms(path: str) -> None:
    try:
        cases = load(path)
    except MalformedError as error:
        print(error)
    else:
        assert_type(cases, tuple[Case, ...])
        assert_type(check(cases[0], "trio"), list[str])
        check(cases[0], "curio")  # E: mypy[arg-type] pyright[reportArgumentType]


# switches


async def switched() -> None:
    with policies_off(), policies_on(), instant(), instant(attempts=2):
        await bare("x")
    with overrides(bare, attempts=1), overrides(bare, policies=stack(timeout(3))):
        await bare("x")
    overrides(bare, attempts="1")  # E: mypy[arg-type] pyright[reportArgumentType]


# a backend of one's own


def checked() -> None:
    def build(service: Callable[..., Coroutine[Any, Any, Any]]) -> Target[bytes]:
        async def ask(url: str) -> bytes:
            return bytes(await service(url))

        return Target("ask", ask)

    check_backend(build, answer=b"", failures=[Fail(ConnectionError), Bad(b"no")], args=["x"])
    check_backend(bare, failures=7)  # E: mypy[arg-type] pyright[reportArgumentType]
    check_middleware(stack(tag), answers=True, raises=(Busy, OSError), skip=["nothing_kept"])
    check_middleware(lambda: tag, answer=b"", failures=[Fail(Busy)], args=["u"], kwargs={"size": 1})
    check_middleware(bare)  # E: mypy[arg-type] pyright[reportArgumentType]


def test_over_a_scheduled_network() -> object:
    busy = HttpReply(429, headers={"Retry-After": "7"}, json={"error": None})
    page = HttpReply(content=["<html>", b"</html>"], gap=1, headers=[("Server", "x")])
    schedule = FailureSchedule(
        [Ok(busy), Bad(page, after=1), Fail(ConnectionError, hint=3), Hang(), Given(2, then=Cut())],
        fallbacks=["x."],
        take=2,
        pause=0.5,
    )
    HttpReply(content=7)  # E: mypy[arg-type] pyright[reportArgumentType]
    transport = schedule.transport(name="shop", answer={"a": 1}, item=[1], end=b"")
    run = simulate(bare, schedule, args=(httpx.AsyncClient(transport=transport),), target="real")
    assert_type(run, Run)
    return [call.error for call in transport.calls]


def test_streams_of_a_schedule(log: Log) -> object:
    steps = [Given(3, gap=1, then=Cut()), Given(["a", "b"], then=Fail(OSError), after=1)]
    Given(1, then=Bad(1))  # E: mypy[arg-type] pyright[reportArgumentType]
    run = simulate(bare, steps, take=1, pause=2.0)
    assert_type(run.items, tuple[Any, ...] | None)
    Target("b", FaultyBackend("::/").stream)
    return log.scripted("::.", stream=True), log.scripted("x.")


def quick(run: Run) -> None:
    assert run.elapsed < 10


@invariant
def never_twice(run: Run) -> None:
    assert len(run.calls) < 2


def test_a_property() -> None:
    strategy = schedules_for(bare, cancellation=False, callers=2, good=[1], bad=[None])
    assert_type(strategy, SearchStrategy[FailureSchedule])
    assert_type(schedules([OSError], max_steps=2, hangs=False), SearchStrategy[FailureSchedule])
    assert_type(arrivals(2, gaps=[0, 1]), SearchStrategy[tuple[float, ...]])
    cancellations(until=5)
    schedules(max_steps="2")  # E: mypy[arg-type] pyright[reportArgumentType]

    @given(strategy)
    def keeps_the_rules(schedule: FailureSchedule) -> None:
        try:
            run = simulate(bare, schedule, backend="trio", callers=2).check(quick, skip=RERUNS)
        except InvariantBroken as broken:
            assert_type(broken.findings, tuple[Finding, ...])
        else:
            assert_type(run, Run)
            assert_type(run.callers, tuple[CallerRun, ...])
            print(run.metrics["resilient.call.retries"].sum, run.logs[0].getMessage())
            print(run.waterfall(20), run.waterfall_svg(), run.bound, INVARIANTS)

    keeps_the_rules()
    simulate(bare, backend="curio")  # E: mypy[arg-type] pyright[reportArgumentType]
    spread_at_cap(retry(attempts=12), seeds=range(4))


def test_a_script() -> None:
    def to_another(other: Callable[..., Coroutine[Any, Any, Any]]) -> Pipeline:
        return fallback(to=[other])

    Tester(retry(attempts=2), to_another).run("x*", ".1").asserts(
        tries=3, calls=3, from_call=3, waits=[1.0]
    )

    def make(log: Log) -> Callable[[], Coroutine[Any, Any, Any]]:
        return retry(attempts=2)(log.scripted("x1 .1"))

    for found in cancel_at_every_await(make, backend="asyncio", delivery=KeyboardInterrupt):
        assert_type(found.check(), Interrupted)
        match found.after:
            case Returned(value):
                print(value)
            case Raised(error):
                print(error)
            case Cancelled():
                print(leftovers())


# models


def dollars(answer: Reply) -> float | None:
    tokens = answer.usage.total_tokens if answer.usage else None
    return None if tokens is None else tokens * 1e-6


async def local(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"]


async def chains() -> None:
    question = [{"role": "user", "content": "Why is the sky blue?"}]
    async with (
        OpenRouter(app=("My app", "https://example.org"), replay_cache=True) as openrouter,
        OpenAICompatible("https://x/v1", "A_KEY", "mine", cost=dollars, transport="stream") as mine,
    ):
        assert_type(mine, OpenAICompatible)
        target = mine.target("small", {"seed": 7}, timeout=Clocks(total=9), attempts=1)
        assert_type(target, Target[Reply])
        chat = openrouter.manager(
            "large",
            target,
            local,
            timeout={"large*": clocks.reasoning, "*": 20},
            degrade=reply("Later."),
            max_cost=0.05,
            temperature=0,
        )
        outcome = await chat.run(question)
        assert_type(outcome, OpenRouterOutcome[Reply])
        assert_type(outcome.value.content, str)
        assert_type(outcome.usage, Usage | None)
        assert_type(await openrouter.reconcile(outcome.calls), tuple[ModelCall, ...])
        async with chat.stream(question) as items:
            async for chunk in items:
                assert_type(chunk, Chunk)
        async with mine.manager("small", midstream="restart").stream(question) as anew:
            async for item in anew:
                assert_type(item, Chunk | Restarted)
        async with aclosing(mine.stream("small", question, clocks=30)) as stream:
            assert_type(await collect(stream), Reply)
        assert_type(await mine.chat("small", question, max_tokens=5), Reply)
    OpenAICompatible(1)  # E: mypy[arg-type] pyright[reportArgumentType]
    OpenRouter(transport="pigeon")  # E: mypy[arg-type] pyright[reportArgumentType]
    mine.target("small", attempts="2")  # E: mypy[arg-type] pyright[reportArgumentType]
    count("resilient.openrouter.cost", 0.1, {"resilient.target.name": "large"})


def told(error: OpenRouterError) -> None:
    assert_type(error.status_code, int | None)
    assert_type(error.retry_after, float | None)
    if isinstance(error, AllModelsFailed):
        assert_type(error.calls, tuple[ModelCall, ...])
