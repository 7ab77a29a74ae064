"""Every row of the transient table, held against the class that it names.

The table imports nothing, so nothing in it notices when a library renames a
class. These tests do: they need the libraries of `requirements.txt` and fail
where one is missing. Run them by name:

    python -m pytest tests/core/real_libraries -q
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import os
import socket
import ssl
from contextlib import closing
from typing import Any

import aiohttp
import anthropic
import anyio
import asyncpg
import botocore.exceptions
import botocore.retries.standard
import grpc
import grpc.aio
import httpx
import httpx2
import openai
import psycopg
import psycopg_pool
import pytest
import redis.asyncio
import redis.exceptions
import trio
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from resilient._core.faults import FAULTS, fault_of
from resilient._core.shape import CONNECT_FAILED
from resilient._core.transient import transient, unsent
from resilient._core.transient_rows import ROWS
from resilient.errors import Rejected
from resilient.testing import Fail, FailureSchedule, Hang, HttpReply, Ok, virtual_time

# Where a class is exported, where that is not the top of its library.
PLACES = {
    "asyncpg": "asyncpg.exceptions",
    "botocore": "botocore.exceptions",
    "redis": "redis.exceptions",
    "resilient": "resilient.errors",
}
ELSEWHERE = {
    ("psycopg", "ConnectionTimeout"): "psycopg.errors",
    ("psycopg", "PipelineAborted"): "psycopg.errors",
}


def class_of(root: str, name: str) -> type[Exception]:
    place = ELSEWHERE.get((root, name)) or PLACES.get(root, root)
    found = getattr(importlib.import_module(place), name)
    assert issubclass(found, Exception)
    return found


def made(root: str, name: str, code: Any) -> Exception:
    """Return an exception as the library would raise it."""
    cls = class_of(root, name)
    by_class = MAKERS.get((root, name))
    if by_class is not None:
        return by_class(cls, code)
    by_root = MAKERS_OF_LIBRARIES.get(root)
    return cls("message") if by_root is None else by_root(cls, code)


def os_error(cls: type[Exception], code: Any) -> Exception:
    if code == CONNECT_FAILED:
        return anyio_refused()
    number = getattr(errno, code)
    return cls(number, os.strerror(number))


def httpx_error(module: Any) -> Any:
    def make(cls: type[Exception], code: Any) -> Exception:
        if issubclass(cls, module.RequestError):
            return cls("message", request=module.Request("POST", "http://127.0.0.1/"))
        return cls("message")

    return make


def sdk_error(cls: type[Exception], code: Any) -> Exception:
    request = httpx2.Request("POST", "http://127.0.0.1/v1")
    response = httpx2.Response(200, request=request)
    if issubclass(cls, openai.APIConnectionError | anthropic.APIConnectionError):
        return cls(request=request)
    return cls(response=response, body=None)


def openai_event(cls: type[Exception], code: Any) -> Exception:
    request = httpx2.Request("POST", "http://127.0.0.1/v1")
    return cls("message", request, body={"code": code, "message": "message"})


def anthropic_event(cls: type[Exception], code: Any) -> Exception:
    body = {"type": "error", "error": {"type": code, "message": "message"}}
    return anthropic_answer(200, body)


def client_error(cls: type[Exception], code: Any, status: int = 400) -> Exception:
    answer = {
        "Error": {"Code": code, "Message": "message"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"retry-after": "7"}},
    }
    return cls(answer, "PutItem")


BOTOCORE = {
    "endpoint_url": "http://127.0.0.1",
    "error": OSError("message"),
    "provider": "env",
    "cred_var": "secret_key",
    "report": "message",
    "actual_bytes": 1,
    "expected_bytes": 2,
}


def asyncpg_error(cls: type[Exception], code: Any) -> Exception:
    fields = {"S": "ERROR", "C": code.ljust(5, "0"), "M": "message"}
    return asyncpg.PostgresError.new(fields)


class Answer:
    """What psycopg reads an error from: the result of a statement."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate

    def error_field(self, field: int) -> bytes | None:
        return self.sqlstate.encode() if field == psycopg.pq.DiagnosticField.SQLSTATE else None

    def get_error_message(self, encoding: str) -> str:
        return "message"


