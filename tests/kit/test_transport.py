"""`schedule.transport()`: the user's own function and HTTP client against a server that fails."""

from __future__ import annotations

import math

import httpx
import pytest
from hypothesis import given, settings

from resilient import Fault, TimedOut, retry, stack, timeout
from resilient._runtime.clock import now
from resilient.testing import (
    Bad,
    Cancelled,
    Fail,
    FailureSchedule,
    FaultyBackend,
    Hang,
    HttpReply,
    Interruption,
    Ok,
    Raised,
    Stubborn,
    schedules_for,
    simulate,
    virtual_time,
)
from resilient_openrouter import (
    ConnectFailed,
    ConnectionLost,
    MalformedResponse,
    OpenRouter,
    TooManyRequests,
)

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
BUSY = HttpReply(429, headers={"Retry-After": "7"}, json={"error": {"message": "slow down"}})
COMPLETION = {
    "id": "gen-1",
    "model": "openai/gpt-4o",
    "choices": [{"message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
}


def client_of(schedule, **limits):
    return httpx.AsyncClient(
        transport=schedule.transport(),
        base_url="http://shop",
        timeout=httpx.Timeout(None, **limits),
    )


@retry(attempts=3, backoff=[1, 2])
@timeout(5)
async def price(client: httpx.AsyncClient) -> object:
    response = await client.get("/prices/a")
    response.raise_for_status()
    return response.json()


def played(steps, backend="asyncio", *, what=price, connect=None, read=None, **options):
    """Play steps against a function with a client of its own; all invariants must hold."""
    schedule = FailureSchedule(steps)
    client = client_of(schedule, connect=connect, read=read)
    return simulate(
        what, schedule, args=(client,), target="real", backend=backend, **options
    ).check()


@both
def test_the_function_itself_meets_the_schedule(backend):
    """Step i answers request i of the real function, through the real client."""
    run = played([Fail(ConnectionError, after=1), Ok(BUSY), Ok({"price": 42})], backend)
    assert (run.tries, len(run.calls), run.waits) == (3, 3, [1, 7])
    assert (run.value, run.elapsed) == ({"price": 42}, 9)
    assert [call.target for call in run.calls] == ["server"] * 3
    assert [type(call.error) for call in run.calls] == [httpx.ConnectError, type(None), type(None)]


@both
def test_a_success_that_names_no_value_is_a_small_json_body(backend):
    """`Ok()` answers 200 with JSON that tells the requests apart."""
    run = played([Fail(ConnectionError)], backend)
    assert (run.tries, len(run.calls), run.value) == (2, 2, {"answer": 2})


@both
@pytest.mark.parametrize(
    ("step", "came", "retried"),
    [
        (Bad(HttpReply(502)), httpx.HTTPStatusError, True),
        (Ok(HttpReply(content="<html>")), ValueError, False),
        (Ok(HttpReply(json={"price": 42}, complete=False)), httpx.RemoteProtocolError, True),
        (Fail(httpx.ConnectError), httpx.ConnectError, True),
        (Fail(lambda: httpx.ReadError("mine")), httpx.ReadError, True),
        (Fail(ConnectionResetError), httpx.ReadError, True),
        (Fail(BrokenPipeError), httpx.WriteError, True),
        (Fail(TimeoutError), httpx.ReadTimeout, True),
        (Fail(OSError), httpx.ConnectError, True),
        (Fail(httpx.UnsupportedProtocol), httpx.UnsupportedProtocol, False),
        (Fail(KeyError), KeyError, False),
        (Fail(Fault(retryable=True)), httpx.HTTPStatusError, True),
        (Fail(Fault(retryable=False, scope="credential")), httpx.HTTPStatusError, False),
    ],
    ids=repr,
)
def test_each_kind_of_trouble_reaches_the_function(step, came, retried, backend):
    """What a server, a connection or a library does wrong leaves the client as it does in life."""
    run = played([step, step, step], backend)
    number = 3 if retried else 1
    assert (run.tries, len(run.calls)) == (number, number)
    assert isinstance(run.error, came)
    assert run.leftovers == ()


@both
def test_an_error_is_a_fresh_one_each_time(backend):
    """Two requests that fail in the same way raise two errors, which name their request."""
    run = played([Fail(httpx.ConnectError)] * 3, backend)
    errors = {id(call.error) for call in run.calls}
    assert (run.tries, len(run.calls), len(errors)) == (3, 3, 3)
    assert run.error is run.calls[2].error
    assert run.error.request.url == "http://shop/prices/a"


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(retryable=True), 503),
        (Fault(retryable=True, health="cooldown"), 429),
        (Fault(retryable=False, scope="request"), 400),
        (Fault(retryable=False, scope="credential"), 401),
        (Fault(retryable=False, scope="account"), 402),
        (Fault(retryable=False, scope="model"), 404),
        (Fault(retryable=False, scope="host"), 403),
        (Fault(retryable=False), 403),
    ],
)
def test_a_fault_is_a_status(fault, status):
    """A failure of which only its meaning is known is a status that means the same."""
    run = played([Fail(fault)] * 3)
    assert run.error.response.status_code == status
    assert (run.tries, len(run.calls)) == ((3, 3) if fault.retryable else (1, 1))


