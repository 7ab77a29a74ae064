"""Every Python block of the README and the documentation runs, and prints what the page says.

Blocks with a top-level `await` run in virtual time, so that a page may sleep
for an hour; the others run as a script would.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib.util
import inspect
import io
import linecache
import sys
import traceback
import types
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from resilient.testing import virtual_time

ROOT = Path(__file__).parents[2]


def load(name: str):
    """Import a file beside this one: the folder is no package."""
    spec = importlib.util.spec_from_file_location(
        f"docs_{name}", Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pages = load("pages")
FOUND = list(pages.pages(ROOT))


def run_page(text: str, name: str) -> None:
    """Run the blocks of a page in order; compare what each prints with what the page shows."""
    module = types.ModuleType("__main__")
    module.__file__ = name
    before, sys.modules["__main__"] = sys.modules["__main__"], module
    try:
        printed = ""
        for block in pages.blocks(text):
            if block.kind == "output":
                compare(block, printed, name)
            elif block.kind == "pycon" and block.skipped is None:
                run_session(block, vars(module), name)
            elif block.skipped is None:
                printed = run_block(block, vars(module), name)
    finally:
        sys.modules["__main__"] = before


def run_block(block, namespace: dict, name: str) -> str:
    source = "\n" * (block.line - 1) + block.text  # so that a traceback names the page's own line
    # the library shows users their own lines (bugs behind a fallback, order warnings)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    function = types.FunctionType(code, namespace)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        if code.co_flags & inspect.CO_COROUTINE:
            virtual_time(function)
        else:
            function()
    return stdout.getvalue()


def run_session(block, namespace: dict, name: str) -> None:
    """Run what was typed at a prompt; every answer must be the one on the page."""
    session = doctest.DocTestParser().get_doctest(block.text, {}, name, name, block.line - 1)
    session.globs = namespace
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False).run(
        session, out=report.append, clear_globs=False
    )
    if report:
        pytest.fail("".join(report))


def compare(block, printed: str, name: str) -> None:
    same = doctest.OutputChecker().check_output
    if not same(block.text.rstrip() + "\n", printed.rstrip() + "\n", doctest.ELLIPSIS):
        pytest.fail(
            f"{name}:{block.line}\nthe page says\n{block.text}\nbut the block prints\n{printed}"
        )


@pytest.fixture
def few_examples():
    """Draw as few examples as at a desk: a page shows how, and searches for nothing."""
    settings.register_profile("suite", settings.default)
    # Tracing each run, to explain a failure, makes it three times as slow.
    phases = [phase for phase in Phase if phase is not Phase.explain]
    settings.register_profile("pages", settings.get_profile("dev"), phases=phases)
    settings.load_profile("pages")
    yield
    settings.load_profile("suite")


@pytest.mark.timeout(120)  # properties are many runs, and this machine may have other work
@pytest.mark.usefixtures("few_examples")
@pytest.mark.parametrize("page", FOUND, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs(page, monkeypatch, tmp_path):
    """The blocks of a page run in order and print what the page says."""
    monkeypatch.chdir(tmp_path)
    run_page(page.read_text(encoding="utf-8"), str(page))


PAGE = """
Some words.

<!-- setup
import anyio
async def price(sku):
    await anyio.sleep(3600)
    return 5
-->

```python
total = await price("a")
print(total, "euro at", anyio.current_time())
```

<!-- output -->
```text
5 euro at 3600.0
```

1. In a list:

   ```python
   total += 1
   print(total)
   ```

```pycon
>>> total
6
```

<!-- no-run: needs a key -->
```python
undefined()
```

```console
$ not python
```
"""


def test_a_page_is_a_program():
    """Blocks share a namespace, may `await` in virtual time, and see the hidden setup."""
    run_page(PAGE, "page.md")


def test_a_wrong_output_is_a_failure():
    """A page that shows another output than its block prints is refused, with its line."""
    with pytest.raises(pytest.fail.Exception, match=r"page\.md:18"):
        run_page(PAGE.replace("5 euro", "6 euro"), "page.md")


def test_a_wrong_answer_is_a_failure():
    """A session that shows another answer than Python gives is refused, with its line."""
    line = PAGE.splitlines().index(">>> total") + 1
    with pytest.raises(pytest.fail.Exception, match=rf'"page\.md", line {line},'):
        run_page(PAGE.replace(">>> total\n6", ">>> total\n7"), "page.md")


def test_a_failing_block_names_the_line_of_the_page():
    """The traceback of a block that raises points into the page."""
    with pytest.raises(NameError) as caught:
        run_page(PAGE.replace("<!-- no-run: needs a key -->", ""), "page.md")
    last = traceback.extract_tb(caught.tb)[-1]
    line = PAGE.splitlines().index("undefined()") + 1
    assert (last.filename, last.lineno) == ("page.md", line)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<!-- no-run -->\n```python\n```", "without a reason"),
        ("<!-- output -->\n```text\n```", "output of what"),
        ("<!-- no-run: why -->\nwords", "not followed by a block"),
        ("<!-- output -->", "not followed by a block"),
        ("<!-- output -->\n```python\n```", "does not go before"),
        ("```python\nx = 1", "nothing ends this block"),
    ],
)
def test_a_page_that_makes_no_sense_is_refused(text, complaint):
    """A comment with no block to speak of, a reason left out or a block left open is an error."""
    with pytest.raises(pages.Malformed, match=complaint):
        pages.blocks(text)
