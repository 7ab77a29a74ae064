"""Bounds: what `explain` promises is the most that happens."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from resilient._core.events import BudgetRefused
from resilient.testing._invariants._common import (
    CLOSE,
    Broken,
    Found,
    attempts_at_most,
    calls_of,
    instants,
    known,
    may_delay,
    over_at,
    s,
    stubborn_seconds,
)

if TYPE_CHECKING:
    from resilient.testing._book import BudgetMove
    from resilient.testing._run import Run
    from resilient.testing._story import Story


def attempts_bounded(run: Run) -> Found:
    """No caller causes more calls than the policies allow."""
    bound = run.bound
    if bound is not None and not run.details.real:
        for caller in run.callers:
            calls = calls_of(run, caller)
            if len(calls) > bound.calls:
                yield Broken(
                    f"at most {bound.calls:.0f} calls for a caller",
                    f"{len(calls)} calls, at {instants(calls)}",
                )
    for story, node in known(run):
        most = attempts_at_most(node.tree)
        if len(story.attempts) > most:
            yield Broken(
                f"at most {most:.0f} attempts in a call of {story.name}",
                f"{len(story.attempts)} attempts",
            )


def time_bounded(run: Run) -> Found:
    """No caller waits longer than the policies allow, apart from what outlasts every limit."""
    bound = run.bound
    if bound is None or bound.seconds == inf:
        return
    for caller in run.callers:
        most = bound.seconds + stubborn_seconds(calls_of(run, caller))
        if caller.items and caller.number == 0:
            # The time may be up while the consumer has an item: it hears of it behind that.
            most += run.schedule.pause
        elapsed = caller.elapsed
        if may_delay(run):  # of that only what is inside may not go on
            ended = map(over_at, calls_of(run, caller))
            elapsed = min(elapsed, max(ended, default=0) - caller.started)
        if elapsed > most + CLOSE:
            yield Broken(f"over after {s(most)} at the latest", f"it took {s(elapsed)}")


def budget_respected(run: Run) -> Found:
    """Retries stay within their budget: a token is taken for each, and before its wait."""
    names = {move.name for move in run.details.budgets}
    for name in sorted(names):
        yield from _window(name, [move for move in run.details.budgets if move.name == name])
    for story, node in known(run):
        retries = node.around("retry")
        if names and len(retries) == 1 and getattr(retries[0].policy, "budget", None) is not None:
            yield from _tokens(run, story)


def _window(name: str, moves: list[BudgetMove]) -> Found:
    for move in moves:
        if move.what != "withdraw" or not move.granted:
            continue
        before = [one for one in moves if one.order <= move.order and one.at >= move.at - move.ttl]
        first = sum(one.what == "deposit" for one in before)
        taken = [one for one in before if one.what == "withdraw" and one.granted]
        replays = sum(one.at > move.at - move.ttl for one in taken)
        most = move.reserve + move.ratio * first
        if replays > most + CLOSE:
            yield Broken(
                f'at most {most:.6g} retries of budget "{name}" in the {s(move.ttl)} before'
                f" {s(move.at)} ({first} first calls)",
                f"{replays} retries",
            )


def _tokens(run: Run, story: Story) -> Found:
    mine = [move for move in run.details.budgets if move.call == story.call.number]
    taken = [move for move in mine if move.what == "withdraw" and move.granted]
    for place, (noted, event) in enumerate(story.scheduled):
        move = taken[place] if place < len(taken) else None
        if move is None or move.order > noted.order or move.at < event.at - CLOSE:
            yield Broken(
                f"a token of the budget taken at {s(event.at)}, before the wait of {s(event.wait)}",
                "none was taken" if move is None else f"it was taken at {s(move.at)}",
            )
            return
    if len(taken) > len(story.scheduled):
        yield Broken(
            "one token for each retry", f"{len(taken)} tokens for {len(story.scheduled)} retries"
        )
    for noted in story.events(BudgetRefused):
        before = [one for one in story.attempts if one.order < noted.order]
        end = before[-1].end if before else None
        if end is not None and noted.event.at > end.ended + CLOSE:
            yield Broken(
                f"a budget without a token refuses at once, at {s(end.ended)}",
                f"it refused at {s(noted.event.at)}",
            )