@pytest.mark.parametrize(
    ("hint", "header"),
    [(7, "7"), (0.5, "0.5"), (-1, "-1"), (math.nan, "nan"), (math.inf, "inf"), (86401, "86401")],
)
def test_a_hint_is_a_header(hint, header):
    """A failure with a hint is a 503 whose `Retry-After` says it, lawful or not."""
    step = Fail(ConnectionError, hint=hint)
    run = played([step] * 3)
    assert (run.tries, len(run.calls)) == (3, 3)
    response = run.error.response
    assert (response.status_code, response.headers["Retry-After"]) == (503, header)
    assert run.waits[0] == (7 if hint == 7 else 1)


def test_a_fault_may_carry_a_hint():
    """The hint of a step goes before that of its fault, and either is a header."""
    fault = Fault(retryable=True, health="cooldown", retry_after=3)
    run = played([Fail(fault), Fail(fault, hint=4), Ok()])
    assert (run.tries, len(run.calls), run.waits) == (3, 3, [3, 4])


@both
@pytest.mark.parametrize(
    ("step", "limits", "came", "elapsed"),
    [
        (Hang(), {"read": 2}, httpx.ReadTimeout, 2),
        (Hang(), {"connect": 2, "read": 3}, httpx.ReadTimeout, 3),
        (Ok(after=2), {"read": 2}, httpx.ReadTimeout, 2),
        (Ok(after=1.75), {"read": 2}, None, 1.75),
        (Bad(1, after=4), {"read": 2}, httpx.ReadTimeout, 2),
        (Fail(httpx.ReadError, after=4), {"read": 2}, httpx.ReadTimeout, 2),
        (Fail(ConnectionError, after=4), {"connect": 2}, httpx.ConnectTimeout, 2),
        (Fail(ConnectionError, after=4), {"read": 2}, httpx.ConnectError, 4),
        (Fail(ConnectionError, after=4, hint=1), {"read": 2}, httpx.ReadTimeout, 2),
        (Ok(HttpReply(content=["a", "b"], gap=2)), {"read": 2}, httpx.ReadTimeout, 2),
        (Ok(HttpReply(content=["4", "2"], gap=1.5), after=1), {"read": 2}, None, 4),
        (Stubborn(4), {"read": 2}, None, 4),
    ],
)
def test_the_limits_of_the_client_are_kept(step, limits, came, elapsed, backend):
    """A client waits as long as it says for a connection and for each next byte, and no longer."""

    @retry(attempts=1)
    async def once(client):
        return (await client.get("/")).json()

    run = played([step], backend, what=once, **limits)
    assert (run.tries, len(run.calls), run.elapsed) == (1, 1, elapsed)
    assert (type(run.error) if run.error else None) is came


@both
def test_a_client_without_limits_waits_for_ever(backend):
    """What hangs is ended by the policies, as in life."""
    run = played([Hang(), Ok(1)], backend)
    assert (run.tries, len(run.calls), run.elapsed, run.value) == (2, 2, 6, 1)
    assert isinstance(run.details.stories[1].attempts[0].end.error, TimedOut)


@both
@pytest.mark.parametrize("delivery", ["scope", "task"])
@pytest.mark.parametrize(
    "step", [Hang(), Ok(after=3), Ok(HttpReply(content=["4", "2"], gap=2))], ids=repr
)
def test_a_request_can_be_cancelled(step, delivery, backend):
    """A cancellation comes out of the wait for a head or a body, and closes the response."""
    if (backend, delivery) == ("trio", "task"):
        delivery = "scope"
    run = played([step], backend, cancel_at=1, cancel=delivery)
    assert (run.tries, len(run.calls)) == (1, 1)
    assert (run.result, run.elapsed, run.leftovers) == (Cancelled(), 1, ())
    assert run.calls[0].ended == 1


@both
def test_an_interruption_passes(backend):
    """What no client may handle leaves as it is."""
    run = played([Fail(Interruption)], backend)
    assert isinstance(run.result, Raised)
    assert isinstance(run.error, Interruption)
    assert (run.tries, len(run.calls)) == (1, 1)


