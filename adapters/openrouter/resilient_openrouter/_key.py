"""The API key, held so that nobody sees it by accident.

Its `repr` and `str` are its label, it cannot be pickled or copied, and its
text leaves the object in one place only: when the header of a request is
written. It is read at the first use, from the caller or the environment.
A server of one's own may need none: `NoKey` stands for that.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Final, NoReturn, SupportsIndex, TypeAlias

from resilient_openrouter.errors import MissingKey

if TYPE_CHECKING:
    import httpx

__all__ = ("Key", "NoKey", "OpenRouterKey", "VARIABLE")

VARIABLE: Final = "OPENROUTER_API_KEY"
"""The environment variable of the key; also the label of a key that was read from it."""

_numbers = itertools.count(1)


class OpenRouterKey:
    """A key that shows its label instead of itself."""

    __slots__ = ("_text", "_variable", "label")

    def __init__(self, text: str | None, label: str | None, variable: str = VARIABLE) -> None:
        if text is not None and not isinstance(text, str):
            raise TypeError(f"api_key must be a string, not {type(text).__qualname__}")
        self._text = text
        self._variable = variable
        # Never derived from the key: a label ends in logs and scopes.
        self.label = label or (variable if text is None else f"key-{next(_numbers)}")

    def __call__(self, request: httpx.Request) -> httpx.Request:
        """Write the header of a request."""
        request.headers["Authorization"] = f"Bearer {self.text()}"
        return request

    def text(self) -> str:
        """Return the key itself; raise `MissingKey` where there is none."""
        text = (os.environ.get(self._variable, "") if self._text is None else self._text).strip()
        if not text:
            raise MissingKey(f"there is no API key: set {self._variable} or pass api_key=")
        if not (text.isascii() and text.isprintable()) or " " in text:
            # The HTTP library would quote it in its complaint.
            raise MissingKey("the API key holds characters that no key has")
        return text

    def __repr__(self) -> str:
        return f"OpenRouterKey({self.label})"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        raise TypeError("an OpenRouterKey is not pickled or copied: keys stay where they are")


class NoKey:
    """What stands for the key of a server that asks for none."""

    __slots__ = ()
    label = "none"

    def __call__(self, request: httpx.Request) -> httpx.Request:
        """Leave the request as it is."""
        return request

    def text(self) -> str:
        """Return nothing."""
        return ""


Key: TypeAlias = OpenRouterKey | NoKey
"""What writes the header of a request, if there is anything to write."""
