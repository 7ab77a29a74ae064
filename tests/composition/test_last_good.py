"""`last_good`: what is kept of a chain's answers, for whom, how long, and when it is given."""

from __future__ import annotations

import asyncio
import copy
import logging
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import pytest

from resilient import (
    AllTargetsFailed,
    FallbackManager,
    Fault,
    Target,
    explain,
    fallback,
    last_good,
    manager_of,
    middleware,
    not_a_bug,
    retry,
    stack,
    standard,
    timeout,
    value,
)
from resilient._runtime import listeners
from resilient._runtime.clock import now
from resilient.events import AttemptEnded, Degraded
from resilient.note import ModelConfig
from resilient.testing import Log, virtual_time

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


class Down(Exception):
    """The service does not answer."""


class Service:
    """Answers with what it is told, or raises it, and can be asked about what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, *args, **kwargs):
        self.asked.append(args)
        answer = self.answers.pop(0) if self.answers else Down()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture(params=["decorator", "manager", "names", "standard"])
def build(request):
    """Return a way to put a service into a chain with `degrade=`: all must be the same."""

    def decorator(service, degrade, **options):
        return manager_of(fallback(degrade=degrade, **options)(service)).run

    def manager(service, degrade, **options):
        return FallbackManager([Target("service", service)], degrade=degrade, **options).run

    def names(service, degrade, **options):
        targets = [ModelConfig("service", timeout=30)]
        made = FallbackManager(targets, degrade=degrade, **options)

        async def ask(name, *args, **kwargs):
            return await service(*args, **kwargs)

        async def run(*args, **kwargs):
            return await made.run_with(ask, *args, **kwargs)

        return run

    def by_standard(service, degrade):
        return manager_of(standard("service", degrade=degrade)(service)).run

    made = {"decorator": decorator, "manager": manager, "names": names, "standard": by_standard}
    return made[request.param]


@BACKENDS
class TestGiven:
    def test_it_is_the_newest_answer_flagged_with_its_age(self, backend, build):
        """When nobody answers, the newest real answer is given, and how old it is."""
        run = build(Service("first", "second"), last_good(max_age=60))

        async def main():
            good = await run()
            await anyio.sleep(3)
            await run()
            await anyio.sleep(5)
            return good, await run()

        good, kept = virtual_time(main, backend=backend, check_leftovers=True)
        assert (good.value, good.degraded, good.age) == ("first", False, None)
        assert (kept.value, kept.degraded, kept.age) == ("second", True, 5)
        assert (kept.target, kept.fallback_used, len(kept.attempts)) == (None, False, 1)

    def test_with_nothing_kept_the_real_error_surfaces(self, backend, build):
        """A call before any answer fails as it would without a last resort."""
        error = Down()
        run = build(Service(error), last_good())
        with pytest.raises(Down) as caught:
            virtual_time(run, backend=backend, check_leftovers=True)
        assert caught.value is error

    def test_an_answer_too_old_is_none(self, backend, build):
        """At exactly `max_age` it is given no more, and the error surfaces."""
        run = build(Service("answer"), last_good(max_age=60))

        async def main():
            await run()
            await anyio.sleep(59)
            kept = await run()
            await anyio.sleep(1)
            with pytest.raises(Down):
                await run()
            return kept.age

        assert virtual_time(main, backend=backend) == 59

    def test_giving_it_does_not_make_it_young(self, backend, build):
        """The age counts from the real answer, however often that is given."""
        run = build(Service("answer"), last_good(max_age=60))

        async def main():
            await run()
            ages = []
            for _ in range(5):
                await anyio.sleep(13)
                with suppress(Down):
                    ages.append((await run()).age)
            return ages

        assert virtual_time(main, backend=backend) == [13, 26, 39, 52]

    def test_one_entry_for_the_function_without_a_key(self, backend, build):
        """Whatever it was asked, the newest answer is the one."""
        run = build(Service("of a", "of b"), last_good())

        async def main():
            await run("a")
            await run("b")
            return await run("c")

        assert virtual_time(main, backend=backend).value == "of b"

    def test_a_key_tells_answers_apart(self, backend, build):
        """The key gets the caller's arguments, and only the same key's answer is given."""
        keys = []

        def sku_of(sku, *, currency="EUR"):
            keys.append((sku, currency))
            return sku, currency

        run = build(Service("of a", "of b"), last_good(key=sku_of))

        async def main():
            await run("a")
            await run("b", currency="USD")
            with pytest.raises(Down):
                await run("b")
            return await run("a"), await run("b", currency="USD")

        first, second = virtual_time(main, backend=backend)
        assert (first.value, second.value) == ("of a", "of b")
        assert keys == [("a", "EUR"), ("b", "USD"), ("b", "EUR"), ("a", "EUR"), ("b", "USD")]

    def test_the_key_is_that_of_the_arguments_before_the_call(self, backend, build):
        """A target that changes its arguments does not change under which key it is kept."""

        class Consumes(Service):
            async def __call__(self, items):
                items.clear()
                return await super().__call__()

        run = build(Consumes("answer"), last_good(key=tuple))

        async def main():
            await run(["a"])
            with pytest.raises(Down):
                await run([])
            return await run(["a"])

        assert virtual_time(main, backend=backend).value == "answer"

    def test_at_most_so_many_keys_are_kept(self, backend, build):
        """The least recently used makes room."""
        run = build(Service(*"abc"), last_good(key=str, max_entries=2))

        async def main():
            for key in "abc":
                await run(key)
            found = []
            for key in "abc":
                with suppress(Down):
                    found.append((await run(key)).value)
            return found

        assert virtual_time(main, backend=backend) == ["b", "c"]

    def test_a_key_that_cannot_be_hashed_is_a_type_error(self, backend, build):
        """It names the function and what it returned, never its contents, and nobody is asked."""

        def listed(question):
            return ["secret", question]

        service = Service("answer")
        run = build(service, last_good(key=listed))
        with pytest.raises(TypeError, match=r"last_good\(key=\) must .*listed returned a list$"):
            virtual_time(run, "q", backend=backend)
        assert service.asked == []

    def test_a_key_may_fail_the_call(self, backend, build):
        """The error of a key function is the call's own, before anybody is asked."""
        service = Service("answer")
        run = build(service, last_good(key=lambda question: question["id"]))
        with pytest.raises(KeyError):
            virtual_time(run, {}, backend=backend)
        assert service.asked == []


