"""The worst case of a pipeline: how many calls, how many seconds.

Every policy maps the bound of what is inside it to its own. Calls multiply
through retries and add up over targets; seconds do the same, with the waits
in between, and each timeout caps what is inside it. A function alone is one
call and no limit of seconds. What this promises is a theorem for cooperative
code: a function that swallows cancellation can outlast any limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `calls` calls of targets and `seconds` seconds; both may be `math.inf`.

    >>> Bound(4, 30.0)
    Bound(calls=4, seconds=30.0)
    """

    calls: float = 1
    seconds: float = inf

    def capped(self, seconds: float) -> Bound:
        """Return the bound inside a limit of `seconds`."""
        return Bound(self.calls, min(self.seconds, seconds))

    def repeated(self, times: float, longest_wait: float, max_elapsed: float = inf) -> Bound:
        """Return the bound of up to `times` runs with waits of at most `longest_wait`.

        `max_elapsed` stops new runs and waits; the run that is on its way may finish.
        """
        waits = longest_wait * (times - 1) if longest_wait and times > 1 else 0.0
        seconds = self.seconds * times + waits
        return Bound(self.calls * times, min(seconds, max_elapsed + self.seconds))

    def then(self, other: Bound) -> Bound:
        """Return the bound of this and, after it, another."""
        return Bound(self.calls + other.calls, self.seconds + other.seconds)

    def __str__(self) -> str:
        """Say it in words."""
        if self.calls == inf and self.seconds == inf:
            return "unbounded"
        if self.calls == inf:
            return f"any number of calls and at most {self.seconds:.6g} s"
        seconds = "no limit of time" if self.seconds == inf else f"{self.seconds:.6g} s"
        return f"at most {_plural(self.calls, 'call')} and {seconds}"


def _plural(number: float, noun: str) -> str:
    return f"{number:.0f} {noun}{'' if number == 1 else 's'}"
