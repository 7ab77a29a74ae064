"""Which circuit of a family a call meets: keys and instances."""

from __future__ import annotations

import functools
import gc
import weakref

import pytest
from breaking import both, fails, outcome, run

from resilient import (
    CircuitIsolated,
    CircuitOpen,
    FallbackManager,
    Target,
    circuit_breaker,
    consecutive,
    count_window,
    explain,
    stack,
)
from resilient._runtime import world as worlds


def by_key(breaker):
    """Return ways to take a parameter `shard`, each with ways to give it."""

    @breaker
    async def positional(shard, other=0):
        return shard

    @breaker
    async def with_default(other=0, shard="eu"):
        return shard

    @breaker
    async def keyword_only(*others, shard="eu"):
        return shard

    @breaker
    async def positional_only(shard, /, **kwargs):
        return shard

    class Owner:
        @breaker
        async def method(self, shard):
            return shard

        @breaker
        @classmethod
        async def of_class(cls, shard):
            return shard

        @breaker
        @staticmethod
        async def static(shard):
            return shard

        async def __call__(self, shard):
            return shard

    async def partly(first, shard, last=0):
        return shard

    return {
        "positional": lambda: positional("eu"),
        "by name": lambda: positional(other=1, shard="eu"),
        "default": with_default,
        "behind a default": lambda: with_default(1, "eu"),
        "keyword-only": lambda: keyword_only(1, 2, 3, shard="eu"),
        "keyword-only default": lambda: keyword_only("us", "us", "us"),
        "positional-only": lambda: positional_only("eu", shard="us"),
        "method": lambda: Owner().method("eu"),
        "unbound method": lambda: Owner.method(Owner(), shard="eu"),
        "classmethod": lambda: Owner.of_class("eu"),
        "staticmethod": lambda: Owner().static("eu"),
        "object": lambda: stack(breaker).call(Owner(), "eu"),
        "bound method": lambda: stack(breaker).call(Owner().__call__, "eu"),
        "partial": lambda: stack(breaker).call(functools.partial(partly, 1), "eu"),
        "partial that gives it": lambda: stack(breaker).call(
            functools.partial(partly, 1, shard="eu")
        ),
    }


@pytest.mark.parametrize("way", by_key(circuit_breaker("ways", key="shard")))
def test_a_key_is_a_parameter_however_it_is_given(way):
    """The circuit is that of the parameter's value, by whatever means it arrives."""

    async def main():
        breaker = circuit_breaker("by key", key="shard", trip=count_window(9, min_calls=9))
        assert await by_key(breaker)[way]() == "eu"
        return breaker.snapshot().keys, breaker.for_key("eu").snapshot().calls

    assert run(main) == (1, 1)


@both
def test_one_shard_that_is_down_leaves_the_others_alone(backend):
    """A partial outage stays partial."""
    calls = []

    async def main():
        breaker = circuit_breaker("shards", key="shard", trip=consecutive(1), open_for=60)

        @breaker
        async def order(shard):
            calls.append(shard)
            if shard == "eu":
                raise ConnectionError
            return shard

        found = [await outcome(order, shard) for shard in ("eu", "us", "eu", "us")]
        snapshot = breaker.snapshot()
        assert explain(order).count('"shards": open; opens') == 1
        return found, (snapshot.state, snapshot.keys, snapshot.refused, snapshot.opened_by.error)

    found, snapshot = run(main, backend=backend)
    assert found == [ConnectionError, "us", CircuitOpen, "us"]
    assert snapshot == ("open", 2, 1, "ConnectionError")
    assert calls == ["eu", "us", "us"]


def test_the_snapshot_of_a_family_adds_up():
    """Figures are sums, the state is the worst, the wait the shortest; without keys it is blank."""

    async def main():
        breaker = circuit_breaker("sums", key="k", trip=count_window(9, min_calls=4), open_for=60)
        assert (breaker.snapshot().keys, breaker.snapshot().retry_after) == (0, 0)

        @breaker
        async def function(k, error=None):
            if error is not None:
                raise error

        for key in "abc":
            await function(key)
            await outcome(function, key, ConnectionError())
        before = breaker.snapshot()
        for _ in range(2):
            await outcome(function, "b", ConnectionError())
        return before, breaker.snapshot()

    before, after = run(main)
    assert (before.state, before.calls, before.failures, before.keys) == ("closed", 6, 3, 3)
    assert before.failure_rate == 0.5
    assert (after.state, after.calls, after.failures, after.retry_after) == ("open", 4, 2, 0)


