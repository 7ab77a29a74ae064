"""Public objects say that they are public.

What a facade re-exports is defined in private modules. Its `__module__` is
rewritten to the facade, so that tracebacks, `repr`s and pickles name the place
that users import it from, and keep working when the code moves.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def publish(home: str, names: tuple[str, ...], namespace: Mapping[str, Any]) -> None:
    """Make `home` the module of the classes and functions `names` that are defined in private."""
    for name in names:
        found = namespace[name]
        if (inspect.isclass(found) or inspect.isfunction(found)) and "._" in found.__module__:
            found.__module__ = home
