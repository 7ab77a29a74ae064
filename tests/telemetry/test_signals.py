"""The four signals in process: when one comes up, when it goes away, and what is never counted."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from resilient import FallbackManager, Target, retry, stack, telemetry, timeout
from resilient.telemetry import Signal, Signals
from resilient.testing import virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Refused(Exception):
    """An error that says its status, as those of a backend do."""

    def __init__(self, status):
        super().__init__("sentinel")
        self.telemetry_error_type = status


def answering(ends):
    """Return a function whose calls end as told: `None` answers, an error is raised."""
    todo = iter(ends)

    async def ask():
        end = next(todo, None)
        if end is not None:
            raise end

    return ask


def told(make, ends, backend, every=1, **options):
    """Call so often, a second apart; return the signals, each with the second it came in."""
    found = []

    async def caller():
        began = anyio.lowlevel.checkpoint
        await began()
        seconds = 0
        signals = Signals(lambda signal: found.append((seconds, signal)), **options)
        ask = make(answering(ends), signals)
        for _ in ends:
            with contextlib.suppress(Exception):
                await ask()
            await anyio.sleep(every)
            seconds += every

    virtual_time(caller, backend=backend)
    return found


def alone(ask, signals):
    return stack(timeout(3), listeners=[signals], name="ask")(ask)


def chained(ask, signals):
    async def small():
        return "small"

    manager = FallbackManager(
        [Target("large", ask), Target("small", small)], name="ask", listeners=[signals]
    )
    return manager.run


BAD = ValueError("sentinel")


@both
def test_calls_that_fail_come_up_once(backend):
    """Five failures among the last calls are one signal, however many follow."""
    found = told(alone, [None, None, *[BAD] * 20], backend)
    assert found == [(6, Signal("calls_failing", "ask", 5, 7))]
    assert found[0][1].share == pytest.approx(5 / 7)


@both
def test_a_few_failures_at_night_wake_nobody(backend):
    """Fewer than `least` failures say nothing, even if every call fails."""
    assert told(alone, [BAD] * 4, backend) == []
    assert len(told(alone, [BAD] * 4, backend, least=4)) == 1


@both
def test_a_share_below_the_threshold_says_nothing(backend):
    """Many failures among very many calls are below the share, and nothing comes up."""
    ends = ([None] * 19 + [BAD]) * 5
    assert told(alone, ends, backend, failing=0.06) == []
    assert len(told(alone, ends, backend, failing=0.05)) == 1


@both
def test_a_signal_that_went_away_comes_up_again(backend):
    """When the failures have left the window, the next ones are a new signal."""
    ends = [*[BAD] * 5, *[None] * 20, *[BAD] * 5]
    found = told(alone, ends, backend, window=10)
    assert [(second, signal.name) for second, signal in found] == [
        (4, "calls_failing"),
        (29, "calls_failing"),
    ]


@both
def test_answers_of_the_fallback_come_up(backend):
    """Where a later target answers too often, that is a signal, and no call has failed."""
    found = told(chained, [None] * 10 + [BAD] * 10, backend)
    assert found == [(14, Signal("fallback_share", "ask", 5, 15))]


@both
def test_a_throttled_target_comes_up(backend):
    """Attempts that were told 429 are a signal of their target, retried or not."""
    found = told(chained, [None] * 20 + [Refused("429")] * 5, backend, fallback=1)
    assert found == [(24, Signal("throttled", "large", 5, 25))]


@both
@pytest.mark.parametrize("status", ["401", "402"])
def test_a_refused_key_comes_up_at_once(status, backend):
    """The first attempt that a key or the credit does not allow is a signal, until one succeeds."""
    refused = Refused(status)
    found = told(chained, [None, refused, refused, None, refused], backend)
    assert found == [
        (1, Signal("credentials", "large", 1, 1)),
        (4, Signal("credentials", "large", 1, 1)),
    ]


@both
def test_slow_first_items_of_the_primary_come_up(backend):
    """One slow first item in twenty is a signal, where somebody has said what slow is."""
    found = []

    async def caller(**options):
        signals = Signals(found.append, least=1, **options)
        todo = [0.5] * 19 + [2.5]

        async def ask():
            await anyio.sleep(todo.pop(0))
            yield 1

        guarded = stack(retry(), listeners=[signals], name="ask")(ask)
        for _ in range(20):
            async with contextlib.aclosing(guarded()) as stream:
                async for _ in stream:
                    pass

    virtual_time(lambda: caller(slow_first_item=2), backend=backend)
    assert [(signal.name, signal.count, signal.of) for signal in found] == [
        ("slow_first_item", 1, 20)
    ]
    found.clear()
    virtual_time(caller, backend=backend)
    assert found == []


@both
def test_who_goes_away_counts_for_nothing(backend):
    """A call that its caller cancelled is neither a failure nor a success."""
    found = []

    async def slow():
        await anyio.sleep(9)

    async def caller():
        ask = stack(retry(), listeners=[Signals(found.append, least=1)], name="ask")(slow)
        with anyio.move_on_after(1):
            await ask()

    virtual_time(caller, backend=backend)
    assert found == []


def test_it_listens_to_the_whole_process(lines):
    """Installed for the process it hears of every pipeline; a `notify` that fails fails no call."""
    found = []

    def notify(signal):
        found.append(signal.where)
        raise RuntimeError("sentinel")

    telemetry.install(listeners=[Signals(notify, least=1)], logs=False)
    for name in ("one", "two"):
        with contextlib.suppress(ValueError):
            virtual_time(stack(retry(), name=name)(answering([BAD])))
    assert found == ["one", "two"]
    assert [line.getMessage() for line in lines()][-1].startswith("listener Signals failed")


def test_it_watches_so_many_places_and_no_more(monkeypatch):
    """Pipelines and targets beyond a bound are not watched, so it cannot grow without one."""
    from resilient.telemetry import _signals  # noqa: PLC0415 - the bound is its own

    monkeypatch.setattr(_signals, "_PLACES", 2)
    signals = Signals(print, least=1)
    for name in ("a", "b", "c"):
        with contextlib.suppress(ValueError):
            virtual_time(stack(retry(), listeners=[signals], name=name)(answering([BAD])))
    assert len(signals._seen) == 2


def test_it_shows_what_is_up():
    """Its `repr` names the signals that are up."""
    signals = Signals(lambda _: None, least=1)
    assert repr(signals) == "Signals(all quiet)"
    with contextlib.suppress(ValueError):
        virtual_time(stack(retry(), listeners=[signals], name="ask")(answering([BAD])))
    assert repr(signals) == "Signals(calls_failing of ask)"


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"notify": 3}, TypeError, r"Signals\(notify\)"),
        ({"window": 0}, ValueError, r"Signals\(window=\)"),
        ({"least": 0}, ValueError, r"Signals\(least=\)"),
        ({"failing": 0}, ValueError, r"Signals\(failing=\)"),
        ({"fallback": 1.5}, ValueError, r"Signals\(fallback=\)"),
        ({"throttled": "5 %"}, TypeError, r"Signals\(throttled=\)"),
        ({"slow_first_item": -1}, ValueError, r"Signals\(slow_first_item=\)"),
    ],
)
def test_a_wrong_option_is_refused(options, error, complaint):
    """A bad option raises and names itself."""
    notify = options.pop("notify", print)
    with pytest.raises(error, match=complaint):
        Signals(notify, **options)
