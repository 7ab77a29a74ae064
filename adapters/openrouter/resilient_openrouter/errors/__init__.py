"""What a call of OpenRouter can fail with.

The class says what happened, and four attributes say what follows from it:
`retryable` (may the same call be made again here), `retry_after` (the
server's own hint), `scope` (what is broken, hence which other targets share
the fault) and `health` (what a manager or a breaker learns). `resilient`
reads exactly these four and knows nothing of HTTP.

OpenRouterError(Exception)
├── InvalidRequest               the request itself is wrong; nobody can serve it
├── NotFound                     a lookup of something that is not there, or not yet
├── ModelNotFound                no model has this name
├── ModelUnavailable             the model exists, but not for this request, account or region
├── ContextTooLong               the messages do not fit into the model's context
├── OutputLimit                  the answer did not fit into the tokens allowed for it
├── ContentFiltered              a policy refused the content
├── AuthenticationFailed         the key is not accepted
├── Forbidden                    the key may not do this
├── PaymentRequired              the account or the key has no credit left
├── AccountThrottled             too much of the account's money is in flight at once
├── CostTooHigh                  this one request may cost more than the account allows
├── QuotaExhausted               the free requests of the day are used up
├── TooManyRequests              a rate limit, of the provider or of OpenRouter
├── Conflict                     the server was not ready for this request (409, 425)
├── Overloaded                   the model has no capacity right now
├── UpstreamError                the provider behind OpenRouter failed
├── UpstreamTimeout              the provider behind OpenRouter took too long
├── ServerError                  OpenRouter itself failed
├── EdgeError                    the network in front of OpenRouter failed
├── EmptyResponse                an answer without a completion
├── MalformedResponse            an answer that is not the JSON it should be
├── StreamTruncated              a stream that ended before its answer was complete
├── StreamStalled(TimeoutError)  one of the clocks of an attempt expired
├── ConnectFailed                the host could not be reached; nothing was sent
├── ConnectionLost               the connection broke; the request may have been executed
├── LocalSaturation              our own connection pool had no place
├── MissingKey(ValueError)       there is no key to call with
└── AllModelsFailed(AllTargetsFailed)   every target failed

`str()` is one line of our own words, names and numbers. What the server said
is in `message`, without keys, account ids and prompts, and is in neither
`str()` nor `repr()`.

>>> str(TooManyRequests(status_code=429, retry_after=26, provider="Venice"))
'[429] TooManyRequests: a rate limit was reached (Venice); asks for 26 s'
"""

from __future__ import annotations

from resilient_openrouter.errors._base import (
    Availability,
    Billed,
    Health,
    OpenRouterError,
)
from resilient_openrouter.errors._failures import (
    Conflict,
    EdgeError,
    EmptyResponse,
    MalformedResponse,
    Overloaded,
    ServerError,
    UpstreamError,
    UpstreamTimeout,
)
from resilient_openrouter.errors._group import AllModelsFailed
from resilient_openrouter.errors._here import (
    ConnectFailed,
    ConnectionLost,
    LocalSaturation,
    MissingKey,
)
from resilient_openrouter.errors._refusals import (
    AccountThrottled,
    AuthenticationFailed,
    ContentFiltered,
    ContextTooLong,
    CostTooHigh,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    NotFound,
    OutputLimit,
    PaymentRequired,
    QuotaExhausted,
    TooManyRequests,
)
from resilient_openrouter.errors._streams import StreamStalled, StreamTruncated

__all__ = (
    "AccountThrottled",
    "AllModelsFailed",
    "AuthenticationFailed",
    "Availability",
    "Billed",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "ContentFiltered",
    "ContextTooLong",
    "CostTooHigh",
    "EdgeError",
    "EmptyResponse",
    "Forbidden",
    "Health",
    "InvalidRequest",
    "LocalSaturation",
    "MalformedResponse",
    "MissingKey",
    "ModelNotFound",
    "ModelUnavailable",
    "NotFound",
    "OpenRouterError",
    "OutputLimit",
    "Overloaded",
    "PaymentRequired",
    "QuotaExhausted",
    "ServerError",
    "StreamStalled",
    "StreamTruncated",
    "TooManyRequests",
    "UpstreamError",
    "UpstreamTimeout",
)

for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__  # as it is imported, shown and pickled
