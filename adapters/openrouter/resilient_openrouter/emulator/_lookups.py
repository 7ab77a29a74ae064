"""The endpoints beside the one of completions, as far as a client asks for them.

A generation is known only a while after its completion: the first lookups of
each are 404, and those of free models are 404 for ever.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from resilient_openrouter.emulator.catalogue import CREDITS, ENDPOINTS, KEY, MODELS

if TYPE_CHECKING:
    from resilient_openrouter.emulator.journal import Entry, Journal

__all__ = ("Lookups",)

_OPEN: Final = "/models"  # needs no key
_NOT_FOUND: Final = (
    HTTPStatus.NOT_FOUND,
    {"error": {"message": "Resource not found", "code": 404}},
)
_DIED_EARLY: Final = frozenset({"client_closed", "reset_by_us", "closed_by_us"})


class Lookups:
    """Answers to `GET`; `misses` is how often a generation is not known at first.

    `page` is the most models that one answer lists.
    """

    def __init__(self, journal: Journal, prefix: str) -> None:
        self.misses = 2
        self.page = 500
        self._journal = journal
        self._prefix = prefix
        self._asked: dict[str, int] = {}

    def serves(self, path: str) -> bool:
        """Tell whether there is anything at a path."""
        plain = path.partition("?")[0]
        return plain in {"/models", "/key", "/credits", "/generation"} or (
            plain.startswith("/models/") and plain.endswith("/endpoints")
        )

    def needs_key(self, path: str) -> bool:
        """Tell whether a path is for those with a key."""
        return path.partition("?")[0] != _OPEN

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of an answer."""
        plain, _, query = path.partition("?")
        asked = {name: values[-1] for name, values in parse_qs(query).items()}
        if plain == _OPEN:
            return HTTPStatus.OK, self._models(asked)
        if plain == "/key":
            return HTTPStatus.OK, {"data": KEY}
        if plain == "/credits":
            return HTTPStatus.OK, {"data": CREDITS}
        if plain == "/generation":
            return self._generation(asked.get("id", ""))
        name = plain.removeprefix("/models/").removesuffix("/endpoints")
        if name not in {model["id"] for model in MODELS}:
            return _NOT_FOUND
        return HTTPStatus.OK, {"data": {"id": name, "name": name, "endpoints": list(ENDPOINTS)}}

    def _models(self, asked: dict[str, str]) -> dict[str, Any]:
        offset, limit = int(asked.get("offset", 0)), int(asked.get("limit", self.page))
        most = min(limit, self.page)
        body: dict[str, Any] = {
            "data": list(MODELS[offset : offset + most]),
            "total_count": len(MODELS),
        }
        if offset + most < len(MODELS):
            body["links"] = {"next": f"{self._prefix}/models?offset={offset + most}&limit={most}"}
        return body

    def _generation(self, name: str) -> tuple[int, dict[str, Any]]:
        entry = next((each for each in self._journal if each.generation == name), None)
        self._asked[name] = self._asked.get(name, 0) + 1
        if entry is None or entry.model.endswith(":free") or self._asked[name] <= self.misses:
            return (
                HTTPStatus.NOT_FOUND,
                {"error": {"message": f"Generation {name} not found", "code": 404}},
            )
        return HTTPStatus.OK, {"data": _generation_of(entry)}


def _generation_of(entry: Entry) -> dict[str, Any]:
    cost = entry.cost
    took = int(1000 * ((entry.finished or entry.began) - entry.began))
    return {
        "id": entry.generation,
        "model": entry.model,
        "total_cost": cost,
        "usage": cost,
        "upstream_inference_cost": cost,
        "cancelled": entry.ended in _DIED_EARLY,
        "finish_reason": None if entry.ended in _DIED_EARLY else "stop",
        "native_finish_reason": "stop",
        "latency": took,
        "generation_time": took,
        "provider_name": "Infermatic",
        "provider_responses": None,
        "tokens_prompt": 10,
        "tokens_completion": 25,
        "native_tokens_prompt": 10,
        "native_tokens_completion": 25,
        "native_tokens_reasoning": 5,
        "native_tokens_cached": 3,
        "streamed": entry.body.get("stream") is True,
        "is_byok": False,
        "upstream_id": "chatcmpl-1",
        "service_tier": "priority",
    }
