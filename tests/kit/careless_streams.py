"""Bugs of streams, planted one at a time: what the kit must see through.

Every function here takes a `monkeypatch` and puts one bug into the library, as
those of `careless` do.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from math import inf

from resilient import _items, _pipeline
from resilient._runtime import stream
from resilient._runtime.limits import Limit
from resilient._runtime.stream_timeout import Limited
from resilient.telemetry import _otel


def _around_every_stream(patch, wrap):
    """Put a generator function around what guards a stream."""
    real = stream.stream_entry

    def stream_entry(plan, run, told=None):
        return wrap(real(plan, run, told))

    for module in (_pipeline, _items):
        patch.setattr(module, "stream_entry", stream_entry)


def replayed_after_the_first_item(patch):
    """Begin anew when a stream fails, whatever of it was delivered."""

    def wrap(guarded):
        async def twice(*args, **kwargs):
            given = False
            try:
                async with aclosing(guarded(*args, **kwargs)) as items:
                    async for item in items:
                        given = True
                        yield item
            except Exception:
                if not given:
                    raise
                async with aclosing(guarded(*args, **kwargs)) as items:
                    async for item in items:
                        yield item

        return twice

    _around_every_stream(patch, wrap)


def a_failure_is_the_end(patch):
    """Take a stream that fails behind its first item for one that is over."""

    def wrap(guarded):
        async def lenient(*args, **kwargs):
            given = False
            try:
                async with aclosing(guarded(*args, **kwargs)) as items:
                    async for item in items:
                        given = True
                        yield item
            except Exception:
                if not given:
                    raise

        return lenient

    _around_every_stream(patch, wrap)


def an_item_is_lost(patch):
    """Lose the first item: it was there only to see whether the stream works."""

    def wrap(guarded):
        async def later(*args, **kwargs):
            async with aclosing(guarded(*args, **kwargs)) as items:
                await anext(items, None)
                async for item in items:
                    yield item

        return later

    _around_every_stream(patch, wrap)


def the_source_stays_open(patch):
    """Do not tell the source that its consumer has closed the stream."""
    real = stream._throw

    async def throw(call, source, thrown):
        if isinstance(thrown, GeneratorExit):
            raise thrown
        return await real(call, source, thrown)

    patch.setattr(stream, "_throw", throw)


def spans_are_held_across_items(patch):
    """Leave the span of an attempt current while the consumer has the item."""
    real = _otel.enter

    def enter(context):
        real(context)
        return lambda: None

    patch.setattr(_otel, "enter", enter)


def limits_stay_armed(patch):
    """Arm the limit of the next item as soon as one was given."""
    real = Limited._within

    async def within(self, ask):
        item = await real(self, ask)
        if self._call.runtime.loop is not None:
            limit = Limit(asyncio.current_task(), inf)
            (self._table or self._find_table()).armed[limit] = None
        return item

    patch.setattr(Limited, "_within", within)


def the_call_stays_current(patch):
    """Forget to take the call back from the context of its consumer."""

    def wrap(guarded):
        async def current(*args, **kwargs):
            async with aclosing(guarded(*args, **kwargs)) as items:
                async for item in items:
                    stream.current.set(object())
                    yield item

        return current

    _around_every_stream(patch, wrap)
