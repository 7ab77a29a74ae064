"""The public API as text, a line a fact: what `public-api.txt` holds.

Every name that a public module exports, with its kind and its signature, and
every public member of every public class. Annotations are shown as they were
written, so the text is the same on every Python. `python3 run.py api` writes
the file; a test compares it with what the code says.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).parents[2] / "public-api.txt"
COMMAND = "python3 run.py api"
HEAD = f"# The public API, a line a fact. Written by `{COMMAND}`; change it only on purpose.\n\n"

PACKAGES = ("resilient", "resilient_openrouter")
DUNDERS = {
    "__aenter__", "__aexit__", "__aiter__", "__anext__", "__await__", "__call__", "__contains__",
    "__enter__", "__exit__", "__getitem__", "__iter__", "__len__",
}  # fmt: skip
"""Methods that users call by a syntax of their own."""


@functools.cache
def public_modules() -> tuple[str, ...]:
    """Return the names of all modules that do not begin with an underscore, and import them.

    A class says where it is public only when the module that publishes it is loaded.
    """
    names: list[str] = []
    for root in PACKAGES:
        package = importlib.import_module(root)
        found = pkgutil.walk_packages(package.__path__, f"{root}.")
        names += [root, *(module.name for module in found)]
    public = [name for name in names if not any(part[0] == "_" for part in name.split("."))]
    return tuple(importlib.import_module(name).__name__ for name in public)


def text() -> str:
    """Return the whole file."""
    lines = [line for module in public_modules() for line in of_module(module)]
    return HEAD + "\n".join(lines) + "\n"


def of_module(name: str) -> list[str]:
    """Return the lines of one module."""
    module = importlib.import_module(name)
    lines: list[str] = []
    for exported in module.__all__:
        value = getattr(module, exported)
        home = getattr(value, "__module__", name)
        if is_defined(value) and home != name and home in public_modules():
            lines.append(f"{name}.{exported} = {home}.{exported}")
        else:
            lines += of_value(module, exported, value)
    return lines


def is_defined(value: object) -> bool:
    """Tell a class or function, which has a home, from a value."""
    return inspect.isclass(value) or inspect.isfunction(value)


def of_value(module: types.ModuleType, exported: str, value: Any) -> list[str]:
    """Return the lines of one exported name."""
    name = f"{module.__name__}.{exported}"
    if inspect.ismodule(value):
        return [f"{name} = {value.__name__}"]
    if inspect.isclass(value):
        return [*of_class(name, value)]
    if inspect.isfunction(value):
        return [*of_function(name, value)]
    if is_literal(value):
        return [f"{name} = {value!r}"]
    if type(value).__module__.split(".")[0] in PACKAGES or isinstance(value, Mapping | tuple):
        return [f"{name}: {type(value).__qualname__}"]  # a table is data, and no signature
    return [f"{name}: TypeAlias = {written_as(module.__name__, exported)}"]


def is_literal(value: object) -> bool:
    """Tell a constant that is its own text."""
    if isinstance(value, tuple):
        return all(map(is_literal, value))
    return value is None or isinstance(value, str | bytes | int | float)


def of_class(name: str, cls: type) -> Iterator[str]:
    """Yield the lines of a class: what it is, how it is made, what it has."""
    bases = [base.__qualname__ for base in cls.__bases__ if base is not object]
    told = f"({', '.join(bases)})" if bases else ""
    yield f"class {name}{told}"
    for member in constructors(cls):
        yield f"{name}{signature(member, bound=True)}"
    for attribute, (kind, value) in sorted(members(cls).items()):
        where = f"{name}.{attribute}"
        if kind == "attribute":
            yield f"{where}: {value}"
        elif kind == "property":
            getter = value.func if isinstance(value, functools.cached_property) else value.fget
            returned = annotation(getter.__annotations__.get("return", Any))
            yield f"property {where}: {returned}"
        else:
            yield from of_function(where, value, prefix=kind)


def of_function(name: str, fn: Any, *, prefix: str = "") -> Iterator[str]:
    """Yield a line for a function, or one for each of its overloads."""
    words = [word for word in (prefix, "async" if is_async(fn) else "") if word]
    for each in overloads(fn) or [fn]:
        yield " ".join([*words, f"{name}{signature(each)}"])


def is_async(fn: Any) -> bool:
    """Tell whether calling it gives a coroutine or an async generator."""
    return inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)


def overloads(fn: Any) -> list[Any]:
    """Return the overloads of a function, wherever it says that it is from."""
    inner = inspect.unwrap(fn)
    # They are found by the module in which they were written.
    written = types.SimpleNamespace(
        __module__=inner.__globals__["__name__"], __qualname__=inner.__qualname__
    )
    return list(typing.get_overloads(written))  # type: ignore[arg-type]  # it looks for no more


def constructors(cls: type) -> list[Any]:
    """Return what makes an instance, where it is ours and not inherited from a builtin."""
    for base in cls.__mro__:
        made = vars(base).get("__init__") or vars(base).get("__new__")
        if base is not cls and is_public(base):
            return []
        if made is not None and base.__module__.split(".")[0] in PACKAGES:
            if not inspect.isfunction(made) or getattr(cls, "_is_protocol", False):
                return []
            return overloads(made) or [made]
        if made is not None:
            return []
    return []


def members(cls: type) -> dict[str, tuple[str, Any]]:
    """Return the public members of a class, those of its private bases included.

    What is inherited from a public class stands there, and the line of the class names it.
    """
    found: dict[str, tuple[str, Any]] = {}
    shown = [base for base in cls.__mro__[1:] if is_public(base)]
    for base in reversed(cls.__mro__):
        foreign = base.__module__.split(".")[0] not in PACKAGES
        if foreign or any(issubclass(other, base) for other in shown):
            continue
        for name, told in inspect.get_annotations(base).items():
            if not name.startswith("_"):
                found[name] = "attribute", annotation(told)
        for name, value in vars(base).items():
            kind = kind_of(name, value)
            if kind is not None:
                found[name] = kind, getattr(value, "__func__", value)
    return found


def is_public(cls: type) -> bool:
    """Tell whether a class has lines of its own."""
    home = importlib.import_module(cls.__module__)
    return cls.__name__ in getattr(home, "__all__", ()) and home.__name__ in public_modules()


def kind_of(name: str, value: Any) -> str | None:
    """Return which kind of member it is; `None` for one that is not shown."""
    if name.startswith("_") and name not in DUNDERS:
        return None
    if isinstance(value, property | functools.cached_property):
        return "property"
    if isinstance(value, staticmethod | classmethod):
        return type(value).__name__
    return "" if inspect.isfunction(value) else None


def signature(fn: Any, *, bound: bool = False) -> str:
    """Return parameters and result as they were written."""
    told = inspect.signature(fn)
    parameters = list(told.parameters.values())[1 if bound else 0 :]
    returned = "" if bound else f" -> {annotation(told.return_annotation)}"
    return f"({', '.join(spelled(parameters))}){returned}"


def spelled(parameters: list[inspect.Parameter]) -> Iterator[str]:
    """Yield parameters as source has them, with its `/` and `*`."""
    before: inspect._ParameterKind | None = None
    keyword = inspect.Parameter.KEYWORD_ONLY
    for parameter in parameters:
        positional = before is inspect.Parameter.POSITIONAL_ONLY
        if positional and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            yield "/"
        if parameter.kind is keyword and before not in (keyword, inspect.Parameter.VAR_POSITIONAL):
            yield "*"
        yield one(parameter)
        before = parameter.kind
    if before is inspect.Parameter.POSITIONAL_ONLY:
        yield "/"


def one(parameter: inspect.Parameter) -> str:
    """Return one parameter."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    shown = stars.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not inspect.Parameter.empty:
        shown += f": {annotation(parameter.annotation)}"
    if parameter.default is not inspect.Parameter.empty:
        shown += f" = {default(parameter.default)}"
    return shown


def default(value: Any) -> str:
    """Return a default as text that is the same in every process."""
    return repr(value) if is_literal(value) else getattr(value, "__qualname__", "...")


def annotation(told: Any) -> str:
    """Return an annotation as it was written."""
    if isinstance(told, str):
        return told
    if told is inspect.Signature.empty:
        return "?"
    return "None" if told is None else getattr(told, "__qualname__", None) or repr(told)


def written_as(module: str, name: str) -> str:
    """Return the source of what a module assigns to a name, in whatever module that is done."""
    found = importlib.import_module(module)
    for node in ast.walk(ast.parse(inspect.getsource(found))):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            return ast.unparse(node.value)
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            return ast.unparse(node.value)
        if isinstance(node, ast.ImportFrom):
            origin = imported(found, node)
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return written_as(origin, alias.name)
                if alias.name == "*" and name in importlib.import_module(origin).__all__:
                    return written_as(origin, name)
    raise LookupError(f"{module} assigns nothing to {name}")


def imported(module: types.ModuleType, node: ast.ImportFrom) -> str:
    """Return the full name of the module that an import names."""
    return importlib.util.resolve_name("." * node.level + (node.module or ""), module.__package__)


def main() -> None:
    """Write the file."""
    FILE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
