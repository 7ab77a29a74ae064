"""The decoder of server-sent events: what is an event, however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_openrouter.sse import Decoder, TooLarge

PIECES = [
    b"data: one", b"data:two", b"data:", b"data", b"data:  padded", b": comment", b":comment", b":",
    b"event: x", b"id: 1", b"retry: 10", b"unknown", b"da", b"\n", b"\r", b"\r\n", b"\n\n",
    b"\r\n\r\n", b"\r\r", b"\xef\xbb\xbf", b"\xff", "data: \u20ac".encode(), b"\x00",
]  # fmt: skip
streams = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)


def decoded(*parts, **bounds):
    decoder = Decoder(**bounds)
    return [event for part in parts for event in decoder.feed(part)]


def outcome(parts, **bounds):
    """Return the events, what is known at the end, and the bound that was crossed if one was."""
    decoder = Decoder(**bounds)
    events, error = [], None
    try:
        for part in parts:
            events.extend(decoder.feed(part))
    except TooLarge as found:
        error = str(found)
    return events, error, decoder.comments, None if error else decoder.is_inside


def cut(data, places):
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


def by_the_standard(data):
    """Read a whole stream the slow way, step by step as the standard words it."""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
    events, buffer = [], ""
    for line in lines:
        if not line:
            if buffer:
                events.append(buffer.removesuffix("\n"))
            buffer = ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            if field == "data":
                buffer += value.removeprefix(" ") + "\n"
    return events


@given(streams, st.lists(st.integers(min_value=0), max_size=20))
def test_any_split_gives_the_same_events(data, places):
    """Cut anywhere, or into single bytes, the same stream gives the same events."""
    whole = outcome([data])
    assert outcome(cut(data, places)) == whole
    assert outcome([bytes([byte]) for byte in data]) == whole


@given(streams)
def test_events_are_those_of_the_standard(data):
    """What comes out is what the standard's own steps give."""
    assert decoded(data) == by_the_standard(data)


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_no_bytes_are_an_error(parts):
    """Bytes of any kind give events, or none."""
    assert decoded(*parts) == by_the_standard(b"".join(parts))


@given(
    streams,
    st.lists(st.integers(min_value=0), max_size=20),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 60),
)
def test_any_split_crosses_the_same_bound_at_the_same_place(data, places, line, event, total):
    """With bounds, any split gives the same events and then the same error."""
    bounds = {"max_line": line, "max_event": event, "max_total": total}
    events, error, *_ = outcome([bytes([byte]) for byte in data], **bounds)
    assert outcome(cut(data, places), **bounds)[:2] == (events, error)


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", ["a"]),
        (b"data: a\r\n\r\n", ["a"]),
        (b"data: a\r\r", ["a"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data\n\n", [""]),
        (b"data\ndata\n\n", ["\n"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", ["a"]),
        (b"event: x\n\n", []),
        (b" data: a\n\n", []),
        (b"Data: a\n\n", []),
        (b"data: a\n: comment\ndata: b\n\n", ["a\nb"]),
        (b"data: \xe2\x82\xac\xff\n\n", ["\u20ac\ufffd"]),
        (b"data: a\x85b\x0bc\x1cd\n\n", ["a\ufffdb\x0bc\x1cd"]),
        (b"data: a\n", []),
        (b"data: a", []),
        (b"", []),
    ],
)
def test_what_is_an_event(data, events):
    """Each rule of the standard, one stream at a time."""
    assert decoded(data) == events


def test_comments_are_counted_and_are_no_events():
    """Keep-alives are counted, with a space and without, and give nothing else."""
    decoder = Decoder()
    assert list(decoder.feed(b": OPENROUTER PROCESSING\n\n:x\n\n")) == []
    assert decoder.comments == 2


@pytest.mark.parametrize(
    ("data", "is_inside"),
    [
        (b"", False),
        (b"data: a\n\n", False),
        (b"data: a\n\n: x\n", False),
        (b"data: a\r\n\r", False),
        (b"data: a\n", True),
        (b"data: a", True),
        (b"data: a\n\nd", True),
    ],
)
def test_it_knows_whether_it_is_inside_an_event(data, is_inside):
    """A stream that ends here would cut an event, or would not."""
    decoder = Decoder()
    list(decoder.feed(data))
    assert decoder.is_inside is is_inside


@pytest.mark.parametrize(
    ("bounds", "data", "events", "message"),
    [
        ({"max_line": 8}, b"data: ok\n\ndata: too", ["ok"], "a line is larger than max_line=8"),
        ({"max_line": 8}, b"data: ok\n\n:23456789\n", ["ok"], "a line is larger than max_line=8"),
        (
            {"max_event": 4},
            b"data: abc\n\ndata: a\ndata: b\ndata:\n",
            ["abc"],
            "the data of an event is larger than max_event=4",
        ),
        ({"max_total": 11}, b"data: ok\n\n:2", ["ok"], "the stream is larger than max_total=11"),
    ],
)
def test_what_is_held_is_bounded(bounds, data, events, message):
    """What comes before a bound is crossed is still delivered, and the error names the bound."""
    found, error, *_ = outcome([data], **bounds)
    assert (found, error) == (events, f"{message} bytes")


def test_a_long_line_in_single_bytes_takes_linear_time():
    """A line that comes byte by byte is put together once, when it ends."""
    decoder = Decoder()
    for _ in range(300_000):
        list(decoder.feed(b"x"))
    assert list(decoder.feed(b"\ndata: a\n\n")) == ["a"]


def test_a_stream_that_was_too_large_stays_so():
    """After a bound was crossed nothing more comes out."""
    decoder = Decoder(max_total=4)
    with pytest.raises(TooLarge):
        list(decoder.feed(b"data: a\n\n"))
    with pytest.raises(TooLarge):
        list(decoder.feed(b"\n\ndata: b\n\n"))
