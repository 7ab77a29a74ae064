"""`middleware`: a coroutine function of the user's own as a policy like any other."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Literal, TypeAlias, overload

from resilient._core import options
from resilient._core.functions import name_of
from resilient._core.options import shown
from resilient._kinds import describe, is_coroutine_function
from resilient._policies import Middleware
from resilient._stack import Pipeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from resilient._runtime.call import Call
    from resilient.typing import Proceed

    Handler: TypeAlias = Callable[[Call, Proceed], Awaitable[Any]]
    HandlerOfArguments: TypeAlias = Callable[Concatenate[Call, Proceed, ...], Awaitable[Any]]


@overload
def middleware(fn: Handler, /) -> Pipeline: ...


@overload
def middleware(
    *, calls: int = 1, expose_args: Literal[False] = False
) -> Callable[[Handler], Pipeline]: ...


@overload
def middleware(
    *, calls: int = 1, expose_args: bool
) -> Callable[[HandlerOfArguments], Pipeline]: ...


def middleware(fn: Any = None, /, *, calls: int = 1, expose_args: bool = False) -> Any:
    """Make a policy of a coroutine function `(call, proceed)`.

    `await proceed()` runs everything inside and returns what it returns;
    `call` is the `current_call()`. At most `calls` times: one `proceed()`
    more is a `RuntimeError`, and so is one from another task or after the
    middleware has ended. Each counts its attempts on, and `bound` multiplies
    by `calls`. A result of `proceed()` that is not returned is closed, if it
    has `aclose` or `close`. What the middleware raises is an error like any
    other to the policies outside.

    Only `Exception` is its to handle: whatever else `proceed()` leaves with
    is raised again, whatever the middleware does. A scope that it opens
    around `proceed()` itself works as anywhere.

    Arguments are not on `call`. With `expose_args=True` the middleware gets
    the caller's own, behind the two: `async def audit(call, proceed, *args,
    **kwargs)`. It can not change them.

    Raises `TypeError` for what is no coroutine function of these parameters,
    and around an async generator.

    >>> @middleware
    ... async def tag(call, proceed):
    ...     started = call.now()
    ...     try:
    ...         return await proceed()
    ...     finally:
    ...         print(f"{call.name} took {call.now() - started:.0f} s")
    >>> @stack(timeout(30), tag, retry(), timeout(8))
    ... async def fetch(url: str) -> str:
    ...     return url.upper()
    >>> print(explain(fetch))
    fetch: 4 policies, outermost first
      timeout           30 s for everything inside
      middleware        tag
      retry             3 attempts on transient errors; full jitter 0.1 s .. 20 s
      timeout           8 s per attempt
      bound             at most 3 calls and 30 s
    >>> anyio.run(fetch, "a")
    fetch took 0 s
    'A'
    """
    options.whole(calls, "middleware(calls=)")
    if not isinstance(expose_args, bool):
        raise TypeError(f"middleware(expose_args=) must be a bool, not {shown(expose_args)}")

    def make(handler: Any) -> Pipeline:  # noqa: ANN401
        _check(handler, expose_args=expose_args)
        return Pipeline(policies=(Middleware(handler, calls, expose_args),))

    return make if fn is None else make(fn)


def _check(handler: Any, *, expose_args: bool) -> None:  # noqa: ANN401
    if not is_coroutine_function(handler):
        raise TypeError(
            "middleware decorates a coroutine function `async def tag(call, proceed)`,"
            f" not {describe(handler)}"
        )
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # one that hides its parameters: the first call will tell
        return
    try:
        (signature.bind_partial if expose_args else signature.bind)(None, None)
    except TypeError as error:
        told = "call, proceed, *args, **kwargs" if expose_args else "call, proceed"
        raise TypeError(
            f"a middleware takes ({told}), and {name_of(handler)} takes {signature}"
        ) from error
