"""Virtual time: exact, the same on both backends, and never a silent hang."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from contextlib import aclosing, suppress
from functools import partial

import anyio
import anyio.to_thread
import pytest
import trio
import trio.testing

import resilient.testing
from resilient import RetryBudget
from resilient._runtime.clock import now, process_random, runtime
from resilient.testing import Stuck, leftovers, virtual_time

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def loop_time() -> float:
    return anyio.current_time()  # noqa: TID251 - that it agrees with the Clock is the subject


@both
def test_sleeps_take_no_real_time_and_end_on_the_instant(backend):
    """Fifty sleeps, of more hours than a selector waits at once, end at their exact sum."""

    async def sleepy() -> list[float]:
        seen = []
        for hours in range(50):
            await anyio.sleep(hours * 3600)
            seen.append(loop_time() / 3600)
        return seen

    began = time.perf_counter()
    assert virtual_time(sleepy, backend=backend, horizon=1e7) == [
        sum(range(n + 1)) for n in range(50)
    ]
    assert time.perf_counter() - began < 5


@both
def test_every_clock_is_the_same_number_from_zero(backend):
    """The loop's time, anyio's and the Clock agree, and read 0 at the start of each run."""

    async def read() -> list[tuple[float, float, float]]:
        seen = []
        for wait in (0.12, 0.43):
            seen.append((loop_time(), now(), runtime().clock()))
            await anyio.sleep(wait)
        return seen

    for _ in range(2):
        assert virtual_time(read, backend=backend) == [(0, 0, 0), (0.12, 0.12, 0.12)]


@both
def test_deadlines_of_anyio_jump_too(backend):
    """A limit of anyio ends a longer sleep at its own instant."""

    async def limited() -> tuple[bool, float]:
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(9)
        return scope.cancelled_caught, loop_time()

    assert virtual_time(limited, backend=backend) == (True, 5)


def test_timers_of_asyncio_jump_too():
    """`call_later`, `asyncio.timeout` and `asyncio.sleep` live on the same clock."""

    async def native() -> list[float]:
        loop, seen = asyncio.get_running_loop(), []
        loop.call_later(2, lambda: seen.append(loop.time()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.5):
                await asyncio.sleep(4)  # noqa: TID251 - the subject
        return [*seen, loop.time()]

    assert virtual_time(native) == [2, 3.5]


def test_timers_of_trio_jump_too():
    """Sleeps and limits of trio live on the same clock."""

    async def native() -> float:
        with trio.move_on_after(3.5):
            await trio.sleep_forever()
        return trio.current_time()

    assert virtual_time(native, backend="trio") == 3.5


@both
def test_arguments_and_results_pass_through(backend):
    """Positional arguments reach the function, and its value or error comes back as it is."""
    error = ConnectionError("down")

    async def either(failure, value):
        if failure:
            raise failure
        return value

    assert virtual_time(either, None, error, backend=backend) is error
    with pytest.raises(ConnectionError) as caught:
        virtual_time(either, error, "value", backend=backend)
    assert caught.value is error


@both
def test_random_is_seeded_and_only_inside(backend):
    """The same seed draws the same numbers, and the process's own source is left alone."""

    async def draw() -> float:
        assert runtime().random is not process_random
        return runtime().random.random()

    first = virtual_time(draw, backend=backend, seed=7)
    assert virtual_time(draw, backend=backend, seed=7) == first
    assert virtual_time(draw, backend=backend, seed=8) != first


@both
def test_two_waiters_each_wake_at_their_own_time(backend):
    """Concurrent sleeps end in the order of their length, not of their start."""

    async def race() -> list[float]:
        seen: list[float] = []

        async def nap(seconds: float) -> None:
            await anyio.sleep(seconds)
            seen.append(loop_time())

        async with anyio.create_task_group() as group:
            for seconds in (3, 1, 2):
                group.start_soon(nap, seconds)
        return seen

    assert virtual_time(race, backend=backend) == [1, 2, 3]


@both
def test_a_wait_for_ever_is_stuck_at_the_horizon(backend):
    """A run blocked for ever raises the same `Stuck` on both backends."""
    with pytest.raises(Stuck) as caught:
        virtual_time(anyio.sleep_forever, backend=backend)
    assert str(caught.value) == "still waiting after 1e+06 virtual seconds"
    assert isinstance(caught.value, AssertionError)


