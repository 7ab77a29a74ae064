"""Circuit breakers: who is let in, what is learned, and when it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient._breaker_part import CircuitBreakerPart
from resilient._core.breaker import TRANSITIONS
from resilient._core.functions import function_name
from resilient.errors import CircuitOpen
from resilient.testing._invariants._common import CLOSE, Broken, Found, called, kind, s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resilient._core.events import CallRejected
    from resilient.testing._anatomy import Guarded, Spot
    from resilient.testing._book import Admission, Moved, NotingCircuit, Standing
    from resilient.testing._record import TargetCall
    from resilient.testing._run import Run


def no_call_while_open(run: Run) -> Found:
    """An open circuit lets nobody in before its time, and a half-open one no more than probes."""
    for circuit in run.details.circuits:
        mine = [one for one in run.admissions if one.circuit is circuit]
        for admission in mine:
            if admission.state in {"open", "isolated"}:
                yield Broken(
                    f'"{circuit.name}" is {admission.state}: nobody is let in',
                    f"a call was let in at {s(admission.granted)}",
                )
        yield from _too_many_probes(circuit, mine)
        yield from _due_too_early(circuit)
    yield from _without_admission(run)


def _too_many_probes(circuit: NotingCircuit, admissions: list[Admission]) -> Found:
    policy = circuit.policy
    probes = [one for one in admissions if one.state == "half_open"]
    for place, probe in enumerate(probes):
        before = [one for one in probes[:place] if one.period == probe.period]
        taken = sum(_keeps_place(one, probe, policy.probe_timeout) for one in before)
        if taken >= policy.probes:
            yield Broken(
                f'"{circuit.name}" is half open: at most {policy.probes} probes',
                f"one more was let in at {s(probe.granted)}",
            )


def _keeps_place(other: Admission, probe: Admission, timeout: float) -> bool:
    if other.settled_order is None or other.settled_order > probe.order:
        return other.granted + timeout > probe.granted
    return other.verdict != "neutral" and not other.stale


def _due_too_early(circuit: NotingCircuit) -> Found:
    opened: Moved | None = None
    for move in circuit.moves:
        if move.change.to_state == "open":
            opened = move
        elif move.change.reason == "due" and opened is not None:
            until = opened.at + (opened.change.open_for or 0.0)
            if move.at < until - CLOSE:
                due = f"it was half open at {s(move.at)}"
                yield Broken(f'"{circuit.name}" is open until {s(until)}', due)


def _without_admission(run: Run) -> Found:
    if run.details.real or run.details.anatomy is None:
        return
    for call in run.calls:
        for number, part, name in _guards_of(run, call):
            if part.options is not None and part.options.policy.mode == "observe":
                continue
            mine = [one for one in run.admissions if one.call == number and one.breaker == name]
            if not any(_covers(one, call) for one in mine):
                yield Broken(
                    f'every call is let in by "{name}"', f"nobody was asked for the call: {call}"
                )


def _covers(admission: Admission, call: TargetCall) -> bool:
    settled = admission.settled_order
    return admission.order < call.order and (settled is None or settled > call.order)


def _guards_of(run: Run, call: TargetCall) -> Iterator[tuple[int, CircuitBreakerPart, str]]:
    """Go through the breakers around a call, each with the number of the guarded call it is in."""
    if run.details.anatomy is None:
        return
    path = run.details.anatomy.leads_to(call.index)
    numbers = _numbers(run, call, path)
    for (node, spot), number in zip(path, numbers, strict=False):
        for part in node.around("circuit_breaker", spot.place):
            policy = part.policy
            if isinstance(policy, CircuitBreakerPart):
                yield number, policy, policy.name or function_name(node.spots[0].fn)


def _numbers(run: Run, call: TargetCall, path: list[tuple[Guarded, Spot]]) -> list[int]:
    numbers: list[int] = []
    number = call.within
    while number is not None:
        numbers.append(number)
        number = run.details.guarded[number - 1].parent
    return numbers[::-1][-len(path) :]


def transitions_lawful(run: Run) -> Found:
    """A circuit only goes from one state to another as its table of transitions says."""
    for circuit in run.details.circuits:
        state = "closed"
        for move in circuit.moves:
            change = move.change
            lawful = TRANSITIONS.get((change.from_state, change.reason)) == change.to_state
            if change.from_state != state or not lawful:
                yield Broken(
                    f'"{circuit.name}" is {state}, and goes where the table says',
                    f"{change.reason}: from {change.from_state} to {change.to_state}",
                )
            state = change.to_state


def stale_ignored(run: Run) -> Found:
    """A result that comes when its period is over changes nothing."""
    for one in run.admissions:
        if one.stale and one.before != one.after:
            yield Broken(
                f'a {one.verdict} of an earlier period changes nothing of "{one.breaker}"',
                f"it was {_standing(one.before)} and became {_standing(one.after)}",
            )


def neutral_teaches_nothing(run: Run) -> Found:
    """A call that was cancelled, or says nothing of the service, gives its permit back unused."""
    for one in run.admissions:
        if one.expected is not None and one.settled and one.verdict != one.expected:
            yield Broken(
                f'"{one.breaker}" learns a {one.expected} from what came of the call',
                f"it was told of a {one.verdict}",
            )
        if one.verdict != "neutral" or one.stale or one.before is None or one.after is None:
            continue
        state, figures, probes, *_ = one.before
        expected = probes - (one.state == "half_open")
        if (state, figures, *one.before[3:5]) != (one.after[0], one.after[1], *one.after[3:5]):
            yield Broken(
                f'nothing learned by "{one.breaker}" from a neutral end',
                f"it was {_standing(one.before)} and became {_standing(one.after)}",
            )
        elif one.after[2] != expected:
            yield Broken(
                f'the place of a probe given back to "{one.breaker}"',
                f"{one.after[2]} places taken, not {expected}",
            )


def permits_balanced(run: Run) -> Found:
    """Each permit is settled exactly once, whatever becomes of its call."""
    for one in run.admissions:
        if one.settled != 1:
            often = "never" if one.settled == 0 else f"{one.settled} times"
            yield Broken(
                f'a permit of "{one.breaker}" is settled once',
                f"that of {s(one.granted)} was settled {often}",
            )


def probes_decide(run: Run) -> Found:
    """A half-open circuit closes at the last success it needs, and opens when that is lost."""
    for one in run.admissions:
        if one.stale or one.before is None or one.after is None or one.before[0] != "half_open":
            continue
        policy = one.circuit.policy
        succeeded, failed = one.before[3], one.before[4]
        took = (one.settled_at or one.granted) - one.granted
        state = one.after[0]
        good = one.verdict == "success" and took < policy.trip.slow_call
        if good and succeeded + 1 >= policy.successes and state != "closed":
            yield Broken(f'"{one.breaker}" closed by its last probe', f"it is {state}")
        lost = failed + 1 > policy.probes - policy.successes
        if one.verdict == "failure" and lost and state != "open":
            yield Broken(f'"{one.breaker}" opened by a failed probe', f"it is {state}")
        if state == "closed" and one.after[1].calls:
            yield Broken(
                f'"{one.breaker}" closed with empty evidence', f"it remembers {one.after[1]}"
            )


def retry_after_true(run: Run) -> Found:
    """`retry_after` of a refusal is when the next call is let in, to the instant."""
    for story in called(run):
        for noted, event in story.rejected:
            error = event.error
            if not isinstance(error, CircuitOpen):
                continue
            circuits = [one for one in run.details.circuits if one.name == event.name]
            if len(circuits) == 1:
                yield from _when(circuits[0], noted.order, event)


def _when(circuit: NotingCircuit, order: int, event: CallRejected) -> Found:
    moves = [move for move in circuit.moves if move.order < order]
    last = moves[-1] if moves else None
    state = "closed" if last is None else last.change.to_state
    told = event.retry_after
    if state in {"closed", "disabled"}:
        yield Broken(f'"{circuit.name}" is {state}: everybody is let in', f"{kind(event.error)}")
    elif state != "isolated" and (told is None or told < 0):
        yield Broken("a `retry_after` of 0 s or more", f"it is {told}")
    elif state == "open" and last is not None and told is not None:
        left = last.at + (last.change.open_for or 0.0) - event.at
        if left <= 0:
            since = s(event.at + left)
            yield Broken(f'a call let in by "{circuit.name}" from {since} on', "it was refused")
        elif abs(told - left) > CLOSE:
            yield Broken(f"`retry_after` of {s(left)}", f"it is {s(told)}")


def _standing(standing: Standing | None) -> str:
    if standing is None:
        return "unknown"
    state, figures, probes, succeeded, failed, _ = standing
    told = f"{state}, {figures.calls} calls, {figures.failures} failures"
    return f"{told}, {probes} probes, {succeeded} succeeded, {failed} failed"
