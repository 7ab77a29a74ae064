"""`OpenRouter` over a real socket: one request, any answer, and the connection given back."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import socket
import ssl
import threading
import weakref

import anyio
import httpx
import pytest

from resilient import TimedOut, remaining, stack, timeout
from resilient_openrouter import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    EdgeError,
    LocalSaturation,
    MalformedResponse,
    MissingKey,
    OpenRouter,
    OpenRouterError,
    TooManyRequests,
)
from resilient_openrouter._address import is_loopback
from resilient_openrouter.classify import transport_error
from resilient_openrouter.emulator import SCENARIOS, Emulator

SECRET = "sk-or-v1-0123456789abcdef"  # noqa: S105 - nobody's
PROMPT = "a question that nobody else may read"
MESSAGES = [{"role": "user", "content": PROMPT}]
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def router(emulator, **options):
    return OpenRouter(SECRET, base_url=emulator.url, **options)


async def cut_off(call, *arguments, when):
    """Make a call and cancel it as soon as something has come true."""
    async with anyio.create_task_group() as group:
        group.start_soon(call, *arguments)
        await when
        group.cancel_scope.cancel()


async def test_a_call_returns_a_reply():
    """`chat` sends one request with its fields and returns what the model said."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        found = await openrouter.chat("openai/gpt-4o", MESSAGES, temperature=0, max_tokens=5)
        assert (found.content, found.model_served) == ("Hola", "openai/gpt-4o-20260317")
        assert emulator.journal[0].body == {
            "model": "openai/gpt-4o",
            "messages": MESSAGES,
            "temperature": 0,
            "max_tokens": 5,
        }


async def test_the_application_introduces_itself():
    """`app` is sent as title and address, and the router is asked for what it did."""
    async with Emulator() as emulator:
        app = ("My app", "https://example.org")
        async with router(emulator, app=app) as openrouter:
            await openrouter.chat("m/m", MESSAGES)
        async with router(emulator, app="My app") as openrouter:
            await openrouter.chat("m/m", MESSAGES)
        first, second = (entry.headers for entry in emulator.journal)
        assert (first["x-openrouter-title"], first["http-referer"]) == app
        assert first["x-openrouter-metadata"] == "enabled"
        assert (second["x-openrouter-title"], second.get("http-referer")) == ("My app", None)


async def test_one_request_is_sent_whatever_comes_back():
    """Nothing is retried or followed by itself: one call is one request."""
    slow = {"slow", "slow_ttft", "disconnect_probe"}
    endless = {name for name, each in SCENARIOS.items() if each.ending in {"stall", "silence"}}
    names = [name for name in SCENARIOS if name not in slow | endless]
    async with Emulator() as emulator, router(emulator) as openrouter:
        for name in names:
            try:
                await openrouter.chat(f"emu/{name}", MESSAGES)
            except OpenRouterError as error:
                assert SECRET not in f"{error!r} {error} {error.message}"
                assert PROMPT not in f"{error!r} {error} {error.message}"
        assert emulator.journal.models == [f"emu/{name}" for name in names]


