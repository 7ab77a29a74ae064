"""What must hold for every run, whatever the test expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient._core.events import AttemptEnded, AttemptStarted, CallEnded, CallStarted

if TYPE_CHECKING:
    from resilient.testing._run import Run


def broken_rules(run: Run) -> list[str]:
    """Say which of the rules that hold for every run this one breaks."""
    wrong: list[str] = []
    if run.cancelled_order is not None:
        # A function that is called by someone who is cancelled already does begin.
        late = [call for call in run.calls if call.order > run.cancelled_order and call.number > 1]
        wrong += [f"called after the cancellation: {call}" for call in late]
    began = [event.number for event in run.events if isinstance(event, AttemptStarted)]
    ended = [event.number for event in run.events if isinstance(event, AttemptEnded)]
    if sorted(began) != sorted(ended):
        wrong.append(f"attempts {began} began and {ended} ended")
    ends = [isinstance(event, CallEnded) for event in run.events]
    starts = sum(isinstance(event, CallStarted) for event in run.events)
    if starts and (sum(ends) != starts or not ends[-1]):
        wrong.append("the last event of the call is not its one CallEnded")
    return wrong
