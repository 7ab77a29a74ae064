"""What is known of an answer before its body is read, and what any error of it can say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from resilient_openrouter._fields import spent
from resilient_openrouter.classify import error_from
from resilient_openrouter.evidence import clean, mapping, read_evidence, request_id
from resilient_openrouter.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resilient_openrouter.errors import OpenRouterError
    from resilient_openrouter.rows import Row

__all__ = ("Head",)

_PAGE_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and headers of an answer, and what is needed to judge the rest.

    Header names are in lower case. `secrets` are texts that no message may
    repeat; with `keep_raw` the body stays on the error.
    """

    status: int
    headers: Mapping[str, str]
    model: str
    table: tuple[Row, ...] = TABLE
    secrets: tuple[str, ...] = field(default=(), repr=False)
    keep_raw: bool = False

    @property
    def is_cached(self) -> bool:
        """Whether the answer was served from a cache, which costs nothing."""
        return self.headers.get("x-openrouter-cache-status", "").upper() == "HIT"

    def refusal(
        self,
        payload: object,
        *,
        error: object = None,
        page: bytes = b"",
        **facts: Any,
    ) -> OpenRouterError:
        """Return the error that a body holds, or a page that is no JSON."""
        text = page[:_PAGE_LIMIT].decode("utf-8", "replace")
        evidence = read_evidence(self.status, self.headers, payload, error=error, text=text)
        known = {
            "model": self.model,
            "generation_id": self.generation(mapping(payload)),
            "raw": self.raw(page if payload is None else payload),
        }
        return error_from(evidence, table=self.table, secrets=self.secrets, **(known | facts))

    def facts(self, body: Mapping[str, object], raw: object = None) -> dict[str, Any]:
        """Return what an answer tells about an error of our own finding."""
        return {
            "http_status": self.status,
            "model": self.model,
            "provider": clean(body.get("provider")),
            "generation_id": self.generation(body),
            "request_id": request_id(self.headers),
            "usage": mapping(body.get("usage")) or None,
            "raw": self.raw(raw),
            **spent(body),
        }

    def spent(self, body: Mapping[str, object]) -> dict[str, Any]:
        """Return cost and `billed` of a reply."""
        return {"cost": 0.0, "billed": "no"} if self.is_cached else spent(body)

    def generation(self, body: Mapping[str, object]) -> str | None:
        """Return the id of the generation; the header has it where the body never comes."""
        return clean(self.headers.get("x-generation-id")) or clean(body.get("id"))

    def raw(self, body: object) -> object:
        """Return what the server sent if it may be kept."""
        return body if self.keep_raw else None
