"""What a case gives, made of the library's own parts.

Everything is made inside the run, where all names are free.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

from resilient import (
    FallbackManager,
    Fault,
    Rejected,
    RetryBudget,
    Target,
    any_of,
    circuit_breaker,
    consecutive,
    constant,
    count_window,
    exponential,
    fallback,
    fibonacci,
    linear,
    retry,
    stack,
    time_window,
    timeout,
    value,
)
from resilient._kinds import is_stream
from resilient.testing._steps import Fail, Hang, Ok, Step, Stubborn
from resilient.testing._text import parse
from resilient.testing.conformance._data import is_list, is_object

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from resilient import CircuitBreaker, Pipeline
    from resilient.testing.conformance._data import Data
    from resilient.typing import Backoff, Trip

Way = Literal["decorators", "stack"]


@dataclass(frozen=True, slots=True)
class Items:
    """A step of a stream: its items, and how it goes on behind them."""

    items: tuple[Any, ...]
    after: float = 0
    gap: float = 0
    then: Step | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """What the calls of one target come to, in order, and `then` for ever."""

    steps: tuple[Step | Items, ...] = ()
    then: Step | Items = Ok()  # noqa: RUF009 - a frozen value

    @property
    def streams(self) -> bool:
        """Whether the target is an async generator."""
        return any(isinstance(step, Items) for step in (*self.steps, self.then))

    def step(self, number: int) -> Step | Items:
        """Return the step that answers call `number`, counted from 1."""
        return self.steps[number - 1] if number <= len(self.steps) else self.then


class E1(Exception):
    """A failure that no table knows."""


class E2(Exception):
    """Another one."""


class E3(Exception):
    """A third one."""


ERRORS: dict[str, type[BaseException]] = {
    kind.__name__: kind
    for kind in (
        ConnectionError,
        TimeoutError,
        ValueError,
        TypeError,
        E1,
        E2,
        E3,
        Rejected,
        Exception,
        KeyboardInterrupt,
        SystemExit,
    )
}


class Parts:
    """Makes policies, with the budgets, breakers and targets that they refer to."""

    def __init__(self, given: Data, target: Callable[[str, Script], Callable[..., Any]]) -> None:
        self._given = given
        self._made: dict[str, Callable[..., Any]] = {}
        self._target = target
        self.budgets = {
            name: RetryBudget(name, **{key: number(one) for key, one in options.items()})
            for name, options in given.get("budgets", {}).items()
        }
        self.breakers: dict[str, CircuitBreaker] = {}

    def function(self, name: str) -> Callable[..., Any]:
        """Return the function of that name: one that was guarded before, or a target."""
        if name not in self._made:
            written = self._given.get("targets", {}).get(name, "")
            self._made[name] = self._target(name, script_of(written))
        return self._made[name]

    def guarded(self, way: Way) -> dict[str, Callable[..., Any]]:
        """Return what can be called, by name."""
        given = self._given
        if "manager" in given:
            manager = self.manager(given["manager"])
            if any(map(is_stream, self._made.values())):
                return {"manager": partial(_items_of, manager.stream)}
            return {"manager": partial(_value_of, manager.run)}
        if "functions" not in given:
            return {"target": self._around(given["policies"], "target", way)}
        made: dict[str, Callable[..., Any]] = {}
        for name, function in given["functions"].items():
            inner = function.get("target", name)
            made[name] = self._made[name] = self._around(function["policies"], inner, way)
        return made

    def _around(self, policies: Sequence[Data], target: str, way: Way) -> Callable[..., Any]:
        fn = self.function(target)
        parts = [self.policy(policy) for policy in policies]
        if way == "stack":
            return stack(*parts)(fn)
        for part in reversed(parts):
            fn = part(fn)
        return fn

    def manager(self, options: Data) -> FallbackManager[Any]:
        """Make a manager."""
        targets = [self._managed(target) for target in options["targets"]]
        return FallbackManager(targets, **self._chain(options, "targets"))

    def _managed(self, options: Data) -> Target[Any]:
        told = {key: one for key, one in options.items() if key not in {"name", "policies"}}
        for key in ("timeout", "attempts"):
            if key in told:
                told[key] = number(told[key])
        if "classify" in told:
            told["classify"] = fault_of_step
        if "policies" in options:
            told["policies"] = stack(*map(self.policy, options["policies"]))
        return Target(options["name"], self.function(options["name"]), **told)

    def policy(self, written: Data) -> Pipeline:
        """Make one policy."""
        ((kind, options),) = written.items()
        match kind:
            case "retry":
                return self._retry(options)
            case "timeout":
                if is_object(options):
                    total = [number(options["total"])] if "total" in options else []
                    rest = {name: number(one) for name, one in options.items() if name != "total"}
                    return timeout(*total, **rest)
                return timeout(number(options))
            case "fallback":
                chain = self._chain(options, "to")
                to = [self.function(name) for name in options.get("to", ())]
                made: Pipeline = fallback(to=to, **chain)
                return made
            case _:
                return self._breaker(options)

    def _retry(self, options: Data) -> Pipeline:
        told: dict[str, Any] = {}
        for name, one in options.items():
            match name:
                case "budget":
                    told[name] = self.budgets[one]
                case "backoff":
                    told[name] = backoff(one)
                case _:
                    told[name] = _condition(name, one)
        return retry(**told)

    def _breaker(self, options: Data) -> CircuitBreaker:
        told: dict[str, Any] = {}
        for name, one in options.items():
            match name:
                case "name":
                    pass
                case "trip":
                    told[name] = trip(one)
                case "open_for" if is_object(one) or is_list(one):
                    told[name] = backoff(one)
                case "mode":
                    told[name] = one
                case "key":
                    told[name] = _argument(one)
                case _:
                    told[name] = _condition(name, one)
        made: CircuitBreaker = circuit_breaker(options["name"], **told)
        self.breakers.setdefault(options["name"], made)
        return made

    def _chain(self, options: Data, targets: str) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for name, one in options.items():
            match name:
                case "degrade":
                    told[name] = value(one)
                case "routes":
                    told[name] = {ERRORS[kind]: names for kind, names in one.items()}
                case "raises" | "midstream":
                    told[name] = one
                case _ if name != targets:
                    told[name] = _condition(name, one)
                case _:
                    pass
        return told


async def _value_of(run: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
    return (await run(*args)).value


async def _items_of(stream: Callable[..., Any], *args: Any) -> AsyncGenerator[Any, None]:
    async with stream(*args) as items:
        async for item in items:
            yield item


@cache
def _argument(place: int) -> Callable[..., Any]:
    # One function for each place: breakers of one name have to be given the same.
    return lambda *args: args[place]


def _condition(name: str, written: Any) -> Any:  # noqa: ANN401
    """Return an option that is a number, or says what is a failure."""
    match name, written:
        case (("on" | "on_result"), {"answers": answer}):
            return _always(answer)
        case "on_result", {"rejects": values}:
            return _one_of(values)
        case "on", _ if is_list(written):
            return tuple(ERRORS[kind] for kind in written)
        case "on", _:
            return ERRORS[written]
        case "classify", _:
            return fault_of_step
        case _:
            return number(written)


def _always(answer: Any) -> Callable[[object], Any]:  # noqa: ANN401
    def answers(_: object) -> Any:  # noqa: ANN401
        return answer

    return answers


def _one_of(values: Sequence[object]) -> Callable[[object], bool]:
    def rejects(found: object) -> bool:
        return any(type(found) is type(one) and found == one for one in values)

    return rejects


def fault_of_step(error: Exception) -> Fault | None:
    """Return what the step says of its error."""
    return getattr(error, "fault_of_step", None)


def number(written: Any) -> Any:  # noqa: ANN401
    """Return a number, also one that JSON has no word for."""
    return float(written) if isinstance(written, str) else written


def backoff(written: Any) -> Any:  # noqa: ANN401
    """Make what `retry(backoff=)` takes."""
    if is_list(written):
        return [number(one) for one in written]
    ((kind, options),) = written.items()
    if kind == "answers":
        return _always(number(options))
    told = {name: _schedule(name, one) for name, one in options.items()}
    if kind == "constant":
        return constant(told.pop("base"), **told)
    makers: dict[str, Callable[..., Backoff]] = {
        "exponential": exponential,
        "linear": linear,
        "fibonacci": fibonacci,
    }
    return makers[kind](**told)


def _schedule(name: str, written: Any) -> Any:  # noqa: ANN401
    if written == "largest":
        return sys.float_info.max
    return written if name == "jitter" else number(written)


def trip(written: Data) -> Trip:
    """Make the rule by which a breaker opens."""
    ((kind, options),) = written.items()
    if kind == "any_of":
        return any_of(*map(trip, options))
    told = {name: number(one) for name, one in options.items()}
    if kind == "consecutive":
        return consecutive(told.pop("failures"), **told)
    size = [told.pop("size")] if "size" in told else []
    return (count_window if kind == "count_window" else time_window)(*size, **told)


def script_of(written: Any) -> Script:  # noqa: ANN401
    """Make the script of a target."""
    if isinstance(written, str):
        steps, then = parse(written)
        return Script(tuple(steps), then or Ok())
    if is_list(written):
        return Script(tuple(map(step, written)))
    return Script(tuple(map(step, written.get("steps", ()))), step(written["then"]))


def step(written: Data) -> Any:  # noqa: ANN401 - a step, or the items of a stream
    """Make one step of a script."""
    after = written.get("after", 0)
    match written:
        case {"items": items}:
            then = step(written["then"]) if "then" in written else None
            return Items(tuple(items), after, written.get("gap", 0), then)
        case {"ok": answer}:
            return Ok(answer, after)
        case {"fail": kind}:
            return Fail(partial(_error, kind, written), after)
        case {"hang": _}:
            return Hang()
        case _:
            return Stubborn(after)


def _error(kind: str, written: Data) -> BaseException:
    says, hint = written.get("says", "boom"), number(written.get("hint"))
    if kind == "Rejected":
        return Rejected(says, policy="case", retry_after=hint)
    error = ERRORS[kind](says)
    told = {"retry_after": hint, "headers": written.get("headers")}
    if "fault" in written:
        told["fault_of_step"] = Fault(**written["fault"])
    for name, one in told.items():
        if one is not None:
            setattr(error, name, one)
    return error


def same_number(a: float, b: float) -> bool:
    """Tell whether two figures are equal, up to the rounding of float addition."""
    return math.isclose(a, b, abs_tol=1e-9)
