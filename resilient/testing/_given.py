"""What was given where a list, a mapping or a function was wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from resilient._core.options import shown

if TYPE_CHECKING:
    from collections.abc import Callable


def several(value: Any, option: str, accepted: str) -> tuple[Any, ...]:  # noqa: ANN401 - whatever was written
    """Return a list as a tuple; a text is no list.

    >>> several(7, "simulate(args=)", "a list of arguments")
    Traceback (most recent call last):
    TypeError: simulate(args=) takes a list of arguments, not 7
    """
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise TypeError(f"{option} takes {accepted}, not {shown(value)}")
    return tuple(value)


def named(value: object, option: str) -> dict[str, Any]:
    """Return a mapping as a dictionary; `None` is an empty one.

    >>> named(7, "simulate(kwargs=)")
    Traceback (most recent call last):
    TypeError: simulate(kwargs=) takes a mapping, not 7
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{option} takes a mapping, not {shown(value)}")
    return dict(cast("Mapping[str, Any]", value))


def is_class_of(value: object, errors: type[BaseException]) -> bool:
    """Tell whether something is a class of such errors.

    >>> is_class_of(OSError, Exception), is_class_of(OSError(), Exception)
    (True, False)
    """
    return isinstance(value, type) and issubclass(value, errors)


def shown_or_class(value: object) -> str:
    """Return what a message shows where a class was wanted: of another class its name.

    >>> shown_or_class(int), shown_or_class(7)
    ('the class int', '7')
    """
    return f"the class {value.__qualname__}" if isinstance(value, type) else shown(value)


def function(value: object, option: str, accepted: str) -> Callable[..., Any]:
    """Return what can be called.

    >>> function(7, "virtual_time", "an async function")
    Traceback (most recent call last):
    TypeError: virtual_time takes an async function, not 7
    """
    if not callable(value):
        raise TypeError(f"{option} takes {accepted}, not {shown(value)}")
    return cast("Callable[..., Any]", value)
