"""The server's cache of answers, for those that were lost on their way.

OpenRouter keeps whole answers by key, model, kind and the exact bytes of a
request. So where an answer is ready and the connection breaks, the next
attempt gets it at once and for nothing, if the one before asked for it to be
kept and was the same to the byte. The id of the call is in the request:
without it two callers who ask the same would get one answer, whatever the
temperature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from resilient import current_call

__all__ = ("kept", "KEEP")

KEEP: Final = {"X-OpenRouter-Cache": "true"}

_NAME: Final = "resilient_call"
_MOST: Final = 16


def kept(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields of a request that only the attempts of this call can make.

    Outside of a guarded call nothing is tried again, and they stay as they are.
    """
    call = current_call()
    if call is None:
        return fields
    given: object = fields.get("metadata") or {}
    if not isinstance(given, Mapping):
        raise TypeError(f"metadata must be a mapping, not {type(given).__qualname__}")
    metadata = {**cast("Mapping[str, object]", given), _NAME: call.id}
    if len(metadata) > _MOST:
        raise ValueError(
            f"replay_cache=True needs one of the {_MOST} pairs of metadata:"
            f" give at most {_MOST - 1}"
        )
    return {**fields, "metadata": metadata}