def test_a_key_may_be_a_function_of_the_arguments():
    """It gets what the call gets."""

    async def main():
        breaker = circuit_breaker("function", key=lambda a, *, b: (a % 2, b), trip=consecutive(1))

        @breaker
        async def function(a, *, b):
            raise ConnectionError

        found = [await outcome(function, a, b=b) for a, b in ((1, 1), (3, 1), (2, 1), (1, 2))]
        assert "one circuit per answer of" in explain(function)
        return found, breaker.snapshot().keys

    assert run(main) == ([ConnectionError, CircuitOpen, ConnectionError, ConnectionError], 3)


@both
def test_the_key_of_a_target_without_a_callable_sees_its_name(backend):
    """A key is asked with what the caller's function gets: the target's name and the data."""
    shared = circuit_breaker("names", key=lambda model, data: model, trip=consecutive(1))
    names = ("one", "two")
    manager = FallbackManager[str]([Target(name, policies=shared) for name in names])
    asked: list[str] = []

    async def ask(name: str, data: str) -> str:
        asked.append(name)
        if name == "one":
            raise ConnectionError
        return name + data

    async def main():
        told = [(await manager.run_with(ask, "!")).value for _ in range(2)]
        return told, [shared.for_key(name).snapshot().state for name in names]

    assert run(main, backend=backend) == (["two!", "two!"], ["open", "closed"])
    assert asked == ["one", "two", "two"]


class Raises(Exception):
    """What a key function raises."""


@both
@pytest.mark.parametrize("state", ["closed", "open"])
def test_a_key_that_raises_fails_the_call_and_nothing_else(backend, state):
    """The error of the key surfaces, the function is not called, and no circuit has learned."""

    def key(shard):
        if shard == "bad":
            raise Raises
        return shard

    async def main():
        breaker = circuit_breaker("raises", key=key, trip=consecutive(1), open_for=9)
        function = breaker(fails)
        if state == "open":
            await outcome(function, "a")
        before = breaker.snapshot()
        assert await outcome(function, "bad") is Raises
        return breaker.snapshot() == before

    assert run(main, backend=backend)


class Unequal:
    """A key that cannot be compared."""

    def __hash__(self):
        return 1

    def __eq__(self, other):
        raise TypeError("no comparison")


@pytest.mark.parametrize(
    ("key", "message"),
    [([1], "must give something hashable, not a list"), (({},), "hashable, not a tuple")],
)
def test_a_key_that_cannot_be_hashed_is_a_type_error(key, message):
    """The error says what has to be hashable, in a call and by hand."""

    async def main():
        breaker = circuit_breaker("unhashable", key="k")

        @breaker
        async def function(k):
            raise AssertionError

        with pytest.raises(TypeError, match=message):
            await function(key)
        with pytest.raises(TypeError, match=message):
            breaker.for_key(key)
        return breaker.snapshot().keys

    assert run(main) == 0


def test_a_key_that_cannot_be_compared_raises_its_own_error():
    """What the key's `__eq__` raises is not taken for a key that is unhashable."""

    async def main():
        breaker = circuit_breaker("unequal", key="k")

        @breaker
        async def function(k):
            """Do nothing."""

        await function(Unequal())
        with pytest.raises(TypeError, match="no comparison"):
            await function(Unequal())

    run(main)


def test_a_wrong_call_fails_as_without_a_breaker():
    """A call that misses the key's parameter is the TypeError that Python gives."""

    async def main():
        breaker = circuit_breaker("wrong call", key="k")

        @breaker
        async def function(a, k):
            """Do nothing."""

        with pytest.raises(TypeError, match="missing a required argument: 'k'"):
            await function(1)
        return breaker.snapshot().keys

    assert run(main) == 0


