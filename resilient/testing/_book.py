"""What a run notes of circuit breakers and budgets: every admission, every token.

The events say what a breaker has become, not what it let pass and what it has
learned of it. So a run has a world whose circuits keep a book. They do nothing
else differently: a bug of the real ones is a bug of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from resilient._core.breaker import Breaker, Permit
from resilient._core.breaker_policy import lesson
from resilient._runtime.budgets import Shared
from resilient._runtime.call import current_call
from resilient._runtime.circuit import Circuit

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient._core.breaker import Change, Refusal, Result
    from resilient._core.breaker_policy import BreakerPolicy
    from resilient._core.breaker_states import Reason, State
    from resilient._core.budget import Budget
    from resilient._core.evidence import Evidence, Figures
    from resilient._core.faults import Classify
    from resilient._core.outcome import Verdict
    from resilient._runtime.call import Call
    from resilient.testing._record import Log

Standing = tuple["State", "Figures", int, int, int, float]
"""Where a breaker stands: state, figures, probes on their way, successes, failures, open until."""


@dataclass(slots=True, eq=False)
class Admission:
    """One call that a circuit breaker let pass, and how its permit was settled.

    `state` is that of the circuit behind the admission, `period` the number of
    the state that it belongs to. `expected` is the verdict that what came of
    the call deserves; `verdict` the one that the permit was settled with.
    `settled` counts the settlements: it should be 1.
    """

    circuit: NotingCircuit
    call: int
    granted: float
    order: int
    state: State
    period: int
    expected: Verdict | None = None
    verdict: Verdict | None = None
    settled: int = 0
    settled_at: float | None = None
    settled_order: int | None = None
    stale: bool = False
    before: Standing | None = None
    after: Standing | None = None

    @property
    def breaker(self) -> str:
        """The name of the breaker."""
        return self.circuit.name


@dataclass(frozen=True, slots=True)
class BudgetMove:
    """A token that was put into a budget or taken out of it (`granted`, or refused)."""

    order: int
    at: float
    name: str
    what: Literal["deposit", "withdraw"]
    granted: bool = True
    ratio: float = 0.0
    reserve: float = 0.0
    ttl: float = 0.0
    call: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A transition of one circuit, and when it happened."""

    order: int
    at: float
    change: Change


@dataclass(slots=True)
class Book:
    """The admissions and the tokens of one run."""

    log: Log
    admissions: list[Admission] = field(default_factory=list[Admission])
    budgets: list[BudgetMove] = field(default_factory=list[BudgetMove])
    circuits: list[NotingCircuit] = field(default_factory=list["NotingCircuit"])

    def circuit(self, name: str, policy: BreakerPolicy) -> Circuit:
        """Make a circuit of this run's world."""
        made = NotingCircuit(name, policy, self)
        self.circuits.append(made)
        return made


class NotingCircuit(Circuit):
    """A circuit that notes each admission and what became of it."""

    __slots__ = ("book", "calls", "machine", "moves", "permits")

    def __init__(self, name: str, policy: BreakerPolicy, book: Book) -> None:
        super().__init__(name, policy)
        self.book = book
        self.breaker = self.machine = NotingBreaker(policy, self)
        self.permits: dict[Permit, Admission] = {}
        self.moves: list[Moved] = []
        # The call that a permit is asked for; the machine does not know of calls.
        self.calls: list[int] = []

    def admit(self, call: Call) -> Permit | None:
        """Admit, and note for which call."""
        self.calls.append(self.book.log.known(call).number)
        try:
            return super().admit(call)
        finally:
            self.calls.pop()

    def returned(self, call: Call, permit: Permit | None, value: Any) -> None:  # noqa: ANN401
        """Settle, and note what a value deserves."""
        self._expect(permit, lambda: self._verdict_of(value))
        super().returned(call, permit, value)

    def fail(
        self,
        call: Call,
        permit: Permit | Evidence | None,
        error: BaseException,
        classify: Classify | None = None,
    ) -> None:
        """Settle, and note what an error deserves."""
        self._expect(permit, lambda: self._verdict_on(error, classify))
        super().fail(call, permit, error, classify)

    def noted(self, permit: Permit) -> None:
        """Note an admission."""
        self.permits[permit] = admission = Admission(
            circuit=self,
            call=self.calls[-1] if self.calls else 0,
            granted=permit.granted,
            order=self.book.log.next(),
            state=self.breaker.state,
            period=self.machine.period,
        )
        self.book.admissions.append(admission)

    def _expect(self, permit: object, judge: Callable[[], Verdict]) -> None:
        admission = self.permits.get(permit) if isinstance(permit, Permit) else None
        if admission is not None:
            try:
                admission.expected = judge()
            except Exception:  # noqa: BLE001 - a predicate that fails gives the permit back
                admission.expected = "neutral"

    def _verdict_of(self, value: Any) -> Verdict:  # noqa: ANN401
        bad = self.judge is not None and self.judge.decide(value) is not False
        return "failure" if bad else "success"

    def _verdict_on(self, error: BaseException, classify: Classify | None) -> Verdict:
        if not isinstance(error, Exception):
            return "neutral"
        learned, _ = lesson(self.policy, error, classify)
        return "neutral" if learned == "neutral" else "failure"


