"""`OpenRouter`: one HTTP client, one key, and the models behind them.

`chat` is one call without any policy: it sends one request, waits as long as
its caller lets it, and returns a `Reply` or raises what happened. `target`
makes a model something that a chain can ask, and `manager` makes the common
chain. The policies come from `resilient`; nothing here retries by itself, but
for `reconcile`, which says so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import anyio

from resilient import TimedOut, current_call, exponential, retry, stack, timeout, transient
from resilient_openrouter._address import checked_url
from resilient_openrouter._chat import MAX_BODY, ChatClient
from resilient_openrouter._fields import list_of
from resilient_openrouter._key import Key
from resilient_openrouter._options import flag
from resilient_openrouter._replay import KEEP, kept
from resilient_openrouter.errors import NotFound, OpenRouterError
from resilient_openrouter.evidence import mapping
from resilient_openrouter.hints import number
from resilient_openrouter.lookups import Account, EndpointInfo, Generation, KeyInfo, ModelInfo
from resilient_openrouter.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import httpx

    from resilient_openrouter._plan import Travels
    from resilient_openrouter._request import Messages
    from resilient_openrouter.results import ModelCall
    from resilient_openrouter.rows import Row
    from resilient_openrouter.targets import Asked

__all__ = ("OpenRouter",)


class OpenRouter(ChatClient):
    """OpenRouter as a backend; use it in an `async with` block.

    The key is `api_key`, or the environment's `OPENROUTER_API_KEY` at the
    first use. `label` names the key and `account` whoever pays for it: targets
    with the same label (the same account) are skipped together when the key
    (the account) is what failed. `app` identifies your application to the
    router: a title, or a pair of title and address. `client` is an
    `httpx.AsyncClient` to use instead of one of our own; it is never closed
    here. `connect` limits the seconds for a connection, `max_body` the size of
    an answer in bytes. `table` is what the answers are classified by.
    `transport="stream"` lets whole answers travel as streams and collects
    them: a call that is given up then stops the bill with most providers.
    With `keep_raw=True` errors keep what the server sent, prompts included.
    With `replay_cache=True` OpenRouter keeps whole answers for five minutes,
    and another attempt of the same call gets the one that was lost on its way,
    for nothing; the id of the call goes along in `metadata`.

    >>> OpenRouter("sk-or-v1-secret", label="team key")
    OpenRouter('https://openrouter.ai/api/v1', key=team key)
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        client: httpx.AsyncClient | None = None,
        base_url: str = "https://openrouter.ai/api/v1",
        app: str | tuple[str, str] | None = None,
        label: str | None = None,
        account: str | None = None,
        connect: float = 5.0,
        max_body: int = MAX_BODY,
        table: Iterable[Row] = TABLE,
        transport: Travels = "plain",
        keep_raw: bool = False,
        replay_cache: bool = False,
    ) -> None:
        self._replays = flag(replay_cache, "replay_cache")
        super().__init__(
            key=Key(api_key, label),
            base_url=checked_url(base_url),
            account=account,
            headers=_headers(app),
            client=client,
            connect=connect,
            max_body=max_body,
            table=table,
            transport=transport,
            keep_raw=keep_raw,
            system="openrouter",
        )
        self._catalogue: dict[str, ModelInfo] = {}

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the catalogue: what each model is called, takes, costs and can do.

        It is kept: from then on `max_cost` knows prices, and what a model
        cannot do (tools, a schema, more context than another) is not asked of
        it.
        """
        found: list[ModelInfo] = []
        path: str | None = "/models?limit=1000"
        while path is not None:
            body = await self._looked_up(path)
            found += [ModelInfo.of(mapping(entry)) for entry in list_of(body.get("data"))]
            path = self._next_page(body, len(found))
        names = {model.canonical_slug: model for model in found if model.canonical_slug}
        self._catalogue = names | {model.id: model for model in found}
        return tuple(found)

    def _encoded(
        self, asked: Asked, messages: Messages, fields: Mapping[str, Any], *, stream: bool
    ) -> bytes:
        if self._replays:
            fields = kept({**asked.params, **fields})
        return super()._encoded(asked, messages, fields, stream=stream)

    def _headers_of(self, body: bytes | None) -> Mapping[str, str]:
        asks = self._replays and body is not None and current_call() is not None
        return self._headers | KEEP if asks else self._headers

    def _known(self, model: str) -> ModelInfo | None:
        return self._catalogue.get(model) or self._catalogue.get(model.partition(":")[0])

    async def endpoints(self, model: str, /) -> tuple[EndpointInfo, ...]:
        """Return how the providers of a model have been doing; `NotFound` where it has none."""
        body = await self._looked_up(f"/models/{quote(model)}/endpoints")
        entries = list_of(mapping(body.get("data")).get("endpoints"))
        return tuple(EndpointInfo.of(mapping(entry)) for entry in entries)

    async def key(self) -> KeyInfo:
        """Return what the key may still spend."""
        return KeyInfo.of(mapping((await self._looked_up("/key")).get("data")))

    async def account(self) -> Account:
        """Return the balance of the account; a management key is needed for it."""
        return Account.of(mapping((await self._looked_up("/credits")).get("data")))

    async def generation(self, generation_id: str, /) -> Generation:
        """Return what became of one completion and what it cost.

        It is `NotFound` for at least half a second after the completion, and
        longer after a stream that was given up.
        """
        body = await self._looked_up(f"/generation?id={quote(generation_id, safe='')}")
        return Generation.of(mapping(body.get("data")))

    async def reconcile(self, calls: Iterable[ModelCall], /) -> tuple[ModelCall, ...]:
        """Ask what the calls cost of which nobody told, and return all calls as they are then.

        Calls made with this client's key are looked up by their generation,
        again after 0.5 s, 1 s, 2 s and so on, at most 10 s apart and for at
        most 60 s. What is not known by then stays unknown, and is never
        counted as nothing. `outcome.with_calls(...)` adds up anew.
        """
        self._key.text()
        found = list(calls)

        async def settle(place: int, call: ModelCall, name: str) -> None:
            with suppress(OpenRouterError, TimedOut):
                found[place] = _settled(call, await _PATIENCE.call(self.generation, name))

        async with anyio.create_task_group() as group:
            for place, call in enumerate(found):
                mine = call.credential == self._key.label
                if call.cost is None and call.generation_id is not None and mine:
                    group.start_soon(settle, place, call, call.generation_id)
        return tuple(found)

    def _next_page(self, body: Mapping[str, object], count: int) -> str | None:
        """Return the path of the next page, which never leads to another server."""
        link = mapping(body.get("links")).get("next")
        base = urlsplit(self._base_url).path
        if not isinstance(link, str) or not link.startswith(f"{base}/models?"):
            return None
        total = number(body.get("total_count"))
        is_new = bool(list_of(body.get("data"))) and (total is None or count < total)
        return link.removeprefix(base) if is_new else None


_PATIENCE: Final = stack(
    timeout(60),
    retry(
        attempts=None,
        max_elapsed=60,
        backoff=exponential(base=0.5, factor=2, cap=10, jitter="none"),
        on=(NotFound, transient),
    ),
    name="reconcile",
)


def _settled(call: ModelCall, generation: Generation) -> ModelCall:
    """Return a call with what its generation tells."""
    if generation.cost is None:
        return call
    return replace(
        call,
        cost=generation.cost,
        billed="yes" if generation.cost > 0 else "no",
        usage=call.usage or generation.usage,
        provider=call.provider or generation.provider,
    )


def _headers(app: str | tuple[str, str] | None) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-OpenRouter-Metadata": "enabled",
    }
    title, referer = (app, None) if app is None or isinstance(app, str) else app
    if title:
        headers["X-OpenRouter-Title"] = title
    if referer:
        headers["HTTP-Referer"] = referer
    return headers
