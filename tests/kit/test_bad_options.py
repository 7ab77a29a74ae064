"""What the kit cannot use is refused at once: by option, by value, and by what is accepted."""

from __future__ import annotations

import pytest

from resilient import middleware, retry, stack, timeout
from resilient.testing import (
    FailureSchedule,
    FaultyBackend,
    Tester,
    cancel_at_every_await,
    check_backend,
    check_middleware,
    simulate,
    spread_at_cap,
    virtual_time,
)


@stack(timeout(30), retry(attempts=2, backoff=[1]))
async def ask(question: str) -> str: ...


async def nothing() -> None: ...


async def items():
    yield


@middleware
async def tag(call, proceed):
    return await proceed()


def build(service):
    return service


def every(make, **options):
    """Ask for the first interrupted call."""
    return next(cancel_at_every_await(make, **options))


def ran():
    return simulate(ask, "x.")


NAMES = {
    one.__name__: one
    for one in (
        check_backend,
        check_middleware,
        every,
        FailureSchedule,
        FaultyBackend,
        items,
        nothing,
        ran,
        retry,
        simulate,
        spread_at_cap,
        Tester,
        virtual_time,
    )
} | {"ask": ask, "build": build, "tag": tag}
ANY_LIST = "a list of steps (`parse` reads a text)"

REFUSED = {
    # of the wrong kind
    "simulate(ask, 7)": f"FailureSchedule takes {ANY_LIST}, not 7",
    "simulate(ask, args=7)": "simulate(args=) takes a list of arguments, not 7",
    "simulate(ask, args='ab')": "simulate(args=) takes a list of arguments, not 'ab'",
    "simulate(ask, kwargs=[7])": "simulate(kwargs=) takes a mapping, not a list",
    "FaultyBackend(7)": f"FailureSchedule takes {ANY_LIST}, not 7",
    "FaultyBackend(name=7)": "FaultyBackend(name=) must be a text that is not empty, not 7",
    "FailureSchedule(7)": f"FailureSchedule takes {ANY_LIST}, not 7",
    "FailureSchedule(fallbacks=7)": (
        "FailureSchedule(fallbacks=) takes a list, of one schedule for each further target, not 7"
    ),
    "FailureSchedule(arrivals=7)": "FailureSchedule(arrivals=) takes a list of instants, not 7",
    "FailureSchedule.parse(7)": "FailureSchedule.parse takes a text, not 7",
    "Tester('x')": "Tester takes policies, or functions that make them, not 'x'",
    "virtual_time(7)": "virtual_time takes an async function, not 7",
    "virtual_time(nothing, seed='x')": "seed must be a whole number of at least 0, not 'x'",
    "every(7, backend='asyncio')": (
        "cancel_at_every_await takes a function that makes the one to call, not 7"
    ),
    "every(lambda log: 7, backend='asyncio')": (
        "cancel_at_every_await takes a function that returns an async function, not 7"
    ),
    "every(lambda log: items, backend='trio')": (
        "cancel_at_every_await takes a function that returns an async function,"
        " not one that returns an async generator"
    ),
    "every(lambda log: ask, backend='trio', after=7)": (
        "cancel_at_every_await(after=) takes an async function of that one, not 7"
    ),
    "every(lambda log: ask, backend='trio', delivery=int)": (
        "delivery must be 'scope', 'task' or a class of exception, not the class int"
    ),
    "every(lambda log: ask, backend='trio', delivery=7)": (
        "delivery must be 'scope', 'task' or a class of exception, not 7"
    ),
    "spread_at_cap(ask, seeds=7)": "spread_at_cap(seeds=) takes whole numbers, not 7",
    "check_backend(7)": (
        "check_backend takes a function that builds the backend around a service, not 7"
    ),
    "check_backend(build, failures=7)": (
        "check_backend(failures=) takes a list of Fail(...) and Bad(...), not 7"
    ),
    "check_backend(build, failures=[7])": (
        "check_backend(failures=) takes Fail(...) and Bad(...), not 7"
    ),
    "check_backend(build, args=7)": "check_backend(args=) takes a list of arguments, not 7",
    "check_backend(build, kwargs=7)": "check_backend(kwargs=) takes a mapping, not 7",
    "check_middleware(tag, failures=7)": (
        "check_middleware(failures=) takes a list of Fail(...) and Bad(...), not 7"
    ),
    "check_middleware(tag, args=7)": "check_middleware(args=) takes a list of arguments, not 7",
    "check_middleware(tag, args='x')": (
        "check_middleware(args=) takes a list of arguments, not 'x'"
    ),
    "check_middleware(tag, kwargs=[1])": "check_middleware(kwargs=) takes a mapping, not a list",
    "check_middleware(tag, answers=7)": "check_middleware(answers=) must be a bool, not 7",
    "check_middleware(tag, raises=7)": (
        "check_middleware(raises=) takes a class of Exception, or a tuple of them, not 7"
    ),
    "check_middleware(tag, raises=[RuntimeError])": (
        "check_middleware(raises=) takes a class of Exception, or a tuple of them, not a list"
    ),
    "check_middleware(tag, raises=(OSError, KeyboardInterrupt))": (
        "check_middleware(raises=) takes a class of Exception, or a tuple of them,"
        " not the class KeyboardInterrupt"
    ),
    "check_middleware(tag, skip=7)": "check_middleware(skip=) takes names of invariants, not 7",
    "check_middleware(tag, skip=[7])": "check_middleware(skip=) has no invariant 7; there are ",
    "ran().check(7)": "check takes functions of a run, not 7",
    "ran().check(only=7)": "check(only=) takes names of invariants, not 7",
    "ran().check(skip=7)": "check(skip=) takes names of invariants, not 7",
    "ran().waterfall('x')": "waterfall(width) must be a whole number of at least 1, not 'x'",
    # of the wrong value
    "simulate(ask, backend='curio')": "backend must be 'asyncio' or 'trio', not 'curio'",
    "simulate(ask, target='x')": "simulate(target=) must be 'faulty' or 'real', not 'x'",
    "simulate(ask, cancel='x')": "FailureSchedule(cancel=) must be 'scope' or 'task', not 'x'",
    "simulate(ask, cancel_at=-1)": (
        "FailureSchedule(cancel_at=) must be a number of at least 0, not -1"
    ),
    "simulate(ask, horizon=0)": "horizon must be seconds above 0 (a number or a timedelta), not 0",
    "FailureSchedule().step(0)": (
        "FailureSchedule.step(number) must be a whole number of at least 1, not 0"
    ),
    "FailureSchedule().of(-1)": (
        "FailureSchedule.of(index) must be a whole number of at least 0, not -1"
    ),
    "FailureSchedule().step('a')": (
        "FailureSchedule.step(number) must be a whole number of at least 1, not 'a'"
    ),
    "FailureSchedule().step(1.5)": (
        "FailureSchedule.step(number) must be a whole number of at least 1, not 1.5"
    ),
    "FailureSchedule().step(float('nan'))": (
        "FailureSchedule.step(number) must be a whole number of at least 1, not nan"
    ),
    "FailureSchedule().of(None)": (
        "FailureSchedule.of(index) must be a whole number of at least 0, not None"
    ),
    "FailureSchedule().of(1.5)": (
        "FailureSchedule.of(index) must be a whole number of at least 0, not 1.5"
    ),
    "Tester(retry()).run('.', ways=['x'])": "ways must be 'decorators' or 'stack', not 'x'",
    "Tester(retry()).run('.', backends=['x'])": "backend must be 'asyncio' or 'trio', not 'x'",
    "every(lambda log: ask, backend='x')": "backend must be 'asyncio' or 'trio', not 'x'",
    "every(lambda log: ask, backend='trio', delivery='x')": (
        "delivery must be 'scope', 'task' or a class of exception, not 'x'"
    ),
    "ran().waterfall(0)": "waterfall(width) must be a whole number of at least 1, not 0",
    "ran().check(only=[7])": "check(only=) has no invariant 7; there are attempts_bounded, ",
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_bad_option_is_refused(code):
    """The error names the option and shows the value and what is accepted."""
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(code, NAMES)  # noqa: S307 - the code is the key above
    said = REFUSED[code]
    assert str(caught.value).startswith(said), str(caught.value)
