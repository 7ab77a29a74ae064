"""A middleware under observation: what it does with `proceed()`, and how it ends.

The driver makes up for much of what a middleware does wrong: a cancellation
that was eaten is raised again behind it. So the middleware is judged where it
ends, before anybody makes up for it. What is found out are texts: an error or a
call that was kept here would look as if the middleware had kept it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from resilient._core.functions import short_name
from resilient._policies import Middleware
from resilient._runtime.clock import runtime
from resilient._runtime.linked import linked
from resilient.testing._check import Finding
from resilient.testing._invariants._common import is_cancellation, kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._runtime.call import Call
    from resilient._runtime.middleware import Proceed
    from resilient._stack import Pipeline


RULES = ("proceeds_as_declared", "cancellation_passes", "error_passes", "value_passes")
"""The names of what a middleware is asked where it ends."""


@dataclass(eq=False)
class Spy:
    """Makes pipelines of middlewares that are observed, and knows what was found in the last run.

    `make` is asked for the middlewares anew in each run. `answers` says that
    they may end with a value of their own, `raises` with which errors.
    """

    make: Callable[[], Pipeline]
    answers: bool
    raises: tuple[type[Exception], ...]
    found: list[Finding] = field(default_factory=list[Finding])
    watch: Callable[[str, object], None] | None = None
    """Gets what belongs to one run of a middleware, to see whether it is kept."""
    _run: object = None
    _handlers: list[Callable[..., Any]] = field(default_factory=list["Callable[..., Any]"])
    _values: dict[int, int] = field(default_factory=dict[int, int])
    _count: int = 0

    def middlewares(self) -> tuple[Middleware, ...]:
        """Return the middlewares, each with this spy inside."""
        parts = cast("tuple[Middleware, ...]", self.make().policies)
        return tuple(self._spied(part, place) for place, part in enumerate(parts))

    def _spied(self, part: Middleware, place: int) -> Middleware:
        @functools.wraps(part.handler)
        async def handler(call: Call, proceed: Proceed, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            real = self._handler(place)
            asked = _Asked(self, part, proceed, self._count, place)
            self._count += 1
            if self.watch is not None:
                self.watch("`call`", call)
                self.watch("`proceed`", asked)
            value: Any = None
            try:
                value = await real(call, asked, *args, **kwargs)
            except BaseException as error:
                asked.judge_error(error)
                raise
            else:
                asked.judge_value(value)
                return value
            finally:
                asked.results.clear()
                asked.errors.clear()
                del call, proceed, asked, args, kwargs, value

        return Middleware(handler, part.calls, part.expose_args)

    def _handler(self, place: int) -> Callable[..., Any]:
        """Return the user's function, a fresh one in each run."""
        world = runtime().world
        if world is not self._run:
            self._run = world
            self._handlers = [cast("Middleware", part).handler for part in self.make().policies]
            self._values.clear()
        return self._handlers[place]

    def forget(self) -> None:
        """Let go of the last run."""
        self._run = None
        self._handlers.clear()

    def saw(self, value: object, asked: _Asked) -> None:
        """Note whose result a value is that a target gave; the record of the run keeps it."""
        if asked.place == len(self._handlers) - 1:
            self._values.setdefault(id(value), asked.number)

    def is_of_another(self, value: object, number: int) -> bool:
        """Tell whether a value is the result of another call."""
        return self._values.get(id(value), number) != number

    def taken(self) -> list[Finding]:
        """Return what was found since this was asked last."""
        found, self.found = self.found, []
        return found

    def add(self, invariant: str, expected: str, happened: str) -> None:
        """Note what does not hold."""
        self.found.append(Finding(invariant, expected, happened))


class _Asked:
    """Stands before `proceed`, and knows what it was asked for and what it came to."""

    __slots__ = ("__weakref__", "_part", "_proceed", "_spy", "errors", "number", "place", "results")

    def __init__(
        self, spy: Spy, part: Middleware, proceed: Proceed, number: int, place: int
    ) -> None:
        self._spy = spy
        self._part = part
        self._proceed = proceed
        self.number = number
        self.place = place
        self.results: list[Any] = []
        self.errors: list[BaseException] = []

    async def __call__(self) -> Any:  # noqa: ANN401 - what is inside returns anything
        """Proceed, and keep what comes of it until the middleware ends."""
        try:
            self._proceed._admit()  # noqa: SLF001 - the kit looks behind the facade
        except RuntimeError as refused:
            self._spy.add(
                "proceeds_as_declared",
                f"calls={self._part.calls}: so many proceed() at most, awaited in the middleware",
                str(refused),
            )
            self.errors.append(refused)
            raise
        try:
            value = await self._proceed()
        except BaseException as error:
            self.errors.append(error)
            raise
        self._spy.saw(value, self)
        self.results.append(value)
        return value

    def __repr__(self) -> str:
        """Look as what it stands for."""
        return repr(self._proceed)

    def judge_value(self, value: object) -> None:
        """Ask what the middleware returned, and what it has no right to keep."""
        if self._eaten("it returned") or self._spy.answers:
            return
        if any(value is one for one in self.results):
            return
        spy, failed = self._spy, self.errors[-1:]
        if spy.is_of_another(value, self.number):
            expected = "what its own proceed() gave"
            spy.add("calls_are_independent", expected, "it returned what that of another call gave")
        elif failed and not self.results:
            expected = f"the {kind(failed[0])} of proceed(), or an answer that it gave"
            spy.add("error_passes", expected, "it returned, and nobody hears of the error")
        else:
            expected = "a value that proceed() gave"
            happened = f"it returned a value of its own, of type {type(value).__qualname__}"
            spy.add("value_passes", expected, happened)

    def judge_error(self, error: BaseException) -> None:
        """Ask what the middleware raised."""
        if not isinstance(error, Exception):
            return
        if self._eaten(f"it raised {kind(error)}") or isinstance(error, self._spy.raises):
            return
        known = [one for seen in self.errors for one in linked(seen)]
        if any(one is other for one in linked(error, contexts=True) for other in known):
            return
        expected = "an error that proceed() raised, or one raised from it"
        self._spy.add("error_passes", expected, f"it raised {kind(error)} of its own")

    def _eaten(self, instead: str) -> bool:
        proceed = self._proceed
        owed = proceed._owed()  # noqa: SLF001 - as above
        if owed is None or (owed is proceed._interrupt and _may_be_a_timer(owed)):  # noqa: SLF001
            return False
        expected = f"{kind(owed)} passed on: it is no Exception, and not the middleware's to handle"
        self._spy.add("cancellation_passes", expected, f"{instead} in its place")
        return True


def _may_be_a_timer(error: BaseException) -> bool:
    """Tell whether an await of the middleware's own may only have been over.

    On trio each sleep ends with a cancellation of its own, behind a shield too.
    Whoever eats one from outside does so on asyncio as well.
    """
    return runtime().backend == "trio" and is_cancellation(error)


def names_of(parts: tuple[Middleware, ...]) -> str:
    """Return the names of middlewares, outermost first."""
    return " > ".join(short_name(part.handler) for part in parts)
