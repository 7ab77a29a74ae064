"""How the two APIs of the emulated server speak: where they are and what is around an answer.

OpenRouter pads its answers with keep-alives, names generations and providers,
and says what an answer costs. OpenAI, and what speaks like it, does none of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from resilient_openrouter.emulator.scenarios import SCENARIOS
from resilient_openrouter.emulator.scenarios.openai import OPENAI, chunked
from resilient_openrouter.emulator.scenarios.streams import COMMENT, streamed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_openrouter.emulator.scenarios.shape import Part, Scenario

__all__ = ("Dialect", "OPENAI_DIALECT", "OPENROUTER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One API: its path, its scenarios, and what surrounds them.

    `no_path`, `no_key`, `bad_key`, `no_messages` and `no_model` are the
    scenarios that answer what is wrong with a request. `streamed` makes a
    stream of a whole answer, as the request asked for it. `bills` says that
    answers cost something here.
    """

    name: str
    prefix: str
    scenarios: Mapping[str, Scenario]
    no_path: str
    no_key: str
    bad_key: str
    no_messages: str
    no_model: str
    comment: str
    id: str
    id_header: str
    served: str
    headers: Mapping[str, str]
    bills: bool
    streamed: Callable[[dict[str, Any], Mapping[str, Any]], tuple[Part, ...]]


OPENROUTER: Final = Dialect(
    name="openrouter",
    prefix="/api/v1",
    scenarios=SCENARIOS,
    no_path="e404_address",
    no_key="e401_nokey",
    bad_key="e401_badkey",
    no_messages="e400_invalid",
    no_model="e400_model",
    comment=COMMENT,
    id="gen-{number}-n1Y7aaaaaaaaaaaaaaaa",
    id_header="x-generation-id",
    served="{model}-20260317",
    headers={
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "X-Generation-Id, X-Provider-Name, request-id, cf-ray",
        "vary": "Accept-Encoding",
        "cf-ray": "8f0000000000aaaa-IAD",
    },
    bills=True,
    streamed=lambda body, _: streamed(body),
)

OPENAI_DIALECT: Final = Dialect(
    name="openai",
    prefix="/v1",
    scenarios=OPENAI,
    no_path="e404_address",
    no_key="e401_nokey",
    bad_key="e401_badkey",
    no_messages="e400_invalid",
    no_model="e404_model",
    comment=": \n\n",
    id="chatcmpl-{number}n1Y7aaaaaaaaaaaaaaaa",
    id_header="x-request-id",
    served="{model}-2026-03-17",
    headers={"openai-version": "2020-10-01", "openai-processing-ms": "12"},
    bills=False,
    streamed=chunked,
)
