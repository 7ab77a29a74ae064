"""The server works and says no: to the request, the key, the account, or just now."""

from __future__ import annotations

from resilient_openrouter.errors._base import OpenRouterError


class InvalidRequest(OpenRouterError):
    """The request itself is wrong: no target can serve it."""

    says = "the request is not valid"
    scope = "request"
    health = "neutral"
    billed = "no"


class NotFound(OpenRouterError):
    """A lookup of something that the server does not know, or not yet."""

    says = "the server knows nothing of that name"
    health = "neutral"
    billed = "no"


class ModelNotFound(OpenRouterError):
    """No model has this name."""

    says = "no model has this name"
    scope = "model"
    health = "neutral"
    billed = "no"


class ModelUnavailable(OpenRouterError):
    """The model exists, but nobody serves it for this request, account or region."""

    says = "no provider may serve this model for this request"
    scope = "model"
    health = "neutral"
    billed = "no"


class ContextTooLong(OpenRouterError):
    """The messages do not fit into the context of this model; another may have a larger one."""

    says = "the messages do not fit into the model's context"
    scope = "model"
    health = "neutral"
    billed = "no"


class OutputLimit(OpenRouterError):
    """The answer did not fit into the tokens allowed for it."""

    says = "the answer does not fit into the tokens allowed for it"
    scope = "model"
    health = "neutral"


class ContentFiltered(OpenRouterError):
    """A content policy refused; no other target is asked, because that would be a way round it."""

    says = "a content policy refused"
    scope = "request"
    health = "neutral"


class AuthenticationFailed(OpenRouterError):
    """The key is not accepted: no target that uses it is asked."""

    says = "the key is not accepted"
    scope = "credential"
    health = "trip"
    billed = "no"


class Forbidden(OpenRouterError):
    """The key may not do this; another credential may."""

    says = "this key may not do this"
    scope = "credential"
    health = "trip"
    billed = "no"


class PaymentRequired(OpenRouterError):
    """The account (or the key) has no credit left; models that cost nothing fail as well."""

    says = "there is no credit left"
    scope = "account"
    health = "trip"
    billed = "no"


class AccountThrottled(OpenRouterError):
    """Too much of the account's money is in flight at once: a moment later there is room."""

    says = "too much of the account's budget is in flight at once"
    retryable = True
    scope = "account"
    health = "neutral"
    billed = "no"


class CostTooHigh(OpenRouterError):
    """The request may cost more than the account allows; a cheaper target may serve it."""

    says = "this request may cost more than the account allows"
    health = "neutral"
    billed = "no"


class QuotaExhausted(OpenRouterError):
    """The free requests of the day are used up, for every `:free` model of the account."""

    says = "the free requests of the day are used up"
    scope = "free"
    health = "cooldown"
    billed = "no"


class TooManyRequests(OpenRouterError):
    """A rate limit was reached, the provider's or OpenRouter's."""

    says = "a rate limit was reached"
    retryable = True
    scope = "endpoint"
    health = "cooldown"
    billed = "no"
