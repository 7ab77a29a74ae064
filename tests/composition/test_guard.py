"""The guard: which callables a policy takes, and that a guarded function stays what it was."""

from __future__ import annotations

import abc
import copy
import functools
import inspect
import pickle
import types
import typing
import weakref
from collections.abc import Awaitable, Coroutine

import anyio
import pytest

from resilient import (
    FallbackManager,
    Target,
    TimedOut,
    circuit_breaker,
    consecutive,
    explain,
    fallback,
    middleware,
    pipeline_of,
    retry,
    stack,
    timeout,
    value,
)
from resilient._guard import Guard
from resilient.events import CallEnded, CallStarted
from resilient.testing import Log, capture_spans, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
NOW = [0]


class Work:
    """What a function under test does: the first call is a bad one, later ones answer."""

    def __init__(self, bad):
        self.bad = bad
        self.asked = []

    async def __call__(self, question):
        self.asked.append(question)
        if len(self.asked) > 1:
            return "answer"
        if self.bad == "hangs":
            await anyio.sleep_forever()
        raise ConnectionError


# Each kind of callable around `work`, guarded by `policy`.


def coroutine_function(work, policy):
    @policy
    async def ask(question):
        return await work(question)

    return ask


def methods(work, policy):
    class Service:
        @policy
        async def method(self, question):
            assert isinstance(self, Service)
            return await work(question)

        @staticmethod
        @policy
        async def static_below(question):
            return await work(question)

        @policy
        @staticmethod
        async def static_above(question):
            return await work(question)

        @classmethod
        @policy
        async def class_below(cls, question):
            assert cls is Service
            return await work(question)

        @policy
        @classmethod
        async def class_above(cls, question):
            assert cls is Service
            return await work(question)

    return Service()


def method_of_an_instance(name):
    return lambda work, policy: getattr(methods(work, policy), name)


def method_of_the_class(name):
    return lambda work, policy: getattr(type(methods(work, policy)), name)


def method_through_the_class(work, policy):
    service = methods(work, policy)
    return functools.partial(type(service).method, service)


def bound_method(work, policy):
    class Service:
        async def method(self, question):
            assert isinstance(self, Service)
            return await work(question)

    return policy(Service().method)


def partial(work, policy):
    async def ask(prefix, question):
        assert prefix == "prefix"
        return await work(question)

    return policy(functools.partial(ask, "prefix"))


def partial_of_a_partial(work, policy):
    async def ask(one, two, question, *, three):
        assert (one, two, three) == (1, 2, 3)
        return await work(question)

    return policy(functools.partial(functools.partial(ask, 1), 2, three=3))


def async_object(work, policy):
    return policy(work)


def annotated_object(work, policy):
    class Asks:
        def __call__(self, question) -> Awaitable[str]:
            return work(question)

    return policy(Asks())


def annotated_by(annotation):
    def annotated_function(work, policy):
        def ask(question):
            return work(question)

        ask.__annotations__["return"] = annotation
        return policy(ask)

    return annotated_function


def annotated_partial(work, policy):
    def ask(prefix, question) -> Awaitable[str]:
        assert prefix == "prefix"
        return work(question)

    return policy(functools.partial(ask, "prefix"))


def annotated_lambda(work, policy):
    ask = lambda question: work(question)  # noqa: E731, PLW0108 - a lambda is the case
    ask.__annotations__ = {"return": Awaitable[str]}
    return policy(ask)


def marked_lambda(work, policy):
    ask = lambda question: work(question)  # noqa: E731, PLW0108 - a lambda is the case
    return policy(inspect.markcoroutinefunction(ask))


KINDS = {
    "coroutine function": coroutine_function,
    "method": method_of_an_instance("method"),
    "method through the class": method_through_the_class,
    "static method below": method_of_an_instance("static_below"),
    "static method above": method_of_an_instance("static_above"),
    "static method below, of the class": method_of_the_class("static_below"),
    "static method above, of the class": method_of_the_class("static_above"),
    "class method below": method_of_an_instance("class_below"),
    "class method above": method_of_an_instance("class_above"),
    "class method below, of the class": method_of_the_class("class_below"),
    "class method above, of the class": method_of_the_class("class_above"),
    "bound method": bound_method,
    "partial": partial,
    "partial of a partial": partial_of_a_partial,
    "object": async_object,
    "annotated object": annotated_object,
    "-> Awaitable": annotated_by(Awaitable[str]),
    "-> Awaitable, bare": annotated_by(Awaitable),
    "-> Coroutine": annotated_by(Coroutine[typing.Any, typing.Any, str]),
    "-> typing.Awaitable": annotated_by(typing.Awaitable[str]),
    "-> a text": annotated_by("Awaitable[str]"),
    "-> a text of unknown names": annotated_by("asyncio.Future[Unknown]"),
    "annotated partial": annotated_partial,
    "annotated lambda": annotated_lambda,
}
# A Python before 3.12 marks no function, so there it is no kind of callable.
MARKS = hasattr(inspect, "markcoroutinefunction")
if MARKS:
    KINDS["marked lambda"] = marked_lambda