async def test_an_error_names_the_generation():
    """The generation's id is taken from the headers, before a body comes that may never end."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        with pytest.raises(ConnectionLost) as caught:
            await openrouter.chat("emu/reset_in_body", MESSAGES)
        assert caught.value.generation_id.startswith("gen-")


async def test_what_reads_an_answer_is_gone_with_its_call():
    """A request that httpx still holds does not lead to what has read its answer."""
    gone = []

    async def note(request):
        gone.append(weakref.ref(request.extensions["trace"]))

    hooks = {"request": [note]}
    async with (
        Emulator() as emulator,
        httpx.AsyncClient(verify=NOBODY, event_hooks=hooks) as client,
    ):
        gc.collect()
        gc.disable()
        try:
            await router(emulator, client=client).chat("emu/ok", MESSAGES)
            assert [ref() for ref in gone] == [None]
        finally:
            gc.enable()


class TestStall:
    async def test_a_stall_behind_keep_alives_is_cut(self):
        """Keep-alives for ever do not outlive a timeout, and the server sees the client go."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            async with anyio.create_task_group() as group:
                group.start_soon(openrouter.chat, "emu/stall?every=0.02", MESSAGES)
                await emulator.journal.begun()
                group.cancel_scope.cancel()
            await emulator.journal.settled()
            assert emulator.journal[0].ended == "client_closed"

    async def test_a_timeout_policy_cuts_it_too(self):
        """Under `timeout` the stall is `TimedOut`, and the connection pool is as good as new."""
        async with Emulator() as emulator:
            limits = httpx.Limits(max_connections=1)
            async with httpx.AsyncClient(verify=NOBODY, limits=limits) as client:
                openrouter = router(emulator, client=client)
                guarded = stack(timeout(9), timeout(0.5))(openrouter.chat)
                for _ in range(3):
                    with pytest.raises(TimedOut):
                        await guarded("emu/stall?every=0.02", MESSAGES)
                assert (await openrouter.chat("emu/ok", MESSAGES)).content == "Hola"

    async def test_a_silent_server_is_cut(self):
        """A server that accepts and says nothing does not outlive a timeout."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            with pytest.raises(TimedOut):
                await timeout(0.5)(openrouter.chat)("emu/silence", MESSAGES)


FAILURES = [
    "e503", "html_502", "err200", "choice_error", "whitespace_only", "truncated_json",
    "empty_choices", "reset", "close", "reset_in_body", "close_in_body", "redirect",
]  # fmt: skip


@pytest.mark.parametrize("name", [*FAILURES, "stall?every=0.01", "silence", "huge"])
async def test_a_pool_of_two_survives_a_hundred_failures(name):
    """Whatever fails, the connection goes back: two connections serve a hundred failures."""
    async with Emulator() as emulator:
        limits = httpx.Limits(max_connections=2)
        async with httpx.AsyncClient(verify=NOBODY, limits=limits) as client:
            small = router(emulator, client=client, max_body=400)
            model = "emu/ok" if name == "huge" else f"emu/{name}"
            for count in range(1, 101):
                if name.startswith(("stall", "silence")):
                    await cut_off(small.chat, model, MESSAGES, when=emulator.journal.begun(count))
                else:
                    with pytest.raises(OpenRouterError):
                        await small.chat(model, MESSAGES)
            healthy = router(emulator, client=client)
            assert (await healthy.chat("emu/ok", MESSAGES)).content == "Hola"


async def test_a_body_is_bounded_while_it_is_read():
    """An answer larger than `max_body` is malformed, and no more of it is kept than that."""
    async with Emulator() as emulator, router(emulator, max_body=1000) as openrouter:
        with pytest.raises(MalformedResponse, match="max_body=1000"):
            await openrouter.chat(f"emu/ok?text={'x' * 4000}", MESSAGES)
        await openrouter.chat("emu/ok_tools?text=x", MESSAGES)


class TestConnections:
    async def test_nothing_listens(self):
        """A refused connection is `ConnectFailed`, which condemns the host and was never sent."""
        async with Emulator() as emulator:
            url = emulator.url
        async with OpenRouter(SECRET, base_url=url) as openrouter:
            with pytest.raises(ConnectFailed) as caught:
                await openrouter.chat("m/m", MESSAGES)
        error = caught.value
        assert (error.scope, error.billed, error.retryable) == ("host", "no", True)
        assert str(error) == (
            "[connect_failed] ConnectFailed: the host could not be reached:"
            f" connection refused at {httpx.URL(url).netloc.decode()} (m/m)"
        )
        assert isinstance(error.__cause__, httpx.ConnectError)

    async def test_a_name_that_nobody_knows(self, monkeypatch):
        """A host whose name is not found is told apart from one that does not listen."""

        def unknown(*args, **options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        async with OpenRouter(SECRET, base_url="https://nowhere.invalid/api/v1") as openrouter:
            with pytest.raises(
                ConnectFailed, match=r"name not found \(DNS\) at nowhere.invalid:443"
            ):
                await openrouter.chat("m/m", MESSAGES)

    async def test_a_host_that_is_too_slow(self):
        """A connection that is not there within its limit timed out."""
        async with Emulator() as emulator:
            url = emulator.url.replace("http:", "https:")  # nobody there speaks TLS
            async with OpenRouter(SECRET, base_url=url, connect=0.1) as openrouter:
                with pytest.raises(ConnectFailed, match=r"timed out at 127\.0\.0\.1:\d+ "):
                    await openrouter.chat("m/m", MESSAGES)

    async def test_an_address_of_https_is_spoken_to_with_tls(self):
        """A server that cannot speak TLS is a host that cannot be reached."""
        async with Emulator() as emulator:
            url = emulator.url.replace("http:", "https:")
            async with OpenRouter(SECRET, base_url=url, connect=0.2) as openrouter:
                with pytest.raises(ConnectFailed):
                    await openrouter.chat("m/m", MESSAGES)

    async def test_a_full_pool_is_nobodys_fault(self):
        """Waiting for a connection of our own is told apart from a slow model."""
        async with Emulator() as emulator:
            limits = httpx.Limits(max_connections=1)
            async with (
                httpx.AsyncClient(verify=NOBODY, limits=limits) as client,
                anyio.create_task_group() as group,
            ):
                openrouter = router(emulator, client=client)
                group.start_soon(openrouter.chat, "emu/silence", MESSAGES)
                await emulator.journal.begun()
                with pytest.raises(LocalSaturation) as caught:
                    await timeout(1)(openrouter.chat)("emu/ok", MESSAGES)
                assert (caught.value.health, caught.value.scope) == ("neutral", None)
                group.cancel_scope.cancel()

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("ConnectError", ConnectFailed),
            ("ConnectTimeout", ConnectFailed),
            ("ProxyError", ConnectFailed),
            ("PoolTimeout", LocalSaturation),
            ("ReadError", ConnectionLost),
            ("WriteError", ConnectionLost),
            ("CloseError", ConnectionLost),
            ("ReadTimeout", ConnectionLost),
            ("WriteTimeout", ConnectionLost),
            ("RemoteProtocolError", ConnectionLost),
            ("LocalProtocolError", None),
            ("UnsupportedProtocol", None),
            ("DecodingError", None),
            ("TooManyRedirects", None),
        ],
    )
    def test_errors_of_the_client_are_told_by_name(self, name, kind):
        """Errors of the HTTP client are known by class name; its complaints about us are bugs."""
        assert transport_error(getattr(httpx, name)("no")) is kind

    def test_the_newer_client_is_known_too(self):
        """Errors of httpx2 are the same by name, and foreign ones of that name are not."""
        theirs = type("ReadError", (Exception,), {"__module__": "httpx2._exceptions"})
        foreign = type("ReadError", (Exception,), {"__module__": "acme.errors"})
        derived = type("Mine", (theirs,), {"__module__": "acme.errors"})
        assert transport_error(theirs()) is ConnectionLost
        assert transport_error(derived()) is ConnectionLost
        assert transport_error(foreign()) is None

    async def test_a_bug_passes_as_it_is(self):
        """An exception that is no failure of the network is raised unchanged."""

        class Broken(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request):
                raise ZeroDivisionError

        async with httpx.AsyncClient(transport=Broken()) as client:
            openrouter = OpenRouter(SECRET, client=client)
            with pytest.raises(ZeroDivisionError):
                await openrouter.chat("m/m", MESSAGES)

    async def test_the_socket_limits_fit_into_what_is_left(self):
        """Limits for connecting and for the pool stay below the caller's own; reading has none."""
        seen = []

        class Seeing(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request):
                seen.append((remaining(), request.extensions["timeout"]))
                return httpx.Response(200, json={"choices": []})

        async with httpx.AsyncClient(transport=Seeing(), timeout=1) as client:
            openrouter = OpenRouter(SECRET, client=client)
            for call in (openrouter.chat, timeout(2)(openrouter.chat)):
                with pytest.raises(OpenRouterError):
                    await call("m/m", MESSAGES)
        (_, free), (left, bound) = seen
        assert free == {"connect": 5.0, "read": None, "write": None, "pool": 10.0}
        assert bound["read"] is None
        assert 0 < bound["pool"] < bound["connect"] < left <= bound["write"] <= 2

    async def test_a_redirect_is_not_followed(self):
        """A redirect is an error: the key does not travel to another address."""
        async with Emulator() as emulator:
            async with httpx.AsyncClient(verify=NOBODY, follow_redirects=True) as client:
                with pytest.raises(EdgeError, match="307"):
                    await router(emulator, client=client).chat("emu/redirect", MESSAGES)
            assert len(emulator.journal) == 1


