"""The scorecard of failover: sixteen faults, a table of faults, and what the judge finds."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from resilient_openrouter import Reply
from resilient_openrouter.failover import (
    FALLBACK,
    PRIMARY,
    ROWS,
    SCENARIOS,
    TEXT,
    run,
    run_row,
)
from resilient_openrouter.failover.__main__ import card, main, table

BACKENDS = pytest.mark.parametrize("on", ["asyncio", "trio"])
BY_ID = {scenario.id: scenario for scenario in SCENARIOS}
COUNTS = {  # attempts at the primary and at the fallback, and the longest call
    "S01": (2, 0, 2.9), "S02": (2, 1, 1.0), "S03": (2, 0, 1.0), "S04": (2, 1, 1.0),
    "S05": (2, 0, 1.0), "S06": (1, 1, 10.9), "S07": (1, 1, 10.9), "S08": (2, 1, 2.2),
    "S09": (2, 1, 31.5), "S10": (1, 0, 0.9), "S11": (1, 0, 0.9), "S12": (1, 1, 0.9),
    "S13": (1, 0, 0.0), "S14": (2, 1, 2.2), "S15": (10, 17, 1.0), "S16": (2, 1, 1.0),
}  # fmt: skip


def test_there_are_sixteen():
    """The scenarios are those of the benchmark, S01 to S16."""
    assert list(BY_ID) == [f"S{number:02}" for number in range(1, 17)] == list(COUNTS)
    assert len(TEXT.split()) == 60


@BACKENDS
@pytest.mark.parametrize("name", list(COUNTS))
def test_each_fault_is_survived(name, on):
    """Each of the sixteen passes on asyncio and trio, with these attempts, in this time."""
    result = run(BY_ID[name], backend=on)
    assert (result.verdict, result.findings) == ("pass", ())
    assert (result.primary, result.fallback, round(result.seconds, 1)) == COUNTS[name]


@BACKENDS
@pytest.mark.parametrize("row", ROWS, ids=[row.fault for row in ROWS])
def test_each_row_is_right(row, on):
    """Each row of the table of faults ends as it should, on asyncio and trio."""
    result = run_row(row, backend=on)
    assert result.found == result.expected
    assert result.is_right


def chain(**options):
    """Return what makes a chain with these options."""

    def make(openrouter):
        models = options.pop("models", (PRIMARY, FALLBACK))
        return openrouter.manager(*models, **options)

    return make


class _Made:
    """A stand-in for a chain, which does what a bad one would."""

    def __init__(self, run):
        self.run = run


def bad(answer):
    """Return what makes a chain that answers like this."""

    async def run(messages):
        return await answer()

    return lambda openrouter: _Made(run)


class _Outcome:
    def __init__(self, content):
        self.value = Reply(content=content, model=PRIMARY)
        self.target = PRIMARY


class TestJudge:
    def test_without_a_fallback_it_is_safe_at_best(self):
        """A single model that is down is a clean error: not rescued, and no failure either."""
        result = run(BY_ID["S04"], make=chain(models=(PRIMARY,), attempts=2))
        assert result.verdict == "safe"

    def test_a_hint_that_is_not_waited_for_is_partial(self):
        """Falling back at once from a short hint is rescued, with advisory findings."""
        result = run(BY_ID["S01"], make=chain(attempts=1))
        assert (result.verdict, len(result.findings)) == ("partial", 1)

    def test_patience_without_clocks_is_partial(self):
        """Waiting 20 s for a first word is not what a caller wants."""
        result = run(BY_ID["S07"], make=chain(timeout=60, transport="stream"))
        assert result.verdict == "partial"

    def test_going_round_a_refusal_is_partial(self):
        """A refusal of content that another model answers is partial."""

        def make(openrouter):
            from resilient import Fault  # noqa: PLC0415 - one test needs it

            first = openrouter.target(PRIMARY, classify=lambda error: Fault(retryable=False))
            return openrouter.manager(first, FALLBACK)

        result = run(BY_ID["S13"], make=make)
        assert (result.verdict, result.findings) == (
            "partial",
            ("(a) went round a refusal of content",),
        )

    def test_too_many_attempts_fail(self):
        """More than three attempts at the primary in one call fail, however it ends."""
        result = run(BY_ID["S04"], make=chain(attempts=5, breaker=None))
        assert result.verdict == "fail"
        assert any("more than 3 attempts" in found for found in result.findings)

    def test_without_a_circuit_an_outage_is_hammered(self):
        """Two attempts for each call of an outage are more than an open circuit makes."""
        result = run(BY_ID["S15"], make=chain(attempts=2, breaker=None))
        assert result.verdict == "fail"
        assert result.primary > 30

    def test_part_of_an_answer_fails(self):
        """What was cut and passed off as the whole is the worst end."""

        async def cut():
            return _Outcome("word1 word2")

        result = run(BY_ID["S08"], make=bad(cut))
        assert result.verdict == "fail"
        assert "part of an answer was passed off as the whole" in result.findings

    def test_a_hang_fails(self):
        """A call that never ends fails."""
        result = run(BY_ID["S06"], make=bad(anyio.sleep_forever))
        assert result.verdict == "fail"
        assert "a call hung" in result.findings

    def test_an_error_of_another_kind_fails(self):
        """What is not the client's own error is no clean end."""

        async def broken():
            raise KeyError("choices")

        result = run(BY_ID["S11"], make=bad(broken))
        assert result.verdict == "fail"
        assert "an error of another kind than the client's own" in result.findings

    def test_a_prefill_is_noticed(self):
        """Going on with an answer by a trailing assistant message is refused, and noticed."""

        def make(openrouter):
            async def run(messages):
                begun = [*messages, {"role": "assistant", "content": "word1"}]
                reply = await openrouter.chat(FALLBACK, begun)
                return _Outcome(reply.content)

            return _Made(run)

        result = run(BY_ID["S14"], make=make)
        assert result.verdict == "fail"
        assert "the fallback was asked to go on with an answer" in result.findings


class TestProgram:
    def test_the_page_shows_what_it_prints(self, capsys):
        """The page holds the scorecard and the table as the command prints them."""
        assert main([]) == 0
        printed = capsys.readouterr().out.rstrip()
        page = (Path(__file__).parents[2] / "docs" / "failover.md").read_text(encoding="utf-8")
        assert f"```text\n{printed}\n```" in page
        readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
        assert "**16 of 16 pass** (0 partial, 0 safe, 0 fail)" in readme

    def test_json_holds_the_figures(self, capsys):
        """`--json` prints each result and each row, on trio as well."""
        assert main(["--json", "--backend", "trio"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [each["verdict"] for each in told["scenarios"]] == ["pass"] * 16
        assert len(told["faults"]) == len(ROWS)

    def test_what_is_wrong_is_shown(self):
        """Findings stand below their scenario, and a wrong row says what it should be."""
        result = run(BY_ID["S01"], make=chain(attempts=1))
        lines = card([result])
        assert "     ! (a) fewer than two attempts at the primary" in lines
        assert "0 of 1 pass (1 partial, 0 safe, 0 fail)" in lines
        right = run_row(ROWS[0])
        wrong = type(right)(fault="x", expected="F", found="hang")
        assert "hang  ! should be: F" in table([right, wrong])[1]
        assert table([right, wrong])[-1] == "1 of 2 faults end as they should"
