"""What a stream has said so far, and whether that is an answer.

A stream is complete when every choice has ended with a reason that is no
error, and no event held an error. `[DONE]` proves nothing and is not needed;
a clean end of the connection proves nothing either. So a stream that was cut
is never a short answer.

Nothing leaves before content has come. What a caller has seen cannot be taken
back, so what holds no content is dropped (a role, empty text) or held until
then, and an error before it is one that another target may make good.

The reason of the end and the usage leave together, in one last chunk, once
the stream is known to be complete: an error may still follow the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter._answer import judged, reply_of
from resilient_openrouter._assembly import Message
from resilient_openrouter._fields import choices_of, list_of, text_of, tool_calls_of
from resilient_openrouter.errors import EmptyResponse, StreamTruncated
from resilient_openrouter.evidence import decoded, mapping
from resilient_openrouter.results import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from resilient_openrouter._head import Head
    from resilient_openrouter.errors import OpenRouterError

__all__ = ("Transcript",)

_DONE: Final = "[DONE]"
_MOST_HELD: Final = 64
_MOST_HELD_BYTES: Final = 256 * 1024
_REASONING: Final = frozenset({"reasoning", "reasoning_content", "reasoning_details"})
_ANSWER: Final = frozenset({"content", "tool_calls", "refusal", "audio", "images", "annotations"})


class Transcript:
    """The events of one stream, taken one after the other.

    `is_committed` says that something has left, `is_done` that the server has
    nothing more to say, `has_failed` that an event held an error. With
    `reasoning_commits=False` reasoning is held until an answer begins.
    """

    def __init__(self, head: Head, *, reasoning_commits: bool = True) -> None:
        self.head = head
        self.is_done = False
        self.is_committed = False
        self.malformed = 0
        self._committing = _ANSWER | _REASONING if reasoning_commits else _ANSWER
        self._has_content = False
        self._has_finish = False
        self._held: list[Chunk] = []
        self._held_bytes = 0
        self._messages: dict[int, Message] = {}
        self._body: dict[str, Any] = {}
        self._error: object = None

    @property
    def has_failed(self) -> bool:
        """Whether an event held an error; it outranks everything before it."""
        return self._error is not None

    @property
    def is_complete(self) -> bool:
        """Whether every choice has ended, and nothing failed."""
        if self.has_failed or not self._has_finish:
            return False
        return all(message.finish is not None for message in self._messages.values())

    def take(self, event: str) -> list[Chunk]:
        """Take the data of an event; return the chunks that leave now."""
        body = decoded(event)
        if not isinstance(body, dict):
            if event.strip() == _DONE:
                self.is_done = True
            else:
                self.malformed += 1
            return []
        chunks = list(self._chunks(mapping(cast("object", body))))
        return chunks if self.is_committed else self._released(chunks, len(event))

    def last(self) -> Chunk:
        """Return the last chunk of a stream that is complete: how it ended and what it cost."""
        body = self._whole()
        return Chunk(reply=reply_of(self.head, body, malformed_events=self.malformed), raw=body)

    def failure(self, *, is_inside: bool = False) -> OpenRouterError | None:
        """Return what is wrong with a stream that ends here, `None` if it is an answer.

        `is_inside` says that it ends in the middle of an event.
        """
        if self.has_failed:
            return self.head.refusal(self._body, error=self._error, **self._so_far())
        if self.is_complete:
            kind, _ = judged(mapping(choices_of(self._whole())[0]))
            return None if kind is None else kind(**self.facts())
        if self.is_done and not self._has_content:
            return EmptyResponse(**self.facts())
        where = "in the middle of an event" if is_inside else "before the answer was complete"
        return self.truncated(where)

    def truncated(self, where: str) -> StreamTruncated:
        """Return the error of a stream that ended where it should not."""
        lost = f"; events that are no JSON: {self.malformed}" if self.malformed else ""
        return StreamTruncated(f"the stream ended {where}{lost}", **self.facts())

    def facts(self) -> dict[str, Any]:
        """Return what the stream tells about any error that ends it."""
        return self.head.facts(self._body, self._body) | self._so_far()

    def _so_far(self) -> dict[str, Any]:
        first = self._messages.get(0)
        spent = self.head.spent(self._body)
        if self._has_content:
            # Whatever the fault, a provider has worked.
            spent = {"billed": "unknown"} | spent
        return {
            "in_stream": True,
            "committed": self.is_committed,
            "partial": None if first is None else first.text or None,
            "usage": mapping(self._body.get("usage")) or None,
            **spent,
        }

    def _chunks(self, body: Mapping[str, object]) -> Iterator[Chunk]:
        """Yield what an event adds; note how choices end, errors and usage."""
        choices = [mapping(choice) for choice in choices_of(body)]
        self._body.update(body)
        self._error = self._error or body.get("error") or _error_of(choices)
        if self.has_failed:
            return  # of what comes now only the usage counts
        for choice in choices:
            chunk = self._added(choice, body)
            if chunk is not None:
                yield chunk
        if not choices and not body.get("usage"):
            yield Chunk(raw=body)  # nobody knows what it is: whoever asked for it does

    def _added(self, choice: Mapping[str, object], body: Mapping[str, object]) -> Chunk | None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        message = self._messages.get(index)
        if message is None:
            message = self._messages[index] = Message()
        delta = mapping(choice.get("delta"))
        message.add(delta)
        if choice.get("finish_reason") and message.finish is None:
            message.finish = {name: each for name, each in choice.items() if name != "delta"}
            self._has_finish = True
        says = _says(delta)
        if not says:
            return None
        self._has_content = self._has_content or not self._committing.isdisjoint(says)
        reasoning = delta.get("reasoning") or delta.get("reasoning_content")
        return Chunk(
            content=text_of(delta.get("content")),
            reasoning=reasoning if isinstance(reasoning, str) else "",
            tool_calls=tool_calls_of(delta.get("tool_calls")),
            index=index,
            raw=body,
        )

    def _released(self, chunks: list[Chunk], size: int) -> list[Chunk]:
        """Hold chunks back until content has come, or until there are too many of them."""
        self._held += chunks
        self._held_bytes += size if chunks else 0
        if not (
            self._has_content or len(self._held) > _MOST_HELD or self._held_bytes > _MOST_HELD_BYTES
        ):
            return []
        self.is_committed = True
        released, self._held = self._held, []
        return released

    def _whole(self) -> dict[str, Any]:
        """Return the body that the answer would have been without a stream."""
        choices = [self._messages[index].choice(index) for index in sorted(self._messages)]
        return {**self._body, "object": "chat.completion", "choices": choices}


def _error_of(choices: list[Mapping[str, object]]) -> object:
    for choice in choices:
        if choice.get("error") or choice.get("finish_reason") == "error":
            return choice.get("error") or {"code": None}
    return None


def _says(delta: Mapping[str, object]) -> list[str]:
    """Return the names of the parts of a delta that hold anything."""
    return [
        name
        for name, value in delta.items()
        if value
        and name != "role"
        and (name != "tool_calls" or any(map(_is_fragment, list_of(value))))
    ]


def _is_fragment(call: object) -> bool:
    function = mapping(mapping(call).get("function"))
    return bool(function.get("name") or function.get("arguments"))