class TestAddresses:
    @pytest.mark.parametrize("path", ["", "/api", "/v2", "/api/v1/chat/completions"])
    async def test_a_wrong_address_says_so(self, path):
        """A base URL that leads elsewhere is told apart from a model that is not there."""
        async with Emulator() as emulator:
            url = emulator.url.removesuffix("/api/v1") + path
            async with OpenRouter(SECRET, base_url=url) as openrouter:
                with pytest.raises(EdgeError) as caught:
                    await openrouter.chat("m/m", MESSAGES)
            assert emulator.journal[0].path == f"{path}/chat/completions"
        assert (caught.value.scope, caught.value.retryable) == ("host", False)
        assert str(caught.value).startswith(
            "[404] EdgeError: nothing at this address; base_url usually ends in /api/v1 (m/m"
        )


class TestClients:
    async def test_connections_are_shared(self):
        """All calls of one `OpenRouter` share one client and its connections."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            for _ in range(5):
                await openrouter.chat("m/m", MESSAGES)
            assert {entry.connection for entry in emulator.journal} == {1}

    async def test_it_opens_by_itself(self):
        """Without `async with` the first call opens the client, and `aclose` closes it."""
        async with Emulator() as emulator:
            openrouter = router(emulator)
            for _ in range(2):
                await openrouter.chat("m/m", MESSAGES)
                await openrouter.aclose()
            await openrouter.aclose()
            assert {entry.connection for entry in emulator.journal} == {1, 2}

    async def test_the_last_block_closes(self):
        """A block inside another one does not close the client under the outer one."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            async with openrouter:
                await openrouter.chat("m/m", MESSAGES)
            await openrouter.chat("m/m", MESSAGES)
            assert {entry.connection for entry in emulator.journal} == {1}

    async def test_an_injected_client_stays_open(self):
        """A client that was given is used as it is, and closing it is its owner's business."""
        async with Emulator() as emulator, httpx.AsyncClient(verify=NOBODY) as client:
            async with router(emulator, client=client) as openrouter:
                await openrouter.chat("m/m", MESSAGES)
            assert not client.is_closed
            await openrouter.aclose()
            assert not client.is_closed

    def test_each_loop_has_its_own(self):
        """One object serves loop after loop, of either kind, and several loops at once."""
        openrouter = None

        async def use(times):
            nonlocal openrouter
            async with Emulator() as emulator:
                openrouter = openrouter or OpenRouter(SECRET, base_url="http://127.0.0.1:9/api/v1")
                mine = router(emulator)
                async with openrouter, mine:
                    for _ in range(times):
                        await mine.chat("m/m", MESSAGES)
                        with pytest.raises(OpenRouterError):
                            await openrouter.chat("m/m", MESSAGES)

        for backend in ("asyncio", "trio", "asyncio"):
            anyio.run(use, 2, backend=backend)
        failed = []

        def thread(backend):
            try:
                anyio.run(use, 3, backend=backend)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=thread, args=[b]) for b in ("asyncio", "trio")]
        for each in threads:
            each.start()
        for each in threads:
            each.join(10)
        assert failed == []

    async def test_many_calls_at_once_meet_no_other(self):
        """A hundred calls at once each get their own answer."""
        async with Emulator() as emulator, router(emulator) as openrouter:
            found = {}

            async def one(number):
                reply = await openrouter.chat(f"emu/ok?text=answer {number}", MESSAGES)
                found[number] = reply.content

            async with anyio.create_task_group() as group:
                for number in range(100):
                    group.start_soon(one, number)
            assert found == {number: f"answer {number}" for number in range(100)}


