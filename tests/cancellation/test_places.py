"""Where a call can be cancelled, place by place.

Wherever it is, the cancellation surfaces unchanged, nothing is called and
nothing has failed after it, nothing is left, and the next call works.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from resilient import (
    FallbackManager,
    Target,
    TimedOut,
    Unacceptable,
    fallback,
    retry,
    stack,
    timeout,
    value,
)
from resilient._runtime.clock import now
from resilient.testing import Bad, Fail, Log, Ok, leftovers, virtual_time

ONE_NEUTRAL = ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]
ONE_FAILED = ONE_NEUTRAL
RETRIED = ["CallStarted", "AttemptStarted", "AttemptEnded", "RetryScheduled"]


def is_bad(answer) -> bool:
    return isinstance(answer, Closable)


class Closable:
    """A result that takes a second to close, and says how far it came."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def aclose(self) -> None:
        self.seen.append("closing")
        await anyio.sleep(1)
        self.seen.append("closed")


def cancelled_classes():
    return anyio.get_cancelled_exc_class()


class TestCancelledInAttempt:
    """While the function runs."""

    def test_it_surfaces_at_once(self, cancelled):
        """A call cancelled in its first attempt has one call, one neutral end and no retry."""

        def make(log, _):
            policies = stack(timeout(30), retry(attempts=3), timeout(8))
            return policies(log.scripted(".4"))

        story = cancelled(make, at=1)
        assert (story.calls, story.took) == (["target"], 1)
        assert (story.events, story.verdicts) == (ONE_NEUTRAL, ["neutral"])
        assert not hasattr(story.error, "__notes__")

    def test_a_later_attempt_ends_as_neutral(self, cancelled):
        """A call cancelled in its second attempt ends that one as neutral, and makes no third."""

        def make(log, _):
            return retry(attempts=3, backoff=[1])(log.scripted("x1 .4 ."))

        story = cancelled(make, at=3)
        assert (story.calls, story.took) == (["target"] * 2, 3)
        assert (story.events, story.verdicts) == (RETRIED + ONE_NEUTRAL[1:], ["failure", "neutral"])

    def test_the_function_sees_it_once(self, cancelled):
        """The function sees one cancellation, and has cleaned up when it surfaces."""
        seen = []

        def make(log, _):
            target = log.scripted(".4")

            async def function():
                try:
                    await target()
                except cancelled_classes():
                    seen.append("cancelled")
                    raise
                finally:
                    seen.append("cleaned up")

            return stack(fallback(degrade=value(7)), timeout(30), retry(), timeout(8))(function)

        story = cancelled(make, at=1)
        assert (story.calls, story.verdicts) == (["target"], ["neutral"])
        assert seen[:2] == ["cancelled", "cleaned up"]
        assert seen[2:] == ["cleaned up"]  # the next call

    def test_a_failing_clean_up_is_no_failure_of_the_call(self, cancelled):
        """A clean-up that raises in place of a cancellation is retried by nobody."""
        calls = []

        def make(log, _):
            async def closes_badly():
                calls.append(now())
                if len(calls) > 1:
                    return
                try:
                    await anyio.sleep(4)
                finally:
                    raise ConnectionError

            return retry(attempts=3, backoff=[1])(closes_badly)

        assert cancelled(make, at=1).took == 1
        assert calls == [0, 1]  # the second is the next call


