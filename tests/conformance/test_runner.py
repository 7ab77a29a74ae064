"""The runner of conformance cases: what it reads, what it refuses, what it finds."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resilient import errors
from resilient.testing import __main__ as command
from resilient.testing.conformance import Case, MalformedError, check, load
from resilient.testing.conformance._schema import mistakes, shipped

CASES = Path(__file__).with_name("cases")
GOOD = {
    "id": "one",
    "fact": "Two failures cost two more attempts.",
    "given": {
        "policies": [
            {"retry": {"attempts": 3, "backoff": [1], "budget": "b"}},
            {"circuit_breaker": {"name": "c"}},
        ],
        "budgets": {"b": {}},
        "targets": {"target": "x x ."},
    },
    "when": [{"at": 0, "call": "a"}, {"at": 5, "breaker": "c", "do": "look"}],
    "then": {
        "outcome": {
            "from_call": 3,
            "elapsed": 2,
            "retry": "recovered",
            "ends": "success",
            "waited": 2,
            "attempts": [{"number": 1, "wait": 1}, {"number": 2}, {"number": 3, "wait": None}],
        },
        "tries": 3,
        "calls": 3,
        "calls_at": [0, 1, 2],
        "called": ["target", "target", "target"],
        "waits": [1, 1],
        "counts": {"RetryScheduled": 2},
        "states": {"c": "closed"},
        "looks": [{"state": "closed", "calls": 3, "failures": 2}],
        "changes": [],
        "tokens": {"b": 8.2},
    },
}


def changed(path, value):
    """Return the good case with one place of it changed; `...` takes the place away."""
    made = copy.deepcopy(GOOD)
    here = made
    *way, last = path
    for key in way:
        here = here[key]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return made


def written(tmp_path, *cases, name="mine.json"):
    """Write a file of cases."""
    file = tmp_path / name
    file.write_text(json.dumps({"format": 1, "cases": cases}))
    return file


def test_a_case_that_holds_has_no_differences(tmp_path):
    """Every figure of the good case is what comes of it, on both backends."""
    (case,) = load(written(tmp_path, GOOD))
    assert (str(case), check(case, "asyncio"), check(case, "trio")) == ("one", [], [])


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("outcome", "from_call"), 2, "outcome.from_call should be 2 and is 3"),
        (("outcome", "elapsed"), 2.1, "outcome.elapsed should be 2.1 and is 2"),
        (("outcome", "retry"), "exhausted", "outcome.retry should be 'exhausted'"),
        (("outcome", "ends"), "failure", "outcome.ends should be 'failure'"),
        (("outcome", "waited"), 1, "outcome.waited should be 1 and is 2"),
        (("outcome", "attempts"), [{}], "outcome.attempts should be 1 and are 3"),
        (("outcome", "attempts", 0, "wait"), 2, "outcome.attempts[0].wait should be 2 and is 1"),
        (("outcome",), {"raises": "E1"}, "there is none: the call returns <answer of call 3>"),
        (("outcome",), {"cancelled": True}, "there is none: the call returns"),
        (("tries",), 2, "tries should be 2 and is 3"),
        (("calls",), 2, "calls should be 2 and is 3"),
        (("calls",), {"from": 4, "to": 5}, "calls should be {'from': 4, 'to': 5} and is 3"),
        (("calls_at",), [0, 1, 3], "calls_at should be [0, 1, 3]"),
        (("called",), ["target", "target"], "called should be ['target', 'target'] and is"),
        (("outcome",), {"raises": "CircuitOpen"}, "there is none: the call returns"),
        (("counts", "RetryStopped"), 1, "counts.RetryStopped should be 1 and is 0"),
        (("waits",), [1], "waits should be [1] and is [1.0, 1.0]"),
        (("counts", "RetryScheduled"), 1, "counts.RetryScheduled should be 1 and is 2"),
        (("states", "c"), "open", "states.c should be open and is closed"),
        (("looks", 0, "failures"), 3, "looks[0].failures should be 3 and is 2"),
        (("looks",), [], "looks should be 0 and are 1"),
        (("changes",), [{"to": "open"}], "changes should be 1 and are 0"),
        (("tokens", "b"), 8, "tokens.b should be 8 and is 8.2"),
        (("events",), ["CallEnded"], "events should be ['CallEnded']"),
        (("warns",), ["3 x 3"], "warns should be ['3 x 3'] and is []"),
        (("refused",), "attempts", "given should be refused because of attempts, and is not"),
        (("granted",), [1], "granted should be [1] and is []"),
        (("illegal",), 1, "illegal should be 1 and is 0"),
        (("asked",), [1], "asked should be [1] and is []"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_a_case_says_and_is_not_so_is_told(tmp_path, backend, path, value, said):
    """Each figure that is not what comes of the case is a difference that names it."""
    (case,) = load(written(tmp_path, changed(("then", *path), value)))
    told = check(case, backend)
    assert any(said in one for one in told), told


def test_a_case_that_the_library_refuses_says_why(tmp_path):
    """Options that the library refuses are a difference, unless the case says so."""
    policy = {"retry": {"attempts": 0}}
    (case,) = load(written(tmp_path, changed(("given", "policies", 0), policy)))
    assert [one.partition(" not 0")[0] for one in check(case, "asyncio")][:1] == [
        "given was refused: retry(attempts=) must be a whole number of at least 1,"
    ]


def test_a_call_that_never_ends_is_told(tmp_path):
    """A case whose call waits for ever does not hold, and does not hang."""
    (case,) = load(written(tmp_path, changed(("given", "targets", "target"), "~")))
    assert "still waiting after 1e+06 virtual seconds" in check(case, "trio")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("giben",), {}, 'one: giben: is not known here; did you mean "given"?'),
        (("given", "policies", 0), {"rety": {}}, "one: given.policies[0].rety: is not known here;"),
        (("given", "policies", 0), {}, "one: given.policies[0]: needs exactly one of retry,"),
        (
            ("given", "policies", 0, "retry", "attempst"),
            3,
            'one: given.policies[0].retry.attempst: is not known here; did you mean "attempts"?',
        ),
        (
            ("given", "policies", 0, "retry", "attempts"),
            "three",
            "one: given.policies[0].retry.attempts: must be a number or null or",
        ),
        (("given", "policies", 0, "retry", "attempts"), True, "must be a number or null"),
        (("given", "policies", 0, "retry", "on"), "E9", "one: given.policies[0].retry.on: must be"),
        (
            ("given", "policies", 0, "retry", "on"),
            ["E1", "E9"],
            'one: given.policies[0].retry.on[1]: must be one of "ConnectionError"',
        ),
        (
            ("given", "policies", 0, "retry", "on"),
            {"answer": True},
            'given.policies[0].retry.on: must be "ConnectionError" or "TimeoutError"',
        ),
        (("given", "policies", 0, "retry", "budget"), "z", '"z" is no budget; there are b'),
        (("given", "policies", 0, "retry", "backoff"), [], "backoff: must not be empty"),
        (
            ("given", "policies", 0, "retry", "backoff"),
            {"constant": {}},
            'one: given.policies[0].retry.backoff.constant: needs "base"',
        ),
        (
            ("given", "policies", 0, "retry", "backoff"),
            {"linear": {"factor": 2}},
            "backoff.linear.factor: is not known here; there are base, cap, jitter",
        ),
        (("given", "rnd"), [1.5], "one: given.rnd[0]: must be at most 1, not 1.5"),
        (("given", "rnd"), [-1], "one: given.rnd[0]: must be at least 0, not -1"),
        (("given", "manager"), {"targets": [{"name": "target"}]}, "given: needs exactly one of"),
        (("given", "targets", "target"), "x?", "one: given.targets.target: the schedule 'x?'"),
        (("given", "targets", "target"), [{"okay": 1}], 'target[0]: must be an object with "ok"'),
        (
            ("given", "targets", "target"),
            [{"fail": "E1", "afer": 1}],
            'given.targets.target[0].afer: is not known here; did you mean "after"?',
        ),
        (("when", 0, "at"), -1, "one: when[0].at: must be at least 0, not -1"),
        (("when", 1, "breaker"), "z", '"z" is no circuit breaker; there are c'),
        (("when", 1), {"at": 1, "cancel": "z"}, '"z" is no call; there are a'),
        (("when", 1), {"at": 1, "settle": "z", "with": "success"}, "is no permit; there is none"),
        (("when", 1), {"at": 1, "acquire": "z", "as": "p"}, '"z" is no circuit breaker'),
        (("when", 1), {"at": 1, "withdraw": "z"}, '"z" is no budget'),
        (("when", 1), {"at": 1, "call": "a"}, "when[1].call: is the name of a call before it"),
        (("when", 1), {"at": 1, "call": "b", "of": "z"}, '"z" is no function; there is none'),
        (("when", 1), {"wait": 1, "rnd": 0}, "when[1]: goes with given.backoff"),
        (("when", 0, "at"), 6, "when[1].at: is before 6, the instant of what stands above"),
        (("when", 1, "do"), "smash", 'when[1].do: must be one of "isolate"'),
        (("when", 0, "times"), 10**9, "when[0].times: must be at most 10000, not 1000000000"),
        (
            ("when", 1),
            {"at": 1, "deposit": "b", "times": 10001},
            "when[1].times: must be at most 10000, not 10001",
        ),
        (("then", "tries"), {"from": 3, "to": 1}, "then.tries: has no number: from 3 is more than"),
        (("then", "calls"), {"from": 3, "to": 1}, "then.calls: has no number: from 3 is more than"),
        (("then", "calls"), {"from": -1, "to": 1}, "then.calls.from: must be at least 0, not -1"),
        (
            ("then", "counts", "RetryScheduled"),
            {"from": 3, "to": 1},
            "then.counts.RetryScheduled: has no number: from 3 is more than to 1",
        ),
        (
            ("then", "counts"),
            {"RetrySheduled": 0},
            'then.counts.RetrySheduled: must be one of "CallStarted",',
        ),
        (("then", "called"), ["zz"], 'then.called[0]: "zz" is no target; there are target'),
        (
            ("then", "changes"),
            [{"to": "open", "breaker": "z"}],
            'then.changes[0].breaker: "z" is no circuit breaker; there are c',
        ),
        (
            ("then", "outcome"),
            {"raises": "Nope"},
            'then.outcome.raises: must be one of "ConnectionError",',
        ),
        (
            ("then", "outcome"),
            {"raises": "E1", "members": ["E1", "Nope"]},
            'then.outcome.members[1]: must be one of "ConnectionError",',
        ),
        (
            ("then", "outcome"),
            {"raises": "E1", "cause": "Nope"},
            "then.outcome.cause: must be ",
        ),
        (("then", "calls"), ..., 'one: then: needs "calls": a case that makes calls says'),
        (("then", "outcome"), {}, "then.outcome: needs exactly one of returns, raises"),
        (("then", "outcomes"), [], "then.outcomes: has 0 outcomes, and 1 calls are made"),
        (("then", "states", "z"), "open", 'one: then.states.z: "z" is no circuit breaker'),
        (("then", "tokens", "z"), 1, 'one: then.tokens.z: "z" is no budget'),
        (("then", "outcome", "cancelled"), False, "cancelled: must be true, not false"),
        (("id",), "", "id: must be made of letters, digits, dots and dashes"),
        (("fact",), "", "one: fact: must not be empty"),
        (("fact",), ..., 'one: needs "fact"'),
        (("then", "tries"), 1.5, "then.tries: must be a whole number or an object with"),
    ],
    ids=repr,
)
def test_a_malformed_case_is_told_by_file_id_and_path(tmp_path, path, value, said):
    """A mistake in a case is a line with the file, the id of the case and the path of it."""
    file = written(tmp_path, changed(path, value))
    with pytest.raises(MalformedError) as caught:
        load(file)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON: "),
        ("[]", "must be an object, not []"),
        ('{"format": 2, "cases": []}', "format: must be 1, not 2"),
        ('{"format": true, "cases": []}', "format: must be 1, not true"),
        ('{"format": 1, "cases": []}', "cases: must not be empty"),
        ('{"format": 1, "cases": [7]}', "cases[0]: must be an object, not 7"),
        ('{"format": 1, "cases": [{}]}', 'cases[0]: needs "id"'),
        ('{"format": 1, "format": 1}', 'is not JSON: an object has "format" twice'),
        ("[" * 100_000, "is nested more than 100 levels deep"),
        ("[" * 101 + "]" * 101, "is nested more than 100 levels deep"),
        ("[" * 100 + "]" * 100, "must be an object, not [["),
        ('{"format": NaN}', 'is not JSON: NaN is no number of JSON: write it as a text, "NaN"'),
    ],
)
def test_a_file_that_is_not_made_of_cases_is_told(tmp_path, text, said):
    """A file that is no JSON, or no cases, is told by its name."""
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(MalformedError) as caught:
        load(file)
    assert f"{file}: {said}" in str(caught.value)


def test_of_another_format_nothing_else_is_told(tmp_path):
    """A file of a format that is not known has that one mistake: what else it may be is open."""
    file = tmp_path / "next.json"
    file.write_text('{"format": 2, "cases": [], "more": 1}')
    with pytest.raises(MalformedError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: format: must be 1, not 2"


@pytest.mark.parametrize("kind", ["exponential", "linear", "fibonacci"])
def test_a_growing_backoff_has_defaults(tmp_path, kind):
    """What grows needs no option: the library's defaults are those of its page."""
    backoff = changed(("given", "policies", 0, "retry", "backoff"), {kind: {}})
    backoff["given"]["rnd"] = [1]
    backoff["then"] = {"outcome": {"from_call": 3}, "tries": 3, "calls": 3}
    (case,) = load(written(tmp_path, backoff))
    assert (check(case, "asyncio"), check(case, "trio")) == ([], [])


