"""What Hypothesis is told of the library."""

from __future__ import annotations

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from resilient._hypothesis import tell_hypothesis
from resilient._runtime.clock import process_random
from resilient.testing import FailureSchedule


def test_every_example_meets_the_same_random_numbers():
    """The random source of the process is seeded anew for each example."""
    drawn = []

    @settings(max_examples=5)
    @given(st.integers())
    def example(_):
        drawn.append(process_random.random())

    tell_hypothesis()
    example()
    assert len(drawn) > 1
    assert len(set(drawn)) == 1


def test_a_schedule_is_drawn_by_its_type():
    """What has a schedule among its types needs no strategy spelled out."""
    tell_hypothesis()
    found = find(st.from_type(FailureSchedule), lambda one: len(one.steps) > 1)
    assert found == FailureSchedule.parse("..")


def test_the_source_of_the_process_is_as_before_afterwards():
    """What an example does to the random source does not outlive the test."""
    tell_hypothesis()

    @settings(max_examples=5)
    @given(st.integers())
    def example(_):
        process_random.random()

    before = process_random.getstate()
    example()
    assert process_random.getstate() == before


def test_the_entry_point_brings_nothing_with_it(fresh_python):
    """Importing Hypothesis loads nothing of the library."""
    program = (
        "import sys, resilient_plugins.hypothesis as hook; hook.register();"
        " print(*[name for name in sys.modules if name.split('.')[0] == 'resilient'])"
    )
    assert fresh_python(program).split() == []


@pytest.mark.parametrize(
    "order",
    [
        "import hypothesis, resilient.testing",
        "import resilient.testing, hypothesis",
        "import resilient, hypothesis, resilient.testing",
    ],
)
def test_whichever_is_imported_last_tells(order, fresh_python):
    """The order of the imports makes no difference to what Hypothesis knows."""
    program = f"""
{order}
from hypothesis import strategies as st
from hypothesis.internal.entropy import RANDOMS_TO_MANAGE
from resilient._runtime.clock import process_random
if "hypothesis" == {order.split()[-1].split(".")[0]!r}:
    import resilient_plugins.hypothesis as hook
    hook.register()
print(process_random in RANDOMS_TO_MANAGE.values())
print(st.from_type(resilient.testing.FailureSchedule).wrapped_strategy)
"""
    known, drawn = fresh_python(program).split(maxsplit=1)
    assert known == "True"
    assert "one_of(builds(Ok," in drawn
