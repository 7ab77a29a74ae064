"""The walk through a chain: who is asked next, who is skipped and why, what surfaces at the end.

The model is the rules of the page, written once more and without a cursor: it
looks back at everything that has happened and decides from there.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from resilient._core.fallback import Cursor, FallbackPolicy, TargetSpec
from resilient._core.faults import Fault
from resilient.errors import Rejected

REASONS = {"scope_condemned", "cooldown", "deadline", "routed_away", "disabled"}


class Busy(Exception):
    """An error that may have a route."""


class Filtered(Exception):
    """Another error that may have a route."""


def chain(*scopes: dict[str, str], **options: object) -> FallbackPolicy:
    """Return a chain of targets a, b, c, ... with these scopes."""
    targets = tuple(
        TargetSpec(name="abcdef"[index], scopes=each) for index, each in enumerate(scopes)
    )
    return FallbackPolicy(targets=targets, **options)


def fail(cursor, index, error=None, *, covered=True, rejected=False, **fault):
    """Tell a cursor of a failure and return the error."""
    error = error or ConnectionError(index)
    known = Fault(retryable=False, **fault) if fault else None
    cursor.failed(index, error, known, covered=covered, rejected=rejected)
    return error


def walked(cursor, now=0.0, blocked=None, left=inf):
    """Return who is asked if everybody fails from here on."""
    asked = []
    while (index := cursor.advance(now, blocked or {}, left)) is not None:
        asked.append(index)
        fail(cursor, index)
    return asked


def skips(cursor):
    """Return what was skipped, as (name, reason, scope)."""
    return [(skip.target, skip.reason, skip.scope) for skip in cursor.skipped]


def test_targets_are_asked_in_order():
    """Targets that share nothing are asked one after the other, each once."""
    cursor = Cursor(chain({}, {}, {}))
    assert walked(cursor) == [0, 1, 2]
    assert cursor.skipped == []
    assert cursor.advance(0, {}, inf) is None


def test_whoever_shares_a_condemned_key_is_skipped():
    """A fault of one scope skips the later targets with the same key, and no others."""
    cursor = Cursor(
        chain(
            {"credential": "A", "host": "h"},
            {"credential": "A"},
            {"credential": "B", "host": "h"},
            {"host": "A"},
        )
    )
    assert cursor.advance(0, {}, inf) == 0
    fail(cursor, 0, scope="credential")
    assert walked(cursor) == [2, 3]
    assert skips(cursor) == [("b", "scope_condemned", "credential")]


def test_what_was_condemned_stays_condemned():
    """The key that an earlier failure condemned is not forgotten after a later failure."""
    cursor = Cursor(chain({"host": "h"}, {"credential": "A"}, {"host": "h"}, {"credential": "A"}))
    cursor.advance(0, {}, inf)
    fail(cursor, 0, scope="host")
    assert cursor.advance(0, {}, inf) == 1
    fail(cursor, 1, scope="credential")
    assert walked(cursor) == []
    assert skips(cursor) == [
        ("c", "scope_condemned", "host"),
        ("d", "scope_condemned", "credential"),
    ]


def test_a_scope_that_the_target_does_not_declare_condemns_only_the_target():
    """A fault that names an unknown scope skips nobody."""
    cursor = Cursor(chain({"host": "h"}, {"host": "h"}))
    cursor.advance(0, {}, inf)
    fail(cursor, 0, scope="region")
    assert walked(cursor) == [1]


def test_a_fault_of_the_request_skips_everybody():
    """After a fault of the request itself nobody is asked, and nothing is degraded."""
    cursor = Cursor(chain({}, {}, {}))
    cursor.advance(0, {}, inf)
    error = fail(cursor, 0, scope="request")
    assert cursor.advance(0, {}, inf) is None
    assert skips(cursor) == [(name, "scope_condemned", "request") for name in "bc"]
    assert cursor.ended == "request"
    assert cursor.surfaces() is error


def test_an_error_that_on_does_not_cover_ends_the_chain():
    """After an error outside of `on=` nobody is asked, and it surfaces itself."""
    cursor = Cursor(chain({}, {}))
    cursor.advance(0, {}, inf)
    error = fail(cursor, 0, covered=False)
    assert cursor.advance(0, {}, inf) is None
    assert skips(cursor) == [("b", "routed_away", None)]
    assert (cursor.ended, cursor.surfaces()) == ("on", error)


@pytest.mark.parametrize(
    ("first", "second", "asked"),
    [
        (Busy(), OSError(), [0, 2, 3]),  # a route holds to the end of the call
        (Busy(), Filtered(), [0, 2]),  # a later route takes its place
        (OSError(), Busy(), [0, 1, 2, 3]),
        (Filtered(), OSError(), [0]),
    ],
    ids=["it holds", "another takes its place", "no route yet", "to nobody"],
)
def test_a_route_says_who_may_follow(first, second, asked):
    """The first class of the mapping that matches says who may follow, forwards only."""
    routes = ((Busy, frozenset("cd")), (Filtered, frozenset()))
    cursor = Cursor(chain({}, {}, {}, {}, routes=routes))
    seen = []
    errors = iter([first, second, OSError(), OSError()])
    while (index := cursor.advance(0, {}, inf)) is not None:
        seen.append(index)
        fail(cursor, index, next(errors))
    assert seen == asked


def test_the_first_class_of_the_routes_wins():
    """Of two classes that match, the one that stands first in the mapping decides."""
    cursor = Cursor(chain({}, {}, {}, routes=((OSError, frozenset("c")), (Busy, frozenset("b")))))
    cursor.advance(0, {}, inf)
    fail(cursor, 0, type("Both", (Busy, OSError), {})())
    assert walked(cursor) == [2]


def test_what_is_blocked_is_skipped_with_the_time_left():
    """A target in cool-down and one with a tripped scope are skipped, with their `retry_after`."""
    blocked = {("target", "a"): 12.0, ("credential", "B"): 30.0, ("target", "c"): 4.0}
    cursor = Cursor(chain({}, {"credential": "B"}, {}))
    assert cursor.advance(4.0, blocked, inf) == 2
    assert [(s.target, s.reason, s.scope, s.retry_after) for s in cursor.skipped] == [
        ("a", "cooldown", None, 8.0),
        ("b", "scope_condemned", "credential", 26.0),
    ]


def test_nobody_is_asked_when_no_time_is_left():
    """With nothing left of the deadline every further target is skipped."""
    cursor = Cursor(chain({}, {}))
    cursor.advance(0, {}, 1.0)
    fail(cursor, 0)
    assert cursor.advance(1.0, {}, 1e-12) is None
    assert skips(cursor) == [("b", "deadline", None)]
    assert cursor.surfaces() is None


def test_a_target_is_asked_once_for_each_call_whether_it_takes_part():
    """However often the chain looks ahead, `enabled` is called once for each call."""
    asked: list[str] = []

    def enabled(name: str) -> bool:
        asked.append(name)
        return name != "b"

    targets = tuple(
        TargetSpec(name=name, enabled=lambda name=name: enabled(name)) for name in "abc"
    )
    cursor = Cursor(FallbackPolicy(targets=targets))
    cursor.has_later(0, None, None, 0, {})
    cursor.advance(0, {}, inf)
    cursor.limit(0, 0, {}, inf)
    fail(cursor, 0)
    cursor.peek(0, {}, inf)
    assert walked(cursor) == [2]
    assert sorted(asked) == ["a", "b", "c"]
    assert skips(cursor) == [("b", "disabled", None)]


class TestWhatSurfaces:
    """One error where the others were not asked because of it, else the group."""

    def test_the_only_target_s_error(self):
        """Where there is no other target, the error itself surfaces."""
        cursor = Cursor(chain({}))
        cursor.advance(0, {}, inf)
        error = fail(cursor, 0)
        assert cursor.surfaces() is error

    def test_one_failure_that_condemned_all_others(self):
        """One failure whose key all others share surfaces itself."""
        cursor = Cursor(chain({"credential": "A"}, {"credential": "A"}))
        cursor.advance(0, {}, inf)
        error = fail(cursor, 0, scope="credential")
        walked(cursor)
        assert cursor.surfaces() is error

    def test_one_failure_among_targets_that_cool_down(self):
        """One failure, another target resting for other reasons: the group."""
        cursor = Cursor(chain({}, {}))
        cursor.advance(0, {}, inf)
        fail(cursor, 0)
        cursor.advance(0, {("target", "b"): 5.0}, inf)
        assert cursor.surfaces() is None

    def test_a_skip_before_the_failure_is_not_its_doing(self):
        """A target that was skipped before the only failure makes it the group."""
        cursor = Cursor(chain({}, {"host": "h"}, {"host": "h"}))
        cursor.advance(0, {("target", "a"): 5.0}, inf)
        fail(cursor, 1, scope="host")
        walked(cursor)
        assert skips(cursor) == [("a", "cooldown", None), ("c", "scope_condemned", "host")]
        assert cursor.surfaces() is None

    def test_a_target_that_is_switched_off_is_no_other_target(self):
        """With all others switched off, the one failure surfaces itself."""
        targets = (TargetSpec(name="a"), TargetSpec(name="b", enabled=False))
        cursor = Cursor(FallbackPolicy(targets=targets))
        cursor.advance(0, {}, inf)
        error = fail(cursor, 0)
        walked(cursor)
        assert cursor.surfaces() is error

    def test_two_failures(self):
        """Two failures are the group."""
        cursor = Cursor(chain({}, {}))
        walked(cursor)
        assert cursor.surfaces() is None
        assert not cursor.is_rejected()

    def test_one_refusal_among_targets_that_were_not_asked(self):
        """A refusal alone does not stand for the targets that its route left out: the group."""
        cursor = Cursor(chain({}, {}, routes=((Rejected, frozenset()),)))
        cursor.advance(0, {}, inf)
        fail(cursor, 0, Rejected("full", policy="bulkhead"), rejected=True)
        assert walked(cursor) == []
        assert cursor.surfaces() is None

    @pytest.mark.parametrize(("raises", "index"), [("first", 0), ("last", 1)])
    def test_the_one_that_was_chosen(self, raises, index):
        """With `raises=` the first or the last error surfaces."""
        cursor = Cursor(chain({}, {}, raises=raises))
        walked(cursor)
        assert cursor.surfaces() is cursor.failures[index].error

    def test_refusals_alone_are_a_rejection(self):
        """Where every target refused, nobody was called."""
        cursor = Cursor(chain({}, {}))
        for _ in range(2):
            index = cursor.advance(0, {}, inf)
            fail(cursor, index, Rejected("full", policy="bulkhead"), rejected=True)
        assert cursor.is_rejected()
        assert cursor.surfaces() is None

    def test_nobody_asked_is_a_rejection(self):
        """Where every target was skipped, nobody was called, whatever `raises=` says."""
        cursor = Cursor(chain({}, raises="first"))
        assert cursor.advance(0, {("target", "a"): 1.0}, inf) is None
        assert cursor.is_rejected()
        assert cursor.surfaces() is None


class TestTime:
    """How much of the deadline a target may take."""

    def test_each_later_target_keeps_an_equal_share_at_most(self):
        """Without a reserve a target leaves to each later one what it needs, at most its share."""
        targets = (
            TargetSpec(name="a"),
            TargetSpec(name="b", seconds=5.0),
            TargetSpec(name="c"),
        )
        cursor = Cursor(FallbackPolicy(targets=targets, deadline=60.0))
        assert cursor.limit(0, 0, {}, 60.0) == 60.0 - 5.0 - 20.0
        assert cursor.limit(1, 0, {}, 35.0) == 15.0
        assert cursor.limit(2, 0, {}, 20.0) == 20.0

    def test_a_reserve_is_kept_for_each_later_target(self):
        """With a reserve each later target keeps so many seconds."""
        cursor = Cursor(chain({}, {}, {}, deadline=60.0, reserve=7.0))
        assert cursor.limit(0, 0, {}, 60.0) == 46.0

    def test_nothing_is_kept_for_a_target_that_will_not_be_asked(self):
        """A target that is switched off, blocked or condemned keeps nothing."""
        targets = (
            TargetSpec(name="a"),
            TargetSpec(name="b", enabled=False),
            TargetSpec(name="c"),
            TargetSpec(name="d"),
        )
        cursor = Cursor(FallbackPolicy(targets=targets, deadline=40.0))
        assert cursor.limit(0, 0, {("target", "c"): 9.0}, 40.0) == 30.0

    def test_too_little_for_all_is_for_the_one_whose_turn_it_is(self):
        """Where the reserves exceed what is left, the running target may take all of it."""
        cursor = Cursor(chain({}, {}, deadline=60.0, reserve=50.0))
        assert cursor.limit(0, 0, {}, 20.0) == 20.0


class TestPatience:
    """Whether somebody else could be asked if a target failed in a certain way."""

    @pytest.mark.parametrize(
        ("fault", "error", "later"),
        [
            (None, None, True),
            (Fault(retryable=True), OSError(), True),
            (Fault(retryable=True, scope="credential"), OSError(), False),
            (Fault(retryable=True, scope="request"), OSError(), False),
            (None, Filtered(), False),
        ],
        ids=["unknown", "plain", "shared key", "request", "routed to nobody"],
    )
    def test_somebody_is_left(self, fault, error, later):
        """A fault that would skip all others leaves nobody."""
        policy = chain({"credential": "A"}, {"credential": "A"}, routes=((Filtered, frozenset()),))
        cursor = Cursor(policy)
        cursor.advance(0, {}, inf)
        assert cursor.has_later(0, error, fault, 0, {}) is later
        assert (cursor.failures, cursor.skipped, cursor.ended) == ([], [], None)

    def test_a_blocked_target_is_nobody(self):
        """A later target that cools down could not be asked."""
        cursor = Cursor(chain({}, {}))
        assert not cursor.has_later(0, None, None, 3.0, {("target", "b"): 3.5})
        assert cursor.has_later(0, None, None, 3.5, {("target", "b"): 3.5})


class TestWhatIsBlocked:
    """What one failure says to later calls."""

    @pytest.mark.parametrize(
        ("fault", "blocked"),
        [
            (None, {}),
            (Fault(retryable=True), {}),
            (Fault(retryable=True, retry_after=2), {}),
            (Fault(retryable=True, retry_after=3), {}),  # `switch_after` itself is waited for
            (Fault(retryable=True, retry_after=5), {("target", "a"): 5}),
            (Fault(retryable=True, retry_after=2, health="cooldown"), {("target", "a"): 2}),
            (Fault(retryable=True, health="cooldown"), {}),
            (Fault(retryable=False, scope="host", health="trip"), {("host", "h"): 30}),
            (Fault(retryable=False, scope="region", health="trip"), {("target", "a"): 30}),
            (Fault(retryable=False, health="trip"), {("target", "a"): 30}),
            (Fault(retryable=False, retry_after=90, health="trip"), {("target", "a"): 90}),
            (Fault(retryable=False, scope="request", health="trip"), {}),
        ],
        ids=str,
    )
    def test_a_fault_blocks(self, fault, blocked):
        """A hint blocks the target, a trip the scope's key, and a fault of the request nothing."""
        assert chain({"host": "h"}).blocks(0, fault) == blocked


