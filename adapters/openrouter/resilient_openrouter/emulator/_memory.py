"""The two ends of a connection in memory: what one sends, the other receives, until it closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import ObjectStream

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

__all__ = ("pair", "Wire")

# As many pieces as a socket would hold of them: who writes more waits for who reads.
_HELD: Final = 256


class Wire(ObjectStream[bytes]):
    """One end of a connection in memory."""

    def __init__(
        self,
        sending: MemoryObjectSendStream[bytes],
        receiving: MemoryObjectReceiveStream[bytes],
    ) -> None:
        self._sending = sending
        self._receiving = receiving
        self._other: Wire | None = None
        self._was_reset = False

    def join(self, other: Wire) -> None:
        """Make the other end known, which a reset has to reach."""
        self._other = other

    async def send(self, item: bytes) -> None:
        """Send bytes to the other end."""
        if self._was_reset:
            raise anyio.BrokenResourceError
        await self._sending.send(item)

    async def receive(self) -> bytes:
        """Return the next bytes from the other end."""
        if self._was_reset:
            raise anyio.BrokenResourceError
        try:
            return await self._receiving.receive()
        except anyio.EndOfStream:
            if self._was_reset:
                raise anyio.BrokenResourceError from None
            raise

    @property
    def has_news(self) -> bool:
        """Whether there is something to receive, the other end's leaving included."""
        seen = self._receiving.statistics()
        return self._was_reset or bool(seen.current_buffer_used) or not seen.open_send_streams

    async def send_eof(self) -> None:
        """Say that nothing more is sent."""
        self._sending.close()

    async def aclose(self) -> None:
        """Close this end; the other one reads to the end of what was sent."""
        self._sending.close()
        self._receiving.close()

    async def reset(self) -> None:
        """Close so that the other end fails at once, whatever it has not read yet."""
        if self._other is not None:
            self._other.break_off()
        await self.aclose()

    def break_off(self) -> None:
        """Fail from now on: the other end has reset the connection."""
        self._was_reset = True


def pair() -> tuple[Wire, Wire]:
    """Return the two ends of a connection."""
    there_sending, there_receiving = anyio.create_memory_object_stream[bytes](_HELD)
    back_sending, back_receiving = anyio.create_memory_object_stream[bytes](_HELD)
    mine, theirs = Wire(back_sending, there_receiving), Wire(there_sending, back_receiving)
    mine.join(theirs)
    theirs.join(mine)
    return mine, theirs
