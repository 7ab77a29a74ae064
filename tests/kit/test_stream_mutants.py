"""The tester tested on streams: planted bugs, each found by what is meant to find it.

As in `test_mutants`: within 500 examples of a fixed seed, on at most three
steps, for the right reason; and the library as it is breaks nothing.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import httpx
import pytest
from hunting import HUNT, hunted
from hypothesis import find, given, settings

from resilient import FallbackManager, Target, fallback, retry, stack, timeout, value
from resilient.testing import InvariantBroken, schedules_for, simulate

spec = importlib.util.spec_from_file_location(
    "careless_streams", Path(__file__).with_name("careless_streams.py")
)
careless = importlib.util.module_from_spec(spec)
spec.loader.exec_module(careless)


async def ask(question: str):
    yield "never"


async def small(question: str):
    yield "never"


PLAIN = retry(attempts=3, backoff=[1])(ask)
LIMITED = stack(retry(attempts=2, backoff=[1]), timeout(30, first_item=5, between_items=2))(ask)
CHAINED = fallback(to=[small], degrade=value("sorry"))(ask)
RESTARTED = FallbackManager(
    [Target("a", ask), Target("b", small, policies=timeout(first_item=3))], midstream="restart"
)

BUGS = {
    "replayed": (PLAIN, careless.replayed_after_the_first_item, "stream_prefix"),
    "a short success": (PLAIN, careless.a_failure_is_the_end, "stream_prefix"),
    "a short success of a manager": (RESTARTED, careless.a_failure_is_the_end, "stream_prefix"),
    "a lost item": (LIMITED, careless.an_item_is_lost, "stream_prefix"),
    "a source left open": (PLAIN, careless.the_source_stays_open, "nothing_left_running"),
    "a span across items": (
        PLAIN,
        careless.spans_are_held_across_items,
        "scope_clean_afterwards",
    ),
    "a limit across items": (LIMITED, careless.limits_stay_armed, "scope_clean_afterwards"),
    "a call across items": (PLAIN, careless.the_call_stays_current, "scope_clean_afterwards"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120)  # a hunt is many runs, and this machine may have other work
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_of_streams_is_found(bug, monkeypatch):
    """Within 500 examples `check()` fails, for the right reason, on at most three steps."""
    what, plant, invariant = BUGS[bug]
    strategy = schedules_for(what)
    plant(monkeypatch)
    hunted(strategy, what, invariant)


@pytest.mark.parametrize(
    "what",
    [PLAIN, LIMITED, CHAINED, RESTARTED],
    ids=["plain", "limited", "chained", "restarted"],
)
def test_the_library_breaks_nothing_of_a_stream(what):
    """Without the bug the same schedules break no invariant, reruns included."""

    @settings(HUNT, max_examples=25)
    @given(schedules_for(what))
    def holds(schedule):
        simulate(what, schedule).check()

    holds()


# A bug of the user's, which only the real function has


def reading(*, marker):
    """Return a function that reads events, and looks for the end marker or does not."""

    @retry(attempts=2, backoff=[1])
    @timeout(60, first_item=5, between_items=2)
    async def words(client: httpx.AsyncClient):
        async with client.stream("GET", "http://server/words") as response:
            response.raise_for_status()
            ended = False
            async for line in response.aiter_lines():
                ended = ended or line == "data: [DONE]"
                if line and not ended:
                    yield line
            if marker and not ended:
                raise ConnectionError("the answer was cut")

    return words


def over_the_network(what, schedule):
    client = httpx.AsyncClient(transport=schedule.transport(item={"text": "so"}))
    return simulate(what, schedule, args=(client,), target="real")


def test_a_reader_that_misses_the_end_marker_is_found():
    """A cut answer that a function takes for a whole one shrinks to that one step."""
    careless_one = reading(marker=False)

    def breaks(schedule):
        try:
            over_the_network(careless_one, schedule).check(only="stream_prefix")
        except InvariantBroken:
            return True
        return False

    shortest = find(schedules_for(careless_one), breaks, settings=HUNT)
    assert repr(shortest) == "FailureSchedule([Items(0, then=Cut())])"
    with pytest.raises(InvariantBroken, match="an error, as the stream was cut before its end"):
        over_the_network(careless_one, shortest).check()


def test_a_reader_that_knows_the_end_marker_passes():
    """The careful twin of that function breaks nothing."""
    careful = reading(marker=True)

    @settings(HUNT, max_examples=25)
    @given(schedules_for(careful))
    def holds(schedule):
        over_the_network(careful, schedule).check()

    holds()
