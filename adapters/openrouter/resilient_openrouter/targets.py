"""A model as a target of a fallback chain: what it is called with, and what it depends on.

The scopes of a target name what it shares with others, so that one failure
condemns all that share the broken thing: the host, the credential, the
account, the model without its routing suffix, and the free quota of the
account for models that cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from resilient.telemetry import SpanDescription, annotate
from resilient_openrouter.errors import OpenRouterError
from resilient_openrouter.evidence import clean, mapping
from resilient_openrouter.results import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from resilient_openrouter._request import Messages

__all__ = ("ModelTarget", "scopes_of", "TextTarget")


class _Ask(Protocol):
    async def __call__(
        self, model: str, messages: Messages, fields: Mapping[str, Any], /, *, target: str
    ) -> Reply: ...


class ModelTarget:
    """What a target calls: one model with its own parameters.

    The fields of a call win over the parameters of the target. It describes
    its span as a GenAI client call, and never a word of what was said.
    """

    __slots__ = ("_ask", "_params", "_server", "model", "name")

    def __init__(
        self,
        ask: _Ask,
        model: str,
        name: str,
        params: Mapping[str, Any],
        server: tuple[str, int],
    ) -> None:
        self._ask = ask
        self.model = model
        self.name = name
        self._params = dict(params)
        self._server = server

    async def __call__(self, messages: Messages, /, **fields: Any) -> Reply:
        """Ask the model once."""
        try:
            reply = await self._ask(self.model, messages, self._params | fields, target=self.name)
        except OpenRouterError as error:
            annotate(_of_error(error))
            raise
        annotate(_of_reply(reply))
        return reply

    def describe(self) -> SpanDescription:
        """Say what the span of this target is: a client call of a chat."""
        host, port = self._server
        return SpanDescription(
            name=f"chat {self.model}",
            kind="client",
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openrouter",
                "gen_ai.request.model": self.model,
                "server.address": host,
                "server.port": port,
            },
        )

    def __repr__(self) -> str:
        return f"ModelTarget({self.name!r})"


def scopes_of(model: str, *, host: str, credential: str, account: str) -> dict[str, str]:
    """Return what a model depends on.

    >>> scopes_of("meta/llama:free", host="openrouter.ai", credential="KEY", account="acme")["free"]
    'acme:free'
    """
    name, _, suffix = model.partition(":")
    scopes = {"host": host, "credential": credential, "account": account, "model": name}
    return scopes | {"free": f"{account}:free"} if suffix == "free" else scopes


class TextTarget:
    """A plain async function among models: a text that it returns becomes a `Reply`."""

    __slots__ = ("_call", "name")

    def __init__(self, call: Callable[..., Awaitable[object]], name: str) -> None:
        self._call = call
        self.name = name

    async def __call__(self, messages: Messages, /, **fields: Any) -> object:
        """Ask the function once."""
        found = await self._call(messages, **fields)
        if isinstance(found, str):
            return Reply(content=found, model=self.name, cost=0.0, billed="no")
        return found


def _of_reply(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "gen_ai.response.model": reply.model_served,
        "gen_ai.response.id": reply.generation_id,
        "gen_ai.response.finish_reasons": (reply.finish_reason,) if reply.finish_reason else None,
        "gen_ai.usage.input_tokens": None if usage is None else usage.prompt_tokens,
        "gen_ai.usage.output_tokens": None if usage is None else usage.completion_tokens,
        "resilient.openrouter.upstream_provider": reply.provider,
        "resilient.openrouter.cost": reply.cost,
        "resilient.openrouter.cost.resolved": reply.cost is not None,
        **_of_metadata(reply.raw.get("openrouter_metadata")),
    }


def _of_error(error: OpenRouterError) -> dict[str, Any]:
    cost = 0.0 if error.billed == "no" else error.cost
    return {
        "http.response.status_code": error.http_status,
        "gen_ai.response.id": error.generation_id,
        "resilient.openrouter.upstream_provider": error.provider,
        "resilient.openrouter.error.class": type(error).__name__,
        "resilient.openrouter.limit_source": error.limit_source,
        "resilient.openrouter.cost": cost,
        "resilient.openrouter.cost.resolved": cost is not None,
        **_of_metadata(error.openrouter_metadata),
    }


def _of_metadata(metadata: object) -> dict[str, Any]:
    """Return what the router tells about its own choice: names and counts only."""
    found = mapping(metadata)
    attempts = found.get("attempts")
    return {
        "resilient.openrouter.strategy": clean(found.get("strategy")),
        "resilient.openrouter.region": clean(found.get("region")),
        "resilient.openrouter.server_attempts": len(cast("list[object]", attempts))
        if isinstance(attempts, list)
        else None,
    }
