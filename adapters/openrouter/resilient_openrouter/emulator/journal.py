"""What the emulated server saw: one `Entry` for each request, in the order of arrival.

It holds what a test or a reader of a demonstration asks: which model, which
scenario answered, how it ended and who ended it. The key never gets here:
each distinct key has a label, `key 1` for the first one seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resilient_openrouter.emulator._bill import Bill

__all__ = ("Ended", "Entry", "Journal", "Labels")

Ended = Literal["open", "completed", "client_closed", "reset_by_us", "closed_by_us"]
"""How an answer ended; `open` while it is being given."""


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request and what became of it; times are seconds since the server began.

    `began` is when the request was complete, `headed` when the headers of the
    answer left, `first_byte` the first byte behind them, `finished` the end.
    `sent` counts bytes, so it is where a client was that went away. `model` is
    empty where no completion was asked for. `cost` is what the server charges
    for the answer, in dollars, whether or not it was read.
    """

    number: int
    connection: int
    service: str
    path: str
    model: str
    scenario: str
    began: float
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    generation: str = ""
    status: int | None = None
    headed: float | None = None
    first_byte: float | None = None
    sent: int = 0
    bill: Bill | None = field(default=None, repr=False)
    ended: Ended = "open"
    finished: float | None = None
    told: Callable[[Entry], None] | None = field(default=None, repr=False, compare=False)
    _over: anyio.Event = field(default_factory=anyio.Event, repr=False)

    def end(self, how: Ended, at: float) -> None:
        """Note how the answer ended; only the first end counts."""
        if self.ended == "open":
            self.ended = how
            self.finished = at
            self._over.set()
            if self.told is not None:
                self.told(self)

    @property
    def cost(self) -> float:
        """What the server charges for the answer."""
        if self.bill is None:
            return 0.0
        return self.bill.given_up if self.ended == "client_closed" else self.bill.whole

    async def over(self) -> None:
        """Wait until the answer has ended, one way or another."""
        await self._over.wait()

    def as_dict(self, *, body: bool = False) -> dict[str, Any]:
        """Return the entry as JSON can hold it; what the client said only on request."""
        told = {name: getattr(self, name) for name in _TOLD if body or name != "body"}
        return {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in (told | {"cost": self.cost}).items()
        }


_TOLD: Final = tuple(
    each.name
    for each in fields(Entry)
    if each.name not in {"bill", "told"} and not each.name.startswith("_")
)


class Journal:
    """All requests in the order of their arrival; with `keep` only so many of the last ones.

    `ended` is called with each entry when its answer has ended.
    """

    def __init__(self, keep: int | None = None) -> None:
        self.ended: Callable[[Entry], None] | None = None
        self._entries: list[Entry] = []
        self._keep = keep
        self._count = 0
        self._next: anyio.Event | None = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    @property
    def count(self) -> int:
        """How many requests there have been, those that are not kept included."""
        return self._count

    def append(self, entry: Entry) -> None:
        """Add a request."""
        entry.told = self.ended
        self._entries.append(entry)
        self._count += 1
        if self._keep is not None and len(self._entries) > self._keep:
            del self._entries[0]
        if self._next is not None:
            self._next.set()
            self._next = None

    def taken(self) -> list[Entry]:
        """Return the requests that are kept and keep them no longer; `count` counts on."""
        entries, self._entries = self._entries, []
        return entries

    @property
    def models(self) -> list[str]:
        """The models that were asked for, in order."""
        return [entry.model for entry in self._entries]

    async def begun(self, count: int = 1) -> None:
        """Wait until so many requests have arrived."""
        while self._count < count:
            # Made by who waits: an event needs a running loop, a journal does not.
            self._next = self._next or anyio.Event()
            await self._next.wait()

    async def settled(self) -> None:
        """Wait until every request so far has ended."""
        for entry in tuple(self._entries):
            await entry.over()


class Labels:
    """Names for keys: the server compares them and remembers only what they hash to."""

    def __init__(self) -> None:
        self._labels: dict[bytes, str] = {}
        self._refused: set[bytes] = set()

    def label(self, key: str) -> str:
        """Return the name of a key, a new one for a new key."""
        return self._labels.setdefault(_digest(key), f"key {len(self._labels) + 1}")

    def refuse(self, key: str) -> None:
        """Answer 401 to this key from now on."""
        self._refused.add(_digest(key))

    def is_refused(self, key: str) -> bool:
        """Tell whether this key is answered with 401."""
        return _digest(key) in self._refused


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
