"""The `resilient` command: a name, and whoever registered it.

A command is an entry point of the group `resilient.commands`: a function that
takes the arguments behind its name and returns an exit status. The library
brings `explain`; adapters and other distributions bring theirs. A command
whose distribution has extras may miss a module: then the answer is the line
that installs it, not a traceback.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module, metadata
from operator import attrgetter
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "resilient.commands"
USAGE = "usage: resilient COMMAND [ARGUMENTS]"

# a requirement of an extra: `httpx>=0.27; extra == 'openrouter'`
_OPTIONAL = re.compile(r"^(?P<name>[\w.-]+).*;.*\bextra *== *['\"](?P<extra>[\w.-]+)['\"]")


def main(argv: list[str] | None = None) -> int:
    """Run the command named first, with the arguments behind it."""
    arguments = sys.argv[1:] if argv is None else argv
    commands = {found.name: found for found in metadata.entry_points(group=GROUP)}
    name = arguments[0] if arguments else "--help"
    if name in {"-h", "--help"}:
        print("\n  ".join((USAGE, "", *sorted(commands))))
        return 0
    if name in {"-V", "--version"}:
        print(f"resilient {metadata.version('resilient-policies')}")
        return 0
    if name not in commands:
        return _refused(f"no command {name!r}; there are {', '.join(sorted(commands))}", status=2)
    try:
        return _run(commands[name], arguments[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `resilient demo | head`: nobody reads on, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def explain(argv: list[str]) -> int:
    """Print what the policies on a function amount to."""
    module, _, path = argv[0].partition(":") if len(argv) == 1 else ("", "", "")
    if not (module and path):
        return _refused("usage: resilient explain package.module:function", status=2)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds strings
    try:
        fn = attrgetter(path)(import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there: something that it imports is not
        return _refused(f"there is no module {error.name!r} here")
    except AttributeError as error:
        return _refused(str(error))
    from resilient import explain as explained  # noqa: PLC0415 - the facade, only when asked

    try:
        print(explained(fn))
    except TypeError as error:
        return _refused(str(error))
    return 0


def _run(command: metadata.EntryPoint, argv: list[str]) -> int:
    try:
        return cast("Callable[[list[str]], int]", command.load())(argv)
    except ModuleNotFoundError as error:
        extra = _extra_of(command, error.name or "")
        if extra is None:
            raise
        distribution = command.dist.name if command.dist else "resilient-policies"
        return _refused(f"{command.name} needs {error.name}: pip install '{distribution}[{extra}]'")


def _extra_of(command: metadata.EntryPoint, module: str) -> str | None:
    """Return the extra of a command's distribution that brings a module.

    An extra with the command's own name brings all that it needs; otherwise
    the smallest one that brings this module will do.
    """
    extras: dict[str, set[str]] = {}
    for requirement in (command.dist.requires if command.dist else None) or ():
        if found := _OPTIONAL.match(requirement):
            extras.setdefault(found["extra"], set()).add(_plain(found["name"]))
    wanted = {_plain(module), _plain(module.partition(".")[0])}
    fitting = [extra for extra, names in extras.items() if names & wanted]
    if command.name in fitting:
        return command.name
    return min(fitting, key=lambda extra: (len(extras[extra]), extra), default=None)


def _plain(name: str) -> str:
    """Spell a module as its distribution: `opentelemetry.sdk` is opentelemetry-sdk."""
    return re.sub(r"[._-]+", "-", name).lower()


def _refused(line: str, *, status: int = 1) -> int:
    print(f"resilient: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
