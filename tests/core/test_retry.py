"""The retry's decisions, without a loop: numbers in, `Wait` or `Stop` out."""

from __future__ import annotations

from math import inf

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resilient._core.backoff import exponential
from resilient._core.conditions import condition
from resilient._core.retry import RetryPolicy, RetryRun, Stop, Wait, give_up_note
from resilient._core.transient import transient


def policy(**options):
    """Return a policy with the defaults of `retry`."""
    given = {
        "attempts": 3,
        "on": condition(transient),
        "on_result": None,
        "backoff": exponential(),
        "max_elapsed": inf,
        "max_hint": 60.0,
        "classify": None,
        "layered": "allow",
    }
    return RetryPolicy(**(given | options))


def failed(run, error=None, hint=None, *, left=inf, patience=inf, rnd=0.5):
    """Tell the run that a try ended in an error."""
    return run.after_error(error or ConnectionError(), hint, left=left, patience=patience, rnd=rnd)


def test_a_wait_above_the_patience_is_refused():
    """While another target is free, a longer wait is not taken."""
    assert failed(RetryRun(policy(), 0), hint=5, patience=3) == Stop("deadline", 5)
    assert failed(RetryRun(policy(), 0), hint=3, patience=3) == Wait(3, "hint")


def test_a_hint_as_long_as_the_limit_of_hints_is_waited_for():
    """`max_hint` itself is allowed, a second more is not."""
    assert failed(RetryRun(policy(max_hint=30), 0), hint=30) == Wait(30, "hint")
    assert failed(RetryRun(policy(max_hint=30), 0), hint=31) == Stop("deadline", 31)


def test_after_a_hint_a_decorrelated_wait_starts_from_the_base():
    """What was waited before the hint does not spread the wait that follows it."""
    run = RetryRun(policy(attempts=9, backoff=exponential(base=1, jitter="decorrelated")), 0)
    first = failed(run, rnd=0.999)
    assert failed(run, hint=50) == Wait(50, "hint")
    assert failed(run, rnd=0.999) == first


def test_a_refused_wait_is_not_on_the_record():
    """A budget that refuses takes the wait back."""
    run = RetryRun(policy(), 0)
    assert isinstance(failed(run), Wait)
    run.refund()
    assert run.waits == []


def test_the_first_error_that_is_not_retryable_gets_no_note():
    """Not retrying is the normal case and says nothing."""
    run = RetryRun(policy(), 0)
    stop = failed(run, ValueError())
    assert stop == Stop("not_retryable")
    assert give_up_note(run, stop, 0) is None


def test_a_note_shows_ten_waits_at_most():
    """A thousand waits do not make a note of a thousand numbers."""
    run = RetryRun(policy(attempts=None), 0)
    for _ in range(1000):
        failed(run)
    note = give_up_note(run, Stop("exhausted"), 1)
    assert note.startswith("gave up after 1000 attempts in 1.00 s (waits ")
    assert note.endswith(", ... s)")
    assert len(note) < 120


class RetryMachine(RuleBasedStateMachine):
    """A run against a naive model: a count, a clock, and the rules in prose."""

    def __init__(self):
        super().__init__()
        self.policy = policy(attempts=5, max_elapsed=100.0, max_hint=30.0)
        self.now = 0.0
        self.begin()

    def begin(self):
        """Begin a call of the same policy: it remembers nothing of the last one."""
        self.run = RetryRun(self.policy, self.now)
        self.tries = 0
        self.computed = 0
        self.over = None
        self.deadline = inf

    running = precondition(lambda self: self.over is None)

    @precondition(lambda self: self.over is not None)
    @rule()
    def another_call_begins(self):
        self.begin()

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds):
        self.now += seconds

    @running
    @rule(seconds=st.floats(0, 50))
    def a_deadline_comes_into_force(self, seconds):
        self.deadline = min(self.deadline, self.now + seconds)

    @running
    @rule(
        retryable=st.booleans(),
        hint=st.none() | st.floats(0.001, 86400),
        rnd=st.floats(0, 1, exclude_max=True),
        patience=st.sampled_from([inf, 3.0]),
    )
    def a_try_fails(self, retryable, hint, rnd, patience):
        left = self.run.left(self.now, self.deadline)
        error = ConnectionError() if retryable else ValueError()
        step = failed(self.run, error, hint, left=left, patience=patience, rnd=rnd)
        self.tries += 1
        expected = self.expected(retryable, hint, left, patience, rnd)
        assert step == expected
        if isinstance(step, Stop):
            self.over = step.result
        else:
            self.computed = 0 if step.source == "hint" else self.computed + 1
            self.now += step.seconds

    def expected(self, retryable, hint, left, patience, rnd):
        """Say what the rules make of it."""
        if not retryable:
            return Stop("not_retryable")
        if self.tries >= 5:
            return Stop("exhausted")
        wait = rnd * min(20.0, 0.1 * 2**self.computed)
        hinted = hint is not None and hint > wait
        wait = hint if hinted else wait
        too_long = wait >= left - 1e-9 or wait > patience or (hinted and wait > 30)
        return Stop("deadline", wait) if too_long else Wait(wait, "hint" if hinted else "backoff")

    @invariant()
    def no_more_tries_than_allowed(self):
        assert self.tries <= 5
        assert self.run.tries == self.tries

    @invariant()
    def no_wait_ends_after_the_limits(self):
        assert sum(self.run.waits) <= 100
        assert len(self.run.waits) == self.tries - (self.over is not None)

    @invariant()
    def no_computed_wait_is_above_the_cap_and_no_hint_above_its_limit(self):
        assert all(0 <= wait <= 30 for wait in self.run.waits)


TestRetryMachine = RetryMachine.TestCase