class TestCancelledInBackoff:
    """While a retry waits."""

    @pytest.mark.parametrize("at", [0.25, 1.25, 1.9999])
    def test_no_attempt_follows(self, cancelled, at):
        """A call cancelled in a wait has no further attempt, whenever in the wait it is."""

        def make(log, _):
            return retry(attempts=3, backoff=[2])(log.scripted("x"))

        story = cancelled(make, at=at)
        assert (story.calls, story.took) == (["target"], at)
        assert story.events == [*RETRIED, "CallEnded"]
        assert not hasattr(story.error, "__notes__")

    def test_at_the_very_end_of_the_wait(self, cancelled, monkeypatch):
        """A cancellation that is requested when the wait is over and not delivered yet counts."""
        real, cancel = anyio.sleep, []

        async def sleep(seconds):
            await real(seconds)
            if cancel:
                cancel.pop().now()

        def make(log, canceller):
            cancel.append(canceller)
            return retry(attempts=3, backoff=[2])(log.scripted("x"))

        monkeypatch.setattr("resilient._runtime.pause.anyio.sleep", sleep)
        story = cancelled(make)
        assert (story.calls, story.took) == (["target"], 2)
        assert story.events == [*RETRIED, "CallEnded"]

    def test_the_last_error_is_not_its_context(self, cancelled):
        """What failed before is neither cause nor context of the cancellation."""

        def make(log, _):
            return retry(attempts=3, backoff=[2])(log.scripted("x"))

        story = cancelled(make, at=1)
        assert (story.error.__cause__, story.error.__context__) == (None, None)

    @pytest.mark.parametrize(
        "script", [[Fail(ConnectionError, hint=20)], [Fail(OSError), Fail(OSError)]]
    )
    def test_waits_that_others_asked_for_end_as_well(self, cancelled, script):
        """The wait of a server's hint or of a predicate is cancelled like a computed one."""

        def on(error):
            return True if isinstance(error, ConnectionError) else 20

        def make(log, _):
            return retry(attempts=3, on=on, backoff=[2])(log.scripted(script[:1]))

        story = cancelled(make, at=15)
        assert (story.calls, story.took) == (["target"], 15)

    def test_a_wait_inside_a_fallback_moves_nobody_on(self, cancelled):
        """A chain whose first target waits for a retry asks nobody else when it is cancelled."""

        def make(log, _):
            other = log.scripted(".", "other")
            inside = retry(attempts=3, backoff=[2])
            return stack(fallback(to=[other], degrade=value(7)), inside)(log.scripted("x"))

        story = cancelled(make, at=1)
        assert (story.calls, story.took) == (["target"], 1)
        assert story.events == [*RETRIED, "CallEnded"]


class TestCancelledBetweenTargets:
    """When one target has failed and the next is not asked yet."""

    def test_asked_for_while_the_first_fails(self, cancelled):
        """A cancellation that is requested while target 0 fails reaches no target 1."""

        def make(log, canceller):
            first, other = log.scripted("x"), log.scripted(".", "other")

            async def fails():
                if canceller.asked == 0:
                    canceller.now()
                await first()

            return fallback(to=[other], degrade=value(7))(fails)

        story = cancelled(make)
        assert (story.calls, story.took) == (["target"], 0)
        assert story.events == ONE_FAILED

    def test_asked_for_while_a_retry_gives_up(self, cancelled):
        """A cancellation that is requested while the last attempt fails reaches no target 1."""

        def make(log, canceller):
            first, other = log.scripted("x x"), log.scripted(".", "other")

            async def fails():
                if len(log.calls) == 1:
                    canceller.now()
                await first()

            inside = retry(attempts=2, backoff=[1])
            return stack(fallback(to=[other]), inside)(fails)

        story = cancelled(make)
        assert (story.calls, story.took) == (["target"] * 2, 1)

    def test_in_a_manager(self, cancelled):
        """The targets of a manager are no different."""

        def make(log, canceller):
            first = log.scripted("x", "first")

            async def fails():
                if canceller.asked == 0:
                    canceller.now()
                await first()

            second = Target("second", log.scripted(".", "second"))
            return FallbackManager([Target("first", fails), second], deadline=30).run

        story = cancelled(make)
        assert (story.calls, story.took) == (["first"], 0)


class TestCancelledClosingDiscardedResult:
    """While a result that nobody wants is closed."""

    def test_of_a_retry(self, cancelled):
        """A retry that closes a bad result goes on to no attempt when it is cancelled."""
        bad = Closable()

        def make(log, _):
            policy = retry(attempts=3, on_result=is_bad, backoff=[0])
            return policy(log.scripted([Bad(bad, after=1), Ok()]))

        story = cancelled(make, at=1.5)
        assert (story.calls, story.took) == (["target"], 1.5)
        assert story.events == [*RETRIED, "CallEnded"]
        assert bad.seen == ["closing"]

    def test_of_a_fallback(self, cancelled):
        """A chain that closes a bad answer asks nobody else when it is cancelled."""
        bad = Closable()

        def make(log, _):
            other = log.scripted(".", "other")
            policy = fallback(to=[other], on_result=is_bad)
            return policy(log.scripted([Bad(bad, after=1), Ok()]))

        story = cancelled(make, at=1.5)
        assert (story.calls, story.took) == (["target"], 1.5)
        assert story.verdicts == ["failure"]
        assert bad.seen == ["closing"]

    def test_an_error_on_the_way_out_changes_nothing(self, cancelled):
        """A result whose closing turns the cancellation into an error leaves it a cancellation."""

        class Bitter(Closable):
            async def aclose(self) -> None:
                try:
                    await super().aclose()
                except BaseException:
                    raise ConnectionError from None

        bad = Bitter()

        def make(log, _):
            policy = retry(attempts=3, on_result=is_bad, backoff=[0])
            return policy(log.scripted([Bad(bad, after=1), Ok()]))

        story = cancelled(make, at=1.5)
        assert (story.calls, story.took) == (["target"], 1.5)


