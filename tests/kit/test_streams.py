"""Streams in schedules: what scripted generators give, who takes it, and what a run tells of it."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from hunting import HUNT
from hypothesis import find, given, settings

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Restarted,
    Target,
    TimedOut,
    circuit_breaker,
    consecutive,
    fallback,
    retry,
    stack,
    timeout,
    value,
)
from resilient.testing import (
    Bad,
    Cancelled,
    Cut,
    CutError,
    Fail,
    FailureSchedule,
    FaultyBackend,
    Hang,
    InvariantBroken,
    Items,
    Ok,
    Returned,
    Stubborn,
    schedules,
    schedules_for,
    simulate,
    virtual_time,
)

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@retry(attempts=3, backoff=[1, 2])
@timeout(30, first_item=5, between_items=2)
async def words(question: str):
    raise AssertionError("the function itself is not called")
    yield


async def ask(question: str):
    yield "never"


async def small(question: str):
    yield "never"


def given_by(run, number):
    """Return the items that one call of a run has given."""
    return tuple(run.calls[number - 1].items)


@both
def test_a_stream_meets_its_schedule(backend):
    """The policies of a generator run around a scripted one, and the run has the items."""
    run = simulate(words, "x :1:1:1.1", backend=backend).check()
    assert (run.tries, len(run.calls), run.waits) == (2, 2, [1])
    assert run.items == run.value == given_by(run, 2)
    assert (len(run.items), run.elapsed, run.origin) == (3, 5, 2)
    assert repr(run.items[1]) == "<item 2 of call 2>"
    assert str(run.calls[1]) == "call 2 of words: 1 s .. 5 s, 3 items"


@both
@pytest.mark.parametrize(
    ("text", "tries", "came", "items", "elapsed"),
    [
        ("::x", 1, ConnectionError, 2, 0),
        ("::/", 1, CutError, 2, 0),
        ("/ :.", 2, None, 1, 1),
        ("~ :.", 2, None, 1, 6),
        (":~", 1, TimedOut, 1, 2),
        (":1:3.", 1, TimedOut, 1, 3),
        (":4:1.", 1, None, 2, 5),
        (":5. :.", 2, None, 1, 6),
        (".4", 1, None, 1, 4),
        ("!4", 1, None, 1, 4),
    ],
)
def test_a_stream_ends_as_its_step_says(text, tries, came, items, elapsed, backend):
    """Before its first item a stream is tried again; behind it, it ends, fails, is cut or late."""
    run = simulate(words, text, backend=backend).check()
    assert (run.tries, len(run.calls)) == (tries, tries)
    assert (type(run.error) if run.error else None) is came
    assert (len(run.items), run.elapsed) == (items, elapsed)


@both
def test_items_may_be_values(backend):
    """A list says the items themselves, and a step of one value is a stream of that item."""
    judged = retry(attempts=3, backoff=[1, 2], on_result=lambda item: item != "ok")(ask)
    run = simulate(judged, [Bad("no"), Items(["no", "ok"]), Items(["ok", "no"])], backend=backend)
    assert (run.tries, len(run.calls)) == (3, 3)
    assert run.check().items == ("ok", "no")
    assert [type(call.error) for call in run.calls] == [GeneratorExit, GeneratorExit, type(None)]


@both
def test_an_empty_stream_is_a_success(backend):
    """A stream may have no items at all."""
    run = simulate(words, [Items(0, then=Ok(after=1), after=1)], backend=backend).check()
    assert (run.tries, len(run.calls)) == (1, 1)
    assert (run.items, run.elapsed, run.result) == ((), 2, Returned(()))


@both
def test_a_consumer_may_close_the_stream(backend):
    """`take` closes the stream behind so many items, and the source with it."""
    run = simulate(words, ":1:1:1.", take=2, backend=backend).check()
    assert (run.tries, len(run.calls)) == (1, 1)
    assert (run.items, run.elapsed, run.schedule.take) == (given_by(run, 1), 2, 2)
    assert run.callers[0].closed
    assert isinstance(run.calls[0].error, GeneratorExit)
    assert run.leftovers == ()


@both
def test_a_consumer_may_take_its_time(backend):
    """`pause` is the consumer's own: no stall of the source, but part of the whole."""
    run = simulate(words, ":::.", pause=9, backend=backend).check()
    assert (run.tries, len(run.calls), len(run.items), run.elapsed) == (1, 1, 3, 27)
    late = simulate(words, "::::.", pause=9, backend=backend).check()
    assert (late.tries, len(late.calls), len(late.items), late.elapsed) == (1, 1, 4, 36)
    assert isinstance(late.error, TimedOut)


