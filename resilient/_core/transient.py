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
from textwrap import wrap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args
from weakref import WeakKeyDictionary

from resilient._core.names import module_of, name_of
from resilient._core.options import shown
from resilient._core.shape import (
    codes_of,
    is_group,
    leaves,
    own_retryable,
    status_of,
    text_of,
    whole_of,
)
from resilient._core.transient_rows import PROGRAMMING, ROWS, STATUSES, Code, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Key = type[Exception] | tuple[type[Exception], Code] | tuple[str, str] | tuple[str, str, Code]
"""What a row is about: a class, or (module root, class name), each with a code or without."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
RETRYABLE: Final[frozenset[Kind]] = frozenset({"unsent", "transient", "throttled"})

# A class, or the root of its module and its name.
_Named = type | tuple[str, str]
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
    _entries: dict[_Named, _Entry] = field(init=False)
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
            _check(key, kind)
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
        return "\n".join(_printed(self))

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
                found = self._cache[cls] = tuple(self._walk(cls))
        except Exception:  # noqa: BLE001 - a metaclass may refuse to be hashed or compared
            return tuple(self._walk(cls, by_class=_never))
        return found

    def _walk(self, cls: type, by_class: Callable[[type], bool] | None = None) -> Iterator[_Entry]:
        entries = self._entries
        known = by_class or entries.__contains__
        for base in _bases_of(cls):
            for key in (base, _named(base)) if known(base) else (_named(base),):
                found = entries.get(key)
                if found is not None:
                    yield found
                    if found.otherwise:  # nothing behind it is ever asked
                        return


def _never(_: type) -> bool:
    return False


# As the names of a class: a metaclass may answer for itself.
_bases_of: Callable[[type], tuple[type, ...]] = vars(type)["__mro__"].__get__


def _named(cls: type) -> tuple[str, str]:
    root, _, _ = (text_of(module_of(cls)) or "").partition(".")
    return root, name_of(cls)


def _compiled(rows: Mapping[Key, Kind]) -> dict[_Named, _Entry]:
    entries: dict[_Named, _Entry] = {}
    for name in PROGRAMMING:
        entries["builtins", name] = _Entry(otherwise="bug")
    for key, kind in rows.items():
        named, codes = _split(key)
        found = entries.setdefault(named, _Entry())
        if codes:
            found.codes[codes[0]] = kind
        else:
            found.otherwise = kind
    return entries


def _split(key: Key) -> tuple[_Named, tuple[Code, ...]]:
    if not isinstance(key, tuple):
        return key, ()
    parts = cast("tuple[Any, ...]", key)
    if isinstance(parts[0], str):
        return (parts[0], parts[1]), parts[2:]
    return parts[0], parts[1:]


def _check(key: object, kind: object) -> None:
    if not isinstance(kind, str) or kind not in KINDS:
        listed = ", ".join(map(repr, KINDS[:-1]))
        raise ValueError(
            f"the kind of {_key_shown(key)} must be {listed} or {KINDS[-1]!r}, not {shown(kind)}"
        )
    parts = cast("tuple[object, ...]", key if isinstance(key, tuple) else (key,))
    if parts and isinstance(parts[0], type):
        _check_class(parts[0])
        codes = parts[1:]
    elif len(parts) > 1 and all(_is_name(part) for part in parts[:2]):
        _check_root(cast("str", parts[0]))
        codes = parts[2:]
    else:
        raise _bad_key(parts)
    if len(codes) > 1 or not all(_is_code(code) for code in codes):
        raise _bad_key(parts)


def _check_class(cls: type) -> None:
    if not issubclass(cls, BaseException):
        raise TypeError(f"a row is about exceptions, and {cls.__qualname__} is none")
    if not issubclass(cls, Exception):
        raise ValueError(  # noqa: TRY004 - the type is right, the class is not one to handle
            f"{cls.__qualname__} is not an Exception: cancellation and exit are never handled"
        )


def _check_root(root: str) -> None:
    if "." in root:
        raise ValueError(
            f"the module of a row is the root alone: {root.partition('.')[0]!r}, not {root!r}"
        )


def _is_name(part: object) -> bool:
    return isinstance(part, str) and bool(part)


def _is_code(part: object) -> bool:
    return part is None or _is_name(part) or whole_of(part) is not None


def _bad_key(parts: tuple[object, ...]) -> TypeError:
    return TypeError(
        "a row is an exception class or (module root, class name), then, where it is limited"
        f" to one, a status or code; not {_key_shown(parts[0] if len(parts) == 1 else parts)}"
    )


def _key_shown(key: object) -> str:
    if isinstance(key, tuple):
        return f"({', '.join(map(_key_shown, cast('tuple[object, ...]', key)))})"
    return key.__qualname__ if isinstance(key, type) else shown(key)


_WIDTH = 100


def _printed(table: Table) -> Iterator[str]:
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
        named, codes = _split(key)
        root, name = _named(named) if isinstance(named, type) else named
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


transient: Final = Table("transient", RETRYABLE, cast("Mapping[Key, Kind]", ROWS))
"""The default of `on=`: errors that may not come again."""

unsent: Final = Table("unsent", frozenset({"unsent"}), cast("Mapping[Key, Kind]", ROWS))
"""For calls that must not happen twice: errors that prove the request never arrived."""

_NAMED: Final = {"transient": transient, "unsent": unsent}
