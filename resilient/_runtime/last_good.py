"""What the calls of one chain remember for `last_good`: its newest real answers.

All threads and loops that use the chain share it, under a lock that nothing is
copied or called under. An answer is copied when it is kept and when it is
handed out, so a change that a caller makes to its own is seen by nobody.
"""

from __future__ import annotations

import copy
import logging
import threading
from typing import TYPE_CHECKING, Any

from resilient._core.functions import name_of
from resilient._core.last_good import Answers
from resilient._core.names import class_name
from resilient._core.options import shown
from resilient._runtime.listeners import once

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from resilient._core.last_good import Answer, LastGood
    from resilient._runtime.attempt import Layer
    from resilient._runtime.call import Call


class Memory:
    """The newest real answers of one chain, by key."""

    __slots__ = ("_answers", "_clock", "_lock", "_option")

    def __init__(self, option: LastGood) -> None:
        self._option = option
        self._answers = Answers(option.max_age, option.max_entries)
        self._lock = threading.Lock()
        # Whose instants they are: a run in virtual time is a world of its own.
        self._clock: Callable[[], float] | None = None

    def key_of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
        """Return under which key the answer of this call is kept."""
        if self._option.key is None:
            return None
        key = self._option.key(*args, **kwargs)
        try:
            hash(key)
        except TypeError as error:
            raise TypeError(
                f"last_good(key=) must return something hashable, and"
                f" {name_of(self._option.key)} returned {shown(key)}"
            ) from error
        return key

    def keep(self, call: Call, key: Hashable, value: object) -> None:
        """Keep the answer of a call."""
        try:
            kept = copy.deepcopy(value)
        except Exception as error:  # an answer is not lost because it cannot be kept
            once(
                ("last_good", call.plan.name, type(value)),
                "last_good keeps nothing of %s: copying %s failed with %s",
                call.plan.name,
                class_name(type(value)),
                class_name(type(error)),
                level=logging.WARNING,
            )
            return
        clock = call.runtime.clock
        with self._lock:
            self._measure_by(clock)
            self._answers.put(key, kept, clock())

    def find(self, call: Call) -> Answer | None:
        """Return what is kept under the key of a call."""
        clock = call.runtime.clock
        with self._lock:
            self._measure_by(clock)
            return self._answers.find(call.memory_key, clock())

    def _measure_by(self, clock: Callable[[], float]) -> None:
        if self._clock is not clock:
            self._clock = clock
            self._answers.clear()


def remembering(memory: Memory, inner: Layer, *, named: bool) -> Layer:
    """Run `inner`, a chain, and keep its answer in `memory`.

    The key is asked for first: what the targets do to the arguments does not
    change it, and a key that fails the call has cost nothing.
    """

    async def remembered(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
        # Chains may stand in each other.
        outer = call.memory_key
        call.memory_key = key = memory.key_of(args[1:] if named else args, kwargs)
        try:
            value = await inner(call, args, kwargs)
        finally:
            call.memory_key = outer
        if _is_real(call):
            memory.keep(call, key, value)
        return value

    return remembered


def _is_real(call: Call) -> bool:
    """Tell whether a target gave the answer of `call`, and one that nobody has rejected."""
    return (
        call.answered_by is not None and not call.unacceptable and call.degraded_in != call.attempt
    )
