"""One case on one backend: listened to and not, and cancelled in each way there is."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from resilient.testing._virtual_run import Stuck
from resilient.testing.conformance._compare import differences
from resilient.testing.conformance._drive import Delivery, carry_out

if TYPE_CHECKING:
    from collections.abc import Generator

    from resilient.testing._virtual import Backend
    from resilient.testing.conformance._build import Way
    from resilient.testing.conformance._load import Case

Run = tuple["Way", bool, Delivery]


def check(case: Case, backend: Backend) -> list[str]:
    """Return what a case does not hold on a backend; empty is as it should be.

    It is run as a stack with a listener and as decorators without one, which
    are different paths through the library. Where it cancels, it is run for
    each way of cancelling that the backend has.
    """
    wrong: dict[str, None] = {}
    with _silence():
        for way, listened, delivery in _runs(case, backend):
            try:
                found = carry_out(case, backend, way=way, listened=listened, delivery=delivery)
                told = list(differences(case.then, found))
            except Stuck as error:
                told = [str(error)]
            heard = "" if listened else ", with nobody listening"
            cancelled = ", cancelled by task.cancel()" if delivery == "task" else ""
            wrong.update(dict.fromkeys(f"{one}{heard}{cancelled}" for one in told))
    return list(wrong)


def _runs(case: Case, backend: Backend) -> list[Run]:
    ways: list[tuple[Way, bool]] = [("stack", True), ("decorators", False)]
    cancels = any("cancel" in stimulus for stimulus in case.when)
    deliveries: list[Literal["scope", "task"]] = ["scope"]
    if cancels and backend == "asyncio":
        deliveries.append("task")
    return [(way, listened, delivery) for way, listened in ways for delivery in deliveries]


@contextmanager
def _silence() -> Generator[None]:
    """Keep the library's log quiet: failures are what a case is made of."""
    log = logging.getLogger("resilient")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
