"""The policies as parts of a pipeline.

Each part knows four things: its kind, how to say what it does, what it makes
of the worst case inside it, and how to compile itself around the rest. The
decisions are in `_core`, the drivers in `_runtime`; a part only joins them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from resilient._core.bound import Bound
from resilient._core.chain_options import check_routes
from resilient._core.conditions import may_wait, with_classify
from resilient._core.fallback import FallbackPolicy, TargetSpec
from resilient._core.functions import name_of
from resilient._core.last_good import LastGood
from resilient._kinds import check_alike, makes_coroutines
from resilient._runtime.attempt import NamedLayer, target_layer
from resilient._runtime.chain import Chain
from resilient._runtime.fallback import fallback_layer
from resilient._runtime.middleware import middleware_layer
from resilient._runtime.opened import FirstItem, opening_layer
from resilient._runtime.retry import Retrying, retry_layer
from resilient._runtime.stream_fallback import stream_fallback_layer
from resilient._runtime.stream_timeout import stream_timeout_layer
from resilient._runtime.timeout import timeout_layer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from resilient._core.faults import Classify
    from resilient._core.retry import RetryPolicy
    from resilient._runtime.attempt import Layer
    from resilient._runtime.budgets import RetryBudget
    from resilient._runtime.retry import Judge
    from resilient.errors import Limit

    Compile = Callable[["Place"], Layer]


_COUNTABLE = 10**15
"""Attempts beyond which nobody lives to see the last one."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a pipeline a part stands, as far as it matters to the parts inside."""

    leaves: bool = True
    """Whether an error that leaves here leaves the call."""
    chain: Chain | None = None
    index: int = 0
    classify: Classify | None = None
    fn: Callable[..., Any] | None = None
    """The function that all of it is around."""
    name: str | None = None
    """Where there is none: the name of the target, which the caller's function gets."""
    stream: bool = False
    """Whether what is inside opens a stream: then it gives an `Opened`."""


@dataclass(slots=True)
class Targets:
    """The targets of a pipeline in the order in which they can be asked."""

    names: list[str] = field(default_factory=list[str])
    describes: list[Any] = field(default_factory=list[Any])
    single: list[bool] = field(default_factory=list[bool])
    chains: list[Chain] = field(default_factory=list[Chain])

    def add(self, name: str, fn: Any, *, single: bool) -> int:  # noqa: ANN401
        """Note a target and return its index."""
        self.names.append(name)
        self.describes.append(fn if callable(getattr(fn, "describe", None)) else None)
        self.single.append(single)
        return len(self.names) - 1


class Policy(Protocol):
    """One part of a pipeline."""

    @property
    def kind(self) -> str:
        """The name of the policy, as the decorator is called."""
        ...

    def explain(self, inside: Sequence[Policy]) -> str:
        """Say in one line what it does around `inside`."""
        ...

    def bound(self, inner: Bound) -> Bound:
        """Return the worst case around something with the worst case `inner`."""
        ...

    def layer(
        self, place: Place, targets: Targets, inside: Sequence[Policy], inner: Compile
    ) -> Layer:
        """Compile it around `inner`."""
        ...


@dataclass(frozen=True, slots=True)
class Retry:
    """`retry` as a part of a pipeline."""

    policy: RetryPolicy
    budget: RetryBudget | None
    kind: str = field(default="retry", init=False)

    @property
    def times(self) -> float:
        """The most tries of one call."""
        attempts = self.policy.attempts
        return inf if attempts is None or attempts > _COUNTABLE else attempts

    def explain(self, inside: Sequence[Policy]) -> str:
        """Say how often, on what and with which waits."""
        del inside
        policy = self.policy
        number = "any number of" if policy.attempts is None else f"{policy.attempts}"
        noun = "attempt" if policy.attempts == 1 else "attempts"
        text = f"{number} {noun} on {policy.on.describe()}"
        if policy.on_result is not None:
            text += " and on results that on_result rejects"
        text += f"; {policy.backoff.describe()}"
        if policy.max_elapsed < inf:
            text += f"; no new attempt after {policy.max_elapsed:.6g} s (a running one may finish)"
        if self.budget is not None:
            text += f'; budget "{self.budget.name}"'
        return text

    def bound(self, inner: Bound) -> Bound:
        """Multiply, with the longest waits in between."""
        policy = self.policy
        longest = inf if may_wait(policy.on) else max(policy.backoff.cap, policy.max_hint)
        if policy.on_result is not None:
            longest = inf
        return inner.repeated(self.times, longest, policy.max_elapsed)

    def layer(
        self, place: Place, targets: Targets, inside: Sequence[Policy], inner: Compile
    ) -> Layer:
        """Compile the loop around `inner`."""
        del targets, inside
        policy = self.policy
        if policy.classify is None and place.classify is not None:
            on = with_classify(policy.on, place.classify)
            policy = replace(policy, classify=place.classify, on=on)
        retrying = Retrying(
            policy, self.budget, chain=place.chain, index=place.index, leaves=place.leaves
        )
        judge: Judge | None = policy.on_result
        if judge is not None and place.stream:
            judge = FirstItem(judge)
        return retry_layer(retrying, inner(place), judge)


