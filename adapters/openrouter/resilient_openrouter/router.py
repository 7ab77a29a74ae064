"""`OpenRouter`: one key, one HTTP client, and all the models behind them.

`chat` is one call without any policy: it sends one request, waits as long as
its caller lets it, and returns a `Reply` or raises what happened. `target`
makes a model something that a chain can ask, and `manager` makes the common
chain. The policies come from `resilient`; nothing here retries by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resilient_openrouter._address import checked_url, server_of, where_of
from resilient_openrouter._backend import MAX_BODY, Backend
from resilient_openrouter._key import OpenRouterKey
from resilient_openrouter.table import TABLE
from resilient_openrouter.targets import scopes_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

    from resilient_openrouter._plan import Travels
    from resilient_openrouter.rows import Row

__all__ = ("OpenRouter",)


class OpenRouter(Backend):
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
    ) -> None:
        key = OpenRouterKey(api_key, label)
        base_url = checked_url(base_url)
        super().__init__(
            key=key,
            base_url=base_url,
            name=where_of(server_of(base_url)),
            provider="openrouter",
            headers={"X-OpenRouter-Metadata": "enabled", **_app(app)},
            client=client,
            connect=connect,
            max_body=max_body,
            table=table,
            transport=transport,
            keep_raw=keep_raw,
        )
        self._account = account or key.label

    def _scopes(self, model: str) -> dict[str, str]:
        return scopes_of(
            model,
            host=self._name,
            credential=self._key.label,
            account=self._account,
        )


def _app(app: str | tuple[str, str] | None) -> dict[str, str]:
    """Return the headers that identify an application."""
    title, referer = (app, None) if app is None or isinstance(app, str) else app
    headers = {"X-OpenRouter-Title": title, "HTTP-Referer": referer}
    return {name: text for name, text in headers.items() if text}
