"""The names of the design note that this library grew out of, correct this time.

    models = [ModelConfig("openai/gpt-4", timeout=30, retry_count=2, priority=1), ...]
    manager = FallbackManager(models)
    result = await manager.call_with_fallback(call_llm_func, messages)

New code uses `Target` and `FallbackManager.run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._manager import FallbackManager
from resilient._target import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ("call_with_fallback", "FallbackManager", "ModelConfig")


class ModelConfig(Target[Any]):
    """A frozen target without a callable: a model's name and how to ask it.

    `retry_count` is the number of *attempts*, as it was in the note.
    A lower `priority` is asked first.

    >>> ModelConfig("openai/gpt-4", timeout=30, retry_count=2, priority=1).priority
    1
    """

    def __init__(self, name: str, timeout: float, retry_count: int = 1, priority: int = 0) -> None:
        super().__init__(name, timeout=timeout, attempts=retry_count, priority=priority)


async def call_with_fallback(
    models: Sequence[Target[Any]],
    call: Callable[[str, Any], Awaitable[Any]],
    data: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Ask `models` in order by `call(name, data)`; return `{"result", "model", "fallback"}`."""
    return await FallbackManager[Any](models).call_with_fallback(call, data)
