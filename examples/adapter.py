"""A backend of one's own in thirty lines, and the check that it is a good one.

Run it: python examples/adapter.py
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from resilient import Target
from resilient.testing import Bad, Fail, check_backend

Send = Callable[[dict[str, str]], Awaitable[dict[str, Any]]]


class WeatherError(Exception):
    """What the service says went wrong, and what follows from it."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"status {status}")
        self.retryable = status in {429, 503}
        self.retry_after = retry_after
        self.scope = "credential" if status == 401 else "host"
        self.health = "cooldown" if status == 429 else "failure"


def weather(send: Send, key: str) -> Target[float]:
    async def ask(city: str) -> float:
        response = await send({"city": city, "key": key})
        if response["status"] != 200:
            raise WeatherError(response["status"], response.get("retry_after"))
        return response["degrees"]

    # A scope is a name for what is shared, and never a part of the secret.
    scopes = {"host": "weather.example.org", "credential": "WEATHER_KEY"}
    return Target("weather", ask, timeout=5, scopes=scopes)


def main() -> None:
    check_backend(
        lambda service: weather(service, "key-4711"),
        answer={"status": 200, "degrees": 21.5},
        failures=[
            Fail(ConnectionError),
            Bad({"status": 401}),
            Bad({"status": 429, "retry_after": 30}),
            Bad({"status": 503}),
        ],
        args=["Lisbon"],
    )
    print("weather does what a chain expects of a backend")


if __name__ == "__main__":
    main()