def test_the_errors_that_can_come_out_are_those_that_there_are():
    """The schema's kinds of errors are those of scripts, and all that the library raises."""
    kinds = shipped()["$defs"]
    own = {name for name in errors.__all__ if issubclass(getattr(errors, name), Exception)}
    own -= {"PolicyOrderWarning", "ResilientError"}
    assert set(kinds["raised"]["enum"]) == own | set(kinds["error"]["enum"])


def test_a_file_that_is_not_there_is_told(tmp_path):
    """A file that cannot be read is malformed, with the reason."""
    with pytest.raises(MalformedError, match=r"none\.json: cannot be read"):
        load(tmp_path / "none.json")


def test_all_mistakes_are_told_at_once(tmp_path):
    """A file with three mistakes has three lines."""
    bad = changed(("given", "rnd"), [2, 3])
    with pytest.raises(MalformedError) as caught:
        load(written(tmp_path, bad, changed(("fact",), 7)))
    assert len(str(caught.value).splitlines()) == 3


def test_two_cases_of_one_id_are_refused(tmp_path):
    """An id is there once."""
    with pytest.raises(MalformedError, match="one: id: is the id of a case before it"):
        load(written(tmp_path, GOOD, GOOD))


def test_the_schema_is_closed():
    """Every object of the schema says what else it may have."""
    open_ones = [
        name
        for name, part in shipped()["$defs"].items()
        for shape in (part, *part.get("anyOf", ()))
        if shape.get("type") == "object" and "additionalProperties" not in shape
    ]
    assert open_ones == []


