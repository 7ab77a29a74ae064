"""What an adapter says of its own spans, before and after."""

from __future__ import annotations

import dataclasses
import sys

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Target,
    TimedOut,
    retry,
    stack,
    timeout,
    value,
)
from resilient.telemetry import SpanDescription, annotate, names
from resilient.testing import capture_spans, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])

DESCRIPTION = SpanDescription(
    "chat large", attributes={"gen_ai.request.model": "large", "server.port": 443}
)


class Described:
    """An async callable with a description, whose calls end as told."""

    def __init__(self, *ends, describe=lambda: DESCRIPTION):
        self.ends = list(ends)
        self.describe = describe

    async def __call__(self):
        end = self.ends.pop(0)
        annotate({"gen_ai.response.id": f"answer {len(self.ends)}"})
        await anyio.sleep(1)
        if isinstance(end, type):
            raise end
        return end


async def other():
    return "other"


def run(*targets, error=None, backend="asyncio", **options):
    manager = FallbackManager(targets, name="answer", **options)
    if error is None:
        return virtual_time(manager.run, backend=backend)
    with pytest.raises(error):
        virtual_time(manager.run, backend=backend)
    return None


@both
def test_one_attempt_is_folded(backend, spans):
    """Where one attempt is allowed, its span has the description's name, kind and attributes."""
    run(Target("large", Described("yes")), backend=backend)
    assert spans.tree() == ["answer", "  chat large #1"]
    _, attempt = spans
    assert attempt.kind is SpanKind.CLIENT
    assert attempt.attributes["gen_ai.request.model"] == "large"
    assert attempt.attributes["gen_ai.response.id"] == "answer 0"
    assert attempt.attributes[names.NUMBER] == 1


@both
def test_several_attempts_are_below_a_span_of_the_target(backend, spans):
    """Where more are allowed, the target has a span over all its attempts, which stay internal."""
    run(
        Target("large", Described(ConnectionError, "yes"), attempts=2),
        Target("other", other),
        backend=backend,
    )
    assert spans.tree() == [
        "answer",
        "  chat large",
        "    attempt answer #1 ERROR ConnectionError",
        "    attempt answer #2",
    ]
    call, target, first, second = spans
    assert [span.kind.name for span in spans] == ["INTERNAL", "CLIENT", "INTERNAL", "INTERNAL"]
    assert target.start_time == first.start_time
    assert target.end_time == second.end_time
    assert call.end_time == target.end_time
    assert dict(target.attributes) == {
        "gen_ai.request.model": "large",
        "server.port": 443,
        "gen_ai.response.id": "answer 0",
        names.TARGET: "large",
        names.TARGET_INDEX: 0,
    }
    assert "gen_ai.response.id" not in second.attributes


@both
def test_folding_depends_on_configuration_only(backend, spans):
    """A target that may be asked twice has its span also when it answers at once."""
    run(Target("large", Described("yes"), attempts=2), backend=backend)
    assert spans.tree() == ["answer", "  chat large", "    attempt answer #1"]


@both
def test_a_target_that_failed_is_an_error(backend, spans):
    """A target's span is an ERROR if its last attempt failed, whoever answers then."""
    run(
        Target("large", Described(ConnectionError, ValueError), attempts=2),
        Target("other", other),
        backend=backend,
    )
    assert spans.tree() == [
        "answer",
        "  chat large ERROR ValueError",
        "    attempt answer #1 ERROR ConnectionError",
        "    attempt answer #2 ERROR ValueError",
        "  attempt answer #3",
    ]


class Slow:
    """A result that takes its time to close."""

    async def aclose(self):
        await anyio.sleep(60)


@both
@pytest.mark.parametrize(
    ("others", "options", "error"),
    [
        ([other], {}, None),
        ([], {"degrade": value("sorry")}, None),
        ([], {}, TimedOut),
        ([Described()], {}, AllTargetsFailed),
    ],
    ids=["falls back", "degrades", "raises", "ends"],
)
def test_a_target_cut_between_two_attempts_is_an_error(others, options, error, backend, spans):
    """A limit that expires between two attempts on a target is the error of its span."""
    policies = stack(timeout(3), retry(attempts=3, on_result=lambda it: isinstance(it, Slow)))
    targets = [Target("large", Described(Slow()), policies=policies)]
    for number, call in enumerate(others):
        if isinstance(call, Described):
            call.ends[:] = [ValueError]
        targets.append(Target(f"other {number}", call))
    run(*targets, error=error, backend=backend, **options)
    (found, *_) = spans.named("chat large")
    assert (found.status.status_code, found.attributes[names.ERROR_TYPE]) == (
        StatusCode.ERROR,
        "deadline_exceeded",
    )
    assert (found.end_time - found.start_time) / 1e9 == pytest.approx(3)
    assert len(spans.ended) == len(spans)


@both
def test_an_unsampled_target_is_nowhere(backend):
    """A described target of an unsampled call is run, and nothing is recorded of it."""
    with capture_spans(ALWAYS_OFF) as spans:
        run(Target("large", Described(ConnectionError, "yes"), attempts=2), backend=backend)
    assert len(spans) == 0


@both
def test_a_cancelled_target_is_clean(backend, spans):
    """A target whose caller goes away between two attempts ends without a status."""
    manager = FallbackManager(
        [
            Target(
                "large",
                Described(ConnectionError, "yes"),
                policies=stack(retry(attempts=2, backoff=[9])),
            )
        ],
        name="answer",
    )

    async def caller():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.run)
            await anyio.sleep(5)
            tasks.cancel_scope.cancel()

    virtual_time(caller, backend=backend)
    call, target, _ = spans
    assert target.status.status_code is call.status.status_code is StatusCode.UNSET
    assert target.end_time == call.end_time
    assert len(spans.ended) == 3


