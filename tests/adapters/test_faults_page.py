"""The page of faults: its table is the classification table, and it leaves no error out."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilient_openrouter import errors
from resilient_openrouter.classify import TABLE, TRANSPORT
from resilient_openrouter.emulator import SCENARIOS

DOCS = Path(__file__).parents[2] / "docs"
SIGNALS = {
    "availability": "availability",
    "limit": "limit, reason",
    "error_type": "error type",
    "previous": "previous errors",
    "provider_code": "provider's code",
    "text": "words",
    "page": "no JSON",
    "address": "no error of the API",
    "status": "status",
    "anything": "anything else",
}


@pytest.fixture
def page():
    """Read the page of faults."""
    return (DOCS / "faults.md").read_text(encoding="utf-8")


def table():
    """Draw the classification table as the page shows it."""
    yield "| where | what | error | condemns | again here | learned |"
    yield "|---|---|---|---|---|---|"
    for row in TABLE:
        cells = (SIGNALS[row.signal], what(row), row.error.__name__, scope(row), again(row))
        yield f"| {' | '.join(cells)} | {learned(row)} |"


def what(row):
    looked_for = sorted(row.any_of)
    if len(looked_for) > 90:
        looked_for = [looked_for[0], "...", looked_for[-1]]
    parts = [", ".join(f"`{value}`" if value != "..." else value for value in looked_for)]
    if row.text:
        parts.append(f'"{row.text}"')
    if row.status:
        parts.append(statuses(sorted(row.status)))
    return " and ".join(part for part in parts if part) or "any"


def statuses(found):
    if found == list(range(found[0], found[-1] + 1)) and len(found) > 2:
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))


def scope(row):
    return row.scope or row.error.scope or "-"


def again(row):
    if row.signal == "availability":
        return "as its `retryable` says"
    retryable = row.error.retryable if row.retryable is None else row.retryable
    return "yes" if retryable else "no"


def learned(row):
    health = row.health or row.error.health
    if row.cools is not None:
        return f"rests {row.cools:g} s"
    if row.least:
        return f"{health}, wait at least {row.least:g} s"
    return {"cooldown": "rests as long as asked"}.get(health, health)


def test_the_table_of_the_page_is_the_table(page):
    """The page shows the rows of the classification table, in their order."""
    assert "\n".join(table()) in page


def test_every_error_is_on_the_page(page):
    """Each class of error stands on the page of faults."""
    kinds = [
        name
        for name in errors.__all__
        if isinstance(getattr(errors, name), type)
        and issubclass(getattr(errors, name), errors.OpenRouterError)
    ]
    assert [name for name in kinds if name not in page] == []


def test_every_error_of_the_connection_is_on_the_page(page):
    """Each exception of the HTTP client that is told by name stands on the page."""
    assert [name for name in TRANSPORT if f"`{name}`" not in page] == []


def test_the_scenarios_of_the_page_exist():
    """The scenarios that the page of the emulator lists are all that there are."""
    text = (DOCS / "openrouter.md").read_text(encoding="utf-8")
    assert [name for name in SCENARIOS if f"`{name}" not in text] == []
