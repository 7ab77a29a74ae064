"""A fallback around streams: who gives the items, and what follows a stream that is cut."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Fault,
    Restarted,
    Skipped,
    Target,
    TimedOut,
    Unacceptable,
    current_call,
    fallback,
    last_good,
    manager_of,
    retry,
    stack,
    timeout,
    value,
)
from resilient.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    FellBack,
    StreamCommitted,
    StreamCut,
    TargetRests,
)


class Limited(Exception):
    """A server that says when to come back."""

    retryable = True
    retry_after = 50.0


@pytest.fixture
def chain(sources, heard):
    """Return a function that makes a manager of targets with these scripts."""

    def makes(*scripts, **options):
        targets = [
            Target(name, sources.source(*script, name=name), scopes={"host": name})
            for name, script in zip("abc", scripts, strict=False)
        ]
        return FallbackManager(targets, listeners=[heard], **options)

    return makes


def test_the_first_that_gives_an_item_gives_all(run, sources, chain, read):
    """Before its first item a stream falls back, and the target that gave one gives the rest."""
    manager = chain([[ConnectionError]], [[1, 2, 3]])

    async def main():
        async with manager.stream() as items:
            found = [item async for item in items]
        return found, items.outcome

    found, outcome = run(main)
    assert found == [1, 2, 3]
    assert (outcome.value, outcome.target, outcome.fallback_used) == (None, "b", True)
    assert [(one.number, one.target, one.error) for one in outcome.attempts] == [
        (1, "a", "ConnectionError"),
        (2, "b", None),
    ]
    assert outcome.attempts[1].verdict == "success"
    assert sources.calls == ["a", "b"]


def test_after_the_first_item_an_error_is_an_error(run, sources, chain, heard, read):
    """By default nobody else is asked once an item was given; the error is the source's own."""
    error = ConnectionError()
    manager = chain([[1, 2, error]], [[1, 2]])

    async def main():
        return await read(closable(manager.stream()))

    assert run(main) == ([1, 2], error)
    assert sources.calls == ["a"]
    assert heard.of(FellBack) == []
    assert heard.of(AttemptEnded)[0].disposition == "raised"


def closable(items):
    """Return the items of a manager as a stream that has `aclose`."""

    async def stream():
        async with items:
            async for item in items:
                yield item

    return stream()


def test_a_restart_is_announced(run, sources, chain, heard, read):
    """With `midstream="restart"` the next target begins from its start, behind a marker."""
    manager = chain([[1, 2, ConnectionError]], [[1, 2, 3]], midstream="restart")

    async def main():
        async with manager.stream() as items:
            found = [item async for item in items]
        return found, items.outcome

    found, outcome = run(main)
    assert found == [1, 2, Restarted("a", "b", 2), 1, 2, 3]
    assert (outcome.target, outcome.fallback_used) == ("b", True)
    assert heard.names == [
        "CallStarted",
        "AttemptStarted",
        "StreamCommitted",
        "StreamCut",
        "AttemptEnded",
        "FellBack",
        "AttemptStarted",
        "StreamCommitted",
        "AttemptEnded",
        "CallEnded",
    ]
    cut, fell_back = heard.of(StreamCut)[0], heard.of(FellBack)[0]
    assert (cut.number, cut.items) == (1, 2)
    assert (fell_back.from_target, fell_back.to_target) == ("a", "b")
    first, second = heard.of(AttemptEnded)
    assert (first.disposition, second.disposition) == ("fell_back", "returned")
    assert [one.kind for one in heard.of(AttemptStarted)] == ["initial", "fallback"]
    assert [one.number for one in heard.of(StreamCommitted)] == [1, 2]
    (ended,) = heard.of(CallEnded)
    assert (ended.outcome, ended.items, ended.attempts) == ("fallback", 5, 2)


def test_restarts_go_on_to_the_last_target(run, chain, heard, read):
    """Each target that is cut is followed by the next; at last all errors surface, in order."""
    errors = [ConnectionError("a"), ConnectionError("b"), ConnectionError("c")]
    scripts = [[[1, errors[0]]], [[errors[1]]], [[1, 2, errors[2]]]]
    manager = chain(*scripts, midstream="restart")

    async def main():
        return await read(closable(manager.stream()))

    items, failed = run(main)
    assert items == [1, Restarted("a", "c", 1), 1, 2]
    assert isinstance(failed, AllTargetsFailed)
    assert list(failed.exceptions) == errors
    assert [one.target for one in failed.attempts] == ["a", "b", "c"]
    assert [cut.items for cut in heard.of(StreamCut)] == [1, 2]
    assert [one.disposition for one in heard.of(AttemptEnded)] == [
        "fell_back",
        "fell_back",
        "raised",
    ]
    assert heard.of(CallEnded)[0].items == 3