@both
@pytest.mark.parametrize(("at", "items"), [(0.5, 0), (1.5, 1), (2.5, 1)])
def test_a_consumer_may_be_cancelled(at, items, backend):
    """A cancellation comes out of the wait for an item, and out of the consumer's own time."""
    run = simulate(words, ":1:1:1.", cancel_at=at, pause=1, backend=backend).check()
    assert (run.tries, len(run.calls)) == (1, 1)
    assert (run.result, run.elapsed, run.leftovers) == (Cancelled(), at, ())
    assert len(run.items) == items


@both
def test_only_the_first_consumer_is_special(backend):
    """Of several callers the first one takes and pauses, the others take everything."""
    run = simulate(words, [*[Items(3, gap=1)] * 2], take=1, callers=2, backend=backend).check()
    assert (run.tries, len(run.calls)) == (2, 2)
    assert [len(one.items) for one in run.callers] == [1, 3]
    assert [one.closed for one in run.callers] == [True, False]


def manager(**options):
    return FallbackManager(
        [Target("a", ask, policies=timeout(first_item=5)), Target("b", small)], **options
    )


@both
def test_a_manager_of_streams_is_consumed(backend):
    """A manager is asked for its stream, and the outcome is known behind the last item."""
    run = simulate(manager(), FailureSchedule([Hang()], fallbacks=["::."]), backend=backend).check()
    assert (run.tries, len(run.calls), run.elapsed) == (2, 2, 5)
    assert run.items == given_by(run, 2)
    outcome = run.callers[0].outcome
    assert (outcome.target, outcome.fallback_used, len(outcome.attempts)) == ("b", True, 2)


@both
def test_a_restart_is_among_the_items(backend):
    """With `midstream="restart"` a marker stands between what is void and what is not."""
    restarts = manager(midstream="restart")
    run = simulate(restarts, FailureSchedule.parse("::/"), backend=backend).check()
    assert (run.tries, len(run.calls)) == (2, 2)
    assert run.items == (*given_by(run, 1), Restarted("a", "b", 2), *given_by(run, 2))


@both
def test_a_last_resort_is_a_stream_of_one(backend):
    """What `degrade` gives comes from no call, and is no invention."""
    sorry = fallback(to=[small], degrade=value("sorry"))(ask)
    run = simulate(sorry, FailureSchedule.parse("x"), backend=backend)
    failed = simulate(sorry, FailureSchedule.parse("x"), backend=backend)
    assert (run.tries, len(run.calls)) == (failed.tries, len(failed.calls)) == (2, 2)
    run = simulate(sorry, FailureSchedule([Fail(OSError)], fallbacks=["x"]), backend=backend)
    assert (run.tries, len(run.calls), run.check().items) == (2, 2, ("sorry",))


@both
def test_a_pipeline_with_limits_of_items_is_a_stream(backend):
    """Policies that only a stream can have are simulated around one."""
    pipeline = stack(retry(attempts=2, backoff=[1]), timeout(first_item=3))
    run = simulate(pipeline, "~ ::.", backend=backend).check()
    assert (run.tries, len(run.calls), len(run.items), run.elapsed) == (2, 2, 2, 4)


