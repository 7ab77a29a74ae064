"""`circuit_breaker`, as users write it, and the handle that it returns.

The machine is in `_core.breaker`, its circuits are in `_runtime.world`.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from resilient._breaker_part import CircuitBreakerPart
from resilient._core import options
from resilient._core.backoff import backoff_of, constant
from resilient._core.breaker_policy import BreakerPolicy
from resilient._core.conditions import condition, result_condition
from resilient._core.functions import function_name, refuse_async
from resilient._core.options import shown
from resilient._core.trips import time_window, trip_of
from resilient._kinds import function_or_none
from resilient._permit import BreakerHandle, KeyedBreaker
from resilient._place import users_line
from resilient._runtime.clock import now, world
from resilient._runtime.world import Options
from resilient._stack import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from resilient._core.backoff import Backoff
    from resilient._core.breaker_snapshot import BreakerSnapshot
    from resilient._core.breaker_states import Mode
    from resilient._core.faults import Classify
    from resilient._core.options import Seconds
    from resilient._core.trips import Trip
    from resilient._runtime.world import Family, Written
    from resilient.typing import AsyncFunction, OnError, OnResult

    Key = str | Callable[..., Hashable]
    OpenFor = Seconds | Backoff | Sequence[Seconds] | Callable[[int], Seconds]

F = TypeVar("F", bound="AsyncFunction")

_PROBE = 30.0
"""Seconds that a probe has where `open_for` gives no better measure."""


class CircuitBreaker(Pipeline, BreakerHandle):
    """What `circuit_breaker` returns: a decorator, a part of a stack, and the breaker's handle."""

    @property
    def _part(self) -> CircuitBreakerPart:
        return cast("CircuitBreakerPart", self.policies[0])

    def _owner(self) -> Family:
        return world().family(self._written(), self._part.default)

    def _seen(self) -> Family:
        return world().peek(self._written(), self._part.default)

    def _written(self) -> Written:
        part = self._part
        if part.name is None:
            raise TypeError(
                "this circuit breaker has no name of its own: it gets that of each function it"
                ' decorates. To hold it in hand, name it: circuit_breaker("prices")'
            )
        return part.written(part.name)

    def for_key(self, key: Hashable, /) -> BreakerHandle:
        """Return the circuit of one key of a family, to be looked at and worked by hand.

        >>> shards = circuit_breaker("docs.shards", key="shard")
        >>> shards.for_key(7).snapshot().state
        'closed'
        """
        self._seen().check_key(key)
        return KeyedBreaker(self._owner, key)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<CircuitBreaker {self._part.name or '(named after its function)'}>"


@overload
def circuit_breaker(fn: F, /) -> F: ...


@overload
def circuit_breaker(
    name: str | None = None,
    /,
    *,
    trip: Trip | None = None,
    on: OnError | None = None,
    on_result: OnResult | None = None,
    classify: Classify | None = None,
    open_for: OpenFor | None = None,
    probes: int | None = None,
    successes: int | None = None,
    probe_timeout: Seconds | None = None,
    mode: Mode | None = None,
    key: Key | None = None,
    per: Literal["instance"] | None = None,
) -> CircuitBreaker: ...


def circuit_breaker(
    name: Any = None,
    /,
    *,
    trip: Trip | None = None,
    on: OnError | None = None,
    on_result: OnResult | None = None,
    classify: Classify | None = None,
    open_for: OpenFor | None = None,
    probes: int | None = None,
    successes: int | None = None,
    probe_timeout: Seconds | None = None,
    mode: Mode | None = None,
    key: Key | None = None,
    per: Literal["instance"] | None = None,
) -> Any:
    """Do not call what is down: after too many failures refuse at once, then try carefully.

    `name` is what fails together: all breakers of that name are one, in every
    loop and thread. Without a name it is the function's. `trip` says when the
    circuit opens: `time_window(30)` by default, that is at half of at least
    10 calls failing within 30 s; or `count_window`, `consecutive`, `any_of`.
    `on` says which errors count, by default all but those that are the
    caller's own fault (not found, invalid), the program's (a `TypeError`),
    those that say when to come back (429) and refusals of other policies.
    `on_result` makes a returned value a failure, `classify` maps an error to a
    `Fault`. A cancelled call never counts.

    While it is open, calls raise `CircuitOpen`, at once. After `open_for`
    seconds (30; a backoff such as `exponential(base=30, cap=600)` grows from
    one opening to the next, and it is never below a server's hint) the next
    call is let through as a probe. Of one half-open period there are `probes`
    (1) at a time or ended; it closes at the `successes`-th success (all of
    them), and opens again as soon as that cannot be reached. A probe that
    takes longer than `probe_timeout` (the first `open_for`) gives its place
    back. `mode="observe"` refuses nothing and counts what it would have.

    `key` makes a circuit for each value of a parameter (its name), or of a
    function of the arguments; at most 1024 are kept. `per="instance"` makes
    one for each object whose method it guards. A partial outage stays partial
    only if the key is what fails together.

    Without options, `circuit_breaker("x")` refers to the breaker that is
    defined elsewhere. The first options given, or the first call, fix it;
    other ones are a `ValueError`. Bad options are a `ValueError` or
    `TypeError` here.

    >>> @circuit_breaker("catalog", trip=consecutive(5), open_for=60)
    ... async def price(sku: str) -> float: ...
    >>> print(explain(price))
    price: 1 policy, outermost first
      circuit_breaker   "catalog": closed; opens at 5 failures in a row, probes after 60 s
      bound             at most 1 call and no limit of time

    Source: Nygard, "Release It!" (2007), "Circuit Breaker".
    """
    if callable(name) or isinstance(name, (staticmethod, classmethod)):
        return circuit_breaker()(cast("Any", name))
    if name is not None:
        options.text(name, "circuit_breaker(name)")
    given = {
        "trip": trip,
        "on": on,
        "on_result": on_result,
        "classify": classify,
        "open_for": open_for,
        "probes": probes,
        "successes": successes,
        "probe_timeout": probe_timeout,
        "mode": mode,
        "key": key,
        "per": per,
    }
    is_reference = all(value is None for value in given.values())
    made = None if is_reference else _options(**given)
    part = CircuitBreakerPart(name, made, _DEFAULT, users_line())
    return CircuitBreaker(policies=(part,))


