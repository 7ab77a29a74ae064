"""What a guarded function is made of: its policies and targets, as a tree.

A pipeline is read into a `Guarded`: the policies from the outside in, choices
between targets where a fallback stands, and a `Spot` for each target. A target
that is guarded itself has its own `Guarded`. Invariants and strategies ask the
tree which policies stand around a target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from resilient._core.fallback import TargetSpec
from resilient._core.functions import name_of
from resilient._guard import inside
from resilient._manager import FallbackManager
from resilient._policies import Fallback, bound_of, unique

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from resilient._core.bound import Bound
    from resilient._core.fallback import FallbackPolicy
    from resilient._core.faults import Classify
    from resilient._policies import Policy
    from resilient._runtime.plan import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Spot:
    """A target: its place among those of its pipeline, and its own pipeline if it has one.

    `leaf` is its number among all functions that are called in the end.
    """

    place: int
    name: str
    fn: Any
    leaf: int
    inner: Guarded | None


@dataclass(frozen=True, slots=True, eq=False)
class Around:
    """A policy around the rest."""

    policy: Policy
    classify: Classify | None
    inner: Tree


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A chain of targets, in the order in which they are asked."""

    policy: FallbackPolicy
    classify: tuple[Classify | None, ...]
    branches: tuple[Tree, ...]


Tree = Spot | Around | Choice
Above = tuple[Around | tuple[Choice, int], ...]
"""What stands around a spot, outermost first; of a choice also which branch it is in."""


@dataclass(frozen=True, slots=True, eq=False)
class Guarded:
    """One pipeline around its targets."""

    name: str
    plan: Plan
    tree: Tree
    spots: tuple[Spot, ...]
    bound: Bound
    policies: tuple[Policy, ...]

    def above(self, place: int) -> Above:
        """Return what stands around the target at `place`."""
        found = _path(self.tree, place)
        assert found is not None, f"{self.name} has no target {place}"
        return found

    def around(self, kind: str, place: int | None = None) -> list[Around]:
        """Return the policies of a kind: those around one target, or all."""
        if place is None:
            parts = [part for part in _parts(self.tree) if isinstance(part, Around)]
        else:
            parts = [part for part in self.above(place) if isinstance(part, Around)]
        return [part for part in parts if part.policy.kind == kind]

    @property
    def choices(self) -> list[Choice]:
        """All chains, outermost first."""
        return [part for part in _parts(self.tree) if isinstance(part, Choice)]

    @property
    def everything(self) -> list[Guarded]:
        """Itself and all pipelines that stand inside."""
        inner = (spot.inner for spot in self.spots if spot.inner is not None)
        return [self, *(found for one in inner for found in one.everything)]

    @property
    def leaves(self) -> list[tuple[Spot, ...]]:
        """The functions that are called in the end: for each the spots that lead to it."""
        found: list[tuple[Spot, ...]] = []
        for spot in self.spots:
            if spot.inner is None:
                found.append((spot,))
            else:
                found += [(spot, *path) for path in spot.inner.leaves]
        return found

    def leads_to(self, leaf: int) -> list[tuple[Guarded, Spot]]:
        """Return the pipelines around a leaf, outermost first, with the spot that it is in."""
        for path in self.leaves:
            if path[-1].leaf == leaf:
                pipelines = [self, *(spot.inner for spot in path if spot.inner is not None)]
                return list(zip(pipelines, path, strict=True))
        return []


def places(tree: Tree) -> list[int]:
    """Return the places of all targets in a part of a pipeline."""
    return [part.place for part in _parts(tree) if isinstance(part, Spot)]


def anatomy_of(fn: Any) -> Guarded | None:  # noqa: ANN401 - whatever is simulated
    """Return what a guarded function or a manager is made of; `None` for anything else."""
    return _Reader().of(fn)


def is_manager(fn: object) -> bool:
    """Tell whether something is a manager, by its real class."""
    return issubclass(type(fn), FallbackManager)


class _Reader:
    """Reads pipelines and numbers the leaves as it meets them, in the order of the plans."""

    def __init__(self) -> None:
        self._leaves = 0

    def of(self, fn: Any) -> Guarded | None:  # noqa: ANN401
        found = inside(fn)
        if found is None:
            return self._manager(cast("FallbackManager[Any]", fn)) if is_manager(fn) else None
        spots: list[Spot] = []
        policies = found.pipeline.policies
        tree = self._tree(policies, found.fn, spots, None)
        plan: Plan = found.compiled.plan
        return Guarded(plan.name, plan, tree, tuple(spots), found.pipeline.bound, policies)

    def _manager(self, manager: FallbackManager[Any]) -> Guarded:
        spots: list[Spot] = []
        chain = manager._chain  # noqa: SLF001 - the kit looks behind the facade
        branches = tuple(
            self._tree(target.policies.policies, target.call, spots, target.classify, target.name)
            for target in manager.targets
        )
        plan = manager._compiled.plan  # noqa: SLF001 - as above
        tree = Choice(chain.policy, chain.classify, branches)
        return Guarded(manager.name, plan, tree, tuple(spots), manager.bound, ())

    def _tree(
        self,
        policies: Sequence[Policy],
        fn: Any,  # noqa: ANN401
        spots: list[Spot],
        classify: Classify | None,
        name: str | None = None,
    ) -> Tree:
        if not policies:
            return self._spot(fn, spots, name or name_of(fn))
        head, rest = policies[0], policies[1:]
        if not isinstance(head, Fallback):
            return Around(head, classify, self._tree(rest, fn, spots, classify, name))
        first = len(spots)
        branches = [self._tree(rest, fn, spots, classify, name)]
        bounds = [bound_of(rest), *head.bounds]
        named = [spots[first]]
        for other in head.to:
            spot = self._spot(other, spots, unique(name_of(other), [one.name for one in spots]))
            branches.append(spot)
            named.append(spot)
        targets = tuple(
            TargetSpec(name=spot.name, seconds=bound.seconds)
            for spot, bound in zip(named, bounds, strict=True)
        )
        policy = replace(head.policy, targets=targets)
        return Choice(policy, (classify, *[None] * len(head.to)), tuple(branches))

    def _spot(self, fn: Any, spots: list[Spot], name: str) -> Spot:  # noqa: ANN401
        inner = None if fn is None else self.of(fn)
        if inner is None:
            self._leaves += 1
        leaf = -1 if inner is not None else self._leaves - 1
        spot = Spot(len(spots), name, fn, leaf, inner)
        spots.append(spot)
        return spot


def _parts(tree: Tree) -> Iterator[Tree]:
    yield tree
    if isinstance(tree, Around):
        yield from _parts(tree.inner)
    elif isinstance(tree, Choice):
        for branch in tree.branches:
            yield from _parts(branch)


def _path(tree: Tree, place: int) -> Above | None:
    if isinstance(tree, Spot):
        return () if tree.place == place else None
    if isinstance(tree, Around):
        below = _path(tree.inner, place)
        return None if below is None else (tree, *below)
    for index, branch in enumerate(tree.branches):
        below = _path(branch, place)
        if below is not None:
            return ((tree, index), *below)
    return None
