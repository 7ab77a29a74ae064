"""The table of names, the published page and the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import resilient.telemetry
from resilient.telemetry import names

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")
PACKAGE = Path(resilient.telemetry.__file__).parent


def tables(text: str):
    """Yield (heading above it, rows) for each table of a page; a row is a list of cells."""
    heading, rows, seen = "", [], False
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            heading = line.strip("# ")
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if set("".join(cells)) <= {"-", ":"}:
                seen = True
            else:
                rows.append(cells)
        elif rows:
            assert seen, f"a table without a rule under {heading!r}"
            yield heading, rows
            rows, seen = [], False


def table(heading: str, first: str):
    """Return the rows of the table below `heading` whose first column is headed `first`."""
    (found,) = [rows[1:] for where, rows in tables(PAGE) if (where, rows[0][0]) == (heading, first)]
    return found


def ticked(cell: str) -> tuple[str, ...]:
    """Return the closed set that a cell lists: nothing but code spans."""
    codes = tuple(re.findall(r"`([^`]*)`", cell))
    return codes if codes and re.fullmatch(r"(`[^`]*` ?)+", cell) else ()


@pytest.mark.parametrize("of", ["call", "attempt", "target"])
def test_span_attributes_are_those_of_the_page(of):
    """The page lists every attribute of a span, in order, with its type and its closed set."""
    rows = table(f"{of.capitalize()} span", "attribute")
    published = [(name.strip("`"), kind, ticked(values)) for name, kind, values, _ in rows]
    declared = [(one.name, one.type, one.values) for one in names.ATTRIBUTES if of in one.spans]
    assert sorted(published) == sorted(declared)


def test_span_names_are_those_of_the_page():
    """The page lists every kind of span with its name."""
    published = [tuple(row[:3]) for row in table("Spans", "span")]
    own = "its description's"
    assert published == [
        (one.of, f"`{one.name}`" if one.name else own, one.kind or own) for one in names.SPANS
    ]


def test_log_lines_are_those_of_the_page():
    """The page lists every log line with its severity."""
    published = [(name.strip("`"), severity) for name, severity, _ in table("The log", "line")]
    assert published == [(one.name, one.severity or "off") for one in names.LINES]


def test_log_fields_are_those_of_the_page():
    """The page lists every field of a log line with its type and its closed set."""
    rows = table("The log", "field")
    published = [(name.strip("`"), kind, ticked(values)) for name, kind, values in rows]
    assert published == [(one.name, one.type, one.values) for one in names.FIELDS]


def test_metrics_are_those_of_the_page():
    """The page lists every metric with its instrument, its unit and its attributes."""
    published = [
        (name.strip("`"), kind, unit.strip("`"), *labels(attributes), says)
        for name, kind, unit, attributes, says in table("Metrics", "metric")
    ]
    assert published == [
        (
            one.name,
            one.instrument.replace("_", " ").replace("up down", "up-down"),
            one.unit,
            one.attributes,
            one.sometimes,
            one.says,
        )
        for one in names.METRICS
    ]


def labels(cell: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the attributes that a cell lists, and those of them that are sometimes left out."""
    found = re.findall(r"`([^`]*)`(\??)", cell)
    return tuple(n for n, often in found if not often), tuple(n for n, often in found if often)


def test_attributes_of_metrics_are_those_of_the_page():
    """The page lists every attribute of a metric with its type and its closed set."""
    rows = table("Metrics", "attribute")
    published = [(name.strip("`"), kind, ticked(values)) for name, kind, values in rows]
    assert published == [(one.name, one.type, one.values) for one in names.LABELS]


def test_every_attribute_of_a_metric_is_explained():
    """The metrics have the attributes of the table of theirs, and no others."""
    used = {name for one in names.METRICS for name in (*one.attributes, *one.sometimes)}
    assert used == {one.name for one in names.LABELS}


def test_error_types_are_those_of_the_page():
    """The page lists what `error.type` says of each error of the library."""
    published = [(source, kind.strip("`")) for source, kind in table("What failed", "error")]
    assert published == list(names.ERROR_TYPES)


@pytest.mark.parametrize(
    ("heading", "first", "attribute"),
    [
        ("Call span", "outcome", names.OUTCOME),
        ("Attempt span", "disposition", names.DISPOSITION),
    ],
)
def test_every_value_is_explained(heading, first, attribute):
    """The page explains each outcome and each disposition."""
    (declared,) = [one for one in names.ATTRIBUTES if one.name == attribute]
    assert tuple(row[0].strip("`") for row in table(heading, first)) == declared.values


def test_names_are_nowhere_but_in_their_table():
    """No module of telemetry writes a name of ours by hand."""
    written = [
        f"{path.name}: {found}"
        for path in PACKAGE.glob("*.py")
        if path.name != "names.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        for found in re.findall(r'"(resilient\.\w+(?:\.\w+)*)"', line)
        if ">>>" not in line and "._" not in found
    ]
    assert written == []


def test_every_name_is_used():
    """Each constant of the table stands in the code."""
    code = "".join(p.read_text(encoding="utf-8") for p in PACKAGE.glob("_*.py"))
    constants = [
        name for name, found in vars(names).items() if name.isupper() and isinstance(found, str)
    ]
    assert [name for name in constants if f"names.{name}" not in code] == []


def test_own_names_are_namespaced():
    """Every name is ours by its prefix, or a standard one."""
    standard = {"error.type", "event.name", "http.response.status_code"}
    every = [
        one.name
        for one in (*names.ATTRIBUTES, *names.FIELDS, *names.LINES, *names.LABELS, *names.METRICS)
    ]
    assert {name for name in every if not name.startswith(("resilient.", "code."))} == standard
