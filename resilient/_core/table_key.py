"""What a row of the table is about: a class or its name, and perhaps a code.

A name is the root of the module and the class: `("httpx", "ConnectError")`.
It needs no import, and it holds wherever the library keeps the class.
"""

from __future__ import annotations

from typing import Any, cast

from resilient._core.names import module_of, name_of
from resilient._core.options import choice, shown
from resilient._core.shape import text_of, whole_of
from resilient._core.transient_rows import KINDS, Code

Key = type[Exception] | tuple[type[Exception], Code] | tuple[str, str] | tuple[str, str, Code]
"""What a row is about: a class, or (module root, class name), each with a code or without."""

Named = type | tuple[str, str]
"""A class, or the root of its module and its name."""


def named(cls: type) -> tuple[str, str]:
    """Return the name by which a row may mean `cls`."""
    root, _, _ = (text_of(module_of(cls)) or "").partition(".")
    return root, name_of(cls)


def split(key: Key) -> tuple[Named, tuple[Code, ...]]:
    """Return the class or its name, and the code if the row is limited to one."""
    if not isinstance(key, tuple):
        return key, ()
    parts = cast("tuple[Any, ...]", key)
    if isinstance(parts[0], str):
        return (parts[0], parts[1]), parts[2:]
    return parts[0], parts[1:]


def check_row(key: object, kind: object) -> None:
    """Refuse a row that means nothing."""
    choice(kind, f"the kind of {_key_shown(key)}", KINDS)
    parts = cast("tuple[object, ...]", key if isinstance(key, tuple) else (key,))
    if parts and isinstance(parts[0], type):
        _check_class(parts[0])
        codes = parts[1:]
    elif len(parts) > 1 and all(_is_name(part) for part in parts[:2]):
        _check_root(cast("str", parts[0]))
        codes = parts[2:]
    else:
        raise _bad_key(parts)
    if len(codes) > 1 or not all(_is_code(code) for code in codes):
        raise _bad_key(parts)


def _check_class(cls: type) -> None:
    if not issubclass(cls, BaseException):
        raise TypeError(f"a row is about exceptions, and {cls.__qualname__} is none")
    if not issubclass(cls, Exception):
        raise ValueError(  # noqa: TRY004 - the type is right, the class is not one to handle
            f"{cls.__qualname__} is not an Exception: cancellation and exit are never handled"
        )


def _check_root(root: str) -> None:
    if "." in root:
        raise ValueError(
            f"the module of a row is the root alone: {root.partition('.')[0]!r}, not {root!r}"
        )


def _is_name(part: object) -> bool:
    return isinstance(part, str) and bool(part)


def _is_code(part: object) -> bool:
    return part is None or _is_name(part) or whole_of(part) is not None


def _bad_key(parts: tuple[object, ...]) -> TypeError:
    return TypeError(
        "a row is an exception class or (module root, class name), then, where it is limited"
        f" to one, a status or code; not {_key_shown(parts[0] if len(parts) == 1 else parts)}"
    )


def _key_shown(key: object) -> str:
    if isinstance(key, tuple):
        return f"({', '.join(map(_key_shown, cast('tuple[object, ...]', key)))})"
    return key.__qualname__ if isinstance(key, type) else shown(key)
