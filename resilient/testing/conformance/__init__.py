"""Conformance cases: what policies do to calls, as data that any implementation can run.

A case is a JSON object: policies, scripts of targets, what is done at which
instant, and what comes of it. `load` reads a file of them, `check` runs one on
one backend in virtual time and returns what does not hold. On the command
line: `python -m resilient.testing conformance FILE...`.
"""

from __future__ import annotations

from resilient.testing.conformance._check import check
from resilient.testing.conformance._load import Case, MalformedError, load

__all__ = ("Case", "check", "load", "MalformedError")

for _name in __all__:
    globals()[_name].__module__ = __name__
