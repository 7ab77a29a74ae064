"""The published cases: one test for each and for each backend."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from resilient.testing.conformance import check, load

FILES = sorted(Path(__file__).with_name("cases").glob("*.json"))
CASES = [case for file in FILES for case in load(file)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_published_case_holds(case, backend):
    """What the case says comes of it is what comes of it."""
    assert check(case, backend) == []


def test_every_id_is_there_once():
    """No two published cases have the same id."""
    twice = [one for one, number in Counter(case.id for case in CASES).items() if number > 1]
    assert twice == []


def test_every_fact_is_a_sentence():
    """Each published case states its fact in one sentence."""
    wrong = [case.id for case in CASES if not case.fact.endswith(".") or ". " in case.fact]
    assert wrong == []
