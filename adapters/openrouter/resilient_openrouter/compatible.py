"""`OpenAICompatible`: OpenAI, Azure, vLLM, Ollama, and whatever else speaks as OpenAI does.

A second backend beside OpenRouter, with a host, a key and an account of its
own: where every model of a chain shares one key, one 401 ends them all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from resilient_openrouter._address import checked_url, is_loopback, server_of, where_of
from resilient_openrouter._chat import MAX_BODY, ChatClient
from resilient_openrouter._key import Key
from resilient_openrouter.openai_table import OPENAI_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import httpx

    from resilient_openrouter._plan import Travels
    from resilient_openrouter._request import Messages
    from resilient_openrouter.results import Reply
    from resilient_openrouter.rows import Row
    from resilient_openrouter.targets import Asked

    Cost = Callable[[Reply], float | None] | float

__all__ = ("OpenAICompatible",)


class OpenAICompatible(ChatClient):
    """A server that speaks as OpenAI does; use it in an `async with` block.

    `base_url` usually ends in `/v1`. The key is in the environment variable
    `api_key_env`, read at the first use, or is `api_key`; without both the
    server is asked without one, and only then may it be `http` elsewhere than
    on this machine. `label` is what the backend is called on spans, in scopes
    and circuits (its address, unless given), `account` who pays for the key.

    What a call costs, such a server does not say: `cost` is a function of the
    `Reply` that returns dollars (`None`: unknown), or 0 for a server that
    costs nothing, which is the default on this machine. `headers` go with
    every request. The rest is as in `OpenRouter`; what it raises are the same
    errors.

    >>> OpenAICompatible("http://localhost:11434/v1", label="ollama")
    OpenAICompatible('http://localhost:11434/v1', key=none)
    """

    def __init__(
        self,
        base_url: str,
        api_key_env: str | None = None,
        label: str | None = None,
        *,
        api_key: str | None = None,
        account: str | None = None,
        cost: Cost | None = None,
        headers: Mapping[str, str] | None = None,
        client: httpx.AsyncClient | None = None,
        connect: float = 5.0,
        max_body: int = MAX_BODY,
        table: Iterable[Row] = OPENAI_TABLE,
        transport: Travels = "plain",
        keep_raw: bool = False,
    ) -> None:
        key = _key(api_key_env, api_key)
        base_url = checked_url(base_url, has_key=key.is_wanted)
        server = server_of(base_url)
        # Two of them may be behind one host.
        self._label = label or f"{where_of(server)}{urlsplit(base_url).path}"
        is_free, self._cost = _cost(cost, is_local=is_loopback(server[0]))
        super().__init__(
            key=key,
            base_url=base_url,
            account=account or f"{self._label}/{key.label}",
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                **(headers or {}),
            },
            client=client,
            connect=connect,
            max_body=max_body,
            table=table,
            transport=transport,
            keep_raw=keep_raw,
            system=label or server[0],
            name=self._label,
            has_routing=False,
            is_free=is_free,
        )

    def _scopes(self, model: str) -> dict[str, str]:
        # A model of the same name elsewhere is another one.
        scopes = {"host": where_of(self._server), "model": f"{self._label}/{model}"}
        if not self._key.is_wanted:
            return scopes
        credential = f"{self._label}/{self._key.label}"
        return scopes | {"credential": credential, "account": self._account}

    def _encoded(
        self, asked: Asked, messages: Messages, fields: Mapping[str, Any], *, stream: bool
    ) -> bytes:
        if stream and "stream_options" not in asked.params:  # without it a stream tells no usage
            fields = {"stream_options": {"include_usage": True}} | dict(fields)
        return super()._encoded(asked, messages, fields, stream=stream)

    def _priced(self, reply: Reply) -> Reply:
        if self._is_free:
            return replace(reply, cost=0.0, billed="no")
        cost = None if self._cost is None else self._cost(reply)
        if cost is None:
            return reply
        return replace(reply, cost=cost, billed="yes" if cost > 0 else "no")


def _key(variable: str | None, text: str | None) -> Key:
    if variable is not None and text is not None:
        raise ValueError("api_key_env= and api_key= both say what the key is: give one")
    if variable is not None and (not isinstance(variable, str) or not variable):
        raise TypeError(f"api_key_env must be the name of a variable, not {variable!r}")
    nothing = "none" if variable is None and text is None else None
    return Key(text, nothing, variable)


def _cost(cost: object, *, is_local: bool) -> tuple[bool, Callable[[Reply], float | None] | None]:
    """Return whether nothing costs anything, and else what says how much."""
    if cost is None:
        return is_local, None
    if isinstance(cost, int | float) and not isinstance(cost, bool) and cost == 0:
        return True, None
    if not callable(cost):
        raise TypeError(f"cost must be a function of the reply, or 0, not {cost!r}")
    return False, cast("Callable[[Reply], float | None]", cost)