@middleware(calls=2)
async def once_more(_, proceed):
    try:
        return await proceed()
    except ConnectionError:
        return await proceed()


OPENS = circuit_breaker("guards", trip=consecutive(1))
POLICIES = {
    "retry": (retry(attempts=3, backoff=NOW), "raises", "answer", 2),
    "timeout": (timeout(3), "hangs", TimedOut, 1),
    "fallback": (fallback(degrade=value("degraded")), "raises", "degraded", 1),
    "stack": (stack(timeout(30), retry(backoff=NOW), timeout(3)), "hangs", "answer", 2),
    "bare retry": (retry, "raises", "answer", 2),
    "circuit breaker": (stack(retry(backoff=NOW), OPENS), "raises", ConnectionError, 1),
    "bare circuit breaker": (circuit_breaker, "raises", ConnectionError, 1),
    "middleware": (once_more, "raises", "answer", 2),
}


@BACKENDS
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_guards_every_kind_of_callable(kind, policy, backend):
    """The policy acts on the first bad call, and the arguments arrive."""
    policy, bad, result, calls = POLICIES[policy]
    work = Work(bad)
    guarded = KINDS[kind](work, policy)
    if isinstance(result, str):
        ask = functools.partial(virtual_time, guarded, "question")
        assert ask(backend=backend, check_leftovers=True) == result
    else:
        with pytest.raises(result):
            virtual_time(guarded, "question", backend=backend, check_leftovers=True)
    assert work.asked == ["question"] * calls


@BACKENDS
def test_a_guarded_function_takes_arguments_of_every_sort(backend):
    """Positional, keyword, defaulted and collected arguments reach the function as they were."""

    @retry
    @timeout(9)
    async def ask(self, fn, /, call, *args, plan=4, **kwargs):
        return self, fn, call, args, plan, kwargs

    call = functools.partial(ask, 1, 2, 3, 5, run=6, args=7)
    assert virtual_time(call, backend=backend) == (1, 2, 3, (5,), 4, {"run": 6, "args": 7})


# What cannot be guarded.


def plain(question):
    return question


def generator():
    yield 1


class NotAsync:
    def __call__(self, question):
        return question


class AsyncObject:
    async def __call__(self, question):
        return question


def promises_text() -> str:
    return "text"


REFUSED = {
    "function": (plain, r"the function plain.*async def.*Awaitable"),
    "function with another annotation": (promises_text, r"promises_text.*async def.*Awaitable"),
    "lambda": (lambda: None, r"<lambda>.*async def.*Awaitable"),
    "builtin": (len, r"len.*async def.*Awaitable"),
    "partial": (functools.partial(plain, 1), r"the function plain.*async def.*Awaitable"),
    "generator": (generator, r"the function generator.*async def.*Awaitable"),
    "object": (NotAsync(), r"an instance of NotAsync.*async def.*Awaitable"),
    "method": (NotAsync().__call__, r"NotAsync\.__call__.*async def.*Awaitable"),
    "static method": (staticmethod(plain), r"the function plain.*async def.*Awaitable"),
    "class method": (classmethod(plain), r"the function plain.*async def.*Awaitable"),
    "class": (NotAsync, r"the class NotAsync: decorate its async methods"),
    "class of async objects": (AsyncObject, r"the class AsyncObject: decorate its async methods"),
    "class that is awaitable": (Awaitable, r"the class Awaitable: decorate its async methods"),
    "property": (property(plain), r"decorates an async function, not an instance of property"),
}
NO_CALLABLES = [3, None, "text", [], object()]
DECORATORS = {
    "retry": retry(),
    "timeout": timeout(3),
    "fallback": fallback(degrade=value(1)),
    "stack": stack(timeout(30), retry(), timeout(3)),
    "empty stack": stack(),
}


