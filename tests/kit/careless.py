"""Drivers and policies with a bug planted in each: what the kit must see through.

Every function here takes a `monkeypatch` and puts one bug into the library. The
bugs are those that were found in released libraries of this kind.
"""

from __future__ import annotations

import asyncio
import functools
import time
import types
from dataclasses import replace
from math import inf

import anyio

from resilient import _pipeline, _policies, _stack, _value
from resilient._core import backoff, breaker, budget, fallback, growth, jitter, retry
from resilient._core.breaker import HalfOpen, Permit
from resilient._core.conditions import Named
from resilient._core.events import CallEnded
from resilient._core.retry import RetryRun, Stop, Wait
from resilient._runtime import circuit, entry, ledger, limits, listeners, pause
from resilient._runtime import fallback as chains
from resilient._runtime import retry as retries
from resilient.errors import CircuitOpen, Rejected, TimedOut
from resilient.telemetry import _logs, _metrics, _otel


def a_retry_that(bug):
    """Return what puts a copy of the retry's driver in place, with one bug."""

    def layer(retrying, inner, judge=None):
        policy = retrying.policy
        shared = []  # kept by the policy, for all of its calls

        async def retried(call, args, kwargs):
            run, last, surfaces = RetryRun(policy, call.resumed), None, None
            caught = BaseException if bug in SWALLOWS else Exception
            if retrying.budget is not None:
                retries.deposit(call, retrying.budget)
            try:
                while True:
                    surfaces = None
                    try:
                        value = await inner(call, args, kwargs)
                    except caught as error:
                        shared.append(error)
                        step = _after(bug, retrying, call, run, error)
                        if isinstance(step, Stop):
                            if bug == "notes the arguments":
                                error.add_note(f"gave up on {args}")
                            surfaces = _surfacing(bug, error, last, shared)
                            if bug == "sleeps after the last failure":
                                await anyio.sleep(0.5)
                        elif not isinstance(error, Rejected):
                            last = error
                    else:
                        answer = False if judge is None else judge.decide(value)
                        if answer is False:
                            return value
                        step = retrying.after_result(call, run, answer)
                        if isinstance(step, Stop):
                            return value
                    if surfaces is not None:
                        raise surfaces
                    if bug == "leaves a task running":
                        _start_a_task()
                    await _wait(bug, retrying, call, step)
            finally:
                if bug != "keeps the last error in its frame":
                    last = surfaces = None

        return retried

    return lambda patch: patch.setattr(_policies, "retry_layer", layer)


SWALLOWS = {"swallows cancellation", "tries again after a BaseException"}


def _after(bug, retrying, call, run, error):
    if not isinstance(error, Exception):
        is_cancellation = "Cancelled" in type(error).__name__
        if is_cancellation != (bug == "swallows cancellation"):
            raise error
        error = ConnectionError()
    if bug == "takes the token after the wait":
        before, retrying.budget = retrying.budget, None
        try:
            return retrying.after_error(call, run, error)
        finally:
            retrying.budget = before
    step = retrying.after_error(call, run, error)
    if bug == "loses the error to the budget" and step == Stop("budget"):
        raise RuntimeError("no token left")
    return step


def _surfacing(bug, error, last, shared):
    if bug == "raises an error of another call":
        return shared[0]
    if bug == "lets a refusal hide the error":
        return error
    return last if last is not None and isinstance(error, Rejected) else error


async def _wait(bug, retrying, call, step):
    if bug == "waits a little longer":
        await anyio.sleep(step.seconds + 0.25)
    elif bug == "swallows cancellation":
        await anyio.sleep(step.seconds)
    elif bug == "waits on asyncio only":
        await asyncio.sleep(step.seconds)  # noqa: TID251 - that is the bug
    elif bug == "reads another clock":
        await anyio.sleep(step.seconds + time.perf_counter_ns() % 1000 / 1e4)
    else:
        await pause.pause(call, step.seconds)
    call.resumed = call.runtime.clock()
    if bug == "takes the token after the wait" and retrying.budget is not None:
        retrying.budget.withdraw(call.runtime.clock())


def _start_a_task():
    loop = asyncio.get_running_loop()
    loop.kept = loop.create_task(anyio.sleep_forever())


# The decisions of retry