@BACKENDS
class TestNotGiven:
    def test_not_for_a_fault_of_the_request(self, backend):
        """A bad request surfaces: an old answer would hide it."""

        def bad(error):
            return Fault(retryable=False, scope="request")

        target = Target("service", Service("answer"), classify=bad)
        manager = FallbackManager([target], degrade=last_good())

        async def main():
            await manager.run()
            with pytest.raises(Down):
                await manager.run()

        virtual_time(main, backend=backend, check_leftovers=True)

    def test_not_for_an_error_that_does_not_move_on(self, backend):
        """What `on=` does not cover surfaces as it is."""
        service = Service("answer", TypeError())
        run = manager_of(fallback(degrade=last_good(), on=not_a_bug)(service)).run

        async def main():
            await run()
            with pytest.raises(TypeError):
                await run()

        virtual_time(main, backend=backend, check_leftovers=True)

    def test_not_for_a_cancellation(self, backend):
        """A cancelled call is cancelled, whatever is kept."""
        service = Service("answer")
        hangs = False

        @fallback(degrade=last_good())
        async def ask():
            if hangs:
                await anyio.sleep_forever()
            return await service()

        async def main():
            nonlocal hangs
            await ask()
            hangs = True
            with anyio.move_on_after(1) as scope:
                await ask()
            return scope.cancelled_caught

        assert virtual_time(main, backend=backend, check_leftovers=True)

    def test_the_group_is_the_one_of_a_chain_without_it(self, backend):
        """With several targets and nothing kept, `AllTargetsFailed` holds every error."""
        manager = FallbackManager(
            [Target("a", Service(), timeout=3, attempts=2), Target("b", Service())],
            degrade=last_good(),
        )
        with pytest.raises(AllTargetsFailed) as caught:
            virtual_time(manager.run, backend=backend, check_leftovers=True)
        assert [type(error) for error in caught.value.exceptions] == [Down, Down]
        assert [each.disposition for each in caught.value.attempts] == ["fell_back", "raised"]


