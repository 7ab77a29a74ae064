"""The same call on each backend and in each spelling, compared with what is expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, assert_never, cast

from resilient._core.names import class_name
from resilient.testing._check import findings_of
from resilient.testing._invariants import LOCAL
from resilient.testing._record import Cancelled, Raised, Result, Returned
from resilient.testing._steps import same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from resilient.testing._run import Run

ANY: Any = object()
"""Stands for "whatever it is"."""


_ALWAYS = [
    one
    for one in LOCAL
    # What is left behind, and what came out, is compared with what the test expects.
    if one.__name__ not in {"nothing_left_running", "scope_clean_afterwards", "nothing_invented"}
]


@dataclass(frozen=True, slots=True)
class Runs:
    """The same call on each backend and in each spelling."""

    runs: tuple[Run, ...]

    def __iter__(self) -> Iterator[Run]:
        """Go through the runs."""
        return iter(self.runs)

    def asserts(
        self,
        *,
        tries: int,
        calls: int,
        value: object = ANY,
        error: type[BaseException] | None = None,
        result: Literal["returned", "cancelled"] = "returned",
        from_call: int | None = None,
        elapsed: float | None = None,
        waits: Sequence[float] | None = None,
        calls_at: Sequence[float] | None = None,
        events: Sequence[str] | None = None,
        leftovers: Sequence[str] | None = (),
    ) -> Self:
        """Compare every run with what is expected, and with what must hold always.

        `tries` counts turns of retry loops, refused ones included, `calls`
        what reached a scripted function. The call must have returned, unless
        `error` (the exact class) or `result="cancelled"` says otherwise;
        `from_call=3` says that the very value or error of call 3 came out.
        Times are exact. `events` are the names of all events, in order;
        `leftovers=None` allows whatever was left behind.
        """
        wanted: dict[str, Any] = {
            "tries": tries,
            "calls": calls,
            "result": class_name(error) if error else result,
            "value": value,
            "from_call": _given(from_call),
            "elapsed": _given(elapsed, lambda seconds: _Times([seconds])),
            "waits": _given(waits, _Times),
            "calls_at": _given(calls_at, _Times),
            "events": _given(events, list),
            "leftovers": _given(leftovers, list),
        }
        for run in self.runs:
            found = _found(run)
            wrong = [
                f"{name} should be {want!r} and is {found[name]!r}"
                for name, want in wanted.items()
                if want is not ANY and not same(want, found[name])
            ]
            wrong += [str(one) for one in findings_of(run, _ALWAYS)]
            if wrong:
                raise AssertionError(_report(run, wrong))
        self._tell_the_same_story()
        return self

    def _tell_the_same_story(self) -> None:
        first = self.runs[0]
        for run in self.runs[1:]:
            if _story(run) != _story(first):
                raise AssertionError(
                    f"{_label(first)} and {_label(run)} differ:\n{first}\nand\n{run}"
                )


def _given(expected: Any, make: Callable[[Any], Any] = lambda it: it) -> Any:  # noqa: ANN401
    return ANY if expected is None else make(expected)


def _found(run: Run) -> dict[str, Any]:
    return {
        "tries": run.tries,
        "calls": len(run.calls),
        "result": _result_of(run.result),
        "value": run.value,
        "from_call": run.origin,
        "elapsed": [run.elapsed],
        "waits": run.waits,
        "calls_at": run.calls_at,
        "events": run.event_names,
        "leftovers": list(run.leftovers),
    }


class _Times:
    """Instants or durations, equal to others up to the rounding of float addition."""

    def __init__(self, times: Sequence[float]) -> None:
        self._times = list(times)

    def __eq__(self, other: object) -> bool:
        found = cast("list[float]", other)
        return len(found) == len(self._times) and all(
            math.isclose(a, b, abs_tol=1e-9) for a, b in zip(self._times, found, strict=True)
        )

    def __repr__(self) -> str:
        return repr(self._times)

    __hash__ = None  # type: ignore[assignment]


def _result_of(result: Result) -> str:
    match result:
        case Returned():
            return "returned"
        case Raised(error):
            return class_name(type(error))
        case Cancelled():
            return "cancelled"
        case _:
            assert_never(result)


def _story(run: Run) -> object:
    return (
        [(type(event).__name__, round(event.at, 6)) for event in run.events],
        [(call.target, round(call.started, 6)) for call in run.calls],
        _result_of(run.result),
    )


def _label(run: Run) -> str:
    return f"{run.backend}, {run.way}"


def _report(run: Run, wrong: Sequence[str]) -> str:
    return f"{_label(run)}: {'; '.join(wrong)}\n{run}"
