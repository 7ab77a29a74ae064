"""Scripts: what an emulator answers, read from a TOML file.

    default = "ok"                                  # models that have no script
    seed = 7                                        # of the dice

    [models]
    "openai/gpt-4o" = ["e503", "e503", "ok"]        # one for each request, the last repeats
    "google/gemini-2.5-pro" = { e429_nohint = 0.2, stall = 0.1 }   # else the default
    "meta/llama" = ["e503", { e503 = 0.5 }]         # both

    [openai]                                        # the API that speaks as OpenAI does
    needs_key = false
    models = { "llama3.2" = ["e503_loading", "ok"] }

A mistake is a `ValueError` that names the key and says what is accepted.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, cast

from resilient_openrouter.emulator.server import Emulator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from resilient_openrouter.emulator.service import Service

__all__ = ("played", "read_script")

_TOP: Final = ("default", "seed", "models", "openai")
_OPENAI: Final = ("default", "needs_key", "models")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def read_script(path: Path, **options: Any) -> Emulator:
    """Return an emulator that plays the script of a file; a mistake names the file."""
    try:
        return played(tomllib.loads(path.read_text(encoding="utf-8")), **options)
    except ValueError as error:  # no TOML, no Unicode, no script
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def played(script: Mapping[str, Any], **options: Any) -> Emulator:
    """Return an emulator that plays a script; `options` are those of `Emulator`.

    A `seed` among them takes the place of the script's.

    >>> played({"models": {"openai/gpt-4o": ["e503", "ok"]}}).journal.models
    []
    """
    _check_keys(script, _TOP, "")
    options.setdefault("seed", _seed(script.get("seed", 0)))
    emulator = Emulator(**options)
    _play(emulator.openrouter, script, "")
    openai = script.get("openai", {})
    if not isinstance(openai, dict):
        raise ValueError(f"openai: a table with {_listed(_OPENAI)} is needed, not {openai!r}")  # noqa: TRY004 - one kind of mistake
    table = cast("dict[str, Any]", openai)
    _check_keys(table, _OPENAI, "openai.")
    _play(emulator.openai, table, "openai.")
    emulator.openai.needs_key = _flag(table.get("needs_key", True), "openai.needs_key")
    return emulator


def _play(service: Service, table: Mapping[str, Any], prefix: str) -> None:
    if "default" in table:
        service.default(table["default"], where=f"{prefix}default")
    models = table.get("models", {})
    if not isinstance(models, dict):
        raise ValueError(  # noqa: TRY004 - one kind of mistake
            f"{prefix}models: a table of model = [scenarios] is needed, not {models!r}"
        )
    for model, steps in cast("dict[str, Any]", models).items():
        name = model if _BARE.fullmatch(model) else f'"{model}"'
        service.script(model, steps, where=f"{prefix}models.{name}")


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; is {near[0]!r} meant?" if near else ""
            raise ValueError(f"{prefix}{name}: there is no such key, only {_listed(known)}{meant}")


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"seed: a whole number is needed, not {value!r}")  # noqa: TRY004 - one kind of mistake
    return value


def _flag(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key}: true or false is needed, not {value!r}")  # noqa: TRY004 - one kind of mistake
    return value


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