@both
def test_a_response_left_open_is_left_behind(backend):
    """A call lasts until its response is closed, so one that nobody closes is found."""

    @retry(attempts=2)
    async def leaks(client):
        request = client.build_request("GET", "/")
        return (await client.send(request, stream=True)).status_code

    schedule = FailureSchedule()
    run = simulate(leaks, schedule, args=(client_of(schedule),), target="real", backend=backend)
    assert (run.tries, len(run.calls), run.value) == (1, 1, 200)
    with pytest.raises(AssertionError, match=r"nothing_left_running\n.*no call left running"):
        run.check(only="nothing_left_running")


@both
def test_the_same_counterexample_at_each_level(backend):
    """One schedule is the same trouble for the policies, for a backend and for a client."""
    schedule = FailureSchedule([Fail(ConnectionError, after=2, hint=3), Hang(), Ok(42, after=1)])

    @stack(retry(attempts=3, backoff=[1, 2]), timeout(5))
    async def ask(service):
        return await service()

    runs = [
        simulate(ask, schedule, backend=backend),
        simulate(ask, schedule, args=(FaultyBackend(schedule),), target="real", backend=backend),
        simulate(price, schedule, args=(client_of(schedule),), target="real", backend=backend),
    ]
    for run in runs:
        run.check()
        assert (run.tries, len(run.calls), run.calls_at) == (3, 3, [0, 5, 11])
        assert (run.waits, run.elapsed, run.value) == ([3, 1], 12, 42)


@both
def test_a_shorter_schedule_reaches_the_server_too(backend):
    """Where a run is played again with another schedule, transports made from it follow."""
    schedule = FailureSchedule([Ok(1), Fail(ConnectionError)], then=Ok(2), jitter_seed=7)

    async def twice(client):
        try:
            return [(await client.get("/")).json(), (await client.get("/")).json()]
        except httpx.HTTPError:
            return None  # the bug

    client = client_of(schedule)
    run = simulate(twice, schedule, args=(client,), target="real", backend=backend)
    assert (run.tries, len(run.calls), run.value) == (0, 2, None)

    def answered(run):
        assert run.value is not None

    with pytest.raises(AssertionError, match=r"shortest  FailureSchedule\(\[Fail\(Conn") as found:
        run.check(answered, only=())
    assert "jitter" not in str(found.value).partition("shortest")[2]