@pytest.mark.parametrize("policy", DECORATORS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_gives_nothing_to_await_is_refused_at_decoration(kind, policy):
    """A `TypeError` names the thing and the way out."""
    refused, message = REFUSED[kind]
    with pytest.raises(TypeError, match=message):
        DECORATORS[policy](refused)


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind != "property"])
def test_bare_retry_refuses_the_same(kind):
    """Without its parentheses `retry` says the same."""
    refused, message = REFUSED[kind]
    with pytest.raises(TypeError, match=message):
        retry(refused)


@pytest.mark.parametrize("policy", DECORATORS)
@pytest.mark.parametrize("thing", NO_CALLABLES, ids=repr)
def test_what_cannot_be_called_is_refused_by_its_type(thing, policy):
    """A `TypeError` says that a policy decorates an async function, and which type this is."""
    message = f"decorates an async function, not an instance of {type(thing).__name__}"
    with pytest.raises(TypeError, match=message):
        DECORATORS[policy](thing)


def test_a_refused_partial_does_not_show_its_arguments():
    """The message about a partial has the name of its function only."""
    with pytest.raises(TypeError) as caught:
        retry()(functools.partial(plain, "secret"))
    assert "secret" not in str(caught.value)


# A callable that was given as such, and whose result cannot be awaited.


class Plain:
    """A callable that counts its calls and gives nothing to await."""

    def __init__(self):
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        return 42


async def other(*args):
    return "other"


EAGER = {
    "retry": retry(on=Exception, backoff=NOW),
    "timeout": timeout(3),
    "degrade": fallback(degrade=value("degraded")),
    "to": fallback(to=[other], on=Exception),
    "stack": stack(fallback(to=[other]), timeout(9), retry(on=Exception, backoff=NOW), timeout(3)),
}


@BACKENDS
@pytest.mark.parametrize("method", ["call", "run"])
@pytest.mark.parametrize("policy", EAGER)
def test_a_plain_callable_given_to_a_stack_is_an_error_that_no_policy_acts_on(
    policy, method, backend
):
    """`call` and `run` of a callable without an awaitable raise a `TypeError` after one call."""
    fn = Plain()
    with pytest.raises(TypeError, match=r"Plain returned int, which cannot be awaited"):
        virtual_time(getattr(EAGER[policy], method), fn, backend=backend, check_leftovers=True)
    assert fn.calls == 1


@BACKENDS
def test_a_plain_target_is_an_error_that_no_policy_acts_on(backend):
    """Neither is it asked again nor the next target instead."""
    fn = Plain()
    policies = retry(on=Exception, backoff=NOW)
    manager = FallbackManager([Target("plain", fn, policies=policies), other])
    with pytest.raises(TypeError, match=r"Plain returned int, which cannot be awaited"):
        virtual_time(manager.run, backend=backend, check_leftovers=True)
    assert fn.calls == 1


@BACKENDS
def test_a_plain_fallback_is_an_error_that_no_policy_acts_on(backend):
    """A callable of `to=` without an awaitable is not followed by the next one."""
    fn = Plain()

    @fallback(to=[fn, other], degrade=value("degraded"))
    async def fails():
        raise ConnectionError

    with pytest.raises(TypeError, match=r"Plain returned int, which cannot be awaited"):
        virtual_time(fails, backend=backend, check_leftovers=True)
    assert fn.calls == 1


@BACKENDS
def test_a_plain_callable_of_a_manager_of_names_is_an_error_that_no_policy_acts_on(backend):
    """`run_with` raises after one call."""
    fn = Plain()
    manager = FallbackManager([Target("a", attempts=3), Target("b")], degrade=value("degraded"))
    with pytest.raises(TypeError, match=r"Plain returned int, which cannot be awaited"):
        virtual_time(manager.run_with, fn, backend=backend, check_leftovers=True)
    assert fn.calls == 1


@BACKENDS
def test_a_broken_promise_is_an_error_that_no_policy_acts_on(backend):
    """A function whose annotation promises an awaitable and that returns another thing raises."""
    calls = []

    @fallback(degrade=value("degraded"))
    @retry(on=Exception, backoff=NOW)
    def promises() -> Awaitable[int]:
        calls.append(1)
        return 42

    with pytest.raises(TypeError, match=r"promises returned int, which cannot be awaited"):
        virtual_time(promises, backend=backend, check_leftovers=True)
    assert calls == [1]