@BACKENDS
class TestKept:
    def kept(self, backend, service, *policies, calls=2):
        """Return what `calls` calls come to in a chain around `policies` and the service."""
        run = manager_of(stack(fallback(degrade=last_good()), *policies)(service)).run

        async def main():
            found = []
            for _ in range(calls):
                try:
                    outcome = await run()
                    found.append((outcome.value, outcome.degraded))
                except Exception as error:
                    found.append(type(error))
            return found

        return virtual_time(main, backend=backend, check_leftovers=True)

    def test_any_target_s_answer_is(self, backend):
        """Also the one of a fallback, as the newest of the chain."""
        other = Service("of b")
        run = manager_of(fallback(to=[other], degrade=last_good())(Service("of a"))).run

        async def main():
            return [(await run()).value for _ in range(3)]

        assert virtual_time(main, backend=backend) == ["of a", "of b", "of b"]

    @pytest.mark.filterwarnings("ignore:.*fallback inside retry")
    def test_a_degraded_answer_is_not(self, backend):
        """What a chain inside has given at last is no real answer for the chain around it."""
        inner = fallback(degrade=value("sorry"), on=Down)
        service = Service("real", Down(), LookupError())
        assert self.kept(backend, service, inner, calls=3) == [
            ("real", False),
            ("sorry", True),
            ("real", True),
        ]
        service = Service(Down(), LookupError())
        assert self.kept(backend, service, retry(), inner) == [("sorry", True), LookupError]

    def test_nor_what_a_target_made_of_one(self, backend):
        """A target that called a degraded function gave no real answer itself."""
        part = fallback(degrade=value("part"), on=Down)(Service(Down(), "whole", LookupError()))

        async def asks():
            async with anyio.create_task_group():
                return f"made of {await part()}"

        assert self.kept(backend, asks, retry(attempts=1), calls=3) == [
            ("made of part", False),
            ("made of whole", False),
            ("made of whole", True),
        ]
        part = fallback(degrade=value("part"), on=Down)(Service(Down(), LookupError()))
        assert self.kept(backend, asks) == [("made of part", False), ExceptionGroup]

    def test_nor_a_rejected_one(self, backend):
        """A value that `on_result` rejects, in the chain or in a retry, is not kept."""

        def is_bad(answer):
            return answer == "bad"

        service = Service("bad", "bad", Down())
        found = self.kept(backend, service, retry(attempts=2, on_result=is_bad, backoff=[0]))
        assert found == [("bad", False), Down]
        run = fallback(degrade=last_good(), on_result=is_bad)(Service("good", "bad"))

        async def main():
            return [await run(), await run()]

        assert virtual_time(main, backend=backend) == ["good", "good"]

    def test_nor_one_of_a_middleware(self, backend):
        """An answer that a middleware made up is none of a target."""

        @middleware
        async def sorry(call, proceed):
            try:
                return await proceed()
            except Down:
                return "sorry"

        service = Service("real", Down(), LookupError())
        assert self.kept(backend, service, sorry, calls=3) == [
            ("real", False),
            ("sorry", False),
            ("real", True),
        ]

    def test_each_chain_keeps_its_own(self, backend):
        """One `last_good(...)` given to several functions mixes nothing."""
        degrade = last_good()
        first = fallback(degrade=degrade)(Service("of the first"))
        second = fallback(degrade=degrade)(Service())

        async def main():
            await first()
            with pytest.raises(Down):
                await second()
            return await first()

        assert virtual_time(main, backend=backend) == "of the first"

    def test_chains_in_each_other_keep_their_own(self, backend):
        """A chain in a chain has its own keys and its own answers."""

        def outer_key(one, two):
            return one

        def inner_key(one, two):
            return two

        service = Service("a1", "b2")
        inner = fallback(degrade=last_good(key=inner_key), on=Down)(service)
        run = manager_of(fallback(degrade=last_good(key=outer_key))(inner)).run

        async def main():
            await run("a", 1)
            await run("b", 2)
            service.answers = [Down(), LookupError(), Down(), LookupError()]
            return [(await run("a", 2)).value for _ in range(2)]

        assert virtual_time(main, backend=backend) == ["b2", "a1"]

    def test_nobody_else_has_the_same_object(self, backend):
        """The caller may change its answer: what is kept and what is given are copies."""
        original = {"items": [1]}
        run = fallback(degrade=last_good())(Service(original))

        async def main():
            first = await run()
            first["items"].append(2)
            second = await run()
            second["items"].append(3)
            return first, second, await run()

        first, second, third = virtual_time(main, backend=backend)
        assert first is original
        assert (second, third) == ({"items": [1, 3]}, {"items": [1]})

    def test_what_cannot_be_copied_is_not_kept(self, backend, caplog, monkeypatch):
        """The call succeeds, nothing of it is kept, and the log says so once, by its class."""
        monkeypatch.setattr(listeners, "_said", set())
        locked = threading.Lock()
        run = fallback(degrade=last_good())(Service(locked, locked))

        async def main():
            found = [await run(), await run()]
            with pytest.raises(Down):
                await run()
            return found

        with caplog.at_level(logging.WARNING, "resilient"):
            assert virtual_time(main, backend=backend) == [locked, locked]
        (said,) = [r.getMessage() for r in caplog.records if "keeps nothing" in r.getMessage()]
        assert said.endswith(": copying _thread.lock failed with TypeError")

    def test_a_call_through_a_stack_keeps_it_where_the_function_lasts(self, backend):
        """`stack(...).call(fn)` remembers for a function of a module, and not for a passing one."""
        policy = stack(fallback(degrade=last_good()))
        service = Service("answer", "another")

        async def passing(service):
            return await service()

        async def main():
            await policy.call(lasting, service)
            await policy.call(passing, service)
            with pytest.raises(Down):
                await policy.call(service)
            return await policy.call(lasting, service)

        assert virtual_time(main, backend=backend) == "answer"


