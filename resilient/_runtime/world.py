"""The registry of circuit breakers: definitions by name, and the circuits of each world.

A *definition* is a name and options. It is fixed by the first use that gives
options, or by the first call (then with the defaults); the same name with
others is a `ValueError` that shows both places. A *family* holds the circuits
of a definition: one, or one for each key.

A *world* is where circuits live. The process is one, and every loop and thread
of it shares the same circuits. A run in virtual time is another, with all
circuits new and all names free, so no test sees what another one has broken.
"""

from __future__ import annotations

import weakref
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Literal

from resilient._core.breaker import IllegalTransitionError
from resilient._core.breaker_snapshot import BreakerSnapshot
from resilient._core.options import shown
from resilient._runtime.circuit import Circuit
from resilient._runtime.listeners import once

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from resilient._core.breaker_policy import BreakerPolicy
    from resilient._core.breaker_states import State
    from resilient._runtime.call import Call
    from resilient._runtime.circuit import ByHand

    MakeCircuit = Callable[[str, BreakerPolicy], Circuit]

MOST_KEYS = 1024
"""Circuits of one family; one that is closed makes room for another."""

WORST: Final[tuple[State, ...]] = ("isolated", "open", "half_open", "closed", "disabled")
"""The states of several circuits by how much they say of what they guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was written for a breaker; two are the same if they were written the same."""

    policy: BreakerPolicy = field(compare=False)
    key: str | Callable[..., Hashable] | None = field(default=None, compare=False)
    per: Literal["instance"] | None = None
    written: tuple[object, ...] = ()
    window: float | None = field(default=None, compare=False)
    """The seconds that its rule looks back, where somebody has given one."""
    patience: float | None = field(default=None, compare=False)
    """The seconds for which a probe keeps its place, where somebody has said so."""

    @property
    def is_keyed(self) -> bool:
        """Whether there is a circuit for each key or instance."""
        return self.key is not None or self.per is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One place in a program that names a breaker, with options or without."""

    name: str
    options: Options | None
    place: str


class World:
    """Where circuits live."""

    __slots__ = ("circuit", "definitions", "families", "lock")

    def __init__(self, circuit: MakeCircuit = Circuit) -> None:
        # What makes its circuits: a simulated run takes notes of its own.
        self.circuit = circuit
        self.definitions: dict[str, Written] = {}
        self.families: dict[str, Family] = {}
        self.lock = RLock()

    def define(self, asked: Written) -> Written:
        """Return the definition of this name, which `asked` fixes if nobody has yet."""
        with self.lock:
            found = self.definitions.get(asked.name)
            if found is None and asked.options is None:
                # A name that the program has fixed means the same in a simulated run.
                found = process.world.definitions.get(asked.name)
            if found is None or (found.options is None and asked.options is not None):
                self.definitions[asked.name] = asked
                return asked
            if asked.options is not None and asked.options != found.options:
                raise ValueError(
                    f'circuit breaker "{asked.name}" was defined at {found.place}, with other'
                    f" options than at {asked.place}: give it the same ones, or another name"
                )
            return found

    def family(self, asked: Written, default: Options) -> Family:
        """Return the circuits of this name here; without options it gets `default`."""
        with self.lock:
            known = self.define(asked)
            found = self.families.get(asked.name)
            if found is None:
                if known.options is None:
                    place = f"{known.place} (its first call, with the defaults)"
                    known = replace(known, options=default, place=place)
                    self.definitions[asked.name] = known
                assert known.options is not None
                made = Family(asked.name, known.options, self.circuit)
                found = self.families[asked.name] = made
            return found

    def peek(self, asked: Written, default: Options) -> Family:
        """Return them to be looked at: who looks fixes no options."""
        with self.lock:
            known = self.define(asked)
            return self.families.get(asked.name) or Family(asked.name, known.options or default)


class Process:
    """Which world is that of all loops and threads; a run in virtual time has its own."""

    __slots__ = ("world",)

    def __init__(self) -> None:
        self.world = World()


process = Process()


class Family:
    """The circuits of one definition in one world."""

    __slots__ = (
        "by_instance",
        "by_key",
        "circuit",
        "disabled",
        "holders",
        "lock",
        "name",
        "one",
        "options",
    )

    def __init__(self, name: str, options: Options, circuit: MakeCircuit = Circuit) -> None:
        self.name = name
        self.options = options
        self.circuit = circuit
        self.lock = RLock()
        # The circuit of a definition without keys.
        self.one: Circuit | None = None
        # Read without the lock, changed only with it.
        self.by_key: OrderedDict[Hashable, Circuit] = OrderedDict()
        self.by_instance: dict[int, tuple[weakref.ref[Any], Circuit]] = {}
        # What was done to the whole family, also to circuits that are yet to come.
        self.holders = 0
        self.disabled = False

    def single(self) -> Circuit:
        """Return the one circuit of a family without keys."""
        if self.options.is_keyed:
            each = "instance" if self.options.key is None else "key: use for_key(...)"
            raise TypeError(f'circuit breaker "{self.name}" has a circuit for each {each}')
        with self.lock:
            if self.one is None:
                self.one = self._made()
            return self.one

    def check_key(self, key: Hashable) -> None:
        """Refuse a key where there is none, and one that cannot be."""
        if self.options.key is None:
            raise TypeError(
                f'circuit breaker "{self.name}" has no keys: it was defined without key='
            )
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"circuit_breaker(key=) must give something hashable, not {shown(key)}"
            ) from None

    def for_key(self, key: Hashable, *, keep: bool = False) -> Circuit:
        """Return the circuit of `key`; `keep` it even where there is no room for it."""
        found = self.by_key.get(key)
        if found is None:
            with self.lock:
                found = self.by_key.get(key)
                if found is None:
                    return self._new_key(key, keep=keep)
        found.used = True
        return found

    def peek(self, key: Hashable) -> Circuit:
        """Return the circuit of `key` to be looked at: that makes no room for it."""
        return self.by_key.get(key) or self._made()

    def _new_key(self, key: Hashable, *, keep: bool) -> Circuit:
        made = self._made()
        if len(self.by_key) < MOST_KEYS or self._makes_room() or keep:
            self.by_key[key] = made
        else:
            once(
                ("keys", self.name),
                'breaker "%s" has %d keys and none is closed: further ones are not guarded',
                self.name,
                MOST_KEYS,
            )
        return made

    def _makes_room(self) -> bool:
        """Forget a circuit that can be made anew, one that nobody has asked for lately.

        The oldest goes, unless it was used since it was looked at last: then
        it is as good as new. So a call need not move anything.
        """
        for _ in range(len(self.by_key) + 1):
            key, circuit = next(iter(self.by_key.items()))
            if not circuit.used and self._is_as_made(circuit):
                del self.by_key[key]
                return True
            circuit.used = False
            self.by_key.move_to_end(key)
        return False

    def _is_as_made(self, circuit: Circuit) -> bool:
        breaker = circuit.breaker
        if breaker.holders or self.holders:
            return breaker.holders == self.holders
        return breaker.is_idle or (self.disabled and breaker.state == "disabled")

    def for_instance(self, instance: object) -> Circuit:
        """Return the circuit of `instance`, for as long as that lives."""
        number = id(instance)
        found = self.by_instance.get(number)
        if found is not None and found[0]() is instance:
            return found[1]
        with self.lock:
            found = self.by_instance.get(number)
            if found is None or found[0]() is not instance:
                try:
                    ref = weakref.ref(instance, self._forget(number))
                except TypeError:
                    raise TypeError(
                        f'circuit_breaker(per="instance") needs instances that can be held weakly:'
                        f' {type(instance).__qualname__} has no "__weakref__" among its slots'
                    ) from None
                found = self.by_instance[number] = ref, self._made()
            return found[1]

    def _forget(self, number: int) -> Callable[[weakref.ref[Any]], None]:
        by_instance = self.by_instance

        def gone(ref: weakref.ref[Any]) -> None:
            # Its number may be that of another one by now.
            found = by_instance.get(number)
            if found is not None and found[0] is ref:
                del by_instance[number]

        return gone

    def _made(self) -> Circuit:
        made = self.circuit(self.name, self.options.policy)
        if self.disabled:
            made.breaker.disable()
        for _ in range(self.holders):
            made.breaker.isolate()
        return made

    def by_hand(self, call: Call, what: ByHand) -> None:
        """Do to all circuits, and to those yet to come, what a person asked for."""
        if not self.options.is_keyed:
            self.single().by_hand(call, what)
            return
        with self.lock:
            found = self.circuits()
            self._check(found, what)
            self.holders += (what == "isolate") - (what == "release")
            if what in {"disable", "enable", "isolate"}:
                self.disabled = what == "disable"
        for circuit in found:
            circuit.by_hand(call, what)

    def _check(self, found: list[Circuit], what: ByHand) -> None:
        """Refuse what one of the circuits would refuse, before any is changed."""
        states = {circuit.breaker.state for circuit in found}
        if self.holders:
            states.add("isolated")
        if self.disabled:
            states.add("disabled")
        refuse = {"disable": {"isolated"}, "close": {"isolated", "disabled"}}.get(what, set())
        for state in sorted(states & refuse):
            raise IllegalTransitionError(f'"{self.name}" is {state}: that has to end first')

    def circuits(self) -> list[Circuit]:
        """Return all there are now."""
        with self.lock:
            one = [] if self.one is None else [self.one]
            # At once: an instance may be gone while we look.
            held = list(self.by_instance.values())
            return [*one, *self.by_key.values(), *(circuit for _, circuit in held)]

    def snapshot(self, now: float) -> BreakerSnapshot:
        """Return what is known at `now`: of the one circuit, or of all keys together."""
        if not self.options.is_keyed:
            return self.single().snapshot(now)
        shots = [circuit.snapshot(now) for circuit in self.circuits()]
        worst = min(shots, key=lambda shot: WORST.index(shot.state), default=None)
        waits = [shot.retry_after for shot in shots if shot.retry_after is not None]
        return BreakerSnapshot(
            name=self.name,
            state="closed" if worst is None else worst.state,
            calls=sum(shot.calls for shot in shots),
            failures=sum(shot.failures for shot in shots),
            slow=sum(shot.slow for shot in shots),
            retry_after=min(waits, default=None if shots else 0.0),
            opened_by=None if worst is None else worst.opened_by,
            refused=sum(shot.refused for shot in shots),
            min_calls=max((shot.min_calls for shot in shots), default=1),
            keys=len(shots),
        )


def census(world: World) -> Iterator[tuple[str, State, int]]:
    """Count the circuits of `world` by name and state."""
    for name, family in list(world.families.items()):
        counts: Counter[State] = Counter(circuit.breaker.state for circuit in family.circuits())
        for state, number in counts.items():
            yield name, state, number