@both
def test_a_wait_on_an_event_is_stuck_too(backend):
    """Blocked without any timer, a run ends at the horizon it was given."""

    async def blocked() -> None:
        await anyio.Event().wait()

    with pytest.raises(Stuck, match="still waiting after 60 virtual seconds"):
        virtual_time(blocked, backend=backend, horizon=60)


@both
def test_a_shielded_wait_for_ever_is_stuck_too(backend):
    """A wait for ever behind a shield ends as `Stuck` and does not hang the process."""

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()

    with pytest.raises(Stuck, match="still waiting after"):
        virtual_time(shielded, backend=backend)


@both
def test_shielded_children_are_stuck_too(backend):
    """Tasks of a group that wait for ever behind a shield end as well."""

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                group.start_soon(anyio.sleep_forever)

    with pytest.raises(Stuck, match="still waiting after"):
        virtual_time(shielded, backend=backend)


@both
def test_a_swallowed_horizon_is_still_stuck(backend):
    """A function that turns the horizon's cancellation into a value did not end in time."""

    async def stubborn() -> str:
        try:
            await anyio.sleep_forever()
        except BaseException:
            return "done"

    with pytest.raises(Stuck):
        virtual_time(stubborn, backend=backend)


def test_a_native_task_that_ignores_its_last_cancellation_is_stuck():
    """A task that outlives the function and swallows every cancellation cannot hang the run."""

    async def deaf() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await anyio.sleep_forever()

    async def leaves_it() -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(deaf())
        await anyio.lowlevel.checkpoint()
        return task

    with pytest.raises(Stuck, match="a task was cancelled at the end and does not end"):
        virtual_time(leaves_it)
    with suppress(BaseException):
        gc.collect()  # asyncio complains when the task that nothing could end goes


@both
def test_code_inside_sees_no_deadline(backend):
    """The horizon is not a limit that code inside could see or count with."""

    async def ask() -> float:
        return anyio.current_effective_deadline()

    assert virtual_time(ask, backend=backend) == float("inf")


@both
def test_far_beyond_two_to_the_24_seconds(backend):
    """Times past 194 days work, down to a tenth of a second."""

    async def long() -> list[float]:
        seen = []
        for seconds in (2e7, 0.1, 1e12):
            await anyio.sleep(seconds)
            seen.append(loop_time())
        return seen

    ends = [2e7, 2e7 + 0.1, 2e7 + 0.1 + 1e12]
    assert virtual_time(long, backend=backend, horizon=1e15) == ends


@both
def test_a_timer_is_never_early(backend):
    """What wakes at t reads t on the Clock, never a hair less."""

    async def waits() -> list[bool]:
        seen = []
        for seconds in (0.1, 0.2, 0.3, 1e-9, 7.7, 0.0001):
            due = now() + seconds
            await anyio.sleep(seconds)
            seen.append(now() >= due)
        return seen

    assert all(virtual_time(waits, backend=backend))


@both
def test_the_clock_stands_still_while_a_thread_works(backend):
    """No limit expires because a thread took a few real milliseconds."""

    async def threaded() -> float:
        with anyio.fail_after(5):  # noqa: TID251 - somebody else's limit
            await anyio.to_thread.run_sync(time.sleep, 0.01)  # noqa: TID251 - real work
        return now()

    assert virtual_time(threaded, backend=backend) == 0


@both
def test_a_thread_that_takes_long_is_refused(backend, monkeypatch):
    """The clock never jumps past a thread that is at work: the run says so and ends."""
    monkeypatch.setattr("resilient.testing._virtual_run.PATIENCE", 0.01)

    async def threaded() -> None:
        with anyio.move_on_after(5):
            await anyio.to_thread.run_sync(time.sleep, 0.1)  # noqa: TID251 - real work

    with pytest.raises(Stuck, match="a worker thread is at work"):
        virtual_time(threaded, backend=backend)


def test_a_long_job_of_asyncio_s_executor_is_refused(monkeypatch):
    """Threads of `run_in_executor` are known as well, although no limiter counts them."""
    monkeypatch.setattr("resilient.testing._virtual_run.PATIENCE", 0.01)

    async def threaded() -> None:
        await asyncio.to_thread(time.sleep, 0.1)  # noqa: TID251 - real work

    with pytest.raises(Stuck, match="a worker thread is at work"):
        virtual_time(threaded)