def another_number_of_attempts(by):
    """Make `by` more attempts than the policy says."""
    real = retries.Retrying

    def made(policy, *args, **kwargs):
        attempts = policy.attempts
        return real(replace(policy, attempts=attempts and attempts + by), *args, **kwargs)

    return lambda patch: patch.setattr(_policies, "Retrying", made)


def everything_is_retried(patch):
    """Act on every error, a bug as well."""
    patch.setattr(Named, "one", lambda self, error: True)


def no_look_at_the_deadline(patch):
    """Wait although a limit ends the wait."""
    patch.setattr(RetryRun, "left", lambda self, now, deadline: inf)


def hints_are_ignored(patch):
    """Wait as computed, whatever the server asks for."""
    real = RetryRun._wait
    patch.setattr(RetryRun, "_wait", lambda self, answer, hint, rnd: real(self, answer, None, rnd))


def hints_are_added(patch):
    """Wait for the hint, and for what was computed on top."""
    real = RetryRun._wait

    def wait(self, answer, hint, rnd):
        found = real(self, answer, None, rnd)
        return Wait(found.seconds + hint, "hint") if hint else found

    patch.setattr(RetryRun, "_wait", wait)


def jitter_goes_above_the_cap(patch):
    """Spread the wait around the cap instead of below it."""
    patch.setattr(backoff, "spread", lambda longest, jitter, rnd: longest * (0.5 + rnd))


def jitter_comes_before_the_cap(patch):
    """Spread what has grown, and cut it at the cap."""

    def wait(self, retry, rnd, previous):
        grown = self.growth.grown(self.base, retry)
        return min(self.cap, jitter.spread(grown, self.jitter, rnd))

    patch.setattr(backoff.Schedule, "wait", wait)


def no_jitter_at_the_cap(patch):
    """Forget the jitter when the cap is reached."""
    real = backoff.Schedule.wait

    def wait(self, retry, rnd, previous):
        grown = self.growth.grown(self.base, retry)
        return self.cap if grown >= self.cap else real(self, retry, rnd, previous)

    patch.setattr(backoff.Schedule, "wait", wait)


def waits_overflow(patch):
    """Compute a power that no float can hold."""
    real = growth.Powers.grown

    def grown(self, base, retry):
        if retry > 10**6:  # so late that `explain` asks for it
            return real(self, base, retry)
        return base * self.factor ** (retry - 1)

    patch.setattr(growth.Powers, "grown", grown)


def nobody_looks_for_a_cancellation(patch):
    """Go on where a target has swallowed a cancellation."""

    async def nothing(call):
        await anyio.lowlevel.checkpoint_if_cancelled()

    patch.setattr(pause, "check_cancelled", nothing)


def an_empty_budget_gives(patch):
    """Hand out a token that is not there."""
    patch.setattr(budget.Budget, "withdraw", lambda self, now: True)


def texts_are_noted(patch):
    """Put the text of a foreign error into the note."""
    real = retry.give_up_note
    patch.setattr(
        retries,
        "give_up_note",
        lambda run, stop, elapsed, why: f"{real(run, stop, elapsed, why)}: scheduled in call 1",
    )


def texts_are_logged(patch):
    """Say what the error says, where its class would do."""
    patch.setattr(_logs, "say", lambda error: f"{type(error).__name__}: {error}")


def texts_are_measured(patch):
    """Put what the error says into the attributes of a metric."""

    def ended(self, event, call):
        self._record("resilient.call.duration", event.elapsed, {"error": str(event.error)}, None)

    patch.setattr(_metrics.MetricsListener, "_call_ended", ended)


# Timeouts


def limits_are_looked_at_afterwards(patch):
    """Let the target finish, and then say that it took too long."""

    def layer(seconds, name, inner):
        async def limited(call, args, kwargs):
            began = call.runtime.clock()
            value = await inner(call, args, kwargs)
            if call.runtime.clock() - began > seconds:
                call.fire(seconds, name)
                raise TimedOut(seconds, name)
            return value

        return limited

    patch.setattr(_policies, "timeout_layer", layer)


def every_timeout_is_ours(patch):
    """Take the target's own `TimeoutError` for a limit that has expired."""
    real = _policies.timeout_layer

    def layer(seconds, name, inner):
        run = real(seconds, name, inner)

        async def limited(call, args, kwargs):
            try:
                return await run(call, args, kwargs)
            except TimeoutError as error:
                raise TimedOut(seconds, name) from error

        return limited

    patch.setattr(_policies, "timeout_layer", layer)


