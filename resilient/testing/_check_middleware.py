"""`check_middleware`: what other policies rely on, asked of a middleware of somebody's own.

It is played alone and between other policies, in virtual time on asyncio and
trio: on good days and bad ones, many calls at once, cancelled and interrupted
at every await. Each run is asked what every run is asked (`Run.check`), and the
middleware what it did itself.
"""

from __future__ import annotations

import inspect
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast

from resilient._core.options import shown
from resilient._policies import Middleware
from resilient._runtime.clock import fresh_breakers
from resilient._stack import Pipeline
from resilient.testing._check import InvariantBroken
from resilient.testing._checked import RULES, Checked
from resilient.testing._given import is_class_of, named, several, shown_or_class
from resilient.testing._invariants import INVARIANTS
from resilient.testing._overheard import overhearing
from resilient.testing._spied import Spy, names_of
from resilient.testing._stand_ins import Argument
from resilient.testing._steps import FRESH, Bad, Fail, Ok, is_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from resilient.testing._checked import Broken
    from resilient.testing._steps import Step


def check_middleware(
    middleware: Pipeline | Callable[[], Pipeline],
    /,
    *,
    answer: Any = FRESH,  # noqa: ANN401 - what is inside answers with anything
    failures: Sequence[Step] = (Fail(ConnectionError), Fail(ValueError)),
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    answers: bool = False,
    raises: type[Exception] | tuple[type[Exception], ...] = (),
    skip: Iterable[str] = (),
) -> None:
    """Check that a middleware of your own does what the policies around it rely on.

    It is run alone, inside and around retry, timeout, fallback and circuit
    breaker, on both backends, against schedules of answers and failures,
    by several callers at once, and cancelled or interrupted at every await.
    What is inside answers `answer` (by default an object of its own for each
    call), or fails as the steps `failures` say. `args` and `kwargs` are the
    caller's: by default a text for each parameter of an `expose_args` one.

    `middleware` is what `@middleware` made, or several of them in a stack; one
    that keeps something from call to call, such as a cache, is given as a
    function that makes it, and gets called for each run. `answers=True` allows
    values of its own, and `raises=` names errors of its own; without them it
    hands on what `proceed()` gave, or an error raised from that. `skip` has
    names of invariants that are not asked.

    Raises one `InvariantBroken`, an `AssertionError`, that has each invariant
    that does not hold once: what was expected, what happened, in which stack,
    and the shortest schedule that shows it. Besides those of every run
    (`INVARIANTS`): `proceeds_as_declared` (`calls=` is true, and `proceed` stays
    in its task), `cancellation_passes`, `error_passes`, `value_passes`,
    `calls_are_independent`, `nothing_kept` (a call is let go of when it is over)
    and `next_call_works`. `nothing_recorded` hears the log and what is printed
    as well. A middleware may await, and its clean-up may delay a cancellation;
    one that never ends is a `Stuck`. Bad options are a `TypeError` or a
    `ValueError`.

    >>> @middleware
    ... async def timed(call, proceed):
    ...     started = call.now()
    ...     try:
    ...         return await proceed()
    ...     finally:
    ...         print(f"{call.name} took {call.now() - started:.0f} s")
    >>> check_middleware(timed)
    """
    make = _maker(middleware)
    parts = cast("tuple[Middleware, ...]", make().policies)
    by_name = named(kwargs, "check_middleware(kwargs=)")
    if args is None:
        args, others = _arguments(parts, by_name)
        by_name |= others
    checked = Checked(
        spy=Spy(make, _flag(answers), _errors(raises)),
        name=names_of(parts),
        good=Ok() if answer is FRESH else Ok(answer),
        bad=_failures(failures),
        args=several(args, "check_middleware(args=)", "a list of arguments"),
        kwargs=by_name,
        skip=_skipped(skip),
    )
    with fresh_breakers(), overhearing() as checked.heard:
        broken = checked.broken()
    if broken:
        raise _report(checked.name, broken)


def _maker(given: Any) -> Callable[[], Pipeline]:  # noqa: ANN401
    def make() -> Pipeline:
        made = given if issubclass(type(given), Pipeline) else given()
        if not issubclass(type(made), Pipeline) or not all(
            isinstance(part, Middleware) for part in made.policies or (None,)
        ):
            raise TypeError(
                "check_middleware takes what @middleware made, or a function that returns that,"
                f" not {shown(made)}"
            )
        return cast("Pipeline", made)

    if not callable(given):
        raise TypeError(f"check_middleware takes what @middleware made, not {shown(given)}")
    return make


def _failures(failures: Sequence[Step]) -> tuple[Fail | Bad, ...]:
    found = several(failures, "check_middleware(failures=)", "a list of Fail(...) and Bad(...)")
    for step in found:
        if not is_step(step) or not isinstance(step, Fail | Bad):
            raise TypeError(
                f"check_middleware(failures=) takes Fail(...) and Bad(...), not {shown(step)}"
            )
    if not found:
        raise ValueError("check_middleware(failures=) must have at least one step")
    return found


def _flag(answers: object) -> bool:
    if not isinstance(answers, bool):
        raise TypeError(f"check_middleware(answers=) must be a bool, not {shown(answers)}")
    return answers


def _errors(raises: Any) -> tuple[type[Exception], ...]:  # noqa: ANN401 - whatever was written
    found = cast("tuple[object, ...]", raises if isinstance(raises, tuple) else (raises,))
    for one in found:
        if not is_class_of(one, Exception):
            raise TypeError(
                "check_middleware(raises=) takes a class of Exception, or a tuple of them,"
                f" not {shown_or_class(one)}"
            )
    return cast("tuple[type[Exception], ...]", found)


def _skipped(skip: Any) -> frozenset[str]:  # noqa: ANN401 - as above
    names = (skip,) if isinstance(skip, str) else skip
    found = several(names, "check_middleware(skip=)", "names of invariants")
    known = sorted({*INVARIANTS, *RULES})
    for name in found:
        if name not in known:
            raise ValueError(
                f"check_middleware(skip=) has no invariant {shown(name)};"
                f" there are {', '.join(known)}"
            )
    return frozenset(found)


def _arguments(
    parts: Sequence[Middleware], given: Mapping[str, Any]
) -> tuple[list[Argument], dict[str, Argument]]:
    """Return an argument for each parameter behind the first two that nobody gave, or one.

    Behind one that is given by its name the others are as well.
    """
    names = ["question"]
    for part in parts:
        if part.expose_args:
            try:
                parameters = [*inspect.signature(part.handler).parameters.values()][2:]
            except (TypeError, ValueError):  # one that hides its parameters
                continue
            wanted = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
            mine = [one.name for one in parameters if one.kind in wanted]
            open_ended = any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters)
            names = mine or (names if open_ended else [])
    listed = [*takewhile(lambda name: name not in given, names)]
    by_name = [name for name in names[len(listed) :] if name not in given]
    return [*map(_stand_in, listed)], {name: _stand_in(name) for name in by_name}


def _stand_in(name: str) -> Argument:
    return Argument(f"the argument of the kit {name}")


def _report(name: str, broken: Sequence[Broken]) -> InvariantBroken:
    error = InvariantBroken(broken[0].run, [one.finding for one in broken], None)
    error.args = ("\n\n".join([f"the middleware {name} does not hold:", *map(str, broken)]),)
    return error
