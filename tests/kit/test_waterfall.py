"""The picture of a run: a row for each call, attempt, skip, refusal and change of a breaker."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from resilient import (
    FallbackManager,
    Fault,
    Target,
    circuit_breaker,
    consecutive,
    retry,
    stack,
    timeout,
    value,
)
from resilient.testing import Fail, FailureSchedule, Hang, Log, Ok, simulate, virtual_time


@stack(timeout(30), retry(attempts=4, backoff=[0.1, 0.2, 0.3]), timeout(8))
async def ask(question: str) -> str: ...


async def local(question: str) -> str: ...


def drawn(run, width=20):
    """Return the lines of a picture."""
    return run.waterfall(width).splitlines()


def test_each_attempt_has_a_row():
    """Bars stand where their time is, and each row says what came of it."""
    assert drawn(simulate(ask, "x1 ~ .1")) == [
        "ask          ████████████████████    10.30 s  ok",
        "  attempt 1  ██                       1.00 s  ConnectionError → retry in 0.10 s",
        "  attempt 2    ████████████████       8.00 s  TimedOut after 8 s → retry in 0.20 s",
        "  attempt 3                    ██     1.00 s  ok",
    ]


def test_a_bar_is_never_shorter_than_one_part():
    """What takes no time is one block, also at the end and in a run of no time at all."""
    assert drawn(simulate(ask, ".")) == [
        "ask          █                        0.00 s  ok",
        "  attempt 1  █                        0.00 s  ok",
    ]


def test_a_cancelled_call_says_so():
    """A cancellation is shown as what it is, and not as an error."""
    assert drawn(simulate(ask, "x1 ~", cancel_at=2)) == [
        "ask          ████████████████████     2.00 s  cancelled",
        "  attempt 1  ██████████               1.00 s  ConnectionError → retry in 0.10 s",
        "  attempt 2             █████████     0.90 s  cancelled",
    ]


def test_targets_are_named_and_skips_explained():
    """With several targets rows have their names, and who was not asked says why."""
    manager = FallbackManager(
        [
            Target("gpt", local, scopes={"key": "K"}, timeout=3),
            Target("claude", local, scopes={"key": "K"}),
            Target("local", ask),
        ],
        degrade=value("sorry"),
        name="chat",
    )
    schedule = FailureSchedule(
        [Fail(Fault(retryable=False, scope="key"), after=1)], fallbacks=["", "x"]
    )
    assert drawn(simulate(manager, schedule)) == [
        "chat              ████████████████████     1.10 s  ok (fallback)",
        "  gpt 1           ██████████████████       1.00 s  FaultError → next",
        "  claude skipped                                   its key is condemned",
        "  local 1                           ██     0.10 s  ok",
        "    ask                             ██     0.10 s  ok",
        "      attempt 1                     █      0.00 s  ConnectionError → retry in 0.10 s",
        "      attempt 2                      █     0.00 s  ok",
    ]
    failed = FailureSchedule(then=Fail(ValueError), fallbacks=["x*", "x*"])
    assert drawn(simulate(manager, failed))[0].endswith("degraded")


def test_callers_and_breakers_are_told_apart():
    """Each caller has its rows, and between them stands what the breaker became."""
    guarded = circuit_breaker("b", trip=consecutive(1), open_for=9)(local)
    run = simulate(guarded, FailureSchedule([Fail(OSError)], arrivals=[0, 3, 10]))
    assert drawn(run) == [
        "local (1)      █                        0.00 s  OSError",
        "  attempt 1    █                        0.00 s  OSError",
        '  circuit "b"                                   closed → open for 9 s',
        "local (2)            █                  0.00 s  CircuitOpen",
        '  refused                                       circuit "b" is open; next try in 6 s',
        "local (3)                         █     0.00 s  ok",
        '  circuit "b"                                   open → half_open',
        "  attempt 1                       █     0.00 s  ok",
        '  circuit "b"                                   half_open → closed',
    ]
    assert [change.to_state for change in run.breakers["b"]] == [
        "open",
        "half_open",
        "closed",
    ]


async def loops(call):
    for _ in range(2):
        try:
            return await call()
        except OSError:
            continue
    return None


def test_a_plain_function_is_drawn_by_its_calls():
    """A function that nobody guards has a row for each call that it made."""
    assert drawn(simulate(loops, [Fail(OSError, 3), Ok(after=1)])) == [
        "loops        ████████████████████     4.00 s  ok",
        "  backend 1  ███████████████          3.00 s  OSError",
        "  backend 2                 █████     1.00 s  ok",
    ]


def test_what_a_listener_has_heard_can_be_drawn():
    """A `Log` that listens in production draws the same picture."""
    log = Log()
    virtual_time(stack(retry(attempts=2, backoff=[1]), listeners=[log])(log.scripted("x .1")))
    assert log.waterfall(10).splitlines() == [
        "target       ██████████     2.00 s  ok",
        "  attempt 1  █              0.00 s  ConnectionError → retry in 1.00 s",
        "  attempt 2       █████     1.00 s  ok",
    ]


def test_the_picture_is_a_well_formed_document():
    """The SVG is XML with a row of text and a bar for each row, and names in it are escaped."""
    guarded = stack(retry(attempts=2, backoff=[1]), name='<ask & "tell">')(local)
    run = simulate(guarded, [Fail(ConnectionError, 1), Hang()], cancel_at=3)
    text = run.waterfall_svg()
    root = ET.fromstring(text)  # noqa: S314 - it is our own
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text == f"{run.schedule!r} on asyncio"
    labels = [one.text for one in root.iter(f"{space}text")]
    assert '<ask & "tell">' in labels
    assert "1.00 s  ConnectionError → retry in 1.00 s" in labels
    assert len(list(root.iter(f"{space}rect"))) == 3
    assert text == simulate(guarded, run.schedule).waterfall_svg()


def test_no_name_breaks_a_row_or_the_document():
    """A character that moves a cursor, breaks a line or is not XML is drawn as its escape."""
    name = "\x1b[31mred\nand\x00\ud800\uffff"
    odd = type("Odd\x08\n", (Exception,), {})
    run = simulate(stack(retry(on=odd, attempts=2, backoff=[1]), name=name)(local), [Fail(odd)])
    assert (run.tries, len(run.calls)) == (2, 2)
    said = r"\x1b[31mred\nand\x00\ud800\uffff"
    first, second, third = drawn(run)
    assert first.startswith(f"{said}  ")
    assert second.endswith(r"Odd\x08\n → retry in 1.00 s")
    assert third.endswith("ok")
    root = ET.fromstring(run.waterfall_svg())  # noqa: S314 - it is our own
    assert said in [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
