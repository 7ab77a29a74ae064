"""What is simulated, with scripted functions in the place of those that are called in the end.

Nothing is patched. The pipeline is compiled anew around other functions, which
have the name and the signature of the real ones: so its chains remember
nothing, and in the run's own world its breakers and budgets are new as well.
"""

from __future__ import annotations

import functools
import inspect
import types
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from resilient._core.functions import function_name, name_of
from resilient._guard import Inside, inside
from resilient._kinds import is_coroutine_function, is_stream
from resilient._manager import FallbackManager, manager_like
from resilient._manager_of import function_behind, manager_of
from resilient._policies import Fallback
from resilient._stack import Pipeline, explain
from resilient._target import Target
from resilient.testing._anatomy import anatomy_of, is_manager
from resilient.testing._backend import FaultyBackend
from resilient.testing._stand_ins import arguments_of, limits_items, stand_in, with_parameters
from resilient.testing._steps import Items

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from resilient._policies import Policy
    from resilient.testing._anatomy import Guarded
    from resilient.testing._record import Log
    from resilient.testing._schedule import FailureSchedule

    Script = Callable[[Any, str], Any]
    """Makes the scripted function that stands in for a function of that name."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What the callers of a run await, or with `stream` iterate over, and what it is made of."""

    call: Callable[[], Any]
    anatomy: Guarded | None
    name: str = ""
    real: bool = True
    explanation: str | None = None
    stream: bool = False


def made_ready(
    what: Any,  # noqa: ANN401 - a function, a pipeline or a manager
    schedule: FailureSchedule,
    log: Log,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    real: bool,
) -> Ready:
    """Return what is called in a run of `schedule`; `real` leaves every function in its place."""
    if not is_guarded(what):
        backend = () if real else (FaultyBackend(schedule),)
        call = _plain(what, backend, args, kwargs)
        return Ready(
            functools.partial(call, *args, **kwargs),
            None,
            name_of(what),
            stream=is_stream(what),
        )
    if real:
        fn = what
    else:
        fn = scripted(what, schedule, log)
        args = args or arguments_of(what, kwargs)
    stream = gives_stream(fn)
    call = (fn.stream if stream else fn.run) if is_manager(fn) else fn
    return Ready(
        functools.partial(call, *args, **kwargs),
        anatomy_of(_behind(fn)),
        real=real,
        explanation=explain(fn),
        stream=stream,
    )


def gives_stream(what: Any) -> bool:  # noqa: ANN401
    """Tell whether a function, a pipeline or a manager gives a stream."""
    if isinstance(what, Pipeline):
        return limits_items(what.policies)
    if not is_manager(what):
        return is_stream(what)
    fn = function_behind(what)
    calls = [target.call for target in what.targets] if fn is None else [fn]
    return any(call is not None and is_stream(call) for call in calls)


def is_guarded(what: Any) -> bool:  # noqa: ANN401
    """Tell whether something is guarded by this library: a function, a pipeline, a manager."""
    return isinstance(what, Pipeline) or is_manager(what) or inside(what) is not None


def example_of(what: Any) -> Guarded | None:  # noqa: ANN401
    """Return what a function, a pipeline or a manager is made of, before any run."""
    if not is_guarded(what):
        return None
    return anatomy_of(
        _behind(rebuilt(what, lambda fn, name: _like(stand_in(stream=is_stream(fn)), fn, name)))
    )


def scripted(what: Any, schedule: FailureSchedule, log: Log) -> Any:  # noqa: ANN401
    """Return `what` with functions in the place of its targets that follow `schedule`."""
    count = 0

    def script(fn: Any, name: str) -> Any:  # noqa: ANN401
        nonlocal count
        index, count = count, count + 1
        mine, stream = schedule.of(index), is_stream(fn)
        _check_kind(mine, name, stream=stream)
        return _like(log.scripted(mine, name, index=index, stream=stream), fn, name)

    return rebuilt(what, script)


def _check_kind(schedule: FailureSchedule, name: str, *, stream: bool) -> None:
    for step in (*schedule.steps, schedule.then):
        if isinstance(step, Items) and not stream:
            raise TypeError(
                f"{name} gives no stream, and the schedule has {step!r}:"
                " items are for async generator functions"
            )


