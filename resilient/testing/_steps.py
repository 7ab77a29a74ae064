"""What a scripted function does when it is called: one step for each call.

Steps are values. Their `repr` is the code that makes them, without defaults,
so a failing example can be pasted into a test.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from resilient._core.faults import Fault
from resilient._core.options import number, shown, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class _Fresh:
    """Stands for a value that is made for the one call."""

    def __repr__(self) -> str:
        return "FRESH"


FRESH: Final = _Fresh()


class Shown:
    """A value whose `repr` is the code that makes it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the code that makes it; defaults are left out."""
        said: list[str] = []
        for field in fields(self):  # type: ignore[arg-type]  # all are dataclasses
            value = getattr(self, field.name)
            made = field.default_factory
            default = field.default if made is MISSING else made()
            if default is MISSING:
                said.append(_code(value))
            elif value is not default and value != default:
                said.append(f"{field.name}={_code(value)}")
        return f"{type(self).__name__}({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ANN401, FBT001 - IPython's protocol, and Hypothesis's
        """Print the same code where a printer has ideas of its own."""
        del cycle
        printer.text(repr(self))


class _Step(Shown):
    """A step: `after` seconds pass, then something comes of the call."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False)
class Ok(_Step):
    """Return a value after `after` seconds; by default one that no other call returns."""

    value: Any = FRESH
    after: float = 0

    def __post_init__(self) -> None:
        """Check the options."""
        number(self.after, "Ok(after=)", least=0)


class FaultError(Exception):
    """An error that says itself what is known about it: what `Fail(Fault(...))` raises.

    >>> FaultError(Fault(retryable=False, scope="credential")).scope
    'credential'
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self.retryable = fault.retryable
        self.retry_after = fault.retry_after
        self.scope = fault.scope
        self.health = fault.health


class Interruption(BaseException):
    """What no policy may handle and every policy must clean up behind; no `Exception`.

    It stands for `KeyboardInterrupt` and its like, which would end the test
    itself.
    """


@dataclass(frozen=True, slots=True, repr=False)
class Fail(_Step):
    """Raise after `after` seconds.

    `error` is an exception class, a function without arguments, or a `Fault`,
    for an error of which just that is known: each call raises an instance of
    its own. `hint` becomes its `retry_after`, and may be what no server
    should send.

    >>> Fail(ConnectionError, after=1, hint=30)
    Fail(ConnectionError, after=1, hint=30)
    """

    error: Callable[[], BaseException] | Fault
    after: float = 0
    hint: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        if not callable(self.error) and not isinstance(self.error, Fault):
            raise TypeError(
                f"Fail(error) takes a class or a function, not the instance {self.error!r}:"
                " each call raises an error of its own"
            )
        number(self.after, "Fail(after=)", least=0)
        if isinstance(self.hint, bool) or not isinstance(self.hint, (int, float, NoneType)):
            raise TypeError(
                "Fail(hint=) must be a number, also one that no server should send, or None,"
                f" not {shown(self.hint)}"
            )
        if isinstance(self.hint, float) and math.isnan(self.hint):
            # The same one each time, so that equal schedules are equal.
            object.__setattr__(self, "hint", math.nan)

    def __eq__(self, other: object) -> bool:
        """Compare as tuples do, for which a NaN equals itself; Python 3.13's dataclasses differ."""
        if type(other) is not Fail:
            return NotImplemented
        return (self.error, self.after, self.hint) == (other.error, other.after, other.hint)

    def __hash__(self) -> int:
        """Be equal to what it equals."""
        return hash((self.error, self.after, self.hint))

    def make(self, text: str = "scheduled") -> BaseException:
        """Return a fresh error; one of a class that must have a text has `text`."""
        error = FaultError(self.error) if isinstance(self.error, Fault) else _made(self.error, text)
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


class CutError(Exception):
    """What a stream raises whose source was cut: what `Cut()` comes to where items are objects."""

    retryable = True


@dataclass(frozen=True, slots=True, repr=False)
class Cut(Shown):
    """The end of a stream that is none: what it is made from stopped before its end marker.

    A source that knows its end marker raises, and so does the scripted
    generator: `CutError`. A server just ends its answer, without the marker:
    the function that reads it has to notice.
    """


Ending = Ok | Fail | Hang | Cut
"""How a stream ends."""


@dataclass(frozen=True, slots=True, repr=False)
class Items(_Step):
    """Give `n` items, `gap` seconds apart and the first after `after` seconds, then end.

    `n` is a number, or a list of the items themselves. `then` says how it
    ends: `Ok()`, `Fail(...)`, `Hang()`, which gives no more, or `Cut()`; an
    `after` of its own passes first.

    >>> Items(2, gap=1, then=Fail(ConnectionError))
    Items(2, gap=1, then=Fail(ConnectionError))
    """

    n: int | tuple[Any, ...]
    gap: float = 0
    then: Ending = Ok()
    after: float = 0

    if TYPE_CHECKING:
        # Any list of items will do.
        def __init__(
            self,
            n: int | Iterable[Any],
            gap: float = 0,
            then: Ending = ...,
            after: float = 0,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Check the options."""
        if isinstance(self.n, int):
            whole(self.n, "Items(n)", least=0)
        else:
            object.__setattr__(self, "n", _several(self.n))
        number(self.gap, "Items(gap=)", least=0)
        number(self.after, "Items(after=)", least=0)
        if not isinstance(cast("object", self.then), Ending):
            raise TypeError(
                f"Items(then=) takes Ok(), Fail(...), Hang() or Cut(), not {shown(self.then)}"
            )
        if isinstance(self.then, Ok) and self.then.value is not FRESH:
            raise ValueError("Items(then=) takes an Ok without a value: a stream ends with none")


Step = Ok | Fail | Hang | Bad | Stubborn | Items


STEPS: Final = get_args(Step)


def is_step(value: object) -> bool:
    """Tell whether a value is one of the steps."""
    return isinstance(value, STEPS)


def _made(error: Callable[[], BaseException], text: str) -> BaseException:
    try:
        return error()
    except TypeError:
        if not isinstance(error, type):
            raise
        return cast("Callable[[str], BaseException]", error)(text)


def values_of(step: Items) -> tuple[Any, ...]:
    """Return the items, each as it was given or `FRESH`."""
    return (FRESH,) * step.n if isinstance(step.n, int) else step.n


def is_cut(step: Step) -> bool:
    """Tell whether a step comes to the end of a stream that is none."""
    return isinstance(step, Items) and isinstance(step.then, Cut)


def _several(items: Any) -> tuple[Any, ...]:  # noqa: ANN401 - whatever was written
    try:
        if not isinstance(items, str | bytes):
            return tuple(items)
    except TypeError:
        pass
    raise TypeError(f"Items(n) takes a number or a list of items, not {shown(items)}")


def _code(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_code(part) for part in cast('tuple[object, ...]', value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, Fault):
        return _fault_code(value)
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else repr(value)


def _fault_code(fault: Fault) -> str:
    said = [
        f"{field.name}={getattr(fault, field.name)!r}"
        for field in fields(fault)
        if field.default is MISSING or getattr(fault, field.name) != field.default
    ]
    return f"Fault({', '.join(said)})"