def test_a_restart_with_an_empty_stream_ends(run, chain, read):
    """A target that takes over and has no items leaves the marker as the last word."""
    manager = chain([[1, ConnectionError]], [[]], midstream="restart")

    async def main():
        return await read(closable(manager.stream()))

    assert run(main) == ([1, Restarted("a", "b", 1)], None)


def test_at_last_a_restart_is_degraded(run, chain, read):
    """Where nobody is left the last resort follows a marker that names no target."""
    manager = chain(
        [[1, ConnectionError]], [[ConnectionError]], midstream="restart", degrade=value("sorry")
    )

    async def main():
        async with manager.stream() as items:
            found = [item async for item in items]
        return found, items.outcome

    found, outcome = run(main)
    assert found == [1, Restarted("a", None, 1), "sorry"]
    assert (outcome.degraded, outcome.target) == (True, None)


def test_a_last_resort_is_a_stream_of_one_item(run, chain, heard):
    """`degrade=` answers where nobody has given an item."""
    manager = chain([[ConnectionError]], [[ConnectionError]], degrade=value("sorry"))

    async def main():
        async with manager.stream() as items:
            found = [item async for item in items]
        return found, items.outcome

    found, outcome = run(main)
    assert found == ["sorry"]
    assert (outcome.degraded, outcome.target, len(outcome.attempts)) == (True, None, 2)


def test_a_cut_stream_is_not_degraded(run, chain, read):
    """Without restarts the last resort is for streams that gave nothing."""
    manager = chain([[1, ConnectionError]], degrade=value("sorry"))

    async def main():
        return await read(closable(manager.stream()))

    items, error = run(main)
    assert (items, type(error)) == ([1], ConnectionError)


def test_a_bad_first_item_falls_back(run, sources, chain, read):
    """`on_result` judges the first item alone, and a stream that is bad is closed."""
    manager = chain([["bad", 1]], [["good", "bad"]], on_result=lambda item: item == "bad")

    async def main():
        return await read(closable(manager.stream()))

    assert run(main) == (["good", "bad"], None)
    assert sources.ends == ["GeneratorExit", "ended"]


def test_a_predicate_that_fails_in_a_restart(run, sources, read):
    """Where `on_result` fails with its own error, the stream that it saw is closed."""

    def broken(item):
        if item == 2:
            raise KeyError
        return False

    guarded = fallback(to=[sources.source([2, 3])], midstream="restart", on_result=broken)(
        sources.source([1, ConnectionError])
    )

    async def main():
        return await read(guarded())

    items, error = run(main)
    assert (items, type(error)) == ([1], KeyError)
    assert sources.ends == ["ConnectionError", "GeneratorExit"]


def test_bad_first_items_everywhere(run, chain, read):
    """An `Unacceptable` has the first item of its target, not the stream."""
    manager = chain([["bad"]], [["worse"]], on_result=lambda item: True)

    async def main():
        return await read(closable(manager.stream()))

    items, failed = run(main)
    assert items == []
    assert [type(one) for one in failed.exceptions] == [Unacceptable, Unacceptable]
    assert [one.result for one in failed.exceptions] == ["bad", "worse"]


def test_an_empty_stream_is_an_answer(run, sources, chain, read):
    """No items are a good answer: there is no first one to judge."""
    manager = chain([[]], [[1]], on_result=lambda item: True)

    async def main():
        return await read(closable(manager.stream()))

    assert run(main) == ([], None)
    assert sources.calls == ["a"]


