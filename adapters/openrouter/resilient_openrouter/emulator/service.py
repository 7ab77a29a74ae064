"""One API of the emulated server: what each of its models answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from resilient_openrouter.emulator._names import Switches, is_known
from resilient_openrouter.emulator._plays import Play, checked, checked_step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resilient_openrouter.emulator._dialects import Dialect
    from resilient_openrouter.emulator._lookups import Lookups
    from resilient_openrouter.emulator._plays import Step, Steps
    from resilient_openrouter.emulator.http import Request
    from resilient_openrouter.emulator.journal import Labels

__all__ = ("Service",)

LOOKUP: Final = "lookup"
"""What stands for a scenario where a lookup is answered."""

_OWN: Final = "emu/"


class Service:
    """An API of an `Emulator`: `script` says how a model answers, `default` how all others do.

    `needs_key=False` makes it a server of one's own, which asks nobody who he is.
    """

    def __init__(
        self,
        dialect: Dialect,
        labels: Labels,
        root: Callable[[], str],
        *,
        default: Step = "ok",
        seed: int = 0,
        lookups: Lookups | None = None,
    ) -> None:
        self.dialect = dialect
        self.needs_key = True
        self._labels = labels
        self._root = root
        self._seed = seed
        self._lookups = lookups
        self._switches = Switches(dialect.scenarios)
        self._plays: dict[str, Play] = {}
        self.default(default)
        self._has_default = default != "ok"

    @property
    def scripted(self) -> tuple[str, ...]:
        """The models that have a script, in the order in which they got it."""
        return tuple(self._plays)

    def answers(self, model: str) -> bool:
        """Tell whether anybody has said how a model answers, by a script, a default or its name."""
        return model in self._plays or self._has_default or model.startswith(_OWN)

    @property
    def url(self) -> str:
        """The base URL of this API."""
        return f"{self._root()}{self.dialect.prefix}"

    def script(self, model: str, scenarios: Steps, *, where: str | None = None) -> None:
        """Say how a model answers: one step for each request, the last one repeats.

        A step is a scenario, which may have parameters
        (`"e429_upstream_hint?seconds=3"`), or a table of scenarios and their
        probabilities (`{"e503": 0.2, "stall": 0.1}`), whose rest is the default.
        The path of another endpoint may stand for the model: `"/generation"`.
        A mistake is a `ValueError` that calls the place `where`.
        """
        place = where or f"scenarios of {model}"
        steps = checked(scenarios, self.dialect.scenarios, place)
        self._plays[model] = Play(steps, self._otherwise, f"{self._seed}/{model}")

    def default(self, step: Step, *, where: str = "default") -> None:
        """Say how models answer that have no script; the rest of probabilities is `ok`."""
        found = checked_step(step, self.dialect.scenarios, where)
        self._has_default = True
        self._default = Play([found], lambda: "ok", f"{self._seed}/")

    def _otherwise(self) -> str:
        return self._default.next()  # the one that is set when it is needed

    def next(self, model: str, request: Request, body: Mapping[str, Any], now: float) -> str:
        """Return the name of the scenario that answers a request, or `LOOKUP`."""
        name = self._named(model, request, body)
        return name if name == LOOKUP else self._switches.turned(model, name, now)

    def _named(self, model: str, request: Request, body: Mapping[str, Any]) -> str:
        dialect = self.dialect
        if not request.path.startswith(f"{dialect.prefix}/"):
            return dialect.no_path
        path = request.path.removeprefix(dialect.prefix)
        lookups = self._lookups if request.method == "GET" else None
        is_lookup = lookups is not None and lookups.serves(path)
        if not is_lookup and (request.method, path) != ("POST", "/chat/completions"):
            return dialect.no_path
        if self.needs_key and (lookups is None or lookups.needs_key(path)):
            wrong = self._key_is_wrong(request)
            if wrong is not None:
                return wrong
        if is_lookup:
            plain = path.partition("?")[0]
            name = self._plays[plain].next() if plain in self._plays else "ok"
            return LOOKUP if name == "ok" else name
        if not isinstance(body.get("messages"), list):
            return dialect.no_messages
        if model in self._plays:
            return self._plays[model].next()
        if not model.startswith(_OWN):
            return self._default.next()
        own = model.removeprefix(_OWN)
        return own if is_known(own, dialect.scenarios) else dialect.no_model

    def _key_is_wrong(self, request: Request) -> str | None:
        """Return the scenario that refuses the key of a request, if anything is wrong with it."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return self.dialect.no_key
        return self.dialect.bad_key if self._labels.is_refused(key) else None
