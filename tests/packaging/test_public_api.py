"""The public API is what `public-api.txt` says: it changes only on purpose."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, Literal, overload

import pytest


def load():
    """Import the generator beside this file: the folder is no package."""
    path = Path(__file__).with_name("public_api.py")
    spec = importlib.util.spec_from_file_location("public_api", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


api = load()


def test_the_file_says_what_the_code_says():
    """Every public name, signature and member is in `public-api.txt`, and nothing else."""
    written, found = api.FILE.read_text(encoding="utf-8"), api.text()
    changes = difflib.unified_diff(
        written.splitlines(), found.splitlines(), "public-api.txt", "the code", lineterm="", n=0
    )
    told = "\n".join(changes)
    if told:
        pytest.fail(
            f"the public API has changed:\n{told}\n\nIf that is on purpose: {api.COMMAND}",
            pytrace=False,
        )


@overload
def twice(one: int, /) -> int: ...


@overload
def twice(*, two: Literal["a"] = ...) -> str: ...


def twice(*args: Any, **kwargs: Any) -> Any:
    """Be called in two ways."""


def every(one: int, /, two, *rest: str, three: float | None = None, **more: Any) -> list[int]:
    """Have parameters of every kind."""


def keyword(one=sys, /, *, two="x", three=twice) -> None:
    """Have defaults of every kind."""


async def waits() -> None:
    """Be awaited."""


async def streams():
    """Yield."""
    yield 1


EVERY = "m.f(one: int, /, two, *rest: str, three: float | None = None, **more: Any) -> list[int]"


@functools.wraps(every)
def wrapped(*args, **kwargs):
    """Look like another."""


@pytest.mark.parametrize(
    ("fn", "lines"),
    [
        (twice, ["m.f(one: int, /) -> int", "m.f(*, two: Literal['a'] = ...) -> str"]),
        (every, [EVERY]),
        (keyword, ["m.f(one = ..., /, *, two = 'x', three = twice) -> None"]),
        (waits, ["async m.f() -> None"]),
        (streams, ["async m.f() -> ?"]),
        (wrapped, [EVERY]),
    ],
    ids=["overloads", "every kind", "defaults", "async", "generator", "wrapped"],
)
def test_a_function_is_shown_as_it_is_written(fn, lines):
    """Kinds of parameters, defaults, overloads and `async` are those of the source."""
    assert list(api.of_function("m.f", fn)) == lines


class Base:
    """Not public."""

    field: int
    _hidden: int

    def inherited(self) -> None:
        """Come from a private class."""


@dataclasses.dataclass
class Shown(Base):
    """A class with members of every kind."""

    other: str = "x"

    def __init_subclass__(cls) -> None:
        """Stay out."""

    @property
    def asked(self) -> bool:
        """Be asked."""
        return True

    @staticmethod
    def static(one: int) -> int:
        """Be static."""
        return one

    @classmethod
    async def of_the_class(cls) -> None:
        """Be of the class."""

    def __enter__(self) -> None:
        """Be used by `with`."""

    def _private(self) -> None:
        """Stay out as well."""


def test_a_class_is_shown_with_its_members(monkeypatch):
    """Its bases, how it is made, and all that is public, private bases included."""
    monkeypatch.setattr(api, "PACKAGES", (__name__.split(".", maxsplit=1)[0],))
    assert list(api.of_class("m.Shown", Shown)) == [
        "class m.Shown(Base)",
        "m.Shown(other: str = 'x')",
        "m.Shown.__enter__(self) -> None",
        "property m.Shown.asked: bool",
        "m.Shown.field: int",
        "m.Shown.inherited(self) -> None",
        "classmethod async m.Shown.of_the_class(cls) -> None",
        "m.Shown.other: str",
        "staticmethod m.Shown.static(one: int) -> int",
    ]


def test_a_name_that_is_exported_twice_has_one_home():
    """Elsewhere a line says where its signature stands."""
    lines = api.of_module("resilient")
    assert "resilient.TimedOut = resilient.errors.TimedOut" in lines
    assert not any(line.startswith("class resilient.TimedOut") for line in lines)


def test_a_value_is_shown_by_its_text_or_its_kind():
    """A constant is its own text, an alias what it stands for, a table only a table."""
    module = types.ModuleType("m")
    assert api.of_value(module, "NAME", ("a", 1)) == ["m.NAME = ('a', 1)"]
    assert api.of_value(module, "TABLE", {"a": object()}) == ["m.TABLE: dict"]
    (line,) = [one for one in api.of_module("resilient.typing") if "typing.Seconds" in one]
    assert line == "resilient.typing.Seconds: TypeAlias = float | int | timedelta"
    with pytest.raises(LookupError, match="assigns nothing to missing"):
        api.written_as("resilient.typing", "missing")