if MARKS:

    @BACKENDS
    def test_a_mark_that_is_not_kept_is_an_error_that_no_policy_acts_on(backend):
        """A function that is marked as async and returns another thing raises after one call."""
        calls = []

        def marked():
            calls.append(1)
            return 42

        policy = stack(fallback(degrade=value("degraded")), retry(on=Exception, backoff=NOW))
        guarded = policy(inspect.markcoroutinefunction(marked))
        with pytest.raises(TypeError, match=r"marked returned int, which cannot be awaited"):
            virtual_time(guarded, backend=backend, check_leftovers=True)
        assert calls == [1]


@BACKENDS
def test_a_type_error_of_the_function_itself_is_an_ordinary_failure(backend):
    """What the function raises falls back, whatever its type."""

    @fallback(degrade=value("degraded"), on=Exception)
    async def fails():
        raise TypeError

    assert virtual_time(fails, backend=backend, check_leftovers=True) == "degraded"


# Stacked decorators are one guard.

LAYERS = ("timeout", "retry", "timeout")


def decorated(listener=None, wrap=lambda fn: fn):
    """Return a function under three decorators, with `wrap` between the two outer ones."""
    listeners = [] if listener is None else [listener]

    @timeout(30)
    @wrap
    @stack(retry(backoff=NOW), listeners=listeners)
    @timeout(3)
    async def ask():
        return "answer"

    return ask


def kinds(fn):
    return tuple(policy.kind for policy in pipeline_of(fn).policies)


def count(log, kind):
    return sum(isinstance(event, kind) for event in log.events)


@BACKENDS
def test_stacked_decorators_are_one_guard(backend):
    """Three decorators give one guard, one pipeline and one call in the events."""
    log = Log()
    ask = decorated(log)
    assert type(ask) is Guard
    assert type(ask.__wrapped__) is types.FunctionType
    assert kinds(ask) == LAYERS
    assert virtual_time(ask, backend=backend, check_leftovers=True) == "answer"
    assert (count(log, CallStarted), count(log, CallEnded)) == (1, 1)


@BACKENDS
def test_stacked_decorators_have_one_span(backend):
    """A call through three decorators is one span of the call and one of its attempt."""
    with capture_spans() as spans:
        virtual_time(decorated(), backend=backend, check_leftovers=True)
    assert len([span for span in spans if span.parent is None]) == 1
    assert len(spans) == 2


def test_decorators_and_a_stack_are_the_same():
    """Both spellings explain alike."""

    async def ask():
        return "answer"

    policy = stack(timeout(30), retry(backoff=NOW), timeout(3))
    one = policy(ask)
    other_one = timeout(30)(retry(backoff=NOW)(timeout(3)(ask)))
    assert explain(one) == explain(other_one)
    assert pipeline_of(one).policies == pipeline_of(other_one).policies


class Flattened:
    """Two decorators at every place around the builtin ones."""

    @timeout(30)
    @retry
    async def method(self):
        return self

    @staticmethod
    @timeout(30)
    @retry
    async def static_below():
        return "static"

    @timeout(30)
    @retry
    @staticmethod
    async def static_above():
        return "static"

    @timeout(30)
    @staticmethod
    @retry
    async def static_between():
        return "static"

    @classmethod
    @timeout(30)
    @retry
    async def class_below(cls):
        return cls

    @timeout(30)
    @retry
    @classmethod
    async def class_above(cls):
        return cls

    @timeout(30)
    @classmethod
    @retry
    async def class_between(cls):
        return cls


METHODS = [name for name in vars(Flattened) if not name.startswith("__")]


@BACKENDS
@pytest.mark.parametrize("name", METHODS)
def test_decorators_flatten_through_static_and_class_methods(name, backend):
    """There is one guard of two policies wherever the builtin decorator stands."""
    service = Flattened()
    results = {"method": service, "static": "static", "class": Flattened}
    bound = getattr(service, name)
    assert kinds(bound) == ("timeout", "retry")
    held = vars(Flattened)[name]
    assert type(held if type(held) is Guard else held.__func__) is Guard
    expected = results[name.partition("_")[0]]
    assert virtual_time(bound, backend=backend, check_leftovers=True) is expected


@pytest.mark.parametrize("name", METHODS)
def test_the_builtin_decorator_is_put_around_the_guard_again(name):
    """A policy above a static or class method gives a static or class method."""
    types_ = {"method": Guard, "static": staticmethod, "class": classmethod}
    assert type(vars(Flattened)[name]) is types_[name.partition("_")[0]]