def psycopg_error(cls: type[Exception], code: Any) -> Exception:
    if code is None:
        return cls("message")
    return psycopg.errors.error_from_result(Answer(code.ljust(5, "0")))


def grpc_error(cls: type[Exception], code: Any) -> Exception:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(getattr(grpc.StatusCode, code), nothing, nothing, "message")


def connection_key() -> ConnectionKey:
    defaults = dict.fromkeys(ConnectionKey._fields)
    return ConnectionKey(**{**defaults, "host": "127.0.0.1", "port": 1, "is_ssl": True})


def response_error(cls: type[Exception], status: int, headers: Any = None) -> Exception:
    request = aiohttp.RequestInfo(URL("http://127.0.0.1"), "GET", headers or {}, URL("http://a"))
    return cls(request, (), status=status, message="message", headers=headers)


MAKERS_OF_LIBRARIES: dict[str, Any] = {
    "httpx": httpx_error(httpx),
    "httpx2": httpx_error(httpx2),
    "botocore": lambda cls, code: cls(**BOTOCORE),
    "asyncpg": asyncpg_error,
    "psycopg": psycopg_error,
    "grpc": grpc_error,
}
MAKERS: dict[tuple[str, str], Any] = {
    ("builtins", "OSError"): os_error,
    ("socket", "gaierror"): lambda cls, code: cls(socket.EAI_AGAIN, "again"),
    ("asyncio", "IncompleteReadError"): lambda cls, code: cls(b"", 1),
    ("resilient", "Rejected"): lambda cls, code: cls("message", policy="bulkhead"),
    ("anyio", "IncompleteRead"): lambda cls, code: cls(),
    ("anyio", "BusyResourceError"): lambda cls, code: cls("reading"),
    ("anyio", "DelimiterNotFound"): lambda cls, code: cls(10),
    ("httpx", "StreamError"): lambda cls, code: httpx.StreamConsumed(),
    ("httpx2", "StreamError"): lambda cls, code: httpx2.StreamConsumed(),
    ("aiohttp", "ClientConnectorError"): lambda cls, code: cls(connection_key(), OSError(1, "x")),
    ("aiohttp", "ClientConnectorCertificateError"): lambda cls, code: cls(
        connection_key(), ssl.SSLCertVerificationError("message")
    ),
    ("aiohttp", "InvalidURL"): lambda cls, code: cls("http://"),
    ("aiohttp", "ServerFingerprintMismatch"): lambda cls, code: cls(b"1", b"2", "127.0.0.1", 1),
    ("aiohttp", "TooManyRedirects"): lambda cls, code: response_error(cls, 302),
    ("openai", "APIConnectionError"): sdk_error,
    ("openai", "APIResponseValidationError"): sdk_error,
    ("openai", "ContentFilterFinishReasonError"): lambda cls, code: cls(),
    ("openai", "LengthFinishReasonError"): lambda cls, code: cls(
        completion=openai.types.chat.ChatCompletion.model_construct(usage=None)
    ),
    ("openai", "APIError"): openai_event,
    ("anthropic", "APIConnectionError"): sdk_error,
    ("anthropic", "APIResponseValidationError"): sdk_error,
    ("anthropic", "APIStatusError"): anthropic_event,
    ("botocore", "ClientError"): client_error,
    ("botocore", "EventStreamError"): client_error,
    ("redis", "ClusterError"): lambda cls, code: redis.exceptions.ClusterDownError("CLUSTERDOWN"),
    ("asyncpg", "InterfaceError"): lambda cls, code: cls("message"),
    **{
        ("psycopg", name): lambda cls, code: cls("message")
        for name in (
            "ConnectionTimeout",
            "DataError",
            "IntegrityError",
            "InterfaceError",
            "NotSupportedError",
            "PipelineAborted",
            "ProgrammingError",
        )
    },
}


def row_name(row: tuple[Any, ...]) -> str:
    return "-".join(map(str, row))


