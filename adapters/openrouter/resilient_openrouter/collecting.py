"""`collect`: the whole answer of a stream, for callers who need no pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilient import Restarted
from resilient_openrouter.errors import EmptyResponse
from resilient_openrouter.results import Chunk, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

__all__ = ("as_chunk", "collect")


async def collect(stream: AsyncIterable[Any], /, *, model: str | None = None) -> Reply:
    """Read a stream to its end and return what it adds up to.

    It takes the chunks of `OpenRouter.stream`, of `ModelManager.stream` and
    plain texts. Behind a `Restarted` everything begins anew: nobody has seen
    what came before. What the stream raises leaves as it is; one that gives
    nothing is `EmptyResponse`. `model` is the name of who gives plain texts.

    >>> import anyio
    >>> async def words():
    ...     yield "forty"
    ...     yield "two"
    >>> anyio.run(collect, words()).content
    'fortytwo'
    """
    texts: list[str] = []
    reply: Reply | None = None
    try:
        async for item in stream:
            if isinstance(item, Restarted):
                texts.clear()
                reply = None
                continue
            chunk = as_chunk(item)
            if not isinstance(chunk, Chunk):
                raise TypeError(f"collect takes chunks and texts, not {type(item).__qualname__}")
            texts.append(chunk.content)
            reply = chunk.reply or reply
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()
    if reply is not None:
        return reply
    if not texts:
        raise EmptyResponse("the stream gave nothing", model=model)
    return Reply(content="".join(texts), model=model, cost=0.0, billed="no")


def as_chunk(item: Any) -> Any:  # noqa: ANN401 - what a function of the user's gives
    """Return a text or a whole reply as a chunk, and anything else as it is.

    >>> as_chunk("forty").content
    'forty'
    """
    if isinstance(item, str):
        return Chunk(content=item)
    if not isinstance(item, Reply):
        return item
    return Chunk(
        content=item.content,
        reasoning=item.reasoning or "",
        tool_calls=item.tool_calls,
        reply=item,
        raw=item.raw,
    )