@dataclass(frozen=True, slots=True)
class Timeout:
    """`timeout` as a part of a pipeline; `inf` where there is no such limit."""

    seconds: float
    first_item: float = inf
    between_items: float = inf
    kind: str = field(default="timeout", init=False)

    @property
    def of_items(self) -> tuple[float, float]:
        """Its limits that only a stream can reach."""
        return self.first_item, self.between_items

    @property
    def of_streams(self) -> bool:
        """Whether it has one of these."""
        return min(self.of_items) < inf

    def explain(self, inside: Sequence[Policy]) -> str:
        """Say how long, and for what."""
        if not self.of_streams:
            scope = "for everything inside" if _repeats(inside) else "per attempt"
            return f"{self.seconds:.6g} s {scope}"
        limits = (
            (self.seconds, "for the whole stream"),
            (self.first_item, "to the first item"),
            (self.between_items, "between items"),
        )
        return ", ".join(f"{seconds:.6g} s {what}" for seconds, what in limits if seconds < inf)

    def bound(self, inner: Bound) -> Bound:
        """Cap the seconds."""
        return inner.capped(self.seconds)

    def layer(
        self, place: Place, targets: Targets, inside: Sequence[Policy], inner: Compile
    ) -> Layer:
        """Compile the scope around `inner`."""
        limit: Limit = "total" if _repeats(inside) else "attempt"
        run = inner(place)
        if place.stream:
            return stream_timeout_layer(
                self.seconds, limit, self.first_item, self.between_items, run
            )
        if self.of_streams:
            option = "first_item" if self.first_item < inf else "between_items"
            raise TypeError(
                f"timeout({option}=) is a limit of a stream,"
                f" and {targets.names[-1]} is no async generator function"
            )
        return timeout_layer(self.seconds, limit, run)


@dataclass(frozen=True, slots=True)
class Fallback:
    """`fallback` as a part of a pipeline: what is inside is target 0."""

    to: tuple[Callable[..., Any], ...]
    policy: FallbackPolicy
    bounds: tuple[Bound, ...]
    """The worst case of each of `to`."""
    kind: str = field(default="fallback", init=False)

    def explain(self, inside: Sequence[Policy]) -> str:
        """Say who is asked next, and what is left at last."""
        del inside
        names = [name_of(fn) for fn in self.to]
        if self.policy.degrade is not None:
            names.append(self.policy.degrade.describe())
        restarts = "; restarts after the first item, too"
        return ", then ".join(names) + restarts * (self.policy.midstream == "restart")

    def bound(self, inner: Bound) -> Bound:
        """Add up over the targets."""
        for bound in self.bounds:
            inner = inner.then(bound)
        return chain_bound(self.policy, inner)

    def layer(
        self, place: Place, targets: Targets, inside: Sequence[Policy], inner: Compile
    ) -> Layer:
        """Compile the walk: what is inside first, then each of `to`."""
        check_alike(self.to, "fallback(to=)", streams=place.stream)
        check_streams(self.policy, "fallback", streams=place.stream)
        first = len(targets.names)
        last = not self.to and self.policy.degrade is None
        # The names are known once the inside is compiled, and that needs the chain.
        classify = [place.classify] + [None] * len(self.to)
        chain = Chain(self.policy, classify, leaves=place.leaves)
        targets.chains.append(chain)
        runs = [inner(replace(place, leaves=last and place.leaves, chain=chain, index=0))]
        places = [first]
        names = [targets.names[first]]
        for fn in self.to:
            name = unique(name_of(fn), targets.names)
            names.append(name)
            places.append(targets.add(name, fn, single=True))
            runs.append(as_layer(fn, stream=place.stream))
        check_routes(self.policy.routes, names, "fallback")
        seconds = [bound_of(inside).seconds, *(bound.seconds for bound in self.bounds)]
        chain.settle(
            tuple(
                TargetSpec(name=name, seconds=most)
                for name, most in zip(names, seconds, strict=True)
            ),
            places,
        )
        return stream_fallback_layer(chain, runs) if place.stream else fallback_layer(chain, runs)


