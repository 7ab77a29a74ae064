"""The transient table: how an error is found in it, how it is extended and printed."""

from __future__ import annotations

import asyncio
import builtins
import copy
import errno
import gc
import http.client
import json
import os
import pickle
import socket
import ssl
import sys
import urllib.error
import weakref
from http import HTTPStatus
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient._core.transient import RETRYABLE, Table, transient, unsent
from resilient._core.transient_rows import KINDS, PROGRAMMING, ROWS, STATUSES
from resilient.errors import (
    AllTargetsFailed,
    Rejected,
    ResilientError,
    Skipped,
    TimedOut,
    Unacceptable,
)

UNSENT, TRANSIENT, THROTTLED, PERMANENT = KINDS


class Busy(Exception):
    """An exception of a user's own library."""


class VeryBusy(Busy):
    """A more special one."""


class Answered(Exception):
    """An exception with whatever attributes a test gives it."""

    def __init__(self, **attributes: object) -> None:
        super().__init__("message")
        self.__dict__.update(attributes)


def named(root: str, name: str, *bases: type, **attributes: object) -> type[Exception]:
    """Return a class as it would come out of another library."""
    return type(name, bases or (Exception,), {"__module__": f"{root}.errors", **attributes})


BUILTIN = [
    (ConnectionRefusedError(), UNSENT),
    (socket.gaierror(socket.EAI_AGAIN, "m"), UNSENT),
    (socket.gaierror(socket.EAI_NONAME, "m"), UNSENT),
    (socket.herror(1, "m"), UNSENT),
    (ConnectionResetError(), TRANSIENT),
    (ConnectionAbortedError(), TRANSIENT),
    (BrokenPipeError(), TRANSIENT),
    (http.client.RemoteDisconnected(), TRANSIENT),
    (TimeoutError(), TRANSIENT),
    (asyncio.TimeoutError(), TRANSIENT),  # noqa: UP041 - the alias is the point
    (OSError(errno.ETIMEDOUT, "m"), TRANSIENT),
    (OSError(errno.ECONNREFUSED, "m"), UNSENT),
    (OSError(errno.ENETUNREACH, "m"), TRANSIENT),
    (OSError(errno.EHOSTUNREACH, "m"), TRANSIENT),
    (OSError(errno.EADDRNOTAVAIL, "m"), UNSENT),
    (OSError(errno.EMFILE, "m"), TRANSIENT),
    (OSError(errno.ENOSPC, "m"), None),
    (OSError("a text of somebody's"), None),
    (OSError(), None),
    (FileNotFoundError(errno.ENOENT, "m"), PERMANENT),
    (PermissionError(errno.EACCES, "m"), PERMANENT),
    (ssl.SSLError(1, "m"), TRANSIENT),
    (ssl.SSLEOFError(8, "m"), TRANSIENT),
    (ssl.SSLCertVerificationError(1, "m"), PERMANENT),
    (asyncio.IncompleteReadError(b"", 1), TRANSIENT),
    (EOFError(), None),
    (RuntimeError(), None),
    (Exception(), None),
    (TimedOut(8, "attempt"), TRANSIENT),
    (TimedOut(30, "total"), TRANSIENT),
    (Rejected("m", policy="bulkhead"), PERMANENT),
    (Skipped("claude", "cooldown"), PERMANENT),
    (Unacceptable("m"), None),
    (ResilientError("m"), None),
]


def name_of(error: object) -> str:
    return f"{type(error).__name__}({error})" if isinstance(error, Exception) else str(error)


@pytest.mark.parametrize(
    ("error", "kind"), BUILTIN, ids=[f"{i}-{name_of(e)}" for i, (e, _) in enumerate(BUILTIN)]
)
def test_errors_of_python_and_our_own(error, kind):
    """What the standard library and this one raise is judged without anything else installed."""
    assert transient.kind_of(error) == kind
    assert transient(error) is (kind in RETRYABLE)
    assert unsent(error) is (kind == UNSENT)
    assert transient.knows(error) is (kind is not None)