def test_what_a_cut_stream_condemns_rests(run, sources, chain, heard, read):
    """A failure after the commit teaches the chain what any failure does."""
    manager = chain([[1, Limited], [1, 2]], [[3]])

    async def main():
        for _ in range(2):
            await read(closable(manager.stream()))
        health = manager.health()
        await anyio.sleep(50)
        await read(closable(manager.stream()))
        return health, manager.health()

    health, later = run(main)
    assert sources.calls == ["a", "b", "a"]
    assert (health["a"].failed, health["a"].answered, health["a"].skipped) == (1, 0, 1)
    assert health["a"].blocked_for == 50
    assert health["b"].answered == 1
    assert later["a"].answered == 1
    names = [name for name in heard.names if name in {"AttemptEnded", "TargetRests", "CallEnded"}]
    assert names[:3] == ["AttemptEnded", "TargetRests", "CallEnded"]
    assert [rest.seconds for rest in heard.of(TargetRests)] == [50]


@pytest.mark.parametrize("midstream", ["error", "restart"])
def test_an_answer_counts_when_it_has_ended(run, chain, midstream):
    """`health()` counts a stream as answered at its end, and one that was left for nothing."""
    manager = chain([[1, 2]], midstream=midstream)

    async def main():
        async with manager.stream() as items:
            await anext(items)
        first = manager.health()["a"].answered
        async with manager.stream() as items:
            async for _ in items:
                pass
        return first, manager.health()["a"].answered

    assert run(main) == (0, 1)


def test_scopes_hold_for_a_restart(run, sources, heard, read):
    """Whoever shares what failed is not asked to take over."""

    def classify(error):
        return Fault(retryable=False, scope="host")

    targets = [
        Target("a", sources.source([1, ConnectionError], name="a"), scopes={"host": "x"}),
        Target("b", sources.source([1, 2], name="b"), scopes={"host": "x"}),
        Target("c", sources.source([1, 2, 3], name="c"), scopes={"host": "y"}),
    ]
    targets[0] = Target("a", targets[0].call, scopes={"host": "x"}, classify=classify)
    manager = FallbackManager(targets, midstream="restart")

    async def main():
        return await read(closable(manager.stream()))

    assert run(main) == ([1, Restarted("a", "c", 1), 1, 2, 3], None)
    assert sources.calls == ["a", "c"]


def test_what_does_not_move_on_does_not_restart(run, sources, chain, read):
    """An error that `on=` does not cover ends a stream with restarts, too."""
    manager = chain([[1, KeyError]], [[2]], midstream="restart", on=ConnectionError)

    async def main():
        return await read(closable(manager.stream()))

    items, error = run(main)
    assert (items, type(error)) == ([1], KeyError)
    assert sources.calls == ["a"]


def test_a_deadline_is_for_the_chain_and_its_items(run, sources, chain, timed):
    """The chain's deadline counts to the last item; what it cuts is a `TimedOut` of the total."""
    manager = chain([[1.0, 1, 3.0, 2, 9.0, 3]], deadline=10)

    async def main():
        return await timed(closable(manager.stream()))

    *items, (error, at) = run(main)
    assert items == [(1, 1), (2, 4)]
    assert (type(error), error.limit, error.after, at) == (TimedOut, "total", 10, 10)


def test_a_deadline_ends_a_chain_with_restarts(run, sources, chain, timed):
    """When the deadline cuts a stream nobody is left to restart with: all errors surface."""
    manager = chain([[1, 99.0]], [[2]], deadline=10, midstream="restart")

    async def main():
        return await timed(closable(manager.stream()))

    (_, (failed, at)) = run(main)
    assert at == 10
    assert [type(one) for one in failed.exceptions] == [TimedOut, Skipped]
    assert failed.exceptions[1].reason == "deadline"
    assert sources.calls == ["a"]


def test_a_target_has_limits_of_its_own(run, sources, timed):
    """A stall of a target is its failure: another one takes over."""
    manager = FallbackManager(
        [
            Target("a", sources.source([1, 9.0]), policies=timeout(30, between_items=2)),
            Target("b", sources.source([9.0]), timeout=3),
            Target("c", sources.source([ConnectionError], [2]), attempts=2),
        ],
        midstream="restart",
    )

    async def main():
        return await timed(closable(manager.stream()))

    first, (marker, at), second = run(main)
    assert (first, marker) == ((1, 0), Restarted("a", "c", 1))
    assert 5 <= at < 6
    assert second == (2, at)


