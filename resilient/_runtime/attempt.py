"""The innermost step: the target is called.

Where nobody listens this is a plain function that counts and returns the
target's own awaitable, so it costs no coroutine.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from resilient._runtime.call import Call

Function = Callable[..., Any]
Layer = Callable[[Call, tuple[Any, ...], Mapping[str, Any]], Awaitable[Any]]
"""One policy around what is inside it, compiled."""


class NotAwaitableError(TypeError):
    """A callable that was taken for an async one returned something else.

    No policy acts on it: to call it again or to ask somebody else would hide
    a mistake in the program.
    """


def target_layer(fn: Function, *, is_coroutine_function: bool) -> Layer:
    """Call `fn` with the caller's arguments and count an attempt."""
    ask = fn if is_coroutine_function else _checked(fn)

    def called(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Awaitable[Any]:
        call.attempt += 1
        if call.loud:
            return _watched(call, ask, args, kwargs)
        return ask(*args, **kwargs)  # type: ignore[no-any-return]

    return called


class NamedLayer:
    """Calls the caller's first argument with a name and the rest: `call(name, data)`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Awaitable[Any]:
        """Ask, with the name of the target in front of the caller's arguments."""
        call.attempt += 1
        fn, *rest = args
        return _watched(call, _checked(fn), (self.name, *rest), kwargs)


async def _watched(
    call: Call, ask: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:  # noqa: ANN401 - what the user's function returns
    call.open_attempt()
    try:
        return await ask(*args, **kwargs)
    finally:
        call.leave()


def _checked(fn: Function) -> Function:
    async def ask(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        made = fn(*args, **kwargs)
        if not inspect.isawaitable(made):
            name = getattr(fn, "__qualname__", type(fn).__qualname__)
            message = f"{name} returned {type(made).__qualname__}, which cannot be awaited"
            raise NotAwaitableError(message)
        return await made

    return ask
