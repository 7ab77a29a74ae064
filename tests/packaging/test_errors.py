"""The error trees: their docstrings are the specification, and every error survives a pickle."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import re

import pytest

from resilient import errors

LINE = re.compile(
    r"^(?P<branch>[│├└─ ]*)(?P<name>\w+)(?:\((?P<base>\w+)\))?"
    r"(?:\s{2,}(?P<text>[^;]*)(?:;(?P<attributes>.*))?)?$"
)
ROOTS = {"resilient.errors": "ResilientError", "resilient_openrouter.errors": "OpenRouterError"}
MODULES = {name: importlib.import_module(name) for name in ROOTS}


def tree(module: str):
    """Yield (name, parent, further base, attributes) for each line of the drawn tree."""
    path: list[tuple[int, str]] = []
    for line in (MODULES[module].__doc__ or "").splitlines():
        found = LINE.match(line)
        if not found or not (found["branch"] or line.startswith(f"{ROOTS[module]}(")):
            continue
        depth = len(found["branch"])
        path = [(d, n) for d, n in path if d < depth]
        parent = path[-1][1] if path else None
        path.append((depth, found["name"]))
        attributes = re.findall(r"\.(\w+)", found["attributes"] or "")
        yield found["name"], parent, found["base"], attributes


def classes(module: str) -> dict[str, type[Exception]]:
    public = {name: getattr(MODULES[module], name) for name in MODULES[module].__all__}
    return {n: c for n, c in public.items() if isinstance(c, type) and issubclass(c, Exception)}


@pytest.mark.parametrize("module", MODULES)
def test_the_tree_is_complete(module):
    """The drawn tree names every error of its module and no other."""
    found = {name for name, one in classes(module).items() if not issubclass(one, Warning)}
    assert {name for name, *_ in tree(module)} == found


@pytest.mark.parametrize(
    ("module", "name", "parent", "base", "attributes"),
    [(module, *line) for module in MODULES for line in tree(module)],
)
def test_a_line_of_the_tree_is_true(module, name, parent, base, attributes):
    """A class has the parent, the further base and the attributes that its line draws."""
    found = classes(module)[name]
    bases = [one.__name__ for one in found.__mro__[1:]]
    assert [one for one in (parent, base) if one and one not in bases] == []
    annotated = {one for each in found.__mro__ for one in inspect.get_annotations(each)}
    assert set(attributes) <= annotated


def all_failed(name: str = "AllTargetsFailed", module: str = "resilient.errors"):
    failed = classes(module)[name]("ask: 2 targets failed", [ValueError("a"), KeyError("b")])
    failed.retry_after = 3.0
    return failed


SAMPLES = {
    "Rejected": lambda: errors.Rejected("no", policy="bulkhead", retry_after=2.5),
    "Skipped": lambda: errors.Skipped(
        "claude", "scope_condemned", scope="credential", retry_after=4
    ),
    "TimedOut": lambda: errors.TimedOut(8, "attempt"),
    "Unacceptable": lambda: errors.Unacceptable({"answer": ""}),
    "AllTargetsFailed": all_failed,
    "AllModelsFailed": lambda: all_failed("AllModelsFailed", "resilient_openrouter.errors"),
}


def same(one: object, other: object) -> bool:
    """Compare errors by class, text and state; what they hold compares the same way."""
    if isinstance(one, BaseException):
        return (
            type(one) is type(other)
            and str(one) == str(other)
            and same(one.args, other.args)
            and same(vars(one), vars(other))
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(SAMPLES.get(name, lambda cls=cls: cls("no")), id=name)
        for module in MODULES
        for name, cls in classes(module).items()
    ],
)
class TestEveryPublicError:
    @pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
    def test_it_pickles(self, error, protocol):
        """An error that crossed a process boundary says and holds the same."""
        error = error()
        error.add_note("a note travels too")
        assert same(error, pickle.loads(pickle.dumps(error, protocol)))

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
    def test_it_copies(self, error, copied):
        """A copy says and holds the same."""
        error = error()
        assert same(error, copied(error))
