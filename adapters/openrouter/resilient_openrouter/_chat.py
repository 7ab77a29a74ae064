"""What every client of a chat API is: one HTTP client, one key, and the models behind them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    NoReturn,
    SupportsIndex,
    TypeAlias,
    overload,
)

from resilient import Target
from resilient_openrouter._address import server_of, where_of
from resilient_openrouter._checks import estimate, refusal
from resilient_openrouter._functions import target_of
from resilient_openrouter._ledger import Record, current_ledger, open_record
from resilient_openrouter._options import positive
from resilient_openrouter._plan import DEFAULT, Default, Plan, Timeout, Travels, collects
from resilient_openrouter._reading import Reading
from resilient_openrouter._request import Messages, encoded, texts
from resilient_openrouter._timeouts import clocks_of
from resilient_openrouter._transport import Transport
from resilient_openrouter.clocks import Clocks
from resilient_openrouter.errors import ContextTooLong, OpenRouterError
from resilient_openrouter.managers import ModelManager
from resilient_openrouter.targets import Asked, ModelStream, ModelTarget, endpoint_of, scopes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    import httpx

    from resilient import CircuitBreaker, Pipeline, Restarted
    from resilient.typing import Classify, LastResort, Listener, OnError, OnResult, Seconds
    from resilient_openrouter._key import Key
    from resilient_openrouter.lookups import ModelInfo
    from resilient_openrouter.results import Chunk, Reply
    from resilient_openrouter.rows import Row

__all__ = ("ChatClient", "MAX_BODY")

Model: TypeAlias = str | Target[Any] | Callable[..., Awaitable[Any] | AsyncIterator[Any]]
"""What a chain can ask: a model's name, a `Target`, an async function or generator function."""

MAX_BODY: Final = 64 * 1024 * 1024
COMPLETIONS: Final = "/chat/completions"
LOOKUP: Final = Clocks(total=30)