def test_the_validator_refuses_a_schema_that_it_does_not_know():
    """A keyword that the validator cannot apply is an error, not something passed over."""
    with pytest.raises(NotImplementedError, match="multipleOf"):
        list(mistakes(1, {"$defs": {"a": {"multipleOf": 2}}}, "a"))


# The command


def run(capsys, *arguments):
    """Run the command; return its status and what it said."""
    status = command.main(["conformance", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_command_reports_each_case_by_its_id(tmp_path, capsys):
    """All cases hold: a line for each, a sum, and status 0."""
    other = {**GOOD, "id": "two"}
    status, out, err = run(capsys, written(tmp_path, GOOD, other))
    assert (status, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", "one"],
        ["ok", "two"],
        ["2", "cases"],
    ]
    assert out.endswith("2 cases on asyncio and trio: all hold\n")


def test_the_command_fails_for_a_case_that_does_not_hold(tmp_path, capsys):
    """One case does not hold: what differs stands below it, for each backend, and status 1."""
    file = written(tmp_path, GOOD, {**changed(("then", "tries"), 9), "id": "two"})
    status, out, _ = run(capsys, "-q", file)
    assert status == 1
    assert [line.split(" ")[0] for line in out.splitlines()] == ["FAILED", "", "", "2"]
    assert "       asyncio: tries should be 9 and is 3\n" in out
    assert "       trio: tries should be 9 and is 3\n" in out
    assert out.endswith("2 cases on asyncio and trio: 1 does not hold\n")


def test_the_command_refuses_malformed_files(tmp_path, capsys):
    """Nothing runs where one file is malformed: its mistakes, and status 2."""
    bad = written(tmp_path, changed(("giben",), 1), name="bad.json")
    status, out, err = run(capsys, written(tmp_path, GOOD), bad)
    assert (status, out) == (2, "")
    assert err.startswith(f"{bad}: one: giben: ")


def test_the_command_refuses_one_id_in_two_files(tmp_path, capsys):
    """Ids are one over all files of a run."""
    first, second = written(tmp_path, GOOD), written(tmp_path, GOOD, name="second.json")
    status, _, err = run(capsys, first, second)
    assert (status, err) == (2, f"{second}: one: id: is one of {first} as well\n")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "name at least one file of cases\n"),
        (("--only", "R99", CASES / "retry.json"), 2, "no case has an id that begins with R99\n"),
    ],
)
def test_the_command_says_what_it_needs(capsys, arguments, status, said):
    """No file and no case of the wanted id are refused with status 2."""
    assert run(capsys, *arguments) == (status, "", said)


