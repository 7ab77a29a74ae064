"""Streams: those that are answers, in every form the format allows, and those that fail.

A completion becomes a stream by `streamed`, in the shape of recorded ones:
comments first, the reason of the end twice, the usage with the second one.
"""

from __future__ import annotations

from typing import Any, Final

from resilient_openrouter.emulator.scenarios.shape import Event, Gap, Part, Scenario, Wire, Words
from resilient_openrouter.emulator.scenarios.successes import NO_USAGE, USAGE, completion

__all__ = ("COMMENT", "delta", "DONE", "ended", "streamed", "STREAMS")

COMMENT: Final = ": OPENROUTER PROCESSING\n\n"
DONE: Final = "data: [DONE]\n\n"
_ROLE: Final = {"role": "assistant", "content": ""}
_BASE: Final = {
    "id": "$id",
    "object": "chat.completion.chunk",
    "created": 1777319808,
    "model": "$served",
    "provider": "$provider",
}


def delta(
    said: dict[str, Any],
    finish: str | None = None,
    native: str | None = None,
    *,
    error: object = None,
    **top: Any,
) -> Event:
    """Return an event with one choice; `top` are further fields of the event itself."""
    choice = {
        "index": 0,
        "delta": said,
        "finish_reason": finish,
        "native_finish_reason": native,
    }
    failed = {} if error is None else {"error": error}
    return Event(_BASE | failed | {"choices": [choice]} | top)


def ended(
    finish: str | None = "stop",
    native: str | None = "completed",
    *,
    usage: object = USAGE,
    **top: Any,
) -> tuple[Part, ...]:
    """Return how a stream ends well."""
    said = {"content": ""}
    return (
        delta(said, finish, native),
        delta({"role": "assistant"} | said, finish, native, usage=usage, **top),
        DONE,
    )


def streamed(body: dict[str, Any]) -> tuple[Part, ...]:
    """Return the stream that a whole answer would have come as."""
    choice = body["choices"][0]
    message = choice["message"]
    base = {name: body[name] for name in _BASE if name in body} | {"object": _BASE["object"]}
    finish, native = choice.get("finish_reason"), choice.get("native_finish_reason")
    top = {name: body[name] for name in ("openrouter_metadata",) if name in body}
    end: tuple[Part, ...]
    if choice.get("error"):
        end = (delta({"content": ""}, finish, finish, error=choice["error"]),)
    else:
        end = ended(finish, native, usage=body.get("usage"), **top)
    parts = (COMMENT, COMMENT, *_said(message), *end)
    return tuple(Event(each.body | base) if isinstance(each, Event) else each for each in parts)


def _said(message: dict[str, Any]) -> tuple[Part, ...]:
    """Return the events that say what a message says."""
    parts: list[Part] = []
    if message.get("reasoning"):
        names = ("reasoning", "reasoning_details")
        thought = {name: message[name] for name in names if name in message}
        parts.append(delta(_ROLE | thought))
    for call in message.get("tool_calls") or ():
        parts += _called(call)
    if message.get("content"):
        parts.append(Words(message["content"]))
    elif not parts:
        parts.append(delta(_ROLE))
    if message.get("refusal"):
        parts.append(delta({"content": "", "refusal": message["refusal"]}))
    return tuple(parts)


def _called(call: dict[str, Any]) -> list[Part]:
    """Return an opener, empty fragments and the arguments in pieces, as they are recorded."""
    index, function = call.get("index", 0), call["function"]
    arguments = function["arguments"]
    opener = call | {"function": function | {"arguments": arguments and ""}}
    pieces = ["", ""] + [arguments[at : at + 6] for at in range(0, len(arguments or ""), 6)]
    return [
        delta({"content": None, "role": "assistant", "tool_calls": [opener]}),
        *(
            delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in (pieces if arguments else ())
        ),
    ]


def _stream(*parts: Part, **fields: Any) -> Scenario:
    return Scenario(parts=parts, **fields)


