"""Pages of Markdown as programs.

A page is its ```python and ```pycon blocks, in order, in one namespace. What a reader need
not see stands in HTML comments: `<!-- setup ... -->` holds code that the page
takes for granted, `<!-- no-run: reason -->` before a block leaves it out, and
a ```text block under `<!-- output -->` is what the block above it prints
(`...` stands for anything). The page must be read in order, so it is run in
order, and a failure names the line of the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<rest>.*)$")
COMMENT = re.compile(r"^<!--\s*(?P<word>no-run|output|setup)\b:?\s*(?P<text>.*?)\s*(?P<end>-->)?$")
RUN: dict[str, Literal["python", "pycon"]] = {"python": "python", "pycon": "pycon"}


class Malformed(ValueError):
    """A page that says something this reader does not understand."""


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of a page: code to run, or the output expected of the code before it."""

    kind: Literal["python", "pycon", "setup", "output"]
    line: int  # of its first line of content, counted from 1
    text: str
    skipped: str | None = None


@dataclass(slots=True)
class _Reader:
    """Walks over the lines of a page; what a comment said waits for the next fence."""

    lines: list[str]
    at: int = 0
    said: tuple[str, str] | None = None
    blocks: list[Block] = field(default_factory=list)

    def read(self) -> list[Block]:
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if fence := FENCE.match(line):
                self._fenced(fence)
            elif comment := COMMENT.match(line):
                self._comment(comment)
            elif line.strip():
                self._nothing_waits()
        self._nothing_waits()
        return self.blocks

    def _fenced(self, fence: re.Match[str]) -> None:
        first = self.at + 1
        text = self._until(f"{fence['indent']}{fence['ticks']}", first)
        text = re.sub(rf"(?m)^ {{0,{len(fence['indent'])}}}", "", text)
        said, self.said = self.said, None
        word = said[0] if said else None
        if (kind := RUN.get(fence["language"])) and word != "output":
            reason = said[1] if said else None
            self.blocks.append(Block(kind, first, text, skipped=reason))
        elif word == "output" and fence["language"] in {"text", ""}:
            if not self.blocks or self.blocks[-1].kind != "python":
                raise Malformed(f"line {first}: output of what? no Python block is above it")
            self.blocks.append(Block("output", first, text))
        elif word:
            raise Malformed(f"line {first}: `{word}` does not go before this block")

    def _comment(self, comment: re.Match[str]) -> None:
        self._nothing_waits()
        if comment["word"] == "setup":
            first = self.at + 1
            self.blocks.append(Block("setup", first, self._until("-->", first)))
            return
        if comment["word"] == "no-run" and not comment["text"]:
            raise Malformed(f"line {self.at}: no-run without a reason")
        self.said = comment["word"], comment["text"]

    def _until(self, end: str, first: int) -> str:
        for length, line in enumerate(self.lines[self.at :]):
            if line.rstrip() == end:
                text = self.lines[self.at : self.at + length]
                self.at += length + 1
                return "\n".join(text) + "\n"
        raise Malformed(f"line {first}: nothing ends this block")

    def _nothing_waits(self) -> None:
        if self.said:
            raise Malformed(f"line {self.at}: `{self.said[0]}` is not followed by a block")


def blocks(text: str) -> list[Block]:
    """Return what there is to run and to compare in a page."""
    return _Reader(text.splitlines()).read()


def pages(root: Path) -> Iterator[Path]:
    """Yield the pages of the project that hold Python."""
    for pattern in ("*.md", "docs/**/*.md", "adapters/*/*.md", "examples/**/*.md"):
        for path in sorted(root.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if any(f"```{language}" in text for language in RUN):
                yield path