@both
def test_a_breaker_learns_from_the_end_of_a_stream(backend):
    """A stream that is cut behind an item trips a circuit; one that is closed early does not."""
    guarded = circuit_breaker("kit.stream", trip=consecutive(1), open_for=10)(ask)
    run = simulate(guarded, FailureSchedule.parse("::/"), backend=backend).check()
    assert (run.tries, len(run.calls), [one.verdict for one in run.admissions]) == (
        1,
        1,
        ["failure"],
    )
    run = simulate(guarded, ":::.", take=1, backend=backend).check()
    assert (run.tries, len(run.calls), [one.verdict for one in run.admissions]) == (
        1,
        1,
        ["neutral"],
    )


# Functions that nobody guards, and backends in their place


async def counted(backend, question="why?"):
    count = 0
    async with aclosing(backend.stream(question)) as items:
        async for _ in items:
            count += 1
    return count


async def shouted(backend):
    async with aclosing(backend.stream()) as items:
        async for item in items:
            yield item, "!"


@both
def test_a_plain_function_gets_a_backend_that_streams(backend):
    """`FaultyBackend.stream` is the same schedule as an async generator."""
    run = simulate(counted, ":1:1.", backend=backend).check()
    assert (run.tries, len(run.calls), run.value, run.elapsed) == (0, 1, 2, 2)
    failed = simulate(counted, "::/", backend=backend).check()
    assert (failed.tries, len(failed.calls)) == (0, 1)
    assert isinstance(failed.error, CutError)


@both
def test_a_plain_generator_is_consumed_as_well(backend):
    """A generator that nobody guards is called with the backend, and its items are taken."""
    run = simulate(shouted, ":1:1.", take=1, backend=backend).check()
    assert (run.tries, len(run.calls)) == (0, 1)
    assert run.items == ((run.calls[0].items[0], "!"),)


def test_a_backend_streams_outside_of_a_run():
    """Without a run a backend goes on from stream to stream."""
    service = FaultyBackend([Items(["so"]), Items(["blue", "sky"])])

    async def scenario():
        return [[item async for item in service.stream()] for _ in range(2)]

    assert virtual_time(scenario, check_leftovers=True) == [["so"], ["blue", "sky"]]
    assert [call.items for call in service.calls] == [["so"], ["blue", "sky"]]


def test_items_are_for_streams():
    """A schedule with items is refused for a function that gives none."""

    @retry()
    async def price() -> int:
        return 1

    with pytest.raises(TypeError, match="price gives no stream, and the schedule has Items"):
        simulate(price, "::.")
    with pytest.raises(TypeError, match="is for streams: async generator functions"):
        simulate(FaultyBackend("::."), target="real")


# What is told


def test_the_picture_shows_items():
    """Rows of streams say how many items came, and when the first one did."""
    assert simulate(words, "x1 :1:1:1.").waterfall() == (
        "words        ████████████████████████████████████████     5.00 s  ok, 3 items\n"
        "  attempt 1  ████████                                     1.00 s"
        "  ConnectionError → retry in 1.00 s\n"
        "  attempt 2                  ████████████████████████     3.00 s"
        "  ok, first item after 1.00 s"
    )
    assert simulate(words, ":1:1x").waterfall().splitlines()[1].endswith("ConnectionError, 2 items")
    assert simulate(counted, ":.").waterfall().splitlines()[1].endswith("ok, 1 item")
    assert simulate(shouted, ":::.", take=1).waterfall().splitlines()[1].endswith("closed, 1 item")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # trio says it too
@both
@pytest.mark.parametrize(
    ("what", "schedule", "finding"),
    [
        (
            "held",
            FailureSchedule([Items(2)]),
            r"scope_clean_afterwards\n.*\n.*a scope of its call is open",
        ),
        ("dropped", FailureSchedule([Items(2)], take=1), "nothing_left_running"),
    ],
)
def test_what_is_held_across_an_item_is_found(what, schedule, finding, backend):
    """A limit around a `yield`, and a source left open, are seen in a generator of the user's."""
    with pytest.raises(InvariantBroken, match=finding):
        simulate({"held": held, "dropped": dropped}[what], schedule, backend=backend).check()


