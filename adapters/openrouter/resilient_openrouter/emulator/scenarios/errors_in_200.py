"""Errors that come as a success: the 200 is sent before a provider has said a word."""

from __future__ import annotations

from typing import Final

from resilient_openrouter.emulator.scenarios.refusals import refusal
from resilient_openrouter.emulator.scenarios.shape import Scenario
from resilient_openrouter.emulator.scenarios.successes import completion

__all__ = ("ERRORS_IN_200",)

ERRORS_IN_200: Final[dict[str, Scenario]] = {
    "err200": refusal(
        502,
        "Provider returned error",
        {"raw": "the provider said something private", "provider_name": "Google"},
        http_status=200,
        padding=2,
    ),
    "err200_nulls_524": Scenario(
        padding=1,
        body={
            "id": None,
            "choices": None,
            "created": 1777319808,
            "model": None,
            "object": None,
            "error": {
                "message": "Provider returned error",
                "code": 524,
                "metadata": {"raw": "error code: 524", "provider_name": "Google"},
            },
            "user_id": "org_x",
        },
    ),
    "err200_string_code": Scenario(
        body={"error": {"code": "server_error", "message": "Provider disconnected unexpectedly"}},
    ),
    "err200_bare_string": Scenario(body={"error": "something went wrong"}),
    "choice_error": Scenario(
        body=completion(
            {"content": "partial"},
            choices=[
                {
                    "index": 0,
                    "finish_reason": "error",
                    "message": {"role": "assistant", "content": "partial"},
                    "error": {
                        "code": 502,
                        "message": "Provider disconnected mid-stream",
                        "metadata": {"error_type": "provider_unavailable"},
                    },
                }
            ],
        ),
    ),
    "null_choices": Scenario(
        body={
            "id": "gen-1",
            "choices": None,
            "created": 1,
            "model": "$served",
            "object": "chat.completion",
            "provider": "Google",
        },
    ),
    "empty_choices": Scenario(body=completion({"content": ""}, choices=[])),
    "missing_choices": Scenario(
        body={"id": "gen-1", "created": 1, "model": "$served", "object": "chat.completion"},
    ),
    "nested_provider": Scenario(
        body={
            "id": None,
            "choices": None,
            "provider": completion({"content": "$text"}, provider="Google"),
        },
    ),
    "nested_provider_cut": Scenario(
        body={"id": None, "choices": None, "provider": {"id": "gen-1", "provider": "Google"}},
    ),
    "empty_content": Scenario(
        body=completion(
            {"content": ""},
            finish=None,
            native=None,
            usage={"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10, "cost": 0},
        ),
    ),
    "whitespace_only": Scenario(padding=2, body=""),
    "truncated_json": Scenario(padding=1, body='{"id":"gen-'),
    "html_200": Scenario(headers={"content-type": "text/html"}, body="<html></html>"),
}
