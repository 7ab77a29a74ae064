"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

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
