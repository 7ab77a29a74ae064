"""`check_backend` finds what is wrong with a backend, and nothing where all is right."""

from __future__ import annotations

import asyncio
import contextlib

import anyio
import pytest

from resilient import Fault, Target
from resilient._runtime.clock import runtime
from resilient.testing import Bad, Fail, Ok, check_backend

BUSY = (503, "")
GOOD = (200, "42")
STEPS = [Bad(BUSY), Fail(ConnectionError)]


class Busy(Exception):
    """The service has no time."""

    retryable = True
    scope = "host"
    health = "failure"


def wrong(factory, **options):
    """Return the rules that a backend breaks, by name."""
    options = {"answer": GOOD, "failures": STEPS, **options}
    try:
        check_backend(factory, **options)
    except AssertionError as error:
        lines = str(error).splitlines()[1:]
        assert all(": " in line for line in lines)
        return {line.split(":")[0].strip() for line in lines}
    return set()


def target(call, **options):
    """Return a target with the scope that `Busy` condemns."""
    return Target("search", call, scopes={"host": "search.example.org"}, **options)


def honest(service):
    """Build a backend without a fault."""

    async def search(question):
        status, body = await service(question)
        if status == 503:
            raise Busy
        return body

    return target(search)


def test_an_honest_backend_holds():
    """A backend that does what a chain expects has no finding."""
    assert wrong(honest) == set()


def test_a_stream_holds():
    """An async generator function is a backend as well."""

    def build(service):
        async def words(question):
            status, body = await service(question)
            if status == 503:
                raise Busy
            for word in body.split():
                yield word

        return target(words)

    assert wrong(build) == set()


def test_a_function_alone_is_a_backend():
    """Without a target, the errors of the table are known."""
    check_backend(lambda service: service)
    assert wrong(lambda service: honest(service).call) == {"scope_is_declared"}


def test_a_retry_of_its_own_is_found():
    """A backend makes one request for one call."""

    def build(service):
        inner = honest(service).call

        async def search(question):
            with contextlib.suppress(Exception):
                return await inner(question)
            return await inner(question)

        return target(search)

    assert "one_request" in wrong(build)


def test_a_swallowed_failure_is_found():
    """A failure is an exception, and not an answer."""

    def build(service):
        async def search(question):
            try:
                return (await service(question))[1]
            except ConnectionError:
                return None

        return target(search)

    assert wrong(build) == {"failure_is_raised", "calls_are_independent"}


def test_an_unknown_failure_is_found():
    """Of an error it is known what follows, by its attributes or by the target."""

    class Unknown(Exception):
        pass

    def build(service, **options):
        async def search(question):
            if (await service(question))[0] == 503:
                raise Unknown
            return "42"

        return Target("search", search, **options)

    assert wrong(build) == {"failure_is_known"}
    classify = {"classify": lambda error: Fault(isinstance(error, Unknown))}
    assert wrong(lambda service: build(service, **classify)) == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [("retryable", "yes"), ("retry_after", "soon"), ("scope", ""), ("health", "bad")],
)
def test_an_attribute_that_nobody_can_read_is_found(name, value):
    """What an error says of itself is of the right type."""

    class Odd(Busy):
        pass

    setattr(Odd, name, value)

    def build(service):
        async def search(question):
            if (await service(question))[0] == 503:
                raise Odd
            return "42"

        return target(search)

    assert "failure_is_known" in wrong(build)


def test_a_shared_error_is_found():
    """Each call raises an error of its own."""
    busy = Busy()

    def build(service):
        async def search(question):
            if (await service(question))[0] == 503:
                raise busy
            return "42"

        return target(search)

    assert wrong(build) == {"failure_is_fresh"}


@pytest.mark.parametrize("way", ["text", "note"])
def test_an_argument_in_an_error_is_found(way):
    """The text of an error has nothing of the arguments."""

    def build(service):
        async def search(question):
            if (await service(question))[0] == 503:
                error = Busy(question if way == "text" else "")
                if way == "note":
                    error.add_note(f"asked {question}")
                raise error
            return "42"

        return target(search)

    assert wrong(build) == {"nothing_private"}
    assert wrong(build, args=(), kwargs={"question": "a secret"}) == {"nothing_private"}
    assert wrong(build, args=(7,)) == set()


