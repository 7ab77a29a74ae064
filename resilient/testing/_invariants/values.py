"""Values and errors: what comes out is what a target gave, and nothing of it is lost."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from resilient._core.events import Degraded, TimeoutFired
from resilient._runtime.linked import linked
from resilient._value import Value, value
from resilient.errors import (
    AllTargetsFailed,
    Rejected,
    ResilientError,
    Skipped,
    TimedOut,
    Unacceptable,
)
from resilient.testing._invariants._common import (
    Broken,
    Found,
    calls_of,
    is_cancellation,
    kind,
    over_at,
    stories_of,
)
from resilient.testing._record import Cancelled, Raised, Returned
from resilient.testing._steps import Fail

if TYPE_CHECKING:
    from resilient.testing._anatomy import Choice, Guarded
    from resilient.testing._record import TargetCall
    from resilient.testing._run import CallerRun, Run


FIXED = value(0).describe()


def nothing_swallowed(run: Run) -> Found:
    """The result is that of the last call: its very value, or its very error."""
    for caller in run.callers:
        calls, result = calls_of(run, caller), caller.result
        last = calls[-1] if calls else None
        if run.details.anatomy is None:
            yield from _of_plain(run, calls, result)
        elif last is None or _opaque(run):
            continue
        elif isinstance(result, Returned) and caller.items is None:
            mine = any(call.value is result.value and call.error is None for call in calls)
            if mine and (last.error is not None or last.value is not result.value):
                yield Broken(f"the value of the last call, {last}", "the value of an earlier one")
        elif isinstance(result, Raised):
            yield from _lost(run, caller, calls, result.error)


def _of_plain(run: Run, calls: list[TargetCall], result: object) -> Found:
    """Ask of a function that nobody guards what became of the failure of its last call."""
    error = calls[-1].error if calls else None
    if not isinstance(error, Exception) or run.events:
        return
    if isinstance(result, Returned):
        came = "it returned None" if result.value is None else "it returned a value"
        yield Broken(f"an error, as the last call failed with {kind(error)}", came)
    elif isinstance(result, Raised) and not any(
        one is call.error
        for one in linked(result.error)
        for call in calls
        # Of calls that go on at one time the first that fails may be what is told.
        if call.error is error or over_at(call) >= calls[-1].started
    ):
        yield Broken(
            f"the {kind(error)} of the last call, or an error raised from it",
            f"it raised {kind(result.error)}, which says nothing of it",
        )


def _lost(run: Run, caller: CallerRun, calls: list[TargetCall], error: BaseException) -> Found:
    last = calls[-1].error
    real = [call.error for call in calls if _is_real(call.error)]
    first_may = any(chain.policy.raises == "first" for chain in _chains(run))
    if any(call.error is error for call in calls):
        # A refusal or a bad result behind the last real error does not take its place.
        if error is not last and error not in real[-1:] and not first_may:
            yield Broken(f"the error of the last call, {kind(last)}", "that of an earlier call")
    elif isinstance(error, Rejected):
        roots = [one for one in stories_of(run, caller) if one.call.parent is None]
        failed = isinstance(last, Exception) or any(one.fired for one in roots)
        retried = any(one.scheduled for one in roots)
        if failed and retried and not _chains(run):
            yield Broken(f"the last real error, {kind(last)}", f"{kind(error)} has taken its place")
    elif isinstance(error, AllTargetsFailed) and run.details.anatomy is not None:
        chains = [len(chain.branches) for chain in _chains(run)]
        if len(error.exceptions) not in chains:
            yield Broken(
                f"an error for each of {' or '.join(map(str, chains))} targets",
                f"{len(error.exceptions)} of them",
            )


def _is_real(error: BaseException | None) -> bool:
    return isinstance(error, Exception) and not isinstance(error, Rejected)


def nothing_invented(run: Run) -> Found:
    """Every value and every foreign error comes from a call of that caller, or was declared."""
    handed: dict[int, int] = {}
    for caller in run.callers:
        calls, result = calls_of(run, caller), caller.result
        if isinstance(result, Cancelled):
            if caller.cancelled_order is None and not any(map(_raises_cancellation, calls)):
                yield Broken("no cancellation: nobody asked for one", "the call was cancelled")
        elif isinstance(result, Raised):
            yield from _unknown_error(run, caller, calls, result.error)
        elif run.details.anatomy is not None and not _opaque(run) and caller.items is None:
            yield from _unknown_value(run, caller, calls, result.value)
            yield from _handed_twice(result.value, calls, caller.number, handed)


def _raises_cancellation(call: TargetCall) -> bool:
    return isinstance(call.step, Fail) and is_cancellation(call.error)


def _unknown_error(
    run: Run, caller: CallerRun, calls: list[TargetCall], error: BaseException
) -> Found:
    if any(call.error is one for one in linked(error) for call in calls):
        return
    if any(call.error is error for call in run.calls):
        yield Broken("an error of this caller's own calls", f"{kind(error)} of another caller's")
    elif isinstance(error, ResilientError):
        yield from _unfounded(run, caller, error)
    elif isinstance(error, Exception) and _may_be_its_own(run, error):
        return
    else:
        text = f": {error}" if str(error) else ""
        yield Broken("an error that a call has raised", f"{kind(error)} came from elsewhere{text}")


def _may_be_its_own(run: Run, error: Exception) -> bool:
    """Tell whether a function or a middleware of the user's may have raised it on purpose."""
    bug = isinstance(error, TypeError | AttributeError | NameError | AssertionError | LookupError)
    return _opaque(run) and not bug


