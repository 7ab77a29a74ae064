"""Streams: which items come out, from where, and that an end is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient._core.outcome import Restarted
from resilient.testing._invariants._common import Broken, Found, calls_of, kind, stories_of
from resilient.testing._record import Returned

if TYPE_CHECKING:
    from resilient.testing._record import TargetCall
    from resilient.testing._run import CallerRun, Run


@dataclass(slots=True)
class Stretch:
    """Items that came one after another, up to a `Restarted`; `order` is that of the first."""

    items: list[Any] = field(default_factory=list[Any])
    order: int = 0


def stream_prefix(run: Run) -> Found:
    """Items are those of one call, from its first on; what was cut is an error, and no replay."""
    for caller in run.callers:
        calls = calls_of(run, caller)
        yield from _short(run, caller, calls)
        if caller.items is None or run.details.real or run.details.anatomy is None:
            continue
        stretches = _stretches(caller)
        if len(stretches) > 1 and not _restarts(run):
            yield Broken("no `Restarted`: midstream= does not ask for one", "there was one")
        for stretch in stretches:
            if stretch.items:
                yield from _of_one_call(run, caller, calls, stretch)


def _short(run: Run, caller: CallerRun, calls: list[TargetCall]) -> Found:
    """Look for a stream that failed, and ended for its consumer as if it had not."""
    last = calls[-1] if calls else None
    if last is None or not isinstance(caller.result, Returned) or caller.closed:
        return
    if last.items is None or _degraded(run, caller):
        return
    guarded = run.details.anatomy is not None and not run.details.real
    if last.cut:
        yield Broken("an error, as the stream was cut before its end", _success(caller))
    elif guarded and last.error is not None:
        yield Broken(f"an error, as the stream ended with {kind(last.error)}", _success(caller))
    elif guarded and caller.items is not None and last.items:
        given = len(_stretches(caller)[-1].items)
        if given < len(last.items):
            yield Broken(f"all {len(last.items)} items, or an error", f"{given}, and a good end")


def _success(caller: CallerRun) -> str:
    given = "" if caller.items is None else f" after {len(caller.items)} items"
    return f"it ended well{given}"


def _of_one_call(run: Run, caller: CallerRun, calls: list[TargetCall], stretch: Stretch) -> Found:
    owner = _owner(calls, stretch)
    if owner is None:
        if not _degraded(run, caller):
            yield Broken(
                "items of one call, in their order, from its first on",
                f"{len(stretch.items)} items that no call has given so",
            )
        return
    may_restart = _restarts(run)
    for call in calls:
        if call.order > stretch.order and (call.index == owner.index or not may_restart):
            yield Broken(
                f"nothing is called again when an item of call {owner.number} was delivered",
                f"{call}",
            )
            return


def _owner(calls: list[TargetCall], stretch: Stretch) -> TargetCall | None:
    """Return the call that was giving items when the first of these came, if they are its."""
    for call in calls:
        ended = call.ended_order
        if call.order < stretch.order and (ended is None or ended > stretch.order):
            given = (call.items or [])[: len(stretch.items)]
            same = all(one is other for one, other in zip(given, stretch.items, strict=False))
            if same and len(given) == len(stretch.items):
                return call
    return None


def _stretches(caller: CallerRun) -> list[Stretch]:
    found = [Stretch()]
    for item, order in zip(caller.items or (), caller.items_at, strict=True):
        if isinstance(item, Restarted):
            found.append(Stretch())
        else:
            found[-1].order = found[-1].order or order
            found[-1].items.append(item)
    return found


def _restarts(run: Run) -> bool:
    anatomy = run.details.anatomy
    everything = [] if anatomy is None else anatomy.everything
    return any(chain.policy.midstream == "restart" for one in everything for chain in one.choices)


def _degraded(run: Run, caller: CallerRun) -> bool:
    return any(one.degraded for one in stories_of(run, caller))
