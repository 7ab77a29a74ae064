"""A question-answering endpoint that answers on a bad day as well.

    POST /query {"question": "..."}
    -> {"answer": "...", "model": "openai/gpt-4o", "degraded": false,
        "context": ["..."], "latency_ms": 812}

Four levels, each for when the one before it has failed: the best model, the
next one, a small model in this very process, a reply that is written down. A
search that fails costs the answer its context, not the answer. A caller who
would rather have no answer than the last one says `"strict": true` and gets a
503 with `Retry-After` when every model has failed.

Run it: OPENROUTER_API_KEY=... uvicorn service:from_environment --factory
"""

from __future__ import annotations

import math
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from resilient import AllTargetsFailed, circuit_breaker, fallback, retry, stack, timeout, value
from resilient_openrouter import OpenRouter, reply

HERE = Path(__file__).parent
Search = Callable[[str], Awaitable[list[str]]]
Small = Callable[[list[dict[str, str]]], Awaitable[str]]


@dataclass(frozen=True)
class Config:
    """What is written in `config.toml`."""

    models: tuple[str, ...]
    default_reply: str
    primary_fast: float
    fallback_patient: float
    search_timeout: float


def load_config(path: Path) -> Config:
    """Read it; what is missing is a `KeyError` at start, not at the first question."""
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    llm = read["llm"]
    return Config(
        models=tuple(llm["model_preference"]),
        default_reply=llm["default_reply"],
        primary_fast=llm["timeouts"]["primary_fast"],
        fallback_patient=llm["timeouts"]["fallback_patient"],
        search_timeout=read["search"]["timeout"],
    )


class Query(BaseModel):
    """A question; `strict` asks for no answer rather than the last resort."""

    question: str = Field(min_length=1)
    strict: bool = False


class Answer(BaseModel):
    """The answer, who gave it, and what it is worth."""

    answer: str
    model: str | None
    degraded: bool
    context: list[str]
    latency_ms: int


def create_app(openrouter: OpenRouter, search: Search, small: Small, config: Config) -> FastAPI:
    """Put the service together from what it depends on."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with openrouter:
            yield

    guarded_search = stack(
        fallback(degrade=value([])),  # no context is better than no answer
        retry(attempts=2),
        circuit_breaker("search"),
        timeout(config.search_timeout),
        name="search",
    )(search)

    primary, *others = config.models
    models = [
        openrouter.target(primary, timeout=config.primary_fast, attempts=2),
        *(openrouter.target(name, timeout=config.fallback_patient, attempts=1) for name in others),
    ]
    strict = openrouter.manager(*models, deadline=90, name="strict")
    tolerant = openrouter.manager(
        *models, small, deadline=90, degrade=reply(config.default_reply), name="chat"
    )

    app = FastAPI(lifespan=lifespan)

    @app.post("/query")
    async def query(asked: Query) -> Answer:
        began = time.monotonic()
        context = await guarded_search(asked.question)
        manager = strict if asked.strict else tolerant
        outcome = await manager.run(_messages(asked.question, context))
        return Answer(
            answer=outcome.value.content or "",
            model=outcome.target,
            degraded=outcome.degraded,
            context=context,
            latency_ms=round((time.monotonic() - began) * 1000),
        )

    @app.exception_handler(AllTargetsFailed)
    async def all_failed(_: Request, error: AllTargetsFailed) -> JSONResponse:
        # When the first of them may answer again; a second if nobody knows.
        seconds = max(1, math.ceil(error.retry_after or 1))
        return JSONResponse(
            {"detail": "no model could answer"}, 503, headers={"Retry-After": str(seconds)}
        )

    return app


def _messages(question: str, context: list[str]) -> list[dict[str, str]]:
    told = "\n".join(context) or "nothing was found"
    return [
        {"role": "system", "content": f"Answer from this context:\n{told}"},
        {"role": "user", "content": question},
    ]


async def _no_search(question: str) -> list[str]:
    raise NotImplementedError("put your vector store here")


async def _no_small_model(messages: list[dict[str, str]]) -> str:
    raise NotImplementedError("put your own model here")


def from_environment() -> FastAPI:
    """Make the service that a server runs; the key is read from the environment."""
    return create_app(OpenRouter(), _no_search, _no_small_model, load_config(HERE / "config.toml"))
