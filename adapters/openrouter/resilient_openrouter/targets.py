"""A model as a target of a fallback chain: what it is called with, and what it depends on.

The scopes of a target name what it shares with others, so that one failure
condemns all that share the broken thing: the host, the credential, the
account, the model without its routing suffix, the free quota of the account
for models that cost nothing, and the endpoint where the target pins one.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from resilient.telemetry import SpanDescription, annotate
from resilient_openrouter._attributes import of_error, of_reply
from resilient_openrouter._fields import list_of
from resilient_openrouter.clocks import Clocks
from resilient_openrouter.errors import OpenRouterError
from resilient_openrouter.evidence import mapping

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from resilient import Target
    from resilient_openrouter._request import Messages
    from resilient_openrouter.results import Chunk, Reply

__all__ = ("Asked", "endpoint_of", "ModelStream", "ModelTarget", "scopes_of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which model a target asks, with which parameters, clocks and transport, and where."""

    model: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    clocks: Clocks = field(default_factory=Clocks)
    collects: bool = False
    server: tuple[str, int]
    system: str = "openrouter"

    def description(self, *, stream: bool = False) -> SpanDescription:
        """Say what the span of this target is: a client call of a chat."""
        host, port = self.server
        attributes: dict[str, str | int | bool] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.system,
            "gen_ai.request.model": self.model,
            "server.address": host,
            "server.port": port,
        }
        if stream:
            attributes["gen_ai.request.stream"] = True
        return SpanDescription(name=f"chat {self.model}", kind="client", attributes=attributes)


class _Ask(Protocol):
    async def __call__(
        self, asked: Asked, messages: Messages, fields: Mapping[str, Any], /
    ) -> Reply: ...


class _AskStream(Protocol):
    def __call__(
        self, asked: Asked, messages: Messages, fields: Mapping[str, Any], /
    ) -> AsyncGenerator[Chunk]: ...


class ModelTarget:
    """What a target calls: one model with its own parameters.

    The fields of a call win over the parameters of the target. It describes
    its span as a GenAI client call, and never a word of what was said.
    `twin` is the target that streams the same model.
    """

    __slots__ = ("_ask", "asked", "twin")

    def __init__(self, ask: _Ask, asked: Asked) -> None:
        self._ask = ask
        self.asked = asked
        self.twin: Target[Chunk] | None = None

    async def __call__(self, messages: Messages, /, **fields: Any) -> Reply:
        """Ask the model once."""
        try:
            reply = await self._ask(self.asked, messages, fields)
        except OpenRouterError as error:
            annotate(of_error(error))
            raise
        annotate(of_reply(reply))
        return reply

    def describe(self) -> SpanDescription:
        """Say what the span of this target is."""
        return self.asked.description(stream=self.asked.collects)

    def __repr__(self) -> str:
        return f"ModelTarget({self.asked.name!r})"


class ModelStream:
    """What a target of a stream calls: one model, its answer chunk by chunk."""

    __slots__ = ("_ask", "asked")

    def __init__(self, ask: _AskStream, asked: Asked) -> None:
        self._ask = ask
        self.asked = asked

    async def __call__(self, messages: Messages, /, **fields: Any) -> AsyncGenerator[Chunk]:
        """Ask the model once, and yield what it says as it comes."""
        try:
            async with aclosing(self._ask(self.asked, messages, fields)) as stream:
                async for chunk in stream:
                    if chunk.reply is not None:
                        annotate(of_reply(chunk.reply))
                    yield chunk
        except OpenRouterError as error:
            annotate(of_error(error))
            raise

    def describe(self) -> SpanDescription:
        """Say what the span of this target is."""
        return self.asked.description(stream=True)

    def __repr__(self) -> str:
        return f"ModelStream({self.asked.name!r})"


def endpoint_of(asked: Asked) -> str:
    """Return what a failure at one provider condemns: this target, and others pinned to the same.

    The router picks the provider anew for each request, so what failed at one
    of them says nothing about other targets, unless `provider.only` names it.
    """
    only = list_of(mapping(asked.params.get("provider")).get("only"))
    return f"{only[0]}/{asked.model}" if len(only) == 1 else asked.name


def scopes_of(model: str, *, host: str, credential: str, account: str) -> dict[str, str]:
    """Return what a model depends on.

    >>> scopes_of("meta/llama:free", host="openrouter.ai", credential="KEY", account="acme")["free"]
    'acme:free'
    """
    name, _, suffix = model.partition(":")
    scopes = {"host": host, "credential": credential, "account": account, "model": name}
    return scopes | {"free": f"{account}:free"} if suffix == "free" else scopes