def _unfounded(run: Run, caller: CallerRun, error: ResilientError) -> Found:
    stories = stories_of(run, caller)
    if isinstance(error, TimedOut):
        grounds = any(isinstance(n.event, TimeoutFired) for one in stories for n in one.noted)
    elif isinstance(error, Skipped):
        grounds = any(one.skipped for one in stories)
    elif isinstance(error, Rejected):
        grounds = any(event.error is error for one in stories for _, event in one.rejected)
    elif isinstance(error, Unacceptable):
        calls = calls_of(run, caller)
        grounds = any(one is error.result for call in calls for one in (call.value, *_first(call)))
    elif isinstance(error, AllTargetsFailed):
        grounds = True
        for member in error.exceptions:
            yield from _unknown_error(run, caller, calls_of(run, caller), member)
    else:
        grounds = True
    if not grounds:
        yield Broken(f"no {kind(error)}: nothing of the kind has happened", "it was raised")


def _first(call: TargetCall) -> list[Any]:
    """Return the first item of a stream: what `on_result` judges."""
    return (call.items or [])[:1]


def _unknown_value(
    run: Run,
    caller: CallerRun,
    calls: list[TargetCall],
    value: Any,  # noqa: ANN401
) -> Found:
    if inspect.isawaitable(value):
        yield Broken("a value", "something that nobody has awaited")
    elif any(call.value is value and call.error is None for call in calls):
        return
    elif any(call.value is value and call.caller != caller.number for call in run.calls):
        if not _is_kept(run):
            yield Broken("a value of this caller's own calls", "that of another caller's")
    elif not _degraded(run, caller):
        yield Broken("a value that a call has returned", f"{_shown(value)} came from elsewhere")
    elif not any(_is_declared(chain.policy.degrade, value) for chain in _chains(run)):
        yield Broken("the last resort that was declared", f"{_shown(value)} came instead")


def _degraded(run: Run, caller: CallerRun) -> bool:
    mine = (noted for story in stories_of(run, caller) for noted in story.noted)
    return any(isinstance(noted.event, Degraded) for noted in mine)


def _is_declared(degrade: Any, value: Any) -> bool:  # noqa: ANN401
    if not isinstance(degrade, Value) or degrade.describe() != FIXED:
        return degrade is not None
    try:
        return bool(degrade.produce() == value)
    except Exception:  # noqa: BLE001 - what cannot be compared cannot be judged
        return True


def _handed_twice(
    value: Any,  # noqa: ANN401
    calls: list[TargetCall],
    caller: int,
    handed: dict[int, int],
) -> Found:
    """Look for a mutable last resort that two callers have got: what one does, the other sees."""
    if any(call.value is value for call in calls) or type(value) not in {list, dict, set}:
        return
    other = handed.setdefault(id(value), caller)
    if other != caller:
        yield Broken("a last resort of its own for each caller", "two callers share one object")


def _is_kept(run: Run) -> bool:
    """Tell whether an answer may be that of another call: `last_good`."""
    degrades = [chain.policy.degrade for chain in _chains(run)]
    return any(one is not None and not isinstance(one, Value) for one in degrades)


def _opaque(run: Run) -> bool:
    """Tell whether something stands between calls and result that may change them."""
    return run.details.real or any(one.around("middleware") for one in _nodes(run))


def _nodes(run: Run) -> list[Guarded]:
    return [] if run.details.anatomy is None else run.details.anatomy.everything


def _chains(run: Run) -> list[Choice]:
    return [chain for one in _nodes(run) for chain in one.choices]


def _shown(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 40 else type(value).__qualname__  # noqa: PLR2004 - enough to know it
