"""Files of cases, read and checked before anything runs.

The schema says which keys there are. What it cannot say is checked here: that
every name refers to something, that the instants go forward, that a case which
makes calls says how many tries and calls they come to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient.testing._text import parse
from resilient.testing.conformance._data import Data, is_list, is_object
from resilient.testing.conformance._names import Names
from resilient.testing.conformance._schema import mistakes, path_text, shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

    from resilient.testing.conformance._schema import Mistake


class MalformedError(ValueError):
    """A file that is not made of cases; the message has one line for each mistake.

    Each line names the file, the id of the case and the path of what is wrong.
    """


@dataclass(frozen=True, slots=True)
class Case:
    """One case as it was written: what is given, what is done, what comes of it."""

    file: str
    id: str
    fact: str
    given: Data
    when: tuple[Data, ...]
    then: Data
    after: str | None = None
    """Whose documented behaviour, standard or defect it comes from."""

    def __str__(self) -> str:
        """Return the id."""
        return self.id


def load(path: str | PathLike[str]) -> tuple[Case, ...]:
    """Return the cases of a file, checked; `MalformedError` tells all that is wrong with it.

    >>> import json, tempfile, pathlib
    >>> case = {"id": "one", "fact": "It answers.", "given": {"policies": []},
    ...         "then": {"outcome": {"from_call": 1}, "tries": 1, "call": 1}}
    >>> file = pathlib.Path(tempfile.mkdtemp(), "mine.json")
    >>> _ = file.write_text(json.dumps({"format": 1, "cases": [case]}))
    >>> load(file)
    Traceback (most recent call last):
        ...
    resilient.testing.conformance.MalformedError: ...mine.json: one: then.call: is not known here; did you mean "calls"?
    """  # noqa: E501 - one line for each mistake is what it promises
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MalformedError(f"{name}: cannot be read: {error}") from error
    try:
        data = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except ValueError as error:
        raise MalformedError(f"{name}: is not JSON: {error}") from error
    except RecursionError:
        raise MalformedError(f"{name}: {_TOO_DEEP}") from None
    if _is_deeper(data, _DEEPEST):
        raise MalformedError(f"{name}: {_TOO_DEEP}")
    found = _mistakes(data)
    if found:
        raise MalformedError("\n".join(_line(name, data, one) for one in found))
    return tuple(
        Case(
            file=name,
            id=case["id"],
            fact=case["fact"],
            after=case.get("after"),
            given=case["given"],
            when=tuple(case.get("when", _ONE_CALL)),
            then=case["then"],
        )
        for case in data["cases"]
    )


_ONE_CALL: tuple[Data, ...] = ({"at": 0, "call": "1"},)
_DEEPEST = 100
_TOO_DEEP = f"is nested more than {_DEEPEST} levels deep"


def _is_deeper(data: object, levels: int) -> bool:
    """Tell whether something has more levels: what reads a case calls itself for each."""
    level = [data]
    for _ in range(levels):
        level = [inner for one in level for inner in _inside(one)]
    return bool(level)


def _inside(one: object) -> Iterable[object]:
    if is_object(one):
        return one.values()
    return one if is_list(one) else ()


def _mistakes(data: Any) -> list[Mistake]:  # noqa: ANN401 - whatever was written
    found = list(mistakes(data, shipped(), "file"))
    # Of another format nothing else is known.
    other = [one for one in found if one[0] == ("format",)]
    return other or found or list(_of_names(data))


def _once_each(pairs: list[tuple[str, Any]]) -> Data:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has {json.dumps(twice)} twice")
    return made


def _no_constant(text: str) -> Any:  # noqa: ANN401 - the hook's own type
    raise ValueError(f'{text} is no number of JSON: write it as a text, "{text}"')


def _line(file: str, data: Any, mistake: Mistake) -> str:  # noqa: ANN401
    path, text = mistake
    match path:
        case ("cases", int() as place, *rest):
            case = data["cases"][place]
            told = case.get("id") if is_object(case) else None
            name = told if isinstance(told, str) else f"cases[{place}]"
            where = path_text(tuple(rest))
            return f"{file}: {name}: {where}: {text}" if where else f"{file}: {name}: {text}"
        case ():
            return f"{file}: {text}"
        case _:
            return f"{file}: {path_text(path)}: {text}"


def _of_names(data: Data) -> Iterator[Mistake]:
    seen: set[str] = set()
    for place, case in enumerate(data["cases"]):
        at = ("cases", place)
        if case["id"] in seen:
            yield (*at, "id"), "is the id of a case before it"
        seen.add(case["id"])
        when = tuple(case.get("when", _ONE_CALL))
        for path, text in _of_case(case["given"], when, case["then"]):
            yield (*at, *path), text


def _of_case(given: Data, when: Sequence[Data], then: Data) -> Iterator[Mistake]:
    kinds = [kind for kind in ("policies", "functions", "manager", "backoff") if kind in given]
    if len(kinds) != 1:
        yield ("given",), "needs exactly one of policies, functions, manager and backoff"
        return
    yield from _of_scripts(given)
    yield from Names(given).check(when, then)
    yield from _of_ranges(then)
    if "refused" in then:
        return
    yield from _of_instants(when)
    calls = sum(one.get("times", 1) for one in when if "call" in one)
    yield from _of_outcomes(then, calls)


def _of_scripts(given: Data) -> Iterator[Mistake]:
    for name, written in given.get("targets", {}).items():
        if isinstance(written, str):
            try:
                parse(written)
            except ValueError as error:
                yield ("given", "targets", name), str(error)


def _of_ranges(then: Data) -> Iterator[Mistake]:
    counted: list[tuple[tuple[str, ...], Any]] = [
        (("then", name), then[name]) for name in ("tries", "calls") if name in then
    ]
    counted += [(("then", "counts", kind), one) for kind, one in then.get("counts", {}).items()]
    for path, one in counted:
        if is_object(one) and one["from"] > one["to"]:
            yield path, f"has no number: from {one['from']} is more than to {one['to']}"


def _of_instants(when: Sequence[Data]) -> Iterator[Mistake]:
    latest = 0.0
    for place, stimulus in enumerate(when):
        at = stimulus.get("at", latest)
        if at < latest:
            yield ("when", place, "at"), f"is before {latest:g}, the instant of what stands above"
        latest = at + stimulus.get("every", 0) * (stimulus.get("times", 1) - 1)


def _of_outcomes(then: Data, calls: int) -> Iterator[Mistake]:
    if "outcome" in then and ("outcomes" in then or calls != 1):
        yield ("then", "outcome"), f"is for a case with one call; this one has {calls}: outcomes"
    told = then.get("outcomes")
    if told is not None and len(told) != calls:
        yield ("then", "outcomes"), f"has {len(told)} outcomes, and {calls} calls are made"
    for name in ("tries", "calls"):
        if calls and name not in then:
            yield ("then",), f'needs "{name}": a case that makes calls says how many'
    both: list[tuple[tuple[str | int, ...], Data]] = [
        (("then", "outcomes", place), one) for place, one in enumerate(told or ())
    ]
    if "outcome" in then:
        both.append((("then", "outcome"), then["outcome"]))
    for path, one in both:
        ways = [way for way in ("returns", "raises", "cancelled") if way in one]
        if len(ways) > 1 or (not ways and not {"from_call", "items"} & set(one)):
            yield path, "needs exactly one of returns, raises and cancelled, or from_call or items"
