"""What telemetry reads of a guarded call, and the slots that it may fill.

Written down as protocols, so that this package depends on facts about a call
and not on how calls are driven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient._core.outcome import Attempt, Kind, SkippedTarget


class Plan(Protocol):
    """What all calls of one pipeline have in common."""

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        ...

    @property
    def function(self) -> str:
        """The full name of the guarded function; the pipeline's where there is none."""
        ...

    @property
    def policies(self) -> tuple[str, ...]:
        """The kinds of the policies, outermost first."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets."""
        ...

    @property
    def describes(self) -> tuple[Any, ...]:
        """For each target: an object with `describe()`, or `None`."""
        ...

    @property
    def single(self) -> tuple[bool, ...]:
        """For each target: whether its policies allow one attempt only."""
        ...

    @property
    def stream(self) -> bool:
        """Whether its calls are streams."""
        ...

    @property
    def retries(self) -> bool:
        """Whether a retry takes part."""
        ...


class Call(Protocol):
    """A guarded call, while it lasts."""

    spans: Any
    """Where the spans of the call are kept."""
    leave_attempt: Any
    """What is called as soon as the target has answered, in the task that asked it."""
    enter_item: Any
    """What is called before a stream makes an item; it returns what is called behind that."""

    @property
    def plan(self) -> Plan:
        """What it has in common with other calls."""
        ...

    @property
    def runtime(self) -> Any:  # noqa: ANN401 - the runtime of its loop
        """Where its time comes from: `clock()` reads it."""
        ...

    @property
    def parent(self) -> Any:  # noqa: ANN401 - a call, or `None`
        """The guarded call around it; `None` where there is none."""
        ...

    @property
    def attempt(self) -> int:
        """The number of the attempt at hand, 0 before the first."""
        ...

    @property
    def kind(self) -> Kind:
        """Why the attempt at hand is made."""
        ...

    @property
    def on_target(self) -> int:
        """The number of the attempt on its target."""
        ...

    @property
    def target(self) -> str:
        """The name of the target that is being asked."""
        ...

    @property
    def target_index(self) -> int:
        """Its place among the targets."""
        ...

    @property
    def history(self) -> Sequence[Attempt] | None:
        """The attempts that are decided."""
        ...

    @property
    def skipped(self) -> tuple[SkippedTarget, ...]:
        """The targets that were not asked."""
        ...
