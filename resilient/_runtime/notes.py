"""Notes on errors that are not ours (PEP 678).

An error belongs to who raised it. We add one line to it, replace our own
earlier one, and do without on an error that refuses notes.
"""

from __future__ import annotations

import contextlib
from typing import cast

_PREFIX = "resilient: "


def annotate(error: BaseException, text: str, *, after: bool = False) -> None:
    """Put our one note on `error`; with `after`, behind what it says already."""
    # A frozen dataclass refuses, and a lying `__notes__` may be anything.
    with contextlib.suppress(Exception):
        found: object = getattr(error, "__notes__", None)
        if isinstance(found, list):
            notes = cast("list[object]", found)
            ours = [note for note in notes if _is_ours(note)]
            notes[:] = [note for note in notes if not _is_ours(note)]
            if after and ours:
                text = f"{str(ours[-1]).removeprefix(_PREFIX)}; {text}"
        error.add_note(_PREFIX + text)


def _is_ours(note: object) -> bool:
    return isinstance(note, str) and note.startswith(_PREFIX)