@pytest.mark.parametrize("key", ["missing", "args", "kwargs"])
def test_a_key_that_is_no_parameter_is_refused_at_decoration(key):
    """The ValueError names the function, its parameters and the key."""
    with pytest.raises(ValueError, match=r"must be a parameter of .*function, which are a, b, not"):

        @circuit_breaker("no parameter", key=key)
        async def function(a, *args, b=1, **kwargs):
            """Do nothing."""


def test_a_reference_to_a_keyed_breaker_is_checked_as_well():
    """A function that refers to a family has to have the parameter."""
    circuit_breaker("keyed", key="shard")(by_shard)
    with pytest.raises(ValueError, match="must be a parameter of"):
        circuit_breaker("keyed")(fails_with_nothing)


async def by_shard(shard):
    """Do nothing."""


async def fails_with_nothing():
    """Do nothing."""


@pytest.fixture
def few(monkeypatch):
    """Let families have no more than eight circuits."""
    assert worlds.MOST_KEYS == 1024
    monkeypatch.setattr(worlds, "MOST_KEYS", 8)


@pytest.mark.usefixtures("few")
def test_a_family_keeps_a_bounded_number_of_circuits(caplog):
    """A closed circuit makes room: one that was not used lately, and never one that is open."""

    async def main():
        breaker = circuit_breaker("bounded", key="k", trip=consecutive(1))

        @breaker
        async def function(k, error=None):
            if error is not None:
                raise error

        await outcome(function, "open", ConnectionError())
        await function("hot")
        keys = breaker._owner().by_key
        kept = keys["hot"]
        for number in range(1000):
            await function(number)
            await function("hot")
        return len(keys), keys["hot"] is kept, await outcome(function, "open")

    assert run(main) == (8, True, CircuitOpen)
    assert "none is closed" not in caplog.text


@pytest.mark.usefixtures("few")
def test_a_family_of_open_circuits_guards_no_more_keys(caplog):
    """When all are open further keys are not guarded, which the log says once."""

    async def main():
        breaker = circuit_breaker("all open", key="k", trip=consecutive(1))
        function = breaker(by_k)
        for number in range(8):
            await outcome(function, number)
        # Not guarded: each call of a further key is its first.
        found = [await outcome(function, "more") for _ in range(3)]
        assert breaker.snapshot().keys == 8
        assert breaker.for_key("more").snapshot().state == "closed"
        assert breaker.snapshot().keys == 8
        # What is done by hand holds, whatever room there is.
        with breaker.for_key("more").isolate():
            found.append(await outcome(function, "more"))
        breaker.close()
        found += [await outcome(function, "more") for _ in range(2)]
        return found

    assert run(main) == [*[ConnectionError] * 3, CircuitIsolated, ConnectionError, CircuitOpen]
    assert caplog.text.count("has 8 keys and none is closed") == 1


async def by_k(k):
    raise ConnectionError


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("by_hand", ["isolated", "disabled"])
def test_a_family_that_is_set_by_hand_stays_bounded(by_hand, caplog):
    """Isolated or disabled as a whole, any number of keys is so, and few are kept."""

    async def main():
        breaker = circuit_breaker("set", key="k", trip=consecutive(1))
        function = breaker(by_k)
        if by_hand == "disabled":
            breaker.disable()
            found = {await outcome(function, number) for number in range(50)}
            kept = breaker.snapshot().keys
            breaker.enable()
        else:
            with breaker.isolate():
                found = {await outcome(function, number) for number in range(50)}
                kept = breaker.snapshot().keys
        return found, kept, breaker.snapshot().state

    error = ConnectionError if by_hand == "disabled" else CircuitIsolated
    assert run(main) == ({error}, 8, "closed")
    assert "none is closed" not in caplog.text


@pytest.mark.usefixtures("few")
def test_a_key_that_is_isolated_by_itself_is_not_forgotten():
    """However many keys come meanwhile, the isolated one refuses until it is released."""

    async def main():
        breaker = circuit_breaker("one isolated", key="k")

        @breaker
        async def function(k):
            return k

        with breaker.for_key("a").isolate():
            for number in range(50):
                await function(number)
            assert await outcome(function, "a") is CircuitIsolated
        return await function("a")

    assert run(main) == "a"


