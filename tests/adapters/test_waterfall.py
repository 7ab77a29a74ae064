"""The story of a call as text: every reason why a chain goes on, in words."""

from __future__ import annotations

import pytest

from resilient import Attempt
from resilient_openrouter import ModelCall, OpenRouterOutcome, Reply
from resilient_openrouter._waterfall import bars_of, cost_of, drawn, summary_of


def attempt(number, target, index=0, **facts):
    known = {"duration": 0.5, "verdict": "failure", "disposition": "fell_back", "error": "503"}
    return Attempt(
        number=number,
        on_target=1,
        target=target,
        target_index=index,
        kind="initial",
        started=number - 1.0,
        **(known | facts),
    )


def outcome(attempts=(), skipped=(), calls=(), **facts):
    known = {"degraded": False, "target": "b", "cost": 0.0, "unknown_costs": 0}
    return OpenRouterOutcome(
        value=Reply(content="x"),
        fallback_used=True,
        attempts=tuple(attempts),
        skipped=tuple(skipped),
        elapsed=2.0,
        calls=tuple(calls),
        **(known | facts),
    )


def told(made, call=None):
    return bars_of(outcome([made], calls=[call] if call else []))[0].reason


BUSY = ModelCall(target="a", model="a", says="the model has no capacity right now")


@pytest.mark.parametrize(
    ("made", "call", "reason"),
    [
        (attempt(1, "a"), BUSY, "the model has no capacity right now: next"),
        (attempt(1, "a"), None, "it failed: next"),
        (attempt(1, "a", disposition="raised"), None, "it failed"),
        (
            attempt(1, "a", disposition="retried", wait=0.25, wait_source="backoff"),
            BUSY,
            "the model has no capacity right now: once more after 0.25 s",
        ),
        (
            attempt(1, "a", disposition="retried", wait=2, wait_source="hint"),
            BUSY,
            "the model has no capacity right now: once more after 2.00 s, as it asked",
        ),
        (
            attempt(1, "a", error="429"),
            ModelCall(target="a", model="a", says="a limit", retry_after=26),
            "asks for 26 s; another target is free: next",
        ),
        (
            attempt(1, "a", error="timeout", duration=1.53),
            ModelCall(target="a", model="a", padding=11),
            "keep-alives, but no answer within 1.5 s: next",
        ),
        (attempt(1, "a", error="timeout", duration=0.04), None, "no answer within 0.04 s: next"),
        (attempt(1, "a", error="deadline_exceeded"), None, "no answer within 0.5 s: next"),
        (
            attempt(1, "a", error="unacceptable_result"),
            None,
            "its answer was judged a failure: next",
        ),
        (attempt(1, "a", error=None, disposition="returned"), None, None),
    ],
)
def test_a_decision_has_its_reason(made, call, reason):
    """After each attempt that failed, one sentence says why and what came next."""
    assert told(made, call) == reason


@pytest.mark.parametrize(
    ("reason", "scope", "text"),
    [
        ("scope_condemned", "credential", "shares the key that failed: no call"),
        ("scope_condemned", "shard", "shares the shard: no call"),
        ("cooldown", None, "still rests from an earlier failure"),
        ("deadline", None, "no time was left"),
        ("routed_away", None, "the failure before it goes elsewhere"),
        ("disabled", None, "is switched off"),
        ("something_new", None, "something_new"),
    ],
)
def test_a_skip_has_its_reason(reason, scope, text):
    """A target that was not asked says why, between those that were."""
    skip = Skip("b", 1, reason, scope)
    bars = bars_of(outcome([attempt(1, "a"), attempt(2, "c", 2)], [skip]))
    assert [bar.label for bar in bars] == ["1 a", "- b", "2 c"]
    assert (bars[1].verdict, bars[1].reason) == ("not asked", text)


class Skip:
    """A skipped target, as an outcome has it."""

    def __init__(self, target, target_index, reason, scope):
        self.target = target
        self.target_index = target_index
        self.reason = reason
        self.scope = scope


@pytest.mark.parametrize(
    ("cost", "unknown", "text"),
    [
        (0.0, 0, "$0"),
        (0.00001255, 0, "$0.00001255"),
        (1.5, 2, "$1.5 and 2 unknown"),
        (None, 1, "1 unknown"),
    ],
)
def test_money_is_told_apart(cost, unknown, text):
    """Known money and unknown money stand side by side, without powers of ten."""
    assert cost_of(outcome(cost=cost, unknown_costs=unknown)) == text


def test_a_summary_says_who_answered():
    """The last line names who answered, after how many failures, and what was waited."""
    two = [attempt(1, "a", wait=0.25), attempt(2, "b", error=None)]
    assert summary_of(outcome(two)) == ("answered by b, 1 failed before it; waited 0.25 s; cost $0")
    assert summary_of(outcome([attempt(1, "b", error=None)])) == (
        "answered by b; waited 0 s; cost $0"
    )


def test_the_picture_keeps_its_width():
    """Every bar is seen, none sticks out, and one that takes no time is one block."""
    made = [attempt(1, "a", duration=0), attempt(3, "b" * 60, duration=9)]
    for total in (1e-12, 0.1, 2, 3):
        lines = [text for text, _ in drawn(bars_of(outcome(made)), total) if "█" in text]
        assert [text[33:].index("  ") <= 26 or text[33 + 26] == " " for text in lines]
        assert all(text[33:59].count("█") >= 1 and text[59] == " " for text in lines)