async def lasting(service):
    """Ask a service; this function is as old as its module."""
    return await service()


@dataclass
class Slow:
    """A bad answer whose closing takes a while."""

    closed: list = field(default_factory=list)

    async def aclose(self):
        await anyio.sleep(9)
        self.closed.append(now())


@BACKENDS
def test_what_was_found_is_given_although_it_grows_too_old_meanwhile(backend):
    """Once it is said that the chain answers for a failure, it does."""
    bad = Slow()
    run = manager_of(
        fallback(degrade=last_good(max_age=5), on_result=lambda it: it is bad)(
            Service("answer", bad)
        )
    ).run

    async def main():
        await run()
        outcome = await run()
        return outcome.value, outcome.age

    assert virtual_time(main, backend=backend, check_leftovers=True) == ("answer", 9)


@BACKENDS
def test_the_event_and_the_attempt_say_what_happened(backend):
    """The failed attempt fell back, and `Degraded` has the age; without an answer it raised."""
    log = Log()
    run = stack(fallback(degrade=last_good()), retry(attempts=1), listeners=[log])(
        Service(Down(), "answer")
    )

    async def main():
        with pytest.raises(Down):
            await run()
        await run()
        await anyio.sleep(7)
        await run()

    virtual_time(main, backend=backend, check_leftovers=True)
    ends = [event.disposition for event in log.events if isinstance(event, AttemptEnded)]
    assert ends == ["raised", "returned", "fell_back"]
    assert [event.age for event in log.events if isinstance(event, Degraded)] == [7]


