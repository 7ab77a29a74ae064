"""One circuit breaker shared by threads, each with a loop of its own.

The interpreter switches threads at known places only: when a function begins
or has returned, and at jumps back. So every interleaving of two calls can be
made by hand. One call is traced, and at its k-th place (a call, a return, a
new line) all of the other call runs in a second thread; then the result is
compared with what one after the other gives. That a torn update is found is
shown with a planted one.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import threading
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

import resilient
from resilient import (
    CircuitOpen,
    any_of,
    circuit_breaker,
    consecutive,
    count_window,
    stack,
    time_window,
)
from resilient._core.evidence import FAILED, SLOW, Evidence, Figures
from resilient._runtime import circuit as circuits
from resilient._runtime import world as worlds
from resilient._runtime.clock import now
from resilient._runtime.exact import count, has_gil
from resilient._runtime.listeners import process
from resilient.events import BreakerChanged
from resilient.testing import virtual_time

OURS = tuple(
    str(Path(resilient.__file__).parent / name)
    for name in (
        "_core/breaker.py",
        "_core/evidence.py",
        "_runtime/breaker.py",
        "_runtime/circuit.py",
        "_runtime/exact.py",
        "_runtime/world.py",
    )
)
"""Where the state of a breaker is read and written."""


@pytest.fixture(autouse=True)
def _quiet(caplog):
    """Keep hundreds of lines about failures out of the report."""
    caplog.set_level(logging.CRITICAL, "resilient")


class Interleaved:
    """Runs one function and, at its k-th place where threads may be switched, all of another."""

    def __init__(self, first, second, at, files=OURS):
        self.second = second
        self.left = at
        self.files = files
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(target=self._run_second, daemon=True)
        before = sys.gettrace(), sys.getprofile()
        sys.settrace(self._place)
        sys.setprofile(self._c_place)
        try:
            first()
        finally:
            sys.setprofile(before[1])
            sys.settrace(before[0])
        if not self.reached:
            self.thread.start()
        self.thread.join(5)
        assert not self.thread.is_alive(), "the second call waits for ever"
        if self.errors:
            raise self.errors[0]

    @property
    def reached(self):
        return self.left <= 0

    def _run_second(self):
        try:
            self.second()
        except BaseException as error:
            self.errors.append(error)

    def _place(self, frame, event, arg):
        if self.reached or not frame.f_code.co_filename.startswith(self.files):
            return None
        self.left -= 1
        if not self.left:
            self.thread.start()
            if not self._in_a_step():  # else it may have to wait until we leave it
                self.thread.join(5)
        return self._place

    def _c_place(self, frame, event, arg):
        if event in {"c_call", "c_return"}:
            self._place(frame, event, arg)

    def _in_a_step(self):
        frame = sys._getframe(2)
        while frame is not None:
            lock = getattr(frame.f_locals.get("self"), "lock", None)
            if lock is not None and "locked" in dir(lock) and lock.locked():
                return True
            frame = frame.f_back
        return False


def every_interleaving(make, files=OURS):
    """Yield what `make()` observes after each interleaving of the two functions it returns."""
    at = 0
    while True:
        at += 1
        first, second, observe = make()
        if not Interleaved(first, second, at, files).reached:
            return
        yield observe()


def one_after_the_other(make):
    """Return what is observed after either order."""
    found = []
    for swap in (False, True):
        first, second, observe = make()
        for one in (second, first) if swap else (first, second):
            one()
        found.append(observe())
    return found


def strays(make, files=OURS):
    """Return how many interleavings there are, and what no order of two calls explains."""
    allowed = one_after_the_other(make)
    found = list(every_interleaving(make, files))
    return len(found), [one for one in found if one not in allowed]


RULES = {
    "row": consecutive(2),
    "a row of slow ones": consecutive(2, slow_call=9),
    "count": count_window(4, min_calls=2, failure_rate=0.5),
    "a full count": count_window(2, min_calls=2, failure_rate=0.5),
    "time": time_window(30, min_calls=2, failure_rate=0.5),
    "time with slow ones": time_window(30, min_calls=3, failure_rate=1.0, slow_call=9),
    "several": any_of(consecutive(2), time_window(30, min_calls=2, failure_rate=1.0)),
}


def figures(evidence: Evidence, now: float) -> Any:
    """Return what evidence comes to; of several rules each for itself."""
    parts = getattr(evidence, "parts", ((evidence, True),))
    return [part.figures(now) for part, _ in parts]


def on_evidence(rule, first, second, before=(), apart=0.0):
    """Return what makes two steps on fresh evidence: a letter each, S without the lock."""

    def make():
        evidence = rule.evidence()
        for letter in before:
            step(evidence, letter, 100.0)()
        return (
            step(evidence, first, 100.0),
            step(evidence, second, 100.0 + apart),
            lambda: figures(evidence, 100.0 + apart),
        )

    def step(evidence, letter, now):
        if letter == "S":
            return lambda: evidence.success(now)
        return lambda: evidence.add(now, {"F": FAILED, "L": SLOW}[letter])

    return make


# Whoever adds holds the lock; a success is written without it, at any moment.
PAIRS = [("S", "S"), ("S", "F"), ("F", "S"), ("S", "L"), ("L", "S")]


@pytest.mark.parametrize("pair", PAIRS, ids="".join)
@pytest.mark.parametrize("apart", [0.0, 4.0, 40.0], ids=["together", "later", "much later"])
@pytest.mark.parametrize("name", RULES)
def test_evidence_is_exact_though_a_success_takes_no_lock(name, pair, apart):
    """Wherever threads are switched, the evidence is what one of the two orders gives."""
    if not has_gil():
        return
    for before in ("", "F", "SF"):
        number, wrong = strays(on_evidence(RULES[name], *pair, before, apart))
        assert number
        assert wrong == []


def plus_one(number):
    return number + 1


class Torn(Evidence):
    """A counter with the mistake: a function is called between the load and the store."""

    def __init__(self):
        self.calls = 0

    def success(self, now):
        self.calls = plus_one(self.calls)

    def add(self, now, what):
        self.success(now)
        return False

    def figures(self, now):
        return Figures(self.calls)


@dataclass(frozen=True)
class TornRule:
    """A rule with the planted mistake."""

    slow_call: float = inf
    timed: bool = False
    window: float = inf

    def evidence(self):
        return Torn()

    def describe(self):
        return "never"


def test_a_torn_update_of_evidence_is_found():
    """The same look at evidence that reads, calls a function and writes finds the lost call."""
    number, wrong = strays(on_evidence(TornRule(), "S", "S"), (*OURS, __file__))
    assert number > 1
    assert [Figures(1)] in wrong


class Deaf:
    """A listener: with one, every call goes through a permit."""

    def on_event(self, event, call):
        """Hear nothing."""


class Calls:
    """Two guarded calls of one fresh breaker, each in a loop of its own, and what came of them."""

    names = iter(range(10**9))

    def __init__(self, loops, outcomes, *, listeners=(), **options):
        self.breaker = circuit_breaker(f"threads {next(self.names)}", **options)
        self.runs = [0]
        self.breaker.disable()
        self.first, self.second = (
            self.call(loop, outcome, listeners)
            for loop, outcome in zip(loops, outcomes, strict=True)
        )
        self.breaker.enable()
        self.runs = [0]
        self.circuit = self.breaker._owner().single()

    def call(self, loop, outcome, listeners):
        @stack(self.breaker, listeners=listeners)
        async def function():
            count(self.runs, 0)
            if outcome == "F":
                raise ConnectionError

        async def whatever_comes():
            with suppress(ConnectionError, CircuitOpen):
                await function()

        def run():
            loop.run_until_complete(whatever_comes())

        run()  # it has found its circuit
        return run

    def observed(self):
        """Return what both together have come to; each has run or was refused."""
        circuit = self.circuit
        assert self.runs[0] + circuit.refused[0] == 2
        assert not circuit.results
        assert not circuit.line
        evidence = circuit.breaker.evidence
        held = None if evidence is None else figures(evidence, now())
        return circuit.breaker.state, held, circuit.breaker.openings


@pytest.fixture
def loops():
    """Return two event loops, which are run in two threads."""
    made = [asyncio.new_event_loop() for _ in range(2)]
    yield made
    for loop in made:
        loop.close()


@pytest.mark.parametrize("pair", ["SS", "SF", "FS", "FF"])
@pytest.mark.parametrize("listens", [False, True], ids=["nobody listens", "somebody listens"])
@pytest.mark.parametrize("name", ["row", "count", "time", "time with slow ones"])
def test_calls_of_two_loops_are_exact(loops, name, listens, pair):
    """Wherever two calls are interleaved, state and counts are what one of the orders gives."""

    def make():
        calls = Calls(loops, pair, trip=RULES[name], listeners=[Deaf()] if listens else [])
        calls.breaker.acquire().fail()
        return calls.first, calls.second, calls.observed

    number, wrong = strays(make)
    assert number > 3
    assert wrong == []


def test_a_torn_update_in_a_call_is_found(loops):
    """The same look at calls whose evidence is torn finds the lost one."""

    def make():
        calls = Calls(loops, "SS", trip=TornRule())
        return calls.first, calls.second, calls.observed

    _, wrong = strays(make, (*OURS, __file__))
    assert ("closed", [Figures(1)], 0) in wrong


class Watched(Torn):
    """Evidence that notes for each call whether the lock of its circuit is held."""

    def __init__(self):
        super().__init__()
        self.circuit = None
        self.held = []

    def success(self, now):
        super().success(now)
        if self.circuit is not None:
            self.held.append(self.circuit.lock.locked())


class WatchedRule(TornRule):
    """A rule with that evidence."""

    def evidence(self):
        return Watched()


@pytest.mark.parametrize("shares", [True, False])
def test_where_threads_run_at_once_a_success_takes_the_lock(loops, monkeypatch, shares):
    """A success is written without the lock only where the interpreter has one of its own."""
    monkeypatch.setattr(circuits, "_SHARES", shares)
    calls = Calls(loops, "SF", trip=WatchedRule())
    evidence = calls.circuit.breaker.evidence
    evidence.circuit = calls.circuit
    calls.first()
    calls.second()
    assert calls.circuit.plain is shares
    assert evidence.held == [not shares, True]


@pytest.mark.parametrize("listens", [False, True], ids=["nobody listens", "somebody listens"])
def test_refusals_of_two_loops_are_counted(loops, listens):
    """Two calls of an open circuit are two refusals, wherever they are interleaved."""

    def make():
        calls = Calls(loops, "SS", trip=consecutive(1), listeners=[Deaf()] if listens else [])
        calls.breaker.acquire().fail()
        return calls.first, calls.second, calls.observed

    _, wrong = strays(make)
    assert wrong == []
    assert one_after_the_other(make) == [("open", None, 1)] * 2


def test_of_two_loops_one_probes(loops):
    """A probe that fails and a second call: one of them has run in every interleaving."""

    def make():
        calls = Calls(loops, "FF", trip=consecutive(1), open_for=[0, 3600])
        calls.breaker.acquire().fail()
        return calls.first, calls.second, lambda: (calls.observed(), calls.runs[0])

    for observed, ran in every_interleaving(make):
        assert (observed, ran) == (("open", None, 2), 1)


def test_while_a_probe_runs_the_other_loop_is_refused(loops):
    """A probe that succeeds: a call is refused meanwhile, and counted before it and after it."""
    seen = []

    def make():
        calls = Calls(loops, "SS", trip=count_window(9, min_calls=1), open_for=0)
        calls.breaker.acquire().fail()
        return calls.first, calls.second, lambda: (calls.observed(), calls.runs[0])

    for (state, held, _), ran in every_interleaving(make):
        # The probe is no evidence of the closed period; what comes after it is.
        assert (state, held) == ("closed", [Figures(ran - 1, 0, 0, 1)])
        seen.append(ran)
    assert {1, 2} == set(seen)


class Changes:
    """A listener that notes transitions, and does something at the first."""

    def __init__(self, does=lambda: None):
        self.heard = []
        self.does = does

    def on_event(self, event, call):
        if isinstance(event, BreakerChanged):
            self.heard.append((event.from_state, event.to_state))
            if len(self.heard) == 1:
                self.does()


@pytest.mark.parametrize("other", ["close", "disable", "enable", "a call"])
def test_transitions_are_told_in_their_order(loops, monkeypatch, other):
    """Whatever a second thread does meanwhile, each transition begins where the last ended."""
    listener = Changes()
    monkeypatch.setattr(process, "quiet", (listener,))

    def make():
        calls = Calls(loops, "FF", trip=consecutive(1), open_for=0)
        listener.heard = []
        second = getattr(calls.breaker, other, calls.second)
        return calls.first, second, lambda: calls.breaker.snapshot().state

    for state in every_interleaving(make):
        ends = ["closed", *(after for _, after in listener.heard)]
        assert [before for before, _ in listener.heard] == ends[:-1]
        assert ends[-1] == state


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("does", ["snapshot", "close", "disable", "acquire"])
def test_a_listener_may_use_the_breaker(backend, does):
    """It is told outside of the lock: it can look, act and call, and hears what that leads to."""

    async def main():
        breaker = circuit_breaker("used", trip=consecutive(1), open_for=0)
        listener = Changes(getattr(breaker, does))

        @stack(breaker, listeners=[listener])
        async def fails():
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await fails()
        return listener.heard, breaker.snapshot().state

    heard, state = virtual_time(main, backend=backend, check_leftovers=True)
    second = {"close": "closed", "disable": "disabled"}.get(does)
    # Told in the call that it was done in: by hand in a listener that is the same call.
    expected = [("closed", "open")]
    if second:
        expected.append(("open", second))
    if does == "acquire":
        expected.append(("open", "half_open"))
    assert heard == expected
    assert state == expected[-1][1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_listener_that_raises_changes_nothing(backend, caplog):
    """The transition has happened, the other listeners hear of it, and the call ends as it does."""

    def breaks():
        raise ZeroDivisionError

    async def main():
        breaker = circuit_breaker("raises", trip=consecutive(1), open_for=60)
        other = Changes()

        @stack(breaker, listeners=[Changes(breaks), other])
        async def fails():
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await fails()
        with pytest.raises(CircuitOpen):
            await fails()
        breaker.close()
        return other.heard, breaker.snapshot().state

    heard, state = virtual_time(main, backend=backend, check_leftovers=True)
    assert (heard, state) == ([("closed", "open")], "closed")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_listener_that_is_interrupted_does_not_silence_the_next(stop):
    """What is no Exception leaves the listener, and the next transition is told again."""

    def interrupted():
        raise stop

    async def main():
        breaker = circuit_breaker("interrupted", trip=consecutive(1), open_for=0)
        listener = Changes(interrupted)

        @stack(breaker, listeners=[listener])
        async def fails():
            raise ConnectionError

        with suppress(stop):
            await fails()
        with pytest.raises(ConnectionError):
            await fails()
        return listener.heard

    assert virtual_time(main) == [("closed", "open"), ("open", "half_open"), ("half_open", "open")]


def steps_of(breaker):
    """Return the steps of a circuit that take its lock, by name."""
    permit = breaker.acquire()
    return {
        "admit": lambda: breaker.acquire().release(),
        "settle": permit.fail,
        "by_hand": breaker.close,
        "snapshot": breaker.snapshot,
    }


@pytest.mark.parametrize("step", ["admit", "settle", "by_hand", "snapshot"])
def test_a_coroutine_may_be_closed_in_the_middle_of_a_step(step):
    """Wherever in a step the collector closes a probe of the same thread, its place comes back."""

    async def waits(breaker):
        await stack(breaker, listeners=[Deaf()]).call(anyio.sleep_forever)

    async def main(at):
        breaker = circuit_breaker(f"closed {step}", trip=consecutive(3), probes=3, open_for=0)
        for _ in range(3):
            breaker.acquire().fail()
        probe = waits(breaker)
        # As in a task of its own: what is called here is no part of it.
        copy_context().run(probe.send, None)
        circuit = breaker._owner().single()
        assert len(circuit.breaker.half_open.places) == 1
        act, left = steps_of(breaker)[step], at

        def closes(frame, event, arg):
            nonlocal left
            if left and frame.f_code.co_filename.startswith(OURS):
                left -= 1
                if not left:
                    sys.setprofile(None)
                    probe.close()

        sys.setprofile(closes)
        try:
            act()
        finally:
            sys.setprofile(None)
        probe.close()  # where it was not reached
        half_open = circuit.breaker.half_open
        assert half_open is None or len(half_open.places) <= 1
        assert not circuit.results
        assert not circuit.lock.locked()
        breaker.close()
        return left == 0

    at = 1
    while virtual_time(main, at):
        at += 1
    assert at > 5


def test_four_threads_count_every_call():
    """Four loops in four threads call one function two thousand times, and no call is lost."""
    each, fails_every = 500, 4
    trip = count_window(2 * 4 * each, min_calls=2 * 4 * each)
    observed = circuit_breaker("four", trip=trip)
    opened = circuit_breaker("four refuse", trip=consecutive(1), open_for=3600)
    opened.acquire().fail()
    barrier, errors = threading.Barrier(4), []

    @observed
    async def function(number):
        if number % fails_every == 0:
            raise ConnectionError

    refused = opened(function)

    async def calls():
        for number in range(each):
            with suppress(ConnectionError):
                await function(number)
            with suppress(CircuitOpen):
                await refused(number)

    def work(run):
        try:
            barrier.wait(5)
            run(calls)
        except BaseException as error:
            errors.append(error)

    def in_asyncio(main):
        asyncio.run(main())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        runs = [in_asyncio, trio.run, in_asyncio, trio.run]
        threads = [threading.Thread(target=work, args=[run]) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert errors == []
    found = observed.snapshot()
    assert (found.calls, found.failures) == (4 * each, 4 * each // fails_every)
    assert opened.snapshot().refused == 4 * each


def test_four_threads_lose_no_permit():
    """Permits of four threads, settled in every way, leave a half-open circuit with all places."""
    breaker = circuit_breaker("permits", trip=consecutive(1), open_for=0, probes=3, successes=1)
    barrier, errors, granted = threading.Barrier(4), [], [0]

    def work(seed):
        chance = random.Random(seed)
        try:
            barrier.wait(5)
            for _ in range(1000):
                try:
                    permit = breaker.acquire()
                except CircuitOpen:
                    continue
                count(granted, 0)
                getattr(permit, chance.choice(["succeed", "fail", "fail", "release"]))()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert granted[0] + breaker.snapshot().refused == 4000
    circuit = breaker._owner().single()
    assert not circuit.results
    assert not circuit.line
    half_open = circuit.breaker.half_open
    assert half_open is None or not half_open.places


@pytest.mark.parametrize("runs", [["asyncio"] * 3, ["trio"] * 3, ["asyncio", "trio", "asyncio"]])
def test_one_function_in_loop_after_loop(runs):
    """What one loop has opened the next finds open: nothing is bound to a loop."""
    breaker = circuit_breaker("loops", trip=consecutive(1), open_for=3600)
    fails = [True, True, False]

    @breaker
    async def function():
        await anyio.lowlevel.checkpoint()
        if fails[0]:
            raise ConnectionError

    async def main():
        try:
            await function()
        except Exception as error:
            return type(error)
        return "value"

    found = []
    for name in runs:
        found.append(asyncio.run(main()) if name == "asyncio" else trio.run(main))
        fails.pop(0)
        if len(found) == 2:
            breaker.close()
    assert found == [ConnectionError, CircuitOpen, "value"]


def test_making_room_for_a_key_while_another_is_used(monkeypatch):
    """Wherever a known key is used while a new one pushes another out, nobody stumbles."""
    monkeypatch.setattr(worlds, "MOST_KEYS", 3)

    def make():
        family = worlds.Family("keys", circuit_breaker("k", key="k")._part.options)
        for key in "abc":
            family.for_key(key).breaker.admit(0)
        family.for_key("a")
        return (
            lambda: family.for_key("new"),
            lambda: (family.for_key("a"), family.for_key("c")),
            lambda: sorted(family.by_key),
        )

    found = list(every_interleaving(make))
    assert len(found) > 10
    assert all("a" in keys and "new" in keys for keys in found)
    assert max(map(len, found)) == 3


def test_an_instance_may_go_while_all_circuits_are_looked_at():
    """Wherever an instance ends while a family is looked at, nobody stumbles."""

    def make():
        family = worlds.Family("instances", circuit_breaker("i", per="instance")._part.options)
        alive = [Instance() for _ in range(3)]
        for instance in alive:
            family.for_instance(instance)
        return (lambda: family.snapshot(0), alive.clear, lambda: len(family.by_instance))

    found = list(every_interleaving(make))
    assert len(found) > 10
    assert set(found) == {0}


class Instance:
    """Something that methods belong to."""
