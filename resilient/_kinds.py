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

from resilient._core.chain_options import listed
from resilient._core.functions import name_of, refuse_async
from resilient._core.options import shown

Kind = Literal["coroutine", "awaitable"]
"""A coroutine function, or a callable whose result is checked before it is awaited."""


def kind_to_decorate(fn: Any) -> Kind:  # noqa: ANN401 - anything can stand under a decorator
    """Return the kind of `fn`; a `TypeError` names the ways out where there is none."""
    _refuse_streams(fn)
    if is_coroutine_function(fn):
        return "coroutine"
    promised = _promised(fn) if callable(fn) and not inspect.isclass(fn) else None
    if promised is AsyncIterator:
        raise TypeError(_no_streams(fn))
    if promised is None:
        raise TypeError(_cannot_guard(fn))
    return "awaitable"


def kind_to_call(fn: Any, option: str) -> Kind:  # noqa: ANN401
    """Return the kind of a callable that was given as such: its result will be checked."""
    if not callable(fn):
        raise TypeError(f"{option} takes an async function, not {describe(fn)}")
    _refuse_streams(fn)
    return "coroutine" if is_coroutine_function(fn) else "awaitable"


def functions_to_call(to: Any, option: str) -> tuple[Callable[..., Any], ...]:  # noqa: ANN401
    """Return a list of async functions as a tuple."""
    found = listed(to, option, "async functions")
    for fn in found:
        kind_to_call(fn, option)
    return found


def function_or_none(fn: object, option: str) -> None:
    """Check that an option is a function, if it is given."""
    if fn is not None and not callable(fn):
        raise TypeError(f"{option} must be a function, not {shown(fn)}")
    if fn is not None:
        refuse_async(fn, option)


def is_coroutine_function(fn: Any) -> bool:  # noqa: ANN401
    """Tell whether calling `fn` gives a coroutine; looks into partials and `__call__`."""
    return _has(inspect.iscoroutinefunction, fn)


def makes_coroutines(fn: Any) -> bool:  # noqa: ANN401
    """Tell whether `fn` was written as `async def`, not only marked to be taken for one."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    code = getattr(fn, "__code__", None)
    return bool(code and code.co_flags & inspect.CO_COROUTINE)


def describe(fn: Any) -> str:  # noqa: ANN401
    """Say what `fn` is, by its kind and name."""
    if inspect.isclass(fn):
        return f"the class {fn.__qualname__}"
    routine: Any = fn  # narrowed, a partial would be of something unknown
    if (inspect.isroutine(fn) and callable(fn)) or isinstance(fn, functools.partial):
        return f"the function {name_of(routine)}"
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


def _refuse_streams(fn: Any) -> None:  # noqa: ANN401
    if _has(inspect.isasyncgenfunction, fn):
        raise TypeError(_no_streams(fn))


def _no_streams(fn: Any) -> str:  # noqa: ANN401
    return (
        f"{name_of(fn)} gives a stream: async generators are not guarded yet;"
        " guard the coroutine function that opens the stream"
    )


def _cannot_guard(fn: Any) -> str:  # noqa: ANN401
    if not callable(fn):
        return f"a policy decorates an async function, not {describe(fn)}"
    if inspect.isclass(fn):
        return f"cannot guard {describe(fn)}: decorate its async methods"
    return (
        f"cannot guard {describe(fn)}: a policy has to await it."
        " Make it `async def`, or annotate that it returns an Awaitable"
    )


def _promised(fn: Any) -> Any:  # noqa: ANN401
    """Return what the annotation promises: `Awaitable`, `AsyncIterator` or `None`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    told = getattr(fn, "__annotations__", {}).get("return")
    if isinstance(told, str):
        told = _resolved(fn, told)
    origin = get_origin(told) or told
    if not inspect.isclass(origin):
        return None
    return next((kind for kind in (Awaitable, AsyncIterator) if issubclass(origin, kind)), None)


def _resolved(fn: Any, text: str) -> Any:  # noqa: ANN401
    try:
        return typing.get_type_hints(fn).get("return")
    except Exception:  # noqa: BLE001 - a name that only type checkers know: go by the text
        root = text.partition("[")[0].rpartition(".")[2].strip()
        return _KNOWN.get(root)


_KNOWN = {
    "AsyncGenerator": AsyncIterator,
    "AsyncIterator": AsyncIterator,
    "Awaitable": Awaitable,
    "Coroutine": Awaitable,
    "Future": Awaitable,
    "Task": Awaitable,
}