def test_an_executor_that_was_used_is_shut_down_quietly():
    """Closing the run joins the executor's threads in real time, without a warning."""

    async def threaded() -> int:
        return await asyncio.to_thread(int, "7")

    began = time.perf_counter()
    assert virtual_time(threaded) == 7
    assert time.perf_counter() - began < 5


@both
def test_inside_a_running_loop_it_names_the_way_out(backend):
    """Called where a loop is running already, it raises at once and says what to do."""

    async def inside() -> None:
        with pytest.raises(RuntimeError, match=f"{backend} is running.*`def`.*worker thread"):
            virtual_time(anyio.sleep, 1)

    anyio.run(inside, backend=backend)


@both
def test_the_worker_thread_way_out_works(backend):
    """From inside a loop, a worker thread can run virtual time on either backend."""

    async def inside() -> None:
        for other in ("asyncio", "trio"):
            run = partial(virtual_time, anyio.sleep, 3600, backend=other)
            assert await anyio.to_thread.run_sync(run) is None

    anyio.run(inside, backend=backend)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "curio"}, "backend must be 'asyncio' or 'trio', not 'curio'"),
        ({"horizon": 0}, "horizon must be seconds above 0 .*, not 0"),
        ({"horizon": float("inf")}, "horizon must be seconds above 0 .*, not inf"),
        ({"horizon": float("nan")}, "horizon must be seconds above 0 .*, not nan"),
    ],
)
def test_options_are_checked_at_once(options, message):
    """A wrong option raises before anything runs, with its name, value and what is accepted."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        virtual_time(anyio.sleep, 1, **options)


def test_trio_is_needed_only_for_trio(monkeypatch):
    """Without trio the asyncio half works, and the other half says what to install."""
    monkeypatch.setitem(sys.modules, "trio", None)
    monkeypatch.delitem(sys.modules, "resilient.testing._trio", raising=False)
    monkeypatch.delattr(resilient.testing, "_trio", raising=False)
    assert virtual_time(anyio.sleep, 1) is None
    with pytest.raises(ImportError, match=r"pip install 'resilient-policies\[testing\]'"):
        virtual_time(anyio.sleep, 1, backend="trio")


def test_pending_tasks_are_cancelled_and_awaited():
    """A task that outlives the function is cancelled and finishes its clean-up first."""
    seen: list[str] = []

    async def worker() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(30)
            seen.append("cleaned up")

    async def leaves_it() -> None:
        task = asyncio.get_running_loop().create_task(worker())
        await anyio.lowlevel.checkpoint()
        assert not task.done()

    virtual_time(leaves_it)
    assert seen == ["cleaned up"]


def test_a_coroutine_that_was_never_awaited_warns():
    """A forgotten `await` surfaces as Python's own warning."""

    async def forgets() -> None:
        anyio.sleep(1)

    with pytest.warns(RuntimeWarning, match="never awaited"):
        virtual_time(forgets)


async def numbers():
    """Stand in for a stream."""
    for number in range(3):
        yield number


@both
def test_open_generators_are_closed_with_the_run(backend):
    """An async generator left open is shut down by the run, `finally` blocks included."""
    seen: list[str] = []
    kept = []

    async def stream():
        try:
            yield 1
        finally:
            seen.append("closed")

    async def leaves_it() -> None:
        kept.append(stream())
        await anext(kept[0])

    virtual_time(leaves_it, backend=backend)
    assert seen == ["closed"]


