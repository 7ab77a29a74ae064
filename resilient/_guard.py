"""The one wrapper.

A `Guard` is a transparent proxy around the compiled call: it keeps the name,
the docstring, the signature and what `inspect` says of the function, and adds
nothing that a call would pass through. However many decorators are stacked,
there is one guard around one pipeline.
"""

from __future__ import annotations

import functools
import sys
import types
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from resilient._switch import board

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._switch import InForce

    # The stubs of wrapt differ between its releases; a proxy looks like what it wraps.
    class CallableObjectProxy:
        __wrapped__: Any

        def __init__(self, wrapped: Any) -> None: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
else:
    from wrapt import CallableObjectProxy


class Inside(NamedTuple):
    """What a guard holds: the compiled call, the user's function, the policies around it."""

    compiled: Any
    fn: Callable[..., Any]
    pipeline: Any


class Guard(CallableObjectProxy):
    """A guarded function; `type(fn) is Guard` tells one (`isinstance` would ask the proxy)."""

    def __init__(self, inside: Inside) -> None:
        super().__init__(inside.compiled.call)
        # Not annotated in the class body: its `__annotations__` would hide the function's.
        self._self_inside: Inside = inside
        self._self_written: Inside = inside
        self._self_binds = _binds(inside.fn)
        board.add(self, _follow)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind as a function does; on the class it stays the guard."""
        if instance is None or not self._self_binds:
            return self
        return types.MethodType(self, instance)

    def __reduce_ex__(self, protocol: Any) -> str:
        """Pickle by qualified name, as functions do."""
        return str(self.__wrapped__.__qualname__)

    def __reduce__(self) -> str:
        """Pickle by qualified name, as functions do."""
        return str(self.__wrapped__.__qualname__)

    def __eq__(self, other: object) -> bool:
        """Be equal to what it was made around, also while a test has it call something else."""
        mine = self._self_written.compiled.call
        if type(other) is Guard:
            return mine is other._self_written.compiled.call
        return bool(mine == other)

    def __ne__(self, other: object) -> bool:
        """Be the opposite: the proxy has an answer of its own."""
        return not self == other

    def __hash__(self) -> int:
        """Be found where it was put, as above."""
        return hash(self._self_written.compiled.call)

    def __copy__(self) -> Guard:
        """Return itself, as functions do."""
        return self

    def __deepcopy__(self, memo: Any) -> Guard:
        """Return itself, as functions do."""
        return self

    def __repr__(self) -> str:
        """Show the function, not the proxy."""
        return f"<guarded {self.__wrapped__.__qualname__} at {id(self):#x}>"


def _binds(fn: Any) -> bool:
    """Tell whether `fn` becomes a method when it is looked up on an instance.

    An object with `__call__` and a method that is bound already do not; a
    partial does from Python 3.14 on.
    """
    if isinstance(fn, functools.partial):
        return sys.version_info >= (3, 14)
    return hasattr(fn.__class__, "__get__") and not isinstance(fn, types.MethodType)


def _follow(guard: Guard, in_force: InForce | None) -> None:
    """Call what is in force, or what was written."""
    inside = written = guard._self_written  # noqa: SLF001 - one idea in two parts
    if in_force is not None:
        pipeline = in_force.composition(guard, written.pipeline)
        if pipeline.policies != written.pipeline.policies:
            # A breaker may be defined otherwise in the world of this test, by a function that
            # another test has left: then a call would say so, and it is as it was written.
            with suppress(ValueError):
                inside = Inside(pipeline.compile(written.fn), written.fn, pipeline)
    guard._self_inside = inside  # noqa: SLF001
    guard.__wrapped__ = inside.compiled.call


def guard_in(fn: Any) -> Guard | None:
    """Return the guard that `fn` is, or that is bound in it; look through nothing else."""
    if isinstance(fn, types.MethodType | staticmethod | classmethod):
        fn = cast("types.MethodType", fn).__func__  # all three have it
    return fn if type(fn) is Guard else None


def callee(fn: Any) -> Any:
    """Return what calling `fn` calls: of an object whose `__call__` is guarded, that method."""
    call = getattr(cast("Any", type)(fn), "__call__", None)  # noqa: B004 - it is looked at
    return fn.__call__ if type(call) is Guard else fn


def inside(fn: Any) -> Inside | None:
    """Return what the guard holds that `fn` is, or that is bound in it: what is in force."""
    guard = guard_in(fn)
    return None if guard is None else guard._self_inside  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def written(fn: Any) -> Inside | None:
    """Return the same as it was written, whatever a test has put in its place."""
    guard = guard_in(fn)
    return None if guard is None else guard._self_written  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
