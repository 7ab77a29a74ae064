"""The picture of a run: rows on one axis of time, and how they are drawn in characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resilient._core.options import whole

Tone = Literal["good", "bad", "neutral", "none"]
"""How a row ended: well, badly, cancelled, or not at all because nothing was called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: a stretch of time (`ended` is `None` while it lasts), and what came of it."""

    label: str
    depth: int
    started: float
    ended: float | None
    verdict: str
    tone: Tone
    order: int


@dataclass(frozen=True, slots=True)
class Picture:
    """The rows of a run, from the instant `begins` on for `lasts` seconds."""

    rows: tuple[Row, ...]
    begins: float
    lasts: float

    def text(self, width: int = 40) -> str:
        """Draw it in characters; `width` is that of the bars."""
        whole(width, "waterfall(width)")
        label = max((len(_indented(row)) for row in self.rows), default=0)
        return "\n".join(self._line(row, label, width) for row in self.rows)

    def _line(self, row: Row, label: int, width: int) -> str:
        bar, took = self._bar(row, width).ljust(width), ""
        if row.tone != "none":
            took = "..." if row.ended is None else f"{row.ended - row.started:.2f} s"
        return f"{_indented(row):<{label}}  {bar} {took:>10}  {row.verdict}".rstrip()

    def _bar(self, row: Row, width: int) -> str:
        if row.tone == "none":
            return ""
        start, length = self.place(row, width)
        return " " * start + "█" * length

    def place(self, row: Row, width: int) -> tuple[int, int]:
        """Return where the bar of a row begins and how long it is: at least one part of `width`."""
        ended = self.begins + self.lasts if row.ended is None else row.ended
        scale = width / (self.lasts or 1.0)
        start = min(int((row.started - self.begins) * scale), width - 1)
        end = min(round((ended - self.begins) * scale), width)
        return start, max(1, end - start)


def on_one_line(text: str) -> str:
    r"""Return a text with an escape for what breaks a line, moves a cursor or is not XML.

    >>> on_one_line("two\nlines")
    'two\\nlines'
    """
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _indented(row: Row) -> str:
    return "  " * row.depth + row.label