def rebuilt(what: Any, script: Script) -> Any:  # noqa: ANN401
    """Return a copy of `what` around other functions, which `script` makes in their order."""
    if isinstance(what, Pipeline):
        parts = _policies(what.policies, lambda: script(with_parameters(what), "target"), script)
        return _guard(parts, what.name, what.listeners)
    if is_manager(what):
        return _manager(cast("FallbackManager[Any]", what), script)
    return _function(what, script)


def _function(fn: Any, script: Script) -> Any:  # noqa: ANN401
    found = inside(fn)
    if found is None:
        return script(fn, name_of(fn))
    made = _inside(found, script)
    return types.MethodType(made, fn.__self__) if isinstance(fn, types.MethodType) else made


def _inside(found: Inside, script: Script) -> Any:  # noqa: ANN401
    pipeline = found.pipeline
    first = functools.partial(script, found.fn, name_of(found.fn))
    return _guard(
        _policies(pipeline.policies, first, script), found.compiled.plan.name, pipeline.listeners
    )


def _policies(
    policies: Sequence[Policy], first: Callable[[], Any], script: Script
) -> tuple[tuple[Policy, ...], Any]:
    """Return policies with other functions to fall back to, and the function that they guard."""
    fn = first()
    made = list(policies)
    # From the inside out: that is the order in which a plan counts its targets.
    for place in reversed(range(len(made))):
        part = made[place]
        if isinstance(part, Fallback):
            made[place] = replace(part, to=tuple(_function(other, script) for other in part.to))
    return tuple(made), fn


def _guard(parts: tuple[tuple[Policy, ...], Any], name: str | None, listeners: Any) -> Any:  # noqa: ANN401
    policies, fn = parts
    return Pipeline(policies=policies, name=name, listeners=listeners)(fn)


def _manager(manager: FallbackManager[Any], script: Script) -> Any:  # noqa: ANN401
    fn = function_behind(manager)
    if fn is not None:
        return manager_of(_function(fn, script))
    return manager_like(manager, [_target(target, script) for target in manager.targets])


def _target(target: Target[Any], script: Script) -> Target[Any]:
    def first() -> Any:  # noqa: ANN401
        if target.call is not None and inside(target.call) is not None:
            return _function(target.call, script)
        return script(target.call or stand_in(stream=False), target.name)

    policies, fn = _policies(target.policies.policies, first, script)
    return Target(
        target.name,
        fn,
        policies=Pipeline(
            policies=policies, name=target.policies.name, listeners=target.policies.listeners
        ),
        scopes=target.scopes,
        priority=target.priority,
        classify=target.classify,
        enabled=target.enabled,
    )


def _like(function: Any, fn: Any, name: str) -> Any:  # noqa: ANN401
    """Give a scripted function the name and the signature of the real one."""
    module, _, _ = function_name(fn).rpartition(f".{name_of(fn)}")
    function.__wrapped__ = fn
    function.__annotations__ = {}  # they would be resolved in vain, for every run
    function.__name__ = name.rpartition(".")[2]
    function.__qualname__, function.__module__ = name, module
    return function


def _plain(
    fn: Any,  # noqa: ANN401
    backend: tuple[FaultyBackend, ...],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Callable[..., Any]:
    """Return a function that nobody guards, with the backend as its first argument."""
    if not callable(fn) or isinstance(fn, type):
        raise TypeError(
            "simulate() takes an async function, guarded or not, a pipeline or a manager,"
            f" not {type(fn).__qualname__}"
        )
    made = cast("Callable[..., Any]", functools.partial(fn, *backend))
    try:
        inspect.signature(fn).bind(*backend, *args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{name_of(fn)} is not guarded, so it is called with a FaultyBackend in front of its"
            f" arguments, and that does not fit: {error}. Write a function that takes the backend"
            " and hands it on, or say target='real'"
        ) from None
    except ValueError:  # no signature to be had
        pass
    if is_coroutine_function(fn) or is_stream(fn):
        return made
    return _checked(fn, made)


def _checked(fn: Any, made: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:  # noqa: ANN401
    async def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        found = made(*args, **kwargs)
        if not inspect.isawaitable(found):
            raise TypeError(f"{name_of(fn)} is no async function: there is nothing to await")
        return await found

    return called


def _behind(fn: Any) -> Any:  # noqa: ANN401
    """Return the function behind its manager; anything else as it is."""
    return (function_behind(fn) or fn) if is_manager(fn) else fn
