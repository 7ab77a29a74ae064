"""Orders of policies that work and are almost surely not what was meant.

A lint looks inward only: decorators apply from the inside out, so the one that
completes the pair is the one that warns, once.
"""

from __future__ import annotations

import warnings
from itertools import combinations
from math import inf
from typing import TYPE_CHECKING

from resilient._breaker_part import CircuitBreakerPart
from resilient._place import users_level
from resilient._policies import Retry, Timeout
from resilient.errors import PolicyOrderWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from resilient._policies import Policy

    Scopes = Mapping[str, str]


def lint(name: str, outside: Sequence[Policy], inside: Sequence[Policy]) -> None:
    """Warn of the pairs that come about when `outside` is put around `inside`."""
    for outer in outside:
        for inner in inside:
            for message in _pair(outer, inner):
                warnings.warn(f"{name}: {message}", PolicyOrderWarning, stacklevel=users_level())


def lint_targets(name: str, targets: Sequence[tuple[str, Scopes, Sequence[Policy]]]) -> None:
    """Warn of targets that share a circuit breaker and nothing that they depend on."""
    for (one, its, policies), (other, others, more) in combinations(targets, 2):
        shared = _breakers(policies) & _breakers(more)
        if shared and its and others and not its.items() & others.items():
            breaker = min(shared)
            warnings.warn(
                f'{name}: {one} and {other} share the circuit breaker "{breaker}" and none of'
                " their scopes: when one is down both are refused;"
                " give each a breaker of its own, or a key",
                PolicyOrderWarning,
                stacklevel=users_level(),
            )


def _breakers(policies: Sequence[Policy]) -> set[str]:
    parts = [policy for policy in policies if isinstance(policy, CircuitBreakerPart)]
    return {part.name for part in parts if part.name is not None and not part.is_keyed}


def _pair(outer: Policy, inner: Policy) -> Iterator[str]:
    if isinstance(outer, Retry) and isinstance(inner, Retry):
        yield (
            f"retry around retry multiplies: {_times(outer)} x {_times(inner)}"
            f" = {_number(outer.times * inner.times)} calls; keep one of them, or share a budget"
        )
    if isinstance(outer, Timeout) and isinstance(inner, Timeout):
        # Those of items are the shorter ones, so they are looked at where they are alone.
        for seconds in [inner.seconds] if inner.seconds < inf else inner.of_items:
            if outer.seconds <= seconds < inf:
                yield (
                    f"the inner timeout of {seconds:.6g} s never expires inside one of"
                    f" {outer.seconds:.6g} s; make the inner one shorter"
                )
    if isinstance(outer, CircuitBreakerPart) and isinstance(inner, Retry):
        yield (
            "a circuit breaker around a retry counts calls, not attempts: up to"
            f" {_times(inner)} attempts are one failure, and it cannot stop them in between;"
            " put the breaker inside the retry"
        )
    if isinstance(outer, CircuitBreakerPart) and isinstance(inner, Timeout):
        longest = inner.first_item if inner.seconds == inf else inner.seconds
        if longest < inf:
            yield from _too_short_for(outer, longest)
    if isinstance(outer, Retry) and inner.kind == "fallback":
        yield (
            "fallback inside retry hides the failures from it, so nothing is tried again;"
            " put the fallback outside"
        )


def _too_short_for(breaker: CircuitBreakerPart, longest: float) -> Iterator[str]:
    """Say what of a breaker is over before an attempt of `longest` seconds may be."""
    window, patience = breaker.window, breaker.patience
    if window is not None and window < 2 * longest:
        yield (
            f"the circuit breaker looks back {window:.6g} s and an attempt may take"
            f" {longest:.6g} s: it has forgotten the first timeout when it sees the"
            f" second; make the window at least {2 * longest:.6g} s"
        )
    if patience is not None and patience <= longest:
        yield (
            f"a probe of the circuit breaker keeps its place for {patience:.6g} s and an"
            f" attempt may take {longest:.6g} s: when a probe hangs, its timeout comes too late"
            f" to open the circuit again; make probe_timeout longer than {longest:.6g} s"
        )


def _times(retry: Retry) -> str:
    return _number(retry.times)


def _number(value: float) -> str:
    return "unlimited" if value == inf else f"{value:.0f}"
