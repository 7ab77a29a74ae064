"""What the span of a model says in the end: names and numbers, and never a word of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from resilient_openrouter.evidence import clean, mapping

if TYPE_CHECKING:
    from resilient_openrouter.errors import OpenRouterError
    from resilient_openrouter.results import Reply

__all__ = ("of_error", "of_reply")


def of_reply(reply: Reply) -> dict[str, Any]:
    """Return what an answer tells."""
    usage = reply.usage
    return {
        "gen_ai.response.model": reply.model_served,
        "gen_ai.response.id": reply.generation_id,
        "gen_ai.response.finish_reasons": (reply.finish_reason,) if reply.finish_reason else None,
        "gen_ai.usage.input_tokens": None if usage is None else usage.prompt_tokens,
        "gen_ai.usage.output_tokens": None if usage is None else usage.completion_tokens,
        "resilient.openrouter.upstream_provider": reply.provider,
        "resilient.openrouter.cost": reply.cost,
        "resilient.openrouter.cost.resolved": reply.cost is not None,
        **_of_metadata(reply.raw.get("openrouter_metadata")),
    }


def of_error(error: OpenRouterError) -> dict[str, Any]:
    """Return what a failure tells."""
    cost = 0.0 if error.billed == "no" else error.cost
    return {
        "http.response.status_code": error.http_status,
        "gen_ai.response.id": error.generation_id,
        "resilient.openrouter.upstream_provider": error.provider,
        "resilient.openrouter.error.class": type(error).__name__,
        "resilient.openrouter.limit_source": error.limit_source,
        "resilient.openrouter.stalled_clock": getattr(error, "clock", None),
        "resilient.openrouter.cost": cost,
        "resilient.openrouter.cost.resolved": cost is not None,
        **_of_metadata(error.openrouter_metadata),
    }


def _of_metadata(metadata: object) -> dict[str, Any]:
    """Return what the router tells about its own choice: names and counts only."""
    found = mapping(metadata)
    attempts = found.get("attempts")
    return {
        "resilient.openrouter.strategy": clean(found.get("strategy")),
        "resilient.openrouter.region": clean(found.get("region")),
        "resilient.openrouter.server_attempts": len(cast("list[object]", attempts))
        if isinstance(attempts, list)
        else None,
    }
