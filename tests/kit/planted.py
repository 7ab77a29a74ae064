"""Bugs and what they are planted into: for each the invariant that must find it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from resilient import (
    FallbackManager,
    RetryBudget,
    Target,
    circuit_breaker,
    consecutive,
    exponential,
    fallback,
    manager_of,
    retry,
    stack,
    timeout,
    value,
)

spec = importlib.util.spec_from_file_location("careless", Path(__file__).with_name("careless.py"))
careless = importlib.util.module_from_spec(spec)
spec.loader.exec_module(careless)


async def ask(question: str) -> str: ...


async def small(question: str) -> str: ...


async def sorry() -> str:
    return "sorry"


PLAIN = retry(attempts=3)(ask)
STEADY = retry(attempts=3, backoff=[1, 2])(ask)
LIMITED = stack(timeout(10), retry(attempts=3, backoff=[4]), timeout(3))(ask)
SPENT = retry(attempts=4, backoff=[1], budget=RetryBudget("kit", ratio=0, reserve=1))(ask)
STEEP = retry(attempts=14, backoff=exponential(base=1, factor=1e30, cap=5))(ask)
JUDGED = retry(attempts=3, backoff=[0], on_result=lambda answer: answer != "ok")(ask)
NAMED = retry(attempts=3, on=(ConnectionError, KeyError))(ask)
BROKEN = circuit_breaker("kit.broken", trip=consecutive(1), open_for=10)(ask)
PROBED = circuit_breaker("kit.probed", trip=consecutive(1), open_for=10, probes=2, successes=2)(ask)
TRIED = stack(retry(attempts=3, backoff=[1]), circuit_breaker("kit.tried", trip=consecutive(1)))(
    ask
)
CHAINED = fallback(to=[small])(ask)
SHARED = FallbackManager(
    [
        Target("a", ask, scopes={"key": "K"}, timeout=3),
        Target("b", small, scopes={"key": "K"}, timeout=3),
    ],
    deadline=5,
    degrade=value(["sorry"]),
)
HURRIED = FallbackManager([Target("a", ask), Target("b", small)], deadline=5)
DEGRADED = manager_of(fallback(to=[small], degrade=value([1]))(ask))
LATE = fallback(degrade=value(factory=sorry))(ask)

BUGS = {
    # retry
    "attempts plus one": (
        PLAIN,
        careless.another_number_of_attempts(+1),
        "attempts_bounded",
    ),
    "attempts minus one": (
        PLAIN,
        careless.another_number_of_attempts(-1),
        "gives_up_for_a_reason",
    ),
    "swallowed cancellation": (
        STEADY,
        careless.a_retry_that("swallows cancellation"),
        "cancellation_honoured",
    ),
    "a BaseException tried again": (
        STEADY,
        careless.a_retry_that("tries again after a BaseException"),
        "only_retryable_retried",
    ),
    "a bug tried again": (NAMED, careless.everything_is_retried, "only_retryable_retried"),
    "swallowed by the target": (
        JUDGED,
        careless.nobody_looks_for_a_cancellation,
        "cancellation_honoured",
    ),
    "jitter above the cap": (PLAIN, careless.jitter_goes_above_the_cap, "backoff_lawful"),
    "a hint ignored": (PLAIN, careless.hints_are_ignored, "backoff_lawful"),
    "a hint added to the wait": (PLAIN, careless.hints_are_added, "backoff_lawful"),
    "a sleep after the last failure": (
        PLAIN,
        careless.a_retry_that("sleeps after the last failure"),
        "backoff_lawful",
    ),
    "a longer wait than announced": (
        PLAIN,
        careless.a_retry_that("waits a little longer"),
        "backoff_lawful",
    ),
    "a sleep past the deadline": (LIMITED, careless.no_look_at_the_deadline, "backoff_lawful"),
    "an overflow": (STEEP, careless.waits_overflow, "nothing_invented"),
    "another clock": (
        PLAIN,
        careless.a_retry_that("reads another clock"),
        "deterministic",
    ),
    "one backend only": (
        STEADY,
        careless.a_retry_that("waits on asyncio only"),
        "backend_agnostic",
    ),
    "a token after the wait": (
        SPENT,
        careless.a_retry_that("takes the token after the wait"),
        "budget_respected",
    ),
    "a token that is not there": (SPENT, careless.an_empty_budget_gives, "budget_respected"),
    "an error lost to the budget": (
        SPENT,
        careless.a_retry_that("loses the error to the budget"),
        "nothing_invented",
    ),
    "an error of another caller": (
        SPENT,
        careless.a_retry_that("raises an error of another call"),
        "nothing_swallowed",
    ),
    "an error hidden by a refusal": (
        TRIED,
        careless.a_retry_that("lets a refusal hide the error"),
        "nothing_swallowed",
    ),
    "an error kept in a frame": (
        TRIED,
        careless.a_retry_that("keeps the last error in its frame"),
        "no_cycles",
    ),
    "a task left running": (
        PLAIN,
        careless.a_retry_that("leaves a task running"),
        "nothing_left_running",
    ),
    # timeout
    "a limit looked at afterwards": (
        LIMITED,
        careless.limits_are_looked_at_afterwards,
        "Stuck",
    ),
    "a foreign TimeoutError claimed": (
        LIMITED,
        careless.every_timeout_is_ours,
        "timeouts_are_ours",
    ),
    "a cancellation left on the task": (
        timeout(3)(ask),
        careless.cancellations_are_not_taken_back,
        "scope_clean_afterwards",
    ),
    # circuit breaker
    "all are probes": (BROKEN, careless.half_open_lets_in(100), "no_call_while_open"),
    "one probe too many": (PROBED, careless.half_open_lets_in(1), "no_call_while_open"),
    "open for too short": (BROKEN, careless.open_ends_early, "retry_after_true"),
    "a cancelled probe closes": (
        BROKEN,
        careless.a_cancelled_call_is("success"),
        "neutral_teaches_nothing",
    ),
    "a cancelled call trips": (
        BROKEN,
        careless.a_cancelled_call_is("failure"),
        "neutral_teaches_nothing",
    ),
    "an ignored error closes": (
        BROKEN,
        careless.an_ignored_error_is_a_success,
        "neutral_teaches_nothing",
    ),
    "a lost permit": (BROKEN, careless.permits_are_lost, "permits_balanced"),
    "a place that is never given back": (
        BROKEN,
        careless.probes_never_end,
        "neutral_teaches_nothing",
    ),
    "a stale result": (BROKEN, careless.stale_results_count, "stale_ignored"),
    "a stale result in half open": (
        BROKEN,
        careless.stale_results_close_half_open,
        "stale_ignored",
    ),
    "a cancelled probe that closes": (
        BROKEN,
        careless.a_cancelled_probe_is("success"),
        "neutral_teaches_nothing",
    ),
    "a cancelled probe that opens": (
        BROKEN,
        careless.a_cancelled_probe_is("failure"),
        "neutral_teaches_nothing",
    ),
    "evidence kept": (
        circuit_breaker("kit.twice", trip=consecutive(2), open_for=10)(ask),
        careless.evidence_is_kept,
        "probes_decide",
    ),
    "a failed probe that decides nothing": (
        BROKEN,
        careless.a_failed_probe_is_not_enough,
        "probes_decide",
    ),
    "another reason than the table's": (
        BROKEN,
        careless.a_reason_is_made_up,
        "transitions_lawful",
    ),
    "no probes": (BROKEN, careless.half_open_lets_in(-1), "recovers"),
    "retry_after that is not true": (BROKEN, careless.retry_after_is_wrong, "retry_after_true"),
    # fallback
    "everybody asked": (CHAINED, careless.everybody_is_asked, "order_preserved"),
    "a condemned scope asked": (SHARED, careless.nothing_is_condemned, "condemned_never_called"),
    "a bad request sent on": (SHARED, careless.a_bad_request_goes_on, "condemned_never_called"),
    "a last resort for a bad request": (
        SHARED,
        careless.the_last_resort_always_answers,
        "degraded_only_when_allowed",
    ),
    "a last resort shared": (
        SHARED,
        careless.the_last_resort_is_shared,
        "nothing_invented",
    ),
    "a last resort not awaited": (
        LATE,
        careless.the_last_resort_is_not_awaited,
        "nothing_invented",
    ),
    "a chain without an end": (SHARED, careless.chains_have_no_end, "time_bounded"),
    "a chain that goes on when its time is up": (
        HURRIED,
        careless.chains_go_on,
        "chain_within_deadline",
    ),
    "an outcome that hides the fallback": (
        DEGRADED,
        careless.outcomes_hide_the_fallback,
        "outcome_consistent",
    ),
    # what is told
    "a span left open": (PLAIN, careless.spans_stay_open, "every_attempt_spanned"),
    "a listener that fails the call": (
        PLAIN,
        careless.listeners_may_fail_the_call,
        "telemetry_neutral",
    ),
    "an end told twice": (PLAIN, careless.ends_are_told_twice, "one_end_per_attempt"),
    "an argument in a note": (
        PLAIN,
        careless.a_retry_that("notes the arguments"),
        "nothing_recorded",
    ),
    "a text in a note": (PLAIN, careless.texts_are_noted, "nothing_recorded"),
    "a text in the log": (PLAIN, careless.texts_are_logged, "nothing_logged"),
    "a text in a metric": (PLAIN, careless.texts_are_measured, "nothing_logged"),
    "a policy not explained": (LIMITED, careless.explain_leaves_out_the_first, "explained"),
}
CALLERS = {"a last resort shared": 3, "an error of another caller": 3}
