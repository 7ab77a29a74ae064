#!/usr/bin/env python3
"""Tests of the fallback between language models.

Run: pytest tests/test_llm_fallback.py -v
"""

from __future__ import annotations

import json

import httpx
import pytest

from resilient.testing import virtual_time
from resilient_openrouter import AllModelsFailed, AuthenticationFailed, OpenRouter, OpenRouterError

PRIMARY, FALLBACK = "openai/gpt-4", "anthropic/claude-3"
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def answer(content, model):
    """Return the body of an answer; the served model is a dated name."""
    return {
        "id": "gen-1",
        "model": f"{model}-20260317",
        "choices": [{"finish_reason": "stop", "message": {"content": content}}],
    }


def refusal(code, message):
    """Return the body of an error."""
    return {"error": {"code": code, "message": message}}


class Service:
    """OpenRouter in process: answers each model as it is told, and counts the calls."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    def __call__(self, request):
        model = json.loads(request.content)["model"]
        self.calls.append(model)
        status, body = self.answers["primary" if model == PRIMARY else "fallback"]
        return httpx.Response(status, json=body)

    def client(self):
        """Return an HTTP client whose network is this service."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


async def ask(service, *, attempts=1, other_key=False):
    """Ask the primary and then the fallback model, on one key or on two."""
    async with service.client() as client:
        openrouter = OpenRouter("key-a", label="KEY_A", client=client)
        second = OpenRouter("key-b", label="KEY_B", client=client) if other_key else openrouter
        manager = openrouter.manager(
            openrouter.target(PRIMARY, attempts=attempts),
            second.target(FALLBACK, attempts=attempts),
        )
        return await manager.run([])


@BACKENDS
class TestLLMFallback:
    """The suite of the fallback strategy."""

    def test_primary_success(self, backend):
        """If the primary works, the primary answers, and the result carries its name."""
        service = Service(primary=(200, answer("Respuesta primaria", PRIMARY)))

        outcome = virtual_time(ask, service, backend=backend, check_leftovers=True)

        assert outcome.target == PRIMARY
        assert outcome.value.model == PRIMARY
        assert "Respuesta primaria" in outcome.value.content
        assert outcome.fallback_used is False
        assert service.calls == [PRIMARY]

    def test_fallback_on_primary_failure(self, backend):
        """If the primary fails, the fallback answers."""
        service = Service(
            primary=(500, refusal(500, "Primary failed")),
            fallback=(200, answer("Respuesta fallback", FALLBACK)),
        )

        outcome = virtual_time(ask, service, backend=backend, check_leftovers=True)

        assert outcome.target == FALLBACK
        assert outcome.value.model == FALLBACK
        assert "Respuesta fallback" in outcome.value.content
        assert outcome.fallback_used is True
        assert service.calls == [PRIMARY, FALLBACK]

    def test_both_fail_raises_error(self, backend):
        """If both fail, one typed error holds both."""
        service = Service(
            primary=(500, refusal(500, "Primary failed")),
            fallback=(503, refusal(503, "Fallback also failed")),
        )

        with pytest.raises(OpenRouterError) as caught:
            virtual_time(ask, service, backend=backend, check_leftovers=True)

        assert type(caught.value) is AllModelsFailed
        assert [error.status_code for error in caught.value.exceptions] == [500, 503]
        assert [attempt.target for attempt in caught.value.attempts] == [PRIMARY, FALLBACK]
        assert service.calls == [PRIMARY, FALLBACK]

    def test_no_retry_on_auth_error(self, backend):
        """A 401 with two models on one key is exactly one call, and surfaces as the 401."""
        service = Service(primary=(401, refusal(401, "Invalid API key")))

        with pytest.raises(OpenRouterError) as caught:
            virtual_time(lambda: ask(service, attempts=3), backend=backend, check_leftovers=True)

        assert service.calls == [PRIMARY]
        assert type(caught.value) is AuthenticationFailed
        assert caught.value.status_code == 401

    def test_another_credential_answers_an_auth_error(self, backend):
        """A 401 with another key behind it is two calls, and the fallback answers."""
        service = Service(
            primary=(401, refusal(401, "Invalid API key")),
            fallback=(200, answer("Respuesta fallback", FALLBACK)),
        )

        outcome = virtual_time(
            lambda: ask(service, attempts=3, other_key=True), backend=backend, check_leftovers=True
        )

        assert outcome.target == FALLBACK
        assert service.calls == [PRIMARY, FALLBACK]


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
