"""Which breaker a name means: definitions, references, names of functions, worlds."""

from __future__ import annotations

import functools

import pytest
from breaking import both, fails, outcome, run

from resilient import (
    CircuitOpen,
    FallbackManager,
    Target,
    breakers,
    circuit_breaker,
    consecutive,
    count_window,
    explain,
    exponential,
    stack,
    time_window,
    transient,
)
from resilient.testing import virtual_time

MODULE = "from resilient import *\n"
DEFINES = MODULE + 'handle = circuit_breaker("shared", trip=consecutive(1), open_for=60)\n'
REFERS = MODULE + 'handle = circuit_breaker("shared")\n'
USES = """
@handle
async def function():
    raise ConnectionError
"""


def imported(source, name):
    """Run the source of a module as Python would."""
    space = {"__name__": name}
    exec(compile(source, f"{name}.py", "exec"), space)  # noqa: S102 - our own text
    return space


@both
@pytest.mark.parametrize("order", ["definition first", "reference first"])
def test_a_reference_means_the_definition_in_either_order(backend, order):
    """What the definition opens the reference finds open, whichever module came first."""

    async def main():
        sources = [(DEFINES + USES, "defines"), (REFERS + USES, "refers")]
        if order == "reference first":
            sources.reverse()
        modules = {name: imported(source, name) for source, name in sources}
        found = [await outcome(modules[name]["function"]) for name in ("defines", "refers")]
        return found, modules["refers"]["handle"].snapshot().retry_after

    assert run(main, backend=backend) == ([ConnectionError, CircuitOpen], 60)


@pytest.mark.parametrize("used", ["snapshot", "for_key", "explain", "decorate"])
def test_looking_at_a_reference_fixes_nothing(used):
    """Who looks before the definition came has not chosen the defaults."""
    early = circuit_breaker("late")
    if used == "snapshot":
        assert early.snapshot().state == "closed"
    elif used == "for_key":
        with pytest.raises(TypeError, match="has no keys"):
            early.for_key(1)
    elif used == "explain":
        assert "at 50 % failures" in explain(early)
    else:
        early(fails)
    assert dict(breakers()) == {}
    late = circuit_breaker("late", trip=consecutive(2), key="a")

    @late
    async def function(a):
        """Do nothing."""

    assert explain(early).count("at 2 failures in a row") == 1
    assert early.for_key(1).snapshot().state == "closed"


def test_equal_options_are_the_same_breaker():
    """The same options written twice, also in other words, are one breaker."""
    one = circuit_breaker("same", trip=consecutive(1), open_for=60, probes=2)
    two = circuit_breaker("same", trip=consecutive(1), open_for=60.0, probes=2, successes=2)

    async def main():
        await outcome(one(fails))
        return await outcome(two(fails)), one.snapshot() == two.snapshot()

    assert run(main) == (CircuitOpen, True)


OTHERS = {
    "trip": consecutive(2),
    "open_for": 61,
    "probes": 2,
    "probe_timeout": 5,
    "mode": "observe",
    "key": "sku",
    "per": "instance",
    "on": ConnectionError,
    "on_result": lambda _: False,
    "classify": lambda _: None,
}


@pytest.mark.parametrize("option", OTHERS)
def test_other_options_are_refused_with_both_places(option):
    """The same name with another option is a ValueError that shows where both were written."""
    circuit_breaker("twice", trip=consecutive(1))(fails)
    other = {"trip": consecutive(1), option: OTHERS[option]}
    with pytest.raises(ValueError, match='"twice" was defined at') as caught:

        @circuit_breaker("twice", **other)
        async def function(sku):
            """Do nothing."""

    text = str(caught.value)
    lines = [
        int(part.split(":")[0].split(",")[0]) for part in text.split("test_breaker_names.py:")[1:]
    ]
    assert len(lines) == 2
    assert lines[0] != lines[1]
    assert "give it the same ones, or another name" in text


def test_a_definition_after_the_first_call_says_so():
    """A reference that was called has the defaults: other options come too late."""
    reference = circuit_breaker("called")
    with pytest.raises(ConnectionError):
        virtual_time(reference(fails))

    async def main():
        await outcome(reference(fails))
        circuit_breaker("called", trip=time_window(30))(fails)  # these are the defaults
        with pytest.raises(ValueError, match="its first call, with the defaults") as caught:
            circuit_breaker("called", trip=consecutive(1))(fails)
        return str(caught.value).count("test_breaker_names.py:")

    assert run(main) == 2


def decides(error):
    return True


