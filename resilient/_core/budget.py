"""How many retries may come on top of the first calls.

When a service is down, every call fails, and three attempts for each triple
its load just when it can bear the least. A budget ties the retries of many
calls to their number: each first call deposits `ratio` tokens, each retry
withdraws one, and `reserve` tokens are there in addition, for the times when
there are few calls. Deposits and withdrawals are both remembered for `ttl`
seconds, so the reserve comes back when it has not been used for that long.

The rule that everything follows: of the last `ttl` seconds before any retry,
retries <= reserve + ratio * first calls.

Time is cut into ten slots, and rounded in favour of the service: a deposit
counts from the start of its slot and lives for at most `ttl`, a withdrawal
counts from the end of its slot and lives for at least `ttl`, each within a
tenth. The design is Finagle's `RetryBudget`.
"""

from __future__ import annotations

import math
from typing import Final

SLOTS: Final = 10
"""Slots in a ttl: entries expire a tenth of it at a time."""

PLACES: Final = SLOTS + 1
"""Slots that are remembered: those of a ttl, and the next, where withdrawals of now count."""

TOKEN: Final = 10**9
"""Units in a token: whole numbers, so that ten deposits of 0.1 are one token exactly."""


class Budget:
    """The tokens that are left, as deposits and withdrawals of the last ttl.

    Whoever shares one between threads holds a lock around each method.
    """

    __slots__ = ("_entries", "_newest", "_per_deposit", "_reserve", "_total", "_ttl")

    def __init__(self, ratio: float, reserve: int, ttl: float) -> None:
        self._per_deposit = round(ratio * TOKEN)
        self._reserve = reserve * TOKEN
        self._ttl = ttl
        self._newest: int | None = None
        # What was deposited less what was withdrawn, by number of the slot modulo PLACES.
        self._entries = [0] * PLACES
        self._total = 0

    def deposit(self, now: float) -> None:
        """Count a first call."""
        self._add(self._advance(now), self._per_deposit)

    def withdraw(self, now: float) -> bool:
        """Take a token for a retry, if there is one."""
        newest = self._advance(now)
        if self._reserve + self._total < TOKEN:
            return False
        at_the_start = now * SLOTS / self._ttl == newest
        self._add(newest if at_the_start else newest + 1, -TOKEN)
        return True

    def available(self, now: float) -> float:
        """Return the tokens that are left, and change nothing: whoever looks may be anybody."""
        # A deposit expires before the withdrawal that it paid for: less than nothing may be left.
        return max(0, self._reserve + self._left(now)) / TOKEN

    def _left(self, now: float) -> int:
        slot = math.floor(now * SLOTS / self._ttl)
        newest = self._newest
        if newest is None or abs(slot - newest) > SLOTS:
            return 0  # as `_advance` has it
        expired = range(newest + 1 - SLOTS, slot + 1 - SLOTS)
        return self._total - sum(self._entries[old % PLACES] for old in expired)

    def _add(self, slot: int, units: int) -> None:
        self._entries[slot % PLACES] += units
        self._total += units

    def _advance(self, now: float) -> int:
        slot = math.floor(now * SLOTS / self._ttl)
        if slot == self._newest:  # nearly always
            return slot
        if self._newest is None or abs(slot - self._newest) > SLOTS:
            # Either all has expired, or this is the clock of another loop.
            return self._afresh(slot)
        # A clock that is a little behind, as in another thread or loop, counts as the newest.
        while self._newest < slot:
            self._newest += 1
            self._expire(self._newest - SLOTS)
        return self._newest

    def _expire(self, slot: int) -> None:
        self._total -= self._entries[slot % PLACES]
        self._entries[slot % PLACES] = 0

    def _afresh(self, slot: int) -> int:
        self._entries = [0] * PLACES
        self._total = 0
        self._newest = slot
        return slot
