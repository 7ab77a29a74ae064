"""What is known before a request is sent that makes it pointless, or too dear.

Nothing is asked for here: prices and abilities are those of a catalogue that
was read before, and without one only what was spent so far is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_openrouter._fields import list_of
from resilient_openrouter.errors import (
    ContextTooLong,
    CostTooHigh,
    ModelUnavailable,
    OpenRouterError,
)
from resilient_openrouter.evidence import mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_openrouter._ledger import Ledger
    from resilient_openrouter.lookups import ModelInfo

__all__ = ("estimate", "refusal")

_BYTES_PER_TOKEN: Final = 3  # of English there are four; code and other scripts have fewer
_LIMITS: Final = ("max_completion_tokens", "max_tokens")
_STRUCTURED: Final = ("structured_outputs", "response_format")


def estimate(size: int, fields: Mapping[str, Any], info: ModelInfo | None) -> float:
    """Return what a request of so many bytes may cost in dollars.

    The answer counts with `max_tokens`, and with nothing where nobody said
    how long it may be.
    """
    if info is None:
        return 0.0
    allowed = next((fields[name] for name in _LIMITS if isinstance(fields.get(name), int)), 0)
    return (
        (info.prompt_price or 0.0) * size / _BYTES_PER_TOKEN
        + (info.completion_price or 0.0) * allowed
        + (info.request_price or 0.0)
    )


def refusal(
    model: str,
    fields: Mapping[str, Any],
    info: ModelInfo | None,
    ledger: Ledger | None,
    cost: float,
) -> OpenRouterError | None:
    """Return why a request is not sent, `None` if it may be."""
    if ledger is not None and ledger.max_cost is not None:
        spent = ledger.spent()
        used_up = spent >= ledger.max_cost and not _is_free(info)
        if used_up or spent + cost > ledger.max_cost:
            return CostTooHigh(
                f"it may cost ${cost:.6f}, and ${spent:.6f} of ${ledger.max_cost:.6f} are spent",
                model=model,
            )
    if info is None:
        return None
    too_small = ledger is not None and ledger.too_small
    if too_small and info.context_length is not None and info.context_length <= too_small:
        return ContextTooLong(
            "its context is no larger than the one that was too small", model=model
        )
    lacks = _lacks(fields, info)
    return None if lacks is None else ModelUnavailable(lacks, model=model)


def _is_free(info: ModelInfo | None) -> bool:
    return info is not None and info.prompt_price == info.completion_price == 0


def _lacks(fields: Mapping[str, Any], info: ModelInfo) -> str | None:
    """Return what a request needs and the model cannot do."""
    able = info.supported_parameters
    if able is None:
        return None
    if list_of(fields.get("tools")) and "tools" not in able:
        return "this model calls no tools"
    wanted = mapping(fields.get("response_format")).get("type")
    if wanted == "json_schema" and able.isdisjoint(_STRUCTURED):
        return "this model keeps to no schema"
    return None
