"""The state diagram of the page is the transition table of the machine."""

from __future__ import annotations

from pathlib import Path

from resilient._core.breaker import TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "circuit-breaker.md"


def diagram() -> str:
    """Draw the table; a transition to the same state is not one that can be seen."""
    lines = ["stateDiagram-v2", "    [*] --> closed"]
    lines += [
        f"    {before} --> {after}: {reason}"
        for (before, reason), after in TRANSITIONS.items()
        if before != after
    ]
    return "\n".join(lines)


def test_the_diagram_is_made_from_the_table():
    """What the page draws is what the machine does, no more and no less."""
    block = PAGE.read_text(encoding="utf-8").partition("<!-- diagram -->\n```mermaid\n")[2]
    assert block.partition("\n```")[0] == diagram()