class NotingBreaker(Breaker):
    """The machine of a circuit, which counts its periods and notes its permits."""

    __slots__ = ("circuit", "period")

    def __init__(self, policy: BreakerPolicy, circuit: NotingCircuit) -> None:
        super().__init__(policy)
        self.circuit = circuit
        self.period = 1

    def admit(self, now: float) -> tuple[Permit | Refusal, Change | None]:
        """Admit or refuse, and note it."""
        found, change = super().admit(now)
        self._moved(change, now)
        if isinstance(found, Permit):
            self.circuit.noted(found)
        return found, change

    def settle(self, permit: Permit, result: Result) -> Change | None:
        """Settle a permit, and note where the circuit stood before and after."""
        admission = self.circuit.permits.get(permit)
        if admission is None:
            return super().settle(permit, result)
        admission.settled += 1
        admission.before = self.standing(result.now)
        admission.stale = self._is_stale(admission, result.now)
        change = super().settle(permit, result)
        permit.owner = None  # a call keeps its task, whose context keeps this book: a circle
        self._moved(change, result.now)
        admission.verdict = result.verdict
        admission.settled_at = result.now
        admission.settled_order = self.circuit.book.log.next()
        admission.after = self.standing(result.now)
        return change

    def _go(self, reason: Reason) -> Change:
        change = super()._go(reason)
        self.period += 1
        return change

    def standing(self, now: float) -> Standing:
        """Return where it stands at `now`, with the leases that have run out already given up."""
        half_open = self.half_open
        probes = successes = failures = 0
        if half_open is not None:
            probes = sum(until > now for until in half_open.places.values())
            successes, failures = half_open.succeeded, half_open.failed
        figures = self.figures(now)
        return self.state, figures, probes, successes, failures, self.open_until

    def _is_stale(self, admission: Admission, now: float) -> bool:
        if admission.period != self.period:
            return True
        expired = now >= admission.granted + self.policy.probe_timeout
        return admission.state == "half_open" and expired

    def _moved(self, change: Change | None, now: float) -> None:
        if change is not None:
            self.circuit.moves.append(Moved(self.circuit.book.log.next(), now, change))


class NotingBudgets(dict[str, Shared]):
    """The registry of budgets of one run, which notes every token."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self._book = book

    def setdefault(self, name: str, made: Shared, /) -> Shared:
        """Keep a budget that takes notes in front of the real one."""
        made.budget = cast("Any", NotingBudget(made, self._book))
        return super().setdefault(name, made)


class NotingBudget:
    """Asks the real budget, and notes its answers."""

    def __init__(self, shared: Shared, book: Book) -> None:
        self._options = shared.options
        self._budget: Budget = shared.budget
        self._book = book

    def deposit(self, now: float) -> None:
        """Count a first call."""
        self._budget.deposit(now)
        self._note(now, "deposit", granted=True)

    def withdraw(self, now: float) -> bool:
        """Take a token, if there is one."""
        granted = self._budget.withdraw(now)
        self._note(now, "withdraw", granted=granted)
        return granted

    def available(self, now: float) -> float:
        """Return the tokens that are left."""
        return self._budget.available(now)

    def _note(self, now: float, what: Literal["deposit", "withdraw"], *, granted: bool) -> None:
        one, log, call = self._options, self._book.log, current_call()
        self._book.budgets.append(
            BudgetMove(
                order=log.next(),
                at=now,
                name=one.name,
                what=what,
                granted=granted,
                ratio=one.ratio,
                reserve=one.reserve,
                ttl=one.ttl,
                call=None if call is None else log.known(call).number,
            )
        )
