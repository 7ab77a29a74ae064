"""What OpenRouter tells beside completions: models, their endpoints, a key, an account, a bill.

Each answer has the fields that programs ask for, and `raw` with all the
others. A field that is missing, or not what it should be, is `None`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resilient_openrouter._fields import list_of
from resilient_openrouter.evidence import clean, mapping
from resilient_openrouter.hints import number
from resilient_openrouter.results import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Account", "EndpointInfo", "Generation", "KeyInfo", "ModelInfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One model of the catalogue; prices are dollars for each token."""

    id: str
    name: str | None = None
    canonical_slug: str | None = None
    context_length: int | None = None
    max_completion_tokens: int | None = None
    prompt_price: float | None = None
    completion_price: float | None = None
    request_price: float | None = None
    supported_parameters: frozenset[str] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> ModelInfo:
        """Read an entry of the catalogue."""
        pricing, top = mapping(body.get("pricing")), mapping(body.get("top_provider"))
        able = body.get("supported_parameters")
        return cls(
            id=str(body.get("id", "")),
            name=clean(body.get("name")),
            canonical_slug=clean(body.get("canonical_slug")),
            context_length=_whole(body.get("context_length")),
            max_completion_tokens=_whole(top.get("max_completion_tokens")),
            prompt_price=_price(pricing.get("prompt")),
            completion_price=_price(pricing.get("completion")),
            request_price=_price(pricing.get("request")),
            supported_parameters=None if able is None else frozenset(map(str, list_of(able))),
            raw=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointInfo:
    """One provider's endpoint of a model: how well it has been doing, in per cent and seconds.

    Requests that were refused by a rate limit are in no uptime.
    """

    provider: str | None = None
    tag: str | None = None
    status: int | None = None
    context_length: int | None = None
    uptime_5m: float | None = None
    uptime_30m: float | None = None
    uptime_1d: float | None = None
    latency: Mapping[str, float] = field(default_factory=dict[str, float])
    throughput: Mapping[str, float] = field(default_factory=dict[str, float])
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> EndpointInfo:
        """Read an endpoint."""
        status = body.get("status")
        return cls(
            provider=clean(body.get("provider_name")),
            tag=clean(body.get("tag")),
            status=status if isinstance(status, int) else None,
            context_length=_whole(body.get("context_length")),
            uptime_5m=number(body.get("uptime_last_5m")),
            uptime_30m=number(body.get("uptime_last_30m")),
            uptime_1d=number(body.get("uptime_last_1d")),
            latency=_numbers(body.get("latency_last_30m")),
            throughput=_numbers(body.get("throughput_last_30m")),
            raw=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """What a key may spend, in dollars; `limit` is `None` where there is none."""

    label: str | None = field(default=None, repr=False)
    limit: float | None = None
    limit_remaining: float | None = None
    limit_reset: str | None = None
    usage: float | None = None
    is_free_tier: bool | None = None
    expires_at: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> KeyInfo:
        """Read the entry of a key."""
        free = body.get("is_free_tier")
        return cls(
            label=clean(body.get("label")),
            limit=number(body.get("limit")),
            limit_remaining=number(body.get("limit_remaining")),
            limit_reset=clean(body.get("limit_reset")),
            usage=number(body.get("usage")),
            is_free_tier=free if isinstance(free, bool) else None,
            expires_at=clean(body.get("expires_at")),
            raw=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What an account has bought and spent, in dollars."""

    credits: float | None = None
    usage: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Account:
        """Read the balance of an account."""
        return cls(
            credits=number(body.get("total_credits")),
            usage=number(body.get("total_usage")),
            raw=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What became of one completion, and what it cost in dollars."""

    id: str
    cost: float | None = None
    usage: Usage | None = None
    provider: str | None = None
    finish_reason: str | None = None
    cancelled: bool | None = None
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Generation:
        """Read the entry of a generation."""
        prompt = _whole(body.get("native_tokens_prompt"))
        completion = _whole(body.get("native_tokens_completion"))
        both = (prompt or 0) + (completion or 0)
        gone = body.get("cancelled")
        return cls(
            id=str(body.get("id", "")),
            cost=number(body.get("total_cost")),
            usage=Usage(
                prompt_tokens=prompt,
                completion_tokens=completion,
                total_tokens=both if prompt is not None or completion is not None else None,
                cached_tokens=_whole(body.get("native_tokens_cached")),
                reasoning_tokens=_whole(body.get("native_tokens_reasoning")),
            ),
            provider=clean(body.get("provider_name")),
            finish_reason=clean(body.get("finish_reason")),
            cancelled=gone if isinstance(gone, bool) else None,
            raw=body,
        )


def _whole(value: object) -> int | None:
    found = number(value)
    return None if found is None else int(found)


def _price(value: object) -> float | None:
    """Return a price, which is a number in text; some are in powers of ten."""
    try:
        found = float(value) if isinstance(value, str) else number(value)
    except ValueError:
        return None
    return found if found is not None and 0 <= found < _DEAR else None


_DEAR = 1e6


def _numbers(value: object) -> dict[str, float]:
    found = ((name, number(each)) for name, each in mapping(value).items())
    return {name: each for name, each in found if each is not None}