def test_functions_are_compared_by_their_names():
    """A module that is loaded again defines the same breaker: its functions have the same names."""

    def load():
        def of_this_module(error):
            return True

        def waits(number):
            return 30.0

        return circuit_breaker(
            "reloaded",
            on=(of_this_module, ConnectionError, transient),
            on_result=functools.partial(decides, 1),
            classify=functools.partial(lambda error, known: None, known={"a": 1}["a"]),
            key=lambda *args: args,
            open_for=waits,
            trip=count_window(5, min_calls=1),
        )

    async def main():
        one, two = load(), load()
        one(fails)
        two(fails)
        with pytest.raises(ValueError, match="reloaded"):
            circuit_breaker("reloaded", on=decides)(fails)

    run(main)


def test_backoffs_are_compared_by_value():
    """`exponential(base=5)` twice is the same `open_for`."""
    for _ in range(2):
        circuit_breaker("backoff", open_for=exponential(base=5))(fails)
    with pytest.raises(ValueError, match="backoff"):
        circuit_breaker("backoff", open_for=exponential(base=6))(fails)


def test_a_bare_decorator_is_named_after_its_function():
    """`@circuit_breaker` is module.qualname, and each function has its own."""

    @circuit_breaker
    async def one():
        raise ConnectionError

    class Owner:
        @circuit_breaker(trip=consecutive(1))
        async def two(self):
            raise ConnectionError

        @circuit_breaker
        @staticmethod
        async def three():
            raise ConnectionError

    async def main():
        await outcome(one)
        await outcome(Owner().two)
        await outcome(Owner.three)
        return {name: shot.failures for name, shot in breakers().items()}, await outcome(
            Owner().two
        )

    found, second = run(main)
    here = f"{__name__}.test_a_bare_decorator_is_named_after_its_function.<locals>"
    assert found == {f"{here}.one": 1, f"{here}.Owner.two": 0, f"{here}.Owner.three": 1}
    assert second is CircuitOpen


def test_one_policy_without_a_name_is_a_breaker_for_each_function():
    """A shared, unnamed breaker keeps the functions apart that it is put around."""
    shared = circuit_breaker(trip=consecutive(1))

    async def works():
        return "value"

    async def main():
        await outcome(shared(fails))
        return await outcome(shared(fails)), await outcome(stack(shared).call, works)

    assert run(main) == (CircuitOpen, "value")


@pytest.mark.parametrize("act", ["snapshot", "acquire", "close", "disable", "enable", "isolate"])
def test_a_breaker_without_a_name_is_not_held_in_hand(act):
    """The error names the way out."""
    nameless = circuit_breaker(trip=consecutive(1))
    act_on = nameless.isolate().__enter__ if act == "isolate" else getattr(nameless, act)
    with pytest.raises(TypeError, match=r'name it: circuit_breaker\("prices"\)'):
        act_on()


def test_a_target_that_is_only_a_name_names_no_breaker():
    """A breaker without a name around a target without a callable is a TypeError at once."""
    with pytest.raises(TypeError, match="gets its name from the function that it is around"):
        FallbackManager([Target("a", policies=circuit_breaker(trip=consecutive(1)))])


def test_a_target_that_is_only_a_name_may_have_a_named_breaker():
    """Its circuit opens and is passed over like any other."""
    asked = []

    async def ask(name, data):
        asked.append(name)
        if name == "a":
            raise ConnectionError
        return data

    async def main():
        breaker = circuit_breaker("names", trip=consecutive(1))
        manager = FallbackManager([Target("a", policies=breaker), Target("b")])
        return [(await manager.call_with_fallback(ask, "data"))["model"] for _ in range(2)]

    assert (run(main), asked) == (["b", "b"], ["a", "b", "b"])


def test_every_run_in_virtual_time_has_breakers_of_its_own():
    """What one run opens the next finds closed, and the process never hears of it."""
    breaker = circuit_breaker("worlds", trip=consecutive(1))
    function = breaker(fails)

    async def main():
        return [await outcome(function), await outcome(function)], [*breakers()]

    for _ in range(2):
        assert run(main) == ([ConnectionError, CircuitOpen], ["worlds"])
    assert breaker.snapshot().state == "closed"
    assert [*breakers()] == []


def test_a_name_that_the_program_has_fixed_means_the_same_in_a_run():
    """A reference inside of a run finds the options of a definition outside of it."""
    circuit_breaker("outside", trip=consecutive(1))(fails)

    async def main():
        inside = circuit_breaker("outside")
        return [await outcome(inside(fails)) for _ in range(2)]

    assert run(main) == [ConnectionError, CircuitOpen]
