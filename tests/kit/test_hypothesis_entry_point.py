"""What Hypothesis is told of the library."""

from __future__ import annotations

from hypothesis import find, given, settings
from hypothesis import strategies as st

from resilient._runtime.clock import process_random
from resilient.testing import FailureSchedule, _hypothesis


def test_every_example_meets_the_same_random_numbers():
    """The random source of the process is seeded anew for each example."""
    drawn = []

    @settings(max_examples=5)
    @given(st.integers())
    def example(_):
        drawn.append(process_random.random())

    _hypothesis.register()
    example()
    assert len(drawn) > 1
    assert len(set(drawn)) == 1


def test_a_schedule_is_drawn_by_its_type():
    """What has a schedule among its types needs no strategy spelled out."""
    _hypothesis.register()
    found = find(st.from_type(FailureSchedule), lambda one: len(one.steps) > 1)
    assert found == FailureSchedule.parse("..")


def test_the_source_of_the_process_is_as_before_afterwards():
    """What an example does to the random source does not outlive the test."""
    _hypothesis.register()

    @settings(max_examples=5)
    @given(st.integers())
    def example(_):
        process_random.random()

    before = process_random.getstate()
    example()
    assert process_random.getstate() == before


def test_the_entry_point_brings_nothing_heavy(fresh_python):
    """Its module loads no second backend and no SDK, and not Hypothesis itself."""
    heavy = ("hypothesis", "trio", "opentelemetry.sdk", "httpx", "rich")
    program = "import sys, resilient.testing._hypothesis; print(*sys.modules)"
    assert set(heavy) & set(fresh_python(program).split()) == set()