def test_programming_errors_are_never_transient():
    """A bug and malformed data are not retried, even with a status that would be."""
    malformed = json.JSONDecodeError("m", "", 0)
    for error in (
        ZeroDivisionError(),
        KeyError(),
        UnicodeDecodeError("utf-8", b"", 0, 1, "m"),
        StopAsyncIteration(),
        ModuleNotFoundError(),
        UnboundLocalError(),
        malformed,
        UserWarning(),
        NotImplementedError(),
        RecursionError(),
        IndentationError(),
    ):
        assert transient.kind_of(error) is None
        assert not transient(error)
        assert transient.knows(error)
    bug = type("Bug", (ValueError,), {"status_code": 503})()
    assert not transient(bug)
    assert transient.kind_of(bug) is None


@pytest.mark.parametrize("name", PROGRAMMING)
def test_programming_errors_are_builtins(name):
    """Every name in the list of bugs is a builtin exception."""
    assert issubclass(getattr(builtins, name), Exception)


def test_only_exceptions_are_accepted():
    """Cancellation, exit and groups that hold them are never transient, whatever they say."""
    cancelled = asyncio.CancelledError()
    cancelled.retryable = True
    exits = type("Exits", (SystemExit,), {"retryable": True, "status_code": 503})()
    mixed = BaseExceptionGroup("m", [ConnectionError(), cancelled])
    for error in (cancelled, KeyboardInterrupt(), exits, GeneratorExit(), mixed):
        assert not transient(error)
        assert not unsent(error)
        assert transient.knows(error)


def test_every_kind_is_one_of_four():
    """A row says unsent, transient, throttled or permanent; all but permanent are retried."""
    assert set(ROWS.values()) == set(KINDS)
    assert {*RETRYABLE, PERMANENT} == set(KINDS)


def test_nothing_is_imported_by_the_table():
    """An error is judged by the name of its class: no library that a row names is loaded for it."""
    before = set(sys.modules)
    for row in ROWS:
        transient(named(row[0], row[1])())
    assert {name.partition(".")[0] for name in set(sys.modules) - before} == set()


@pytest.mark.parametrize(
    ("row", "kind"),
    [(row, kind) for row, kind in ROWS.items() if len(row) == 2 and row[0] != "resilient"],
    ids=["-".join(row) for row in ROWS if len(row) == 2 and row[0] != "resilient"],
)
def test_rows_without_a_code_are_found_by_name(row, kind):
    """Root of the module and name of the class are enough, for the class and its subclasses."""
    cls = named(*row)
    assert transient.kind_of(cls()) == kind
    assert transient.kind_of(type("Further", (cls,), {})()) == kind
    if row[0] != "builtins":
        assert transient.kind_of(named("elsewhere", row[1])()) is None


# Statuses and codes


@pytest.mark.parametrize(
    ("status", "kind"),
    [(408, TRANSIENT), (425, TRANSIENT), (429, THROTTLED), (500, TRANSIENT), (502, TRANSIENT),
     (503, TRANSIENT), (504, TRANSIENT), (529, TRANSIENT), (400, PERMANENT), (401, PERMANENT),
     (404, PERMANENT), (409, PERMANENT), (422, PERMANENT), (499, PERMANENT), (501, None),
     (505, None), (200, None), (302, None)],
)  # fmt: skip
def test_unknown_classes_are_judged_by_status(status, kind):
    """An HTTP status in one of the usual places decides about a class that no row names."""
    response = SimpleNamespace(status_code=status)
    for error in (
        Answered(status_code=status),
        Answered(status=status),
        Answered(status_code=HTTPStatus(status) if status in set(HTTPStatus) else status),
        Answered(response=response),
        Answered(response={"ResponseMetadata": {"HTTPStatusCode": status}}),
    ):
        assert transient.kind_of(error) == kind


def test_first_place_with_a_status_counts():
    """`status_code` comes before `status`, and a place that holds no status is passed over."""
    assert transient.kind_of(Answered(status_code=503, status=404)) == TRANSIENT
    assert transient.kind_of(Answered(status_code=0, status=404)) == PERMANENT
    assert transient.kind_of(Answered(status_code=None, status="404")) is None


@pytest.mark.parametrize("status", ["503", 503.0, True, None, 50_300, -503, [503], mock.Mock()])
def test_what_is_no_status_is_none(status):
    """A text, a float, a bool or a mock is no status."""
    assert transient.kind_of(Answered(status_code=status)) is None


