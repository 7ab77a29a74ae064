"""What holds for every call of a chain, whatever its targets do.

Each fact is a function of one course that returns what is wrong with it,
`None` where it holds and `MISSING` where the course says nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isclose
from typing import TYPE_CHECKING, Final, TypeAlias

from resilient import ResilientError
from resilient_openrouter.emulator._said import begins_with, whole_answer
from resilient_openrouter.errors import OpenRouterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient import Attempt
    from resilient_openrouter._soak._course import Course
    from resilient_openrouter._soak._plan import Plan
    from resilient_openrouter.results import ModelCall

__all__ = ("Invariant", "INVARIANTS", "MISSING", "Terms")

MISSING: Final = "missing"
Finding: TypeAlias = str | None

_GRACE: Final = 5.0
"""Seconds that a machine without a moment to spare may be late."""

_UNSENT: Final = frozenset({"ConnectFailed", "LocalSaturation"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a course is judged by: the plan, and what each target depends on."""

    plan: Plan
    scopes: Mapping[str, Mapping[str, str]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Invariant:
    """A fact about every course."""

    says: str
    check: Callable[[Course, Terms], Finding]


def _one_answer(course: Course, terms: Terms) -> Finding:
    reply, way = course.reply, course.way
    if reply is None or way is None:
        return MISSING
    if terms.plan.streams and course.heard != reply.content:
        return "the stream said something else than its reply"
    if way.degraded:
        return None if reply.content == terms.plan.degrade else "not the last resort that was given"
    if reply.model != way.target:
        return f"{reply.model} spoke for {way.target}"
    if terms.plan.emulator is None:
        return None
    if course.entry is None or course.entry.model != way.target:
        return f"the server gave no such answer as {way.target}"
    whole = whole_answer(course.entry)
    return None if reply.content == whole else f"a part of {course.entry.scenario}"


def _one_voice(course: Course, terms: Terms) -> Finding:
    if not course.heard or course.reply is not None or terms.plan.emulator is None:
        return MISSING
    heard = any(begins_with(entry, course.heard) for entry in course.requests)
    return None if heard else "what was heard begins no answer"


def _typed(course: Course, terms: Terms) -> Finding:
    del terms
    if course.error is None:
        return MISSING
    is_ours = isinstance(course.error, OpenRouterError | ResilientError)
    return None if is_ours else f"raised {type(course.error).__name__}"


def _bounded(course: Course, terms: Terms) -> Finding:
    asked = [attempt.target for attempt in _attempts(course)]
    most = max(map(asked.count, asked), default=0)
    return None if most <= terms.plan.attempts else f"{most} attempts on one target"


def _in_order(course: Course, terms: Terms) -> Finding:
    del terms
    places = [attempt.target_index for attempt in _attempts(course)]
    return None if places == sorted(places) else f"targets in the order {places}"


def _nothing_after(course: Course, terms: Terms) -> Finding:
    del terms
    for attempt in _attempts(course)[:-1]:
        if attempt.error is None:
            return f"attempt {attempt.number} had answered"
    answered = course.entry
    if answered is not None and any(each.began > answered.began for each in course.requests):
        return "a request after the one that was answered"
    return None


def _condemned(course: Course, terms: Terms) -> Finding:
    dead: dict[str, str] = {}
    for target, call in _last_calls(course).items():
        scopes = terms.scopes[target]
        for scope, key in dead.items():
            if scope == "request" or scopes.get(scope) == key:
                return f"{target} shares the {scope} that had failed"
        if call.scope == "request":
            dead[call.scope] = ""
        elif call.scope is not None and call.scope in scopes:
            dead[call.scope] = scopes[call.scope]
    return None


def _accounted(course: Course, terms: Terms) -> Finding:
    del terms
    calls, attempts = len(_calls(course)), len(_attempts(course))
    return None if calls == attempts else f"{calls} records of {attempts} attempts"


def _arrived(course: Course, terms: Terms) -> Finding:
    if terms.plan.emulator is None:
        return MISSING
    calls, requests = _calls(course), len(course.requests)
    # One that was given up before its headers came may not have been sent.
    sure = sum(call.headers_after is not None for call in calls)
    sent = sum(call.error_class not in _UNSENT for call in calls)
    if sure <= requests <= sent:
        return None
    return f"the server saw {requests} requests, the ledger has {sent} that were sent"


def _charged(course: Course, terms: Terms) -> Finding:
    if terms.plan.emulator is None:
        return MISSING
    charged = {entry.generation: entry.cost for entry in course.requests}
    for call in _calls(course):
        wanted = charged.get(call.generation_id or "")
        if call.cost is not None and wanted is not None and not isclose(call.cost, wanted):
            return (
                f"{call.error_class or 'an answer'} cost {wanted:g}, the ledger says {call.cost:g}"
            )
    return None


def _in_time(course: Course, terms: Terms) -> Finding:
    deadline = terms.plan.deadline
    if deadline is None:
        return MISSING
    return None if course.took <= deadline + _GRACE else f"took {course.took:.1f} s"


def _told(course: Course, terms: Terms) -> Finding:
    way = course.way
    if way is None:
        return "nobody was told how it ended"
    if (course.error is None) == (course.reply is None):
        return "neither an answer nor an error"
    first = terms.plan.models[0]
    if course.reply is not None and way.fallback_used != (way.target not in {None, first}):
        return f"answered by {way.target}, fallback_used is {way.fallback_used}"
    at_fault = [call for call in _last_calls(course).values() if call.scope == "request"]
    if way.degraded and at_fault:
        return "degraded, where the request itself was at fault"
    return None


def _attempts(course: Course) -> tuple[Attempt, ...]:
    return () if course.way is None else course.way.attempts


def _calls(course: Course) -> tuple[ModelCall, ...]:
    return () if course.way is None else course.way.calls


def _last_calls(course: Course) -> dict[str, ModelCall]:
    """Return the call that each target ended with, in order."""
    return {call.target: call for call in _calls(course)}


INVARIANTS: Final = (
    Invariant("an answer is the whole answer of one target", _one_answer),
    Invariant("what a broken stream gave is the beginning of one answer", _one_voice),
    Invariant("what is raised is an error of the library", _typed),
    Invariant("how it ended is told, and told right", _told),
    Invariant("no target is asked more often than allowed", _bounded),
    Invariant("targets are asked in their order", _in_order),
    Invariant("nobody is asked after an answer", _nothing_after),
    Invariant("nobody is asked who shares what has failed", _condemned),
    Invariant("each attempt is in the ledger once", _accounted),
    Invariant("the requests of the server are those of the ledger", _arrived),
    Invariant("a known cost is what the server charges", _charged),
    Invariant("a call ends by its deadline", _in_time),
)
