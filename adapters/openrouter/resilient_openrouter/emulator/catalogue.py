"""What the emulated server says beside completions: its models, a key, an account."""

from __future__ import annotations

from typing import Any, Final

__all__ = ("CREDITS", "ENDPOINTS", "KEY", "MODELS")


def _model(
    name: str, context: int, prompt: str, completion: str, *abilities: str, most: int | None = None
) -> dict[str, Any]:
    return {
        "id": name,
        "canonical_slug": f"{name.partition(':')[0]}-20260317",
        "name": name.partition("/")[2].title(),
        "created": 1777319808,
        "context_length": context,
        "pricing": {"prompt": prompt, "completion": completion, "request": "0", "image": "0"},
        "supported_parameters": ["temperature", "top_p", "max_tokens", *abilities],
        "top_provider": {
            "context_length": context,
            "is_moderated": True,
            "max_completion_tokens": most,
        },
        "expiration_date": None,
    }


_TOOLS: Final = ("tools", "tool_choice", "response_format", "structured_outputs")
MODELS: Final[tuple[dict[str, Any], ...]] = (
    _model("openai/gpt-4o", 128000, "0.0000025", "0.00001", *_TOOLS, most=16384),
    _model("openai/gpt-4", 8192, "0.00003", "0.00006", most=4096),
    _model("anthropic/claude-sonnet-4.5", 1000000, "0.000003", "0.000015", *_TOOLS, most=64000),
    _model("google/gemini-2.5-pro", 1048576, "0.00000125", "0.00001", *_TOOLS, most=65536),
    _model("meta-llama/llama-3.3-70b-instruct:free", 65536, "0", "0"),
)
KEY: Final[dict[str, Any]] = {
    "label": "sk-or-v1-au7...890",
    "limit": 100,
    "limit_remaining": 74.5,
    "limit_reset": "monthly",
    "include_byok_in_limit": False,
    "usage": 25.5,
    "usage_daily": 25.5,
    "usage_weekly": 25.5,
    "usage_monthly": 25.5,
    "byok_usage": 17.38,
    "is_free_tier": False,
    "is_management_key": False,
    "expires_at": "2027-12-31T23:59:59Z",
    "rate_limit": {
        "interval": "1h",
        "note": "This field is deprecated and safe to ignore.",
        "requests": -1,
    },
}
CREDITS: Final[dict[str, Any]] = {"total_credits": 100.5, "total_usage": 25.75}
ENDPOINTS: Final[tuple[dict[str, Any], ...]] = (
    {
        "provider_name": "OpenAI",
        "tag": "openai",
        "quantization": "fp16",
        "status": 0,
        "context_length": 8192,
        "max_completion_tokens": 4096,
        "uptime_last_5m": 100,
        "uptime_last_30m": 99.5,
        "uptime_last_1d": 99.8,
        "latency_last_30m": {"p50": 0.25, "p75": 0.35, "p90": 0.48, "p99": 0.85},
        "throughput_last_30m": {"p50": 45.2, "p75": 38.5, "p90": 28.3, "p99": 15.1},
        "pricing": {"prompt": "0.00003", "completion": "0.00006"},
        "supported_parameters": ["temperature"],
    },
)