@both
def test_each_target_has_a_server_of_its_own(backend):
    """A transport of a part of the schedule is the server of that target."""
    schedule = FailureSchedule([Fail(ConnectionError)], fallbacks=[[Ok("second")]])
    first, second = client_of(schedule), client_of(schedule.fallbacks[0])

    async def either(*clients):
        for client in clients:
            try:
                return (await client.get("/")).json()
            except httpx.ConnectError:
                continue
        return None

    run = simulate(either, schedule, args=(first, second), target="real", backend=backend)
    assert (run.tries, len(run.calls), run.value) == (0, 2, "second")
    assert [call.index for call in run.calls] == [0, 1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_no_schedule_breaks_an_invariant_of_a_real_function(backend):
    """Whatever the network does, a guarded function with its client leaves nothing behind."""

    @settings(max_examples=12)
    @given(schedules_for(price))
    def holds(schedule):
        if backend == "trio" and schedule.cancel == "task":
            return
        client = client_of(schedule, connect=2, read=4)
        simulate(price, schedule, args=(client,), target="real", backend=backend).check()

    holds()


# The adapter's client


def openrouter_of(schedule, answer=COMPLETION):
    transport = schedule.transport(answer=answer)
    return OpenRouter(
        "sk-or-v1-secret",
        client=httpx.AsyncClient(transport=transport),
        base_url="https://router/v1",
    )


@both
def test_the_adapter_runs_over_a_scheduled_network(backend):
    """Requests, headers, classification and hints of the adapter are its own."""
    schedule = FailureSchedule([Fail(ConnectionError), Ok(BUSY)])
    openrouter = openrouter_of(schedule)

    @retry(attempts=3, backoff=[1, 1])
    async def ask(question):
        return await openrouter.chat("openai/gpt-4o", [{"role": "user", "content": question}])

    run = simulate(ask, schedule, args=("why?",), target="real", backend=backend).check()
    assert (run.tries, len(run.calls), run.waits, run.value.content) == (3, 3, [1, 7], "42")


@both
@pytest.mark.parametrize(
    ("step", "came"),
    [
        (Fail(ConnectionError), ConnectFailed),
        (Fail(ConnectionResetError), ConnectionLost),
        (Ok(BUSY), TooManyRequests),
        (Ok(HttpReply(content='{"choices": [')), MalformedResponse),
        (Ok(HttpReply(json=COMPLETION, complete=False)), ConnectionLost),
    ],
    ids=repr,
)
def test_the_adapter_names_the_trouble(step, came, backend):
    """Each trouble of the network leaves the adapter as the error that it means."""
    schedule = FailureSchedule([step])
    openrouter = openrouter_of(schedule)

    @retry(attempts=1)
    async def ask(question):
        return await openrouter.chat("openai/gpt-4o", [{"role": "user", "content": question}])

    run = simulate(ask, schedule, args=("why?",), target="real", backend=backend).check()
    assert (run.tries, len(run.calls)) == (1, 1)
    assert isinstance(run.error, came)


# Outside of a run, and the values themselves


def test_outside_of_a_run_it_goes_on():
    """A transport that no run owns answers one request after the other, and knows them all."""
    transport = FailureSchedule([Ok(1), Ok(2, after=3)]).transport(name="shop")

    async def scenario():
        async with httpx.AsyncClient(transport=transport) as client:
            found = [(await client.get("http://shop")).json() for _ in range(3)]
            return found, now()

    assert virtual_time(scenario) == ([1, 2, {"answer": 3}], 3)
    assert [(call.number, call.target) for call in transport.calls] == [
        (1, "shop"),
        (2, "shop"),
        (3, "shop"),
    ]
    assert repr(transport) == (
        "FailureSchedule([Ok(value=1), Ok(value=2, after=3)]).transport(name='shop')"
    )


def test_the_modules_need_no_client_library(fresh_python):
    """The kit loads no client library, nor does a schedule that has a transport."""
    said = fresh_python(
        "import sys\n"
        "from resilient.testing import FailureSchedule, HttpReply, Ok\n"
        "FailureSchedule([Ok(HttpReply(429))]).transport()\n"
        "print([name for name in sys.modules if name.startswith('httpx')])\n"
    )
    assert said.strip() == "[]"


@pytest.mark.parametrize(
    "reply",
    [
        HttpReply(),
        HttpReply(503),
        HttpReply(429, headers={"Retry-After": "3"}),
        HttpReply(json={"a": [1, None]}, complete=False),
        HttpReply(json=(1, {"b": (2,)})),
        HttpReply(content="text"),
        HttpReply(content=[b"a", "b"], gap=2.5),
    ],
)
def test_a_reply_is_its_code(reply):
    """The `repr` of a reply makes an equal one, and equal ones have equal hashes."""
    again = eval(repr(reply))  # noqa: S307 - it is what the repr is for
    assert again == reply
    assert hash(again) == hash(reply)
    assert FailureSchedule([Ok(reply)]) == FailureSchedule([Ok(again)])


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: HttpReply(99), ValueError, r"HttpReply\(status\) must be .*100"),
        (lambda: HttpReply(600), ValueError, r"HttpReply\(status\) must be at most 599, not 600"),
        (lambda: HttpReply(gap=-1), ValueError, r"HttpReply\(gap=\)"),
        (lambda: HttpReply(json=1, content="1"), ValueError, "json= or content=, not both"),
        (lambda: HttpReply(json=object()), TypeError, r"HttpReply\(json=\) takes what JSON"),
        (lambda: HttpReply(content=7), TypeError, r"HttpReply\(content=\) takes text"),
        (lambda: HttpReply(headers={"a": 1}), TypeError, r"HttpReply\(headers=\) takes"),
        (lambda: HttpReply(headers=7), TypeError, r"HttpReply\(headers=\) takes a mapping, .* 7"),
        (lambda: HttpReply(headers="ab"), TypeError, r"HttpReply\(headers=\) takes .* not 'ab'"),
        (lambda: HttpReply(headers=["ab"]), TypeError, r"HttpReply\(headers=\) .* not 'ab' in it"),
        (lambda: HttpReply(headers=[("a",)]), TypeError, r"\(headers=\) .* not a tuple in it"),
        (lambda: HttpReply(headers=[("a", 1)]), TypeError, r"\(headers=\) takes names .* not 1"),
        (lambda: HttpReply(json=math.nan), TypeError, r"HttpReply\(json=\) .* not nan"),
        (lambda: HttpReply(json={"a": math.inf}), TypeError, r"HttpReply\(json=\) .* not a dict"),
        (lambda: HttpReply(complete="x"), TypeError, r"\(complete=\) must be True or False, .*'x'"),
        (
            lambda: FailureSchedule().transport(answer={1}),
            TypeError,
            r"^transport\(answer=\) takes",
        ),
        (lambda: FailureSchedule().transport(item={1}), TypeError, r"^transport\(item=\) takes"),
        (lambda: FailureSchedule().transport(name=""), ValueError, r"transport\(name=\)"),
    ],
)
def test_bad_options_are_refused(make, error, complaint):
    """What no server could answer is refused where it is written."""
    with pytest.raises(error, match=complaint):
        make()


@pytest.mark.parametrize("step", [Ok(object()), Bad({1, 2})], ids=repr)
def test_a_value_that_no_json_can_say_is_refused(step):
    """A step's value that cannot be sent is a `TypeError` of `simulate` that says what can."""
    with pytest.raises(TypeError, match="write an HttpReply with the content"):
        played([step])
