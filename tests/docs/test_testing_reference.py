"""The reference of the testing kit leaves nothing out, and says of invariants what they say."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from resilient import testing
from resilient.testing import conformance
from resilient.testing._invariants import AGAIN, LOCAL
from resilient_plugins import pytest as plugin

PAGE = (Path(__file__).parents[2] / "docs" / "testing-reference.md").read_text(encoding="utf-8")
CODE = " ".join(re.findall(r"`([^`\n]+)`", PAGE))


def is_named(name):
    """Tell whether the page has a name in code."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", CODE) is not None


def public(cls):
    return [name for name in vars(cls) if not name.startswith("_")]


@pytest.mark.parametrize("name", [*testing.__all__, *conformance.__all__])
def test_every_public_name_is_there(name):
    """No name that the testing kit exports is left without a word."""
    assert is_named(name)


@pytest.mark.parametrize("cls", [testing.Run, testing.CallerRun, testing.FailureSchedule])
def test_every_field_is_there(cls):
    """No field, property or method of a run, a caller or a schedule is left without a word."""
    names = {one.name for one in fields(cls)} | set(public(cls))
    assert {name for name in names if not is_named(name)} == set()


@pytest.mark.parametrize(
    "function",
    [testing.simulate, testing.schedules, testing.schedules_for, testing.FaultyBackend],
)
def test_every_option_is_there(function):
    """No option of what runs and draws is left without a word."""
    options = inspect.signature(function).parameters
    assert {name for name in options if name != "what" and not is_named(name)} == set()


@pytest.mark.parametrize("invariant", [*LOCAL, *AGAIN], ids=lambda one: one.__name__)
def test_every_invariant_is_there_with_its_statement(invariant):
    """The page has each invariant in a row, in the words of its docstring."""
    statement = " ".join(inspect.getdoc(invariant).split())
    assert f"| `{invariant.__name__}` | {statement} | " in PAGE


def test_the_pytest_plugin_is_there():
    """Each fixture, option and marker of the plugin is on the page."""
    source = inspect.getsource(plugin)
    named = re.findall(r'"(--[\w-]+|resilient_\w+)"', source)
    named += re.findall(r'^        [f"]+(resilient_\w+)\(', source, re.MULTILINE)
    named += re.findall(r"@pytest\.fixture(?:\(.*\))?\ndef _?(\w+)\(", source)
    assert len(named) > 10
    assert {name for name in named if not is_named(name)} == set()
