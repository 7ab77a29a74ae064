"""Which kind of callable a thing is: decided once, at decoration.

A policy awaits, so what it guards must give something to await, or to iterate
over with `async for`: a *stream*. Which of the two is read from the code object
where there is one, else from the return annotation; nothing is called to find
out.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import typing
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, get_origin

from resilient._core.chain_options import listed
from resilient._core.functions import name_of, refuse_async
from resilient._core.options import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["coroutine", "awaitable", "stream"]
"""A coroutine function, a callable whose result is checked before it is awaited, or a stream."""


def kind_to_decorate(fn: Any) -> Kind:  # noqa: ANN401 - anything can stand under a decorator
    """Return the kind of `fn`; a `TypeError` names the ways out where there is none."""
    kind = _kind(fn) if callable(fn) and not inspect.isclass(fn) else None
    if kind is None:
        raise TypeError(_cannot_guard(fn))
    return kind


def kind_to_call(fn: Any, option: str) -> Kind:  # noqa: ANN401
    """Return the kind of a callable that was given as such: its result will be checked."""
    if not callable(fn):
        raise TypeError(f"{option} takes an async function, not {describe(fn)}")
    return _kind(fn) or "awaitable"


def kind_to_await(fn: Any, option: str) -> None:  # noqa: ANN401
    """Refuse what gives a stream where its result will be awaited."""
    if kind_to_call(fn, option) == "stream":
        raise TypeError(
            f"{option} awaits its function, and {name_of(fn)} gives a stream:"
            " decorate it, and iterate over what that gives"
        )


def is_stream(fn: Any) -> bool:  # noqa: ANN401
    """Tell whether calling `fn` gives an async iterator."""
    return _kind(fn) == "stream"


def check_alike(fns: Iterable[Any], option: str, *, streams: bool) -> None:
    """Refuse a chain of which some give streams and some are awaited."""
    for fn in fns:
        # Of a plain callable that promises nothing nobody knows; its result is checked.
        if _kind(fn) not in ({"stream", None} if streams else {"coroutine", "awaitable", None}):
            gives, others = ("no stream", "do") if streams else ("a stream", "do not")
            raise TypeError(f"{option}: {name_of(fn)} gives {gives}, and the others {others}")


def returns_stream(fn: Any) -> bool:  # noqa: ANN401
    """Tell whether awaiting `fn` gives an async iterator, as far as it says so."""
    return is_coroutine_function(fn) and _promised(fn) is AsyncIterator


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


def _kind(fn: Any) -> Kind | None:  # noqa: ANN401
    """Return the kind of a callable, `None` where nothing says it."""
    if is_coroutine_function(fn):
        return "coroutine"
    if _has(inspect.isasyncgenfunction, fn):
        return "stream"
    if _makes_context_manager(fn):
        raise TypeError(
            f"{name_of(fn)} makes a context manager: put the policy below @asynccontextmanager"
        )
    promised = _promised(fn)
    if promised is None:
        return None
    return "stream" if promised is AsyncIterator else "awaitable"


def _makes_context_manager(fn: Any) -> bool:  # noqa: ANN401
    """Tell a product of `contextlib`: it has the annotation of the generator that it wraps."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__globals__", None) is vars(contextlib)


def _cannot_guard(fn: Any) -> str:  # noqa: ANN401
    if not callable(fn):
        return f"a policy decorates an async function, not {describe(fn)}"
    if inspect.isclass(fn):
        return f"cannot guard {describe(fn)}: decorate its async methods"
    return (
        f"cannot guard {describe(fn)}: a policy has to await it."
        " Make it `async def`, or annotate that it returns an Awaitable or an AsyncIterator"
    )


def _promised(fn: Any) -> Any:  # noqa: ANN401
    """Return what the annotation promises: `Awaitable`, `AsyncIterator` (a stream) or `None`."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    told = getattr(fn, "__annotations__", {}).get("return")
    if isinstance(told, str):
        told = _resolved(fn, told)
    origin = get_origin(told) or told
    if origin is AsyncIterable:
        return AsyncIterator
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
    "AsyncIterable": AsyncIterator,
    "AsyncIterator": AsyncIterator,
    "Awaitable": Awaitable,
    "Coroutine": Awaitable,
    "Future": Awaitable,
    "Task": Awaitable,
}
