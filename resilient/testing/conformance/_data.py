"""What JSON is made of, told so that type checkers know it too."""

from __future__ import annotations

from typing import Any, TypeGuard

Data = dict[str, Any]
Path = tuple[str | int, ...]


def is_object(value: object) -> TypeGuard[Data]:
    """Tell a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell a JSON array."""
    return isinstance(value, list)


def is_number(value: object) -> TypeGuard[float]:
    """Tell a number: a bool is an int to Python, and no number to JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)
