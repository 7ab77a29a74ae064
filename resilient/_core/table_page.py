"""A table as text: one library after the other, its kinds below each other."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from resilient._core.table_key import named, split
from resilient._core.transient_rows import KINDS, PROGRAMMING, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resilient._core.table_key import Key
    from resilient._core.transient import Table
    from resilient._core.transient_rows import Kind

_WIDTH = 100


def printed(table: Table) -> Iterator[str]:
    """Give the lines of a table, as `print(transient)` shows them."""
    yield f"{table.name}: accepts {', '.join(k for k in KINDS if k in table.accepts)}"
    groups = _grouped(table.rows)
    first = max(len(root) for root, _ in groups) + 2
    second = max(map(len, KINDS)) + 2
    previous = ""
    for (root, kind), items in groups.items():
        lead = f"{'' if root == previous else root:<{first}}{kind:<{second}}"
        previous = root
        yield from _filled(lead, ", ".join(_items_shown(items)))
    yield "any other class, by its HTTP status (status_code, status or response.status_code)"
    for kind in KINDS:
        statuses = [status for status, found in STATUSES.items() if found == kind]
        if statuses:
            yield from _filled(f"{'':<{first}}{kind:<{second}}", _statuses_shown(statuses))
    yield "never, as they tell of a bug"
    yield from _filled(" " * (first + second), ", ".join(PROGRAMMING))


def _grouped(rows: Mapping[Key, Kind]) -> dict[tuple[str, Kind], dict[str, list[str]]]:
    """Return the rows by library, then kind, then class, with the codes of each."""
    order = {kind: place for place, kind in enumerate(KINDS)}
    roots: dict[str, None] = {}
    found: dict[tuple[str, Kind], dict[str, list[str]]] = {}
    for key, kind in rows.items():
        about, codes = split(key)
        root, name = named(about) if isinstance(about, type) else about
        roots.setdefault(root)
        listed = found.setdefault((root, kind), {}).setdefault(name, [])
        listed.extend("no code" if code is None else str(code) for code in codes)
    places = {root: place for place, root in enumerate(roots)}
    return dict(sorted(found.items(), key=lambda item: (places[item[0][0]], order[item[0][1]])))


def _items_shown(items: Mapping[str, list[str]]) -> Iterator[str]:
    for name, codes in sorted(items.items()):
        yield f"{name} ({' '.join(codes)})" if codes else name


def _statuses_shown(statuses: list[int]) -> str:
    if len(statuses) > 20:  # noqa: PLR2004 - too many to list
        return f"{min(statuses)} to {max(statuses)}, but for those above"
    return " ".join(map(str, statuses))


def _filled(lead: str, text: str) -> list[str]:
    return wrap(
        text,
        _WIDTH,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )
