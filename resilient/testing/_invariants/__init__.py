"""What holds for every run, whatever went wrong in it: one function for each fact.

An invariant asks a `Run` one question. It yields nothing where the question
does not apply: what is known of a run decides which invariants say anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from resilient.testing._invariants import (
    bounds,
    breaking,
    cancelling,
    chains,
    reruns,
    retrying,
    streams,
    timing,
    values,
    watching,
)

if TYPE_CHECKING:
    from resilient.testing._invariants._common import Invariant

LOCAL: Final[tuple[Invariant, ...]] = (
    bounds.attempts_bounded,
    bounds.time_bounded,
    bounds.budget_respected,
    retrying.only_retryable_retried,
    retrying.gives_up_for_a_reason,
    retrying.backoff_lawful,
    timing.timeouts_are_ours,
    timing.scope_clean_afterwards,
    breaking.no_call_while_open,
    breaking.transitions_lawful,
    breaking.stale_ignored,
    breaking.neutral_teaches_nothing,
    breaking.permits_balanced,
    breaking.probes_decide,
    breaking.retry_after_true,
    chains.order_preserved,
    chains.condemned_never_called,
    chains.chain_within_deadline,
    chains.degraded_only_when_allowed,
    chains.outcome_consistent,
    streams.stream_prefix,
    values.nothing_swallowed,
    values.nothing_invented,
    cancelling.cancellation_honoured,
    cancelling.nothing_left_running,
    cancelling.one_end_per_attempt,
    watching.every_attempt_spanned,
    watching.nothing_recorded,
    watching.explained,
)
"""Those that look at one run alone."""

AGAIN: Final[tuple[Invariant, ...]] = (
    reruns.deterministic,
    reruns.telemetry_neutral,
    reruns.nothing_logged,
    reruns.backend_agnostic,
    reruns.recovers,
    reruns.no_cycles,
)
"""Those that run the schedule again."""

INVARIANTS: Final = tuple(sorted(one.__name__ for one in (*LOCAL, *AGAIN)))
"""The names of all invariants: what `check(only=...)` and `check(skip=...)` take."""

RERUNS: Final = frozenset(one.__name__ for one in AGAIN)
"""The names of the invariants that run the schedule again: `check(skip=RERUNS)` is faster."""
