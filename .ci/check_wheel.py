"""What the installed distribution promises, checked from inside an environment that has only it.

python check_wheel.py WHEEL          the wheel, and what importing it brings
python check_wheel.py --commands     every command resolves (needs the extras)
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata, util

PACKAGES = {"resilient", "resilient_openrouter", "resilient_plugins"}
HEAVY = ("httpx", "hypothesis", "pytest", "opentelemetry.sdk", "trio", "rich")


def check_wheel(path: str) -> None:
    """Hold the file to its three packages, all typed, and nothing that is not theirs."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    top = {name.split("/")[0] for name in names}
    assert {each for each in top if not each.endswith(".dist-info")} == PACKAGES, top
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert not [each for each in names if each.endswith((".toml", ".md"))], names
    assert any(each.endswith("licenses/LICENSE") for each in names)


def check_imports() -> None:
    """Hold the environment to: `resilient` and nothing heavy, no `adapters`."""
    assert util.find_spec("adapters") is None
    assert all(util.find_spec(each) for each in PACKAGES)
    program = f"import resilient, sys; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [], done.stdout
    found = util.find_spec("resilient")
    assert found is not None
    assert "site-packages" in (found.origin or "")


def check_commands() -> None:
    """Hold every registered command to being there."""
    found = metadata.entry_points(group="resilient.commands")
    assert {each.name for each in found} >= {"ask", "demo", "explain"}
    assert all(callable(each.load()) for each in found)
    (plugin,) = metadata.entry_points(group="pytest11", name="resilient")
    assert plugin.load().__name__ == "resilient_plugins.pytest"
    (entry,) = metadata.entry_points(group="hypothesis", name="resilient")
    assert callable(entry.load())


if __name__ == "__main__":
    if sys.argv[1] == "--commands":
        check_commands()
    else:
        check_wheel(sys.argv[1])
        check_imports()
    print("ok")