@dataclass(frozen=True, slots=True)
class Middleware:
    """A user's `middleware` as a part of a pipeline."""

    handler: Callable[..., Awaitable[Any]]
    calls: int
    expose_args: bool
    kind: str = field(default="middleware", init=False)

    @property
    def times(self) -> float:
        """The most runs of what is inside."""
        return inf if self.calls > _COUNTABLE else self.calls

    def explain(self, inside: Sequence[Policy]) -> str:
        """Say whose it is, and what it may do."""
        del inside
        text = name_of(self.handler)
        if self.calls > 1:
            text += f", which may run what is inside {self.calls} times"
        return f"{text}; sees the arguments" if self.expose_args else text

    def bound(self, inner: Bound) -> Bound:
        """Multiply the calls; the middleware itself may take any time."""
        return Bound(inner.calls * self.times, inf)

    def layer(
        self, place: Place, targets: Targets, inside: Sequence[Policy], inner: Compile
    ) -> Layer:
        """Compile it around `inner`, whose errors leave the call unless it makes up for them."""
        del inside
        run = inner(place)
        if place.stream:
            raise TypeError(
                f"the middleware {name_of(self.handler)} awaits what is inside,"
                f" and {targets.names[-1]} gives a stream"
            )
        return middleware_layer(
            self.handler,
            run,
            name=name_of(self.handler),
            calls=self.calls,
            expose_args=self.expose_args,
        )


def repeats(policy: Policy) -> bool:
    """Tell whether `policy` may ask one target more than once."""
    return policy.kind == "retry" or (isinstance(policy, Middleware) and policy.calls > 1)


def check_streams(policy: FallbackPolicy, where: str, *, streams: bool) -> None:
    """Refuse to restart what has no middle, and to keep what is no single answer."""
    if policy.midstream == "restart" and not streams:
        raise TypeError(f"{where}(midstream=) is for streams: async generator functions")
    if isinstance(policy.degrade, LastGood) and streams:
        raise TypeError(f"{where}(degrade=last_good()) keeps an answer, and a stream is none")


def as_layer(fn: Any, *, stream: bool = False) -> Layer:  # noqa: ANN401
    """Return the innermost layer of `fn`: a layer already, or a function to call."""
    if isinstance(fn, NamedLayer):
        return fn
    if stream:
        return opening_layer(fn)
    return target_layer(fn, is_coroutine_function=makes_coroutines(fn))


def bound_of(policies: Sequence[Policy], inner: Bound | None = None) -> Bound:
    """Return the worst case of `policies` around something with the worst case `inner`."""
    bound = inner or Bound()
    for policy in reversed(policies):
        bound = policy.bound(bound)
    return bound


def chain_bound(policy: FallbackPolicy, targets: Bound) -> Bound:
    """Return the worst case of a chain whose targets have the worst case `targets`.

    Closing a bad answer may take any time, but counts against the deadline;
    making the last resort does not.
    """
    closes = policy.on_result is not None and policy.deadline == inf
    makes = policy.degrade is not None and getattr(policy.degrade, "may_wait", True)
    bound = targets.capped(policy.deadline)
    return Bound(bound.calls, inf) if closes or makes else bound


def unique(name: str, names: Sequence[str]) -> str:
    """Return `name`, with `#2`, `#3` on a repeat."""
    made, number = name, 1
    while made in names:
        number += 1
        made = f"{name}#{number}"
    return made


def _repeats(inside: Sequence[Policy]) -> bool:
    return any(policy.kind == "fallback" or repeats(policy) for policy in inside)