class TestKey:
    async def test_a_missing_key_is_missed_at_the_first_use(self, monkeypatch):
        """Construction needs no key; the first call without one is `MissingKey`."""
        async with Emulator() as emulator, OpenRouter(base_url=emulator.url) as openrouter:
            with pytest.raises(MissingKey, match="set OPENROUTER_API_KEY or pass api_key="):
                await openrouter.chat("m/m", MESSAGES)
            assert len(emulator.journal) == 0
            monkeypatch.setenv("OPENROUTER_API_KEY", SECRET + "\n")
            assert (await openrouter.chat("m/m", MESSAGES)).content == "Hola"

    @pytest.mark.parametrize("key", ["", "  ", "sk-or\nX-Evil: 1", "sk-or-v1-ü", "two words"])
    async def test_a_key_that_is_none_never_gets_into_a_header(self, key):
        """A key with characters that no key has is refused without being shown."""
        openrouter = OpenRouter(key, base_url="http://127.0.0.1:9/api/v1")
        with pytest.raises(MissingKey) as caught:
            await openrouter.chat("m/m", MESSAGES)
        assert not key.strip() or key not in str(caught.value)

    async def test_the_key_is_in_the_header_and_nowhere_else(self, caplog):
        """The server gets the key; errors, causes, `repr`s and logs do not show it."""
        caplog.set_level("DEBUG")
        async with Emulator() as emulator, router(emulator) as openrouter:
            emulator.refuse_key(SECRET)
            with pytest.raises(AuthenticationFailed) as caught:
                await openrouter.chat("m/m", MESSAGES)
            with pytest.raises(ConnectionLost) as lost:
                await OpenRouter("other", base_url=emulator.url).chat("emu/reset", MESSAGES)
        shown = [repr(caught.value), repr(vars(caught.value)), repr(lost.value.__cause__)]
        shown += [repr(openrouter), str(vars(openrouter)), caplog.text]
        assert not any(SECRET in text for text in shown)
        assert not any(PROMPT in text for text in shown)

    def test_the_label_stands_for_the_key(self):
        """A client shows the label of its key: the variable's name, the caller's, or a number."""
        assert repr(OpenRouter()) == (
            "OpenRouter('https://openrouter.ai/api/v1', key=OPENROUTER_API_KEY)"
        )
        assert "key=team" in repr(OpenRouter(SECRET, label="team"))
        assert repr(OpenRouter(SECRET)) != repr(OpenRouter(SECRET))

    @pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_neither_client_nor_key_is_copied(self, copied):
        """Pickling and copying are refused: a key stays where it is."""
        openrouter = OpenRouter(SECRET)
        for thing in (openrouter, openrouter._key):
            with pytest.raises(TypeError, match="not pickled or copied"):
                copied(thing)

    def test_a_key_is_a_string(self):
        """A key of another type is a `TypeError` at construction that does not show it."""
        with pytest.raises(TypeError, match="not bytes"):
            OpenRouter(SECRET.encode())