@pytest.mark.parametrize("row", ROWS, ids=row_name)
def test_row_judges_the_real_class(row):
    """The class of the row exists, and an instance of it is what the row says."""
    root, name, *codes = row
    error = made(root, name, codes[0] if codes else None)
    assert isinstance(error, class_of(root, name))
    assert transient.kind_of(error) == ROWS[row]
    assert fault_of(error) == FAULTS[ROWS[row]] or fault_of(error).retry_after == 7
    assert transient(error) is (ROWS[row] != "permanent")
    assert unsent(error) is (ROWS[row] == "unsent")


@pytest.mark.parametrize("row", ROWS, ids=row_name)
def test_row_is_found_by_the_name_that_the_class_bears(row):
    """The root of the class's module and its name are those of the row."""
    root, name, *_ = row
    cls = class_of(root, name)
    assert (cls.__module__.partition(".")[0], cls.__name__) == (root, name)


STATUSES = {
    400: "permanent", 401: "permanent", 403: "permanent", 404: "permanent", 408: "transient",
    409: "permanent", 422: "permanent", 425: "transient", 429: "throttled", 500: "transient",
    501: None, 502: "transient", 503: "transient", 504: "transient", 529: "transient",
}  # fmt: skip


def httpx_answer(module: Any, status: int, headers: dict[str, str] | None = None) -> Exception:
    request = module.Request("GET", "http://127.0.0.1/")
    response = module.Response(status, headers=headers, request=request)
    with pytest.raises(module.HTTPStatusError) as raised:
        response.raise_for_status()
    return raised.value


def openai_answer(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    return sdk_answer(
        openai.AsyncOpenAI, openai.APIError, ask_openai, status, body=body, headers=headers
    )


def anthropic_answer(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Any:
    return sdk_answer(
        anthropic.AsyncAnthropic,
        anthropic.APIError,
        ask_anthropic,
        status,
        body=body,
        headers=headers,
    )


async def ask_openai(client: Any) -> None:
    stream = await client.chat.completions.create(model="m", messages=[], stream=True)
    async for _ in stream:
        pass


async def ask_anthropic(client: Any) -> None:
    stream = await client.messages.create(model="m", max_tokens=1, messages=[], stream=True)
    async for _ in stream:
        pass


def sdk_answer(client: Any, raises: Any, ask: Any, status: int, *, body: Any, headers: Any) -> Any:
    """Let the real client meet an answer, or with 200 an error event in its stream."""
    text = json.dumps(body or {"error": {"message": "message"}})
    headers = dict(headers or {})
    if status == 200:
        text = f"event: error\ndata: {text}\n\n"
        headers["content-type"] = "text/event-stream"
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(status, text=text, headers=headers)
    )

    async def run() -> None:
        async with httpx2.AsyncClient(transport=transport) as http:
            await ask(client(api_key="none", http_client=http, max_retries=0))

    with pytest.raises(raises) as raised:
        asyncio.run(run())
    return raised.value


ANSWERS: dict[str, Any] = {
    "httpx": lambda status, headers=None: httpx_answer(httpx, status, headers),
    "httpx2": lambda status, headers=None: httpx_answer(httpx2, status, headers),
    "aiohttp": lambda status, headers=None: response_error(
        aiohttp.ClientResponseError, status, CIMultiDictProxy(CIMultiDict(headers or {}))
    ),
    "openai": lambda status, headers=None: openai_answer(status, None, headers),
    "anthropic": lambda status, headers=None: anthropic_answer(status, None, headers),
}


@pytest.mark.parametrize("library", ANSWERS)
@pytest.mark.parametrize("status", STATUSES)
def test_an_answer_is_judged_by_its_status(library, status):
    """Every client's error for an HTTP status is what the status says."""
    error = ANSWERS[library](status)
    if status == 501 and library == "anthropic":
        assert isinstance(error, anthropic.APIStatusError)
    assert transient.kind_of(error) == STATUSES[status]


def test_botocore_answers_are_judged_by_code_and_then_by_status():
    """An AWS error of an unknown code is what its HTTP status says."""
    for status, kind in STATUSES.items():
        error = client_error(botocore.exceptions.ClientError, "SomethingElse", status)
        assert transient.kind_of(error) == kind
    throttled = client_error(botocore.exceptions.ClientError, "SlowDown", 503)
    assert transient.kind_of(throttled) == "throttled"


@pytest.mark.parametrize("library", ANSWERS)
def test_hints_are_read_from_the_real_headers(library):
    """`Retry-After` and `retry-after-ms` are found in every client's headers."""
    fault = fault_of(ANSWERS[library](429, {"Retry-After": "7"}))
    assert fault is not None
    assert (fault.retry_after, fault.source, fault.health) == (7.0, "retry-after", "cooldown")
    fault = fault_of(ANSWERS[library](503, {"retry-after-ms": "1500", "Retry-After": "7"}))
    assert fault is not None
    assert (fault.retry_after, fault.source, fault.health) == (1.5, "retry-after-ms", "failure")


def test_hint_of_botocore():
    """Botocore keeps the headers inside its parsed response."""
    fault = fault_of(client_error(botocore.exceptions.ClientError, "Throttling"))
    assert fault is not None
    assert (fault.retry_after, fault.source) == (7.0, "retry-after")


def test_an_empty_openai_account_is_permanent():
    """A 429 that says `insufficient_quota` is no throttling: it stays."""
    body = {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "m"}}
    assert transient.kind_of(openai_answer(429, body)) == "permanent"
    assert transient.kind_of(openai_answer(429)) == "throttled"