async def held(backend):
    with anyio.CancelScope(deadline=1000):
        async with aclosing(backend.stream()) as items:
            async for item in items:
                yield item


async def dropped(backend):
    async for item in backend.stream():
        yield item


# What is drawn

ZOO = {
    "retry": retry(attempts=2, backoff=[1])(ask),
    "limits": words,
    "judged": retry(attempts=2, backoff=[0], on_result=lambda item: item != "ok")(ask),
    "breaker": circuit_breaker("kit.zoo", trip=consecutive(1), open_for=10)(ask),
    "chain": fallback(to=[small], degrade=value("sorry"))(stack(timeout(10, between_items=2))(ask)),
    "manager": manager(midstream="restart", deadline=20),
}


@pytest.mark.parametrize("name", ZOO)
def test_no_schedule_breaks_an_invariant(name):
    """Whatever a stream and its consumer do, the library does what it promises."""
    # Nothing ends a hang of the plain one.
    hangless = schedules(streams=True, hangs=False)

    @settings(max_examples=15)
    @given(hangless if name == "plain" else schedules_for(ZOO[name]))
    def holds(schedule):
        simulate(ZOO[name], schedule).check()

    holds()


@settings(max_examples=15)
@given(schedules(streams=True, hangs=False))
def test_no_schedule_breaks_an_invariant_of_a_plain_generator(schedule):
    """A generator that nobody guards and that closes its source leaves nothing behind."""
    simulate(shouted, schedule).check()


@pytest.mark.parametrize(
    ("wanted", "shortest"),
    [
        (lambda one: one.take is not None, "take=1"),
        (lambda one: one.pause == 2.25, "pause=2.25"),
        (lambda one: any(getattr(x, "gap", 0) == 1.75 for x in one.steps), "[Items(0, gap=1.75)]"),
        (
            lambda one: any(getattr(x, "then", 0) == Cut() for x in one.steps),
            "[Items(0, then=Cut())]",
        ),
        (
            lambda one: any(getattr(x, "n", 0) and x.then == Hang() for x in one.steps),
            "[Items(1, then=Hang())]",
        ),
    ],
)
def test_what_matters_to_a_stream_is_drawn(wanted, shortest):
    """Cuts, hangs, gaps around the limits and consumers are drawn, and shrink to just that."""
    assert repr(find(schedules_for(words), wanted, settings=HUNT)) == f"FailureSchedule({shortest})"


def test_schedules_of_streams_can_be_asked_for():
    """`streams=True` draws items for functions of which nothing is known."""
    found = find(schedules(streams=True), lambda one: any(map(is_stream, one.steps)), settings=HUNT)
    assert repr(found) == "FailureSchedule([Items(0)])"


def is_stream(step):
    return isinstance(step, Items)


def test_a_table_of_streams_is_made_shorter_too():
    """Without Hypothesis a failing stream gets the simplest schedule that shows the same."""

    def whole(run):
        assert run.error is None

    schedule = FailureSchedule([Items(3, gap=1, then=Cut(), after=1)], take=9, pause=1)
    with pytest.raises(AssertionError) as found:
        simulate(words, schedule).check(whole, only=())
    assert "shortest  FailureSchedule([Items(1, then=Cut())])" in str(found.value)


def test_a_last_step_that_swallows_is_a_stream_too():
    """`Stubborn` gives its one item late, whoever wants it to stop."""
    run = simulate(retry()(ask), [Stubborn(3)], cancel_at=1).check()
    assert (run.tries, len(run.calls), len(run.items), run.elapsed) == (1, 1, 1, 3)
    failed = simulate(manager(), FailureSchedule([Fail(OSError)], fallbacks=["x"])).check()
    assert (failed.tries, len(failed.calls)) == (2, 2)
    assert isinstance(failed.error, AllTargetsFailed)