@BACKENDS
def test_a_bound_method_flattens_and_stays_bound(backend):
    """A policy around a bound guarded method is one guard that keeps the instance."""
    service = Flattened()
    more = timeout(99)(service.method)
    assert type(more) is types.MethodType
    assert type(more.__func__) is Guard
    assert more.__self__ is service
    assert kinds(more) == ("timeout", "timeout", "retry")
    assert kinds(service.method) == ("timeout", "retry")
    assert virtual_time(more, backend=backend, check_leftovers=True) is service


@BACKENDS
def test_a_bound_class_method_flattens_and_stays_bound(backend):
    """A policy around a bound guarded class method is one guard that keeps the class."""
    more = timeout(99)(Flattened.class_above)
    assert more.__self__ is Flattened
    assert kinds(more) == ("timeout", "timeout", "retry")
    assert virtual_time(more, backend=backend, check_leftovers=True) is Flattened


def test_the_old_guard_stays_as_it_was():
    """Decorating a guarded function again changes nothing about what was there."""

    @retry
    async def ask():
        return "answer"

    before = explain(ask), pipeline_of(ask), ask.__wrapped__
    more = timeout(3)(ask)
    assert more is not ask
    assert (explain(ask), pipeline_of(ask), ask.__wrapped__) == before
    assert kinds(ask) == ("retry",)
    assert kinds(more) == ("timeout", "retry")


def test_the_same_policy_decorates_any_number_of_functions():
    """Each function has its own guard, with its own name."""
    policy = retry()

    @policy
    async def one():
        return 1

    @policy
    async def two():
        return 2

    assert kinds(one) == kinds(two) == ("retry",)
    assert explain(one).startswith("test_the_same")
    assert one.__name__ == "one"
    assert two.__name__ == "two"


# A foreign decorator between two of ours.


def foreign(fn):
    @functools.wraps(fn)
    async def wrapper(*args, **kwargs):
        return await fn(*args, **kwargs)

    return wrapper


@BACKENDS
@pytest.mark.parametrize("wrap", [foreign, functools.partial], ids=["wraps", "partial"])
def test_a_foreign_decorator_between_two_of_ours_keeps_two_guards(wrap, backend):
    """Nothing is found through it: the guards nest, and each call is a call."""
    log = Log()
    inner = stack(retry(backoff=NOW), listeners=[log])(other)
    outer = stack(timeout(30), listeners=[log])(wrap(inner))
    assert type(outer) is Guard
    assert kinds(outer) == ("timeout",)
    assert kinds(inner) == ("retry",)
    assert virtual_time(outer, backend=backend, check_leftovers=True) == "other"
    assert count(log, CallStarted) == 2


def test_a_foreign_decorator_is_explained():
    """`explain` says what is guarded itself."""
    lines = explain(decorated(wrap=foreign)).splitlines()
    name = "decorated.<locals>.ask"
    assert lines[0] == f"{name}: 1 policy, outermost first"
    assert lines[2] == f"  then              {name}, which is guarded itself"


@BACKENDS
def test_a_foreign_decorator_outside_is_left_alone(backend):
    """A wrapper around a guard is the wrapper, and no guard."""
    ask = foreign(retry(backoff=NOW)(other))
    assert type(ask) is types.FunctionType
    with pytest.raises(TypeError, match="is not guarded"):
        pipeline_of(ask)
    assert virtual_time(ask, backend=backend, check_leftovers=True) == "other"


# A guarded function is what the function was.


def undecorated():
    async def ask(question: str, *, times: int = 2) -> list[str]:
        """Ask a number of times."""
        return [question] * times

    return ask


@pytest.mark.parametrize("policy", DECORATORS)
def test_a_guarded_function_looks_like_the_function(policy):
    """Name, docstring, module, annotations and signature are the function's."""
    ask = undecorated()
    guarded = timeout(99)(DECORATORS[policy](ask))
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(guarded, name) == getattr(ask, name)
    assert inspect.signature(guarded) == inspect.signature(ask)
    assert typing.get_type_hints(guarded) == typing.get_type_hints(ask)
    assert inspect.getdoc(guarded) == "Ask a number of times."
    assert inspect.unwrap(guarded) is ask
    assert inspect.iscoroutinefunction(guarded)
    assert not inspect.isasyncgenfunction(guarded)
    assert inspect.isfunction(guarded)
    assert callable(guarded)