def test_an_error_event_in_an_openai_stream_is_judged_by_its_code():
    """An error event of a stream, read by the real client, is what its code says."""
    for code, kind in (("server_error", "transient"), ("rate_limit_exceeded", "throttled")):
        error = openai_answer(200, {"error": {"code": code, "message": "message"}})
        assert transient.kind_of(error) == kind


def test_botocore_codes_are_those_of_botocore():
    """What botocore itself takes for throttled or transient is not permanent here."""
    standard = botocore.retries.standard
    for code in standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES:
        assert transient(client_error(botocore.exceptions.ClientError, code)), code
    for code in standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES:
        assert transient(client_error(botocore.exceptions.ClientError, code)), code


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadTimeout("m"), "transient"),
        (httpx.WriteError("m"), "transient"),
        (httpx.RemoteProtocolError("m"), "transient"),
        (httpx2.ReadError("m"), "transient"),
        (aiohttp.ServerDisconnectedError(), "transient"),
        (aiohttp.SocketTimeoutError("m"), "transient"),
        (aiohttp.ClientOSError(errno.EPIPE, "m"), "transient"),
        (aiohttp.ClientConnectorDNSError(connection_key(), OSError(1, "m")), "unsent"),
        (aiohttp.ClientConnectorSSLError(connection_key(), OSError(1, "m")), "unsent"),
        (aiohttp.InvalidUrlClientError("m"), "permanent"),
        (redis.exceptions.BusyLoadingError("m"), "transient"),
        (redis.exceptions.MasterDownError("m"), "transient"),
        (redis.exceptions.LockNotOwnedError("m"), "permanent"),
        (redis.exceptions.MovedError("1 127.0.0.1:1"), "permanent"),
        (redis.exceptions.RedisError("m", status_code="503"), None),
        (botocore.exceptions.ReadTimeoutError(**BOTOCORE), "transient"),
        (botocore.exceptions.EndpointConnectionError(**BOTOCORE), "transient"),
        (asyncpg.TooManyConnectionsError("m"), "unsent"),
        (asyncpg.ConnectionDoesNotExistError("m"), "transient"),
        (asyncpg.UniqueViolationError("m"), "permanent"),
        (asyncpg.SerializationError("m"), "permanent"),
        (asyncpg.DeadlockDetectedError("m"), "permanent"),
        (asyncpg.QueryCanceledError("m"), None),
        (psycopg.errors.AdminShutdown("m"), "transient"),
        (psycopg.errors.SerializationFailure("m"), "permanent"),
        (psycopg.errors.DeadlockDetected("m"), "permanent"),
        (psycopg.errors.QueryCanceled("m"), None),
        (psycopg.errors.InvalidPassword("m"), "permanent"),
        (trio.TooSlowError(), "transient"),
        (trio.BrokenResourceError(), "transient"),
        (anyio.EndOfStream(), None),
        (grpc.RpcError("without a code"), None),
        (psycopg_pool.PoolTimeout("m"), "unsent"),
    ],
    ids=lambda value: (
        f"{type(value).__module__}.{type(value).__name__}"
        if isinstance(value, Exception)
        else str(value)
    ),
)
def test_classes_without_a_row_are_judged_by_their_bases(error, kind):
    """A class that no row names is what the nearest of its bases is."""
    assert transient.kind_of(error) == kind


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def refused_httpx(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.post(f"http://127.0.0.1:{port}/")


async def refused_httpx2(port: int) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        await client.post(f"http://127.0.0.1:{port}/")


async def refused_aiohttp(port: int) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}/"):
        pass


