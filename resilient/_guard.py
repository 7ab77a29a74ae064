"""The one wrapper.

A `Guard` is a transparent proxy around the compiled call: it keeps the name,
the docstring, the signature and what `inspect` says of the function, and adds
nothing that a call would pass through. However many decorators are stacked,
there is one guard around one pipeline.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable


class Guard(wrapt.CallableObjectProxy):  # type: ignore[misc]  # wrapt is untyped here on purpose
    """A guarded function; `type(fn) is Guard` tells one (`isinstance` would ask the proxy)."""

    def __init__(self, compiled: Any, fn: Callable[..., Any], pipeline: Any) -> None:  # noqa: ANN401
        super().__init__(compiled.call)
        self._self_compiled = compiled
        self._self_fn = fn
        self._self_pipeline = pipeline

    def __get__(self, instance: Any, owner: type | None = None) -> Any:  # noqa: ANN401
        """Bind as a function does; on the class it stays the guard."""
        if instance is None:
            return self
        return types.MethodType(self, instance)

    def __reduce_ex__(self, protocol: Any) -> str:  # noqa: ANN401
        """Pickle by qualified name, as functions do."""
        return str(self.__wrapped__.__qualname__)

    def __reduce__(self) -> str:
        """Pickle by qualified name, as functions do."""
        return str(self.__wrapped__.__qualname__)

    def __copy__(self) -> Guard:
        """A function is its own copy."""
        return self

    def __deepcopy__(self, memo: Any) -> Guard:  # noqa: ANN401
        """A function is its own copy."""
        return self

    def __repr__(self) -> str:
        """Show the function, not the proxy."""
        return f"<guarded {self.__wrapped__.__qualname__} at {id(self):#x}>"


def guard_in(fn: Any) -> Guard | None:  # noqa: ANN401
    """Return the guard that `fn` is, or that is bound in it; look through nothing else."""
    if type(fn) is Guard:
        return fn
    if isinstance(fn, types.MethodType) and type(fn.__func__) is Guard:
        return fn.__func__
    return None
