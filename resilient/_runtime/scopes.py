"""How much time the caller's own scopes leave: those of anyio and of trio."""

from __future__ import annotations

from math import inf

import anyio


def scopes_left() -> float:
    """Return the seconds to the nearest anyio or trio scope of the caller.

    Without one, and for a scope that is cancelled already (its "deadline" is
    minus infinity; that is a cancellation, not a lack of time), `inf`.
    """
    try:
        deadline = anyio.current_effective_deadline()
        if deadline in (inf, -inf):
            return inf
        return deadline - anyio.current_time()  # noqa: TID251 - a difference, and not kept
    except RuntimeError:  # no async library runs here
        return inf
