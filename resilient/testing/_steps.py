"""What a scripted function does when it is called: one step for each call.

Steps are values. Their `repr` is the code that makes them, without defaults,
so a failing example can be pasted into a test.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from resilient._core.options import number

if TYPE_CHECKING:
    from collections.abc import Callable


class _Fresh:
    """Stands for a value that is made for the one call."""

    def __repr__(self) -> str:
        return "FRESH"


FRESH: Final = _Fresh()


class _Step:
    """A step: `after` seconds pass, then something comes of the call."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the code that makes this step; defaults are left out."""
        said: list[str] = []
        for field in fields(self):  # type: ignore[arg-type]  # every step is a dataclass
            value = getattr(self, field.name)
            if field.default is MISSING:
                said.append(_code(value))
            elif value is not field.default and value != field.default:
                said.append(f"{field.name}={_code(value)}")
        return f"{type(self).__name__}({', '.join(said)})"


@dataclass(frozen=True, slots=True, repr=False)
class Ok(_Step):
    """Return a value after `after` seconds; by default one that no other call returns."""

    value: Any = FRESH
    after: float = 0

    def __post_init__(self) -> None:
        """Check the options."""
        number(self.after, "Ok(after=)", least=0)


@dataclass(frozen=True, slots=True, repr=False)
class Fail(_Step):
    """Raise after `after` seconds.

    `error` is an exception class or a function without arguments: each call
    raises an instance of its own. `hint` becomes its `retry_after`.
    """

    error: Callable[[], BaseException]
    after: float = 0
    hint: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        if not callable(self.error):
            raise TypeError(
                f"Fail(error) takes a class or a function, not the instance {self.error!r}:"
                " each call raises an error of its own"
            )
        number(self.after, "Fail(after=)", least=0)

    def make(self) -> BaseException:
        """Return a fresh error."""
        error = self.error()
        if self.hint is not None:
            error.retry_after = self.hint  # type: ignore[attr-defined]
        return error


@dataclass(frozen=True, slots=True, repr=False)
class Hang(_Step):
    """Wait for ever."""


@dataclass(frozen=True, slots=True, repr=False)
class Bad(_Step):
    """Return a value that `on_result` rejects."""

    value: Any
    after: float = 0

    def __post_init__(self) -> None:
        """Check the options."""
        number(self.after, "Bad(after=)", least=0)


@dataclass(frozen=True, slots=True, repr=False)
class Stubborn(_Step):
    """Return after `after` seconds whatever happens: a cancellation is swallowed."""

    after: float

    def __post_init__(self) -> None:
        """Check the options."""
        number(self.after, "Stubborn(after)", least=0)


Step = Ok | Fail | Hang | Bad | Stubborn


def _code(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else repr(value)