def _tool(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    opened = {"id": f"call_{index}", "type": "function"} if name else {}
    called = {"name": name} if name else {}
    return {"index": index} | opened | {"function": called | {"arguments": arguments}}


def _error(code: object, message: str, **metadata: Any) -> dict[str, Any]:
    return {"code": code, "message": message} | ({"metadata": metadata} if metadata else {})


_HOLA: Final[tuple[Part, ...]] = (
    COMMENT,
    COMMENT,
    delta({"role": "assistant", "content": "Ho"}),
    delta({"content": "la"}),
    *ended(),
)
_HO: Final[tuple[Part, ...]] = (COMMENT, delta({"role": "assistant", "content": "ho"}))
_DIED: Final = _error(502, "Provider disconnected", error_type="provider_unavailable")
_NOTHING: Final = {"content": ""}
_TOOLS: Final[tuple[Part, ...]] = tuple(
    delta({"content": None, "role": "assistant", "tool_calls": list(calls)})
    for calls in (
        (_tool(0, "", "weather"),),
        (_tool(0, ""),),
        (_tool(0, ""),),
        (_tool(1, "", "time"),),
        (_tool(0, '{"lo'),),
        (_tool(1, '{"zone"'),),
        (_tool(0, 'cation": "F'), _tool(1, ': "CET"}')),
        (_tool(0, 'lorence"}'),),
    )
)

STREAMS: Final[dict[str, Scenario]] = {
    "ok_stream": _stream(*_HOLA),
    "ok_stream_empty_choices_usage": _stream(
        *_HOLA[:-2], Event(_BASE | {"choices": [], "usage": USAGE}), DONE
    ),
    "ok_stream_tools": _stream(COMMENT, *_TOOLS, *ended("tool_calls", "tool_use")),
    "ok_stream_roleonly_slow": _stream(
        delta(_ROLE),
        *((COMMENT, Gap()) * 6),
        delta(
            {
                "content": "",
                "reasoning_details": [
                    {
                        "type": "reasoning.encrypted",
                        "data": "c2VjcmV0",
                        "format": "xai-responses-v1",
                        "index": 0,
                    }
                ],
            }
        ),
        Words(),
        *ended(),
    ),
    "ok_stream_bytes": _stream(*_HOLA, wire=Wire(cut=1)),
    "ok_stream_crlf": _stream(*_HOLA, wire=Wire(newline="\r\n", cut=1)),
    "ok_stream_cr": _stream(*_HOLA, wire=Wire(newline="\r", cut=7)),
    "ok_stream_folded": _stream(*_HOLA, wire=Wire(is_folded=True)),
    "ok_stream_fields": _stream(
        *(part if part != COMMENT else ":OPENROUTER PROCESSING\n\n" for part in _HOLA),
        wire=Wire(before="\ufeff", around="event: message\nid: 1\nretry: 10\n", colon=":"),
    ),
    "ok_stream_no_done": _stream(*_HOLA[:-1]),
    "ok_stream_debug": _stream(
        Event(_BASE | {"choices": [], "debug": {"echo_upstream_body": {"model": "x"}}}), *_HOLA
    ),
    "ok_stream_open": _stream(*_HOLA[:-1], ending="silence"),
    "s_err_first": _stream(
        COMMENT,
        COMMENT,
        delta(
            _NOTHING,
            "error",
            error=_error(429, "Rate limit exceeded", error_type="rate_limit_exceeded"),
        ),
    ),
    "s_err_roleonly": _stream(
        delta(_ROLE),
        COMMENT,
        COMMENT,
        delta(_NOTHING, error=_error(502, "provider died"), usage=USAGE),
        DONE,
    ),
    "s_err_mid": _stream(*_HO, delta(_NOTHING, "error", error=_DIED)),
    "s_err_mid_strcode": _stream(
        *_HO,
        delta(
            _NOTHING,
            "error",
            error=_error("server_error", "Provider disconnected unexpectedly"),
        ),
    ),
    "s_err_after_length": _stream(
        *((COMMENT,) * 17),
        delta(
            {
                "content": "",
                "reasoning": "We need",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "We need", "format": None, "index": 0}
                ],
            }
        ),
        delta({"content": "", "reasoning": " to"}, "length", "length"),
        delta({"content": "", "reasoning": None, "reasoning_details": []}, "length", "length"),
        delta(
            _NOTHING,
            error=_error(400, "Token limit reached"),
            usage={
                "prompt_tokens": 43,
                "completion_tokens": 10,
                "total_tokens": 53,
                "cost": 0,
                "is_byok": False,
                "completion_tokens_details": {"reasoning_tokens": 11},
            },
        ),
        DONE,
    ),
    "s_err_choice": _stream(
        *_HO,
        Event(
            _BASE
            | {
                "choices": [
                    {"index": 0, "delta": _NOTHING, "finish_reason": "error", "error": _DIED}
                ]
            }
        ),
    ),
    "s_err_emptychoices": _stream(*_HO, Event({"error": _DIED, "choices": []})),
    "s_err_open": _stream(*_HO, delta(_NOTHING, "error", error=_DIED), ending="silence"),
    "s_trunc": _stream(COMMENT, Words(count="$tokens")),
    "s_trunc_early": _stream(COMMENT, delta(_ROLE)),
    "s_trunc_midline": _stream(*_HO, 'data: {"id":"gen-1","choices":[{"index":0,"delta":{"co'),
    "s_trunc_tool": _stream(COMMENT, *_TOOLS[:5]),
    "s_trunc_done": _stream(*_HO, DONE),
    "s_close": _stream(COMMENT, Words(count="$tokens"), ending="close"),
    "s_reset": _stream(COMMENT, Words(count="$tokens"), ending="reset"),
    "s_reset_early": _stream(COMMENT, delta(_ROLE), ending="reset"),
    "s_done_only": _stream(COMMENT, DONE),
    "s_malformed": _stream(COMMENT, Words(count=9), 'data: {"id":"gen-1","choi\n\n', *ended()),
    "s_malformed_trunc": _stream(COMMENT, Words(count=9), "data: {\n\n"),
    "s_empty": _stream(COMMENT, delta(_ROLE), *ended(usage=NO_USAGE)),
    "s_html": Scenario(
        headers={"content-type": "text/event-stream"}, body="<html></html>", is_plain=True
    ),
    "s_json_body": Scenario(padding=2, body=completion({"content": "$text"}), is_plain=True),
    "stall_after_tokens": _stream(COMMENT, Words(count="$tokens"), ending="silence"),
    "stall_after_tokens_comments": _stream(COMMENT, Words(count="$tokens"), ending="stall"),
    "slow_ttft": _stream(Gap("$after"), *_HOLA),
    "slow_ttft_comments": _stream(*((COMMENT, Gap()) * 10), *_HOLA),
    "disconnect_probe": _stream(COMMENT, Words(count=1e9, gap="$every")),
}
