"""What a chain raises when nobody answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from resilient import AllTargetsFailed, transient
from resilient_openrouter.errors._base import OpenRouterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resilient_openrouter.results import ModelCall


class AllModelsFailed(AllTargetsFailed, OpenRouterError):
    """Every target failed or was skipped; the errors are the members, in order.

    Both `except OpenRouterError` and `except*` catch it. `status_code` is
    503, what a service that stands before its users answers then; `cost` is
    the sum of what is known, `unknown_costs` counts the calls whose cost is
    not, and `calls` says what each call of a model did.
    """

    status_code = 503
    unknown_costs: int = 0
    calls: tuple[ModelCall, ...] = ()

    def __init__(self, message: str, exceptions: Sequence[Exception], /) -> None:
        super().__init__(message, exceptions)
        self.retryable = all(transient(error) for error in exceptions)

    @property
    def telemetry_error_type(self) -> str:
        """The same as of every other group of failed targets."""
        return "all_targets_failed"

    def derive(self, excs: Sequence[Exception], /) -> Self:  # type: ignore[override]  # typeshed: BaseException
        """Make a group of fewer members with the same history and costs."""
        made = super().derive(excs)
        made.cost, made.unknown_costs, made.calls = self.cost, self.unknown_costs, self.calls
        return made

    def __str__(self) -> str:
        return f"[{self.status_code}] {super().__str__()}"
