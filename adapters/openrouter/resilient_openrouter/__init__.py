"""OpenRouter as a backend of `resilient`: the primary model fails, the next one answers.

`OpenRouter` is the client; its `manager` is the usual way in. What a call can
fail with is in `resilient_openrouter.errors`; what each answer of the server
means stands in the table of `resilient_openrouter.classify`.
"""

from __future__ import annotations

from resilient_openrouter.client import ModelManager, OpenRouter
from resilient_openrouter.errors import (
    AccountThrottled,
    AllModelsFailed,
    AuthenticationFailed,
    Availability,
    Conflict,
    ConnectFailed,
    ConnectionLost,
    ContentFiltered,
    ContextTooLong,
    CostTooHigh,
    EdgeError,
    EmptyResponse,
    Forbidden,
    InvalidRequest,
    LocalSaturation,
    MalformedResponse,
    MissingKey,
    ModelNotFound,
    ModelUnavailable,
    OpenRouterError,
    OutputLimit,
    Overloaded,
    PaymentRequired,
    QuotaExhausted,
    ServerError,
    TooManyRequests,
    UpstreamError,
    UpstreamTimeout,
)
from resilient_openrouter.results import ModelCall, OpenRouterOutcome, Reply, ToolCall, Usage, reply

__all__ = (
    "AccountThrottled",
    "AllModelsFailed",
    "AuthenticationFailed",
    "Availability",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "ContentFiltered",
    "ContextTooLong",
    "CostTooHigh",
    "EdgeError",
    "EmptyResponse",
    "Forbidden",
    "InvalidRequest",
    "LocalSaturation",
    "MalformedResponse",
    "MissingKey",
    "ModelCall",
    "ModelManager",
    "ModelNotFound",
    "ModelUnavailable",
    "OpenRouter",
    "OpenRouterError",
    "OpenRouterOutcome",
    "OutputLimit",
    "Overloaded",
    "PaymentRequired",
    "QuotaExhausted",
    "Reply",
    "reply",
    "ServerError",
    "ToolCall",
    "TooManyRequests",
    "UpstreamError",
    "UpstreamTimeout",
    "Usage",
)
