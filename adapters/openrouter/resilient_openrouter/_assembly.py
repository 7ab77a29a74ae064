"""From the deltas of a stream to the message that they spell.

Text is joined, lists grow, and of anything else the last value stays. A tool
call comes in fragments: its opener names it, the others add to its arguments,
and several calls may come interleaved, told apart by their `index`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter._fields import list_of, text_of
from resilient_openrouter.evidence import mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Message",)

_ONCE: Final = frozenset({"role"})  # repeated with every delta, and no text to be joined


class Message:
    """The message of one choice, as far as it has come; `finish` is how it ended."""

    __slots__ = ("_lists", "_other", "_texts", "_tools", "finish")

    def __init__(self) -> None:
        self.finish: Mapping[str, object] | None = None
        self._texts: dict[str, list[str]] = {}
        self._lists: dict[str, list[object]] = {}
        self._other: dict[str, object] = {}
        self._tools: dict[int, _Tool] = {}

    def add(self, delta: Mapping[str, object]) -> None:
        """Add a delta."""
        for name, value in delta.items():
            if name == "tool_calls":
                self._add_tools(list_of(value))
            elif isinstance(value, str) and name not in _ONCE:
                self._texts.setdefault(name, []).append(value)
            elif name == "content" and value:
                self._texts.setdefault(name, []).append(text_of(value))
            elif isinstance(value, list):
                self._lists.setdefault(name, []).extend(cast("list[object]", value))
            elif value is not None:
                self._other[name] = value

    @property
    def text(self) -> str:
        """The content so far."""
        return "".join(self._texts.get("content", ()))

    def choice(self, index: int) -> dict[str, Any]:
        """Return the choice that a whole answer would have held."""
        message: dict[str, Any] = {"role": "assistant", "content": None} | self._other
        message |= {name: "".join(parts) for name, parts in self._texts.items()}
        message |= self._lists
        if self._tools:
            message["tool_calls"] = [tool.whole() for tool in self._tools.values()]
        return {**(self.finish or {}), "index": index, "message": message}

    def _add_tools(self, fragments: list[object]) -> None:
        for place, each in enumerate(fragments):
            fragment = mapping(each)
            index = fragment.get("index")
            self._tools.setdefault(index if isinstance(index, int) else place, _Tool()).add(
                fragment
            )


class _Tool:
    """One tool call, put together from its fragments."""

    __slots__ = ("_arguments", "_call", "_function")

    def __init__(self) -> None:
        self._call: dict[str, object] = {}
        self._function: dict[str, object] = {}
        self._arguments: list[str] = []

    def add(self, fragment: Mapping[str, object]) -> None:
        """Add a fragment: what has a value keeps it, and the arguments grow."""
        _keep(self._call, fragment, but="function")
        function = mapping(fragment.get("function"))
        _keep(self._function, function, but="arguments")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            self._arguments.append(arguments)

    def whole(self) -> dict[str, object]:
        """Return the call as a whole answer would have held it."""
        arguments = "".join(self._arguments) if self._arguments else None
        return {**self._call, "function": {**self._function, "arguments": arguments}}


def _keep(kept: dict[str, object], new: Mapping[str, object], *, but: str) -> None:
    for name, value in new.items():
        if name != but and kept.get(name) in (None, ""):
            kept[name] = value
