"""Which errors pass by themselves: a table, and two questions asked of it.

A `Table` is a frozen value and a predicate. `transient(error)` asks whether
another try may help, `unsent(error)` whether it can do no harm either, because
the request never arrived. The rows are data (root of the module, name of the
class, code); an error is looked up by the classes it descends from, most
specific first, and by its HTTP status where none of them has a row.

Three things stand above the rows. An exception that says `retryable` itself is
believed. A group is judged by its leaves. And what is not an `Exception`
(cancellation above all) is never accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from weakref import WeakKeyDictionary

from resilient._core.shape import codes_of, is_group, leaves, own_retryable, status_of
from resilient._core.table_key import check_row, named, split
from resilient._core.table_page import printed
from resilient._core.transient_rows import PROGRAMMING, ROWS, STATUSES, Code, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from resilient._core.table_key import Key, Named

RETRYABLE: Final[frozenset[Kind]] = frozenset({"unsent", "transient", "throttled"})

_Verdict = Kind | Literal["bug"]


@dataclass(slots=True)
class _Entry:
    """What the table says of one class: by code, and otherwise."""

    codes: dict[Code, Kind] = field(default_factory=dict[Code, Kind])
    otherwise: _Verdict | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Table:
    """Rows of what failed and what that proves; call it with an error to be told yes or no.

    >>> transient(ConnectionResetError()), unsent(ConnectionResetError())
    (True, False)
    >>> transient(ValueError())
    False
    >>> print(transient.extended({("acme", "Busy"): "throttled"}).kind_of(KeyError()))
    None
    """

    name: str
    accepts: frozenset[Kind]
    rows: Mapping[Key, Kind]
    added: int = 0
    _entries: dict[Named, _Entry] = field(init=False)
    # Classes are looked up once. Weak: a class that its module forgets is forgotten here too.
    _cache: WeakKeyDictionary[type, tuple[_Entry, ...]] = field(
        init=False, default_factory=WeakKeyDictionary[type, tuple[_Entry, ...]]
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", MappingProxyType(dict(self.rows)))
        object.__setattr__(self, "_entries", _compiled(self.rows))

    def __call__(self, error: BaseException) -> bool:
        """Say whether this table accepts an error; never raises."""
        if not issubclass(type(error), Exception):
            return False
        own = own_retryable(error)
        if own is False:
            return False
        if own and "transient" in self.accepts:
            return True
        if is_group(error):
            members = leaves(error)
            return members is not None and all(map(self, members))
        return self.kind_of(error) in self.accepts

    def kind_of(self, error: BaseException) -> Kind | None:
        """Return what the rows prove about an error, `None` where they prove nothing."""
        verdict = self._verdict(error)
        return None if verdict == "bug" else verdict

    def knows(self, error: BaseException) -> bool:
        """Say whether the table has an answer, be it that the error is a bug."""
        return self.unknown(error) is None

    def unknown(self, error: BaseException) -> type[Exception] | None:
        """Return the class that the table has no answer for, in a group the first one.

        `None` where a row, a status, the exception itself or a programming
        error has decided: then there is nothing to add to the table.
        """
        if not issubclass(type(error), Exception) or own_retryable(error) is not None:
            return None
        if is_group(error):
            for leaf in leaves(error) or ():
                found = self.unknown(leaf)
                if found is not None:
                    return found
            return None
        return None if self._verdict(error) else cast("type[Exception]", type(error))

    def extended(self, rows: Mapping[Key, Kind], /) -> Table:
        """Return a new table with further rows; a new row replaces an old one of the same key.

        A key is an exception class, or its (module root, class name); a third
        item, or a second one after a class, limits the row to a status or
        code: `{Busy: "throttled", ("acme", "ApiError", 503): "transient"}`.
        A class itself is more exact than its name and is asked first.
        """
        for key, kind in rows.items():
            check_row(key, kind)
        merged: dict[Key, Kind] = {**self.rows, **rows}
        return Table(self.name, self.accepts, merged, self.added + len(rows))

    def describe(self) -> str:
        """Return what is accepted, as a reader of `explain` wants it."""
        more = f" ({self.added} more row{'' if self.added == 1 else 's'})" if self.added else ""
        return f"{self.name} errors{more}"

    def __repr__(self) -> str:
        added = f", {self.added} of them added" if self.added else ""
        return f"<{self.name}: a table of {len(self.rows)} rows{added}>"

    def __str__(self) -> str:
        return "\n".join(printed(self))

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Copy and pickle the two tables of the library as themselves, any other by its rows."""
        if self is _NAMED.get(self.name):
            return self.name
        return Table, (self.name, self.accepts, dict(self.rows), self.added)

    def _verdict(self, error: BaseException) -> _Verdict | None:
        for found in self._entries_of(type(error)):
            if found.codes:
                for code in codes_of(error):
                    if code in found.codes:
                        return found.codes[code]
            if found.otherwise:
                return found.otherwise
        status = status_of(error)
        return None if status is None else STATUSES.get(status)

    def _entries_of(self, cls: type) -> tuple[_Entry, ...]:
        try:
            found = self._cache.get(cls)
            if found is None:
                found = self._cache[cls] = tuple(self._walk(cls, self._entries.__contains__))
        except Exception:  # noqa: BLE001 - a metaclass may refuse to be hashed or compared
            return tuple(self._walk(cls, _never))
        return found

    def _walk(self, cls: type, known: Callable[[type], bool]) -> Iterator[_Entry]:
        for base in _bases_of(cls):
            for key in (base, named(base)) if known(base) else (named(base),):
                found = self._entries.get(key)
                if found is not None:
                    yield found
                    if found.otherwise:  # nothing behind it is ever asked
                        return


def _never(_: type) -> bool:
    return False


# As the names of a class: a metaclass may answer for itself.
_bases_of: Callable[[type], tuple[type, ...]] = vars(type)["__mro__"].__get__


def _compiled(rows: Mapping[Key, Kind]) -> dict[Named, _Entry]:
    entries: dict[Named, _Entry] = {}
    for name in PROGRAMMING:
        entries["builtins", name] = _Entry(otherwise="bug")
    for key, kind in rows.items():
        about, codes = split(key)
        found = entries.setdefault(about, _Entry())
        if codes:
            found.codes[codes[0]] = kind
        else:
            found.otherwise = kind
    return entries


transient: Final = Table("transient", RETRYABLE, cast("Mapping[Key, Kind]", ROWS))
"""The default of `on=`: errors that may not come again."""

unsent: Final = Table("unsent", frozenset({"unsent"}), cast("Mapping[Key, Kind]", ROWS))
"""For calls that must not happen twice: errors that prove the request never arrived."""

_NAMED: Final = {"transient": transient, "unsent": unsent}
