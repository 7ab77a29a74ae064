"""The functions that are compared: ours, by hand, and with other libraries.

Every full stack does the same: a fallback around a total timeout around a
retry of three attempts. The function inside answers at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version

from resilient import (
    CircuitOpen,
    circuit_breaker,
    consecutive,
    fallback,
    retry,
    stack,
    timeout,
)

Call = Callable[[], Awaitable[object]]


async def target() -> int:
    return 1


async def other() -> int:
    return 2


def flaky() -> Call:
    """Return a function that fails every other time."""
    calls = 0

    async def fails_every_other_time() -> int:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise ConnectionError
        return calls

    return fails_every_other_time


def ours() -> dict[str, Call]:
    quick = retry(attempts=3, backoff=[0])
    return {
        "retry": retry(target),
        "timeout": timeout(30)(target),
        "circuit breaker": circuit_breaker("benchmark")(target),
        "fallback": fallback(to=[other])(target),
        "retry + timeout + fallback": fallback(to=[other])(timeout(30)(quick(target))),
        "retry + 2 timeouts + fallback": fallback(to=[other])(
            stack(timeout(30), quick, timeout(8))(target)
        ),
        "retry + timeout + breaker + fallback": fallback(to=[other])(
            stack(timeout(30), quick, circuit_breaker("benchmark"))(target)
        ),
    }


async def by_hand() -> int:
    try:
        async with asyncio.timeout(30):
            for attempt in range(3):
                try:
                    return await target()
                except ConnectionError:
                    if attempt == 2:  # noqa: PLR2004 - the last of three
                        raise
                    await asyncio.sleep(0)
    except Exception:  # noqa: BLE001 - a fallback by hand
        return await other()
    raise AssertionError


def peers() -> dict[str, Call]:
    """Return the stacks made of other libraries that are installed."""
    made: dict[str, Call] = {"by hand: asyncio.timeout + loop + try": by_hand}
    try:
        import tenacity  # noqa: PLC0415 - an optional peer
    except ImportError:
        return made

    retrying = tenacity.retry(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_none(),
        retry=tenacity.retry_if_exception_type(ConnectionError),
        reraise=True,
    )
    retried = retrying(target)

    async def tenacity_stack() -> int:
        try:
            async with asyncio.timeout(30):
                return await retried()
        except Exception:  # noqa: BLE001 - a fallback by hand
            return await other()

    made[f"tenacity {_version('tenacity')} + asyncio.timeout + try"] = tenacity_stack
    try:
        import circuitbreaker  # noqa: PLC0415 - an optional peer
    except ImportError:
        return made

    guarded = retrying(circuitbreaker.circuit(target))

    async def complete_stack() -> int:
        try:
            async with asyncio.timeout(30):
                return await guarded()
        except Exception:  # noqa: BLE001 - a fallback by hand
            return await other()

    breaker = f"circuitbreaker {_version('circuitbreaker')}"
    made[f"tenacity + {breaker} + asyncio.timeout + try"] = complete_stack
    return made


def recovering() -> dict[str, Call]:
    """Return calls whose function fails once and then answers."""
    tried_again = flaky()

    async def hand() -> object:
        try:
            return await tried_again()
        except ConnectionError:
            return await tried_again()

    made: dict[str, Call] = {
        "by hand: try, and call again": hand,
        "retry": retry(attempts=3, backoff=[0])(flaky()),
    }
    try:
        import tenacity  # noqa: PLC0415 - an optional peer
    except ImportError:
        return made
    made[f"tenacity {_version('tenacity')}"] = tenacity.retry(
        stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none()
    )(flaky())
    return made


def refusing() -> dict[str, Call]:
    """Return calls that are refused by an open circuit, beside one that raises."""

    class Refused(Exception):
        """What is raised by hand."""

    async def raises() -> object:
        raise Refused("refused")

    async def fails() -> object:
        raise ConnectionError

    def caught(call: Call, error: type[Exception]) -> Call:
        async def refused() -> object:
            try:
                return await call()
            except error:
                return None

        return refused

    ours = circuit_breaker("refusing", trip=consecutive(1), open_for=3600)
    permit = ours.acquire()
    permit.fail()
    made = {
        "by hand: raise": caught(raises, Refused),
        "circuit breaker": caught(ours(fails), CircuitOpen),
    }
    try:
        import circuitbreaker  # noqa: PLC0415 - an optional peer
    except ImportError:
        return made
    # The first call opens it: it fails while the contenders warm up.
    open_one = circuitbreaker.circuit(failure_threshold=1, recovery_timeout=3600)(fails)
    made[f"circuitbreaker {_version('circuitbreaker')}"] = caught(open_one, Exception)
    return made


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


async def numbers() -> AsyncGenerator[int, None]:
    for number in range(100):
        yield number


async def limited_by_hand() -> AsyncGenerator[int, None]:
    items = numbers()
    while True:
        try:
            async with asyncio.timeout(2):
                item = await anext(items)
        except StopAsyncIteration:
            return
        yield item


def reading(stream: Callable[[], AsyncGenerator[int, None]]) -> Call:
    """Return a function that reads a stream."""

    async def reads() -> None:
        async for _ in stream():
            pass

    return reads


def streaming() -> dict[str, Call]:
    restarts = fallback(to=[numbers], midstream="restart")
    return {
        "the bare generator": reading(numbers),
        "by hand: asyncio.timeout for each item": reading(limited_by_hand),
        "retry": reading(retry(numbers)),
        "timeout(30)": reading(timeout(30)(numbers)),
        "timeout(between_items=2)": reading(timeout(between_items=2)(numbers)),
        "fallback that restarts": reading(restarts(numbers)),
        "retry + timeout + breaker + fallback": reading(
            stack(
                fallback(to=[numbers]),
                timeout(30, first_item=5, between_items=2),
                retry(attempts=3, backoff=[0]),
                circuit_breaker("benchmark of streams"),
            )(numbers)
        ),
    }
