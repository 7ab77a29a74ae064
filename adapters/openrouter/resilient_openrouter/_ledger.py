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
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from resilient_openrouter._fields import usage_of
from resilient_openrouter.results import ModelCall

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient_openrouter.errors import OpenRouterError
    from resilient_openrouter.results import Reply

__all__ = ("calls_so_far", "ledger", "open_record", "Record")


class Record:
    """The open entry of one call in the ledger; `call` is what is known so far.

    With `is_free` nothing that happens to it costs anything.
    """

    __slots__ = ("_facts", "_is_free", "generation_id", "model", "padding")

    def __init__(
        self, model: str, target: str, credential: str | None = None, *, is_free: bool = False
    ) -> None:
        self.model = model
        self._is_free = is_free
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


_ledger: ContextVar[list[Record] | None] = ContextVar("openrouter_ledger", default=None)


@contextmanager
def ledger(records: list[Record]) -> Generator[list[Record]]:
    """Collect the records of all calls made inside, child tasks included."""
    token = _ledger.set(records)
    try:
        yield records
    finally:
        _ledger.reset(token)


def open_record(
    model: str, target: str, credential: str | None = None, *, is_free: bool = False
) -> Record:
    """Begin a record, in the ledger of the run if there is one."""
    record = Record(model, target, credential, is_free=is_free)
    records = _ledger.get()
    if records is not None:
        records.append(record)
    return record


def calls_so_far() -> tuple[ModelCall, ...]:
    """Return what is known of the calls of the run that this code runs in."""
    return tuple(record.call for record in _ledger.get() or ())
