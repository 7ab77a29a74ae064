"""The server, the provider behind it or the network before it did not do its work."""

from __future__ import annotations

from resilient_openrouter.errors._base import OpenRouterError


class Conflict(OpenRouterError):
    """The server was not ready for this request."""

    says = "the server was not ready for this request"
    retryable = True
    health = "neutral"
    billed = "no"


class Overloaded(OpenRouterError):
    """The model has no capacity right now, at any of its providers."""

    says = "the model has no capacity right now"
    retryable = True
    scope = "model"
    billed = "no"


class UpstreamError(OpenRouterError):
    """The provider behind OpenRouter failed; the next try may go to another provider."""

    says = "the provider failed"
    retryable = True
    scope = "endpoint"


class UpstreamTimeout(OpenRouterError):
    """The provider behind OpenRouter took too long, and may have worked all that time."""

    says = "the provider took too long"
    retryable = True
    scope = "endpoint"


class ServerError(OpenRouterError):
    """OpenRouter itself failed; it does not say where."""

    says = "the server failed"
    retryable = True


class EdgeError(OpenRouterError):
    """The network in front of OpenRouter failed, for every model behind it."""

    says = "the network in front of the server failed"
    retryable = True
    scope = "host"


class EmptyResponse(OpenRouterError):
    """A success that holds no completion."""

    says = "the answer holds no completion"
    retryable = True
    scope = "endpoint"


class MalformedResponse(OpenRouterError):
    """A success that is not the JSON it should be: cut off, blank, a page of HTML, too large."""

    says = "the answer is not a JSON completion"
    retryable = True
    scope = "endpoint"