class TestOptions:
    @pytest.mark.parametrize(
        "url",
        [
            "http://openrouter.ai/api/v1",
            "ftp://openrouter.ai",
            "openrouter.ai/api/v1",
            "https://user:password@openrouter.ai",
            "https://openrouter.ai/?key=1",
            "http://127.0.0.1.example.org/",
        ],
    )
    def test_the_address_is_https(self, url):
        """Only https is accepted, and plain http for this machine alone."""
        with pytest.raises(ValueError, match="base_url must be"):
            OpenRouter(SECRET, base_url=url)

    def test_this_machine_is_told(self):
        """Loopback addresses are this machine, and names that begin like one are not."""
        assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.1.2.3", "::1"]))
        assert not any(map(is_loopback, ["127.0.0.1.example.org", "10.0.0.1", "0.0.0.0"]))  # noqa: S104

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"connect": 0}, ValueError),
            ({"connect": float("inf")}, ValueError),
            ({"connect": True}, TypeError),
            ({"max_body": -1}, ValueError),
            ({"max_body": "64"}, TypeError),
        ],
    )
    def test_numbers_are_checked(self, options, error):
        """A limit that is no positive number is refused at construction, by name."""
        with pytest.raises(error, match=next(iter(options))):
            OpenRouter(SECRET, **options)

    async def test_raw_is_kept_on_request(self):
        """With `keep_raw` an error holds what the server sent."""
        async with Emulator() as emulator, router(emulator, keep_raw=True) as openrouter:
            with pytest.raises(TooManyRequests) as caught:
                await openrouter.chat("emu/e429_nohint", MESSAGES)
            assert caught.value.raw["error"]["code"] == 429


