"""Why a host was not reached, read from the chain below the HTTP client's own error."""

from __future__ import annotations

import errno
import itertools
import socket
import ssl

import httpx
import pytest

from resilient_openrouter._reach import reason_of, where


def failed(*below):
    """Hang up errors below each other, under one of the HTTP client."""
    chain = (httpx.ConnectError("no"), *below)
    for error, cause in itertools.pairwise(chain):
        error.__cause__ = cause
    return chain[0]


REASONS = {
    "refused": (failed(ConnectionRefusedError()), "connection refused"),
    "refused in a group": (
        failed(OSError("all"), ExceptionGroup("2", [OSError("odd"), ConnectionRefusedError()])),
        "connection refused",
    ),
    "no such name": (failed(socket.gaierror(socket.EAI_NONAME, "x")), "name not found (DNS)"),
    "a limit of the client": (httpx.ConnectTimeout("no"), "timed out"),
    "a limit of the system": (failed(TimeoutError()), "timed out"),
    "no route": (failed(OSError(errno.EHOSTUNREACH, "x")), "no route"),
    "a certificate": (failed(ssl.SSLCertVerificationError("x")), "certificate not trusted"),
    "TLS": (failed(ssl.SSLError("odd")), "TLS failed"),
    "a proxy": (httpx.ProxyError("no"), "ProxyError"),
    "something else": (failed(OSError("odd")), "ConnectError"),
    "nothing": (failed(), "ConnectError"),
}


@pytest.mark.parametrize("name", list(REASONS))
def test_what_is_below_says_why(name):
    """What the operating system said decides, wherever the HTTP client hangs it up."""
    error, reason = REASONS[name]
    assert reason_of(error) == reason


def test_what_the_caller_was_handling_is_no_reason():
    """The context of an error is the caller's own affair."""
    error = failed(OSError("odd"))
    error.__context__ = error.__cause__.__context__ = ConnectionRefusedError()
    assert reason_of(error) == "ConnectError"


def test_an_endless_chain_has_an_end():
    """A chain that bites its own tail is followed no further than needed."""
    error = failed(OSError("odd"))
    error.__cause__.__cause__ = error
    assert reason_of(error) == "ConnectError"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://openrouter.ai/api/v1", "openrouter.ai:443"),
        ("http://localhost/api/v1", "localhost:80"),
        ("http://[::1]:8080/api/v1", "[::1]:8080"),
    ],
)
def test_an_address_is_host_and_port(url, told):
    """Host and port are told, also where the address leaves the port out."""
    assert where(httpx.URL(url)) == told
