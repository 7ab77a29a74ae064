"""What one run in virtual time knows about itself.

A run ends when its function ends. One that cannot end is *given up*: its
scope is cancelled, once, with a reason. The scope itself has no deadline, so
that code inside which asks how long it may take still hears "for ever".
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import anyio
import anyio.to_thread

from resilient.testing import _tasks

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import AsyncGeneratorType


one_at_a_time = RLock()
"""Held by what changes something of the whole process while it runs: trio's source of chance, the
garbage collector, the log. In other threads the next one waits for that."""

PATIENCE = 1.0
"""Real seconds for which the clock stands still when only a worker thread works."""


class Stuck(AssertionError):
    """A run in virtual time that could not go on, with the reason.

    Either everything waited and nothing within the horizon would have ended
    the wait, or it waited too long for a worker thread, whose time is real.
    """


class VirtualRun:
    """One run: its scope, the tasks that were there before it, what was opened since."""

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon
        self.reason: str | None = None
        self.scope = anyio.CancelScope()
        self.tasks_before = _tasks.alive()
        self.generators: WeakSet[AsyncGeneratorType[Any, Any]] = WeakSet()
        self.dropped: list[str] = []
        self.unreachable: set[str] = set()
        self._limiter = anyio.to_thread.current_default_thread_limiter()

    def past_horizon(self) -> None:
        """Give up: the horizon is reached and the function has not ended."""
        self._give_up(f"still waiting after {self.horizon:.6g} virtual seconds")

    def waits_for_thread(self) -> None:
        """Give up: everything waits for a thread, and patience is at an end."""
        self._give_up(
            f"a worker thread is at work and everything has waited {PATIENCE:g} real s for it:"
            " put something in its place that uses no thread"
        )

    @property
    def patience(self) -> float:
        """How long a run waits, in real seconds, for its threads."""
        return PATIENCE

    def busy_threads(self) -> int:
        """Count the worker threads at work, as far as the default limiter knows them."""
        return int(self._limiter.borrowed_tokens)

    @contextmanager
    def supervised(self) -> Generator[None]:
        """Be the current run; raise `Stuck` if it had to be given up."""
        token = _current.set(self)
        hooks = sys.get_asyncgen_hooks()
        self._note_generators(hooks)
        try:
            with self.scope:
                yield
        finally:
            sys.set_asyncgen_hooks(*hooks)
            _current.reset(token)
            # Whatever the cancelled function made of it: it did not end in time.
            if self.reason is not None:
                raise Stuck(self.reason)

    def _note_generators(self, hooks: Any) -> None:  # noqa: ANN401 - its class has no public name
        """Keep track of the async generators that are started, and of those dropped while open.

        The hooks that are there already are the loop's: both backends have them.
        """

        def started(generator: AsyncGeneratorType[Any, Any]) -> None:
            self.generators.add(generator)
            hooks.firstiter(generator)

        def dropped(generator: AsyncGeneratorType[Any, Any]) -> None:
            if self.is_unreachable(generator):
                return
            self.dropped.append(generator.__qualname__)
            hooks.finalizer(generator)

        sys.set_asyncgen_hooks(cast("Any", started), cast("Any", dropped))

    def is_unreachable(self, generator: AsyncGeneratorType[Any, Any]) -> bool:
        """Tell whether a generator is one that no code but its own library can close."""
        frame = generator.ag_frame
        home = "" if frame is None else str(frame.f_globals.get("__name__"))
        return home.partition(".")[0] in self.unreachable

    def _give_up(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            self.scope.cancel()


_current: ContextVar[VirtualRun] = ContextVar("resilient.testing.run")


def leave_to(library: str) -> None:
    """Let the generators that a library leaves open be its own affair for the rest of the run."""
    run = _current.get(None)
    if run is not None:
        run.unreachable.add(library)


def current_run() -> VirtualRun:
    """Return the run that this code is part of."""
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("this code does not run inside virtual_time()") from None
