"""What the invariants share: how they say what is broken, and what is known of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from resilient.testing._anatomy import Around, Choice, Spot
from resilient.testing._steps import Stubborn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient._policies import Policy
    from resilient.testing._anatomy import Guarded, Tree
    from resilient.testing._record import TargetCall
    from resilient.testing._run import CallerRun, Run
    from resilient.testing._story import Story

CLOSE: Final = 1e-6
"""Seconds by which sums of floats that mean the same instant may differ."""

KNOWN: Final = {"retry", "timeout", "circuit_breaker"}
"""Policies of which everything is known that they do with a call."""


class Broken(NamedTuple):
    """How a run breaks an invariant: what should have been, and what was."""

    expected: str
    happened: str


Found = Iterator[Broken]
Invariant = Callable[["Run"], Iterable[Broken] | None]
"""A function that asks a run one question: it yields what is broken, or raises `AssertionError`."""


def s(seconds: float) -> str:
    """Show seconds."""
    return f"{seconds:.6g} s"


def instants(calls: Sequence[TargetCall]) -> str:
    """Show when calls were made."""
    shown = ", ".join(f"{call.started:.6g}" for call in calls[:8])
    return f"{shown}{', ...' if len(calls) > 8 else ''} s"  # noqa: PLR2004 - enough to see a pattern


def kind(error: BaseException | None) -> str:
    """Name an error by its class."""
    return "no error" if error is None else type(error).__qualname__


def calls_of(run: Run, caller: CallerRun) -> list[TargetCall]:
    """Return the calls that were made for one caller, in order."""
    return [call for call in run.calls if call.caller == caller.number]


def stories_of(run: Run, caller: CallerRun) -> list[Story]:
    """Return the guarded calls of one caller."""
    return [story for story in run.details.stories.values() if story.call.caller == caller.number]


def called(run: Run) -> list[Story]:
    """Return the guarded calls; a breaker that was worked by hand is none."""
    return [story for story in run.details.stories.values() if story.is_call]


def known(run: Run) -> Iterator[tuple[Story, Guarded]]:
    """Go through the guarded calls whose policies are known."""
    for story in called(run):
        node = run.details.node_of(story)
        if node is not None:
            yield story, node


def attempts_at_most(tree: Tree) -> float:
    """Return the most attempts that one pass through a part of a pipeline makes."""
    if isinstance(tree, Spot):
        return 1
    if isinstance(tree, Around):
        times: float = getattr(tree.policy, "times", 1)
        return times * attempts_at_most(tree.inner)
    return sum(attempts_at_most(branch) for branch in tree.branches)


def policies_in(node: Guarded) -> list[Policy]:
    """Return all policies of one pipeline, in whatever branch."""
    return [part.policy for part in parts(node.tree) if isinstance(part, Around)]


def parts(tree: Tree) -> Iterator[Tree]:
    """Go through a part of a pipeline and all that stands inside of it."""
    yield tree
    if isinstance(tree, Around):
        yield from parts(tree.inner)
    elif isinstance(tree, Choice):
        for branch in tree.branches:
            yield from parts(branch)


def is_plain(node: Guarded) -> bool:
    """Tell whether all policies, also of guarded targets, are those whose doings are known."""
    return all(part.kind in KNOWN for one in node.everything for part in policies_in(one))


def its_own(run: Run) -> bool:
    """Tell whether code of the user's runs around the calls: a body, or no policy at all."""
    return run.details.anatomy is None or run.details.real


def may_delay(run: Run) -> bool:
    """Tell whether a middleware is part of it: it may clean up, and delay what has to happen."""
    node = run.details.anatomy
    return node is not None and any(one.around("middleware") for one in node.everything)


def over_at(call: TargetCall) -> float:
    """Return when a call was over: `inf` if it never was."""
    return inf if call.ended is None else call.ended


def stubborn_seconds(calls: Sequence[TargetCall]) -> float:
    """Return for how long calls ran that let no cancellation through."""
    return sum(
        (call.ended or call.started) - call.started
        for call in calls
        if isinstance(call.step, Stubborn)
    )


def is_cancellation(error: BaseException | None) -> bool:
    """Tell the cancellations of asyncio and of trio."""
    return type(error).__name__ in {"CancelledError", "Cancelled"}


def asked_before(caller: CallerRun, order: int | None) -> bool:
    """Tell whether a caller was cancelled before the place `order` in the order of things."""
    cancelled = caller.cancelled_order
    return cancelled is not None and (order is None or cancelled < order)
