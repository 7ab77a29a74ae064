"""What users write: `retry`, `timeout` and `fallback`.

Each returns a `Pipeline`: a decorator, and a part of a stack. Options are
checked here, once; what a policy does stands in `_core`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from resilient._core import options
from resilient._core.backoff import backoff_of, exponential
from resilient._core.chain_options import chain_policy
from resilient._core.conditions import condition, result_condition
from resilient._core.options import shown
from resilient._core.retry import RetryPolicy
from resilient._core.transient import transient
from resilient._kinds import function_or_none, functions_to_call
from resilient._pipeline import bound_of_function
from resilient._policies import Fallback, Retry, Timeout
from resilient._runtime.budgets import RetryBudget
from resilient._stack import FallbackPipeline, Pipeline, RetryPipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from resilient._core.backoff import Backoff
    from resilient._core.fallback import Midstream, Raises
    from resilient._core.faults import Classify
    from resilient._core.options import Seconds
    from resilient._core.outcome import Restarted
    from resilient._runtime.chain import LastResort
    from resilient._stack import StreamFallbackPipeline
    from resilient.typing import AsyncFunction, OnError, OnResult

_NOT_GIVEN: Any = object()

F = TypeVar("F", bound="AsyncFunction")
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@overload
def retry(fn: F, /) -> F: ...


@overload
def retry(
    *,
    attempts: int | None = 3,
    on: OnError = ...,
    on_result: OnResult | None = None,
    backoff: Backoff | Sequence[Seconds] | Callable[[int], Seconds] = ...,
    max_elapsed: Seconds | None = None,
    max_hint: Seconds = 60,
    budget: RetryBudget | None = None,
    classify: Classify | None = None,
    layered: Literal["allow", "warn"] = "allow",
) -> RetryPipeline: ...


def retry(
    fn: Any = None,
    /,
    *,
    attempts: int | None = 3,
    on: OnError = transient,
    on_result: OnResult | None = None,
    backoff: Backoff | Sequence[Seconds] | Callable[[int], Seconds] | None = None,
    max_elapsed: Seconds | None = None,
    max_hint: Seconds = 60,
    budget: RetryBudget | None = None,
    classify: Classify | None = None,
    layered: Literal["allow", "warn"] = "allow",
) -> Any:
    """Try again after failures that may pass.

    `attempts` includes the first; `None` is allowed only with `max_elapsed`.
    `on` says which errors are tried again: a type, a predicate, or a tuple of
    either; the default `transient` is a table that `print(transient)` shows.
    `on_result` is a predicate that makes a returned value a failure; when the
    attempts are used up, the last value is returned. `backoff` is the wait
    before each retry: `exponential()` with full jitter by default, a list of
    seconds, or a function of the retry's number. A server's hint
    (`Retry-After`) that is longer *is* the wait, up to `max_hint` seconds.
    `max_elapsed`: no attempt starts and no wait ends later than so many
    seconds after the first attempt began; it cuts no running attempt
    (`timeout` does). `budget` is shared by name across functions. `classify`
    maps an error to a `Fault`. `layered="warn"` logs a retry inside a retry.

    The last error is raised as it is, with a note of what was tried.
    Cancellation is never retried. Bad options raise `ValueError` or
    `TypeError` here. Waits: Brooker, "Exponential Backoff And Jitter" (AWS
    Architecture Blog, 2015).

    >>> @retry(attempts=4)
    ... async def fetch(url: str) -> bytes: ...

    A block that cannot be a function of its own:

    >>> async def read() -> bytes:
    ...     async for attempt in retry(attempts=3):
    ...         with attempt:
    ...             return await fetch("https://example.org")
    """
    if fn is not None:
        return _bare(retry, fn)
    elapsed = inf
    if max_elapsed is not None:
        elapsed = options.seconds(max_elapsed, "retry(max_elapsed=)")
    if attempts is not None:
        options.whole(attempts, "retry(attempts=)")
    elif max_elapsed is None:
        message = "retry(attempts=None) needs max_elapsed=: something has to end it"
        raise ValueError(message)
    _budget(budget, "retry(budget=)")
    function_or_none(classify, "retry(classify=)")
    policy = RetryPolicy(
        attempts=attempts,
        on=condition(on, "retry(on=)", classify=classify),
        on_result=None if on_result is None else result_condition(on_result, "retry(on_result=)"),
        backoff=exponential() if backoff is None else backoff_of(backoff, "retry(backoff=)"),
        max_elapsed=elapsed,
        max_hint=options.seconds(max_hint, "retry(max_hint=)", zero=True),
        classify=classify,
        layered=cast("Any", options.choice(layered, "retry(layered=)", ("allow", "warn"))),
    )
    return RetryPipeline(policies=(Retry(policy, budget),))


@overload
def timeout(
    seconds: Seconds,
    /,
    *,
    first_item: Seconds | None = None,
    between_items: Seconds | None = None,
) -> Pipeline: ...


@overload
def timeout(*, first_item: Seconds, between_items: Seconds | None = None) -> Pipeline: ...


@overload
def timeout(*, between_items: Seconds) -> Pipeline: ...


def timeout(
    seconds: Any = _NOT_GIVEN,
    /,
    *,
    first_item: Seconds | None = None,
    between_items: Seconds | None = None,
) -> Pipeline:
    """Give what is inside at most `seconds`; then it is cancelled and `TimedOut` is raised.

    Outside of a retry it limits everything, waits included; inside, each
    attempt. Nested limits: the nearest is in force, `remaining()` tells it. A
    `TimeoutError` that the function raises itself passes through as it is, a
    caller's cancellation wins over ours, and code that swallows the
    cancellation and returns late has its value returned. On asyncio it does
    what `asyncio.timeout` does, on trio what a cancel scope does.

    On an async generator `seconds` is for all of it, to the last item, and the
    time that its consumer takes counts as well. `first_item` limits the time
    to the first item, `between_items` the time that the generator takes for
    each further one; what its consumer does in between is not counted. With
    one of these `seconds` may be left out; on a function that is no async
    generator they are a `TypeError` at decoration.

    `None`, zero and negative numbers are a `ValueError` or `TypeError`: leave
    the policy out to have no limit.

    >>> @timeout(8)
    ... async def fetch(url: str) -> bytes: ...
    >>> @timeout(30, first_item=5, between_items=2)
    ... async def words(prompt: str):
    ...     yield "so"
    """
    if seconds is _NOT_GIVEN and first_item is None and between_items is None:
        message = "timeout needs its seconds: write @timeout(8)"
        raise TypeError(message)
    if callable(seconds):
        message = "timeout needs its seconds: write @timeout(8)"
        raise TypeError(message)
    total = inf if seconds is _NOT_GIVEN else options.seconds(seconds, "timeout(seconds)")
    first = _item_limit(first_item, "timeout(first_item=)", total)
    between = _item_limit(between_items, "timeout(between_items=)", total)
    return Pipeline(policies=(Timeout(total, first, between),))


def _item_limit(seconds: Seconds | None, option: str, total: float) -> float:
    if seconds is None:
        return inf
    found = options.seconds(seconds, option)
    if found >= total:
        raise ValueError(
            f"{option} must be less than the {total:.6g} s for the whole stream, not {found:.6g}"
        )
    return found


@overload
def fallback(
    *,
    to: Sequence[Callable[P, Awaitable[R]]],
    degrade: LastResort | None = None,
    on: OnError | None = None,
    on_result: OnResult | None = None,
    routes: Mapping[type[Exception], Sequence[str]] | None = None,
    switch_after: Seconds = 3,
    raises: Raises = "group",
) -> FallbackPipeline[P, R]: ...


@overload
def fallback(
    *,
    to: Sequence[Callable[P, AsyncIterator[R]]],
    degrade: LastResort | None = None,
    on: OnError | None = None,
    on_result: OnResult | None = None,
    routes: Mapping[type[Exception], Sequence[str]] | None = None,
    switch_after: Seconds = 3,
    raises: Raises = "group",
    midstream: Literal["error"] = "error",
) -> StreamFallbackPipeline[P, R]: ...


@overload
def fallback(
    *,
    to: Sequence[Callable[P, AsyncIterator[R]]],
    degrade: LastResort | None = None,
    on: OnError | None = None,
    on_result: OnResult | None = None,
    routes: Mapping[type[Exception], Sequence[str]] | None = None,
    switch_after: Seconds = 3,
    raises: Raises = "group",
    midstream: Literal["restart"],
) -> StreamFallbackPipeline[P, R | Restarted]: ...


@overload
def fallback(
    *,
    degrade: LastResort,
    on: OnError | None = None,
    on_result: OnResult | None = None,
) -> Pipeline: ...


def fallback(
    *targets: Any,
    to: Sequence[Callable[..., Any]] = (),
    degrade: LastResort | None = None,
    on: OnError | None = None,
    on_result: OnResult | None = None,
    routes: Mapping[type[Exception], Sequence[str]] | None = None,
    switch_after: Seconds = 3,
    raises: Raises = "group",
    midstream: Midstream = "error",
) -> Any:
    """Ask the functions of `to` in order when what is inside fails, at last `degrade`.

    The functions of `to` have the signature of the decorated one and get its
    arguments; their own policies stay around them. `degrade` is `value(...)` or
    `last_good(...)`: the answer when nobody answered. `on` says which errors move on: by
    default every `Exception`; `on=not_a_bug` is strict. `on_result` is a
    predicate that makes a returned value a failure. `routes` sends a class of
    error to the named targets, or to none. While another target is free, a
    retry inside does not wait longer than `switch_after` seconds.

    If one target failed, and the others were not asked because of that very
    failure, its error is raised as it is; otherwise `AllTargetsFailed` holds
    every error in order. `raises="first"` or `"last"` picks one of them.

    Async generator functions fall back to async generator functions, until
    the first item; `on_result` judges that item. What fails later is an error,
    or with `midstream="restart"` the next one of `to` is asked, and a
    `Restarted` marker is yielded before its items: those before it are void.
    To mix the two kinds is a `TypeError` at decoration.

    >>> async def small(question: str) -> str:
    ...     return "no idea"
    >>> @fallback(to=[small], degrade=value("sorry"))
    ... @timeout(8)
    ... async def large(question: str) -> str: ...
    """
    if targets:
        message = "fallback needs to= or degrade=: write @fallback(to=[other])"
        raise TypeError(message)
    others = functions_to_call(to, "fallback(to=)")
    policy = chain_policy(
        "fallback",
        on=on,
        on_result=on_result,
        routes=routes,
        switch_after=switch_after,
        degrade=degrade,
        raises=raises,
        midstream=midstream,
    )
    if not others and degrade is None:
        message = "fallback() needs to= or degrade=: without either nobody answers"
        raise ValueError(message)
    bounds = tuple(bound_of_function(fn) for fn in others)
    made: FallbackPipeline[..., Any] = FallbackPipeline(
        policies=(Fallback(others, policy, bounds),)
    )
    return made


def _bare(policy: Callable[..., Any], fn: Any) -> Any:  # noqa: ANN401
    if not callable(fn) and not isinstance(fn, (staticmethod, classmethod)):
        name = policy.__name__
        message = f"{name}() takes options by keyword: {name}(attempts=3), not {shown(fn)}"
        raise TypeError(message)
    return policy()(fn)


def _budget(budget: object, option: str) -> None:
    if budget is not None and not isinstance(budget, RetryBudget):
        raise TypeError(f"{option} must be a RetryBudget, not {shown(budget)}")
