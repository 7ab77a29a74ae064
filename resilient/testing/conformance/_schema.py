"""A small validator of JSON Schema, so that a mistake in a case is found where it is.

It reads the keywords that our schema uses and refuses any other, so the schema
that is shipped is the one that is applied. Where one of several shapes would
do, it tells the mistake in the shape that was meant: the one whose key is there.
"""

from __future__ import annotations

import difflib
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from resilient.testing.conformance._data import is_list, is_number, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resilient.testing.conformance._data import Path

    Schema = Mapping[str, Any]

Mistake = tuple["Path", str]
"""Where, and what is wrong there."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAID = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_KNOWN = {
    "$defs", "$ref", "$schema", "title", "description", "type", "const", "enum", "anyOf",
    "properties", "required", "additionalProperties", "propertyNames", "minProperties",
    "maxProperties", "items", "minItems", "minLength", "minimum", "maximum", "pattern",
}  # fmt: skip


def shipped() -> Schema:
    """Return the schema of the format."""
    text = (
        resources.files("resilient.testing.conformance")
        .joinpath("schema.json")
        .read_text(encoding="utf-8")
    )
    return cast("Schema", json.loads(text))


def mistakes(value: object, schema: Schema, part: str) -> Iterator[Mistake]:
    """Yield what keeps `value` from being the definition `part` of `schema`."""
    yield from _Checker(schema).check(value, {"$ref": f"#/$defs/{part}"}, ())


class _Checker:
    """Applies one schema with its definitions."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def check(self, value: object, schema: Any, path: Path) -> Iterator[Mistake]:  # noqa: ANN401 - also `true`
        if schema is True:
            return
        unknown = set(schema) - _KNOWN
        if unknown:
            raise NotImplementedError(f"the schema has {', '.join(sorted(unknown))}")
        if "$ref" in schema:
            yield from self.check(value, self._root["$defs"][schema["$ref"].split("/")[-1]], path)
        if "anyOf" in schema:
            yield from self._any_of(value, schema["anyOf"], path)
        if not _is_of_type(value, schema):
            yield path, f"must be {_expected(self._types(schema))}, not {_shown(value)}"
            return
        if "const" in schema and not _same(value, schema["const"]):
            yield path, f"must be {_shown(schema['const'])}, not {_shown(value)}"
        if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
            said = ", ".join(_shown(one) for one in schema["enum"])
            yield path, f"must be one of {said}, not {_shown(value)}"
        if is_object(value):
            yield from self._object(value, schema, path)
        elif is_list(value):
            yield from self._array(value, schema, path)
        elif isinstance(value, str):
            yield from _text(value, schema, path)
        elif is_number(value):
            yield from _number(value, schema, path)

    def _object(self, value: dict[str, Any], schema: Schema, path: Path) -> Iterator[Mistake]:
        known = schema.get("properties", {})
        further = schema.get("additionalProperties", True)
        for key, inner in value.items():
            yield from self.check(key, schema.get("propertyNames", True), (*path, key))
            if key in known:
                yield from self.check(inner, known[key], (*path, key))
            elif further is False:
                yield (*path, key), f"is not known here; {_there_is(key, known)}"
            else:
                yield from self.check(inner, further, (*path, key))
        for key in schema.get("required", ()):
            if key not in value:
                yield path, f"needs {_shown(key)}"
        fewest, most = schema.get("minProperties", 0), schema.get("maxProperties", len(value))
        if not fewest <= len(value) <= most:
            number = "exactly one" if fewest == most else "at least one"
            yield path, f"needs {number} of {', '.join(known) or 'its names'}"

    def _array(self, value: list[Any], schema: Schema, path: Path) -> Iterator[Mistake]:
        for place, inner in enumerate(value):
            yield from self.check(inner, schema.get("items", True), (*path, place))
        if len(value) < schema.get("minItems", 0):
            yield path, "must not be empty"

    def _any_of(self, value: object, shapes: list[Schema], path: Path) -> Iterator[Mistake]:
        found = [list(self.check(value, shape, path)) for shape in shapes]
        if not all(found):
            return
        for shape, wrong in zip(shapes, found, strict=True):
            if self._is_meant(value, shape):
                yield from wrong
                return
        yield path, f"must be {self._choice(shapes)}, not {_shown(value)}"

    def _is_meant(self, value: object, shape: Schema) -> bool:
        shape = self._resolved(shape)
        if "anyOf" in shape:
            return any(self._is_meant(value, one) for one in shape["anyOf"])
        if is_object(value):
            tells = [key for key in shape.get("required", ()) if key != "at"]
            if tells or "properties" not in shape:
                return bool(set(tells) & set(value))
        return "type" in shape and _is_of_type(value, shape)

    def _choice(self, shapes: list[Schema]) -> str:
        told: list[str] = []
        for shape in map(self._resolved, shapes):
            tells = [key for key in shape.get("required", ()) if key != "at"]
            if tells:
                told.append(f"an object with {_shown(tells[0])}")
            elif "enum" in shape:
                told += [_shown(one) for one in shape["enum"]]
            elif "anyOf" in shape:
                told.append(self._choice(shape["anyOf"]))
            else:
                told.append(_expected(self._types(shape)) if "type" in shape else "a lawful value")
        return " or ".join(dict.fromkeys(told))

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._root["$defs"][schema["$ref"].split("/")[-1]]
        return schema

    def _types(self, schema: Schema) -> list[str]:
        told = schema["type"]
        return [told] if isinstance(told, str) else told


def _is_of_type(value: object, schema: Schema) -> bool:
    told = schema.get("type")
    if told is None:
        return True
    names: list[str] = [told] if isinstance(told, str) else told
    # A bool is an int to Python, and nothing of a number to JSON.
    return any(
        isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
        for name in names
    )


def _same(value: object, other: object) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _text(value: str, schema: Schema, path: Path) -> Iterator[Mistake]:
    if len(value) < schema.get("minLength", 0):
        yield path, "must not be empty"
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        yield path, f"must be made of letters, digits, dots and dashes, not {_shown(value)}"


def _number(value: float, schema: Schema, path: Path) -> Iterator[Mistake]:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and not value >= least:
        yield path, f"must be at least {least}, not {_shown(value)}"
    if most is not None and not value <= most:
        yield path, f"must be at most {most}, not {_shown(value)}"


def _expected(names: list[str]) -> str:
    return " or ".join(_SAID[name] for name in names)


def _there_is(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {_shown(near[0])}?" if near else f"there are {', '.join(known)}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - the width of a line's half


def path_text(path: Path) -> str:
    """Write a path as one would in a program: `given.policies[0].retry`.

    >>> path_text(("given", "policies", 0, "retry"))
    'given.policies[0].retry'
    """
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")
