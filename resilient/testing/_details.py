"""What a run knows besides what it shows: the material of the invariants."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resilient.testing._story import Story, stories_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import LogRecord

    from resilient.testing._anatomy import Guarded
    from resilient.testing._book import BudgetMove, NotingCircuit
    from resilient.testing._record import GuardedCall, Noted
    from resilient.testing._run import Run


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Details:
    """The material of the invariants; it may change from one version to the next.

    `noted` are the events with their places in the order of things, `guarded`
    the guarded calls, `anatomy` what was run as a tree of policies. `real` says
    that no function was replaced. `over` is the instant at which the last
    caller was done. `again` plays a schedule out in the same way. `lines` are
    those of the log, in a run that was made for them. Of a call that was
    interrupted, `under_way` are the calls that began behind it because their
    tasks had been started before, and `delivered` says that an await heard of it.
    """

    noted: tuple[Noted, ...] = ()
    guarded: tuple[GuardedCall, ...] = ()
    budgets: tuple[BudgetMove, ...] = ()
    circuits: tuple[NotingCircuit, ...] = ()
    anatomy: Guarded | None = None
    name: str = ""
    real: bool = True
    explanation: str | None = None
    over: float = 0.0
    again: Callable[..., Run] | None = None
    lines: tuple[LogRecord, ...] = ()
    under_way: frozenset[int] = frozenset()
    delivered: bool = True
    kept: dict[object, Any] = field(default_factory=dict["object", "Any"])
    """What the invariants have found out so far, such as further runs of the schedule."""

    @cached_property
    def stories(self) -> dict[int, Story]:
        """What was noted of each guarded call, by its number."""
        return stories_of(self.noted)

    def node_of(self, story: Story) -> Guarded | None:
        """Return the pipeline of a guarded call, where it is one of those that were simulated."""
        return self._nodes.get(id(story.call.plan))

    @cached_property
    def _nodes(self) -> dict[int, Guarded]:
        found = [] if self.anatomy is None else self.anatomy.everything
        return {id(one.plan): one for one in found}
