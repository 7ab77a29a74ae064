"""`circuit_breaker` as a part of a pipeline, and how it finds the circuit of a call."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from types import MethodType
from typing import TYPE_CHECKING, Any

from resilient._core.functions import function_name, name_of
from resilient._runtime.breaker import Settled, breaker_layer
from resilient._runtime.clock import now, world
from resilient._runtime.stream_breaker import stream_breaker_layer
from resilient._runtime.world import WORST, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from resilient._core.bound import Bound
    from resilient._core.breaker_states import State
    from resilient._policies import Compile, Place, Policy, Targets
    from resilient._runtime.attempt import Layer
    from resilient._runtime.breaker import Find
    from resilient._runtime.circuit import Circuit
    from resilient._runtime.world import Family, Options, World


@dataclass(frozen=True, slots=True, eq=False)
class CircuitBreakerPart:
    """`circuit_breaker` as a part of a pipeline."""

    name: str | None
    """`None` is the name of the function that it is put around."""
    options: Options | None
    """`None` is what others have given to that name."""
    default: Options
    place: str
    kind: str = field(default="circuit_breaker", init=False)

    @property
    def window(self) -> float | None:
        """The seconds that it looks back, where somebody has said so."""
        return None if self.options is None else self.options.window

    @property
    def patience(self) -> float | None:
        """The seconds for which a probe keeps its place, where somebody has said so."""
        return None if self.options is None else self.options.patience

    @property
    def is_keyed(self) -> bool:
        """Whether it is written with a circuit for each key or instance."""
        return self.options is not None and self.options.is_keyed

    def explain(self, inside: Sequence[Policy]) -> str:
        """Say its name and state, when it opens, and when it tries again."""
        del inside
        name = "named after the function" if self.name is None else f'"{self.name}"'
        options, state = self.options, "closed"
        if self.name is not None:
            family = world().peek(self.written(self.name), self.default)
            options, state = family.options, family.snapshot(now()).state
        options = options or self.default
        policy = options.policy
        text = f"{name}: {state}; opens {policy.trip.describe()}, probes {_after(options)}"
        if options.is_keyed:
            text += f"; one circuit per {_per(options)}"
        if policy.mode == "observe":
            text += "; only observes"
        return text

    def bound(self, inner: Bound) -> Bound:
        """Change nothing: in the worst case the circuit is closed."""
        return inner

    def layer(
        self, place: Place, targets: Targets, inside: Sequence[Policy], inner: Compile
    ) -> Layer:
        """Compile the guard around `inner`."""
        del targets, inside
        written = self.written(self.name or _name_at(place))
        known = world().define(written)
        if known.options is not None:
            _finder(known.options, place)  # a key that no call can have is a mistake now

        def settle(here: World) -> Settled:
            family = here.family(written, self.default)
            find = _finder(family.options, place)
            if find is None:
                return Settled(here, family.single())
            return Settled(here, None, find(family))

        make = stream_breaker_layer if place.stream else breaker_layer
        return make(settle, inner(place), place.classify)

    def state(self, fn: Any) -> State:  # noqa: ANN401
        """Return the state of its circuit around `fn`, of a family the worst."""
        written = self.written(self.name or function_name(fn))
        return world().peek(written, self.default).snapshot(now()).state

    def written(self, name: str) -> Written:
        """Return what was written here, for the registry."""
        return Written(name=name, options=self.options, place=self.place)


def named(policies: Sequence[Policy], fn: Any) -> tuple[Policy, ...]:  # noqa: ANN401
    """Return `policies` as they are around `fn`: a breaker without a name has the function's."""
    if fn is None:
        return tuple(policies)
    return tuple(
        replace(policy, name=function_name(fn))
        if isinstance(policy, CircuitBreakerPart) and policy.name is None
        else policy
        for policy in policies
    )


def worst_state(around: Iterable[tuple[Policy, Any]]) -> State | None:
    """Return the worst state of the circuits among policies, each with what it is around."""
    states = [part.state(fn) for part, fn in around if isinstance(part, CircuitBreakerPart)]
    return WORST[min(map(WORST.index, states))] if states else None


def _name_at(place: Place) -> str:
    """Return the name of a breaker that was given none: that of what it is around."""
    if place.fn is None:
        raise TypeError(
            "circuit_breaker() gets its name from the function that it is around, and here is"
            ' none: name it, as in circuit_breaker("prices")'
        )
    return function_name(place.fn)


def _after(options: Options) -> str:
    waits = options.policy.open_for
    first = waits.wait(1, 1.0, None)
    if waits.wait(2, 1.0, first) == first and waits.wait(1, 0.0, None) == first:
        return f"after {first:.6g} s"
    return f"after {waits.describe().removeprefix('waits ')}"


def _per(options: Options) -> str:
    if options.per is not None:
        return options.per
    key = options.key
    return key if isinstance(key, str) else f"answer of {name_of(key)}"


def _finder(options: Options, place: Place) -> Callable[[Family], Find] | None:
    """Return what finds the circuit of a call there; `None` where there is only one."""
    if options.per is not None:
        return _by_instance(place.fn)
    key = options.key
    if key is None:
        return None
    key_of = _argument(place.fn, key) if isinstance(key, str) else key
    if place.name is not None:
        key_of = _with_the_name(key_of, place.name)

    def find(family: Family) -> Find:
        def circuit(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Circuit:
            found = key_of(*args, **kwargs)
            try:
                return family.for_key(found)
            except TypeError:
                family.check_key(found)
                raise

        return circuit

    return find


def _with_the_name(key_of: Callable[..., Hashable], name: str) -> Callable[..., Hashable]:
    """Ask for a key with what the caller's function gets: its target's name, not itself."""

    def found(_: object, /, *args: Any, **kwargs: Any) -> Hashable:
        return key_of(name, *args, **kwargs)

    return found


def _by_instance(fn: Any) -> Callable[[Family], Find]:  # noqa: ANN401
    # Of a bound method the instance is known, and no argument.
    bound = (fn.__self__,) if isinstance(fn, MethodType) else ()

    def find(family: Family) -> Find:
        def circuit(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Circuit:
            del kwargs
            held = bound or args
            if not held:
                raise TypeError(
                    f'circuit_breaker(per="instance") guards methods: "{family.name}" was'
                    " called without an instance"
                )
            return family.for_instance(held[0])

        return circuit

    return find


def _argument(fn: Any, name: str) -> Callable[..., Hashable]:  # noqa: ANN401
    """Return what finds the argument `name` in a call of `fn`, by its signature."""
    if fn is None:
        raise TypeError(f"circuit_breaker(key={name!r}) needs a function whose parameter it is")
    signature = inspect.signature(fn)
    parameters = list(signature.parameters.values())
    index = next((i for i, found in enumerate(parameters) if found.name == name), None)
    variable = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
    if index is None or parameters[index].kind in variable:
        names = ", ".join(found.name for found in parameters if found.kind not in variable)
        raise ValueError(
            f"circuit_breaker(key=) must be a parameter of {name_of(fn)}, which are"
            f" {names or 'none'}, not {name!r}"
        )
    found = parameters[index]
    positional = found.kind is not inspect.Parameter.KEYWORD_ONLY
    by_name = found.kind is not inspect.Parameter.POSITIONAL_ONLY

    def argument(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if by_name and name in kwargs:
            return kwargs[name]
        if positional and index < len(args):
            return args[index]
        if found.default is not inspect.Parameter.empty:
            return found.default
        # The call itself would fail like this: then it does so here.
        return signature.bind(*args, **kwargs).arguments[name]

    return argument
