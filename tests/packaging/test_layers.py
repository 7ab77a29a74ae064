"""Arrows point down only: the imports of every module, parsed, against one table.

A layer may import itself and what its row names. Imports that only a type
checker sees are held to the same table, but for what a module as low as
`errors` needs to annotate.
"""

from __future__ import annotations

import ast
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import resilient

PACKAGE = Path(next(iter(resilient.__path__)))
RUNTIME = {"anyio", "asyncio", "sniffio", "trio"}
PUBLIC = {"_publish"}  # every module that re-exports
BASE = {"_core", "_runtime", "errors", "events", "typing", "_kinds"}
PIPELINE = BASE | {
    "_guard", "_switch", "_policies", "_breaker_part", "_pipeline", "_lints", "_value", "_place"
}  # fmt: skip
OBSERVED = {"_runtime.budgets", "_runtime.clock", "_runtime.world"}
USERS = {
    "_stack", "_decorators", "_middleware", "_permit", "_breaker", "_standard", "_target",
    "_manager", "_manager_of", "_target_list",
}  # fmt: skip

# layer -> layers of ours that it may import, beside itself
BELOW = {
    "errors": set(),
    "_publish": set(),
    "_core": {"errors"},
    "events": {"_core", "_publish"},
    "_runtime": {"_core", "errors"},
    "typing": {"_core", "_runtime", "_items", "_permit", "_publish", "errors", "events"},
    # what the one wrapper is, and which callables there are
    "_switch": set(),
    "_guard": {"_switch"},
    "_kinds": {"_core"},
    # policies as values, compiled into one call
    "_policies": BASE,
    "_place": set(),
    "_breaker_part": BASE | {"_policies"},
    "_lints": BASE | {"_policies", "_breaker_part", "_place"},
    "_value": BASE,
    "_pipeline": BASE | {"_guard", "_policies", "_breaker_part"},
    "_items": {"_core", "_runtime"},
    # what users touch
    "_stack": PIPELINE,
    "_decorators": PIPELINE | {"_stack"},
    "_permit": BASE,
    "_breaker": PIPELINE | {"_stack", "_permit"},
    "_standard": PIPELINE | {"_stack", "_decorators", "_breaker"},
    "_middleware": PIPELINE | {"_stack"},
    "_target": PIPELINE | {"_stack", "_decorators"},
    "_target_list": PIPELINE | {"_target"},
    "_manager": PIPELINE | {"_stack", "_target", "_target_list", "_items"},
    "_manager_of": PIPELINE | {"_stack", "_target", "_manager", "_items"},
    "_hypothesis": {"_runtime"},
    "note": {"_core", "_runtime", "_breaker", "_manager", "_permit", "_target", "errors", "typing"},
    "telemetry": {"_core", *OBSERVED, "_runtime.listeners", "errors", "events"} | PUBLIC,
    "": PIPELINE | PUBLIC | USERS | {"telemetry", "note", "_hypothesis"},
    "_cli": {""},
    "testing": PIPELINE | PUBLIC | USERS | {"", "telemetry", "note", "_hypothesis"},
}
TYPES_ONLY = {"errors": {"_core"}}

# layer -> what else than the standard library it may import
OUTSIDE = {
    "_runtime": RUNTIME,
    "_guard": {"wrapt"},
    "telemetry": {"opentelemetry"},
    "testing": RUNTIME
    | {"outcome", "typing_extensions", "hypothesis", "pytest", "opentelemetry", "httpx", "rich"},
}

# What the core may use of the standard library: nothing that can read a clock, a random source,
# a thread, a log, a file or the network.
PURE = {
    "__future__", "abc", "bisect", "builtins", "collections", "copy", "dataclasses", "datetime",
    "email", "enum", "errno", "fractions", "functools", "heapq", "inspect", "itertools", "keyword",
    "math", "numbers", "operator", "re", "string", "sys", "textwrap", "types", "typing", "warnings",
    "weakref",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today"}


@dataclass(frozen=True)
class Import:
    """One import statement: who, what, where, and whether only a type checker runs it."""

    layer: str
    module: str
    where: str
    types_only: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.layer or 'the facade'} imports {self.module}"


def imports_of(package: Path, root: str = "resilient") -> list[Import]:
    found: list[Import] = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        layer = "" if parts == ("__init__",) else parts[0]
        here = ".".join((root, *parts)).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for node, types_only in statements(tree, types_only=False):
            for module in named(node, here, is_package=path.name == "__init__.py"):
                where = f"{path.relative_to(package.parent)}:{node.lineno}"
                found.append(Import(layer, module, where, types_only))
    return found