class ChatClient:
    """One server, one key, and the models behind them.

    `name` is what the circuits of its models are named after, `system` what
    spans call it. `has_routing` says that requests hold preferences of
    routing, `is_free` that nothing costs anything.
    """

    def __init__(
        self,
        *,
        key: Key,
        base_url: str,
        account: str | None,
        headers: Mapping[str, str],
        client: httpx.AsyncClient | None,
        connect: float,
        max_body: int,
        table: Iterable[Row],
        transport: Travels,
        keep_raw: bool,
        system: str,
        name: str | None = None,
        has_routing: bool = True,
        is_free: bool = False,
    ) -> None:
        self._key = key
        self._base_url = base_url
        self._server = server_of(base_url)
        self._account = account or key.label
        self._headers = dict(headers)
        self._table = tuple(table)
        self._keep_raw = keep_raw
        self._collects = collects(transport)
        self._max_body = int(positive(max_body, "max_body"))
        self._system = system
        self._name = name or where_of(self._server)
        self._has_routing = has_routing
        self._is_free = is_free
        self._transport = Transport(
            base_url, key, client=client, connect=positive(connect, "connect")
        )

    async def __aenter__(self) -> Self:
        await self._transport.aenter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.aexit()

    async def aclose(self) -> None:
        """Close the HTTP client of the running loop; the next call would open a new one."""
        await self._transport.aclose()

    async def chat(
        self,
        model: str,
        messages: Messages,
        /,
        *,
        clocks: Clocks | Seconds | None = None,
        transport: Travels | None = None,
        **fields: Any,
    ) -> Reply:
        """Ask a model once, without any policy: no retry, and no time limit but `clocks`.

        The fields go into the request as they are: `temperature=0`,
        `tools=[...]`, `provider={...}`.
        """
        return await self._ask(self._asked(model, clocks, transport), messages, fields)

    async def stream(
        self,
        model: str,
        messages: Messages,
        /,
        *,
        clocks: Clocks | Seconds | None = None,
        reasoning_commits: bool = True,
        **fields: Any,
    ) -> AsyncGenerator[Chunk]:
        """Ask a model once and yield its answer as it comes, without any policy.

        Nothing is yielded before there is content, so an error before the
        first chunk leaves nothing to be taken back. The last chunk has the
        whole `reply`, with usage and cost; a stream that ends without one
        raises why. `clocks` limit the time (a number is the total). With
        `reasoning_commits=False` reasoning waits for the answer to begin.

        Close it where you leave it early (`contextlib.aclosing`): that closes
        the connection, and with most providers stops the bill.
        """
        asked = self._asked(model, clocks)
        stream = self._ask_stream(asked, messages, fields, reasoning_commits=reasoning_commits)
        async with aclosing(stream):
            async for chunk in stream:
                yield chunk

    def target(
        self,
        model: str,
        /,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: Timeout | Default | None = DEFAULT,
        attempts: int | Default | None = DEFAULT,
        breaker: CircuitBreaker | Default | None = DEFAULT,
        policies: Pipeline | None = None,
        transport: Travels | None = None,
        name: str | None = None,
        priority: float = 0,
        classify: Classify | None = None,
        enabled: bool | Callable[[], bool] = True,
    ) -> Target[Reply]:
        """Make a model something that a chain can ask.

        `params` are fields of every request to it. `timeout` is for each
        attempt: seconds, `Clocks`, or a mapping of patterns of models to
        either (120 s: the router gives a provider about as long; a stream
        goes by `clocks.reasoning`). `attempts` includes the first (2: the
        second may go to another provider). `breaker` keeps a model that is
        down from being asked by every call; each model has its own (it opens
        at 5 failures in a row, or at half of at least 5 calls in 30 s, for
        20 s). `policies` stands for all three. `transport` is how a whole
        answer travels. The name is the model's unless it is given. `classify`
        may see an error differently than the table of faults.
        """
        if not isinstance(model, str) or not model:
            raise TypeError(f"target(model) takes the name of a model, not {model!r}")
        asked = Asked(
            model=model,
            name=name or model,
            params=dict(params or {}),
            collects=(self._collects if transport is None else collects(transport)),
            server=self._server,
            system=self._system,
        )
        scopes = self._scopes(model) | {"endpoint": endpoint_of(asked)}

        def made(call: Any, policies: Pipeline) -> Target[Any]:  # noqa: ANN401 - either kind
            return Target(
                asked.name,
                call,
                policies=policies,
                scopes=scopes,
                priority=priority,
                classify=classify,
                enabled=enabled,
            )

        plan = Plan(
            model=model,
            where=self._name,
            timeout=timeout,
            attempts=attempts,
            breaker=breaker,
            policies=policies,
        )
        plain, streamed = plan.of_answer(), plan.of_stream()
        call = ModelTarget(self._ask, replace(asked, clocks=plain.clocks))
        stream = ModelStream(self._ask_stream, replace(asked, clocks=streamed.clocks))
        call.twin = made(stream, streamed.policies)
        return made(call, plain.policies)

    @overload
    def manager(
        self,
        *models: Model,
        timeout: Timeout | Default | None = DEFAULT,
        attempts: int | Default | None = DEFAULT,
        breaker: CircuitBreaker | Default | None = DEFAULT,
        transport: Travels | None = None,
        max_cost: float | None = None,
        deadline: Seconds | None = None,
        reserve: Seconds | None = None,
        degrade: LastResort | None = None,
        on: OnError | None = None,
        on_result: OnResult | None = None,
        routes: Mapping[type[Exception], Sequence[str]] | None = None,
        switch_after: Seconds = 3,
        trip_for: Seconds = 30,
        midstream: Literal["error"] = "error",
        name: str = "chat",
        listeners: Sequence[Listener] = (),
        **fields: Any,
    ) -> ModelManager[Chunk]: ...

    @overload
    def manager(
        self,
        *models: Model,
        timeout: Timeout | Default | None = DEFAULT,
        attempts: int | Default | None = DEFAULT,
        breaker: CircuitBreaker | Default | None = DEFAULT,
        transport: Travels | None = None,
        max_cost: float | None = None,
        deadline: Seconds | None = None,
        reserve: Seconds | None = None,
        degrade: LastResort | None = None,
        on: OnError | None = None,
        on_result: OnResult | None = None,
        routes: Mapping[type[Exception], Sequence[str]] | None = None,
        switch_after: Seconds = 3,
        trip_for: Seconds = 30,
        midstream: Literal["restart"],
        name: str = "chat",
        listeners: Sequence[Listener] = (),
        **fields: Any,
    ) -> ModelManager[Chunk | Restarted]: ...

    def manager(
        self,
        *models: Model,
        timeout: Timeout | Default | None = DEFAULT,
        attempts: int | Default | None = DEFAULT,
        breaker: CircuitBreaker | Default | None = DEFAULT,
        transport: Travels | None = None,
        max_cost: float | None = None,
        deadline: Seconds | None = None,
        reserve: Seconds | None = None,
        degrade: LastResort | None = None,
        on: OnError | None = None,
        on_result: OnResult | None = None,
        routes: Mapping[type[Exception], Sequence[str]] | None = None,
        switch_after: Seconds = 3,
        trip_for: Seconds = 30,
        midstream: Literal["error", "restart"] = "error",
        name: str = "chat",
        listeners: Sequence[Listener] = (),
        **fields: Any,
    ) -> ModelManager[Any]:
        """Make a chain: the models are asked in order until one answers.

        A model is a name, a `Target` (also of another `OpenRouter`), or a
        function of the messages: a plain async one, whose text becomes a
        `Reply`, or an async generator. `timeout`, `attempts`, `breaker` and
        `transport` are those of the models given by name, and `fields` go
        into every request to them. `max_cost` is what one run may cost in
        dollars: a call that would go beyond it is `CostTooHigh` without being
        sent. With `midstream="restart"` a stream that breaks off is begun
        anew by the next model. The rest is as in `FallbackManager`.
        """
        if not models:
            raise ValueError("manager(*models) needs at least one model")

        def named(model: str) -> Target[Any]:
            return self.target(
                model,
                fields,
                timeout=timeout,
                attempts=attempts,
                breaker=breaker,
                transport=transport,
            )

        return ModelManager(
            [_as_target(model, named) for model in models],
            deadline=deadline,
            reserve=reserve,
            degrade=degrade,
            on=on,
            on_result=on_result,
            routes=routes,
            switch_after=switch_after,
            trip_for=trip_for,
            max_cost=max_cost,
            midstream=midstream,
            name=name,
            listeners=listeners,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r}, key={self._key.label})"

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"an {kind} is not pickled or copied: it holds a key and connections")

    async def _ask(self, asked: Asked, messages: Messages, fields: Mapping[str, Any], /) -> Reply:
        """Ask a model once, and write down what that came to."""
        body = self._encoded(asked, messages, fields, stream=asked.collects)
        record = open_record(asked.model, asked.name, self._key.label, is_free=self._is_free)
        try:
            self._check(asked, fields, len(body), record)
            reading = self._reading(body, messages, record, asked.clocks)
            try:
                return await (reading.collected() if asked.collects else reading.reply())
            finally:
                await reading.aclose()
        except OpenRouterError as error:
            self._failed(record, error)
            raise
        finally:
            record.count()

    async def _ask_stream(
        self,
        asked: Asked,
        messages: Messages,
        fields: Mapping[str, Any],
        /,
        *,
        reasoning_commits: bool = True,
    ) -> AsyncGenerator[Chunk]:
        """Ask a model once, and yield its answer as it comes, and write that down."""
        body = self._encoded(asked, messages, fields, stream=True)
        record = open_record(asked.model, asked.name, self._key.label, is_free=self._is_free)
        try:
            self._check(asked, fields, len(body), record)
            reading = self._reading(
                body, messages, record, asked.clocks, reasoning_commits=reasoning_commits
            )
            try:
                while chunks := await reading.next():
                    for chunk in chunks:
                        yield chunk
            finally:
                await reading.aclose()
        except OpenRouterError as error:
            self._failed(record, error)
            raise
        finally:
            record.count()

    def _scopes(self, model: str) -> dict[str, str]:
        """Return what a model depends on."""
        return scopes_of(
            model,
            host=where_of(self._server),
            credential=self._key.label,
            account=self._account,
        )

    def _check(self, asked: Asked, fields: Mapping[str, Any], size: int, record: Record) -> None:
        """Refuse a request that is pointless or too dear before it is sent."""
        info, every = self._known(asked.model), {**asked.params, **fields}
        cost = estimate(size, every, info)
        error = refusal(asked.model, every, info, current_ledger(), cost)
        if error is not None:
            try:
                raise error
            finally:
                del error
        record.estimate = cost  # until somebody tells

    def _failed(self, record: Record, error: OpenRouterError) -> None:
        """Write down how a call failed, and what is learned from it for the next one."""
        record.failed(error)
        run, info = current_ledger(), self._known(record.model)
        if isinstance(error, ContextTooLong) and run is not None and info is not None:
            run.outgrown(info.context_length)

    def _known(self, _model: str) -> ModelInfo | None:
        """Return what is known of a model; nothing, where there is no catalogue."""
        return None

    def _encoded(
        self, asked: Asked, messages: Messages, fields: Mapping[str, Any], *, stream: bool
    ) -> bytes:
        """Return the bytes of a request; what another server wants otherwise is said here."""
        given = {**asked.params, **fields}
        return encoded(asked.model, messages, given, stream=stream, routing=self._has_routing)

    def _headers_of(self, _body: bytes | None) -> Mapping[str, str]:
        """Return the headers of a request; without a body it is a lookup."""
        return self._headers

    def _priced(self, reply: Reply) -> Reply:
        """Return a reply that knows what it cost, where the server does not say so itself."""
        return reply

    def _asked(
        self, model: str, clocks: Clocks | Seconds | None, transport: Travels | None = None
    ) -> Asked:
        return Asked(
            model=model,
            name=model,
            clocks=clocks_of(clocks, "clocks"),
            collects=self._collects if transport is None else collects(transport),
            server=self._server,
            system=self._system,
        )

    def _reading(
        self,
        body: bytes | None,
        messages: Messages,
        record: Record,
        clocks: Clocks,
        *,
        path: str = COMPLETIONS,
        **options: Any,
    ) -> Reading:
        """Return the reading of an answer whose request is not sent yet."""
        key, headers = self._key.text(), self._headers_of(body)
        return Reading(
            self._transport.exchange(path, body, headers, record, connect=clocks.connect),
            record,
            clocks,
            max_body=self._max_body,
            table=self._table,
            secrets=(*texts(messages), key),
            keep_raw=self._keep_raw,
            price=self._priced,
            **options,
        )

    async def _looked_up(self, path: str) -> Mapping[str, object]:
        """Send a `GET` once and return the JSON object that answers it."""
        reading = self._reading(None, (), Record(path, path), LOOKUP, path=path)
        try:
            return await reading.payload()
        finally:
            await reading.aclose()


def _as_target(model: Model, named: Callable[[str], Target[Any]]) -> Target[Any]:
    if isinstance(model, str):
        return named(model)
    if isinstance(model, Target):
        # Narrowing makes a target of something unknown of it.
        return model  # pyright: ignore[reportUnknownVariableType]
    if not callable(model):
        raise TypeError(
            "manager(*models) takes names of models, Targets and async functions,"
            f" not {type(model).__qualname__}"
        )
    return target_of(model)
