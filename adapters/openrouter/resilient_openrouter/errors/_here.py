"""What goes wrong on this side of the wire: no answer has come that could say anything."""

from __future__ import annotations

from resilient_openrouter.errors._base import OpenRouterError


class ConnectFailed(OpenRouterError):
    """The host could not be reached. Nothing was sent, so another try cannot do anything twice."""

    says = "the host could not be reached"
    retryable = True
    scope = "host"
    billed = "no"


class ConnectionLost(OpenRouterError):
    """The connection broke after it was made: the request may have been executed and billed.

    It condemns nothing but its own target: one broken connection does not
    prove that a host is down.
    """

    says = "the connection broke before the answer was complete"
    retryable = True


class LocalSaturation(OpenRouterError):
    """Our own connection pool had no place in time: nobody else is to blame."""

    says = "our own connection pool had no place in time"
    retryable = True
    health = "neutral"
    billed = "no"


class MissingKey(OpenRouterError, ValueError):
    """There is no key to call with. Raised by the first call, never by an import.

    A mistake of configuration is no outage: it ends a chain at once, and
    neither another target nor a last resort hides it.
    """

    says = "there is no API key"
    scope = "request"
    health = "neutral"
    billed = "no"

    def _line(self) -> str:
        return self.says
