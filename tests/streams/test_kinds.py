"""Which callables are streams, what they look like guarded, and what is refused."""

from __future__ import annotations

import functools
import inspect
import pickle
import types
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
)
from contextlib import asynccontextmanager

import pytest

from resilient import (
    FallbackManager,
    Target,
    circuit_breaker,
    current_call,
    explain,
    fallback,
    middleware,
    pipeline_of,
    retry,
    stack,
    standard,
    timeout,
    value,
)
from resilient._guard import Guard

POLICIES = {
    "retry": retry(backoff=[0]),
    "circuit_breaker": circuit_breaker("numbers"),
    "timeout": timeout(9, first_item=3, between_items=3),
    "fallback": fallback(degrade=value("degraded")),
    "stack": stack(timeout(30), retry(backoff=[0]), timeout(3), name="numbers"),
    "empty stack": stack(),
    "standard": standard("numbers"),
}


async def numbers(start, stop=3):
    """Count."""
    for number in range(start, stop):
        assert current_call() is not None
        yield number


class Counter:
    """Every way in which a class can have a stream."""

    def __init__(self, start=1) -> None:
        self.start = start

    async def __call__(self, stop=3):
        for number in range(self.start, stop):
            yield number

    async def method(self, stop=3):
        async for number in numbers(self.start, stop):
            yield number

    @classmethod
    async def of_the_class(cls, stop=3):
        async for number in numbers(cls().start, stop):
            yield number

    @staticmethod
    async def static(stop=3):
        async for number in numbers(1, stop):
            yield number


class Plain:
    """An async iterator that is no generator."""

    def __init__(self) -> None:
        self.left = iter([1, 2])

    def __aiter__(self):
        return self

    async def __anext__(self):
        for number in self.left:
            return number
        raise StopAsyncIteration


class Iterable:
    """Has `__aiter__` alone."""

    def __aiter__(self):
        return numbers(1)


def promises(annotation, make=lambda: numbers(1)):
    """Return a plain function that says that it returns a stream."""

    def opened():
        return make()

    opened.__annotations__["return"] = annotation
    return opened