def test_a_swallowed_cancellation_is_found():
    """A cancellation comes out."""

    def build(service):
        inner = honest(service).call

        async def search(question):
            try:
                return await inner(question)
            except Exception:
                raise
            except BaseException:
                return None

        return target(search)

    assert wrong(build) == {"cancellation_honoured", "interruption_passes"}


def test_a_cancellation_that_becomes_an_error_is_found():
    """A cancellation is no error of the backend's own."""

    def build(service):
        inner = honest(service).call

        async def search(question):
            try:
                return await inner(question)
            except anyio.get_cancelled_exc_class():
                raise Busy from None

        return target(search)

    assert wrong(build) == {"cancellation_honoured"}


def test_a_late_cancellation_is_found():
    """A cancellation comes out at once."""

    def build(service):
        inner = honest(service).call

        async def search(question):
            try:
                return await inner(question)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(1)

        return target(search)

    assert wrong(build) == {"cancellation_honoured"}


def test_a_lock_that_is_not_given_back_is_found():
    """The call after one that was cancelled or interrupted works."""

    def build(service):
        inner, busy = honest(service).call, []

        async def search(question):
            if busy:
                raise Busy
            busy.append(1)
            try:
                answer = await inner(question)
            except Exception:
                busy.clear()
                raise
            busy.clear()
            return answer

        return target(search)

    assert wrong(build) == {"cancellation_honoured", "interruption_passes"}


def test_an_interruption_that_is_replaced_is_found():
    """What is no exception leaves as it is."""

    def build(service):
        inner = honest(service).call

        async def search(question):
            try:
                return await inner(question)
            except (Exception, anyio.get_cancelled_exc_class()):
                raise
            except BaseException:
                raise Busy from None

        return target(search)

    assert wrong(build) == {"interruption_passes"}


def test_shared_state_is_found():
    """A call that fails at the same time is not the failure of another one."""

    def build(service):
        last = []

        async def search(question):
            last[:] = [await service(question)]
            await anyio.sleep(1)
            if last[0][0] == 503:
                raise Busy
            return "42"

        return target(search)

    assert wrong(build, failures=[Bad(BUSY)]) == {"calls_are_independent"}


def test_a_backend_of_one_loop_is_found():
    """What is made in one loop works in the next one."""

    def build(service):
        inner, loops = honest(service).call, []

        async def search(question):
            loops.append(runtime())
            if loops[0] is not runtime():
                raise RuntimeError("of another loop")
            return await inner(question)

        return target(search)

    assert wrong(build) == {"works_in_every_loop"}


def test_a_task_that_is_left_is_found():
    """Nothing is left running."""
    tasks = []

    def build(service):
        inner = honest(service).call

        async def search(question):
            if runtime().backend == "asyncio":
                tasks.append(asyncio.get_running_loop().create_task(anyio.sleep(60)))
            return await inner(question)

        return target(search)

    assert wrong(build) == {"nothing_left"}


def test_a_backend_that_does_not_answer_is_found():
    """On a good day there is an answer."""

    def build(service):
        async def search(question):
            await service(question)
            raise Busy

        return target(search)

    assert {"answers", "cancellation_honoured"} <= wrong(build)


@pytest.mark.parametrize(
    ("factory", "failures", "said"),
    [
        (lambda service: 7, [], "the factory must return an async function or a Target, not 7"),
        (honest, [Ok()], r"check_backend\(failures=\) takes Fail\(...\) and Bad\(...\)"),
        (honest, [ConnectionError], r"check_backend\(failures=\) takes Fail"),
    ],
)
def test_what_makes_no_sense_is_refused(factory, failures, said):
    """A factory that builds nothing, and failures that are none, are a `TypeError`."""
    with pytest.raises(TypeError, match=said):
        check_backend(factory, failures=failures)