scopes = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("host", "credential"), st.sampled_from(["1", "2"]))
)
targets = st.builds(
    lambda scopes, enabled: (scopes, enabled),
    scopes,
    st.sampled_from([True, True, True, False]),
)
routes = st.dictionaries(
    st.sampled_from([Busy, Filtered, OSError]), st.frozensets(st.sampled_from("abcde")), max_size=2
)


class Walk(RuleBasedStateMachine):
    """One call walks a chain; a naive model looks back and says what must hold."""

    @initialize(
        made=st.lists(targets, min_size=2, max_size=5),
        routes=routes,
        raises=st.sampled_from(["group", "group", "group", "first", "last"]),
        left=st.sampled_from([inf, inf, 1.0, 3.0]),
        blocked=st.dictionaries(
            st.sampled_from([("target", "a"), ("host", "1"), ("credential", "2")]),
            st.just(1.0),
            max_size=1,
        ),
    )
    def begin(self, made, routes, raises, left, blocked):
        """Make a chain and a table of what is blocked."""
        specs = tuple(
            TargetSpec(name="abcde"[index], scopes=scopes, enabled=enabled)
            for index, (scopes, enabled) in enumerate(made)
        )
        self.policy = FallbackPolicy(targets=specs, routes=tuple(routes.items()), raises=raises)
        self.cursor = Cursor(self.policy)
        self.now, self.left = 0.0, left
        self.blocked: dict[tuple[str, str], float] = dict(blocked)
        self.asked: list[int] = []
        self.running: int | None = None
        self.failed: list[tuple[int, Exception, Fault | None, bool]] = []
        self.over = False
        self.advance()

    def advance(self):
        """Ask the next target."""
        before = len(self.cursor.skipped)
        peeked = self.cursor.peek(self.now, self.blocked, self.left)
        index = self.cursor.advance(self.now, self.blocked, self.left)
        assert index == peeked
        first = self.asked[-1] + 1 if self.asked else 0
        passed = range(first, len(self.policy.targets) if index is None else index)
        new = self.cursor.skipped[before:]
        assert [skip.target_index for skip in new] == list(passed)
        for skip in new:
            assert (skip.reason, skip.scope) == self.reason(skip.target_index)
        if index is None:
            self.over = True
        else:
            assert self.reason(index) is None
            self.asked.append(index)
            self.running = index

    @precondition(lambda self: self.running is not None)
    @rule(
        error=st.sampled_from([Busy, Filtered, ConnectionError, ValueError]),
        scope=st.sampled_from(["host", "credential", None, "region", "request"]),
        known=st.sampled_from([True, True, False]),
        covered=st.sampled_from([True, True, True, True, False]),
        rejected=st.sampled_from([False, False, False, False, True]),
        seconds=st.sampled_from([0.0, 0.0, 0.5, 2.0]),
        news=st.none() | st.sampled_from([("target", "c"), ("target", "d"), ("host", "2")]),
    )
    def fail(self, error, scope, known, covered, rejected, seconds, news):
        """Let the running target fail or refuse, and other calls learn something meanwhile."""
        self.now += seconds
        self.left -= seconds
        if news is not None:
            self.blocked[news] = self.now + 2.0
        made = Rejected("no", policy="test") if rejected else error()
        fault = Fault(retryable=False, scope=scope) if known and not rejected else None
        covered = covered or rejected
        later = [
            index
            for index in range(self.running + 1, len(self.policy.targets))
            if self.reason(index, (self.running, made, fault, True), left=inf) is None
        ]
        seen = self.cursor.has_later(self.running, made, fault, self.now, self.blocked)
        assert seen is bool(later)
        self.cursor.failed(self.running, made, fault, covered=covered, rejected=rejected)
        self.failed.append((self.running, made, fault, covered))
        self.running = None
        self.advance()

    @precondition(lambda self: self.over)
    @rule()
    def stay_at_the_end(self):
        """Nobody is asked any more."""
        before = list(self.cursor.skipped)
        assert self.cursor.advance(self.now, self.blocked, self.left) is None
        assert self.cursor.skipped == before

    def reason(self, index, *more, left=None):
        """Say why a target may not be asked now, from everything that has happened."""
        target = self.policy.targets[index]
        failed = [*self.failed, *more]
        if not target.enabled:
            return "disabled", None
        owed = self.owed(index, failed)
        if owed is not None:
            return owed
        if self.blocked.get(("target", target.name), 0) > self.now:
            return "cooldown", None
        for scope, key in target.scopes.items():
            if self.blocked.get((scope, key), 0) > self.now:
                return "scope_condemned", scope
        left = self.left if left is None else left
        return ("deadline", None) if left <= 0 else None

    def owed(self, index, failed):
        """Say why a target is skipped because of a failure of this very call."""
        target = self.policy.targets[index]
        if any(fault is not None and fault.scope == "request" for _, _, fault, _ in failed):
            return "scope_condemned", "request"
        if not all(covered for *_, covered in failed):
            return "routed_away", None
        routed = [
            next(names for kind, names in self.policy.routes if isinstance(error, kind))
            for _, error, _, _ in failed
            if any(isinstance(error, kind) for kind, _ in self.policy.routes)
        ]
        if routed and target.name not in routed[-1]:
            return "routed_away", None
        for scope, key in target.scopes.items():
            for place, _, fault, _ in failed:
                mine = self.policy.targets[place].scopes.get(scope)
                if fault is not None and fault.scope == scope and mine == key:
                    return "scope_condemned", scope
        return None

    @invariant()
    def order_is_preserved(self):
        """Targets are asked and skipped forwards, and each at most once."""
        skipped = [skip.target_index for skip in self.cursor.skipped]
        for indices in (self.asked, skipped):
            assert all(one < other for one, other in pairwise(indices))
        assert not set(self.asked) & set(skipped)

    @invariant()
    def condemned_is_never_asked(self):
        """No target that shares a key with one whose failure condemned it is asked later."""
        for place, _, fault, _ in self.failed:
            scope = None if fault is None else fault.scope
            key = self.policy.targets[place].scopes.get(scope)
            later = [index for index in self.asked if index > place]
            assert key is None or all(
                self.policy.targets[index].scopes.get(scope) != key for index in later
            )

    @invariant()
    def every_skip_has_a_reason(self):
        """A skip names one of the reasons, and a scope exactly where a scope is the reason."""
        for skip in self.cursor.skipped:
            assert skip.reason in REASONS
            assert (skip.scope is not None) == (skip.reason == "scope_condemned")

    @invariant()
    def everybody_is_accounted_for(self):
        """At the end each target was asked or skipped."""
        if self.over:
            told = len(self.asked) + len(self.cursor.skipped)
            assert told == len(self.policy.targets)

    @invariant()
    def what_surfaces_is_the_rule(self):
        """One error surfaces if it alone kept all others from being asked, else the group."""
        if not self.over:
            return
        surfaced = self.cursor.surfaces()
        errors = [error for _, error, _, _ in self.failed]
        if not errors:
            assert surfaced is None
        elif self.policy.raises != "group":
            assert surfaced is errors[0 if self.policy.raises == "first" else -1]
        else:
            others = [skip for skip in self.cursor.skipped if skip.reason != "disabled"]
            mine = all(
                skip.target_index > self.failed[0][0] and self.owed(skip.target_index, self.failed)
                for skip in others
            )
            refused = isinstance(errors[0], Rejected) and bool(others)
            alone = len(errors) == 1 and mine and not refused
            assert surfaced is (errors[0] if alone else None)
        assert self.cursor.is_rejected() is all(isinstance(each, Rejected) for each in errors)


TestWalk = Walk.TestCase
# A walk is short: at most five targets.
TestWalk.settings = settings(max_examples=4 * settings.default.max_examples, stateful_step_count=6)
