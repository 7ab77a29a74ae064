"""What stands where nothing was given: functions that are never called, and arguments."""

from __future__ import annotations

import inspect
from math import inf
from typing import TYPE_CHECKING, Any

from resilient._manager_of import function_behind
from resilient._policies import Timeout
from resilient._stack import Pipeline
from resilient.testing._anatomy import is_manager

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from resilient._policies import Policy


def limits_items(policies: Sequence[Policy]) -> bool:
    """Tell whether policies can only stand around a stream."""
    limits = [part for part in policies if isinstance(part, Timeout)]
    return any(min(one.first_item, one.between_items) < inf for one in limits)


class Argument(str):
    """What is passed for a parameter that nobody gave: a text that can be held weakly."""

    __slots__ = ("__weakref__",)


def stand_in(*, stream: bool) -> Any:  # noqa: ANN401
    """Return a function of its kind for a place where none is called."""

    async def target(*_args: object, **_kwargs: object) -> None: ...

    async def items(*_args: object, **_kwargs: object) -> AsyncGenerator[None]:
        yield

    made = items if stream else target
    made.__name__ = made.__qualname__ = "target"
    return made


def with_parameters(pipeline: Pipeline) -> Any:  # noqa: ANN401
    """Return a function that has the parameters by which breakers of a pipeline have keys."""
    keys = [getattr(getattr(part, "options", None), "key", None) for part in pipeline.policies]
    names = dict.fromkeys(key for key in keys if isinstance(key, str))
    made = stand_in(stream=limits_items(pipeline.policies))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    made.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return made


def arguments_of(what: Any, given: Mapping[str, Any]) -> tuple[Argument, ...]:  # noqa: ANN401
    """Return an argument for each parameter that a guarded function must have."""
    if is_manager(what):
        calls = [one.call for one in what.targets if one.call is not None]
        return arguments_of((calls or [function_behind(what) or stand_in(stream=False)])[0], given)
    if isinstance(what, Pipeline):
        what = with_parameters(what)
    try:
        parameters = inspect.signature(what).parameters.values()
    except (TypeError, ValueError):  # a signature is a courtesy
        return ()
    wanted = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return tuple(
        Argument(f"the argument of the kit {one.name}")
        for one in parameters
        if one.kind in wanted and one.default is inspect.Parameter.empty and one.name not in given
    )
