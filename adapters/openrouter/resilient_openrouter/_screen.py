"""Where a command writes: colours and a live picture on a terminal, the same text elsewhere."""

from __future__ import annotations

import select
import sys
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from resilient.events import AttemptEnded, AttemptStarted, TargetSkipped
from resilient_openrouter._waterfall import Bar, Line, drawn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from resilient.events import Event

__all__ = ("Screen", "Watching")

_STYLES: Final = {"plain": "", "title": "bold", "good": "green", "bad": "red", "dim": "dim"}
_EVERY: Final = 0.08
_AT_LEAST: Final = 2.0  # seconds that the live picture is wide, so that bars are seen to grow


class Watching:
    """A listener that keeps the rows of the call that is running right now."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._rows: dict[object, Bar] = {}

    def on_event(self, event: Event, call: object, /) -> None:
        """Begin, end or skip a row."""
        del call
        began = self._began = event.at if self._began is None else self._began
        at = event.at - began
        if isinstance(event, AttemptStarted):
            self._rows[event.number] = Bar(
                label=f"{event.number} {event.target}",
                started=at,
                ended=-1,
                verdict="...",
                style="plain",
            )
        elif isinstance(event, AttemptEnded) and event.number in self._rows:
            begun = self._rows[event.number]
            self._rows[event.number] = Bar(
                label=begun.label,
                started=begun.started,
                ended=event.ended - began,
                verdict="answered" if event.error is None else "failed",
                style="good" if event.error is None else "bad",
            )
        elif isinstance(event, TargetSkipped):
            self._rows[event.target] = Bar(
                label=f"- {event.target}",
                started=0,
                ended=0,
                verdict="not asked",
                style="dim",
                asked=False,
            )

    def lines(self) -> list[Line]:
        """Draw what there is so far; an attempt that has not ended goes on until now."""
        if self._began is None:
            return []
        now = time.monotonic() - self._began
        running = [_until(row, now) if row.ended < 0 else row for row in self._rows.values()]
        return list(drawn(running, max(now, _AT_LEAST)))

    def forget(self) -> None:
        """Make room for the next call."""
        self._began = None
        self._rows = {}


class Screen:
    """The standard output, with colours and a live picture if it is a terminal that can."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.watching = Watching()
        self._is_open = False
        self._console = _console() if self.is_terminal else None
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        # A picture that an old terminal or a pipe cannot encode is no reason to fail.
        self.block = "█" if encoding.startswith("utf") else "#"
        self.cross = "✗" if encoding.startswith("utf") else "x"

    def say(self, text: str) -> None:
        """Write a piece of a text, behind what is there."""
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._is_open = not text.endswith("\n")

    def end_line(self) -> None:
        """End the line that pieces have left open."""
        if self._is_open:
            self.say("\n")

    def write(self, lines: Iterable[Line]) -> None:
        """Write lines below what is there."""
        self.end_line()
        for text, style in lines:
            if self._console is None:
                print(text.rstrip(), flush=True)
            else:
                self._console.print(
                    text, style=_STYLES[style], markup=False, highlight=False, soft_wrap=True
                )

    @asynccontextmanager
    async def live(self) -> AsyncGenerator[None]:
        """Show what happens inside while it happens, and take it away in the end."""
        self.watching.forget()
        if self._console is None:
            yield
            return
        from rich import live, text  # noqa: PLC0415 - only where there is a terminal

        with live.Live(console=self._console, auto_refresh=False, transient=True) as picture:
            raised: Exception | None = None
            async with anyio.create_task_group() as group:
                group.start_soon(self._refresh, picture, text.Text)
                try:
                    yield
                except Exception as error:  # noqa: BLE001 - a task group would wrap it
                    raised = error
                finally:
                    group.cancel_scope.cancel()
            if raised is not None:
                try:
                    raise raised
                finally:
                    del raised

    def pause(self, seconds: int) -> bool:
        """Wait for Enter or for the seconds to pass; return whether to go on.

        Nobody waits where nobody can press a key.
        """
        if not (self.is_terminal and sys.stdin.isatty()):
            return True
        prompt = f"Enter: next   q Enter: quit   goes on in {seconds} s "
        print(f"\n{prompt}", end="", flush=True)
        pressed = _key_within(seconds)
        print("\r" + " " * len(prompt) + "\r", end="", flush=True)
        return pressed.strip().lower() != "q"

    async def _refresh(self, picture: Live, text: type[Text]) -> None:
        while True:
            lines = self.watching.lines()
            shown = text("\n").join(text(each, style=_STYLES[style]) for each, style in lines)
            picture.update(shown, refresh=True)
            await anyio.sleep(_EVERY)


def _console() -> Console | None:
    try:
        from rich import console  # noqa: PLC0415 - plain text will do without it
    except ModuleNotFoundError:
        return None
    return console.Console()


def _until(row: Bar, now: float) -> Bar:
    return Bar(
        label=row.label, started=row.started, ended=now, verdict=row.verdict, style=row.style
    )


def _key_within(seconds: int) -> str:
    try:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
    except (OSError, ValueError):  # a terminal that cannot be asked, as on Windows
        threading.Event().wait(seconds)
        return ""
    return sys.stdin.readline() if ready else ""
