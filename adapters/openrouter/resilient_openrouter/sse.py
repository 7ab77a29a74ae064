"""Server-sent events: from bytes as they come to the data of each event.

The format is the WHATWG's: lines end with LF, CR or CRLF; the values of `data`
up to a blank line are one event; a line that begins with a colon is a comment.
A byte order mark may come first, and what is no UTF-8 becomes U+FFFD. What no
blank line closes is no event, also where the stream ends.

Only `data` is kept. Names, ids and reconnection times are read and dropped:
nobody reconnects to an answer.

The decoder does no I/O. Any split of the same bytes gives the same events, in
time that is linear in their number. What it holds is bounded, and crossing a
bound is its only error.

Source: HTML Living Standard, 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Decoder", "TooLarge")

MAX_LINE: Final = 4 * 1024 * 1024  # an image in base64 is one line
MAX_EVENT: Final = 8 * 1024 * 1024
MAX_TOTAL: Final = 64 * 1024 * 1024

_MARK: Final = b"\xef\xbb\xbf"
_ENDS: Final = (b"\n", b"\r")


class TooLarge(ValueError):
    """A line, an event or a whole stream is larger than it may be."""

    def __init__(self, what: str, name: str, limit: int) -> None:
        super().__init__(f"{what} is larger than {name}={limit} bytes")


class Decoder:
    r"""Bytes in, the data of events out.

    `max_line` bounds a line, `max_event` the data of an event, `max_total`
    everything that is fed. `comments` counts the lines that only keep a
    connection alive, and `is_inside` tells whether an event has begun that
    is not closed.

    >>> decoder = Decoder()
    >>> list(decoder.feed(b": processing\n\ndata: o")), decoder.is_inside
    ([], True)
    >>> list(decoder.feed(b"ne\r\n\r\ndata: two\rdata\r\r")), decoder.comments
    (['one', 'two\n'], 1)
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_event_size",
        "_is_first",
        "_line",
        "_line_size",
        "_total",
        "comments",
        "max_event",
        "max_line",
        "max_total",
    )

    def __init__(
        self,
        *,
        max_line: int = MAX_LINE,
        max_event: int = MAX_EVENT,
        max_total: int = MAX_TOTAL,
    ) -> None:
        self.max_line = max_line
        self.max_event = max_event
        self.max_total = max_total
        self.comments = 0
        self._total = 0
        self._is_first = True  # no line has ended so far
        self._after_cr = False  # a LF that comes now belongs to the end before it
        self._line: list[bytes] = []  # the parts of a line that has not ended
        self._line_size = 0
        self._data: list[bytes] = []  # the values of an event that has not ended
        self._event_size = 0

    @property
    def is_inside(self) -> bool:
        """Whether the bytes so far end inside an event, or inside a line."""
        return bool(self._data or self._line)

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes; yield the data of each event that ends in them.

        Take all that it yields before the next bytes are fed. `TooLarge` is
        raised after the last event in front of the bound that was crossed.
        """
        room = max(0, self.max_total - self._total)
        self._total += len(data)
        lines, rest = self._split(data[:room])
        for line in lines:
            event = self._ended(line)
            if event is not None:
                yield event
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)
            self._check_line(self._line_size)
        if self._total > self.max_total:
            raise TooLarge("the stream", "max_total", self.max_total)

    def _split(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return the lines that end in these bytes, and what comes after them."""
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if not data:
            return [], b""
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()  # of bytes: at LF, CR and CRLF, and at nothing else
        rest = b"" if data.endswith(_ENDS) else lines.pop()
        if lines and self._line:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line.clear()
            self._line_size = 0
        return lines, rest

    def _ended(self, line: bytes) -> str | None:
        """Take a line that has ended; return the data of the event that it closes."""
        self._check_line(len(line))
        if self._is_first:
            self._is_first = False
            line = line.removeprefix(_MARK)
        if not line:
            return self._closed()
        name, _, value = line.partition(b":")
        if name == b"data":
            self._keep(value.removeprefix(b" "))
        elif not name:
            self.comments += 1
        return None

    def _keep(self, value: bytes) -> None:
        self._data.append(value)
        self._event_size += len(value) + 1
        if self._event_size > self.max_event:
            raise TooLarge("the data of an event", "max_event", self.max_event)

    def _closed(self) -> str | None:
        if not self._data:
            return None
        event = b"\n".join(self._data).decode("utf-8", "replace")
        self._data.clear()
        self._event_size = 0
        return event

    def _check_line(self, size: int) -> None:
        if size > self.max_line:
            raise TooLarge("a line", "max_line", self.max_line)