async def test_a_cancelled_call_is_noticed_by_the_server():
    """A cancelled call closes its connection: the server stops working for nobody."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        stalled = "emu/stall?every=0.02"
        await cut_off(openrouter.chat, stalled, MESSAGES, when=emulator.journal.begun())
        await emulator.journal.settled()
        assert emulator.journal[0].ended == "client_closed"


def test_importing_needs_no_http_library(fresh_python):
    """The package loads without httpx, and the first call says how to install it."""
    program = """
import sys
sys.modules["httpx"] = sys.modules["httpx2"] = None
import anyio
from resilient_openrouter import OpenRouter
openrouter = OpenRouter("key")
try:
    anyio.run(openrouter.chat, "m/m", [])
except ImportError as error:
    print(error)
"""
    assert fresh_python(program) == (
        'resilient_openrouter needs httpx, or httpx2: pip install "resilient-policies[openrouter]"'
    )


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_where_only_httpx2_is_installed_it_is_used(fresh_python, library):
    """Without httpx the client that opens by itself is one of httpx2, and all works as before."""
    program = """
import logging, sys, types
import anyio, httpx
logging.getLogger("resilient").disabled = True
made = []

class AsyncClient(httpx.AsyncClient):
    def __init__(self, **options):
        made.append(sorted(options))
        super().__init__(**options)

sys.modules["httpx2"] = types.SimpleNamespace(AsyncClient=AsyncClient)
sys.modules["httpx"] = None
from resilient_openrouter import OpenRouter
from resilient_openrouter.emulator import Emulator

async def main():
    async with Emulator() as emulator, OpenRouter("key", base_url=emulator.url) as openrouter:
        emulator.script("a/b", ["e503", "reset", "ok"])
        chain = openrouter.manager("a/b", attempts=3)
        outcome = await chain.run([{"role": "user", "content": "Why?"}])
        print(outcome.value.content, [call.error_class for call in outcome.calls], made)

anyio.run(main, backend=sys.argv[1])
"""
    assert fresh_python(program, library) == (
        "Hola ['Overloaded', 'ConnectionLost', None] [['follow_redirects', 'trust_env', 'verify']]"
    )


def test_a_broken_http_library_is_not_a_missing_one(fresh_python):
    """Where httpx is there and something of its own is missing, that is what is said."""
    program = """
import importlib, sys
import anyio
from resilient_openrouter import OpenRouter, _transport

def missing(name):
    raise ModuleNotFoundError("No module named 'h11'", name="h11")

_transport.import_module = missing
try:
    anyio.run(OpenRouter("key").chat, "m/m", [])
except ImportError as error:
    print(error)
"""
    assert fresh_python(program) == "No module named 'h11'"


async def test_the_payload_is_json_as_it_was_given():
    """What the caller gives is what the server gets, text of any script included."""
    async with Emulator() as emulator, router(emulator) as openrouter:
        messages = [{"role": "user", "content": "¿Por qué? 日本 \u2028 \U0001f600"}]
        await openrouter.chat("m/m", messages, metadata={"k": "v"})
        assert emulator.journal[0].body["messages"] == messages
        assert json.dumps(emulator.journal[0].body["metadata"]) == '{"k": "v"}'