def test_a_guarded_method_looks_like_the_method():
    """Bound, its signature has no `self`, and `inspect` takes it for a method."""

    class Service:
        async def plain(self, question: str) -> str:
            """Ask."""
            return question

        guarded = retry()(plain)

    service = Service()
    assert inspect.ismethod(service.guarded)
    assert inspect.signature(service.guarded) == inspect.signature(service.plain)
    assert inspect.signature(Service.guarded) == inspect.signature(Service.plain)
    assert inspect.iscoroutinefunction(service.guarded)
    assert service.guarded.__self__ is service
    assert service.guarded.__name__ == "plain"
    assert service.guarded.__doc__ == "Ask."
    assert service.guarded == service.guarded
    assert service.guarded != Service().guarded


def test_an_annotated_function_is_a_coroutine_function_once_guarded():
    """What is returned is a coroutine, and `inspect` says so."""

    def ask() -> Awaitable[str]:
        return other()

    assert not inspect.iscoroutinefunction(ask)
    assert inspect.iscoroutinefunction(retry(ask))


def test_an_object_and_a_partial_are_known_by_the_name_behind_them():
    """A guarded object has the name of its class, a partial that of its function."""
    assert retry(AsyncObject()).__name__ == "AsyncObject"
    assert retry(functools.partial(other, 1)).__name__ == "other"


def test_the_attributes_of_the_function_are_there_and_others_can_be_set():
    """A mark on the function is on the guard, and a mark on the guard stays off the function."""

    async def ask():
        return "answer"

    ask.mark = 1
    guarded = retry(ask)
    guarded.other = 2
    assert guarded.mark == 1
    assert guarded.other == 2
    assert not hasattr(ask, "other")


def test_an_abstract_method_stays_abstract():
    """A class with a guarded abstract method makes no instances until it is defined."""

    class Base(abc.ABC):
        @retry
        @abc.abstractmethod
        async def ask(self): ...

    class Child(Base):
        async def ask(self):
            return "answer"

    with pytest.raises(TypeError, match="abstract"):
        Base()
    assert isinstance(Child(), Base)


@BACKENDS
def test_a_guarded_method_is_inherited_and_found_by_super(backend):
    """A subclass calls the guarded method of its base."""

    class Base:
        @retry
        async def ask(self):
            return [type(self).__name__]

    class Child(Base):
        @timeout(3)
        async def ask(self):
            return [*await super().ask(), "child"]

    assert virtual_time(Child().ask, backend=backend) == ["Child", "child"]


# Pickling, copying and being referred to, as functions are.


@timeout(30)
@retry
async def module_level(number):
    """Double it."""
    return 2 * number


class Service:
    """An object that pickles, with every kind of guarded method."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return self.number == other.number

    def __hash__(self):
        return self.number

    @retry
    async def method(self):
        return self.number

    @staticmethod
    @retry
    async def static_below():
        return "static"

    @retry
    @staticmethod
    async def static_above():
        return "static"

    @classmethod
    @retry
    async def class_below(cls):
        return cls

    @retry
    @classmethod
    async def class_above(cls):
        return cls


PROTOCOLS = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
PICKLERS = pytest.mark.parametrize("dumps", [pickle.dumps, pickle._dumps], ids=["C", "Python"])
SERVICE = Service(7)
IDENTICAL = {
    "function": module_level,
    "method of the class": Service.method,
    "static method below": Service.static_below,
    "static method above": Service.static_above,
}
BOUND = {
    "method": SERVICE.method,
    "class method below": Service.class_below,
    "class method above": Service.class_above,
    "class method of an instance": SERVICE.class_above,
}


@PICKLERS
@PROTOCOLS
@pytest.mark.parametrize("kind", IDENTICAL)
def test_a_guarded_function_pickles_by_its_name(kind, protocol, dumps):
    """What comes back is the same object."""
    guarded = IDENTICAL[kind]
    assert pickle.loads(dumps(guarded, protocol)) is guarded


@PICKLERS
@PROTOCOLS
@pytest.mark.parametrize("kind", BOUND)
def test_a_bound_guarded_method_pickles(kind, protocol, dumps):
    """What comes back is bound to an equal object, and holds the same guard."""
    guarded = BOUND[kind]
    back = pickle.loads(dumps(guarded, protocol))
    assert back == guarded or back.__self__ == guarded.__self__
    assert back.__func__ is guarded.__func__


@BACKENDS
def test_what_was_pickled_can_be_called(backend):
    """A function and a method that were pickled answer as before."""
    function, method = pickle.loads(pickle.dumps((module_level, SERVICE.method)))
    assert virtual_time(function, 4, backend=backend) == 8
    assert virtual_time(method, backend=backend) == 7


def test_a_guarded_local_function_does_not_pickle_as_no_local_function_does():
    """The pickler says that it cannot find the name."""
    with pytest.raises((pickle.PicklingError, AttributeError), match="local"):
        pickle.dumps(decorated())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", IDENTICAL)
def test_a_guarded_function_copies_as_itself(kind, duplicate):
    """A copy, shallow or deep, is the same object, also within a list."""
    guarded = IDENTICAL[kind]
    assert duplicate(guarded) is guarded
    assert duplicate([guarded])[0] is guarded


def test_a_local_guarded_function_copies_as_itself():
    """Copying needs no name that can be found."""
    guarded = decorated()
    assert copy.copy(guarded) is copy.deepcopy(guarded) is guarded


def test_a_deep_copy_of_an_object_has_its_methods_guarded():
    """The copy's method is bound to the copy and has the same guard."""
    service = copy.deepcopy(SERVICE)
    assert service.method.__self__ is service
    assert service.method.__func__ is Service.method


