"""What the names in a case refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from resilient.testing.conformance._data import Data, Path
    from resilient.testing.conformance._schema import Mistake


class Names:
    """The names that `given` declares, and whether what is used is among them."""

    def __init__(self, given: Data) -> None:
        self._given = given
        self.targets: set[str] = {"target", *given.get("targets", {})}
        self.functions: list[str] = list(given.get("functions", {}))
        self.budgets: set[str] = set(given.get("budgets", {}))
        self.breakers: set[str] = {
            policy["circuit_breaker"]["name"]
            for _, policy in self._policies()
            if "circuit_breaker" in policy
        }

    def check(self, when: Sequence[Data], then: Data) -> Iterator[Mistake]:
        """Yield where something is named that is not there."""
        yield from self._of_given()
        yield from self._of_when(when)
        for place, name in enumerate(then.get("called", ())):
            yield from _among(name, self.targets, "target", ("then", "called", place))
        for place, change in enumerate(then.get("changes", ())):
            if "breaker" in change:
                where: Path = ("then", "changes", place, "breaker")
                yield from _among(change["breaker"], self.breakers, "circuit breaker", where)
        for name in then.get("states", {}):
            yield from _among(name, self.breakers, "circuit breaker", ("then", "states", name))
        for name in then.get("tokens", {}):
            yield from _among(name, self.budgets, "budget", ("then", "tokens", name))

    def _policies(self) -> Iterator[tuple[Path, Data]]:
        given = self._given
        stacks: list[tuple[Path, list[Data]]] = []
        if "policies" in given:
            stacks.append((("given", "policies"), given["policies"]))
        for name, function in given.get("functions", {}).items():
            stacks.append((("given", "functions", name, "policies"), function["policies"]))
        for place, target in enumerate(given.get("manager", {}).get("targets", ())):
            inside: Path = ("given", "manager", "targets", place, "policies")
            stacks.append((inside, target.get("policies", [])))
        for path, policies in stacks:
            for place, policy in enumerate(policies):
                yield (*path, place), policy

    def _of_given(self) -> Iterator[Mistake]:
        before: list[str] = []
        for name, function in self._given.get("functions", {}).items():
            path: Path = ("given", "functions", name)
            if "target" in function:
                yield from _among(function["target"], self.targets, "target", (*path, "target"))
            else:
                yield from _among(name, self.targets, "target", path)
            for place, policy in enumerate(function["policies"]):
                yield from self._of_fallback(policy, (*path, "policies", place), before)
            before.append(name)
        for place, policy in enumerate(self._given.get("policies", ())):
            yield from self._of_fallback(policy, ("given", "policies", place), ())
        for at, policy in self._policies():
            budget = policy.get("retry", {}).get("budget")
            if budget is not None:
                yield from _among(budget, self.budgets, "budget", (*at, "retry", "budget"))
        for place, target in enumerate(self._given.get("manager", {}).get("targets", ())):
            where: Path = ("given", "manager", "targets", place, "name")
            yield from _among(target["name"], self.targets, "target", where)

    def _of_fallback(self, policy: Data, path: Path, functions: Sequence[str]) -> Iterator[Mistake]:
        for place, name in enumerate(policy.get("fallback", {}).get("to", ())):
            where = (*path, "fallback", "to", place)
            yield from _among(name, {*self.targets, *functions}, "target", where)

    def _of_when(self, when: Sequence[Data]) -> Iterator[Mistake]:
        calls: set[str] = set()
        permits: set[str] = set()
        asks = "backoff" in self._given
        for place, stimulus in enumerate(when):
            path: Path = ("when", place)
            if asks != ("wait" in stimulus):
                yield (
                    path,
                    "goes with given.backoff, and nothing else does"
                    if not asks
                    else ('cannot be done to a backoff, which is asked for a "wait"'),
                )
            match stimulus:
                case {"call": name}:
                    if name in calls:
                        yield (*path, "call"), "is the name of a call before it"
                    calls.add(name)
                    yield from self._of_called(stimulus, path)
                case {"cancel": name}:
                    yield from _among(name, calls, "call", (*path, "cancel"))
                case {"breaker": name}:
                    yield from _among(name, self.breakers, "circuit breaker", (*path, "breaker"))
                case {"acquire": name}:
                    yield from _among(name, self.breakers, "circuit breaker", (*path, "acquire"))
                    permits.add(stimulus["as"])
                case {"settle": name}:
                    yield from _among(name, permits, "permit", (*path, "settle"))
                case {"deposit": name} | {"withdraw": name}:
                    kind = "deposit" if "deposit" in stimulus else "withdraw"
                    yield from _among(name, self.budgets, "budget", (*path, kind))
                case _:
                    pass

    def _of_called(self, stimulus: Data, path: Path) -> Iterator[Mistake]:
        if "of" in stimulus:
            yield from _among(stimulus["of"], self.functions, "function", (*path, "of"))
        elif len(self.functions) > 1:
            yield path, f'needs "of": there are {", ".join(self.functions)}'


def _among(name: str, known: Collection[str], what: str, path: Path) -> Iterator[Mistake]:
    if name not in known:
        there = ", ".join(sorted(known))
        yield path, f'"{name}" is no {what}; there {f"are {there}" if there else "is none"}'