class TestWorlds:
    @BACKENDS
    def test_a_run_in_virtual_time_neither_sees_nor_leaves_answers(self, backend):
        """Answers of one clock are unknown to another, whichever came first."""
        service = Service("one", Down(), "two", "real", Down(), Down())
        run = fallback(degrade=last_good())(service)

        async def fails():
            with pytest.raises(Down):
                await run()

        assert virtual_time(run, backend=backend) == "one"
        virtual_time(fails, backend=backend)
        assert virtual_time(run, backend=backend) == "two"
        assert asyncio.run(run()) == "real"
        virtual_time(fails, backend=backend)
        asyncio.run(fails())

    def test_loops_of_one_clock_share_them(self):
        """What one loop was answered, the next one may be given: the Clock is the process's."""
        run = manager_of(fallback(degrade=last_good())(Service("answer"))).run
        assert asyncio.run(run()).value == "answer"
        kept = asyncio.run(run())
        assert kept.degraded
        assert 0 <= kept.age < 60

    def test_threads_share_them_exactly(self):
        """Eight threads with loops of their own: never more than allowed, never a wrong answer."""
        fails = threading.local()

        @fallback(degrade=last_good(key=lambda number: number, max_entries=16))
        async def ask(number):
            if getattr(fails, "now", False):
                raise Down
            return [number]

        wrong = []

        async def main(seed):
            for step in range(300):
                number = (seed * 7 + step * 5) % 40
                fails.now = step % 3 == 2
                with suppress(Down):
                    if await ask(number) != [number]:
                        wrong.append(number)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            logging.getLogger("resilient").disabled = True
            threads = [threading.Thread(target=asyncio.run, args=(main(n),)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
            logging.getLogger("resilient").disabled = False
        assert wrong == []
        memory = manager_of(ask)._chain.memory
        assert len(memory._answers) == 16
        assert set(memory._answers._by_use) == set(memory._answers._by_time)

    @BACKENDS
    def test_the_age_is_that_of_the_answer_that_was_given(self, backend):
        """An old answer that a chain outside rejects lends its age to nobody."""
        inner = fallback(degrade=last_good(), on=Down)(Service("old"))
        policy = fallback(degrade=value("sorry"), on_result=lambda it: it == "old" and now() > 0)
        run = manager_of(policy(inner)).run

        async def main():
            await run()
            await anyio.sleep(3)
            return await run()

        outcome = virtual_time(main, backend=backend)
        assert (outcome.value, outcome.degraded, outcome.age) == ("sorry", True, None)

    def test_the_book_is_touched_under_the_lock_only(self):
        """Whatever asks a key for its hash to look it up holds the lock: no step can interleave."""
        seen = []

        class Key:
            def __hash__(self):
                seen.append(manager_of(run)._chain.memory._lock.locked())
                return 5

            def __eq__(self, other):
                assert manager_of(run)._chain.memory._lock.locked()
                return isinstance(other, Key)

        @fallback(degrade=last_good(key=Key))
        async def run():
            return await service()

        service = Service("answer")

        async def main():
            return await run(), await run()

        assert virtual_time(main) == ("answer", "answer")
        # Each call asks once whether the key can be hashed, and that is no look-up.
        assert seen.count(False) == 2
        assert seen.count(True) >= 4

    def test_nothing_is_copied_under_the_lock(self):
        """An answer that is slow to copy holds up nobody, and one that copies may call."""
        seen = []

        class Copies:
            def __deepcopy__(self, memo):
                seen.append(manager_of(run)._chain.memory._lock.locked())
                return self

        run = fallback(degrade=last_good())(Service(Copies()))

        async def main():
            await run()
            await run()

        virtual_time(main)
        assert seen == [False, False]


class TestConstruction:
    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"max_age": 0}, ValueError, r"last_good\(max_age=\) must be seconds above 0"),
            ({"max_age": None}, ValueError, r"last_good\(max_age=\)"),
            ({"max_entries": 0}, ValueError, r"last_good\(max_entries=\) must be a whole number"),
            ({"key": "sku"}, TypeError, r"last_good\(key=\) must be a function, not 'sku'"),
            ({"key": Service()}, TypeError, r"last_good\(key=\) must be a plain function"),
        ],
    )
    def test_a_bad_option_is_refused_at_once(self, options, error, text):
        """The message names the option, the value and what is accepted."""
        with pytest.raises(error, match=text):
            last_good(**options)

    def test_it_is_a_value(self):
        """Equal options are equal, and a copy is as good."""
        assert last_good() == last_good(max_age=3600) == copy.deepcopy(last_good())
        assert last_good(max_entries=3) != last_good()
        assert hash(last_good()) == hash(last_good())

    def test_explain_says_it(self):
        """The last target is the last good answer, for a decorator and for a manager."""

        def sku_of(sku):
            return sku

        async def ask(sku): ...

        async def small(sku): ...

        told = explain(fallback(to=[small], degrade=last_good())(ask)).splitlines()[1]
        assert told.split(maxsplit=1)[1].endswith("small, then the last good answer up to 1 h old")
        manager = FallbackManager(
            [Target("a", ask, timeout=3)], degrade=last_good(max_age=90, key=sku_of)
        )
        assert "  at last           the last good answer up to 90 s old, kept by sku_of" in (
            explain(manager)
        )
        assert manager.bound.seconds == 3

    def test_nothing_is_kept_of_a_stream(self):
        """Around an async generator function, or a chain of them, it is a `TypeError`."""

        async def words():
            yield "word"

        for make in (
            lambda: fallback(degrade=last_good())(words),
            lambda: FallbackManager([words], degrade=last_good()),
            lambda: standard("words", degrade=last_good())(words),
        ):
            with pytest.raises(TypeError, match=r"degrade=last_good\(\)\) keeps an answer"):
                make()

    def test_anything_else_is_refused(self):
        """`degrade=` names both of its spellings, wherever it stands."""

        async def ask(): ...

        for make in (
            lambda: fallback(degrade=5),
            lambda: FallbackManager([ask], degrade=last_good),
            lambda: standard("ask", degrade=ask),
        ):
            with pytest.raises(TypeError, match=r"\(degrade=\) must be value\(...\) or last_good"):
                make()


@BACKENDS
@pytest.mark.parametrize("where", ["decorator", "manager"])
def test_a_factory_may_be_async_wherever_it_stands(backend, where):
    """`value(factory=)` is awaited on the decorator and on the manager, a new value each time."""

    async def instead():
        await anyio.sleep(2)
        return []

    if where == "decorator":
        run = manager_of(stack(timeout(9), fallback(degrade=value(factory=instead)))(Service())).run
    else:
        run = FallbackManager([Service()], degrade=value(factory=instead)).run

    async def main():
        first, second = await run(), await run()
        first.value.append(1)
        return first, second, now()

    first, second, took = virtual_time(main, backend=backend, check_leftovers=True)
    assert (first.value, second.value, took) == ([1], [], 4)
    assert (first.degraded, first.age) == (True, None)
