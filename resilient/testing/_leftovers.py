"""What a run leaves behind: tasks, armed limits, open generators.

A guarded call that has ended has no task, no deadline and no generator left,
however it ended. One timer for each length of limit may stay with the loop:
it is idle, and the next call uses it.
"""

from __future__ import annotations

from resilient._runtime.clock import runtime
from resilient.testing import _tasks
from resilient.testing._virtual_run import current_run


def leftovers() -> list[str]:
    """Say what is left of what ran in this run so far; empty is as it should be.

    Called inside `virtual_time`, when nothing but the caller should be going
    on any more: each running task, each armed limit and each async generator
    that was started and neither finished nor closed is one line.
    """
    run = current_run()
    here = runtime()
    tasks = _tasks.alive() - run.tasks_before
    opened = [
        one for one in run.generators if one.ag_frame is not None and not run.is_unreachable(one)
    ]
    return [
        *sorted(f"a task still runs: {_tasks.describe(task)}" for task in tasks),
        *(
            f"{len(table.armed)} limits of {after:g} s are still armed"
            for after, table in here.tables.items()
            if len(table.armed)
        ),
        *("a limit is still being delivered" for _ in here.in_flight),
        *sorted(f"an async generator is still open: {one.__qualname__}" for one in opened),
        *sorted(f"an async generator was dropped while open: {one}" for one in run.dropped),
    ]
