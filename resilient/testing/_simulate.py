"""`simulate`: play a schedule out against a function, and see what comes of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from resilient._core.options import choice, whole
from resilient._guard import callee
from resilient.testing._engine import Scene, run_once
from resilient.testing._given import named, several
from resilient.testing._schedule import FailureSchedule, schedule_of
from resilient.testing._subject import made_ready

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from resilient.testing._engine import Listening
    from resilient.testing._run import Run
    from resilient.testing._schedule import Delivery
    from resilient.testing._steps import Step
    from resilient.testing._virtual import Backend

What = Literal["faulty", "real"]

_UNSET: Any = object()


def simulate(
    what: Any,  # noqa: ANN401 - an async function, guarded or not, a pipeline or a manager
    schedule: str | Iterable[Step] | FailureSchedule = FailureSchedule(),  # noqa: B008 - frozen
    /,
    *,
    backend: Backend = "asyncio",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    target: What = "faulty",
    cancel_at: float | None = _UNSET,
    cancel: Delivery = _UNSET,
    callers: int = _UNSET,
    take: int | None = _UNSET,
    pause: float = _UNSET,
    horizon: float = 1e6,
) -> Run:
    """Play `schedule` out against a function, in virtual time, and return what came of it.

    A guarded function, a pipeline or a manager is compiled anew around
    functions that do what the schedule says, so the policies are tested and
    the function itself is not called; `target="real"` leaves everything in its
    place, for functions whose arguments are faulty: a `FaultyBackend`, or an
    HTTP client with `schedule.transport()`. A function that nobody guards is called
    with a `FaultyBackend` of the schedule in front of its `args`.

    Each run has a world of its own: the clock begins at 0, circuit breakers
    are closed, budgets full, the random source is seeded by the schedule, and
    neither the log nor the listeners of the process hear of it. `args` and
    `kwargs` are passed on (a parameter that must be there gets a text).
    `cancel_at`, `cancel`, `callers` (that many at once), `take` and `pause`
    are written into the schedule that the run reports.

    Of an async generator function, or a manager of such, the callers take the
    items: `run.items` has what came before the result. A run that is not over after `horizon`
    virtual seconds is a `Stuck`, which is an `AssertionError`.

    >>> @retry(attempts=3, backoff=[1])
    ... async def ask(question: str) -> str: ...
    >>> run = simulate(ask, "x2 .")
    >>> len(run.calls), run.elapsed, run.value
    (2, 3.0, <answer of call 2>)
    """
    choice(target, "simulate(target=)", get_args(What))
    what = callee(what)
    asked = schedule_of(schedule)
    changes = {"cancel_at": cancel_at, "cancel": cancel, "take": take, "pause": pause}
    played = _with(asked, callers, changes)
    arguments = several(args, "simulate(args=)", "a list of arguments")
    given = arguments, named(kwargs, "simulate(kwargs=)"), target == "real"
    scene = Scene(backend=backend, horizon=horizon, original=asked)
    return _played(what, given, played, scene)


def _played(
    what: Any,  # noqa: ANN401 - as above
    given: tuple[tuple[Any, ...], dict[str, Any], bool],
    schedule: FailureSchedule,
    scene: Scene,
) -> Run:
    args, kwargs, real = given

    def again(
        schedule: FailureSchedule = schedule,
        *,
        backend: Backend = scene.backend,
        listening: Listening = "all",
        horizon: float = scene.horizon,
    ) -> Run:
        there = replace(scene, backend=backend, listening=listening, horizon=horizon)
        return _played(what, given, schedule, there)

    make = partial(made_ready, what, schedule, args=args, kwargs=kwargs, real=real)
    run = run_once(make, schedule, scene)
    try:
        return replace(run, details=replace(run.details, again=again))
    finally:
        del run  # whoever keeps this frame would keep the run


def _with(schedule: FailureSchedule, callers: int, changes: dict[str, Any]) -> FailureSchedule:
    given = {name: value for name, value in changes.items() if value is not _UNSET}
    if callers is not _UNSET:
        number = whole(callers, "simulate(callers=)")
        given["arrivals"] = (schedule.arrivals[0],) * number
    return replace(schedule, **given) if given else schedule
