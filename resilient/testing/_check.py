"""`check`: ask a run every question, and say what should have been and what was."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from resilient._core.functions import short_name
from resilient._core.options import shown
from resilient.testing._given import function, several
from resilient.testing._invariants import AGAIN, LOCAL
from resilient.testing._shorter import shortest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from resilient.testing._run import Run
    from resilient.testing._schedule import FailureSchedule

I = TypeVar("I", bound="Callable[[Any], Any]")  # noqa: E741 - an invariant


class Finding(NamedTuple):
    """An invariant that a run breaks: its name, what was expected and what happened."""

    invariant: str
    expected: str
    happened: str

    def __str__(self) -> str:
        """Show it on three lines."""
        if not self.expected:
            return f"{self.invariant}\n  happened  {self.happened}"
        return f"{self.invariant}\n  expected  {self.expected}\n  happened  {self.happened}"


class InvariantBroken(AssertionError):
    """A run breaks one or more invariants: `findings` has them, `run` is the run.

    The text says for each what was expected and what happened, which schedule
    shows it, and draws the run.
    """

    findings: tuple[Finding, ...]
    run: Run

    def __init__(
        self, run: Run, findings: Sequence[Finding], better: FailureSchedule | None
    ) -> None:
        super().__init__(_report(run, findings, better))
        self.run = run
        self.findings = tuple(findings)


_registered: dict[str, Callable[[Any], Any]] = {}


def invariant(fn: I, /) -> I:
    """Ask this function of every run that is checked from now on.

    It takes the `Run` and raises an `AssertionError` where something is not as
    it should be. For one check alone, pass it to `check(...)` instead.

    >>> @invariant
    ... def no_call_takes_a_minute(run: Run) -> None:
    ...     assert all(call.ended - call.started < 60 for call in run.calls)
    >>> len(simulate(retry(), "x .").check().calls)
    2
    """
    function(fn, "invariant", "a function of a run")
    _registered[short_name(fn)] = fn
    return fn


def check(
    run: Run,
    extra: Sequence[Callable[[Run], object]],
    only: Iterable[str] | None,
    skip: Iterable[str],
) -> None:
    """Raise `InvariantBroken` if `run` breaks an invariant."""
    wanted = asked(extra, only, skip)
    findings = list(findings_of(run, wanted))
    if not findings:
        return
    names = {finding.invariant for finding in findings}
    better = None if _is_shrinking() else shortest(run, lambda one: _breaks(one, wanted, names))
    raise InvariantBroken(run, findings, better)


def findings_of(
    run: Run, wanted: Iterable[Callable[[Any], Any]] | None = None
) -> Iterator[Finding]:
    """Go through what `run` breaks of the invariants wanted, by default of all."""
    for one in asked((), None, ()) if wanted is None else wanted:
        name = short_name(one)
        try:
            found = one(run)
            for broken in found or ():
                yield Finding(name, broken.expected, broken.happened)
        except AssertionError as error:
            yield Finding(name, "", str(error) or "its assertion fails")


def _breaks(run: Run, wanted: Sequence[Callable[[Any], Any]], names: set[str]) -> bool:
    these = [one for one in wanted if short_name(one) in names]
    return next(iter(findings_of(run, these)), None) is not None


def asked(
    extra: Sequence[Callable[[Run], object]], only: Iterable[str] | None, skip: Iterable[str]
) -> list[Callable[[Any], Any]]:
    """Return the invariants that a check asks."""
    for one in extra:
        function(one, "check", "functions of a run")
    every = {short_name(one): one for one in (*LOCAL, *AGAIN)} | _registered
    mine = {short_name(one): one for one in extra}
    known = every | mine
    wanted = list(every) if only is None else _names(only, "check(only=)", known)
    left_out = set(_names(skip, "check(skip=)", known))
    chosen = [name for name in wanted if name not in left_out]
    chosen += [name for name in mine if name not in chosen and name not in left_out]
    return [known[name] for name in chosen]


def _names(names: Any, option: str, known: Iterable[str]) -> list[str]:  # noqa: ANN401
    if isinstance(names, str):
        names = (names,)
    given = several(names, option, "names of invariants")
    found = [short_name(name) if callable(name) else name for name in given]
    for name in found:
        if name not in known:
            raise ValueError(
                f"{option} has no invariant {shown(name)}; there are {', '.join(known)}"
            )
    return found


def _is_shrinking() -> bool:
    """Tell whether Hypothesis runs this: it finds the shortest schedule itself."""
    hypothesis: Any = sys.modules.get("hypothesis")
    return hypothesis is not None and bool(hypothesis.currently_in_test_context())


def _report(run: Run, findings: Sequence[Finding], better: FailureSchedule | None) -> str:
    lines = [str(finding) for finding in findings]
    lines += ["", f"schedule  {run.schedule!r} on {run.backend}"]
    if better is not None and better != run.schedule:
        lines.append(f"shortest  {better!r}")
    return "\n".join(["", *lines, run.waterfall()])