def cancellations_are_not_taken_back(patch):
    """Leave the cancellation of a limit on the task that it ended."""
    real = limits.Table.leave

    def leave(self, limit, error):
        found = real(self, limit, error)
        if found:
            limit.task.cancel()
            asyncio.get_running_loop().call_soon(lambda: None)
        return found

    patch.setattr(limits.Table, "leave", leave)


# Circuit breakers


def half_open_lets_in(more):
    """Let `more` probes in than there are places."""
    real = breaker.Breaker.admit

    def admit(self, now):
        before = self.policy
        self.policy = replace(before, probes=before.probes + more)
        try:
            return real(self, now)
        finally:
            self.policy = before

    return lambda patch: patch.setattr(breaker.Breaker, "admit", admit)


def open_ends_early(patch):
    """Half open when half of the time is over."""
    real = breaker.Breaker._open

    def opened(self, reason, result, figures=None):
        change = real(self, reason, result, figures)
        self.open_until = result.now + change.open_for / 2
        return change

    patch.setattr(breaker.Breaker, "_open", opened)


def a_cancelled_call_is(verdict):
    """Settle the permit of a cancelled call as a success or a failure."""
    real = circuit.Circuit.fail

    def fail(self, call, permit, error, classify=None):
        if permit is None or isinstance(error, Exception):
            real(self, call, permit, error, classify)
        elif verdict == "success":
            self.succeed(call, permit)
        else:
            self.succeed(call, permit, bad=True)

    return lambda patch: patch.setattr(circuit.Circuit, "fail", fail)


def an_ignored_error_is_a_success(patch):
    """Settle the permit of an error that does not count as a success."""
    real = circuit.Circuit.release

    def release(self, call, permit):
        if isinstance(permit, Permit):
            self.succeed(call, permit)
        else:
            real(self, call, permit)

    patch.setattr(circuit.Circuit, "release", release)


def permits_are_lost(patch):
    """Forget the permit of a call that ends in no `Exception`."""
    real = circuit.Circuit.fail

    def fail(self, call, permit, error, classify=None):
        if isinstance(error, Exception):
            real(self, call, permit, error, classify)

    patch.setattr(circuit.Circuit, "fail", fail)


def stale_results_count(patch):
    """Close an open circuit when a call of an earlier period comes back well."""
    real = breaker.Breaker.learn

    def learn(self, evidence, result):
        if self.state == "open" and result.verdict == "success":
            return self._close("reset")
        return real(self, evidence, result)

    patch.setattr(breaker.Breaker, "learn", learn)


def stale_results_close_half_open(patch):
    """Close a half-open circuit when a call of an earlier period comes back well."""
    real = breaker.Breaker.learn

    def learn(self, evidence, result):
        if self.state == "half_open" and result.verdict == "success":
            return self._close("recovered")
        return real(self, evidence, result)

    patch.setattr(breaker.Breaker, "learn", learn)


def a_cancelled_probe_is(verdict):
    """Return what learns from a cancelled probe as if it had ended otherwise."""

    def plant(patch):
        real = breaker.Breaker.settle

        def settle(self, permit, result):
            if isinstance(permit.period, HalfOpen) and result.verdict == "neutral":
                result = replace(result, verdict=verdict)
            return real(self, permit, result)

        patch.setattr(breaker.Breaker, "settle", settle)

    return plant


def evidence_is_kept(patch):
    """Close with the evidence that the circuit was opened by."""
    real = breaker.Breaker._close
    rule = breaker.Breaker.__init__

    def begin(self, policy):
        rule(self, policy)
        self.__class__.first = self.evidence

    def close(self, reason):
        change = real(self, reason)
        self.evidence = self.first
        return change

    patch.setattr(breaker.Breaker, "__init__", begin)
    patch.setattr(breaker.Breaker, "_close", close)


def a_failed_probe_is_not_enough(patch):
    """Stay half open after a failed probe."""
    real = breaker.Breaker._probed

    def probed(self, permit, half_open, result):
        if result.verdict == "failure":
            half_open.places.pop(permit, None)
            return None
        return real(self, permit, half_open, result)

    patch.setattr(breaker.Breaker, "_probed", probed)


def probes_never_end(patch):
    """Keep the place of a probe whatever becomes of it."""
    real = breaker.Breaker.settle

    def settle(self, permit, result):
        if isinstance(permit.period, HalfOpen) and result.verdict == "neutral":
            permit.settled = True
            return None
        return real(self, permit, result)

    patch.setattr(breaker.Breaker, "settle", settle)


