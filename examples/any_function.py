"""A price that comes from a shop, then from its replica, at last from nowhere.

Run it: python examples/any_function.py
"""

from __future__ import annotations

import random

import anyio

from resilient import explain, fallback, manager_of, retry, timeout, value

shop = random.Random(4)


async def price_from_replica(sku: str) -> float | None:
    await anyio.sleep(0.01)
    return 9.99 if sku == "sku-1" else None


@fallback(to=[price_from_replica], degrade=value(None), on_result=lambda price: price is None)
@timeout(10)
@retry(attempts=3, backoff=[0.01, 0.02])
@timeout(3)
async def price(sku: str) -> float | None:
    if shop.random() < 0.7:
        raise ConnectionError(sku)
    return 10.0


async def main() -> None:
    print(explain(price))
    for sku in ("sku-1", "sku-2"):
        outcome = await manager_of(price).run(sku)
        told = ", ".join(f"{a.target}: {a.error or 'answered'}" for a in outcome.attempts)
        print(f"{sku}: {outcome.value} ({'degraded; ' if outcome.degraded else ''}{told})")


if __name__ == "__main__":
    anyio.run(main)
