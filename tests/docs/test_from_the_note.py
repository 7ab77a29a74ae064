"""The page about the design note names everything of it, and tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
ENGLISH, SPANISH = DOCS / "from-the-note.md", DOCS / "from-the-note.es.md"
REFERENCE = re.compile(r"`(?P<file>[\w/]+\.py)::(?P<name>\w+)`")

# What there is in the note, heading by heading.
PRINCIPLES = [f"P{number}" for number in range(1, 6)]
SIGNALS = [str(number) for number in range(1, 5)]
KEYS = [
    "llm.primary_model",
    "llm.fallback_model",
    "llm.model_preference",
    "llm.timeouts.primary_fast",
    "llm.timeouts.fallback_patient",
]
CHECKLIST = 10 + 7
OWN_TESTS = [
    "test_primary_success",
    "test_fallback_on_primary_failure",
    "test_both_fail_raises_error",
    "test_no_retry_on_auth_error",
]
DEFECTS = [str(number) for number in range(1, 63)]
NAMES = re.findall(
    r"\w+",
    """
OpenRouterError call_chat_completion call_with_fallback primary_model fallback_model max_tokens
temperature max_retries query_rag QueryRequest QueryResponse rag_id answer context_chunks latency_ms
cache_hit session_id get_metrics inc_requests inc_errors Timer HTTPException call_llm
DEFAULT_RESPONSE call_with_exponential_backoff base_delay CircuitBreaker failure_threshold
failure_count last_failure_time is_open record_success record_failure can_call safe_call_llm
TimeoutStrategy FAST_MODELS SLOW_MODELS get_timeout is_fallback ModelConfig name timeout retry_count
priority FallbackManager models call_history call_func last_error error_msg result model fallback
call_llm_func call_llm_safely OPENROUTER_API_KEY logger status_code
""",
)


def tables(page: Path) -> list[list[list[str]]]:
    """Return the tables of a page: their rows of cells, without the heads."""
    found: list[list[list[str]]] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            cells = re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
            found[-1].append(cells)
    return [rows[2:] for rows in found]


@functools.cache
def functions(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


PAGES = pytest.mark.parametrize("page", [ENGLISH, SPANISH], ids=lambda page: page.name)


@PAGES
def test_every_test_that_the_page_names_exists(page):
    """A reference is a file below `tests` and a test in it."""
    found = list(REFERENCE.finditer(page.read_text(encoding="utf-8")))
    missing = [one[0] for one in found if not (TESTS / one["file"]).exists()]
    assert missing == []
    assert [one[0] for one in found if one["name"] not in functions(one["file"])] == []
    assert len(found) > len(DEFECTS)


@PAGES
def test_every_row_has_a_test(page):
    """Nothing is claimed that no test holds."""
    assert [row[0] for rows in tables(page) for row in rows if not REFERENCE.search(row[-1])] == []


@PAGES
def test_everything_of_the_note_has_its_row(page):
    """Principles, signals, names, keys, checklist, tests and defects: all are there, in order."""
    principles, signals, names, config, checklist, own, defects = tables(page)
    assert [row[0] for row in principles] == PRINCIPLES
    assert [row[0] for row in signals] == SIGNALS
    assert [row[0].strip("`") for row in config] == KEYS
    assert len(checklist) == CHECKLIST
    assert [row[0].strip("`") for row in own] == OWN_TESTS
    assert [row[0] for row in defects] == DEFECTS
    told = set(re.findall(r"\w+", " ".join(row[0] for row in names)))
    assert [name for name in NAMES if name not in told] == []


def test_both_languages_say_the_same():
    """Row by row, the two pages have the same tests."""
    english, spanish = tables(ENGLISH), tables(SPANISH)
    assert [[len(row) for row in rows] for rows in english] == [
        [len(row) for row in rows] for rows in spanish
    ]
    different = [
        (one[0], other[0])
        for rows, others in zip(english, spanish, strict=True)
        for one, other in zip(rows, others, strict=True)
        if REFERENCE.findall(one[-1]) != REFERENCE.findall(other[-1])
    ]
    assert different == []
