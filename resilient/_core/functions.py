"""What a user's function is called, and whether calling it gives something to await.

A function may be wrapped in partials, and an object with `__call__` is one as
well. Its name is that of what is inside, or of the object's class.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from resilient._core.names import class_name
from resilient._core.shape import attribute, text_of


def name_of(function: object) -> str:
    """Return the name by which a function is known: its `__qualname__`, or its class's."""
    function = _unwrapped(function)
    return text_of(attribute(function, "__qualname__")) or type(function).__qualname__


def function_name(function: object) -> str:
    """Return `module.qualname` of a function, or of the class of an object."""
    function = _unwrapped(function)
    name = text_of(attribute(function, "__qualname__"))
    if name is None:
        return class_name(type(function))
    module = text_of(attribute(function, "__module__"))
    return f"{module}.{name}" if module and module != "builtins" else name


def short_name(function: object) -> str:
    """Return the name of a function without its module or the function it was made in."""
    return name_of(function).rpartition("<locals>.")[2]


def refuse_async(function: object, option: str) -> None:
    """Refuse what would have to be awaited where an answer is needed at once."""
    found: Any = _unwrapped(function)
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__):
        raise TypeError(
            f"{option} must be a plain function, not the async {function_name(function)}"
        )


def _unwrapped(function: object) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return function
