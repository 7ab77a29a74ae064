"""Policies in order, as users hold them: `stack`, and the `Pipeline` that it returns.

A `Pipeline` is a decorator, a part of a larger stack, and a caller of
functions that cannot be decorated. Around a function that is guarded already
it makes one guard of both, with its own policies outside.
"""

from __future__ import annotations

import types
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from resilient._core import options
from resilient._core.chain_options import listed
from resilient._core.functions import name_of
from resilient._core.options import shown
from resilient._guard import Guard, Inside, callee, inside, written
from resilient._kinds import kind_to_await, kind_to_decorate
from resilient._lints import lint
from resilient._pipeline import Composition, explain_guarded
from resilient._runtime.block import Block
from resilient._runtime.entry import run_for_outcome
from resilient._runtime.listeners import check_listener
from resilient._switch import board

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Sequence,
    )

    from resilient._core.outcome import Outcome
    from resilient._pipeline import Compiled
    from resilient._policies import Policy, Retry
    from resilient._runtime.listeners import Listener
    from resilient.typing import AsyncFunction

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
        compiled, bound = self._compiled(fn, "call(fn)")
        return cast("R", await compiled.call(*bound, *args, **kwargs))

    async def run(
        self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Outcome[R]:
        """Call `fn` through these policies; return its value and how it came about."""
        compiled, bound = self._compiled(fn, "run(fn)")
        return await run_for_outcome(compiled.plan, compiled.run, (*bound, *args), kwargs)

    def _compiled(self, fn: Any, option: str) -> tuple[Compiled, tuple[Any, ...]]:  # noqa: ANN401
        """Return `fn` through these policies, and what it is bound to.

        A function that lasts is compiled once, so that its calls share what
        calls of a decorated function share: which targets rest, for instance.
        One that was made in a function would be kept alive by that, and all
        that it has closed over.
        """
        bound: tuple[Any, ...] = ()
        if type(fn) is types.MethodType:
            fn, bound = fn.__func__, (fn.__self__,)
        here = _in_force(self)
        known: dict[Any, Compiled] = here.__dict__.setdefault("_known", {})
        found = known.get(fn) if type(fn) is types.FunctionType else None
        if found is None:
            kind_to_await(fn, option)
            found = here.compile(fn)
            if type(fn) is types.FunctionType and "<locals>" not in fn.__qualname__:
                # Two threads may get here together: one of them wins.
                found = known.setdefault(fn, found)
        return found, bound

    def __getstate__(self) -> dict[str, Any]:
        """Copy the policies, not what was compiled from them."""
        return {name: held for name, held in self.__dict__.items() if name != "_known"}

    def __repr__(self) -> str:
        """Show the kinds, outermost first."""
        kinds = ", ".join(policy.kind for policy in self.policies)
        return f"<Pipeline {self.name or ''}({kinds})>"


class RetryPipeline(Pipeline):
    """What `retry` returns: also the block form, `async for attempt in retry():`."""

    def __aiter__(self) -> Block:
        """Begin a block whose body is tried again."""
        parts = _in_force(self).policies
        found = next((part for part in parts if part.kind == "retry"), None)
        if found is None:  # a test has put nothing in its place: the body runs once
            mine = cast("Retry", self.policies[0])
            return Block(replace(mine.policy, attempts=1), None)
        retry = cast("Retry", found)
        return Block(retry.policy, retry.budget)


def _in_force(pipeline: Pipeline) -> Pipeline:
    """Return what a test has put in the place of `pipeline`, mostly itself."""
    found = board.in_force
    return pipeline if found is None else cast("Pipeline", found.composition(pipeline, pipeline))


class FallbackPipeline(Pipeline, Generic[P, R_co]):
    """What `fallback` returns: it decorates functions with the signature of its targets."""

    def __call__(  # type: ignore[override]  # narrower on purpose: the targets' signature
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R | R_co]]:
        """Guard `fn`, which is the first target."""
        guarded: Callable[P, Coroutine[Any, Any, R | R_co]] = decorate(fn, self)
        return guarded


class StreamFallbackPipeline(Pipeline, Generic[P, R_co]):
    """What `fallback` returns for async generators: it decorates those with the same signature."""

    def __call__(  # type: ignore[override]  # as above
        self, fn: Callable[P, AsyncIterator[R]], /
    ) -> Callable[P, AsyncGenerator[R | R_co, Any]]:
        """Guard `fn`, which is the first target."""
        guarded: Callable[P, AsyncGenerator[R | R_co, Any]] = decorate(fn, self)
        return guarded


def decorate(fn: Any, outer: Composition) -> Any:  # noqa: ANN401
    """Put `outer` around `fn`: into one guard with the policies that `fn` has already."""
    if isinstance(fn, staticmethod | classmethod):
        method = cast("Any", fn)
        return type(method)(decorate(method.__func__, outer))
    found = written(fn)
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


def pipeline_of(fn: Any) -> Pipeline:  # noqa: ANN401
    """Return the pipeline around a decorated function; a `TypeError` where there is none.

    >>> @timeout(8)
    ... async def fetch(url: str) -> bytes: ...
    >>> pipeline_of(fetch).bound
    Bound(calls=1, seconds=8.0)
    """
    if isinstance(fn, Pipeline):
        return fn
    found = inside(callee(fn))
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
    found = inside(callee(fn))
    if found is not None:
        return explain_guarded(found.fn, found.pipeline, found.compiled.plan.name)
    if isinstance(fn, Pipeline):
        return explain_guarded(None, fn, fn.name or "a pipeline")
    own = getattr(fn, "explain", None)
    if not callable(own) or isinstance(fn, type):
        raise TypeError(f"{name_of(fn)} is not guarded: there is nothing to explain")
    return str(own())


def _policy(policy: object, option: str) -> None:
    if not isinstance(policy, Pipeline):
        written = getattr(policy, "__name__", None) or shown(policy)
        message = f"{option} takes policies such as retry() or timeout(8), not {written}"
        raise TypeError(message)


def listeners_of(listeners: object, option: str) -> tuple[Listener, ...]:
    """Check that each listener can be told."""
    found = listed(listeners, option, "listeners")
    for listener in found:
        check_listener(listener, option)
    return found
