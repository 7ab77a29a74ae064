"""The driver of `retry`.

    try ends -> `on` / `on_result` -> wait computed -> budget taken -> event
    -> discarded result closed -> cancellation checked -> wait
    -> cancellation checked -> next try

Between two awaits it is a transaction. The last real error is kept across
tries only so that a refusal does not take its place, and let go on every way
out: an error that its own traceback's frame refers to is a cycle.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from resilient._core.conditions import is_unknown
from resilient._core.events import BudgetRefused, RetryScheduled, RetryStopped
from resilient._core.faults import fault_of
from resilient._core.names import class_name
from resilient._core.retry import RetryRun, Stop, Wait, give_up_note
from resilient._runtime.attempt import NotAwaitableError
from resilient._runtime.listeners import once
from resilient._runtime.notes import annotate
from resilient._runtime.pause import discard, pause
from resilient._runtime.scopes import scopes_left
from resilient._runtime.task_groups import take_back
from resilient.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient._core.faults import Fault
    from resilient._core.retry import RetryPolicy
    from resilient._runtime.attempt import Layer
    from resilient._runtime.budgets import RetryBudget
    from resilient._runtime.call import Call


class Elsewhere(Protocol):
    """The chain that a retry stands in: how long to wait while others could be asked."""

    def patience(
        self, call: Call, index: int, fault: Fault | None, error: Exception | None = None
    ) -> float:
        """Return the longest wait that is taken on target `index`."""
        ...


class Retrying:
    """What a compiled retry knows: its policy, its budget, its place in the pipeline."""

    __slots__ = ("budget", "chain", "index", "leaves", "policy")

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget | None,
        *,
        chain: Elsewhere | None = None,
        index: int = 0,
        leaves: bool = True,
    ) -> None:
        self.policy = policy
        self.budget = budget
        self.chain = chain
        self.index = index
        self.leaves = leaves

    def after_error(self, call: Call, run: RetryRun, error: Exception) -> Wait | Stop:
        """Decide what follows `error`, and report it."""
        take_back(call.task, call.cancelling, error)
        fault = fault_of(error, self.policy.classify)
        hint = fault.retry_after if fault is not None else None
        if isinstance(error, Rejected):
            hint = error.retry_after
            run.refused += not call.is_open  # it may come from inside of the target
        if fault is not None and fault.retry_after is not None:
            call.hinted(fault.source)
        now = call.runtime.clock()
        patience = inf
        if self.chain is not None:
            patience = self.chain.patience(call, self.index, fault, error)
        step = run.after_error(
            error,
            hint,
            left=self._left(call, run, now),
            patience=patience,
            rnd=call.runtime.random.random(),
        )
        return self._carry_out(call, run, step, error, now)

    def after_result(self, call: Call, run: RetryRun, answer: bool | float) -> Wait | Stop:  # noqa: FBT001
        """Decide what follows a value that `on_result` judged a failure, and report it."""
        call.unacceptable = True
        now = call.runtime.clock()
        patience = inf if self.chain is None else self.chain.patience(call, self.index, None)
        step = run.after_result(
            answer,
            left=self._left(call, run, now),
            patience=patience,
            rnd=call.runtime.random.random(),
        )
        return self._carry_out(call, run, step, None, now)

    def _left(self, call: Call, run: RetryRun, now: float) -> float:
        return run.left(now, min(call.deadline, now + scopes_left()))

    def _carry_out(
        self, call: Call, run: RetryRun, step: Wait | Stop, error: Exception | None, now: float
    ) -> Wait | Stop:
        number = call.attempt
        if isinstance(step, Wait) and self.budget is not None and not self.budget.withdraw(now):
            run.refund()
            step = Stop("budget")
            call.report(BudgetRefused(now, self.budget.name, number))
        if isinstance(step, Wait):
            call.waited += step.seconds
            call.retry_result = "deadline"  # if nothing else comes of it
            call.decide("failure", "retried", error, wait=step.seconds, source=step.source)
            call.report(
                RetryScheduled(now, number, self.policy.attempts, step.seconds, step.source, error)
            )
            self._warn_of_layers(call)
            return step
        if isinstance(error, Rejected):
            step = Stop("rejected")
        call.retry_result = step.result
        call.report(RetryStopped(now, number, step.result, error, self.leaves))
        return step

    def _warn_of_layers(self, call: Call) -> None:
        outer = call.parent
        while self.policy.layered == "warn" and outer is not None:
            if outer.plan.retries:
                once(
                    ("layered", call.plan.name, outer.plan.name),
                    "%s is retried inside attempt %d of %s, which retries as well: "
                    "attempts multiply",
                    call.plan.name,
                    outer.attempt,
                    outer.plan.name,
                    level=logging.WARNING,
                )
                return
            outer = outer.parent

    def note(
        self, call: Call, run: RetryRun, stop: Stop, error: Exception, why: str | None
    ) -> None:
        """Say on the error that surfaces what was tried."""
        if stop.result == "budget" and self.budget is not None:
            why = f'budget "{self.budget.name}" exhausted'
        elapsed = call.runtime.clock() - run.began
        text = give_up_note(run, stop, elapsed, why)
        if text is not None:
            annotate(error, text)
        if stop.result == "not_retryable" and is_unknown(self.policy.on, error):
            once(
                ("unknown", type(error)),
                "not retried: %s is not in the transient table (on=)",
                class_name(type(error)),
                level=logging.WARNING,
            )


def deposit(call: Call, budget: RetryBudget) -> None:
    """Count a first call, once for all retries around it that share the budget."""
    outer: Call | None = call
    while outer is not None:
        if budget.name in outer.deposited:
            return
        outer = outer.parent
    call.deposited += (budget.name,)
    budget.deposit(call.resumed)


class Judge(Protocol):
    """What tells a bad result."""

    def decide(self, value: Any, /) -> bool | float:  # noqa: ANN401 - any value can be returned
        """Return `False` (a good one), `True` (a failure), or the seconds to wait."""
        ...


def retry_layer(retrying: Retrying, inner: Layer, judge: Judge | None) -> Layer:
    """Run `inner` until it ends well or `retrying` says stop."""
    policy, budget = retrying.policy, retrying.budget

    async def retried(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        if budget is not None:
            deposit(call, budget)
        began = call.resumed
        run: RetryRun | None = None
        last: Exception | None = None
        surfaces: Exception | None = None
        refused: str | None = None
        try:
            while True:
                try:
                    value = await inner(call, args, kwargs)
                except NotAwaitableError:
                    raise
                except Exception as error:
                    run = run or RetryRun(policy, began)
                    step = retrying.after_error(call, run, error)
                    if isinstance(step, Stop):
                        if last is None or not isinstance(error, Rejected):
                            retrying.note(call, run, step, error, refused)
                            raise
                        retrying.note(call, run, step, last, f"then {error}")
                        surfaces = last
                    elif isinstance(error, Rejected):
                        refused = f"meanwhile {error}"
                    else:
                        last = error
                except BaseException:
                    # By a limit around all attempts; who cancels the whole call is told otherwise.
                    call.retry_result = "deadline"
                    raise
                else:
                    answer = False if judge is None else judge.decide(value)
                    if answer is False:
                        if call.loud or run is not None:
                            call.retry_result = "first_try" if run is None else "recovered"
                        return value
                    run = run or RetryRun(policy, began)
                    step = retrying.after_result(call, run, answer)
                    if isinstance(step, Stop):
                        return value
                    await discard(value)
                    del value
                if surfaces is not None:
                    # Outside of the handler: a refusal is not its context.
                    raise surfaces
                assert isinstance(step, Wait)
                await pause(call, step.seconds)
        finally:
            last = surfaces = None

    return retried