class TestCancelledInDegrade:
    """While the last resort is made."""

    def test_a_last_resort_that_waits(self, cancelled):
        """A call cancelled while its last resort is made is cancelled, not degraded."""
        made = []

        async def instead():
            made.append(now())
            await anyio.sleep(1)
            return "instead"

        def make(log, _):
            return fallback(degrade=value(factory=instead))(log.scripted("x1"))

        story = cancelled(make, at=1.5)
        assert (story.calls, story.took) == (["target"], 1.5)
        assert story.events == ONE_FAILED
        assert made == [1]

    def test_it_is_not_even_begun(self, cancelled):
        """A cancellation that is requested while the only target fails makes no last resort."""
        made = []

        def make(log, canceller):
            first = log.scripted("x")

            async def fails():
                if canceller.asked == 0:
                    canceller.now()
                await first()

            return fallback(degrade=value(factory=lambda: made.append(1)))(fails)

        story = cancelled(make)
        assert (story.calls, story.took) == (["target"], 0)
        assert story.events == ONE_FAILED
        assert made == []


class TestCancelledInCleanUp:
    """While the function cleans up behind a shield."""

    def test_the_clean_up_is_finished_first(self, cancelled):
        """Behind a scope's shield the clean-up ends, then the cancellation surfaces."""
        seen = []

        def make(log, _):
            target = log.scripted("x1")

            async def cleans_up():
                try:
                    await target()
                finally:
                    with anyio.CancelScope(shield=True):
                        seen.append("cleaning up")
                        await anyio.sleep(2)
                        seen.append("cleaned up")

            return stack(fallback(degrade=value(7)), retry(attempts=3, backoff=[1]))(cleans_up)

        story = cancelled(make, at=2)
        assert story.calls == ["target"]
        if cancelled.delivery == "scope":
            assert story.took == 3
            assert seen[:2] == ["cleaning up", "cleaned up"]
        else:  # a native cancellation knows of no shield
            assert story.took == 2

    def test_under_a_limit_that_has_struck(self, cancelled):
        """A caller who cancels while a function cleans up after our limit gets the cancellation."""

        def make(log, _):
            target = log.scripted("~ .")

            async def cleans_up():
                try:
                    await target()
                except cancelled_classes():
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(2)
                    raise

            return stack(retry(attempts=3, backoff=[1]), timeout(1))(cleans_up)

        story = cancelled(make, at=2)
        assert story.calls == ["target"]
        assert story.events == ONE_NEUTRAL
        assert story.took == (3 if cancelled.delivery == "scope" else 2)


class TestCancelledBeforeTheStart:
    """Before the call begins."""

    def test_a_retry_or_a_fallback_does_not_begin_twice(self, cancelled):
        """A call whose caller is cancelled already ends at its first await and asks nobody."""

        def make(log, _):
            other = log.scripted(".", "other")
            policies = stack(fallback(to=[other]), timeout(9), retry(attempts=3, backoff=[0]))
            guarded = policies(log.scripted(".1"))

            async def begins():
                await anyio.lowlevel.checkpoint()
                return await guarded()

            return begins

        story = cancelled(make, at=0)
        assert story.calls in ([], ["target"])
        assert story.took == 0
        assert "other" not in story.calls

    def test_a_call_in_a_cancelled_scope_fails_nowhere(self, cancelled):
        """A function called in a scope that is cancelled is cancelled at its first await."""

        def make(log, canceller):
            guarded = stack(retry(attempts=3), timeout(9))(log.scripted(".1"))

            async def begins():
                if canceller.asked == 0:
                    canceller.now()
                return await guarded()

            return begins

        story = cancelled(make)
        assert (story.calls, story.took) == (["target"], 0)
        assert (story.events, story.verdicts) == (ONE_NEUTRAL, ["neutral"])


class TestCancelledTwice:
    """By a caller who asks again."""

    def test_while_it_cleans_up(self, cancelled):
        """A second cancellation while the function cleans up after the first is no other story."""

        def make(log, _):
            target = log.scripted(".9")

            async def cleans_up():
                try:
                    await target()
                except cancelled_classes():
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(2)
                    raise

            return stack(timeout(30), retry(attempts=3), timeout(20))(cleans_up)

        story = cancelled(make, at=[1, 2])
        assert (story.calls, story.events) == (["target"], ONE_NEUTRAL)
        assert story.took == (3 if cancelled.delivery == "scope" else 2)

    def test_at_once(self, cancelled):
        """Two cancellations at one instant are one."""

        def make(log, _):
            return stack(retry(attempts=3), timeout(20))(log.scripted(".9"))

        story = cancelled(make, at=[1, 1])
        assert (story.calls, story.events, story.took) == (["target"], ONE_NEUTRAL, 1)


