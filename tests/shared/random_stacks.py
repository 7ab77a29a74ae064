"""Stacks of policies that nobody has thought of: strategies of pipelines and managers.

A stack is one to five policies in any order that can be built, around a
function or a chain of them; the functions it falls back to may be guarded as
well. What is odd (a retry around a retry) is drawn too: its promises hold all
the same. Whatever comes first among alternatives is the simplest, so that a
failing stack shrinks to few policies with few options.
"""

from __future__ import annotations

import warnings

from hypothesis import strategies as st

from resilient import (
    FallbackManager,
    PolicyOrderWarning,
    RetryBudget,
    Target,
    circuit_breaker,
    consecutive,
    count_window,
    fallback,
    middleware,
    retry,
    stack,
    time_window,
    timeout,
    transient,
    value,
)
from resilient.testing import fresh_breakers

BUDGETS = [RetryBudget(f"random.{few}", ratio=0, reserve=few) for few in (1, 0, 2)]
SECONDS = st.sampled_from([10, 1, 3, 0.5, 30])


@middleware
async def looks_on(call, proceed):
    """Hand everything on."""
    return await proceed()


@middleware(calls=2)
async def asks_twice(call, proceed):
    """Ask once more after an error."""
    try:
        return await proceed()
    except Exception:
        return await proceed()


async def first(question: str) -> str: ...


async def second(question: str) -> str: ...


async def third(question: str) -> str: ...


@st.composite
def retries(draw):
    """Draw a retry."""
    attempts = draw(st.sampled_from([2, 3, 1, None]))
    elapsed = draw(st.sampled_from([None, 4, 60])) if attempts else 5
    budget = draw(st.sampled_from([None, *BUDGETS]))
    return retry(
        attempts=attempts,
        backoff=draw(st.sampled_from([[1], None, [0], [0.3, 5]])) if attempts else [1],
        max_hint=draw(st.sampled_from([60, 1])),
        max_elapsed=elapsed,
        on=draw(st.sampled_from([transient, (ConnectionError, KeyError), Exception])),
        budget=budget if attempts else None,
    )


@st.composite
def breakers(draw, name):
    """Draw a circuit breaker."""
    return circuit_breaker(
        name,
        trip=draw(
            st.sampled_from(
                [
                    consecutive(2),
                    consecutive(1),
                    count_window(4, failure_rate=0.5, min_calls=2),
                    time_window(10, failure_rate=0.5, min_calls=2, slow_call=2, slow_rate=0.5),
                ]
            )
        ),
        open_for=draw(st.sampled_from([10, 1])),
        probes=draw(st.integers(1, 2)),
        mode=draw(st.sampled_from(["enforce", "observe"])),
    )


@st.composite
def fallbacks(draw):
    """Draw a chain of one to three targets, of which some are guarded as well."""
    others = [second, third][: draw(st.integers(0, 2))]
    guards = st.sampled_from([None, timeout(3), retry(attempts=2, backoff=[1])])
    to = [other if guard is None else guard(other) for other in others for guard in [draw(guards)]]
    return fallback(
        to=to,
        degrade=value("sorry") if not to or draw(st.booleans()) else None,
        switch_after=draw(st.sampled_from([3, 0, 100])),
    )


def parts(name):
    """Return strategies for a part of a stack, in which a breaker has that name."""
    return st.one_of(
        retries(),
        st.builds(timeout, SECONDS),
        breakers(name),
        fallbacks(),
        st.sampled_from([looks_on, asks_twice]),
    )


@st.composite
def pipelines(draw, most=5, name="random"):
    """Draw a stack of up to `most` policies."""
    with warnings.catch_warnings(), fresh_breakers():
        warnings.simplefilter("ignore", PolicyOrderWarning)
        depth = draw(st.integers(1, most))
        return stack(*[draw(parts(f"{name}.{place}")) for place in range(depth)])


@st.composite
def managers(draw):
    """Draw a manager of up to three targets, each with policies of its own."""
    with warnings.catch_warnings(), fresh_breakers():
        warnings.simplefilter("ignore", PolicyOrderWarning)
        targets = [
            Target(
                fn.__name__,
                fn,
                policies=draw(st.none() | pipelines(2, fn.__name__)),
                scopes=draw(st.sampled_from([{}, {"host": "a"}, {"host": "b"}])),
                priority=draw(st.integers(0, 1)),
            )
            for fn in [first, second, third][: draw(st.integers(1, 3))]
        ]
        return FallbackManager(
            targets,
            deadline=draw(st.none() | SECONDS),
            reserve=draw(st.sampled_from([None, 0, 2])),
            switch_after=draw(st.sampled_from([3, 0, 100])),
            degrade=draw(st.none() | st.just(value("sorry"))),
        )


def anything():
    """Return what is guarded in any way: a pipeline or a manager."""
    return pipelines() | managers()
