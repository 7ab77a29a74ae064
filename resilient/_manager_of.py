"""`manager_of`: the manager behind a function that `fallback` decorates."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, cast

from resilient._core.functions import name_of
from resilient._guard import inside, written
from resilient._kinds import is_stream
from resilient._manager import FallbackManager
from resilient._policies import Fallback
from resilient._runtime.entry import run_for_outcome
from resilient._stack import explain, pipeline_of
from resilient._target import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resilient._core.bound import Bound
    from resilient._core.outcome import Outcome
    from resilient._guard import Inside
    from resilient._items import Items
    from resilient._pipeline import Compiled
    from resilient._policies import Policy
    from resilient._runtime.chain import Chain


class _FunctionManager(FallbackManager[Any]):
    """The manager behind a decorated function: its whole pipeline, run for the outcome."""

    def __init__(self, fn: Any, compiled: Compiled, chain: Chain) -> None:  # noqa: ANN401
        self.name = compiled.plan.name
        self.targets = tuple(Target(spec.name) for spec in chain.policy.targets)
        self._chain = chain
        self._fn = fn
        self._streams = is_stream(fn)
        # What is bound is an argument like any other.
        self._bound = (fn.__self__,) if isinstance(fn, types.MethodType) else ()

    @property
    def _compiled(self) -> Compiled:  # type: ignore[override]  # what is in force now
        return cast("Compiled", cast("Inside", inside(self._fn)).compiled)

    async def run(self, /, *args: Any, **kwargs: Any) -> Outcome[Any]:
        """Call the function; return its answer and how it came about."""
        self._refuse_stream(streams=False)
        return await run_for_outcome(
            self._compiled.plan, self._compiled.run, (*self._bound, *args), kwargs
        )

    def stream(self, /, *args: Any, **kwargs: Any) -> Items[Any]:
        """Call the function; give the items of the target that answers."""
        return super().stream(*self._bound, *args, **kwargs)

    async def run_with(
        self,
        _: Callable[..., Awaitable[Any]],
        /,
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> Outcome[Any]:
        """Refuse: the function has its callables."""
        raise TypeError(f"{self.name} has callables of its own: use run(...)")

    def _guarded(self) -> list[tuple[str, Sequence[Policy], Any]]:
        found = cast("Inside", inside(self._fn))
        policies: tuple[Policy, ...] = found.pipeline.policies
        place = [isinstance(policy, Fallback) for policy in policies].index(True)
        first, *others = [target.name for target in self.targets]
        to = cast("Fallback", policies[place]).to
        further = [(name, (), fn) for name, fn in zip(others, to, strict=True)]
        return [(first, policies[place + 1 :], found.fn), *further]

    @property
    def bound(self) -> Bound:
        """The worst case of the whole pipeline."""
        return pipeline_of(self._fn).bound

    def explain(self) -> str:
        """Say what the pipeline is."""
        return explain(self._fn)


def manager_of(fn: Any, /) -> FallbackManager[Any]:  # noqa: ANN401
    """Return the manager behind a function that `fallback` decorates.

    `await manager_of(ask).run(prompt)` gives the `Outcome` that a plain call
    of `ask` hides. Of several fallbacks the outermost is meant. Raises
    `TypeError` where there is none.

    >>> from resilient import fallback, value
    >>> @fallback(degrade=value("no idea"))
    ... async def ask(prompt: str) -> str: ...
    >>> manager_of(ask).targets
    (Target('ask'),)
    """
    found = written(fn)
    if found is None or not found.compiled.chains:
        raise TypeError(f"{name_of(fn)} has no fallback: there is no manager behind it")
    return _FunctionManager(fn, found.compiled, found.compiled.chains[0])


def function_behind(manager: FallbackManager[Any]) -> Any:  # noqa: ANN401
    """Return the decorated function that a manager stands for; `None` for any other manager."""
    return manager._fn if isinstance(manager, _FunctionManager) else None  # noqa: SLF001 - its own module
