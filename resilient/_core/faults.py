"""What is known about a failure.

A `Fault` is one frozen value that everything else decides by: may the same
call be made again here, how long has the server asked to wait, what is broken
(the name of a scope), and what a breaker and a manager learn from it. It comes
from the first that answers: the user's `classify=`, the exception's own
attributes of the same names, the table behind `transient`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, cast, get_args

from resilient._core.functions import function_name
from resilient._core.hints import hint, hint_of
from resilient._core.options import choice, shown, text
from resilient._core.shape import attribute, is_group, leaves, own_retryable, text_of
from resilient._core.transient import Table, transient

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient._core.transient_rows import Kind

Health = Literal["failure", "neutral", "cooldown", "trip"]
"""What a breaker and a manager learn from a failure."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is known about a failure.

    `retryable`: the same call may be made again here. `retry_after`: the
    server's hint in seconds (a `timedelta` is converted; NaN, zero, negative,
    infinite and more than a day are no hint and become `None`). `scope`: the
    name of what is condemned; `None` is this target alone, `"request"` every
    target. `health`: `failure` counts, `neutral` teaches nothing, `cooldown`
    lets the target rest until the hint, `trip` closes the scope at once.
    `source`: where the hint was read.

    >>> Fault(True, retry_after=2).retry_after, Fault(False).health
    (2.0, 'failure')
    """

    retryable: bool
    retry_after: float | None = None
    scope: str | None = None
    health: Health = "failure"
    source: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if type(self.retryable) is not bool:
            raise TypeError(f"retryable must be True or False, not {shown(self.retryable)}")
        if self.retry_after is not None:
            object.__setattr__(self, "retry_after", _seconds(self.retry_after))
        for option in ("scope", "source"):
            if getattr(self, option) is not None:
                text(getattr(self, option), option)
        choice(self.health, "health", HEALTHS)


HEALTHS: Final[tuple[Health, ...]] = get_args(Health)

Classify = Callable[[Exception], Fault | None]
"""The user's own answer: what is known about this error, or `None` for "ask further"."""

# A wait of unknown reason counts as a failure; patience that was asked for and a wrong call do not.
FAULTS: Final[dict[Kind, Fault]] = {
    "unsent": Fault(retryable=True),
    "transient": Fault(retryable=True),
    "throttled": Fault(retryable=True, health="cooldown"),
    "permanent": Fault(retryable=False, health="neutral"),
}
"""What the kinds of the table mean."""


def fault_of(
    error: BaseException, classify: Classify | None = None, table: Table = transient
) -> Fault | None:
    """Return what is known about an error, `None` where nobody knows it.

    An exception that says `retryable` (a bool) speaks for itself, with
    `retry_after`, `scope` and `health` if it has them. One that only carries a
    hint keeps what the table says of it; a hint alone makes nothing
    retryable, and is still there for whoever retries the error by name. A
    group is retryable if every leaf is, and has the largest of their hints.

    An HTTP-date counts against the `Date` of the same response and is ignored
    without one. Only `classify` can raise: its own error leaves, and an
    answer that is no `Fault` is a `TypeError`.
    """
    if not issubclass(type(error), Exception):
        return None
    error = cast("Exception", error)
    if classify is not None:
        answer = classified(error, classify)
        if answer is not None:
            return answer
    own = own_retryable(error)
    if own is not None:
        return _own_fault(error, retryable=own)
    if is_group(error):
        found = _fault_of_group(error, classify, table)
    else:
        kind = table.kind_of(error)
        found = None if kind is None else FAULTS[kind]
    return _hinted(found, hint_of(error))


def classified(error: Exception, classify: Classify) -> Fault | None:
    """Ask the user's `classify`, and refuse an answer that is none."""
    answer = cast("object", classify(error))
    if answer is None or isinstance(answer, Fault):
        return answer
    raise TypeError(
        f"classify must return a Fault or None,"
        f" and {function_name(classify)} returned {shown(answer)}"
    )


def _own_fault(error: Exception, *, retryable: bool) -> Fault:
    seconds, source = hint_of(error) or (None, None)
    health = text_of(attribute(error, "health"))
    return Fault(
        retryable,
        seconds,
        text_of(attribute(error, "scope")),
        health if health in HEALTHS else "failure",
        source=source,
    )


def _hinted(found: Fault | None, read: tuple[float, str] | None) -> Fault | None:
    if read is None:
        return found
    seconds, source = read
    return replace(found or _UNKNOWN, retry_after=seconds, source=source)


_UNKNOWN: Final = Fault(retryable=False)
# From the mildest to the one that nothing may hide.
_SEVERITY: Final = ("neutral", "cooldown", "failure", "trip")


def _fault_of_group(error: Exception, classify: Classify | None, table: Table) -> Fault | None:
    members = leaves(error)
    if members is None:
        return None
    found = [fault_of(member, classify, table) for member in members]
    known = [fault or _UNKNOWN for fault in found]
    if not any(found):
        return None
    longest = max(known, key=lambda fault: fault.retry_after or 0)
    return Fault(
        all(fault.retryable for fault in known),
        longest.retry_after,
        _common(fault.scope for fault in known),
        max(known, key=lambda fault: _SEVERITY.index(fault.health)).health,
        source=longest.source,
    )


def _common(scopes: Iterable[str | None]) -> str | None:
    """Return the scope that all leaves condemn; several different ones condemn none."""
    different = set(scopes)
    return different.pop() if len(different) == 1 else None


def _seconds(value: object) -> float | None:
    # What number a hint holds is the server's business, of what type it is the caller's.
    if isinstance(value, bool) or not isinstance(value, (int, float, timedelta)):
        raise TypeError(
            f"retry_after must be seconds (a number or a timedelta) or None, not {shown(value)}"
        )
    return hint(value)
