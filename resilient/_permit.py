"""A breaker in one's own hands: permits for blocks, and what is done by hand."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from resilient._core.breaker import IllegalTransitionError
from resilient._runtime.call import call_at_hand
from resilient._runtime.clock import now

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable
    from types import TracebackType

    from resilient._core.breaker import Permit as Admission
    from resilient._core.breaker_snapshot import BreakerSnapshot
    from resilient._runtime.circuit import ByHand, Circuit
    from resilient._runtime.world import Family


class BreakerPermit:
    """One admission by a circuit breaker, for one block or one call; settled once.

    As a context manager it is settled by how the block ends: an error is
    judged as the breaker judges those of a call, and anything but an
    `Exception` (a cancellation) gives the permit back. By hand it is one of
    `succeed`, `fail` and `release`; a second one is a `RuntimeError`.
    """

    __slots__ = ("_admissions", "_circuit")

    def __init__(self, circuit: Circuit, admission: Admission | None) -> None:
        self._circuit = circuit
        # Taken out when it is settled: of two threads one finds it.
        self._admissions = [admission]

    def succeed(self) -> None:
        """Say that it went well."""
        admission = self._take()
        self._circuit.succeed(call_at_hand(self._circuit.name), admission)

    def fail(self, error: BaseException | None = None) -> None:
        """Say that it failed: with `error`, which is judged (`on=`), or without one, which counts.

        A cancellation, or a refusal of another policy, gives the permit back.
        """
        admission = self._take()
        call = call_at_hand(self._circuit.name)
        if error is None:
            self._circuit.succeed(call, admission, bad=True)
        else:
            self._circuit.fail(call, admission, error)

    def release(self) -> None:
        """Give it back unused: nothing was learned."""
        admission = self._take()
        self._circuit.release(call_at_hand(self._circuit.name), admission)

    def __enter__(self) -> Self:
        """Begin the block."""
        if not self._admissions:
            raise IllegalTransitionError("this permit was settled before: it is for one block")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, unless that was done by hand."""
        if not self._admissions:
            return
        if error is None:
            self.succeed()
        else:
            self.fail(error)

    def _take(self) -> Admission | None:
        try:
            return self._admissions.pop()
        except IndexError:
            message = "this permit was settled before: it is for one call"
            raise IllegalTransitionError(message) from None


class BreakerHandle:
    """One circuit, or a family of them, to be looked at and worked by hand.

    What is done to a family is done to the circuits of all its keys.
    """

    def _owner(self) -> Family | Circuit:
        raise NotImplementedError

    def acquire(self) -> BreakerPermit:
        """Admit a block or a call, or raise `CircuitOpen`; never waits.

        >>> from resilient import circuit_breaker
        >>> prices = circuit_breaker("docs.acquire")
        >>> with prices.acquire():
        ...     answer = 42
        """
        circuit = self._owner().single()
        admission = circuit.admit(call_at_hand(circuit.name))
        if admission is not None:
            admission.owner = None  # a block, and not all of the call that it is in
        return BreakerPermit(circuit, admission)

    @contextmanager
    def isolate(self) -> Generator[None]:
        """Refuse every call while the block runs; blocks of several holders add up.

        When the last one is left the circuit is closed, with empty evidence.

        >>> from resilient import circuit_breaker
        >>> prices = circuit_breaker("docs.isolate")
        >>> with prices.isolate():
        ...     prices.snapshot().state
        'isolated'
        """
        owner = self._changed()
        owner.by_hand(call_at_hand(owner.name), "isolate")
        try:
            yield
        finally:
            owner.by_hand(call_at_hand(owner.name), "release")

    def close(self) -> None:
        """Close the circuit with empty evidence; a `RuntimeError` while isolated or disabled."""
        self._by_hand("close")

    def disable(self) -> None:
        """Let every call pass and learn nothing; a `RuntimeError` while it is isolated."""
        self._by_hand("disable")

    def enable(self) -> None:
        """Take part again, closed; without effect on one that is not disabled."""
        self._by_hand("enable")

    def snapshot(self) -> BreakerSnapshot:
        """Return what is known now: the state, the figures, what opened it.

        >>> from resilient import circuit_breaker
        >>> circuit_breaker("docs.snapshot").snapshot().state
        'closed'
        """
        return self._seen().snapshot(now())

    def _seen(self) -> Family | Circuit:
        """Return what there is to look at."""
        return self._owner()

    def _changed(self) -> Family | Circuit:
        """Return what something is done to by hand."""
        return self._owner()

    def _by_hand(self, what: ByHand) -> None:
        owner = self._changed()
        owner.by_hand(call_at_hand(owner.name), what)


class KeyedBreaker(BreakerHandle):
    """The circuit of one key of a family: what `for_key` returns."""

    def __init__(self, family: Callable[[], Family], key: Hashable) -> None:
        self._of = family
        self._key = key

    def _owner(self) -> Circuit:
        return self._of().for_key(self._key)

    def _seen(self) -> Circuit:
        return self._of().peek(self._key)

    def _changed(self) -> Circuit:
        return self._of().for_key(self._key, keep=True)