def test_status_of_the_standard_library():
    """An HTTP error of `urllib` is an `OSError` without a number, and judged by its status."""
    for status, kind in ((503, TRANSIENT), (404, PERMANENT), (429, THROTTLED)):
        error = urllib.error.HTTPError("http://127.0.0.1", status, "m", {}, None)
        assert transient.kind_of(error) == kind
        error.close()


def test_all_statuses_of_the_table_are_statuses():
    """The statuses are those of errors, and only 429 is throttled."""
    assert all(400 <= status < 600 for status in STATUSES)
    assert [status for status, kind in STATUSES.items() if kind == THROTTLED] == [429]


def test_retryable_attribute_wins_over_rows_and_status():
    """An exception that says `retryable` is believed over its class and its status."""
    assert transient(Answered(status_code=404, retryable=True))
    assert not transient(Answered(status_code=503, retryable=False))
    refused = ConnectionRefusedError()
    refused.retryable = False
    assert not transient(refused)
    assert not unsent(refused)
    bug = ValueError()
    bug.retryable = True
    assert transient(bug)


def test_retryable_is_no_proof_of_unsent():
    """`unsent` wants the proof of a row: an exception's own word is not enough, but can veto."""
    assert not unsent(Answered(retryable=True))
    refused = ConnectionRefusedError()
    refused.retryable = True
    assert unsent(refused)


def test_sqlstate_is_looked_up_whole_and_then_by_class():
    """A SQLSTATE with a row of its own wins over the row of its first two characters."""
    postgres = named("asyncpg", "PostgresError")
    for sqlstate, kind in (
        ("08006", TRANSIENT),
        ("08001", UNSENT),
        ("53300", UNSENT),
        ("53200", TRANSIENT),
        ("57P01", TRANSIENT),
        ("57P02", TRANSIENT),
        ("57P03", UNSENT),
        ("57P04", None),
        ("57014", None),
        ("40001", PERMANENT),
        ("40P01", PERMANENT),
        ("23505", PERMANENT),
        ("XX000", None),
        ("", None),
        (None, None),
    ):
        assert transient.kind_of(type("Sub", (postgres,), {"sqlstate": sqlstate})()) == kind


def test_row_of_no_code_needs_the_absence_of_one():
    """A psycopg `OperationalError` is a lost connection only where it carries no SQLSTATE."""
    error = named("psycopg", "Error", sqlstate=None)
    operational = named("psycopg", "OperationalError", error)
    assert transient.kind_of(operational()) == TRANSIENT
    assert transient.kind_of(named("psycopg", "Sub", operational, sqlstate="40001")()) == PERMANENT
    assert transient.kind_of(named("psycopg", "Sub", operational, sqlstate="58030")()) is None


def test_code_may_be_a_method():
    """The status of a gRPC error is a method that returns an enum."""
    rpc = named("grpc", "RpcError")
    for name, kind in (("UNAVAILABLE", TRANSIENT), ("RESOURCE_EXHAUSTED", THROTTLED),
                       ("ABORTED", PERMANENT), ("OK", None)):  # fmt: skip
        status = SimpleNamespace(name=name)
        error = named("grpc", "AioRpcError", rpc, code=lambda _, status=status: status)()
        assert transient.kind_of(error) == kind


def test_code_that_cannot_be_had_is_none():
    """A `code` that raises, that is async, or that is a class is not there."""

    def broken(_: object) -> str:
        raise RuntimeError

    async def later(_: object) -> str:
        return "UNAVAILABLE"

    for code in (broken, later, str, 3.5):
        assert transient.kind_of(named("grpc", "RpcError", code=code)()) is None


def test_codes_are_read_only_where_a_row_wants_one():
    """No method of an exception is called for a class that has no row with a code."""
    code = mock.Mock(return_value="UNAVAILABLE")
    transient(Answered(code=code, status_code=503))
    code.assert_not_called()