STREAMS = {
    "function": functools.partial(numbers, 1),
    "method": Counter().method,
    "class method": Counter.of_the_class,
    "static method": Counter.static,
    "object": Counter(),
    "partial of an object": functools.partial(Counter(), stop=3),
    "-> AsyncIterator": promises(AsyncIterator[int]),
    "-> AsyncGenerator": promises(AsyncGenerator[int, None]),
    "-> AsyncIterable": promises(AsyncIterable[int], Iterable),
    "-> a class of iterators": promises(Plain, Plain),
    "-> a text": promises("AsyncIterator[int]"),
    "-> a text of unknown names": promises("somewhere.AsyncGenerator[Unknown]"),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_is_guarded_whatever_kind_of_callable_gives_it(run, kind, policy, heard):
    """Its items come, in order, from an attempt of a call."""
    guarded = stack(POLICIES[policy], listeners=[heard])(STREAMS[kind])

    async def main():
        return [item async for item in guarded()]

    assert run(main) == [1, 2]
    assert heard.names.count("AttemptStarted") == heard.names.count("StreamCommitted") == 1
    assert inspect.isasyncgenfunction(guarded)


@pytest.mark.parametrize("policy", POLICIES)
def test_methods_of_every_kind(run, policy):
    """In a class, above or below `staticmethod` and `classmethod`, they bind as they do."""
    guard = POLICIES[policy]

    class Guarded(Counter):
        method = guard(Counter.method)
        above_class = guard(classmethod(Counter.of_the_class.__func__))
        below_class = classmethod(guard(Counter.of_the_class.__func__))
        above_static = guard(staticmethod(Counter.static))
        below_static = staticmethod(guard(Counter.static))

    async def main():
        made = Guarded()
        return [
            [item async for item in found(stop=3)]
            for found in (
                made.method,
                functools.partial(Guarded.method, made),
                made.above_class,
                Guarded.below_class,
                made.above_static,
                Guarded.below_static,
            )
        ]

    assert run(main) == [[1, 2]] * 6


@retry
@timeout(9, between_items=3)
async def module_level(start: int) -> AsyncIterator[int]:
    """Count from somewhere."""
    yield start


def test_it_looks_like_what_it_guards():
    """Name, docstring, signature and annotations are the function's; it pickles by its name."""
    assert type(module_level) is Guard
    assert module_level.__name__ == module_level.__qualname__ == "module_level"
    assert module_level.__doc__ == "Count from somewhere."
    assert str(inspect.signature(module_level)) == "(start: 'int') -> 'AsyncIterator[int]'"
    assert isinstance(module_level, Callable)


def test_it_pickles_by_its_name(monkeypatch):
    """As every guard does."""
    module = types.ModuleType("streams_of_a_test")
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    module.module_level = module_level
    monkeypatch.setattr(module_level.__wrapped__, "__module__", module.__name__)
    assert pickle.loads(pickle.dumps(module_level)) is module_level


def test_stacked_decorators_are_one_guard(run):
    """However many there are, one pipeline is around the source."""
    assert pipeline_of(module_level).policies[0].kind == "retry"
    assert [policy.kind for policy in pipeline_of(module_level).policies] == ["retry", "timeout"]
    assert not isinstance(module_level._self_inside.fn, Guard)


ACCEPT = {
    "Target": lambda stream: Target("a", stream),
    "FallbackManager": lambda stream: FallbackManager([stream]),
    "to": lambda stream: fallback(to=[stream])(numbers),
    "standard": lambda stream: standard("s", to=[stream])(numbers),
}


@pytest.mark.parametrize("take", ACCEPT)
@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_is_taken_where_a_callable_is(kind, take):
    """What gives a stream can be a target."""
    ACCEPT[take](STREAMS[kind])


@pytest.mark.parametrize("way", ["call", "run"])
def test_a_stream_is_not_awaited(run, way):
    """`call` and `run` await, so they refuse a stream, and say what to do."""

    async def main():
        message = rf"{way}\(fn\) awaits its function, and numbers gives a stream: decorate it"
        with pytest.raises(TypeError, match=message):
            await getattr(stack(retry()), way)(numbers, 1)
        return [item async for item in stack(retry())(numbers)(1)]

    assert run(main) == [1, 2]


@pytest.mark.parametrize("option", ["first_item", "between_items"])
@pytest.mark.parametrize("seconds", [(), (9,)], ids=["alone", "with a total"])
def test_limits_of_items_are_for_streams(option, seconds):
    """On a coroutine function they are a `TypeError` at decoration, that names both."""

    async def ask():
        return 1

    message = rf"timeout\({option}=\) is a limit of a stream, and .*ask is no async generator"
    policy = timeout(*seconds, **{option: 2})
    for outside in (policy, stack(retry(), policy), stack(fallback(degrade=value(1)), policy)):
        with pytest.raises(TypeError, match=message):
            outside(ask)
    with pytest.raises(TypeError, match=message):
        FallbackManager([Target("ask", ask, policies=policy)])


def test_a_middleware_is_for_calls():
    """Around a stream it is a `TypeError` at decoration, that names both."""

    @middleware
    async def tag(call, proceed):
        return await proceed()

    message = "the middleware .*tag awaits what is inside, and numbers gives a stream"
    for policy in (tag, stack(retry(), tag)):
        with pytest.raises(TypeError, match=message):
            policy(numbers)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_context_manager_is_refused(policy):
    """Above `@asynccontextmanager` there is no stream any more; the message says where to go."""
    session = asynccontextmanager(promised_numbers)
    with pytest.raises(TypeError, match="promised_numbers makes a context manager: put the policy"):
        POLICIES[policy](session)


async def promised_numbers() -> AsyncIterator[int]:
    yield 1


def test_a_coroutine_function_that_returns_a_stream_is_awaited(run, read):
    """It is guarded until it returns, and `explain` says so; what it returns is not."""

    @retry(attempts=2, backoff=[0])
    async def opened(url: str) -> AsyncIterator[int]:
        seen.append(url)
        if len(seen) == 1:
            raise ConnectionError

        async def items():
            yield 1
            raise ConnectionError

        return items()

    seen = []

    async def main():
        return await read(await opened("u"))

    items, error = run(main)
    assert (items, type(error)) == ([1], ConnectionError)
    assert seen == ["u", "u"]
    assert "\n  stream            guarded until it is returned, and no longer\n" in explain(opened)


EXPLAINED = """\
numbers: 4 policies, outermost first
  fallback          numbers; restarts after the first item, too
  timeout           30 s for the whole stream, 5 s to the first item, 2 s between items
  retry             2 attempts on transient errors; waits 1 s
  timeout           3 s to the first item
  stream            guarded until its first item; after it nothing is replayed
  bound             at most 2 calls and 30 s, then at most 1 call and 9 s of numbers"""


def test_what_explain_says_of_streams():
    """Limits of items, restarts, and how long a stream is guarded."""

    @stack(
        fallback(to=[timeout(9)(numbers)], midstream="restart"),
        timeout(30, first_item=5, between_items=2),
        retry(attempts=2, backoff=[1]),
        timeout(first_item=3),
        name="numbers",
    )
    async def streams(start):
        yield start

    assert explain(streams) == EXPLAINED
    manager = FallbackManager([numbers], midstream="restart")
    assert "  midstream         restarts with the next target\n" in manager.explain()


def test_an_object_that_is_awaited_is_no_stream():
    """What promises an awaitable is awaited, whatever else it can do."""

    class Both(Awaitable):
        def __await__(self):
            yield

        def __aiter__(self):
            return self

        async def __anext__(self):
            return 1

    guarded = retry(promises(Both))
    assert inspect.iscoroutinefunction(guarded)
