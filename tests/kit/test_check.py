"""`check`: which invariants are asked, and what is said where one is broken."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import pytest

from resilient import (
    FallbackManager,
    Target,
    circuit_breaker,
    consecutive,
    count_window,
    fallback,
    middleware,
    retry,
    stack,
    time_window,
    timeout,
    value,
)
from resilient.testing import (
    INVARIANTS,
    RERUNS,
    Fail,
    FailureSchedule,
    Finding,
    Hang,
    InvariantBroken,
    Ok,
    Run,
    _check,
    invariant,
    simulate,
)

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@stack(timeout(30), retry(attempts=3, backoff=[1, 2]), timeout(8))
async def ask(question: str) -> str: ...


async def hopeful(call):
    """Try three times, whatever happens, and be silent about the end of it."""
    for _ in range(3):
        try:
            return await call()
        except Exception:  # noqa: S112 - the carelessness is the subject
            continue
    return None


def names(what, schedule, **options):
    """Return the names of the invariants that a run breaks."""
    with pytest.raises(InvariantBroken) as caught:
        simulate(what, schedule, **options).check()
    return {finding.invariant for finding in caught.value.findings}


class TestWhatIsAsked:
    @both
    def test_a_good_run_is_returned(self, backend):
        """`check` returns the run that it was asked about."""
        run = simulate(ask, "x~.1", backend=backend)
        assert run.check() is run

    def test_further_questions(self):
        """A function of the run is one more invariant, for this check alone."""

        def quick(run: Run) -> None:
            assert run.elapsed < 1, "it took too long"

        run = simulate(ask, "x.")
        with pytest.raises(InvariantBroken, match="quick\n  happened  it took too long") as caught:
            run.check(quick)
        (finding,) = caught.value.findings
        assert isinstance(finding, Finding)
        assert finding.happened.startswith("it took too long")
        run.check(quick, skip=["quick"])
        run.check()

    def test_a_registered_question_is_asked_from_then_on(self, monkeypatch):
        """`@invariant` asks of every run that is checked."""
        monkeypatch.setattr(_check, "_registered", {})

        @invariant
        def one_call_only(run: Run) -> None:
            assert len(run.calls) == 1

        simulate(ask, ".").check()
        with pytest.raises(InvariantBroken, match="one_call_only"):
            simulate(ask, "x.").check()
        with pytest.raises(TypeError, match="invariant takes a function of a run, not 7"):
            invariant(7)

    def test_only_some(self):
        """`only` names those that are asked, `skip` those that are not."""
        run = simulate(hopeful, [Fail(ValueError), Fail(ValueError), Fail(ValueError)])
        run.check(only=["attempts_bounded", "cancellation_honoured"])
        run.check(only=["nothing_swallowed"], skip=["nothing_swallowed"])
        with pytest.raises(InvariantBroken):
            run.check(only=["only_retryable_retried"])

    @pytest.mark.parametrize("option", ["only", "skip"])
    def test_an_unknown_name_is_refused(self, option):
        """A name that no invariant has is a `ValueError` that shows those there are."""
        with pytest.raises(ValueError, match=rf"check\({option}=\) has no invariant 'all'; there"):
            simulate(ask).check(**{option: ["all"]})

    def test_their_names_are_known(self):
        """The names of all invariants are there to be read, and which of them run again."""
        assert {"attempts_bounded", "cancellation_honoured", "recovers"} <= set(INVARIANTS)
        assert (
            set(INVARIANTS)
            >= RERUNS
            == {
                "deterministic",
                "telemetry_neutral",
                "backend_agnostic",
                "recovers",
                "no_cycles",
                "nothing_logged",
            }
        )

    def test_without_reruns_the_schedule_is_run_once(self):
        """`skip=RERUNS` leaves out what runs the schedule again."""
        calls = []

        @retry(on=lambda error: calls.append(error) or True, backoff=[0])
        async def counted() -> None: ...

        run = simulate(counted, "x.")
        once = len(calls)
        run.check(only=["one_end_per_attempt"], skip=RERUNS)
        assert len(calls) == once
        run.check(only=["deterministic"])
        assert len(calls) > once


class TestWhatIsSaid:
    def test_expected_happened_and_the_picture(self):
        """The text has both sides, the schedule and the waterfall."""
        run = simulate(hopeful, [Fail(ValueError, 2)])
        with pytest.raises(InvariantBroken) as caught:
            run.check()
        assert str(caught.value).splitlines() == [
            "",
            "only_retryable_retried",
            "  expected  ValueError is not tried again: it says that the call itself is wrong",
            f"  happened  the function was called again: {run.calls[1]}",
            "",
            "schedule  FailureSchedule([Fail(ValueError, after=2)]) on asyncio",
            "shortest  FailureSchedule([Fail(ValueError)])",
            "hopeful      ████████████████████████████████████████     2.00 s  ok",
            "  backend 1  ████████████████████████████████████████     2.00 s  ValueError",
            "  backend 2                                         █     0.00 s  ok",
        ]

    def test_the_shortest_schedule_is_looked_for(self):
        """Outside of Hypothesis the schedule is shrunk, and the shortest one is said."""
        schedule = FailureSchedule(
            [Fail(OSError, 1), Fail(ConnectionError, 2), Fail(KeyError, 3), Ok()],
            arrivals=[0, 5],
            jitter_seed=7,
        )
        with pytest.raises(InvariantBroken) as caught:
            simulate(hopeful, schedule).check(only=["nothing_swallowed"])
        lines = str(caught.value).splitlines()
        assert lines[:4] == [
            "",
            "nothing_swallowed",
            "  expected  an error, as the last call failed with KeyError",
            "  happened  it returned None",
        ]
        assert lines[5] == f"schedule  {schedule!r} on asyncio"
        assert lines[6] == (
            "shortest  FailureSchedule([Fail(OSError), Fail(ConnectionError), Fail(KeyError)])"
        )
        assert lines[7].startswith("hopeful (1)")

    def test_a_run_without_a_way_to_run_again_is_not_shrunk(self):
        """A run that was put together by hand is judged as it is."""
        run = Run(
            backend="asyncio", way="", calls=(), events=(), result=None, elapsed=0, leftovers=("x",)
        )
        with pytest.raises(InvariantBroken, match="nothing left behind") as caught:
            run.check(only=["nothing_left_running"])
        assert "shortest" not in str(caught.value)


class TestAPlainFunction:
    """What is asked of a function that nobody guards."""

    def test_a_lost_error(self):
        """A function that returns although its last call failed has lost an error."""
        assert "nothing_swallowed" in names(hopeful, "x*")

    def test_another_error_in_its_place(self):
        """An error that says nothing of the last failure has taken its place."""

        async def gives_up(call):
            try:
                return await call()
            except OSError:
                raise RuntimeError("gave up") from None

        assert names(gives_up, [Fail(OSError)]) == {"nothing_swallowed"}

        async def says_why(call):
            try:
                return await call()
            except OSError as error:
                raise RuntimeError("gave up") from error

        simulate(says_why, [Fail(OSError)]).check()

    def test_a_wait_for_nothing(self):
        """A sleep behind the last failure is time that nobody gets back."""

        async def sleepy(call):
            for attempt in range(2):
                try:
                    return await call()
                except ConnectionError as error:
                    failed = error
                    await anyio.sleep(2**attempt)
            raise failed

        assert "backoff_lawful" in names(sleepy, "x*")

    def test_a_bug_of_its_own(self):
        """An error that no call has raised, and that nobody meant, is shown."""

        async def confused(call):
            value = await call()
            return value["answer"]

        assert names(confused, ".") == {"nothing_invented", "recovers"}

    def test_a_swallowed_cancellation(self):
        """A bare `except` that catches a cancellation calls on after it."""

        async def careless(call):
            for _ in range(2):
                try:
                    return await call()
                except BaseException:  # noqa: S112 - as above
                    continue
            raise RuntimeError

        found = names(careless, [Ok(after=2)], cancel_at=1, cancel="task")
        assert {"cancellation_honoured", "only_retryable_retried"} & found

    @both
    @pytest.mark.parametrize("at", [1, 5, 6, 7])
    def test_a_cancellation_in_the_instant_of_waking_up(self, backend, at):
        """Who is awake already goes on to the next await: a call without one is no defiance."""

        async def twice(call):
            await call()
            await anyio.sleep(1)
            return await call()

        simulate(twice, [Ok(after=5), Ok()], cancel_at=at, backend=backend).check()
        simulate(twice, [Ok(after=5), Ok(after=1)], cancel_at=at, backend=backend).check()

    @both
    def test_defiance_in_the_instant_of_waking_up(self, backend):
        """Who swallows a cancellation that came as it woke up, and calls on, is found."""

        async def careless(call):
            await call()
            await anyio.sleep(1)
            with suppress(anyio.get_cancelled_exc_class()):
                await call()
            return await call()

        schedule = [Ok(), Ok(after=1), Ok()]
        found = names(careless, schedule, cancel_at=1, backend=backend)
        assert "cancellation_honoured" in found

    def test_a_task_left_running(self):
        """A task that outlives the call is left behind."""

        async def forgetful(call):
            task = asyncio.get_running_loop().create_task(call())
            task.add_done_callback(lambda _: None)
            return "started"

        assert "nothing_left_running" in names(forgetful, [Ok(after=9)])


class TestRecovery:
    @both
    def test_it_goes_on_when_everything_is_well(self, backend):
        """After the faults a call is answered, and the circuit has closed."""
        breaker = circuit_breaker("kit.recovers", trip=consecutive(2), open_for=30)
        guarded = stack(retry(attempts=2), breaker)(hopeful)
        schedule = FailureSchedule(then=Fail(ConnectionError), arrivals=[0, 0])
        run = simulate(guarded, schedule, backend=backend)
        assert run.breakers["kit.recovers"][-1].to_state == "open"
        run.check()

    @both
    @pytest.mark.parametrize("trip", [count_window, time_window])
    def test_a_rate_may_be_reached_when_everything_is_well(self, trip, backend):
        """The last call that a rate of failures takes may be one that goes well."""
        breaker = circuit_breaker("kit.rate", trip=trip(10, failure_rate=0.5, min_calls=2))
        run = simulate(breaker, "x", backend=backend).check()
        assert (run.tries, len(run.calls), run.breakers) == (1, 1, {})

    def test_a_function_that_remembers_too_much_does_not(self):
        """A function that never calls again after a failure does not recover."""
        broken = []

        async def sulks(call):
            if broken:
                raise ConnectionError("it was down once")
            try:
                return await call()
            except ConnectionError:
                broken.append(True)
                raise

        with pytest.raises(InvariantBroken) as caught:
            simulate(sulks, "x").check(only=["recovers"])
        assert "when everything is well again, is answered" in str(caught.value)


@both
def test_a_retry_that_is_refused_and_skipped_has_one_span(backend):
    """Where a retry in a target stops for a refusal, the chain skips the target."""

    async def first(question: str) -> str: ...

    breaker = circuit_breaker("kit.skipped", trip=consecutive(1))
    tried = stack(retry(attempts=2, backoff=[1]), breaker)
    manager = FallbackManager([Target("a", first, policies=tried), Target("b", first)])
    schedule = FailureSchedule([Fail(ConnectionError)], arrivals=[0, 2])
    run = simulate(manager, schedule, backend=backend).check()
    assert (run.tries, len(run.calls)) == (5, 3)


def test_a_value_of_the_last_resort_is_no_invention():
    """What was declared as the last resort may come out, and nothing else."""
    guarded = fallback(degrade=value({"answer": None}))(ask)
    simulate(guarded, FailureSchedule(then=Hang())).check()


@middleware(calls=2)
async def twice(call, proceed):
    """Ask again, whatever came of it."""
    with suppress(ConnectionError):
        await proceed()
    return await proceed()


@both
@pytest.mark.parametrize("schedule", ["x*", "x.x*", "x.xx.", "xxxx."])
def test_a_retry_that_begins_anew_counts_anew(schedule, backend):
    """A middleware may run a retry again: its attempts are used up once for each run."""
    guarded = stack(twice, retry(attempts=3, backoff=[1]))
    simulate(guarded, schedule, backend=backend).check()


def test_an_answer_in_the_place_of_a_retry():
    """A middleware inside of a retry may answer where the next attempt would begin."""
    answers = []

    @middleware
    async def remembers(call, proceed):
        try:
            return answers[0] if answers else await proceed()
        except ConnectionError:
            answers.append("sorry")
            raise

    guarded = stack(retry(attempts=3, backoff=[1]), remembers)
    run = simulate(guarded, "x")
    run.check(only=["backoff_lawful"])
    assert (run.tries, len(run.calls), run.value) == (2, 1, "sorry")


@both
def test_a_target_that_is_refused_has_one_span(backend):
    """A target that is skipped because its circuit is open is told of once, and that is right."""

    async def first(question: str) -> str: ...

    async def second(question: str) -> str: ...

    breaker = circuit_breaker("kit.refused", trip=consecutive(1), open_for=5)
    manager = FallbackManager([Target("a", first, policies=breaker), Target("b", second)])
    run = simulate(manager, "x", callers=2, backend=backend).check()
    assert (run.tries, len(run.calls)) == (4, 3)
    assert sum("(skipped)" in line for line in run.spans.tree()) == 1


def test_a_judged_chain_recovers_with_a_value_that_is_unknown():
    """Where a predicate rejects every answer that is known, nobody can say what recovery is."""
    guarded = fallback(to=[other], on_result=lambda answer: answer != "ok")(ask)
    simulate(guarded, FailureSchedule(then=Fail(ConnectionError), fallbacks=["x*"])).check()


async def other(question: str) -> str: ...