def test_a_family_has_no_single_circuit_and_a_breaker_without_keys_no_family():
    """`acquire` of a family and `for_key` of a single circuit say what to do instead."""
    family = circuit_breaker("family", key="k")
    with pytest.raises(TypeError, match=r'"family" has a circuit for each key: use for_key'):
        family.acquire()
    with family.for_key("a").acquire():
        assert family.snapshot().keys == 1
    single = circuit_breaker("single", trip=consecutive(1))
    with pytest.raises(TypeError, match=r'"single" has no keys: it was defined without key='):
        single.for_key("a")
    with pytest.raises(TypeError, match='"each" has a circuit for each instance'):
        circuit_breaker("each", per="instance").acquire()


# --- instances


class Client:
    """A client of its own host, whose calls are guarded per client."""

    def __init__(self, error=None):
        self.error = error

    @circuit_breaker("clients", per="instance", trip=consecutive(1))
    async def call(self, other=None):
        if self.error is not None:
            raise self.error
        return "value"


@both
def test_each_instance_has_a_circuit_of_its_own(backend):
    """One client that is down leaves the other alone, however the method is called."""

    async def main():
        down, up = Client(ConnectionError()), Client()
        found = [await outcome(down.call), await outcome(up.call), await outcome(down.call)]
        found += [await outcome(Client.call, up), await outcome(Client.call, down)]
        assert "one circuit per instance" in explain(up.call)
        return found, circuit_breaker("clients").snapshot().keys

    found, keys = run(main, backend=backend)
    assert found == [ConnectionError, "value", CircuitOpen, "value", CircuitOpen]
    assert keys == 2


def test_an_instance_is_held_weakly():
    """When the last reference is gone so is the instance, without the collector of cycles."""

    async def main():
        client = Client()
        await client.call()
        instance = weakref.ref(client)
        gc.collect()
        gc.disable()
        try:
            del client
            return instance(), circuit_breaker("clients").snapshot().keys
        finally:
            gc.enable()

    assert run(main) == (None, 0)


def test_an_instance_is_forgotten_with_its_circuit():
    """A thousand clients that come and go leave no circuit behind."""

    async def main():
        for _ in range(1000):
            await Client().call()
        family = circuit_breaker("clients")._owner()
        return len(family.by_instance)

    assert run(main) == 0


def test_an_id_that_is_used_again_is_another_instance():
    """A circuit that was left behind under an id is not that of whoever has the id next."""

    async def main():
        family = circuit_breaker("clients", per="instance", trip=consecutive(1))._owner()
        first, second = Client(), Client()
        circuit = family.for_instance(first)
        # As if the second had been made where the first one was.
        family.by_instance[id(second)] = family.by_instance[id(first)]
        other = family.for_instance(second)
        # What is called when the first one ends leaves whoever has its id now alone.
        number = id(first)
        family.by_instance[number] = family.by_instance[id(second)]
        del first
        return other is circuit, family.for_instance(second) is other, number in family.by_instance

    assert run(main) == (False, True, True)


class Slotted:
    """An instance that cannot be held weakly."""

    __slots__ = ("a",)

    @circuit_breaker("slotted", per="instance")
    async def call(self):
        """Do nothing."""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Slotted().call(), r'Slotted has no "__weakref__" among its slots'),
        (circuit_breaker("none", per="instance")(fails), "called without an instance"),
        (lambda: circuit_breaker("int", per="instance")(fails)(5), 'int has no "__weakref__"'),
    ],
)
def test_what_is_no_instance_is_a_type_error(call, message):
    """An instance without `__weakref__`, and a call without any, say what is missing."""

    async def main():
        with pytest.raises(TypeError, match=message):
            await call()

    run(main)


def test_the_instance_of_a_bound_method_is_its_own():
    """`stack().call(client.method, other)` means the client and not the first argument."""

    async def main():
        breaker = circuit_breaker("bound", per="instance", trip=consecutive(1))
        down, up = Plain(ConnectionError()), Plain(None)
        call = stack(breaker).call
        found = [await outcome(call, down.call, other) for other in (up, Plain(None))]
        return found, await outcome(call, up.call, down)

    assert run(main) == ([ConnectionError, CircuitOpen], "value")


class Plain:
    """A client that nobody guards."""

    def __init__(self, error):
        self.error = error

    async def call(self, other):
        if self.error is not None:
            raise self.error
        return "value"
