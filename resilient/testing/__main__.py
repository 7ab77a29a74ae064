"""`python -m resilient.testing`: the commands of the testing kit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from resilient.testing.conformance._command import main as conformance

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = """usage: python -m resilient.testing COMMAND [ARGUMENTS]

  conformance FILE...   run conformance cases on asyncio and trio"""


def main(argv: Sequence[str]) -> int:
    """Run the command that the first argument names."""
    if argv[:1] == ["conformance"]:
        return conformance(argv[1:])
    asked = list(argv[:1]) in ([], ["-h"], ["--help"])
    print(_USAGE, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
