"""Listeners of the user's own: what they get, what they may do, and what they cannot do."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from resilient import fallback, retry, stack, telemetry
from resilient.events import AttemptEnded, AttemptStarted, CallEnded, Event
from resilient.telemetry import Recent, only
from resilient.testing import virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Note:
    def __init__(self):
        self.events = []

    def on_event(self, event, call, /):
        self.events.append((type(event), call.name))


def failing(*listeners, error=ConnectionError):
    async def ask():
        raise error("no")

    return stack(retry(attempts=2, backoff=[1]), name="ask", listeners=listeners)(ask)


def call(fn, error=ConnectionError, backend="asyncio"):
    with pytest.raises(error):
        virtual_time(fn, backend=backend)


@both
def test_only_hands_on_what_was_asked_for(backend):
    """`only` hands on events of the given types, subclasses included, and no others."""
    some, every = Note(), Note()
    call(failing(only(some, AttemptEnded, CallEnded), only(every, Event)), backend=backend)
    assert some.events == [(AttemptEnded, "ask"), (AttemptEnded, "ask"), (CallEnded, "ask")]
    assert len(every.events) == 8
    assert repr(only(Recent(5), CallEnded)) == "only(Recent(0 of 5 events), CallEnded)"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((Note(),), ValueError),
        ((Note(), "CallEnded"), TypeError),
        ((Note(), ValueError), TypeError),
        ((print, CallEnded), TypeError),
        ((Note, CallEnded), TypeError),
    ],
)
def test_only_refuses_what_makes_no_sense(arguments, error):
    """`only` needs a listener and classes of events."""
    with pytest.raises(error, match=r"^only\("):
        only(*arguments)


def test_recent_keeps_the_last_events():
    """`Recent` keeps so many events of all calls, oldest first, with pipeline and type of error."""
    recent = Recent(3)
    call(failing(recent))
    noted = [(type(one.event).__name__, one.pipeline, one.error_type) for one in recent]
    assert noted == [
        ("RetryStopped", "ask", "ConnectionError"),
        ("AttemptEnded", "ask", "ConnectionError"),
        ("CallEnded", "ask", "ConnectionError"),
    ]
    assert (len(recent), repr(recent)) == (3, "Recent(3 of 3 events)")
    recent.clear()
    assert list(recent) == []


def test_recent_keeps_no_exception():
    """An exception that `Recent` was told of can be collected at once."""

    class Heavy(Exception):
        pass

    recent = Recent()
    errors = []

    async def ask():
        error = Heavy()
        errors.append(weakref.ref(error))
        raise error

    call(stack(retry(attempts=1), listeners=[recent])(ask), Heavy)
    gc.collect()
    assert errors[0]() is None
    assert [one.event.error for one in recent if hasattr(one.event, "error")] == [None] * 3


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (1.5, ValueError), ("9", TypeError)])
def test_recent_needs_a_size(size, error):
    """The size of `Recent` is a whole number of at least 1."""
    with pytest.raises(error, match=r"Recent\(size\)"):
        Recent(size)


@both
def test_a_listener_that_raises_is_logged_once(backend, lines):
    """What a listener raises is logged once for each type and never reaches the call."""

    class Raising:
        def on_event(self, event, call, /):
            raise (KeyError if isinstance(event, AttemptStarted) else ValueError)("sentinel")

    telemetry.install(listeners=[Raising()], logs=False)
    for _ in range(3):
        call(failing(), backend=backend)
    told = [(line.levelno, line.getMessage()) for line in lines()]
    qualname = f"{Raising.__qualname__}"
    assert told == [
        (logging.ERROR, f"listener {qualname} failed with {error}; its errors are dropped")
        for error in ("ValueError", "KeyError")
    ]


@both
def test_a_base_exception_of_a_listener_leaves(backend, spans):
    """A `KeyboardInterrupt` in a listener is not caught."""

    class Interrupting:
        def on_event(self, event, call, /):
            if isinstance(event, AttemptStarted):
                raise KeyboardInterrupt

    call(failing(Interrupting()), KeyboardInterrupt, backend)


def test_a_raising_listener_keeps_no_span_open(spans):
    """Spans are made whatever the other listeners do."""

    class Raising:
        def on_event(self, event, call, /):
            raise RuntimeError

    call(failing(Raising()))
    assert spans.tree() == [
        "ask ERROR ConnectionError",
        "  attempt ask #1 ERROR ConnectionError",
        "  attempt ask #2 ERROR ConnectionError",
    ]
    assert len(spans.ended) == 3


@both
def test_listeners_of_pipeline_and_process_hear_the_same(backend):
    """A listener of the stack and one of the process get the same events of a call."""
    mine, everybody_s = Note(), Note()
    telemetry.install(listeners=[everybody_s])

    async def other():
        return 1

    async def ask():
        raise ConnectionError

    virtual_time(stack(fallback(to=[other]), listeners=[mine])(ask), backend=backend)
    assert mine.events == everybody_s.events
    assert mine.events[-1][0] is CallEnded
