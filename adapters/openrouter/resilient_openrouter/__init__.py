"""OpenRouter as a backend of `resilient`: the primary model fails, the next one answers.

`OpenRouter` is the client; its `manager` is the usual way in.
`OpenAICompatible` is a second backend, for whatever speaks as OpenAI does. What a call can
fail with is in `resilient_openrouter.errors`, and every name of it is here
too; what each answer of the server means stands in the table of
`resilient_openrouter.classify`.
"""

from __future__ import annotations

from resilient_openrouter import errors as _errors
from resilient_openrouter.client import OpenRouter as OpenRouter
from resilient_openrouter.clocks import Clocks as Clocks
from resilient_openrouter.collecting import collect as collect
from resilient_openrouter.compatible import OpenAICompatible as OpenAICompatible
from resilient_openrouter.errors import *  # noqa: F403 - one list of errors is enough
from resilient_openrouter.lookups import Account as Account
from resilient_openrouter.lookups import EndpointInfo as EndpointInfo
from resilient_openrouter.lookups import Generation as Generation
from resilient_openrouter.lookups import KeyInfo as KeyInfo
from resilient_openrouter.lookups import ModelInfo as ModelInfo
from resilient_openrouter.managers import ModelManager as ModelManager
from resilient_openrouter.results import Chunk as Chunk
from resilient_openrouter.results import ModelCall as ModelCall
from resilient_openrouter.results import OpenRouterOutcome as OpenRouterOutcome
from resilient_openrouter.results import Reply as Reply
from resilient_openrouter.results import ToolCall as ToolCall
from resilient_openrouter.results import Usage as Usage
from resilient_openrouter.results import reply as reply

_OWN = (
    "Account",
    "Chunk",
    "Clocks",
    "collect",
    "EndpointInfo",
    "Generation",
    "KeyInfo",
    "ModelCall",
    "ModelInfo",
    "ModelManager",
    "OpenAICompatible",
    "OpenRouter",
    "OpenRouterOutcome",
    "Reply",
    "reply",
    "ToolCall",
    "Usage",
)
__all__ = tuple(sorted(_errors.__all__ + _OWN, key=str.casefold))  # pyright: ignore[reportUnsupportedDunderAll]
