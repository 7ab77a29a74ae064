"""The table behind `transient`, as data: what failed -> what it proves.

A row is (module root, class name) or (module root, class name, code), and one
of four kinds:

* `unsent`: the request was never processed, because it never arrived;
* `transient`: it may or may not have been processed, and may work the next time;
* `throttled`: the service is well and asks for patience;
* `permanent`: the same call would fail the same way.

A class is found by walking the bases of an exception, most specific first, so
a row holds for subclasses too; a code is one of those that `codes_of` reads,
and a code of `None` stands for an error that carries none at all. Nothing is
imported: a library that is not installed has rows that never match.

Proof is meant strictly. openai, anthropic and botocore try again on their own,
so the connection that was refused last says nothing about the request before
it: none of their errors is `unsent`. Neither is a lost connection, a timeout
while reading, or an answer of any status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from resilient._core.shape import CONNECT_FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["unsent", "transient", "throttled", "permanent"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Code = str | int | None
Row = tuple[str, str] | tuple[str, str, Code]

STATUSES: Final[dict[int, Kind]] = {
    **dict.fromkeys(range(400, 500), "permanent"),
    **dict.fromkeys((408, 425, 500, 502, 503, 504, 529), "transient"),
    429: "throttled",
}
"""What an HTTP status proves, for every class that has no row of its own."""

PROGRAMMING: Final = (
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BufferError",
    "ImportError",
    "LookupError",
    "NameError",
    "NotImplementedError",
    "RecursionError",
    "ReferenceError",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SystemError",
    "TypeError",
    "ValueError",
    "Warning",
)
"""Builtins that tell of a bug or of malformed data: never transient, whatever they carry."""


def _rows(root: str, kind: Kind, names: str) -> Iterator[tuple[Row, Kind]]:
    for name in names.split():
        yield (root, name), kind


def _codes(root: str, name: str, kind: Kind, codes: str) -> Iterator[tuple[Row, Kind]]:
    for code in codes.split():
        yield (root, name, code), kind


def _builtins() -> Iterator[tuple[Row, Kind]]:
    # A refused connection carried nothing, nor did a name that was not found.
    yield from _rows("builtins", "unsent", "ConnectionRefusedError")
    yield from _rows("socket", "unsent", "gaierror herror")
    yield from _rows("builtins", "transient", "ConnectionError TimeoutError")
    yield ("builtins", "OSError", CONNECT_FAILED), "unsent"
    # No local port left: the connection was never begun.
    yield from _codes("builtins", "OSError", "unsent", "EADDRNOTAVAIL")
    # These also reach a connection that already carried a request.
    yield from _codes(
        "builtins",
        "OSError",
        "transient",
        "EHOSTDOWN EHOSTUNREACH ENETDOWN ENETRESET ENETUNREACH EMFILE ENFILE ENOBUFS",
    )
    yield from _rows(
        "builtins",
        "permanent",
        "FileExistsError FileNotFoundError IsADirectoryError NotADirectoryError PermissionError",
    )
    # A handshake that broke off is worth another try, a certificate that is wrong stays wrong.
    yield from _rows("ssl", "transient", "SSLError")
    yield from _rows("ssl", "permanent", "SSLCertVerificationError")
    yield from _rows("asyncio", "transient", "IncompleteReadError")


def _resilient() -> Iterator[tuple[Row, Kind]]:
    # Our own refusals; `TimedOut` is a builtin `TimeoutError`.
    yield from _rows("resilient", "permanent", "Rejected")


def _anyio() -> Iterator[tuple[Row, Kind]]:
    yield from _rows("anyio", "unsent", "ConnectionFailed")
    yield from _rows("anyio", "transient", "BrokenResourceError IncompleteRead")
    # What we closed ourselves, or use twice at once, stays so.
    yield from _rows(
        "anyio", "permanent", "BusyResourceError ClosedResourceError DelimiterNotFound"
    )
    yield from _rows("trio", "transient", "BrokenResourceError TooSlowError")
    yield from _rows("trio", "permanent", "BusyResourceError ClosedResourceError")


def _httpx(root: str) -> Iterator[tuple[Row, Kind]]:
    # A proxy error is a tunnel that was not built.
    yield from _rows(root, "unsent", "ConnectError ConnectTimeout PoolTimeout ProxyError")
    yield from _rows(root, "transient", "TransportError")
    yield from _rows(
        root,
        "permanent",
        "CookieConflict DecodingError InvalidURL LocalProtocolError StreamError TooManyRedirects"
        " UnsupportedProtocol",
    )


def _aiohttp() -> Iterator[tuple[Row, Kind]]:
    # ConnectionTimeoutError covers the wait for a place in the pool.
    yield from _rows("aiohttp", "unsent", "ClientConnectorError ConnectionTimeoutError")
    yield from _rows("aiohttp", "transient", "ClientConnectionError ClientPayloadError")
    yield from _rows(
        "aiohttp",
        "permanent",
        "ClientConnectorCertificateError InvalidURL NonHttpUrlClientError"
        " ServerFingerprintMismatch TooManyRedirects",
    )


def _llm_clients() -> Iterator[tuple[Row, Kind]]:
    for root in ("openai", "anthropic"):
        yield from _rows(root, "transient", "APIConnectionError")
        yield from _rows(root, "permanent", "APIResponseValidationError")
    yield from _rows(
        "openai", "permanent", "ContentFilterFinishReasonError LengthFinishReasonError"
    )
    # An error event inside a stream has a code and no status. An empty account
    # answers 429 like a busy service, and stays empty.
    yield from _codes("openai", "APIError", "transient", "server_error")
    yield from _codes("openai", "APIError", "throttled", "rate_limit_exceeded")
    yield from _codes("openai", "APIError", "permanent", "insufficient_quota")
    # The same event comes from anthropic with the status of the stream: 200.
    yield from _codes(
        "anthropic", "APIStatusError", "transient", "api_error overloaded_error timeout_error"
    )
    yield from _codes("anthropic", "APIStatusError", "throttled", "rate_limit_error")


def _botocore() -> Iterator[tuple[Row, Kind]]:
    yield from _rows("botocore", "transient", "ConnectionError HTTPClientError IncompleteReadError")
    yield from _codes(
        "botocore",
        "ClientError",
        "transient",
        "PriorRequestNotComplete RequestTimeout RequestTimeoutException",
    )
    yield from _codes(
        "botocore",
        "ClientError",
        "throttled",
        "BandwidthLimitExceeded EC2ThrottledException LimitExceededException"
        " ProvisionedThroughputExceededException RequestLimitExceeded RequestThrottled"
        " RequestThrottledException SlowDown ThrottledException Throttling ThrottlingException"
        " TooManyRequestsException TransactionInProgressException",
    )
    # Inside an event stream: small first letters, and no status.
    yield from _codes(
        "botocore",
        "EventStreamError",
        "transient",
        "internalServerException modelStreamErrorException modelTimeoutException"
        " serviceUnavailableException",
    )
    yield from _codes("botocore", "EventStreamError", "throttled", "throttlingException")
    yield from _rows(
        "botocore",
        "permanent",
        "NoCredentialsError NoRegionError ParamValidationError PartialCredentialsError",
    )


def _redis() -> Iterator[tuple[Row, Kind]]:
    yield from _rows("redis", "unsent", "MaxConnectionsError")
    # Loading, a cluster that is down, a replica just before it takes over: a matter of seconds.
    yield from _rows(
        "redis",
        "transient",
        "ClusterError ConnectionError OutOfMemoryError ReadOnlyError SlotNotCoveredError"
        " TimeoutError TryAgainError",
    )
    # A watched key that changed needs the transaction again, not its last command.
    yield from _rows(
        "redis",
        "permanent",
        "AuthenticationError AuthorizationError CrossSlotTransactionError DataError"
        " InvalidPipelineStack LockError PubSubError ResponseError WatchError",
    )


def _postgres() -> Iterator[tuple[Row, Kind]]:
    for root, name in (("asyncpg", "PostgresError"), ("psycopg", "Error")):
        # Not connected, not accepted, too many, starting up: no statement ran.
        yield from _codes(root, name, "unsent", "08001 08004 53300 57P03")
        # Connection lost, resources, shutdown.
        yield from _codes(root, name, "transient", "08 53 57P01 57P02")
        # The caller's own doing. 40 is a transaction that was rolled back (serialization,
        # deadlock): it has to be repeated as a whole, which a retry of one statement is not.
        yield from _codes(root, name, "permanent", "0A 21 22 23 26 28 2B 3D 3F 40 42 44 P0")
    yield from _rows("asyncpg", "permanent", "InterfaceError")
    # The client library's own reports of a connection carry no SQLSTATE.
    yield ("psycopg", "OperationalError", None), "transient"
    yield from _rows("psycopg", "unsent", "ConnectionTimeout")
    yield from _rows(
        "psycopg",
        "permanent",
        "DataError IntegrityError InterfaceError NotSupportedError PipelineAborted"
        " ProgrammingError",
    )
    yield from _rows("psycopg_pool", "unsent", "PoolTimeout TooManyRequests")
    yield from _rows("psycopg_pool", "permanent", "PoolClosed")


def _grpc() -> Iterator[tuple[Row, Kind]]:
    # INTERNAL and UNKNOWN are the server's own failure, as 500 is in HTTP.
    yield from _codes(
        "grpc", "RpcError", "transient", "DEADLINE_EXCEEDED INTERNAL UNAVAILABLE UNKNOWN"
    )
    yield from _codes("grpc", "RpcError", "throttled", "RESOURCE_EXHAUSTED")
    # ABORTED asks for the whole sequence again, as 40 does in SQL.
    yield from _codes(
        "grpc",
        "RpcError",
        "permanent",
        "ABORTED ALREADY_EXISTS CANCELLED DATA_LOSS FAILED_PRECONDITION INVALID_ARGUMENT"
        " NOT_FOUND OUT_OF_RANGE PERMISSION_DENIED UNAUTHENTICATED UNIMPLEMENTED",
    )


ROWS: Final[Mapping[Row, Kind]] = dict(
    (
        *_builtins(),
        *_resilient(),
        *_anyio(),
        *_httpx("httpx"),
        *_httpx("httpx2"),
        *_aiohttp(),
        *_llm_clients(),
        *_botocore(),
        *_redis(),
        *_postgres(),
        *_grpc(),
    )
)
"""Every row, in the order in which it is printed."""