def breakers() -> Mapping[str, BreakerSnapshot]:
    """Return a snapshot of every circuit breaker that was called or handled so far, by name.

    >>> circuit_breaker("docs.stock").close()
    >>> breakers()["docs.stock"].state
    'closed'
    """
    here, instant = world(), now()
    families = list(here.families.items())
    return MappingProxyType({name: family.snapshot(instant) for name, family in families})


def _options(
    *,
    trip: object = None,
    on: object = None,
    on_result: object = None,
    classify: object = None,
    open_for: object = None,
    probes: object = None,
    successes: object = None,
    probe_timeout: object = None,
    mode: object = None,
    key: object = None,
    per: object = None,
) -> Options:
    where = "circuit_breaker"
    rule = time_window() if trip is None else trip_of(trip, f"{where}(trip=)")
    function_or_none(classify, f"{where}(classify=)")
    waits = _open_for(30 if open_for is None else open_for, f"{where}(open_for=)")
    places = 1 if probes is None else options.whole(probes, f"{where}(probes=)")
    wanted = places if successes is None else options.whole(successes, f"{where}(successes=)")
    if wanted > places:
        raise ValueError(
            f"{where}(successes=) must be at most probes={places}, not {wanted}:"
            " it would never close"
        )
    patience = waits.wait(1, 1.0, None) or _PROBE
    if probe_timeout is not None:
        patience = options.seconds(probe_timeout, f"{where}(probe_timeout=)")
    policy = BreakerPolicy(
        trip=rule,
        on=None if on is None else condition(on, f"{where}(on=)", classify=cast("Any", classify)),
        on_result=None
        if on_result is None
        else result_condition(on_result, f"{where}(on_result=)"),
        classify=cast("Any", classify),
        open_for=waits,
        probes=places,
        successes=wanted,
        probe_timeout=patience,
        mode=cast(
            "Any", options.choice("enforce" if mode is None else mode, f"{where}(mode=)", _MODES)
        ),
    )
    if key is not None and per is not None:
        raise ValueError(f"{where}(key=) and per= both tell circuits apart: give one")
    if per is not None:
        options.choice(per, f"{where}(per=)", ("instance",))
    _check_key(key, f"{where}(key=)")
    asked = (key, per, on, on_result, classify, open_for if callable(open_for) else waits)
    return Options(
        policy=policy,
        key=cast("Any", key),
        per=cast("Any", per),
        window=None if trip is None else rule.window,
        patience=None if open_for is None and probe_timeout is None else patience,
        written=(rule, places, wanted, patience, policy.mode, *map(_comparable, asked)),
    )


_MODES = ("enforce", "observe")


def _open_for(value: object, option: str) -> Backoff:
    if value is None or isinstance(value, int | float | timedelta):
        return constant(options.seconds(value, option, zero=True))
    accepted = (
        "seconds, a backoff such as exponential(base=30), a list of seconds,"
        " or a function of the opening's number"
    )
    return backoff_of(value, option, accepted)


def _check_key(key: object, option: str) -> None:
    if key is None or (isinstance(key, str) and key.isidentifier()):
        return
    if not callable(key) or isinstance(key, type):
        kind = ValueError if isinstance(key, str) else TypeError
        raise kind(
            f"{option} must be the name of a parameter, or a function of the arguments,"
            f" not {shown(key)}"
        )
    refuse_async(key, option)


def _comparable(value: Any) -> object:  # noqa: ANN401
    """Return what tells two options apart: a function is known by its name, as when reloaded."""
    if isinstance(value, tuple):
        return tuple(map(_comparable, cast("tuple[object, ...]", value)))
    if isinstance(value, functools.partial):
        return tuple(map(_comparable, (value.func, value.args, tuple(value.keywords.items()))))
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return function_name(value)
    return value


_DEFAULT = _options()
"""What a breaker is that nobody has given options."""
