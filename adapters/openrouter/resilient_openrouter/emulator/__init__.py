"""An emulated OpenRouter on loopback, for tests and demonstrations.

It speaks the provider's wire over a real TCP socket, fails in every way that
the provider has been seen to fail, and keeps a journal of what it was asked
and who hung up. `SCENARIOS` lists what it can do.
"""

from __future__ import annotations

from resilient_openrouter.emulator.journal import Entry, Journal
from resilient_openrouter.emulator.scenarios import SCENARIOS, SWITCHES, Scenario, Switch
from resilient_openrouter.emulator.server import Emulator
from resilient_openrouter.emulator.service import Service

__all__ = (
    "Emulator",
    "Entry",
    "Journal",
    "Scenario",
    "SCENARIOS",
    "Service",
    "Switch",
    "SWITCHES",
)