@both
def test_a_client_s_span_is_below_its_attempt(backend, spans):
    """What an instrumented client makes inside a target is a child of the attempt."""
    tracer = spans.provider.get_tracer("client")

    class Client(Described):
        async def __call__(self):
            with tracer.start_as_current_span("POST"):
                # Also from below a span of the client's own the annotation finds the target's.
                return await super().__call__()

    run(Target("large", Client("yes"), attempts=2), backend=backend)
    assert spans.tree() == ["answer", "  chat large", "    attempt answer #1", "      POST"]
    assert "gen_ai.response.id" in spans.named("chat large")[0].attributes


@both
def test_an_undescribed_target_is_annotated_on_its_attempt(backend, spans):
    """Without a description, attributes go onto the attempt's span; outside of one, nowhere."""

    @retry
    async def ask():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(in_a_child)

    async def in_a_child():
        annotate({"app.rows": 3, "app.names": ("a", "b"), "app.share": 0.5, "app.hit": True})
        annotate({"http.response.status_code": 200})

    async def caller():
        annotate({"app.rows": 1})
        await ask()
        annotate({"app.rows": 2})

    virtual_time(caller, backend=backend)
    call, attempt = spans
    assert "app.rows" not in call.attributes
    assert attempt.attributes["app.rows"] == 3
    assert attempt.attributes["app.names"] == ("a", "b")
    assert attempt.attributes["http.response.status_code"] == 200


@both
def test_a_late_annotation_goes_nowhere(backend, spans):
    """What a task that outlived its attempt learns is dropped, not put on the next attempt."""

    async def caller():
        async with anyio.create_task_group() as tasks:

            @retry(attempts=2, backoff=[10])
            async def ask():
                if not spans.attempts()[1:]:
                    tasks.start_soon(late)
                    raise ConnectionError
                await anyio.sleep(10)

            await ask()

    async def late():
        await anyio.sleep(15)
        annotate({"app.rows": 3})

    virtual_time(caller, backend=backend)
    assert [span for span in spans if "app.rows" in span.attributes] == []


def test_a_wrong_annotation_is_dropped(spans, lines):
    """What a span cannot hold, and names of the library, are dropped with a line for each key."""

    @retry
    async def ask():
        for _ in range(2):
            annotate(
                {
                    "app.none": None,
                    "app.object": object(),
                    "app.list": ["secret"],
                    "app.mixed": ("a", 1),
                    "app.huge": 1 << 63,
                    names.NUMBER: 9,
                    names.ERROR_TYPE: "secret",
                    7: "secret",
                    "app.good": -(1 << 63),
                }
            )

    virtual_time(ask)
    _, attempt = spans
    assert {key for key in attempt.attributes if key.startswith("app.")} == {"app.good"}
    assert attempt.attributes[names.NUMBER] == 1
    assert [line.getMessage() for line in lines()] == [
        f"annotate: {told} is dropped"
        for told in (
            "app.object with a value of type object",
            "app.list with a value of type list",
            "app.mixed with a value of type tuple",
            "app.huge with a value of type int",
            "resilient.attempt.number with a value of type int",
            "error.type with a value of type str",
            "a name of type int with a value of type str",
        )
    ]


@pytest.mark.parametrize("loaded", [True, False])
def test_an_annotation_that_nobody_records_is_free(loaded, lines, monkeypatch):
    """Without spans nothing is looked at, and nothing is said."""
    if not loaded:
        monkeypatch.delitem(sys.modules, "resilient.telemetry._targets")

    @retry
    async def ask():
        annotate({"app.object": object()})
        return trace.get_current_span()

    assert virtual_time(ask) is trace.INVALID_SPAN
    assert lines() == []


def raising():
    raise RuntimeError("secret")


@pytest.mark.parametrize("describe", [raising, lambda: None, str], ids=["raises", "none", "text"])
def test_a_wrong_description_is_none(describe, spans, lines):
    """A target whose `describe()` fails or gives something else is not described, and runs."""
    outcome = run(Target("large", Described("yes", describe=describe)))
    assert outcome.value == "yes"
    assert spans.tree() == ["answer", "  attempt answer #1"]
    (line,) = lines()
    assert line.getMessage().startswith("Described.describe() gave ")
    assert "secret" not in line.getMessage()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": ""}, ValueError),
        ({"name": 3}, TypeError),
        ({"kind": "CLIENT"}, ValueError),
        ({"attributes": {"a": None}}, TypeError),
        ({"attributes": {"a": [1]}}, TypeError),
        ({"attributes": {1: "a"}}, TypeError),
        ({"attributes": {"a": 1 << 64}}, TypeError),
    ],
)
def test_a_description_is_checked_when_it_is_made(options, error):
    """A description that no span could hold raises at once."""
    with pytest.raises(error, match=r"^SpanDescription\("):
        SpanDescription(**{"name": "chat", **options})


def test_a_description_is_a_value():
    """A description is frozen, and keeps its attributes however the caller's dict changes."""
    attributes = {"a": 1}
    made = SpanDescription("chat", attributes=attributes)
    attributes["a"] = 2
    assert made.attributes["a"] == 1
    assert made == SpanDescription("chat", "client", {"a": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"
