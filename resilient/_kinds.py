"""Which kind of callable a thing is: decided once, at decoration.

A policy awaits, so what it guards must give something to await. Whether it
does is read from the code object where there is one, else from the return
annotation; nothing is called to find out.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal, get_origin

Kind = Literal["coroutine", "awaitable"]
"""A coroutine function, or a callable whose result is checked before it is awaited."""


def kind_to_decorate(fn: Any) -> Kind:  # noqa: ANN401 - anything can stand under a decorator
    """Return the kind of `fn`; a `TypeError` names the ways out where there is none."""
    _refuse_generators(fn)
    if is_coroutine_function(fn):
        return "coroutine"
    if callable(fn) and not inspect.isclass(fn) and _promises_an_awaitable(fn):
        return "awaitable"
    raise TypeError(_cannot_guard(fn))


def kind_to_call(fn: Any, option: str) -> Kind:  # noqa: ANN401
    """Return the kind of a callable that was given as such: its result will be checked."""
    if not callable(fn):
        message = f"{option} takes an async function, not {describe(fn)}"
        raise TypeError(message)
    _refuse_generators(fn)
    return "coroutine" if is_coroutine_function(fn) else "awaitable"


def is_coroutine_function(fn: Any) -> bool:  # noqa: ANN401
    """Tell whether calling `fn` gives a coroutine; looks into partials and `__call__`."""
    return _has(inspect.iscoroutinefunction, fn)


def name_of(fn: Any) -> str:  # noqa: ANN401
    """Return the name by which `fn` is known: its `__qualname__`, a partial's function's."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    found = getattr(fn, "__qualname__", None)
    return found if isinstance(found, str) else type(fn).__qualname__


def describe(fn: Any) -> str:  # noqa: ANN401
    """Say what `fn` is, by its kind and name."""
    if inspect.isclass(fn):
        return f"the class {fn.__qualname__}"
    if inspect.isroutine(fn) or isinstance(fn, functools.partial):
        return f"the function {name_of(fn)}"
    return f"an instance of {type(fn).__qualname__}"


def _has(test: Callable[[Any], bool], fn: Any) -> bool:  # noqa: ANN401
    while isinstance(fn, functools.partial):
        fn = fn.func
    if test(fn):
        return True
    # An object with `async def __call__`; a class is not one.
    return (
        not inspect.isclass(fn)
        and not inspect.isroutine(fn)
        and callable(fn)
        and test(type(fn).__call__)
    )


def _refuse_generators(fn: Any) -> None:  # noqa: ANN401
    if _has(inspect.isasyncgenfunction, fn):
        message = (
            f"{name_of(fn)} is an async generator function: streams are not guarded yet;"
            " guard the coroutine function that opens the stream"
        )
        raise TypeError(message)


def _cannot_guard(fn: Any) -> str:  # noqa: ANN401
    if not callable(fn):
        return f"a policy decorates an async function, not {describe(fn)}"
    return (
        f"cannot guard {describe(fn)}: a policy has to await it."
        " Make it `async def`, or annotate that it returns an Awaitable"
    )


def _promises_an_awaitable(fn: Any) -> bool:  # noqa: ANN401
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    promised = getattr(fn, "__annotations__", {}).get("return")
    if isinstance(promised, str):
        promised = _resolved(fn, promised)
    origin = get_origin(promised) or promised
    return inspect.isclass(origin) and issubclass(origin, (Awaitable, AsyncIterator))


def _resolved(fn: Any, text: str) -> Any:  # noqa: ANN401
    try:
        return typing.get_type_hints(fn).get("return")
    except Exception:  # noqa: BLE001 - a name that only type checkers know: go by the text
        root = text.partition("[")[0].rpartition(".")[2].strip()
        known = {"Awaitable": Awaitable, "Coroutine": Awaitable, "Future": Awaitable}
        return (known | {"Task": Awaitable, "AsyncIterator": AsyncIterator}).get(root)
