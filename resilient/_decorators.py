"""What users write: `retry`, `timeout`, `fallback`, `stack`, `standard`.

Each returns a `Pipeline`: a decorator, a part of a stack, a caller of
functions that cannot be decorated. Options are checked here, once; what a
policy does stands in `_core`.
"""

from __future__ import annotations

import types
from math import inf
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, TypeVar, cast, overload

from resilient._core import options
from resilient._core.backoff import backoff_of, exponential
from resilient._core.chain_options import chain_policy, last_resort, listed
from resilient._core.conditions import condition, result_condition
from resilient._core.options import shown
from resilient._core.retry import RetryPolicy
from resilient._core.transient import transient
from resilient._guard import Guard, Inside, inside
from resilient._kinds import is_coroutine_function, kind_to_call, kind_to_decorate, name_of
from resilient._lints import lint
from resilient._pipeline import Composition, bound_of_function, explain_guarded
from resilient._policies import Fallback, Policy, Retry, Timeout
from resilient._runtime.block import Block
from resilient._runtime.budgets import RetryBudget
from resilient._runtime.entry import run_for_outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from resilient._core.backoff import Backoff
    from resilient._core.fallback import Raises
    from resilient._core.options import Seconds
    from resilient._core.outcome import Outcome
    from resilient._core.retry import Classify
    from resilient._runtime.chain import LastResort
    from resilient._runtime.listeners import Listener
    from resilient.typing import AsyncFunction, OnError, OnResult