@both
def test_nothing_left_is_an_empty_list(backend):
    """A function that waits for what it starts leaves nothing."""

    async def tidy() -> list[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
        async with aclosing(numbers()) as items:
            async for _ in items:
                break
        async for _ in numbers():
            pass
        return leftovers()

    assert virtual_time(tidy, backend=backend, check_leftovers=True) == []


def test_a_task_left_running_is_named_on_asyncio():
    """A background task of asyncio is a leftover, by the name of its coroutine."""

    async def leaves_it() -> None:
        task = asyncio.get_running_loop().create_task(anyio.sleep_forever())
        assert not task.done()

    with pytest.raises(AssertionError, match="left behind: a task still runs: sleep_forever"):
        virtual_time(leaves_it, check_leftovers=True)


def test_a_task_left_running_is_named_on_trio():
    """A system task of trio is a leftover, by the name of its coroutine."""

    async def leaves_it() -> None:
        trio.lowlevel.spawn_system_task(trio.sleep_forever)

    with pytest.raises(AssertionError, match="left behind: a task still runs: sleep_forever"):
        virtual_time(leaves_it, backend="trio", check_leftovers=True)


@both
def test_running_children_are_seen_from_inside(backend):
    """In the middle of a run, `leftovers` names what is still going on."""

    async def busy() -> list[str]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
            group.start_soon(anyio.sleep, 2)
            await anyio.sleep(1.5)
            return leftovers()

    assert len(virtual_time(busy, backend=backend)) == 1


@both
def test_an_open_generator_is_named(backend):
    """A stream that was begun and neither finished nor closed is a leftover."""
    kept = []

    async def leaves_it() -> None:
        kept.append(numbers())
        await anext(kept[0])

    with pytest.raises(AssertionError, match="an async generator is still open: numbers"):
        virtual_time(leaves_it, backend=backend, check_leftovers=True)


@both
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_dropped_generator_is_named(backend):
    """A stream that was left to the garbage collector while open is a leftover."""

    async def drops_it() -> None:
        async for _ in numbers():
            break

    with pytest.raises(AssertionError, match="was dropped while open: numbers"):
        virtual_time(drops_it, backend=backend, check_leftovers=True)


@both
def test_armed_limits_are_named(backend):
    """A limit that is still armed, or still being delivered, is a leftover."""

    class Table:
        def __init__(self, *armed: int) -> None:
            self.armed = armed

    async def leaves_them() -> list[str]:
        here = runtime()
        here.tables.update({8.0: Table(1, 2), 30.0: Table()})  # type: ignore[dict-item]
        return leftovers()

    assert virtual_time(leaves_them, backend=backend) == ["2 limits of 8 s are still armed"]


@both
def test_leftovers_of_a_failed_call_are_reported_with_its_error(backend):
    """An error does not hide what was left behind: it becomes the cause."""
    kept = []

    async def fails() -> None:
        kept.append(numbers())
        await anext(kept[0])
        raise ConnectionError

    with pytest.raises(AssertionError, match="left behind") as caught:
        virtual_time(fails, backend=backend, check_leftovers=True)
    assert isinstance(caught.value.__cause__, ConnectionError)


@both
def test_an_error_passes_where_nothing_is_left(backend):
    """With nothing left behind, a function's error leaves as it is."""
    error = ConnectionError()

    async def fails() -> None:
        raise error

    with pytest.raises(ConnectionError) as caught:
        virtual_time(fails, backend=backend, check_leftovers=True)
    assert caught.value is error


@both
def test_a_failed_assertion_is_not_hidden(backend):
    """A test that failed half-way reports its own assertion, not what it left behind."""
    kept = []

    async def fails() -> None:
        kept.append(numbers())
        await anext(kept[0])
        raise AssertionError("the fact itself")

    with pytest.raises(AssertionError, match="the fact itself"):
        virtual_time(fails, backend=backend, check_leftovers=True)


@both
def test_budgets_are_untouched_in_every_run(backend):
    """A retry budget that one run has spent is full again in the next, and outside."""
    budget = RetryBudget("virtual", ratio=0, reserve=2)

    async def spend() -> list[bool]:
        return [budget.withdraw(now()) for _ in range(3)]

    for _ in range(2):
        assert virtual_time(spend, backend=backend) == [True, True, False]
    assert budget.available == 2


def test_outside_of_a_run_there_are_no_leftovers_to_ask_for():
    """`leftovers` knows only runs in virtual time."""
    with pytest.raises(RuntimeError, match=r"does not run inside virtual_time\(\)"):
        leftovers()


@both
def test_the_run_changes_nothing_outside(backend):
    """Hooks and clocks are as before once the run is over."""
    hooks = sys.get_asyncgen_hooks()
    virtual_time(anyio.sleep, 1, backend=backend)
    assert sys.get_asyncgen_hooks() == hooks
    assert abs(now() - time.monotonic()) < 1


def test_loopback_sockets_answer_before_the_clock_jumps():
    """Both ends of a socket in one run: the answer is ready before any limit expires."""

    async def talk() -> bytes:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django

            async def answer(stream) -> None:
                async with stream:
                    await stream.send(b"pong")

            async with anyio.create_task_group() as group:
                group.start_soon(listener.serve, answer)
                await anyio.lowlevel.checkpoint()
                with anyio.move_on_after(5):
                    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                        got = await stream.receive()
                group.cancel_scope.cancel()
        return got

    for backend in ("asyncio", "trio"):
        assert virtual_time(talk, backend=backend) == b"pong"
