"""What a scripted function does when it is called: one step for each call.

Steps are values. Their `repr` is the code that makes them, without defaults,
so a failing example can be pasted into a test.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from reprlib import recursive_repr
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

LISTED: Final = {"listed": True}
"""Marks a field that takes any list and keeps a tuple."""


class BadStepError(TypeError):
    """A step that cannot be played: a mistake of the test, and no error of what is tested."""


class Shown:
    """A value whose `repr` is the code that makes it, and that is equal to what the code makes."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Compare field by field."""
        if type(other) is not type(self):
            return NotImplemented
        return all(map(same, _values(self), _values(other)))

    def __hash__(self) -> int:
        """Be equal to what it equals."""
        return hash(_hashed(_values(self)))

    def __repr__(self) -> str:
        """Return the code that makes it; defaults are left out."""
        said: list[str] = []
        for one in fields(self):  # type: ignore[arg-type]  # all are dataclasses
            value, made = getattr(self, one.name), one.default_factory
            default = one.default if made is MISSING else made()
            code = _list_code if one.metadata else _code
            if default is MISSING:
                said.append(code(value))
            elif not same(value, default):
                said.append(f"{one.name}={code(value)}")
        return f"{type(self).__name__}({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ANN401, FBT001 - IPython's protocol, and Hypothesis's
        """Print the same code where a printer has ideas of its own."""
        del cycle
        printer.text(repr(self))


class _Step(Shown):
    """A step: `after` seconds pass, then something comes of the call."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False, eq=False)
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


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Fail(_Step):
    """Raise after `after` seconds.

    `error` is an exception class, a function without arguments that returns
    an exception, or a `Fault`, for an error of which just that is known: each
    call raises an instance of its own. A class is called without arguments or
    with a text alone; one that wants others needs a function. `hint` becomes
    its `retry_after`, and may be what no server should send.

    >>> Fail(ConnectionError, after=1, hint=30)
    Fail(ConnectionError, after=1, hint=30)
    """

    error: Callable[[], BaseException] | Fault
    after: float = 0
    hint: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        _check_error(self.error)
        number(self.after, "Fail(after=)", least=0)
        if isinstance(self.hint, bool) or not isinstance(self.hint, (int, float, NoneType)):
            raise TypeError(
                "Fail(hint=) must be a number, also one that no server should send, or None,"
                f" not {shown(self.hint)}"
            )

    def make(self, text: str = "scheduled") -> BaseException:
        """Return a fresh error; one of a class that must have a text has `text`."""
        error = FaultError(self.error) if isinstance(self.error, Fault) else _made(self.error, text)
        if self.hint is not None:
            error.retry_after = self.hint  # type: ignore[attr-defined]
        return error


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Hang(_Step):
    """Wait for ever; `after` seconds of that are for the reader, and make no difference."""

    after: float = 0

    def __post_init__(self) -> None:
        """Check the options."""
        number(self.after, "Hang(after=)", least=0)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Bad(_Step):
    """Return a value that `on_result` rejects."""

    value: Any
    after: float = 0

    def __post_init__(self) -> None:
        """Check the options."""
        number(self.after, "Bad(after=)", least=0)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Stubborn(_Step):
    """Return after `after` seconds whatever happens: a cancellation is swallowed."""

    after: float

    def __post_init__(self) -> None:
        """Check the options."""
        number(self.after, "Stubborn(after)", least=0)


class CutError(Exception):
    """What a stream raises whose source was cut: what `Cut()` comes to where items are objects."""

    retryable = True


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Cut(Shown):
    """The end of a stream that is none: what it is made from stopped before its end marker.

    A source that knows its end marker raises, and so does the scripted
    generator: `CutError`. A server just ends its answer, without the marker:
    the function that reads it has to notice.
    """


Ending = Ok | Fail | Hang | Cut
"""How a stream ends."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Items(_Step):
    """Give `n` items, `gap` seconds apart and the first after `after` seconds, then end.

    `n` is a number, or a list of the items themselves. `then` says how it
    ends: `Ok()`, `Fail(...)`, `Hang()`, which gives no more, or `Cut()`; an
    `after` of its own passes first.

    >>> Items(2, gap=1, then=Fail(ConnectionError))
    Items(2, gap=1, then=Fail(ConnectionError))
    """

    n: int | tuple[Any, ...] = field(metadata=LISTED)
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