def test_a_limit_outside_counts_through_a_restart(run, sources, timed):
    """What stands around the fallback limits the opening of the next target as an item."""

    @stack(
        timeout(30, between_items=4), fallback(to=[sources.source([3.0, 2])], midstream="restart")
    )
    async def first():
        yield 1
        await anyio.sleep(2)
        raise ConnectionError

    async def main():
        return await timed(first())

    found = run(main)
    assert found[0] == (1, 0)
    assert (found[1][0].limit, found[1][1]) == ("between_items", 4)


def test_the_decorator_is_the_same_engine(run, sources, read):
    """`@fallback(to=...)` takes streams for a stream; `manager_of` gives its outcome, too."""

    class Client:
        @fallback(to=[sources.source([7, 8], name="other")])
        @retry(attempts=2, backoff=[0])
        async def words(self, prompt):
            seen.append((type(self), prompt))
            raise ConnectionError
            yield

    seen = []

    async def main():
        client = Client()
        plain = [item async for item in client.words("hi")]
        async with manager_of(client.words).stream("hi") as items:
            told = [item async for item in items]
        return plain, told, items.outcome

    plain, told, outcome = run(main)
    assert plain == told == [7, 8]
    assert (outcome.target, len(outcome.attempts)) == ("other", 3)
    assert seen == [(Client, "hi")] * 4


def test_a_restart_is_where_the_source_works(run, sources):
    """The next target is opened in the call, with its own attempt and what is left."""
    seen = []

    async def second():
        seen.append((current_call().attempt, current_call().target))
        yield 2
        seen.append((current_call().attempt, current_call().target))

    @fallback(to=[second], midstream="restart")
    async def first():
        seen.append((current_call().attempt, current_call().target))
        yield 1
        raise ConnectionError

    async def main():
        async for _ in first():
            assert current_call() is None

    run(main)
    name = second.__qualname__
    assert seen == [(1, first.__qualname__), (2, name), (2, name)]


def test_chains_in_chains(run, sources, read):
    """An inner chain restarts first; when it has nobody left, the outer one does."""
    inner = fallback(to=[sources.source([2, ConnectionError], name="b")], midstream="restart")
    outer = fallback(to=[sources.source([3], name="c")], midstream="restart")
    guarded = stack(outer, inner)(sources.source([1, ConnectionError], name="a"))

    async def main():
        return await read(guarded())

    items, error = run(main)
    assert error is None
    assert items == [1, Restarted("a", "b", 1), 2, Restarted("a", "c", 1), 3]


@pytest.mark.parametrize("when", ["at the first item", "at the marker", "at the new first item"])
@pytest.mark.parametrize("how", ["close", "throw"])
def test_what_the_consumer_does_around_a_restart(run, sources, heard, when, how):
    """A stream can be closed or thrown into anywhere: whoever gives the items gets it, once."""
    guarded = stack(fallback(to=[sources.source([2, 3])], midstream="restart"), listeners=[heard])(
        sources.source([1, ConnectionError])
    )
    moves = {"at the first item": 1, "at the marker": 2, "at the new first item": 3}[when]

    async def main():
        stream = guarded()
        for _ in range(moves):
            await anext(stream)
        if how == "close":
            await stream.aclose()
            return
        with pytest.raises(KeyError):
            await stream.athrow(KeyError())

    run(main)
    last = "GeneratorExit" if how == "close" else "KeyError"
    assert sources.ends == (["ConnectionError", last] if moves > 1 else [last])
    assert [one.verdict for one in heard.of(AttemptEnded)][-1] == "neutral"
    assert heard.of(CallEnded)[0].items == {1: 1, 2: 1, 3: 2}[moves]


def test_what_is_sent_goes_to_who_gives_the_items(run):
    """`asend` reaches the target that answers, also behind a restart."""
    got = []

    async def second():
        got.append((yield "b1"))
        got.append((yield "b2"))

    @fallback(to=[second], midstream="restart")
    async def first():
        got.append((yield "a1"))
        raise ConnectionError

    async def main():
        async with aclosing(first()) as stream:
            return [await stream.asend(value) for value in (None, 1, 2, 3)]

    found = run(main)
    assert [found[0], *found[2:]] == ["a1", "b1", "b2"]
    assert got == [1, 3]  # what was sent at the marker was for nobody


