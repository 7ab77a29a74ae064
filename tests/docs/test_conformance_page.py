"""The page of the conformance format names what the schema has."""

from __future__ import annotations

import re
from pathlib import Path

from resilient.testing.conformance._schema import shipped

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")


def keys_of(schema):
    """Yield every key that the schema gives a meaning."""
    for key, inner in schema.get("properties", {}).items():
        yield key
        if isinstance(inner, dict):
            yield from keys_of(inner)
    for shape in schema.get("anyOf", ()):
        yield from keys_of(shape)


def test_the_page_names_every_key_of_the_schema():
    """No key of the format is left without a word."""
    said = set(re.findall(r'[`"{]"?([a-z_]+)"?[`":,]', PAGE))
    keys = {key for part in shipped()["$defs"].values() for key in keys_of(part)}
    assert keys - said == set()


def test_the_page_names_every_error_of_the_schema():
    """No error that a script can raise is left without a word."""
    parts = shipped()["$defs"]
    errors = {*parts["error"]["enum"], *parts["kind"]["enum"]}
    assert {error for error in errors if f"`{error}`" not in PAGE} == set()
