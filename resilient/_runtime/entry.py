"""Where a guarded call begins and ends.

One coroutine for each call: it looks up the loop's runtime, makes the `Call`,
and sets it as the current one while the policies run. On a clean call that
nobody listens to, this is all there is around them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from resilient._core.outcome import Outcome
from resilient._runtime.call import Call, current
from resilient._runtime.pause import check_cancelled
from resilient.errors import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextvars import Token

    from resilient._runtime.attempt import Layer
    from resilient._runtime.plan import Plan


def entry(plan: Plan, run: Layer) -> Callable[..., Awaitable[Any]]:
    """Return the coroutine function that makes a call of `plan`."""

    async def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        call = Call(plan)
        token = current.set(call)
        try:
            if call.loud:
                return await _watched(call, run, args, kwargs)
            return await run(call, args, kwargs)
        except BaseException as error:
            # What a circuit refuses is told once, when it opens: a refusal stays cheap.
            if not call.loud and isinstance(error, Exception) and not is_refusal(call, error):
                call.end(error)
            # A task keeps the error it ends with, and that keeps this frame.
            call.task = None
            raise
        finally:
            try:  # noqa: SIM105 - `suppress` costs more than the rest of this frame
                current.reset(token)
            except ValueError:
                pass  # closed by the garbage collector, in another context

    return guarded


def is_refusal(call: Call, error: Exception) -> bool:
    """Tell whether a circuit has refused the whole call."""
    return not call.attempt and isinstance(error, CircuitOpen)


def leave(token: Token[Call | None]) -> None:
    """Make the caller's call the current one again."""
    with contextlib.suppress(ValueError):  # as in `guarded`
        current.reset(token)


async def run_for_outcome(
    plan: Plan, run: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Outcome[Any]:
    """Make a call of `plan` and return its value together with how it came about."""
    call = Call(plan)
    call.loud = call.loud or True
    token = current.set(call)
    try:
        # Who is cancelled already asks nobody. A plain call leaves that to the
        # first await of its target: there, a look would cost more than the rest.
        await check_cancelled(call)
        value = await _watched(call, run, args, kwargs)
    except BaseException:
        call.task = None  # as in `guarded`
        raise
    finally:
        leave(token)
    return outcome_of(call, value)


def outcome_of(call: Call, value: Any) -> Outcome[Any]:  # noqa: ANN401 - what the user's function returned
    """Return how `call`, which is over and has not failed, came about."""
    return Outcome(
        value=value,
        target=None if call.answered_by is None else call.target,
        fallback_used=bool(call.answered_by),
        degraded=call.degraded,
        attempts=tuple(call.history or ()),
        skipped=call.skipped,
        elapsed=call.runtime.clock() - call.started,
        age=call.age if call.degraded else None,
    )


async def _watched(call: Call, run: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    call.start()
    try:
        value = await run(call, args, kwargs)
    except BaseException as error:
        call.end(error)
        raise
    call.end(None)
    return value
