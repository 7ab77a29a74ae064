"""What a call of a model comes to: a `Reply`, and an outcome that knows what it cost.

A reply is the answer with its circumstances: who gave it, why it ended, what
it cost. `reply("...")` makes the same type from a text, so a last resort
never breaks code that reads `outcome.value.content`. A stream comes in pieces,
each a `Chunk`, and the last of them has the reply that they add up to.

Money has three states: known, known to be nothing, and unknown. A request
that was sent and never answered may have been billed, so it is counted in
`unknown_costs` and never added up as zero.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from resilient import Outcome, value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from resilient.typing import LastResort
    from resilient_openrouter.errors import Billed

__all__ = (
    "Chunk",
    "known_cost",
    "ModelCall",
    "OpenRouterOutcome",
    "Reply",
    "reply",
    "ToolCall",
    "ToolFunction",
    "total_usage",
    "unknown_costs",
    "Usage",
)

T = TypeVar("T")


class ToolFunction(TypedDict, total=False):
    """The function that a model wants to be called; `arguments` is JSON in a string."""

    name: str
    arguments: str | None


class ToolCall(TypedDict, total=False):
    """One tool call of a reply, exactly as the server sent it; in a chunk, a fragment of one."""

    id: str
    type: str
    index: int
    function: ToolFunction


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens of one call; `None` where the server did not count."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of a model.

    `model` is the name that was asked for, `model_served` the dated name that
    answered: they differ on every success and mean no fallback. `content` is
    `""` where the model answered with tool calls only. `cost` is in dollars,
    `None` when nobody knows. `malformed_events` counts the events of a stream
    that were no JSON and left out. `raw` is the whole body; the one of a
    stream is put together from its events.

    >>> Reply(content="Because air scatters blue light more than red.", model="local")
    Reply(model='local', finish_reason=None, characters=46, tool_calls=0, cost=None)
    """

    content: str
    model: str | None = None
    model_served: str | None = None
    provider: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    billed: Billed = "unknown"
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    generation_id: str | None = None
    cached: bool = False
    malformed_events: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def bad_tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls whose arguments are no JSON object; they are delivered as they are.

        `on_result=lambda found: found.bad_tool_calls` makes them a failure.
        """
        return tuple(call for call in self.tool_calls if not _has_arguments(call))

    def __repr__(self) -> str:
        """Leave the answer out: it is the user's, and a `repr` ends in logs."""
        return (
            f"Reply(model={self.model!r}, finish_reason={self.finish_reason!r},"
            f" characters={len(self.content)}, tool_calls={len(self.tool_calls)},"
            f" cost={self.cost!r})"
        )


@dataclass(slots=True, kw_only=True)
class Chunk:
    """A piece of a streamed answer: what it adds to the text, the reasoning, the tool calls.

    `tool_calls` are fragments, told apart by their `index`, and so are the
    choices of an answer that has several. The last chunk of a complete answer
    has its `reply`, with the reason of the end, the usage and the cost; no
    other one does. `raw` is the event as it came.

    >>> Chunk(content="Because ")
    Chunk(characters=8, reasoning=0, tool_calls=0)
    """

    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    index: int = 0
    reply: Reply | None = None
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended; `None` before the last chunk."""
        return None if self.reply is None else self.reply.finish_reason

    @property
    def usage(self) -> Usage | None:
        """The tokens of the whole answer; `None` before the last chunk."""
        return None if self.reply is None else self.reply.usage

    @property
    def cost(self) -> float | None:
        """The cost of the whole answer in dollars; `None` before the last chunk."""
        return None if self.reply is None else self.reply.cost

    def __repr__(self) -> str:
        """Leave the answer out, as a reply does."""
        last = "" if self.reply is None else f", reply={self.reply!r}"
        return (
            f"Chunk(characters={len(self.content)}, reasoning={len(self.reasoning)},"
            f" tool_calls={len(self.tool_calls)}{last})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One call of a model: which, how it ended, how long it took, what it cost.

    `error` is the one line of the error and `says` its sentence, `None` where
    the model answered or something cut the call off. `usage`, `billed` and
    `cost` are there for failed calls as well, as far as anybody told.
    `connected_after`, `headers_after`, `content_after` and `took` are the
    seconds to a connection (`None` where it was there already), to the headers
    of the answer, to its first content, and to its end; `padding` counts the
    keep-alive bytes before the answer (or instead of it). `credential` is the
    label of the key.
    """

    target: str
    model: str
    error: str | None = None
    error_class: str | None = None
    says: str | None = None
    status_code: int | None = None
    scope: str | None = None
    retry_after: float | None = None
    generation_id: str | None = None
    provider: str | None = None
    credential: str | None = None
    connected_after: float | None = None
    headers_after: float | None = None
    content_after: float | None = None
    took: float | None = None
    padding: int = 0
    usage: Usage | None = None
    billed: Billed = "unknown"
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OpenRouterOutcome(Outcome[T]):
    """The outcome of a chain of models, with what it cost.

    `cost` adds up what is known, in dollars, and is `None` when nothing is;
    `unknown_costs` counts the calls that were sent and whose cost nobody
    knows. `calls` holds one record for each call of a model.
    """

    cost: float | None
    unknown_costs: int
    calls: tuple[ModelCall, ...]

    @property
    def usage(self) -> Usage | None:
        """The tokens of all calls together, those of failed ones included, as far as known."""
        return total_usage(self.calls)

    def with_calls(self, calls: Iterable[ModelCall]) -> OpenRouterOutcome[T]:
        """Return the same outcome with other calls, such as those that were reconciled."""
        known = tuple(calls)
        return replace(
            self, calls=known, cost=known_cost(known), unknown_costs=unknown_costs(known)
        )


def known_cost(calls: Sequence[ModelCall]) -> float | None:
    """Add up the costs that are known; `None` when none is.

    Without any call nothing was spent, which is known.

    >>> known_cost([ModelCall(target="a", model="a", cost=0.25), ModelCall(target="b", model="b")])
    0.25
    """
    known = [call.cost for call in calls if call.cost is not None]
    return sum(known) if known or not calls else None


def unknown_costs(calls: Iterable[ModelCall]) -> int:
    """Count the calls whose cost nobody knows.

    >>> unknown_costs([ModelCall(target="a", model="a")])
    1
    """
    return sum(call.cost is None for call in calls)


def total_usage(calls: Iterable[ModelCall]) -> Usage | None:
    """Add up tokens; `None` where nobody counted any.

    >>> total_usage([ModelCall(target="a", model="a", usage=Usage(total_tokens=26))]).total_tokens
    26
    """
    counted = [call.usage for call in calls if call.usage is not None]
    if not counted:
        return None
    return Usage(
        **{
            each.name: _sum(getattr(usage, each.name) for usage in counted)
            for each in fields(Usage)
        }
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def reply(text: str) -> LastResort:
    """Make a last resort of a text: `degrade=reply("No answer right now.")`.

    Each use makes a new `Reply`, with no model and a cost of nothing.
    """
    return value(factory=partial(Reply, content=text, cost=0.0, billed="no"))


def _has_arguments(call: ToolCall) -> bool:
    arguments = call.get("function", {}).get("arguments")
    if not arguments:
        return True  # a function without parameters
    try:
        return isinstance(json.loads(arguments), dict)
    except (TypeError, ValueError, RecursionError):
        return False
