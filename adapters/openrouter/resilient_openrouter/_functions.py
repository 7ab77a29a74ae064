"""Functions of the user's among models: whatever they give, it is replies and chunks.

A chain of models gives answers or streams, and an async function, or an async
generator function, takes part in both.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from resilient import Target
from resilient_openrouter.collecting import as_chunk, collect
from resilient_openrouter.results import Reply
from resilient_openrouter.targets import ModelStream, ModelTarget

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from resilient_openrouter._request import Messages

__all__ = ("Streaming", "streaming", "target_of", "Whole", "whole")


class Whole:
    """A function among models that gives whole answers; a text that it returns is a `Reply`."""

    def __init__(self, call: Callable[..., Any], name: str) -> None:
        self.call = call
        self._name = name
        _describe_as(self, call)

    async def __call__(self, messages: Messages, /, **fields: Any) -> object:
        """Ask the function once."""
        if _is_stream(self.call):
            async with aclosing(self.call(messages, **fields)) as stream:
                return await collect(stream, model=self._name)
        found = await self.call(messages, **fields)
        if isinstance(found, str):
            return Reply(content=found, model=self._name, cost=0.0, billed="no")
        return found


class Streaming:
    """A function among models that gives streams: an answer that is whole is one chunk."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        _describe_as(self, call)

    async def __call__(self, messages: Messages, /, **fields: Any) -> AsyncGenerator[Any]:
        """Ask the function once, and yield what it gives."""
        if not _is_stream(self._call):
            yield as_chunk(await self._call(messages, **fields))
            return
        async with aclosing(self._call(messages, **fields)) as stream:
            async for item in stream:
                yield as_chunk(item)


def target_of(call: Callable[..., Any]) -> Target[Any]:
    """Return a target that asks a function of the user's."""
    name = str(getattr(call, "__name__", type(call).__qualname__))
    return Target(name, Whole(call, name))


def whole(target: Target[Any]) -> Target[Any]:
    """Return the target as one that gives whole answers."""
    call: Any = target.call
    return _again(target, Whole(call, target.name)) if _is_stream(call) else target


def streaming(target: Target[Any]) -> Target[Any]:
    """Return the target as one that gives streams."""
    call: Any = target.call
    if call is None or isinstance(call, ModelStream):
        return target
    if isinstance(call, ModelTarget) and call.twin is not None:
        return call.twin
    if isinstance(call, Whole) and _is_stream(call.call):
        call = call.call
    return _again(target, Streaming(call))


def _again(target: Target[Any], call: Whole | Streaming) -> Target[Any]:
    return Target(
        target.name,
        call,
        policies=target.policies,
        scopes=target.scopes,
        priority=target.priority,
        classify=target.classify,
        enabled=target.enabled,
    )


def _describe_as(made: Any, call: Any) -> None:  # noqa: ANN401 - any callables
    """Let a wrapper describe its span as what is inside would."""
    if hasattr(call, "describe"):
        made.describe = call.describe


def _is_stream(call: Any) -> bool:  # noqa: ANN401 - any callable
    while isinstance(call, functools.partial):
        call = call.func
    return inspect.isasyncgenfunction(call) or inspect.isasyncgenfunction(type(call).__call__)