def test_the_command_runs_the_cases_that_are_asked_for(capsys):
    """`--only` takes an id with its variants, on the backend that is named."""
    status, out, _ = run(capsys, "--only", "R14", "--backend", "trio", CASES / "retry.json")
    assert status == 0
    assert out.endswith("4 cases on trio: all hold\n")


def test_the_command_prints_the_schema(capsys):
    """`--schema` prints the JSON Schema that is applied."""
    status, out, _ = run(capsys, "--schema")
    assert (status, json.loads(out)) == (0, shipped())


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--help"], 0), (["other"], 2)])
def test_the_kit_has_a_command(capsys, arguments, status):
    """Without a command of the kit, its usage is shown."""
    assert command.main(arguments) == status
    said = capsys.readouterr()
    assert (said.out or said.err).startswith("usage: python -m resilient.testing COMMAND")


def test_the_command_is_a_module(fresh_python):
    """`python -m resilient.testing conformance` runs a file."""
    program = """
import runpy, sys
sys.argv = ["resilient.testing", "conformance", "-q", "--only", "R01", sys.argv[1]]
try:
    runpy.run_module("resilient.testing", run_name="__main__", alter_sys=True)
except SystemExit as end:
    print(end.code)
"""
    said = fresh_python(program, str(CASES / "retry.json"))
    assert said.splitlines() == ["1 case on asyncio and trio: all hold", "0"]


@pytest.mark.parametrize("arguments", [["--schema"], [str(CASES / "timeouts.json")]])
def test_nobody_has_to_read_what_the_command_says(arguments):
    """Where the reader of its output has gone, the command ends as it would have."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "resilient.testing", "conformance", *arguments]
    with os.fdopen(writer, "w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_log_stays_quiet_while_a_case_runs(tmp_path, caplog):
    """The failures that a case is made of are no lines of the log."""
    (case,) = load(written(tmp_path, changed(("given", "targets", "target"), "x*")))
    assert check(case, "asyncio") != []
    assert caplog.records == []


def test_a_case_can_be_read_without_a_file():
    """A case is a value: the same data are the same case."""
    made = Case("f", "i", "F.", {"policies": []}, (), {})
    assert made == Case("f", "i", "F.", {"policies": []}, (), {})