async def refused_twice(loop: asyncio.AbstractEventLoop) -> Exception:
    """Return what asyncio raises where a name has two addresses and both refuse."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        addresses = [first.getsockname(), second.getsockname()]

    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    with mock.patch.object(loop, "getaddrinfo", resolve):
        try:
            await loop.create_connection(asyncio.Protocol, "localhost", 1)
        except OSError as error:
            return error
    raise AssertionError("somebody listens")


def test_several_refused_addresses_are_unsent():
    """Where all addresses of a name refuse, asyncio's error has no number and is still proof."""

    async def main() -> Exception:
        return await refused_twice(asyncio.get_running_loop())

    error = asyncio.run(main())
    assert (type(error), error.errno) == (OSError, None)
    assert transient.kind_of(error) == UNSENT


# Groups


def test_group_is_accepted_if_every_leaf_is():
    """A group is as retryable as the leaf that is least so."""
    inner = ExceptionGroup("m", [ConnectionRefusedError()])
    group = ExceptionGroup("m", [inner, TimeoutError()])
    assert transient(group)
    assert not unsent(group)
    assert unsent(inner)
    assert not transient(ExceptionGroup("m", [group, Busy()]))
    assert not transient(AllTargetsFailed("m", [TimeoutError(), Rejected("m", policy="p")]))


def test_unknown_names_the_first_leaf_without_an_answer():
    """Of a group, the class to add to the table is that of a leaf."""
    group = ExceptionGroup("m", [TimeoutError(), ValueError(), VeryBusy(), Busy()])
    assert transient.unknown(group) is VeryBusy
    assert not transient.knows(group)
    assert transient.unknown(ExceptionGroup("m", [TimeoutError(), ValueError()])) is None
    assert transient.unknown(Answered(retryable=False)) is None
    assert transient.unknown(Answered(status_code=404)) is None
    assert transient.unknown(Busy()) is Busy


# Extending


def test_extended_is_a_new_table():
    """The old table never changes: a library cannot decide for another by import order."""
    mine = transient.extended({Busy: "transient"})
    assert (mine(Busy()), transient(Busy())) == (True, False)
    assert mine(VeryBusy())
    assert mine.extended({VeryBusy: "permanent"}).kind_of(VeryBusy()) == PERMANENT
    assert mine.kind_of(VeryBusy()) == TRANSIENT


def test_extended_by_name():
    """A class need not be imported to be added: root and name will do."""
    mine = transient.extended({("acme", "Busy"): "throttled"})
    assert mine.kind_of(named("acme", "Busy")()) == THROTTLED
    assert mine.kind_of(named("acme.deep.down", "Busy")()) == THROTTLED
    assert mine.kind_of(named("acme2", "Busy")()) is None


def test_extended_by_status_and_code():
    """A row may be limited to one status or code, of a class or of a name."""
    mine = transient.extended({
        ("acme", "ApiError", 404): "transient",
        (Answered, 409): "throttled",
        (Answered, "E_BUSY"): "transient",
        (Answered, None): "permanent",
    })  # fmt: skip
    assert mine.kind_of(named("acme", "ApiError", status=404)()) == TRANSIENT
    assert mine.kind_of(named("acme", "ApiError", status=400)()) == PERMANENT
    assert mine.kind_of(Answered(status_code=409)) == THROTTLED
    assert mine.kind_of(Answered(code="E_BUSY", status_code=400)) == TRANSIENT
    assert mine.kind_of(Answered(code=409)) == THROTTLED
    assert mine.kind_of(Answered(code="E_OTHER", status_code=400)) == PERMANENT
    assert mine.kind_of(Answered(code="E_OTHER")) is None
    assert mine.kind_of(Answered()) == PERMANENT


