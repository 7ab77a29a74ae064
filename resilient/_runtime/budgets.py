"""Budgets by name: one `RetryBudget` for all functions that call the same service.

A `RetryBudget` is a value, its name and its options. The tokens are kept in
one registry of the process, under the name: whoever makes a budget of that
name and these options shares them, in whatever thread or event loop. Names
stay there for the life of the process, as those of loggers do, so a name is
a constant and no part of a request.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from resilient._core.budget import Budget
from resilient._core.options import number, seconds, text, whole
from resilient._runtime.clock import now as clock_now

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient._core.options import Seconds


@dataclass(frozen=True, slots=True, init=False)
class RetryBudget:
    """A limit on the retries of all functions that share it, by name.

    Each first call deposits `ratio` tokens and each retry withdraws one;
    `reserve` tokens are there in addition. Both deposits and withdrawals
    expire after `ttl` seconds (1 to 60). So of any `ttl` seconds before a
    retry: retries <= reserve + ratio * first calls. A retry that finds no
    token is not made, and the original error surfaces at once, without the
    wait.

    The defaults let a service that is down see a fifth more calls than
    without retries: `ratio=0.2` and a `ttl` of 10 s are those of Finagle,
    and `reserve=10` is one retry a second over that time, so that a program
    with few calls can retry at all. `ratio=0, reserve=0` is legal and refuses
    every retry.

    Budgets with the same name and options are the same budget. The same name
    with other options is a `ValueError`, as is an option out of range; a
    wrong type is a `TypeError`.

    >>> budget = RetryBudget("docs", ratio=0.5, reserve=1)
    >>> budget.deposit(now=0)
    >>> [budget.withdraw(now=1), budget.withdraw(now=1)]
    [True, False]
    >>> budget == RetryBudget("docs", ratio=0.5, reserve=1)
    True

    Source: `RetryBudget` of Twitter's Finagle, documented under "Retries".
    """

    name: str
    ratio: float
    reserve: int
    ttl: float

    def __init__(
        self,
        name: str,
        /,
        *,
        ratio: float = 0.2,
        reserve: int = 10,
        ttl: Seconds = 10,
    ) -> None:
        checked = {
            "name": text(name, "name"),
            "ratio": number(ratio, "ratio", least=0, most=1000),
            "reserve": whole(reserve, "reserve", least=0),
            "ttl": number(seconds(ttl, "ttl", zero=True), "ttl", least=1, most=60),
        }
        for option, value in checked.items():
            object.__setattr__(self, option, value)
        _shared(self)

    def deposit(self, now: float) -> None:
        """Count a first call, at the instant `now` of the Clock."""
        shared = _shared(self)
        with shared.lock:
            shared.budget.deposit(now)

    def withdraw(self, now: float) -> bool:
        """Take a token for a retry, if there is one at the instant `now` of the Clock."""
        shared = _shared(self)
        with shared.lock:
            return shared.budget.withdraw(now)

    @property
    def available(self) -> float:
        """The tokens that are left now; a retry needs one."""
        shared, now = _shared(self), clock_now()
        with shared.lock:
            return shared.budget.available(now)


@contextmanager
def fresh_budgets(names: Names | None = None) -> Generator[None]:
    """Let the code inside find every budget untouched, and forget afterwards what it did.

    Inside, all names are free again, and budgets made outside count from
    nothing. It holds for this context: tasks and threads that inherit it, not
    others. For tests and simulations, which must not depend on what ran before.
    `names` is the registry that stands in for it; by default a new one.
    """
    token = _here.set({} if names is None else names)
    try:
        yield
    finally:
        _here.reset(token)


def snapshot() -> list[tuple[str, float]]:
    """Return the name of each budget and the tokens that it has left now; nothing changes."""
    here, now = _here.get(), clock_now()
    found: list[tuple[str, float]] = []
    for name, shared in (_process if here is None else here).copy().items():
        with shared.lock:
            found.append((name, shared.budget.available(now)))
    return found


class Shared:
    """The tokens of one name, and the options that they were made with."""

    __slots__ = ("budget", "lock", "options")

    def __init__(self, options: RetryBudget) -> None:
        self.options = options
        self.budget = Budget(options.ratio, options.reserve, options.ttl)
        # Held around one pure step: never across an await, a callback or another lock.
        self.lock = Lock()


Names = dict[str, Shared]
"""Budgets by their names."""

_process: Names = {}
"""The registry: every budget of the process by its name."""

_here: ContextVar[Names | None] = ContextVar("resilient_budgets", default=None)
"""The registry that stands in for it in a test or simulation."""


def _shared(asked: RetryBudget) -> Shared:
    here = _here.get()
    names = _process if here is None else here
    found = names.get(asked.name)
    if found is None:
        # Two threads may get here together: `setdefault` lets one of them win.
        found = names.setdefault(asked.name, Shared(asked))
    if found.options is not asked and found.options != asked:
        raise ValueError(
            f'budget "{asked.name}" has {_options(found.options)} already, not {_options(asked)}: '
            "give it the same options everywhere, or another name"
        )
    return found


def _options(budget: RetryBudget) -> str:
    return f"ratio={budget.ratio:g}, reserve={budget.reserve}, ttl={budget.ttl:g}"