F = TypeVar("F", bound="AsyncFunction")
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Pipeline(Composition):
    """Policies in order, outermost first: a decorator, and a way to call without decorating.

    >>> llm = stack(timeout(30), retry(attempts=4), timeout(8), name="llm")
    >>> [policy.kind for policy in llm.policies]
    ['timeout', 'retry', 'timeout']
    """

    def __call__(self, fn: F, /) -> F:
        """Guard `fn`; policies that it has already stay inside these."""
        return cast("F", decorate(fn, self))

    async def call(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `fn` through these policies, without decorating it."""
        kind_to_call(fn, "call(fn)")
        compiled = self.compile(fn)
        return cast("R", await compiled.call(*args, **kwargs))

    async def run(
        self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Outcome[R]:
        """Call `fn` through these policies; return its value and how it came about."""
        kind_to_call(fn, "run(fn)")
        compiled = self.compile(fn)
        return await run_for_outcome(compiled.plan, compiled.run, args, kwargs)

    def __repr__(self) -> str:
        """Show the kinds, outermost first."""
        kinds = ", ".join(policy.kind for policy in self.policies)
        return f"<Pipeline {self.name or ''}({kinds})>"


class RetryPipeline(Pipeline):
    """What `retry` returns: also the block form, `async for attempt in retry():`."""

    def __aiter__(self) -> Block:
        """Begin a block whose body is tried again."""
        retry = cast("Retry", self.policies[0])
        return Block(retry.policy, retry.budget)


class FallbackPipeline(Pipeline, Generic[P, R_co]):
    """What `fallback` returns: it decorates functions with the signature of its targets."""

    def __call__(  # type: ignore[override]  # narrower on purpose: the targets' signature
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R | R_co]]:
        """Guard `fn`, which is the first target."""
        guarded: Callable[P, Coroutine[Any, Any, R | R_co]] = decorate(fn, self)
        return guarded


def decorate(fn: Any, outer: Composition) -> Any:  # noqa: ANN401
    """Put `outer` around `fn`: into one guard with the policies that `fn` has already."""
    if isinstance(fn, staticmethod | classmethod):
        method = cast("Any", fn)
        return type(method)(decorate(method.__func__, outer))
    found = inside(fn)
    if found is None:
        return _guard(fn, outer)
    inner: Composition = found.pipeline
    joined = Pipeline(
        policies=(*outer.policies, *inner.policies),
        name=outer.name or inner.name,
        listeners=(*outer.listeners, *inner.listeners),
    )
    lint(joined.name or name_of(fn), outer.policies, inner.policies)
    made = _guard(found.fn, joined)
    return types.MethodType(made, fn.__self__) if isinstance(fn, types.MethodType) else made


def _guard(fn: Any, composition: Composition) -> Guard:  # noqa: ANN401
    kind_to_decorate(fn)
    return Guard(Inside(composition.compile(fn), fn, composition))


def stack(
    *policies: Pipeline, name: str | None = None, listeners: Sequence[Listener] = ()
) -> Pipeline:
    """Stack policies, outermost first, into one `Pipeline`.

    `name` is what spans, logs and `explain` call it (default: the function's
    qualified name). `listeners` are told of every event of its calls.

    >>> @stack(timeout(30), retry(attempts=4))
    ... async def fetch(url: str) -> bytes: ...
    >>> print(explain(fetch))
    fetch: 2 policies, outermost first
      timeout           30 s for everything inside
      retry             4 attempts on transient errors; full jitter 0.1 s .. 20 s
      bound             at most 4 calls and 30 s
    """
    parts: list[Policy] = []
    told: list[Listener] = []
    if name is not None:
        options.text(name, "stack(name=)")
    for policy in policies:
        _policy(policy, "stack()")
        lint(name or "stack", parts, policy.policies)
        parts.extend(policy.policies)
        told.extend(policy.listeners)
    mine = listeners_of(listeners, "stack(listeners=)")
    return Pipeline(policies=tuple(parts), name=name, listeners=(*mine, *told))


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


def timeout(seconds: Seconds, /) -> Pipeline:
    """Give what is inside at most `seconds`; then it is cancelled and `TimedOut` is raised.

    Outside of a retry it limits everything, waits included; inside, each
    attempt. Nested limits: the nearest is in force, `remaining()` tells it. A
    `TimeoutError` that the function raises itself passes through as it is, a
    caller's cancellation wins over ours, and code that swallows the
    cancellation and returns late has its value returned. On asyncio it does
    what `asyncio.timeout` does, on trio what a cancel scope does.

    `None`, zero and negative numbers are a `ValueError` or `TypeError`: leave
    the policy out to have no limit.

    >>> @timeout(8)
    ... async def fetch(url: str) -> bytes: ...
    """
    if callable(seconds):
        message = "timeout needs its seconds: write @timeout(8)"
        raise TypeError(message)
    return Pipeline(policies=(Timeout(options.seconds(seconds, "timeout(seconds)")),))


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
    degrade: LastResort,
    on: OnError | None = None,
    on_result: OnResult | None = None,
) -> Pipeline: ...


def fallback(
    *targets: Any,
    to: Sequence[Callable[..., Awaitable[Any]]] = (),
    degrade: LastResort | None = None,
    on: OnError | None = None,
    on_result: OnResult | None = None,
    routes: Mapping[type[Exception], Sequence[str]] | None = None,
    switch_after: Seconds = 3,
    raises: Raises = "group",
) -> Any:
    """Ask the functions of `to` in order when what is inside fails, at last `degrade`.

    The functions of `to` have the signature of the decorated one and get its
    arguments; their own policies stay around them. `degrade` is `value(...)`:
    the answer when nobody answered. `on` says which errors move on: by
    default every `Exception`; `on=not_a_bug` is strict. `on_result` is a
    predicate that makes a returned value a failure. `routes` sends a class of
    error to the named targets, or to none. While another target is free, a
    retry inside does not wait longer than `switch_after` seconds.

    If one target failed, and the others were not asked because of that very
    failure, its error is raised as it is; otherwise `AllTargetsFailed` holds
    every error in order. `raises="first"` or `"last"` picks one of them.

    >>> async def small(question: str) -> str:
    ...     return "no idea"
    >>> @fallback(to=[small], degrade=value("sorry"))
    ... @timeout(8)
    ... async def large(question: str) -> str: ...
    """
    if targets:
        message = "fallback needs to= or degrade=: write @fallback(to=[other])"
        raise TypeError(message)
    others = _functions(to, "fallback(to=)")
    policy = chain_policy(
        "fallback",
        on=on,
        on_result=on_result,
        routes=routes,
        switch_after=switch_after,
        degrade=degrade,
        raises=raises,
    )
    if not others and degrade is None:
        message = "fallback() needs to= or degrade=: without either nobody answers"
        raise ValueError(message)
    bounds = tuple(bound_of_function(fn) for fn in others)
    made: FallbackPipeline[..., Any] = FallbackPipeline(
        policies=(Fallback(others, policy, bounds),)
    )
    return made


_ATTEMPT: Final = float(10)
"""The default limit of an attempt in seconds; its identity tells that nobody gave one."""


def standard(
    name: str,
    /,
    *,
    attempts: int = 3,
    timeout: Seconds | None = 30,
    attempt_timeout: Seconds | None = _ATTEMPT,
    to: Sequence[Callable[..., Awaitable[Any]]] = (),
    degrade: LastResort | None = None,
) -> Pipeline:
    """Return the good order of a stack: fallback, total timeout, retry, attempt timeout.

    `timeout` limits everything, `attempt_timeout` each attempt (10 s; where
    that is not shorter than `timeout` and was not given, there is none; `None`
    leaves a limit out). `to` and `degrade` are those of `fallback`.

    >>> print(explain(standard("prices", attempts=4)))
    prices: 3 policies, outermost first
      timeout           30 s for everything inside
      retry             4 attempts on transient errors; full jitter 0.1 s .. 20 s
      timeout           10 s per attempt
      bound             at most 4 calls and 30 s
    """
    parts: list[Pipeline] = []
    options.whole(attempts, "standard(attempts=)")
    others = _functions(to, "standard(to=)")
    if others or degrade is not None:
        last_resort(degrade, "standard(degrade=)")
        parts.append(fallback(to=others, degrade=cast("Any", degrade)))
    if timeout is not None:
        parts.append(_timeout(timeout, "standard(timeout=)"))
        if attempt_timeout is _ATTEMPT and options.seconds(timeout, "timeout") <= _ATTEMPT:
            attempt_timeout = None
    parts.append(retry(attempts=attempts))
    if attempt_timeout is not None:
        parts.append(_timeout(attempt_timeout, "standard(attempt_timeout=)"))
    return stack(*parts, name=options.text(name, "standard(name)"))


def _timeout(seconds: Seconds, option: str) -> Pipeline:
    return Pipeline(policies=(Timeout(options.seconds(seconds, option)),))


def _bare(policy: Callable[..., Any], fn: Any) -> Any:  # noqa: ANN401
    if not callable(fn) and not isinstance(fn, (staticmethod, classmethod)):
        name = policy.__name__
        message = f"{name}() takes options by keyword: {name}(attempts=3), not {shown(fn)}"
        raise TypeError(message)
    return policy()(fn)


def _policy(policy: object, option: str) -> None:
    if not isinstance(policy, Pipeline):
        written = getattr(policy, "__name__", None) or shown(policy)
        message = f"{option} takes policies such as retry() or timeout(8), not {written}"
        raise TypeError(message)


def _budget(budget: object, option: str) -> None:
    if budget is not None and not isinstance(budget, RetryBudget):
        raise TypeError(f"{option} must be a RetryBudget, not {shown(budget)}")


def _functions(to: Any, option: str) -> tuple[Callable[..., Any], ...]:  # noqa: ANN401
    found = listed(to, option, "async functions")
    for fn in found:
        kind_to_call(fn, option)
    return found


def function_or_none(fn: object, option: str) -> None:
    """Check that an option is a function, if it is given."""
    if fn is not None and not callable(fn):
        raise TypeError(f"{option} must be a function, not {shown(fn)}")
    if fn is not None and is_coroutine_function(fn):
        raise TypeError(f"{option} must be a plain function, not the async {name_of(fn)}")


def listeners_of(listeners: object, option: str) -> tuple[Listener, ...]:
    """Check that each listener can be told."""
    found = listed(listeners, option, "listeners")
    for listener in found:
        if not callable(getattr(listener, "on_event", None)):
            raise TypeError(
                f"{option} must have on_event(event, call), and {shown(listener)} has not"
            )
    return found


def pipeline_of(fn: Any) -> Pipeline:  # noqa: ANN401
    """Return the pipeline around a decorated function; a `TypeError` where there is none.

    >>> @timeout(8)
    ... async def fetch(url: str) -> bytes: ...
    >>> pipeline_of(fetch).bound
    Bound(calls=1, seconds=8.0)
    """
    if isinstance(fn, Pipeline):
        return fn
    found = inside(fn)
    if found is None:
        message = f"{name_of(fn)} is not guarded: no policy decorates it"
        raise TypeError(message)
    pipeline: Pipeline = found.pipeline
    return pipeline


def explain(fn: Any, /) -> str:  # noqa: ANN401
    """Say what a guarded function, a pipeline or a manager amounts to, worst case included.

    >>> @retry(attempts=3)
    ... @timeout(8)
    ... async def fetch(url: str) -> bytes: ...
    >>> print(explain(fetch))
    fetch: 2 policies, outermost first
      retry             3 attempts on transient errors; full jitter 0.1 s .. 20 s
      timeout           8 s per attempt
      bound             at most 3 calls and 144 s
    """
    found = inside(fn)
    if found is not None:
        return explain_guarded(found.fn, found.pipeline, found.compiled.plan.name)
    if isinstance(fn, Pipeline):
        return explain_guarded(None, fn, fn.name or "a pipeline")
    own = getattr(fn, "explain", None)
    if not callable(own) or isinstance(fn, type):
        raise TypeError(f"{name_of(fn)} is not guarded: there is nothing to explain")
    return str(own())