def test_errno_is_a_code():
    """An `OSError` can be added by the name of its number, or by the number."""
    by_name = transient.extended({("builtins", "OSError", "ENOSPC"): "transient"})
    by_number = transient.extended({(OSError, errno.ENOSPC): "transient"})
    for mine in (by_name, by_number):
        assert mine(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        assert mine.kind_of(OSError(errno.ENETUNREACH, "m")) == TRANSIENT


def test_new_row_replaces_the_old_one():
    """An existing row can be turned, also one that says that an error is a bug."""
    mine = transient.extended({
        ("builtins", "TimeoutError"): "permanent",
        ("httpx", "DecodingError"): "transient",
        KeyError: "transient",
    })  # fmt: skip
    assert not mine(TimeoutError())
    assert mine(named("httpx", "DecodingError")())
    assert mine(KeyError())
    assert not mine(IndexError())


def test_most_special_class_decides():
    """A row of a class is stronger than one of its base, in whichever order they were added."""
    mine = transient.extended({VeryBusy: "permanent", Busy: "transient"})
    assert (mine.kind_of(Busy()), mine.kind_of(VeryBusy())) == (TRANSIENT, PERMANENT)
    assert transient.kind_of(named("redis", "AuthenticationError",
                                   named("redis", "ConnectionError"))()) == PERMANENT  # fmt: skip


def test_class_is_stronger_than_its_name():
    """Two classes of one name can be told apart by the class itself."""
    one, two = named("acme", "Busy"), named("acme", "Busy")
    mine = transient.extended({("acme", "Busy"): "throttled", one: "permanent"})
    assert (mine.kind_of(one()), mine.kind_of(two())) == (PERMANENT, THROTTLED)


def test_unsent_can_be_extended():
    """`unsent` accepts only what an added row says is unsent."""
    mine = unsent.extended({Busy: "unsent", VeryBusy: "transient"})
    assert (mine(Busy()), mine(VeryBusy()), unsent(Busy())) == (True, False, False)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ({Busy: "retry"}, ValueError, "kind of Busy must be 'unsent', .* or 'permanent', not 're"),
        ({Busy: True}, TypeError, "kind of Busy must be .* not True"),
        ({("acme", "Busy"): None}, ValueError, r"kind of \('acme', 'Busy'\) must be"),
        ({int: "transient"}, TypeError, "a row is about exceptions, and int is none"),
        ({asyncio.CancelledError: "transient"}, ValueError, "CancelledError is not an Exception"),
        ({KeyboardInterrupt: "permanent"}, ValueError, "cancellation and exit are never handled"),
        ({BaseException: "transient"}, ValueError, "BaseException is not an Exception"),
        ({("acme.errors", "Busy"): "transient"}, ValueError, "root alone: 'acme', not 'acme.err"),
        ({"acme.Busy": "transient"}, TypeError, r"a row is .* not 'acme\.Busy'"),
        ({("acme",): "transient"}, TypeError, r"a row is .* not 'acme'"),
        ({(): "transient"}, TypeError, "a row is"),
        ({("", "Busy"): "transient"}, TypeError, "a row is"),
        ({("acme", ""): "transient"}, TypeError, "a row is"),
        ({("acme", 503): "transient"}, TypeError, "a row is"),
        ({("acme", "Busy", 503, 504): "transient"}, TypeError, "a row is"),
        ({("acme", "Busy", 50.3): "transient"}, TypeError, "a row is"),
        ({("acme", "Busy", True): "transient"}, TypeError, "a row is"),
        ({(Busy, (503,)): "transient"}, TypeError, "a row is"),
        ({None: "transient"}, TypeError, "a row is .* not None"),
        ({503: "transient"}, TypeError, "a row is .* not 503"),
    ],
)
def test_bad_rows_are_refused(rows, error, message):
    """A key or kind that means nothing is refused, with what was given and what is accepted."""
    with pytest.raises(error, match=message):
        transient.extended(rows)


# The table as a value


def test_table_is_frozen():
    """Neither the table nor its rows can be changed in place."""
    with pytest.raises(AttributeError):
        transient.name = "mine"
    with pytest.raises(TypeError):
        transient.rows["acme", "Busy"] = "transient"
    rows = {Busy: "transient"}
    mine = transient.extended(rows)
    rows[VeryBusy] = "permanent"
    assert mine.kind_of(VeryBusy()) == TRANSIENT