async def refused_openai(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    async with openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0) as client:
        await ask_openai(client)


async def refused_anthropic(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
        await ask_anthropic(client)


async def refused_redis(port: int) -> None:
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
    client = redis.asyncio.Redis(host="127.0.0.1", port=port, retry=retry)
    try:
        await client.ping()
    finally:
        await client.aclose()


async def refused_asyncpg(port: int) -> None:
    await asyncpg.connect(host="127.0.0.1", port=port, user="u", password="p", ssl=False)


async def refused_psycopg(port: int) -> None:
    await psycopg.AsyncConnection.connect(f"host=127.0.0.1 port={port} user=u password=p")


async def refused_grpc(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary("/a.B/C")(b"")


async def refused_anyio(port: int) -> None:
    await anyio.connect_tcp("127.0.0.1", port)


async def refused_asyncio(port: int) -> None:
    await asyncio.open_connection("127.0.0.1", port)


def anyio_refused() -> Exception:
    with pytest.raises(OSError, match="attempts failed") as raised:
        anyio.run(refused_anyio, free_port())
    return raised.value


REFUSED = {
    "httpx": (refused_httpx, "unsent"),
    "httpx2": (refused_httpx2, "unsent"),
    "aiohttp": (refused_aiohttp, "unsent"),
    "openai": (refused_openai, "transient"),
    "anthropic": (refused_anthropic, "transient"),
    "redis": (refused_redis, "transient"),
    "asyncpg": (refused_asyncpg, "unsent"),
    "psycopg": (refused_psycopg, "transient"),
    "grpc": (refused_grpc, "transient"),
    "anyio": (refused_anyio, "unsent"),
    "asyncio": (refused_asyncio, "unsent"),
}


@pytest.mark.parametrize("library", REFUSED)
def test_a_refused_connection_is_retryable_in_every_library(library):
    """Nobody listens: the real client's error is transient, and unsent where that is proven."""
    call, kind = REFUSED[library]
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each library has its own
        asyncio.run(call(free_port()))
    assert transient.kind_of(raised.value) == kind


def test_a_refused_connection_is_retryable_on_trio():
    """The same on trio, whose own error carries no `errno` either."""
    with pytest.raises(OSError, match="attempts to connect") as raised:
        trio.run(trio.open_tcp_stream, "127.0.0.1", free_port())
    assert transient.kind_of(raised.value) == "unsent"


def test_our_own_refusals_are_in_the_table():
    """A `Rejected` is permanent, whichever policy refused."""
    assert transient.kind_of(Rejected("message", policy="bulkhead")) == "permanent"


@pytest.mark.parametrize(("library", "other"), [(httpx, httpx2), (httpx2, httpx)], ids=str)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_schedule_is_a_network_of_either_library(library, other, backend):
    """Answers and errors of a scheduled transport are those of the library that asks."""
    busy = HttpReply(429, headers={"Retry-After": "7"})
    schedule = FailureSchedule([Ok(busy), Fail(other.ReadError), Fail(ConnectionError), Hang()])

    async def scenario():
        limits = library.Timeout(5)
        async with library.AsyncClient(transport=schedule.transport(), timeout=limits) as client:
            response = await client.get("http://server")
            assert type(response) is library.Response
            assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
            for error in (library.ReadError, library.ConnectError, library.ReadTimeout):
                with pytest.raises(error) as raised:
                    await client.get("http://server")
                assert type(raised.value) is error
            return (await client.get("http://server")).json()

    assert virtual_time(scenario, backend=backend) == {"answer": 5}
