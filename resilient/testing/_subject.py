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
from resilient._kinds import is_coroutine_function
from resilient._manager import FallbackManager, manager_like
from resilient._manager_of import function_behind, manager_of
from resilient._policies import Fallback
from resilient._stack import Pipeline, explain
from resilient._target import Target
from resilient.testing._anatomy import anatomy_of, is_manager
from resilient.testing._backend import FaultyBackend

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
    """What the callers of a run await, and what it is made of."""

    call: Callable[[], Awaitable[Any]]
    anatomy: Guarded | None
    name: str = ""
    real: bool = True
    explanation: str | None = None


class Argument(str):
    """What is passed for a parameter that nobody gave: a text that can be held weakly."""

    __slots__ = ("__weakref__",)


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
        return Ready(functools.partial(call, *args, **kwargs), None, name_of(what))
    if real:
        fn = what
    else:
        fn = scripted(what, schedule, log)
        args = args or arguments_of(what, kwargs)
    call = fn.run if is_manager(fn) else fn
    return Ready(
        functools.partial(call, *args, **kwargs),
        anatomy_of(_behind(fn)),
        real=real,
        explanation=explain(fn),
    )


def is_guarded(what: Any) -> bool:  # noqa: ANN401
    """Tell whether something is guarded by this library: a function, a pipeline, a manager."""
    return isinstance(what, Pipeline) or is_manager(what) or inside(what) is not None


def example_of(what: Any) -> Guarded | None:  # noqa: ANN401
    """Return what a function, a pipeline or a manager is made of, before any run."""
    if not is_guarded(what):
        return None
    return anatomy_of(_behind(rebuilt(what, lambda fn, name: _like(_stand_in(), fn, name))))


def scripted(what: Any, schedule: FailureSchedule, log: Log) -> Any:  # noqa: ANN401
    """Return `what` with functions in the place of its targets that follow `schedule`."""
    count = 0

    def script(fn: Any, name: str) -> Any:  # noqa: ANN401
        nonlocal count
        index, count = count, count + 1
        return _like(log.scripted(schedule.of(index), name, index=index), fn, name)

    return rebuilt(what, script)


def rebuilt(what: Any, script: Script) -> Any:  # noqa: ANN401
    """Return a copy of `what` around other functions, which `script` makes in their order."""
    if isinstance(what, Pipeline):
        parts = _policies(what.policies, lambda: script(_with_parameters(what), "target"), script)
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
        return script(target.call or _stand_in(), target.name)

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


def _stand_in() -> Any:  # noqa: ANN401
    """Return a function for a place where none is called."""

    async def target(*args: object, **kwargs: object) -> None: ...

    return target


def _with_parameters(pipeline: Pipeline) -> Any:  # noqa: ANN401
    """Return a function that has the parameters by which breakers of a pipeline have keys."""
    keys = [getattr(getattr(part, "options", None), "key", None) for part in pipeline.policies]
    names = dict.fromkeys(key for key in keys if isinstance(key, str))

    async def target(*args: object, **kwargs: object) -> None: ...

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    target.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kind) for name in names]
    )
    target.__qualname__ = "target"
    return target


def arguments_of(what: Any, given: Mapping[str, Any]) -> tuple[Argument, ...]:  # noqa: ANN401
    """Return an argument for each parameter that a guarded function must have."""
    if is_manager(what):
        calls = [one.call for one in what.targets if one.call is not None]
        return arguments_of((calls or [function_behind(what) or _stand_in()])[0], given)
    if isinstance(what, Pipeline):
        what = _with_parameters(what)
    try:
        parameters = inspect.signature(what).parameters.values()
    except (TypeError, ValueError):  # a signature is a courtesy
        return ()
    wanted = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return tuple(
        Argument(f"the kit's argument {one.name}")
        for one in parameters
        if one.kind in wanted and one.default is inspect.Parameter.empty and one.name not in given
    )


def _plain(
    fn: Any,  # noqa: ANN401
    backend: tuple[FaultyBackend, ...],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Callable[..., Awaitable[Any]]:
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
    if not is_coroutine_function(fn):
        return _checked(fn, made)
    return made


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
