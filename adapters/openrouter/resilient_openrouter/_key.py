"""The API key, held so that nobody sees it by accident.

Its `repr` and `str` are its label, it cannot be pickled or copied, and its
text leaves the object in one place only: when the header of a request is
written. It is read at the first use, from the caller or the environment.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Final, NoReturn, SupportsIndex
from urllib.parse import urlsplit

from resilient_openrouter._address import is_loopback
from resilient_openrouter.errors import MissingKey

if TYPE_CHECKING:
    import httpx

__all__ = ("Key", "key_for", "VARIABLE")

VARIABLE: Final = "OPENROUTER_API_KEY"
"""The environment variable of the key; also the label of a key that was read from it."""

_numbers = itertools.count(1)


class Key:
    """A key that shows its label instead of itself.

    `text` is the key itself, else it is read from the environment's
    `variable`; without one nobody has to bring a key.
    """

    __slots__ = ("_text", "_variable", "label")

    def __init__(
        self, text: str | None, label: str | None, variable: str | None = VARIABLE
    ) -> None:
        if text is not None and not isinstance(text, str):
            raise TypeError(f"api_key must be a string, not {type(text).__qualname__}")
        self._text = text
        self._variable = variable
        # Never derived from the key: a label ends in logs and scopes.
        self.label = label or (variable if text is None else None) or f"key-{next(_numbers)}"

    @property
    def is_wanted(self) -> bool:
        """Whether a request has to bring a key."""
        return self._text is not None or self._variable is not None

    def __call__(self, request: httpx.Request) -> httpx.Request:
        """Write the header of a request."""
        if self.is_wanted:
            request.headers["Authorization"] = f"Bearer {self.text()}"
        return request

    def text(self) -> str:
        """Return the key itself; raise `MissingKey` where there is none."""
        if not self.is_wanted:
            return ""
        found = os.environ.get(self._variable or "", "") if self._text is None else self._text
        text = found.strip()
        if not text:
            where = "" if self._variable is None else f"set {self._variable} or "
            raise MissingKey(f"there is no API key: {where}pass api_key=")
        if not (text.isascii() and text.isprintable()) or " " in text:
            # The HTTP library would quote it in its complaint.
            raise MissingKey("the API key holds characters that no key has")
        return text

    def __repr__(self) -> str:
        return f"Key({self.label})"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("a Key is not pickled or copied: keys stay where they are")


def key_for(url: str) -> str | None:
    """Return a stand-in for a server on this machine, which wants some key but no real one."""
    if os.environ.get(VARIABLE) or not is_loopback(urlsplit(url).hostname or ""):
        return None
    return "loopback"