def a_reason_is_made_up(patch):
    """Say that an open time is over where a circuit opens."""
    real = breaker.Breaker._open

    def opened(self, reason, result, figures=None):
        return real(self, reason, result, figures)._replace(reason="due")

    patch.setattr(breaker.Breaker, "_open", opened)


def retry_after_is_wrong(patch):
    """Say that the next call is let in at once."""
    real = CircuitOpen.__init__

    def begin(self, name, *, retry_after=None, opened_by=None):
        real(self, name, retry_after=None if retry_after is None else 0.0, opened_by=opened_by)

    patch.setattr(CircuitOpen, "__init__", begin)


# Fallbacks


def everybody_is_asked(patch):
    """Ask the next target although the first one has answered."""
    real = _policies.fallback_layer

    def layer(chain, runs, **options):
        run = real(chain, runs, **options)

        async def asked(call, args, kwargs):
            value = await run(call, args, kwargs)
            if call.target_index == 0 and len(runs) > 1:
                call.decide("success", "returned")
                chains.point_at(call, chain.places[1])
                value = await runs[1](call, args, kwargs)
            return value

        return asked

    patch.setattr(_policies, "fallback_layer", layer)


def nothing_is_condemned(patch):
    """Ask who shares what has failed."""
    patch.setattr(fallback.Cursor, "_condemns", lambda self, index, fault: frozenset())


def a_bad_request_goes_on(patch):
    """Ask the next target when the request itself is at fault."""
    real = fallback.Cursor.failed

    def failed(self, index, error, fault, **known):
        real(self, index, error, fault, **known)
        if self.ended == "request":
            self.ended = None

    patch.setattr(fallback.Cursor, "failed", failed)


def the_last_resort_always_answers(patch):
    """Degrade where the error says that nobody could have helped."""
    patch.setattr(chains, "_degrades", lambda call, chain, cursor: chain.policy.degrade is not None)


def the_last_resort_is_shared(patch):
    """Hand out the same object to every caller."""
    patch.setattr(_value.Value, "produce", lambda self: self._value)


def the_last_resort_is_not_awaited(patch):
    """Return the coroutine of an async last resort."""
    patch.setattr(chains, "inspect", types.SimpleNamespace(isawaitable=lambda made: False))


def chains_have_no_end(patch):
    """Let targets take what time they want."""

    async def unlimited(call, seconds, name, inner, args, kwargs):
        return await inner(call, args, kwargs)

    patch.setattr(chains, "within", unlimited)


def chains_go_on(patch):
    """Ask the next target although the time of the chain is up."""
    chains_have_no_end(patch)
    real = fallback.Cursor._skip
    patch.setattr(
        fallback.Cursor,
        "_skip",
        lambda self, index, now, blocked, left: real(self, index, now, blocked, inf),
    )


def outcomes_hide_the_fallback(patch):
    """Say of every outcome that the first target has answered."""
    real = entry.outcome_of
    patch.setattr(
        entry, "outcome_of", lambda call, value: replace(real(call, value), fallback_used=False)
    )


# What is told


def spans_stay_open(patch):
    """Do not end the span of a cancelled call."""
    real = _otel.OtelListener.on_event

    def on_event(self, event, call):
        if not isinstance(event, CallEnded) or event.outcome != "cancelled":
            real(self, event, call)

    patch.setattr(_otel.OtelListener, "on_event", on_event)


def listeners_may_fail_the_call(patch):
    """Let the error of a listener out."""

    def tell(told, event, call):
        for listener in told:
            listener.on_event(event, call)

    patch.setattr(listeners, "tell", tell)
    patch.setattr(ledger, "tell", tell)


def ends_are_told_twice(patch):
    """Say twice that an attempt has ended."""
    real = ledger.Ledger.tell

    def tell(self, event):
        real(self, event)
        if type(event).__name__ == "AttemptEnded":
            real(self, event)

    patch.setattr(ledger.Ledger, "tell", tell)


def explain_leaves_out_the_first(patch):
    """Leave the outermost policy out of the explanation."""
    real = _pipeline.explain_guarded

    @functools.wraps(real)
    def explained(fn, composition, name):
        first, _, *rest = real(fn, composition, name).splitlines()
        return "\n".join([first, *rest])

    patch.setattr(_stack, "explain_guarded", explained)
