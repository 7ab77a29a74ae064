"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import anyio
import pytest

OPTIONS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


def modules():
    """Yield the names of the modules with examples, without importing them yet."""
    for root in ("resilient", "resilient_openrouter"):
        for folder in importlib.import_module(root).__path__:
            for path in sorted(Path(folder).rglob("*.py")):
                if ">>> " in path.read_text(encoding="utf-8"):
                    parts = path.relative_to(folder).with_suffix("").parts
                    yield ".".join((root, *parts)).removesuffix(".__init__")


@pytest.mark.parametrize("name", sorted(set(modules())))
def test_the_docstrings_of_a_module_are_true(name):
    """The examples in the docstrings of a module run and print what they say."""
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    report: list[str] = []
    for example in doctest.DocTestFinder().find(module, name):
        runner.run(example, out=report.append)
    assert "".join(report) == ""


FACADES = (
    "resilient",
    "resilient.errors",
    "resilient.note",
    "resilient.testing",
    "resilient.testing.conformance",
    "resilient.typing",
)


@pytest.mark.parametrize("name", FACADES)
def test_the_docstrings_of_what_a_facade_exports_are_true(name):
    """The examples of public objects run with nothing but the public names in reach."""
    # They say that they belong to the facade: their private modules do not show them.
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=False)
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    report: list[str] = []
    names = vars(importlib.import_module("resilient")) | {"anyio": anyio} | vars(module)
    for exported in module.__all__:
        found = getattr(module, exported)
        if inspect.isclass(found) or inspect.isfunction(found):
            for example in finder.find(found, exported, module=False, globs=dict(names)):
                runner.run(example, out=report.append)
    assert runner.tries > 0 or name == "resilient.typing"
    assert "".join(report) == ""