class TestCancelledInTheTickOfTheAnswer:
    """When the answer is there and the cancellation as well."""

    @pytest.mark.parametrize("delivery", ["scope", "task"])
    def test_a_cancellation_right_behind_the_answer(self, observer, delivery):
        """On asyncio a native cancellation right behind the answer wins, a scope's is too late."""
        log = Log()
        observer.listen(log)

        async def main():
            answer = asyncio.get_running_loop().create_future()
            scope = anyio.CancelScope()

            async def waits():
                return await answer

            async def caller():
                with scope:
                    return await stack(retry(attempts=3), timeout(8))(waits)()

            task = asyncio.get_running_loop().create_task(caller())
            await anyio.sleep(1)
            answer.set_result("value")
            (scope.cancel if delivery == "scope" else task.cancel)()
            await asyncio.wait([task])
            assert leftovers() == []
            return "cancelled" if task.cancelled() else task.result()

        assert virtual_time(main) == ("value" if delivery == "scope" else "cancelled")
        assert [type(event).__name__ for event in log.events] == ONE_NEUTRAL


class TestCancelledByAnOuterLimit:
    """When a limit around the caller strikes in the instant of ours."""

    def test_a_scope_of_the_caller_s(self, cancelled):
        """A cancellation in the instant of our limit wins, and no attempt follows."""

        def make(log, canceller):
            if cancelled.delivery == "scope":
                canceller.scope.deadline = anyio.current_time() + 2  # noqa: TID251 - the loop's
            else:
                asyncio.get_running_loop().call_at(2, canceller.now)
            policies = stack(fallback(degrade=value(7)), retry(attempts=3, backoff=[0]))
            return stack(policies, timeout(2))(log.scripted("~"))

        story = cancelled(make)
        assert (story.calls, story.events, story.took) == (["target"], ONE_NEUTRAL, 2)

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_a_limit_of_an_outer_call(self, observer, backend):
        """Of two guarded calls whose limits strike at one instant, each attempt ends once."""
        log = Log()
        observer.listen(log)
        inner = stack(retry(attempts=2, backoff=[0]), timeout(2))(log.scripted("~ ."))

        @timeout(2)
        async def outer():
            return await inner()

        async def main():
            with suppress(TimedOut):
                await outer()
            assert leftovers() == []
            return now()

        assert virtual_time(main, backend=backend) == 2
        assert len(log.calls) == 1
        names = [type(event).__name__ for event in log.events]
        assert names.count("AttemptStarted") == names.count("AttemptEnded") == 2
        assert names.count("CallStarted") == names.count("CallEnded") == 2


class TestCancelledInABlock:
    """In the block form of retry."""

    def test_in_the_body(self, cancelled):
        """A block cancelled in its body ends that attempt as neutral, and makes no other."""

        def make(log, _):
            return block(log.scripted(".4"))

        story = cancelled(make, at=1)
        assert (story.calls, story.took) == (["target"], 1)
        assert (story.events, story.verdicts) == (ONE_NEUTRAL, ["neutral"])

    def test_in_the_wait(self, cancelled):
        """A block cancelled between two attempts makes no second."""

        def make(log, _):
            return block(log.scripted("x"))

        story = cancelled(make, at=1)
        assert (story.calls, story.took) == (["target"], 1)
        assert (story.events, story.verdicts) == ([*RETRIED, "CallEnded"], ["failure"])

    def test_asked_for_while_the_body_fails(self, cancelled):
        """A cancellation that is requested while the body fails makes no second attempt."""

        def make(log, canceller):
            first = log.scripted("x")

            async def fails():
                if canceller.asked == 0:
                    canceller.now()
                await first()

            return block(fails)

        story = cancelled(make)
        assert (story.calls, story.took) == (["target"], 0)
        assert story.events == [*RETRIED, "CallEnded"]


def block(target):
    async def runs_a_block():
        async for attempt in retry(attempts=3, backoff=[2]):
            with attempt:
                return await target()
        raise AssertionError

    return runs_a_block


class TestUnacceptableAndCancelled:
    """When the answer is bad and the caller gone."""

    def test_the_cancellation_surfaces(self, cancelled):
        """A bad last answer of a chain does not take the place of the cancellation."""

        def make(log, canceller):
            bad = log.scripted([Bad(Closable()), Ok()])

            async def answers():
                if canceller.asked == 0:
                    canceller.now()
                return await bad()

            return fallback(degrade=value(7), on_result=is_bad)(answers)

        story = cancelled(make)
        assert (story.calls, story.took) == (["target"], 0)
        assert not isinstance(story.error, Unacceptable)
