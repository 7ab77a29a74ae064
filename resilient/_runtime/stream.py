"""Where a guarded stream begins and ends.

The compiled call of an async generator function is one as well, so everything
that Python knows of async generators holds for it: what `inspect` says, that
it cannot run twice at a time, and the hooks that close it when it is dropped.

It runs the policies over the opening, and then passes items through. Two
rules hold for every item. The call is the current one while the source works
and never while the consumer does. And nothing is held across the `yield`: no
context, no scope, no limit, no task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient._runtime.call import Call, current
from resilient._runtime.entry import is_refusal, leave, outcome_of
from resilient._runtime.pause import check_cancelled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from resilient._core.outcome import Outcome, Verdict
    from resilient._runtime.attempt import Layer
    from resilient._runtime.opened import Opened, Source
    from resilient._runtime.plan import Plan


def stream_entry(
    plan: Plan, run: Layer, told: Callable[[Outcome[None]], None] | None = None
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return the async generator function that makes a call of `plan`.

    `told` is given the outcome of a stream that has not failed.
    """

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = Call(plan)
        call.items = 0
        if told is not None:
            call.loud = call.loud or True
        opened = await _opened(call, run, args, kwargs, for_outcome=told is not None)
        source, item, loud = opened.source, opened.first, call.loud
        opened.first = None  # an item is kept no longer than the consumer has it
        thrown: BaseException | None = None
        try:
            if opened.exhausted:
                raise StopAsyncIteration  # noqa: TRY301 - it ends like any other
            while True:
                call.items += 1
                try:
                    sent = yield item
                except BaseException as error:
                    thrown, sent = error, None
                item = None  # nor is it kept while the next one is made
                if thrown is not None:
                    item = await _throw(call, source, thrown)
                    thrown = None
                    continue
                call.parent = current.get()
                token = current.set(call)
                detach = None
                try:
                    if loud and call.enter_item is not None:
                        detach = call.enter_item()
                    item = await (source.__anext__() if sent is None else source.asend(sent))
                finally:
                    if detach is not None:
                        detach()
                    try:  # noqa: SIM105 - as in `entry`
                        current.reset(token)
                    except ValueError:
                        pass
        except StopAsyncIteration:
            if isinstance(thrown, GeneratorExit):  # the source took it for its end
                _end(call, opened, "neutral", thrown)
            else:
                _end(call, opened, "success", None)
            if told is not None:
                told(outcome_of(call, None))
        except BaseException as error:
            if not isinstance(error, Exception):
                _end(call, opened, "neutral", error)
            elif _comes_from(error, thrown):
                _end(call, opened, "neutral", GeneratorExit())
            else:
                call.cut(error)
                _end(call, opened, "failure", error)
            if told is not None and type(error) is GeneratorExit:
                told(outcome_of(call, None))
            raise
        finally:
            thrown = None  # its traceback holds this frame

    return guarded


async def _opened(
    call: Call, run: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, for_outcome: bool
) -> Opened:
    token = current.set(call)
    try:
        if call.loud:
            call.start()
        if for_outcome:
            await check_cancelled(call)  # as in `run_for_outcome`
        opened = await _through(call, run, args, kwargs)
    except BaseException as error:
        # As in `entry`: what a circuit refuses is told where somebody listens.
        if call.loud or (isinstance(error, Exception) and not is_refusal(call, error)):
            call.end(error)
        raise
    finally:
        # Between two items the consumer's task is none of our business, and to
        # keep it would be a cycle once it has ended with an error.
        call.task = None
        leave(token)
    if not opened.exhausted:
        call.commit()
    return opened


async def _through(
    call: Call, run: Layer, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Opened:
    """Run the policies over the opening; what one opened and another did not take is closed."""
    try:
        opened: Opened = await run(call, args, kwargs)
    except BaseException:
        await close_open(call)
        raise
    call.opened = None
    return opened


async def _throw(call: Call, source: Source, thrown: BaseException) -> Any:  # noqa: ANN401
    """Throw into the source what the consumer threw, or that it has closed the stream."""
    if isinstance(thrown, GeneratorExit):
        # Nothing is made current: this may be any task, in any context, at any time.
        try:
            return await source.athrow(thrown)
        finally:
            del thrown  # its traceback holds this frame
    call.parent = current.get()
    token = current.set(call)
    detach = None
    try:
        if call.enter_item is not None:
            detach = call.enter_item()
        return await source.athrow(thrown)
    finally:
        if detach is not None:
            detach()
        leave(token)
        del thrown  # as above


async def close_open(call: Call) -> None:
    """Close the stream that was opened in `call` and is nobody's."""
    opened, call.opened = call.opened, None
    if opened is not None:
        await opened.aclose()


def _comes_from(error: Exception, thrown: BaseException | None) -> bool:
    """Tell whether the source let pass what the consumer threw in."""
    # Python turns these two into a RuntimeError on their way out of a generator.
    ends = isinstance(thrown, StopIteration | StopAsyncIteration)
    return error is thrown or (ends and error.__cause__ is thrown)


def _end(call: Call, opened: Opened, verdict: Verdict, error: BaseException | None) -> None:
    """Tell everybody, once, that the stream is over; on a clean end nobody may listen."""
    if call.loud and call.is_open:
        call.leave()
    failed = error if isinstance(error, Exception) else None
    broken = opened.ends.settle(verdict, failed)
    failed = broken or failed
    if failed is not None and call.plan.retries and call.is_open:
        call.retry_result = "not_retryable"  # what was delivered in part is not asked for again
    if call.loud or failed is not None:
        call.end(broken or error)
    if broken is not None:
        try:
            raise broken
        finally:
            del broken, failed, error  # its traceback holds this frame
