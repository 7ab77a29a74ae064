"""Who can be switched: guards and managers, known so that a test can put other policies in force.

Nothing here is looked at by a guarded call. What is in force stands in the
guard itself, so switching costs those who switch, and production pays nothing.
`resilient.testing` is the only one that throws a switch.
"""

from __future__ import annotations

import weakref
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    Follow = Callable[[Any, "InForce | None"], None]


class InForce(Protocol):
    """What stands in the place of what was written, as long as a switch is thrown."""

    def composition(self, owner: object, written: Any, /) -> Any:  # noqa: ANN401
        """Return the policies that `owner` has instead of those that were written."""
        ...

    def is_alone(self, owner: object, /) -> bool:
        """Tell whether of the targets of `owner` only the first is asked."""
        ...


class Switchboard:
    """All guards and managers of the process, and what is in force for them."""

    __slots__ = ("_known", "_lock", "in_force")

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], Follow]] = {}
        self._lock = RLock()
        self.in_force: InForce | None = None

    def add(self, owner: object, follow: Follow) -> None:
        """Make `owner` known; `follow(owner, in_force)` switches it, `None` switches back."""
        key = id(owner)

        def gone(ref: weakref.ref[Any]) -> None:
            # Its number may be that of another one by now.
            found = self._known.get(key)
            if found is not None and found[0] is ref:
                del self._known[key]

        with self._lock:
            self._known[key] = weakref.ref(owner, gone), follow
            if self.in_force is not None:
                follow(owner, self.in_force)

    def throw(self, in_force: InForce | None) -> None:
        """Put something in force for all that there are, and for those yet to come."""
        with self._lock:
            self.in_force = in_force
            for ref, follow in list(self._known.copy().values()):
                owner = ref()
                if owner is not None:
                    follow(owner, in_force)


board = Switchboard()