def test_the_outcome_is_known_when_the_stream_is_over(run, chain):
    """It is there after the last item and after an early close, and an error is no outcome."""
    manager = chain([[1, 2], [1, ConnectionError]])

    async def main():
        async with manager.stream() as items:
            with pytest.raises(RuntimeError, match="known when it is over"):
                assert items.outcome
            await anext(items)
            with pytest.raises(RuntimeError, match="known when it is over"):
                assert items.outcome
            await anyio.sleep(3)
        await anyio.sleep(3)
        early = items.outcome
        broken = manager.stream()
        await anext(broken)
        with pytest.raises(ConnectionError):
            await anext(broken)
        with pytest.raises(RuntimeError, match="known when it is over"):
            assert broken.outcome
        return early

    outcome = run(main)
    assert (outcome.target, outcome.elapsed) == ("a", 3)
    assert [one.disposition for one in outcome.attempts] == ["cancelled"]


def test_a_scope_that_is_cancelled_already_asks_nobody(run, sources, chain):
    """As `run` does, a stream of a manager looks before it asks."""
    manager = chain([[1]])

    async def main():
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with manager.stream() as items:
                async for _ in items:
                    pass
        return scope.cancelled_caught

    assert run(main)
    assert sources.calls == []


# What is refused.


async def words():
    yield "a"


async def ask():
    return "a"


def unannotated():
    return words()


def forgets_to_await():
    return ask()


MIXED = {
    "to a generator": lambda: fallback(to=[words])(ask),
    "to a coroutine function": lambda: fallback(to=[ask])(words),
    "a manager": lambda: FallbackManager([words, ask]),
    "a manager of Targets": lambda: FallbackManager([Target("a", ask), Target("b", words)]),
}


@pytest.mark.parametrize("case", MIXED)
def test_streams_and_calls_do_not_mix(case):
    """A chain of both kinds is a `TypeError` when it is put together."""
    with pytest.raises(TypeError, match=r"(words gives a stream|ask gives no stream), and the oth"):
        MIXED[case]()


NO_MIDDLE = {
    "to": lambda: fallback(to=[ask], midstream="restart")(ask),
    "degrade": lambda: fallback(degrade=value(1), midstream="restart")(ask),
    "manager": lambda: FallbackManager([ask], midstream="restart"),
}


@pytest.mark.parametrize("case", NO_MIDDLE)
def test_only_a_stream_has_a_middle(case):
    """`midstream=` for coroutine functions is a `TypeError`."""
    with pytest.raises(TypeError, match=r"\(midstream=\) is for streams"):
        NO_MIDDLE[case]()


@pytest.mark.parametrize("make", [fallback, lambda **options: FallbackManager([words], **options)])
def test_a_stream_is_no_answer_to_keep(make):
    """`last_good()` around streams is a `TypeError` when it is put together."""
    with pytest.raises(TypeError, match=r"last_good\(\)\) keeps an answer, and a stream is none"):
        make(degrade=last_good())(words)


def test_a_manager_gives_streams_or_answers(run):
    """`run` of streams and `stream` of answers are a `TypeError` that names the other."""
    streams, answers = FallbackManager([words]), FallbackManager([ask])

    async def main():
        for manager in (streams, manager_of(fallback(degrade=value(1))(words))):
            with pytest.raises(TypeError, match=r"give streams: use stream\(\.\.\.\)"):
                await manager.run()
        for manager in (answers, manager_of(fallback(degrade=value(1))(ask))):
            with pytest.raises(TypeError, match="give no streams"):
                manager.stream()
        with pytest.raises(TypeError, match=r"run_with\(call\) awaits its function, and words"):
            await FallbackManager([Target("a")]).run_with(words)

    run(main)


def test_a_callable_that_says_nothing_is_looked_at_when_it_answers(run, read):
    """A plain function among streams may give one; anything else is a mistake, never a failure."""
    good = fallback(to=[unannotated])(failing)
    bad = fallback(to=[lambda: 3, words], degrade=value("sorry"))(failing)
    coroutine = fallback(to=[forgets_to_await, words])(failing)

    async def main():
        assert await read(good()) == (["a"], None)
        for guarded, kind in ((bad, "int"), (coroutine, "coroutine")):
            items, error = await read(guarded())
            assert items == []
            assert isinstance(error, TypeError)
            assert f"returned {kind}, which is no async iterator" in str(error)

    run(main)


async def failing():
    raise ConnectionError
    yield
