"""The public surface: what a module says it exports is what it exports, documented and public."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import types

import pytest

PACKAGES = ("resilient", "resilient_openrouter")


def public_modules():
    for root in PACKAGES:
        package = importlib.import_module(root)
        yield root
        for found in pkgutil.walk_packages(package.__path__, f"{root}."):
            if not any(part.startswith("_") for part in found.name.split(".")):
                yield found.name


def own(value: object) -> bool:
    """Tell whether a value is a class or function that the project defines."""
    root = (getattr(value, "__module__", None) or "").split(".")[0]
    return isinstance(value, type | types.FunctionType) and root in PACKAGES


def exported(module) -> set[str]:
    """Return the names that a reader of the module would take as its own.

    A facade is nothing but exports, so all its names count; a module with
    code in it also holds what it imported to do its work.
    """
    if hasattr(module, "__path__"):
        names = {n for n, value in vars(module).items() if not isinstance(value, types.ModuleType)}
    else:
        defined = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        body = ast.parse(inspect.getsource(module)).body
        names = {node.name for node in body if isinstance(node, defined)}
    return {name for name in names if not name.startswith("_")} - {"annotations"}


@pytest.mark.parametrize("name", list(public_modules()))
class TestEveryPublicModule:
    def test_all_is_a_sorted_tuple(self, name):
        """`__all__` is a tuple in casefold order."""
        names = importlib.import_module(name).__all__
        assert isinstance(names, tuple)
        assert list(names) == sorted(set(names), key=lambda one: (one.casefold(), one))

    def test_all_is_what_it_exports(self, name):
        """`__all__` names everything public in the module, and nothing that is not there."""
        module = importlib.import_module(name)
        missing = {one for one in module.__all__ if not hasattr(module, one)}
        assert (missing, exported(module) - set(module.__all__)) == (set(), set())

    def test_module_is_documented(self, name):
        """The module has a docstring."""
        assert inspect.getdoc(importlib.import_module(name))

    def test_objects_are_documented(self, name):
        """Every class and function that the module exports has a docstring of its own."""
        module = importlib.import_module(name)
        values = {one: getattr(module, one) for one in module.__all__}
        assert [one for one, value in values.items() if own(value) and not value.__doc__] == []

    def test_objects_say_where_they_are_public(self, name):
        """The `__module__` of an exported object is a public module that exports it."""
        module = importlib.import_module(name)
        private = {
            one: value.__module__
            for one in module.__all__
            if own(value := getattr(module, one)) and not found_at(value.__module__, one, value)
        }
        assert private == {}


def found_at(home: str, name: str, value: object) -> bool:
    public = not any(part.startswith("_") for part in home.split("."))
    return public and getattr(importlib.import_module(home), name, None) is value


def test_nothing_heavy_comes_with_the_facade(fresh_python):
    """`import resilient` loads no HTTP client, test library, SDK, second backend or terminal."""
    heavy = ("httpx", "hypothesis", "pytest", "opentelemetry.sdk", "trio", "rich", "asyncpg")
    loaded = fresh_python("import sys, resilient; print(*sys.modules)").split()
    assert sorted(set(heavy) & set(loaded)) == []


def test_every_public_name_of_the_facade_resolves(fresh_python):
    """`from resilient import *` works in a fresh interpreter."""
    assert fresh_python("from resilient import *; print('ok')") == "ok"


def test_the_version_is_the_distribution_s(fresh_python):
    """`resilient.__version__` is what the installed metadata say."""
    program = """
import importlib.metadata, resilient
print(resilient.__version__ == importlib.metadata.version("resilient-policies"))
"""
    assert fresh_python(program) == "True"
