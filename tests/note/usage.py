"""The manager snippet of the design note, with only its imports changed."""

from resilient.note import FallbackManager, ModelConfig

# Uso:
models = [
    ModelConfig("openai/gpt-4", timeout=30, retry_count=2, priority=1),
    ModelConfig("openai/gpt-3.5-turbo", timeout=30, retry_count=2, priority=2),
    ModelConfig("anthropic/claude-3", timeout=45, retry_count=1, priority=3),
]

manager = FallbackManager(models)

async def call_llm_func(model: str, messages: list):
    # Implementación
    pass

messages = []

async def main():
    return await manager.call_with_fallback(call_llm_func, messages)
# result = {
#     "result": {...},
#     "model": "openai/gpt-4",
#     "fallback": False,
# }