def statements(node: ast.AST, *, types_only: bool):
    """Yield the import statements under a node, with whether TYPE_CHECKING guards them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, types_only
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for inner in child.body:
                yield from statements(ast.Module([inner], []), types_only=True)
            for inner in child.orelse:
                yield from statements(ast.Module([inner], []), types_only=types_only)
        else:
            yield from statements(child, types_only=types_only)


def named(node: ast.Import | ast.ImportFrom, here: str, *, is_package: bool):
    """Yield the full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        up = here.split(".")
        up = up[: len(up) - node.level + is_package]
        base = ".".join([*up, *([base] if base else [])])
    for alias in node.names:
        # `from resilient import _core` imports a layer; `from resilient import retry` the facade
        inner = f"{base}.{alias.name}"
        yield inner if is_ours(inner) else base


def is_ours(module: str) -> bool:
    head, _, rest = module.partition(".")
    path = PACKAGE.joinpath(*rest.split("."))
    return (
        head == "resilient" and bool(rest) and (path.is_dir() or path.with_suffix(".py").exists())
    )


def is_allowed(found: Import) -> bool:
    root, _, rest = found.module.partition(".")
    if root == "resilient":
        layer = rest.split(".")[0]
        below = BELOW.get(found.layer, set()) | {found.layer}
        if found.types_only:
            below = below | TYPES_ONLY.get(found.layer, set())
        return any(rest == name or rest.startswith(f"{name}.") for name in below if name) or (
            layer == "" and "" in below
        )
    if found.layer in {"_core", "errors"}:
        return root in PURE
    return root in sys.stdlib_module_names or root in OUTSIDE.get(found.layer, set())


def test_arrows_point_down():
    """Every import of the package stays in its layer or goes to a lower one."""
    upwards = [str(found) for found in imports_of(PACKAGE) if not is_allowed(found)]
    assert not upwards, "\n".join(upwards)


def test_every_module_has_a_layer():
    """A new top-level module of the package takes its place in the table first."""
    modules = {i.layer for i in imports_of(PACKAGE)}
    assert modules - set(BELOW) == set()


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        (("_core", "resilient._runtime.clock", False), False),
        (("_core", "time", False), False),
        (("_core", "random", False), False),
        (("_core", "anyio", True), False),
        (("_core", "resilient.errors", False), True),
        (("errors", "resilient._core.outcome", False), False),
        (("errors", "resilient._core.outcome", True), True),
        (("_runtime", "resilient._pipeline", False), False),
        (("_runtime", "anyio", False), True),
        (("_guard", "opentelemetry.trace", False), False),
        (("telemetry", "resilient._runtime.drive", False), False),
        (("telemetry", "opentelemetry.trace", False), True),
        (("_decorators", "resilient.testing", False), False),
        (("_decorators", "resilient.telemetry", False), False),
        (("", "resilient.telemetry", False), True),
        (("", "resilient_openrouter", False), False),
    ],
)
def test_the_table_refuses_what_it_should(source, allowed):
    """An arrow that points up is refused, and one that points down is not."""
    layer, module, types_only = source
    assert is_allowed(Import(layer, module, "here:1", types_only)) is allowed


def test_the_core_reads_no_clock_through_datetime():
    """`datetime` serves the core as a number format: nothing asks it for the present."""
    asked = [
        f"{path.name}:{node.lineno}"
        for path in sorted((PACKAGE / "_core").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and is_datetime(node.value)
    ]
    assert asked == []


def is_datetime(node: ast.expr) -> bool:
    return ast.unparse(node) in {"datetime", "date", "datetime.datetime", "datetime.date"}


def test_the_core_imports_alone(fresh_python):
    """The core loads without its package, and without any async, logging or telemetry library."""
    program = """
import importlib, pkgutil, sys, types
package = types.ModuleType("resilient")
package.__path__ = [sys.argv[1]]
sys.modules["resilient"] = package
import resilient._core
for found in pkgutil.iter_modules(resilient._core.__path__, "resilient._core."):
    importlib.import_module(found.name)
reached = ("asyncio", "anyio", "trio", "sniffio", "logging", "opentelemetry", "httpx", "wrapt")
print(*(name for name in reached if name in sys.modules))
"""
    assert fresh_python(program, str(PACKAGE)) == ""


def folder(package) -> Path:
    return Path(next(iter(package.__path__)))


def test_adapters_import_public_names_only():
    """An adapter needs nothing of the library that begins with an underscore."""
    adapter = importlib.import_module("resilient_openrouter")
    private = [
        str(found)
        for found in imports_of(folder(adapter), adapter.__name__)
        if found.module.split(".")[0] == "resilient" and "._" in found.module
    ]
    assert private == []


def test_adapters_take_no_private_names():
    """`from resilient import _name` is no way round the underscore either."""
    adapter = importlib.import_module("resilient_openrouter")
    private = [
        f"{path.name}:{node.lineno} imports {alias.name}"
        for path in sorted(folder(adapter).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "resilient"
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert private == []
