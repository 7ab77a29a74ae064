"""What each call of a model did and cost, kept for the length of one `run`.

The engine knows attempts and targets, and nothing of money. So every call of
a model writes one record into the ledger of the run it belongs to, found
through a context variable: child tasks share their parent's, and two runs at
the same time never meet. A call outside of a run writes to nobody.

A record begins as "sent, cost unknown" and is settled by what comes back. So
whatever interrupts the call, a deadline or a cancellation, leaves it in the
one state that is always true.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

from resilient.telemetry import count
from resilient_openrouter._fields import usage_of
from resilient_openrouter.results import ModelCall

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_openrouter.errors import OpenRouterError
    from resilient_openrouter.results import Reply

__all__ = (
    "calls_so_far",
    "current_ledger",
    "enter",
    "leave",
    "Ledger",
    "ledger",
    "open_record",
    "opened",
    "Record",
)

COST: Final = "resilient.openrouter.cost"
TARGET: Final = "resilient.target.name"
RESOLVED: Final = "resilient.openrouter.cost.resolved"


class Record:
    """The open entry of one call in the ledger; `call` is what is known so far.

    With `is_free` nothing that happens to it costs anything.
    """

    __slots__ = ("_facts", "_is_free", "estimate", "generation_id", "model", "padding")

    def __init__(
        self, model: str, target: str, credential: str | None = None, *, is_free: bool = False
    ) -> None:
        self.model = model
        self._is_free = is_free
        self.estimate = 0.0
        self.generation_id: str | None = None
        self.padding = 0
        self._facts: dict[str, Any] = {"target": target, "credential": credential}
        if is_free:
            self._facts |= {"billed": "no", "cost": 0.0}

    @property
    def call(self) -> ModelCall:
        """What is known so far."""
        return ModelCall(
            model=self.model,
            generation_id=self.generation_id,
            padding=self.padding,
            **self._facts,
        )

    def spent(self) -> float:
        """Return the cost, and where nobody knows it the estimate."""
        cost: float | None = self._facts.get("cost")
        return self.estimate if cost is None else cost

    def count(self) -> None:
        """Add what it cost to the metrics, and where nobody knows it the estimate."""
        spent = self.spent()
        if spent > 0:
            told = {TARGET: self._facts["target"], RESOLVED: self._facts.get("cost") is not None}
            count(COST, spent, told)

    def connected(self, after: float) -> None:
        """Note a new connection, secured where it is."""
        self._facts["connected_after"] = after

    def begun(self, generation_id: str | None, after: float) -> None:
        """Note that the headers came: the generation has a name from here on."""
        self.generation_id = generation_id
        self._facts["headers_after"] = after

    def spoken(self, after: float) -> None:
        """Note the first content."""
        self._facts.setdefault("content_after", after)

    def closed(self, after: float) -> None:
        """Note that the call is over."""
        self._facts["took"] = after

    def padded(self, count: int) -> None:
        """Note keep-alive bytes."""
        self.padding += count

    def answered(self, reply: Reply) -> None:
        """Note the answer and its cost; what is not billed costs nothing."""
        self.generation_id = reply.generation_id or self.generation_id
        self._facts |= {
            "provider": reply.provider,
            "usage": reply.usage,
            "billed": reply.billed,
            "cost": 0.0 if reply.billed == "no" else reply.cost,
        }

    def failed(self, error: OpenRouterError) -> None:
        """Note how the call failed: its text and numbers, never the exception itself."""
        self.generation_id = error.generation_id or self.generation_id
        self._facts |= {
            "error": str(error),
            "error_class": type(error).__name__,
            "says": error.says,
            "status_code": error.status_code,
            "scope": error.scope,
            "retry_after": error.retry_after,
            "provider": error.provider,
            "usage": usage_of({"usage": error.usage}),
            "billed": "no" if self._is_free else error.billed,
            "cost": 0.0 if self._is_free or error.billed == "no" else error.cost,
        }


class Ledger:
    """The records of one run, what it may cost, and what it has learned of its request."""

    __slots__ = ("max_cost", "records", "too_small")

    def __init__(self, records: list[Record], max_cost: float | None = None) -> None:
        self.records = records
        self.max_cost = max_cost
        self.too_small: int | None = None
        """The largest context that the messages did not fit into."""

    def spent(self) -> float:
        """Return what the calls so far have cost; an unknown cost counts as it was estimated."""
        return sum(record.spent() for record in self.records)

    def outgrown(self, context: int | None) -> None:
        """Note that the messages do not fit into such a context."""
        if context is not None:
            self.too_small = max(self.too_small or 0, context)


_ledger: ContextVar[Ledger | None] = ContextVar("openrouter_ledger", default=None)


@contextmanager
def ledger(records: list[Record], max_cost: float | None = None) -> Generator[list[Record]]:
    """Collect the records of all calls made inside, child tasks included."""
    with opened(Ledger(records, max_cost)):
        yield records


@contextmanager
def opened(run: Ledger) -> Generator[None]:
    """Write the calls made inside into a ledger."""
    token = enter(run)
    try:
        yield
    finally:
        leave(token)


def enter(run: Ledger) -> Token[Ledger | None]:
    """Write the calls made from here on into a ledger, until `leave` is given the token."""
    return _ledger.set(run)


def leave(token: Token[Ledger | None]) -> None:
    """Go back to the ledger that was there before."""
    _ledger.reset(token)


def open_record(
    model: str, target: str, credential: str | None = None, *, is_free: bool = False
) -> Record:
    """Begin a record, in the ledger of the run if there is one."""
    record = Record(model, target, credential, is_free=is_free)
    run = _ledger.get()
    if run is not None:
        run.records.append(record)
    return record


def current_ledger() -> Ledger | None:
    """Return the ledger of the run that this code runs in."""
    return _ledger.get()


def calls_so_far() -> tuple[ModelCall, ...]:
    """Return what is known of the calls of the run that this code runs in."""
    run = _ledger.get()
    return () if run is None else tuple(record.call for record in run.records)