def test_a_guarded_function_is_a_key():
    """It is equal to itself only, and found in dicts and sets."""
    ask = undecorated()
    one, two = retry(ask), retry(ask)
    found = {one: 1, two: 2, ask: 3}
    assert (found[one], found[two], found[ask]) == (1, 2, 3)
    assert len({one, two, ask, one}) == 3
    assert hash(SERVICE.method) == hash(SERVICE.method)
    assert {SERVICE.method: 1}[SERVICE.method] == 1


def test_a_guarded_function_can_be_referred_to_weakly():
    """A weak reference gives the guard while it lives."""
    guarded = retry(undecorated())
    reference = weakref.ref(guarded)
    assert reference() is guarded
    assert weakref.WeakKeyDictionary({guarded: 1})[guarded] == 1
    assert weakref.WeakMethod(SERVICE.method)() == SERVICE.method


def test_the_guard_on_the_class_is_the_guard():
    """Through the class a guarded method is the object that the class holds."""
    assert type(Service.method) is Guard
    assert Service.method is vars(Service)["method"]
    assert type(Service.static_above) is type(Service.static_below) is Guard


@BACKENDS
@pytest.mark.parametrize("kind", ["object", "bound method"])
def test_a_guard_on_a_class_binds_only_what_would_bind_itself(kind, backend):
    """An object and a method that is bound already stay without `self`, guarded or not."""
    work = Work("answers")
    work.asked.append("before")

    class Service:
        ask = KINDS[kind](work, retry)

    assert virtual_time(Service().ask, "question", backend=backend) == "answer"
    assert Service().ask is Service.ask


def test_the_guard_of_a_class_method_is_bound_to_the_class():
    """A guarded class method is bound to the class on which it is looked up."""

    class Child(Service):
        pass

    assert Child.class_below.__self__ is Child.class_above.__self__ is Child
    assert type(Child.class_above.__func__) is Guard


@pytest.mark.parametrize(
    "fn",
    [functools.partial(other, "secret"), functools.partial(Work("secret"), question="secret")],
    ids=["positional", "keyword"],
)
def test_the_repr_shows_no_arguments(fn):
    """The repr of a guarded partial is its name and place."""
    guarded = retry(fn)
    assert repr(guarded).startswith("<guarded ")
    assert "secret" not in repr(guarded)
    assert "secret" not in explain(guarded)


def test_the_repr_names_the_function():
    """The repr says that the function is guarded, and which it is."""
    assert repr(module_level) == f"<guarded module_level at {id(module_level):#x}>"
    assert repr(Service.method).startswith("<guarded Service.method at ")


@BACKENDS
@pytest.mark.parametrize("decorate", [retry, retry()], ids=["bare", "called"])
def test_retry_is_a_decorator_bare_and_called(decorate, backend):
    """`@retry` and `@retry()` are the same policy."""
    guarded = decorate(other)
    assert explain(guarded) == explain(retry()(other))
    assert virtual_time(guarded, backend=backend) == "other"
