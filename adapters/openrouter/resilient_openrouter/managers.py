"""`ModelManager`: a chain of models that knows what its calls cost."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from resilient import FallbackManager, Outcome
from resilient_openrouter._functions import streaming, whole
from resilient_openrouter._ledger import Ledger, enter, leave, ledger, opened
from resilient_openrouter._options import positive
from resilient_openrouter.collecting import as_chunk
from resilient_openrouter.errors import AllModelsFailed
from resilient_openrouter.results import OpenRouterOutcome, Reply, known_cost, unknown_costs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from resilient import Target
    from resilient_openrouter._ledger import Record

__all__ = ("ModelItems", "ModelManager")

Item = TypeVar("Item")
"""`Chunk`, or with `midstream="restart"` also `Restarted`."""


class ModelManager(FallbackManager[Reply], Generic[Item]):
    """A `FallbackManager` of models: its outcomes also say what the calls cost.

    `run` gives a whole answer, `stream` the answer as it comes. Each model has
    one circuit breaker for both; how long a target rests after a rate limit is
    known to each on its own.
    """

    def __init__(
        self,
        targets: Sequence[Target[Any]],
        /,
        *,
        midstream: str = "error",
        max_cost: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__([whole(target) for target in targets], group=AllModelsFailed, **options)
        if midstream not in {"error", "restart"}:
            raise ValueError(f"midstream must be 'error' or 'restart', not {midstream!r}")
        self._options: dict[str, Any] = options | {"midstream": midstream}
        self._given = tuple(targets)
        self._max_cost = None if max_cost is None else positive(max_cost, "max_cost")
        self._streaming: FallbackManager[Any] | None = None

    async def run(self, /, *args: Any, **kwargs: Any) -> OpenRouterOutcome[Reply]:
        """Ask the models in order; return the answer, how it came about and what it cost.

        Raises `AllModelsFailed`, or the one error that kept all others from
        being asked.
        """
        with ledger([], self._max_cost) as records:
            try:
                outcome = await super().run(*args, **kwargs)
            except AllModelsFailed as error:
                _account(error, records)
                raise
        return _accounted(outcome, records)

    def stream(self, /, *args: Any, **kwargs: Any) -> ModelItems[Item]:  # type: ignore[override]  # its items know more
        """Ask the models in order; give the answer of the first that begins one, as it comes.

        Use it as `async with manager.stream(messages) as items:` and iterate
        over `items`: they are `Chunk`s, the last one with the whole `reply`.
        What fails before the first of them is followed by the next model;
        afterwards it is an error, or with `midstream="restart"` a `Restarted`
        and the next model from its start. `items.outcome` says how it came
        about and what it cost.
        """
        if self._streaming is None:
            targets = [streaming(target) for target in self._given]
            self._streaming = FallbackManager(targets, group=AllModelsFailed, **self._options)
        return ModelItems(self._streaming.stream(*args, **kwargs), Ledger([], self._max_cost))


class ModelItems(Generic[Item]):
    """The chunks of an answer as they come, and in the end how it came about."""

    def __init__(self, items: Any, run: Ledger) -> None:  # noqa: ANN401 - what the core gives
        self._items = items
        self._run = run

    async def __aenter__(self) -> Self:
        await self._items.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the stream, if it has not ended."""
        with opened(self._run):
            await self._items.__aexit__(kind, error, trace)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """Give the next chunk."""
        token = enter(self._run)
        try:
            item = await self._items.__anext__()
        except AllModelsFailed as error:
            _account(error, self._run.records)
            raise
        finally:
            leave(token)
        return cast("Item", as_chunk(item))

    @property
    def outcome(self) -> OpenRouterOutcome[None]:
        """How the stream came about and what it cost, once it is over.

        It is a `RuntimeError` to ask while it can still give chunks, or where
        it has failed.
        """
        return _accounted(self._items.outcome, self._run.records)


def _account(error: AllModelsFailed, records: Sequence[Record]) -> None:
    """Write on an error what its calls cost."""
    error.calls = tuple(record.call for record in records)
    error.cost, error.unknown_costs = known_cost(error.calls), unknown_costs(error.calls)


def _accounted(outcome: Outcome[Any], records: Sequence[Record]) -> OpenRouterOutcome[Any]:
    """Return an outcome that knows what its calls cost."""
    calls = tuple(record.call for record in records)
    return OpenRouterOutcome(
        **{field.name: getattr(outcome, field.name) for field in fields(Outcome)},
        cost=known_cost(calls),
        unknown_costs=unknown_costs(calls),
        calls=calls,
    )
