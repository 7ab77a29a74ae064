"""The options of a chain, checked once for both of its spellings.

`fallback(...)` and `FallbackManager(...)` take the same options and build the
same policy; only the name in the messages differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from math import inf
from typing import Any, cast

from resilient._core.conditions import condition, result_condition
from resilient._core.fallback import FallbackPolicy, Midstream, Raises, Routes
from resilient._core.last_good import LastGood
from resilient._core.options import choice, seconds, shown, text


def chain_policy(
    where: str,
    *,
    on: object,
    on_result: object,
    routes: object,
    switch_after: object,
    degrade: object,
    raises: object,
    midstream: object,
    deadline: object = None,
    reserve: object = None,
    trip_for: object = 30,
) -> FallbackPolicy:
    """Return the policy that these options mean, still without targets; `where` has them."""
    last_resort(degrade, f"{where}(degrade=)")
    return FallbackPolicy(
        targets=(),
        on=None if on is None else condition(on, f"{where}(on=)"),
        on_result=None
        if on_result is None
        else result_condition(on_result, f"{where}(on_result=)"),
        routes=_routes(routes, f"{where}(routes=)"),
        deadline=inf if deadline is None else seconds(deadline, f"{where}(deadline=)"),
        reserve=None if reserve is None else seconds(reserve, f"{where}(reserve=)", zero=True),
        switch_after=seconds(switch_after, f"{where}(switch_after=)", zero=True),
        trip_for=seconds(trip_for, f"{where}(trip_for=)"),
        degrade=degrade,
        raises=cast("Raises", choice(raises, f"{where}(raises=)", ("group", "first", "last"))),
        midstream=cast(
            "Midstream", choice(midstream, f"{where}(midstream=)", ("error", "restart"))
        ),
    )


def check_routes(routes: Routes, names: Iterable[str], where: str) -> None:
    """Refuse routes to targets that do not exist."""
    known = set(names)
    for kind, wanted in routes:
        unknown = sorted(wanted - known)
        if unknown:
            raise ValueError(
                f"{where}(routes=) sends {kind.__qualname__} to {', '.join(unknown)},"
                f" which is no target; there are {', '.join(sorted(known))}"
            )


def listed(given: Any, option: str, what: str) -> tuple[Any, ...]:  # noqa: ANN401
    """Return a list as a tuple; one thing alone is a `TypeError`, and so is what has no order."""
    if not _is_listed(given):
        alone: object = getattr(given, "__qualname__", None)
        raise TypeError(f"{option} must be a list of {what}, not {alone or shown(given)}")
    return tuple(given)


def is_mapping(given: object) -> bool:
    """Tell a mapping; what is in it is another question."""
    return isinstance(given, Mapping)


def _is_listed(given: object) -> bool:
    unlisted = isinstance(given, str | bytes | Mapping | AbstractSet)
    return isinstance(given, Iterable) and not unlisted


def last_resort(degrade: object, option: str) -> None:
    """Refuse what cannot be a last resort."""
    if degrade is None or isinstance(degrade, LastGood):
        return
    if not callable(getattr(degrade, "produce", None)):
        raise TypeError(
            f"{option} must be value(...) or last_good(...), not {shown(degrade)}: write value(x)"
        )


def _routes(routes: Any, option: str) -> Routes:  # noqa: ANN401
    if routes is None:
        return ()
    if not is_mapping(routes):
        raise TypeError(
            f"{option} must map exception classes to lists of target names, not {shown(routes)}"
        )
    return tuple(
        (_error_class(kind, option), _names(names, f"{option} for {kind.__qualname__}"))
        for kind, names in routes.items()
    )


def _error_class(kind: object, option: str) -> type[Exception]:
    if isinstance(kind, type) and issubclass(kind, Exception):
        return kind
    name = kind.__qualname__ if isinstance(kind, type) else shown(kind)
    raise TypeError(f"{option} must have exception classes as its keys, not {name}")


def _names(names: object, option: str) -> frozenset[str]:
    return frozenset(text(name, option) for name in listed(names, option, "target names"))