def _check_error(error: object) -> None:
    if isinstance(error, type):
        if not issubclass(error, BaseException):
            raise TypeError(f"Fail(error) takes {_ACCEPTED}, not the class {error.__qualname__}")
    elif not callable(error) and not isinstance(error, Fault):
        raise TypeError(
            f"Fail(error) takes a class or a function, not the instance {error!r}:"
            " each call raises an error of its own"
        )


_ACCEPTED: Final = (
    "an exception class, a function without arguments that returns an exception, or a Fault"
)


def _made(error: Callable[[], BaseException], text: str) -> BaseException:
    """Return an error that is made anew, of a class that wants an argument with `text`."""
    try:
        try:
            found: object = error()
        except TypeError:
            if not isinstance(error, type):
                raise
            found = cast("Callable[[str], BaseException]", error)(text)
    except Exception as why:
        raise BadStepError(f"Fail(error) takes {_ACCEPTED}{_not_made(error, why)}") from why
    if isinstance(found, BaseException):
        return found
    raise BadStepError(f"Fail(error) takes {_ACCEPTED}; {_code(error)} returned {shown(found)}")


def _not_made(error: object, why: Exception) -> str:
    name, came = _code(error), f"{type(why).__qualname__}: {why}"
    if not isinstance(error, type):
        return f"; {name} raised {came}"
    return (
        f"; {name} cannot be made without arguments or of a text alone ({came}):"
        f" give a function such as lambda: {name}(...)"
    )


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


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - whatever a user answers with
    """Tell whether two values are equal: a NaN is to another, what cannot be compared is not.

    >>> same(float("nan"), float("nan")), same((1, [2]), (1, [2])), same(1, "1")
    (True, True, False)
    """
    if one is other or one is FRESH or other is FRESH:
        return one is other
    if _are(one, other, tuple) or _are(one, other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if _are(one, other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    try:
        return (_is_nan(one) and _is_nan(other)) or bool(one == other)
    except Exception:  # noqa: BLE001 - what `==` of a user's class may do
        return False


def _are(one: object, other: object, kind: type) -> bool:
    return type(one) is kind and type(other) is kind


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _values(shown: Shown) -> tuple[Any, ...]:
    return tuple(getattr(shown, one.name) for one in fields(shown))  # type: ignore[arg-type]  # as above


def _hashed(value: object) -> object:
    """Return what is hashed of a value: each NaN has a hash of its own."""
    if type(value) is tuple:
        return tuple(map(_hashed, cast("tuple[object, ...]", value)))
    return math.nan if _is_nan(value) else value


def _list_code(value: object) -> str:
    """Return the code of what was given as a list and is kept as a tuple."""
    return _code(list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value)


@recursive_repr()
def _code(value: object) -> str:
    if type(value) is tuple:
        parts = cast("tuple[object, ...]", value)
        return f"({_codes(parts)},)" if len(parts) == 1 else f"({_codes(parts)})"
    if type(value) is list:
        return f"[{_codes(cast('list[object]', value))}]"
    if type(value) is dict:
        pairs = cast("dict[object, object]", value).items()
        return f"{{{', '.join(f'{_code(key)}: {_code(one)}' for key, one in pairs)}}}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(float(value))!r})"
    if isinstance(value, Fault):
        return _fault_code(value)
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else repr(value)


def _codes(values: Iterable[object]) -> str:
    return ", ".join(map(_code, values))


def _fault_code(fault: Fault) -> str:
    said = [
        f"{field.name}={getattr(fault, field.name)!r}"
        for field in fields(fault)
        if field.default is MISSING or getattr(fault, field.name) != field.default
    ]
    return f"Fault({', '.join(said)})"