def test_table_copies_and_pickles():
    """The two tables of the library stay themselves, an extended one is rebuilt by its rows."""
    for table in (transient, unsent):
        assert copy.copy(table) is table
        assert copy.deepcopy(table) is table
        assert pickle.loads(pickle.dumps(table)) is table
    mine = transient.extended({Busy: "throttled"})
    for again in (copy.copy(mine), copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert again.kind_of(VeryBusy()) == THROTTLED
        assert repr(again) == repr(mine)


def test_repr_is_short():
    """A table in a log is one short line."""
    assert repr(transient) == f"<transient: a table of {len(ROWS)} rows>"
    mine = unsent.extended({Busy: "unsent"}).extended({VeryBusy: "unsent"})
    assert repr(mine) == f"<unsent: a table of {len(ROWS) + 2} rows, 2 of them added>"


def test_describe_is_for_explain():
    """A table describes itself by what it accepts, and says when it was extended."""
    assert transient.describe() == "transient errors"
    assert unsent.describe() == "unsent errors"
    one = transient.extended({Busy: "transient"})
    assert one.describe() == "transient errors (1 more row)"
    assert one.extended({VeryBusy: "permanent"}).describe() == "transient errors (2 more rows)"


def test_print_shows_every_row_once():
    """The printed table holds each class, code and status, and no line that is too long."""
    printed = str(transient.extended({Busy: "throttled", ("acme", "ApiError", 503): "transient"}))
    words = printed.replace("(", " ").replace(")", " ").replace(",", " ").split()
    for row in ROWS:
        assert row[1] in words
        assert len(row) == 2 or row[2] is None or set(str(row[2]).split()) <= set(words)
    assert {"acme", "ApiError", "503", "Busy"} <= set(words)
    assert {str(status) for status, kind in STATUSES.items() if kind != PERMANENT} <= set(words)
    assert max(map(len, printed.splitlines())) <= 100
    assert all(line == line.rstrip() for line in printed.splitlines())


def test_print_is_grouped_and_aligned():
    """One library after the other, its kinds below each other, columns aligned."""
    small = Table(
        "transient",
        RETRYABLE,
        {
            ("acme", "Busy"): "throttled",
            ("acme", "ApiError", 500): "transient",
            ("acme", "Gone"): "permanent",
            ("other", "Lost"): "unsent",
            ("acme", "ApiError", None): "transient",
        },
    )
    assert str(small).splitlines()[:7] == [
        "transient: accepts unsent, transient, throttled",
        "acme   transient  ApiError (500 no code)",
        "       throttled  Busy",
        "       permanent  Gone",
        "other  unsent     Lost",
        "any other class, by its HTTP status (status_code, status or response.status_code)",
        "       transient  408 425 500 502 503 504 529",
    ]


# The cache


def test_classes_made_in_a_loop_do_not_leak():
    """A class that its module forgets is forgotten by the table."""
    refs = []
    for _ in range(100):
        cls = type("Passing", (Busy,), {})
        transient(cls())
        refs.append(weakref.ref(cls))
    del cls
    gc.collect()
    assert [ref for ref in refs if ref() is not None] == []
    assert not any("Passing" in known.__name__ for known in transient._cache)


def test_classes_are_looked_up_once():
    """The walk over the bases of a class is made for its first error only."""
    cls = type("Passing", (ConnectionError,), {})
    transient(cls())
    with mock.patch.object(Table, "_walk", side_effect=AssertionError):
        assert transient(cls())


def test_tables_do_not_share_what_they_remember():
    """A table that was asked before does not answer for one that was extended later."""
    assert not transient(Busy())
    assert transient.extended({Busy: "transient"})(Busy())
    assert not transient(Busy())


class Odd(type):
    """A metaclass that makes its classes hard to look up."""

    def __hash__(cls) -> int:
        raise RuntimeError

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError

    @property
    def __mro__(cls) -> tuple[type, ...]:
        raise RuntimeError

    def __getattribute__(cls, name: str) -> object:
        if name in {"__name__", "__module__", "__qualname__"}:
            raise RuntimeError
        return super().__getattribute__(name)


def test_hostile_metaclasses_are_survived():
    """A class that cannot be hashed, compared or asked for its name is still judged."""
    for base, answer in ((Exception, False), (ConnectionError, True)):
        error = Odd("Strange", (base,), {})()
        for table in (transient, transient.extended({Busy: "transient"})):
            assert table(error) is answer
    assert transient(Odd("Strange", (Exception,), {"status_code": 503})())
    assert not transient(type("Nameless", (Exception,), {"__module__": 5})())


@given(st.sampled_from(list(ROWS.items())), st.sampled_from(KINDS))
def test_any_row_can_be_replaced(item, kind):
    """Whatever the table says of a class or code, an added row says otherwise."""
    row, before = item
    assert transient.extended({row: kind}).rows[row] == kind
    assert transient.extended({row: kind}).extended({row: before}).rows == transient.rows
