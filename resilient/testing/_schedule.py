"""A failure schedule: one value that says everything that goes wrong in a run.

It is data. Two schedules are equal if they say the same, the `repr` of one is
the code that makes it, and a run of one schedule is the same run every time:
the seed of the jitter is part of it. So a failing example is one line that can
be pasted into a test.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from resilient._core.options import choice, number, shown, whole
from resilient.testing import _text
from resilient.testing._given import several
from resilient.testing._steps import FRESH, Ok, Step, Stubborn, is_step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from resilient.testing._transport import ScheduledTransport

Delivery = Literal["scope", "task"]
"""How the caller is cancelled: by an anyio scope, or by `task.cancel()`."""


@dataclass(frozen=True, slots=True, repr=False)
class FailureSchedule:
    """What the calls of a function come to, who calls it, and when the caller is cancelled.

    `steps[i]` answers call i, `then` every call after the steps. `fallbacks`
    has a schedule (or its text, or steps) for each further target, in the
    order in which they are asked; those that have none always answer. A caller
    starts at each instant of `arrivals`. At `cancel_at` the first caller is
    cancelled, by an anyio `"scope"`, which cancels again at every await, or as
    a `"task"`, by `task.cancel()`, which cancels once (trio has only scopes).
    `jitter_seed` seeds the random source of the run.

    Of a stream the first caller has `take` items and then closes it (`None`:
    all of them), and pauses for `pause` seconds with each.

    Anything that is no step is a `TypeError`, a negative instant a
    `ValueError`.

    >>> FailureSchedule([Fail(ConnectionError), Ok(after=2)], cancel_at=1)
    FailureSchedule([Fail(ConnectionError), Ok(after=2)], cancel_at=1)
    """

    steps: tuple[Step, ...] = ()
    then: Step = field(default=Ok(), kw_only=True)
    fallbacks: tuple[FailureSchedule, ...] = field(default=(), kw_only=True)
    arrivals: tuple[float, ...] = field(default=(0.0,), kw_only=True)
    cancel_at: float | None = field(default=None, kw_only=True)
    cancel: Delivery = field(default="scope", kw_only=True)
    jitter_seed: int = field(default=0, kw_only=True)
    take: int | None = field(default=None, kw_only=True)
    pause: float = field(default=0.0, kw_only=True)

    if TYPE_CHECKING:
        # Any sequence will do; what is kept are tuples.
        def __init__(
            self,
            steps: Iterable[Step] = (),
            *,
            then: Step = ...,
            fallbacks: Iterable[str | Iterable[Step] | FailureSchedule] = (),
            arrivals: Iterable[float] = (0.0,),
            cancel_at: float | None = None,
            cancel: Delivery = "scope",
            jitter_seed: int = 0,
            take: int | None = None,
            pause: float = 0.0,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Check everything, and keep tuples."""
        put = object.__setattr__
        put(self, "steps", _steps(self.steps))
        _check_step(self.then)
        put(self, "fallbacks", _fallbacks(self.fallbacks))
        put(self, "arrivals", _arrivals(self.arrivals))
        if self.cancel_at is not None:
            number(self.cancel_at, "FailureSchedule(cancel_at=)", least=0)
        choice(self.cancel, "FailureSchedule(cancel=)", get_args(Delivery))
        whole(self.jitter_seed, "FailureSchedule(jitter_seed=)", least=0)
        if self.take is not None:
            whole(self.take, "FailureSchedule(take=)")
        number(self.pause, "FailureSchedule(pause=)", least=0)

    @classmethod
    def parse(cls, text: str, /) -> FailureSchedule:
        """Read the short form: one symbol for each call.

        `x` fails with `ConnectionError`, `~` hangs, `.` answers, `!` answers
        and swallows cancellation. Digits after a symbol are the whole seconds
        before its outcome, `*` at the end repeats the last symbol for ever,
        blanks are for the reader. In front of the symbol that a stream ends
        with, `:` is an item and digits the seconds before it; `/` ends it
        without its end marker. Anything else is a `ValueError`. `str` of
        such a schedule gives the text back.

        >>> FailureSchedule.parse("x2 ~ .")
        FailureSchedule([Fail(ConnectionError, after=2), Hang(), Ok()])
        >>> str(FailureSchedule.parse("x2 ~ x*"))
        'x2~x*'
        >>> FailureSchedule.parse("::x :5:2.")
        FailureSchedule([Items(2, then=Fail(ConnectionError)), Items(2, gap=2, after=5)])
        """
        if not isinstance(cast("object", text), str):
            raise TypeError(f"FailureSchedule.parse takes a text, not {shown(text)}")
        steps, then = _text.parse(text)
        return cls(steps) if then is None else cls(steps, then=then)

    def step(self, number: int) -> Step:
        """Return the step that answers call `number`, counted from 1.

        >>> FailureSchedule.parse("x.").step(3)
        Ok()
        """
        whole(number, "FailureSchedule.step(number)")
        return self.steps[number - 1] if number <= len(self.steps) else self.then

    def of(self, index: int) -> FailureSchedule:
        """Return the schedule of target `index`: this one is that of target 0.

        >>> FailureSchedule.parse("x").of(1)
        FailureSchedule()
        """
        if not whole(index, "FailureSchedule.of(index)", least=0):
            return self
        return self.fallbacks[index - 1] if index <= len(self.fallbacks) else _WELL

    def transport(
        self,
        *,
        name: str = "server",
        answer: Any = FRESH,  # noqa: ANN401 - what a server answers is anything
        item: Any = FRESH,  # noqa: ANN401 - as above
        end: bytes = b"data: [DONE]\n\n",
    ) -> ScheduledTransport:
        """Return a transport for httpx (or httpx2) whose server does what this schedule says.

        Request i is answered by step i, so the user's own function and client
        library run as they are: `simulate(fn, schedule, args=(client,), target="real")`,
        where the client is an `AsyncClient(transport=schedule.transport())`.
        The client's limits of time are kept as by a network.

        `Ok` and `Bad` answer 200 with their value as JSON, or as an
        `HttpReply` says; `Ok()` with `answer`, by default one that counts the
        calls. `Fail` raises: a builtin error as the client library would
        (`ConnectError`, `ReadError`, `ReadTimeout`), one of the client
        library's as it is. With a `hint` a builtin is a 503 with
        `Retry-After`, and a `Fault` is a status that says the same: 429 and
        503, or 400 to 404 where nobody should try again. `Hang` never answers.

        `Items` answers with server-sent events, one for each item: its value
        as JSON (bytes as they are), or `item`, by default one that counts
        them. A server that has an `item` and no `answer` answers `Ok()` so too.
        Behind the last one `Ok()` sends `end`, the end marker, and `Cut()`
        ends the answer without it, cleanly: to notice is up to the client.

        `name` is what its calls are called in a run.

        >>> FailureSchedule([Ok(HttpReply(503))]).transport(name="shop")
        FailureSchedule([Ok(value=HttpReply(status=503))]).transport(name='shop')
        """
        from resilient.testing._transport import ScheduledTransport  # noqa: PLC0415 - it records

        return ScheduledTransport(self, name, answer, item, end)

    @property
    def cooperative(self) -> bool:
        """Whether every cancellation is let through at once.

        >>> FailureSchedule.parse("!3").cooperative
        False
        """
        mine = (*self.steps, self.then)
        return not any(isinstance(step, Stubborn) for step in mine) and all(
            other.cooperative for other in self.fallbacks
        )

    @property
    def size(self) -> int:
        """How many steps there are, those of further targets included.

        >>> FailureSchedule.parse("xx~").size
        3
        """
        return len(self.steps) + sum(other.size for other in self.fallbacks)

    def __str__(self) -> str:
        """Return the short form, or the code where there is none."""
        short = _text.written(self.steps, self.then)
        plain = FailureSchedule(self.steps, then=self.then)
        return repr(self) if short is None or self != plain else short

    def __repr__(self) -> str:
        """Return the code that makes this schedule; defaults are left out."""
        said = [_listed(self.steps)] if self.steps else []
        for one in fields(self)[1:]:
            value = getattr(self, one.name)
            if one.default is MISSING or value != one.default:
                said.append(f"{one.name}={_listed(value)}")
        return f"FailureSchedule({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ANN401, FBT001 - IPython's protocol, and Hypothesis's
        """Print the same code where a printer has ideas of its own."""
        del cycle
        printer.text(repr(self))


def schedule_of(what: str | Iterable[Step] | FailureSchedule) -> FailureSchedule:
    """Make a schedule of a line of text, of steps, or of a schedule."""
    if isinstance(what, FailureSchedule):
        return what
    return FailureSchedule.parse(what) if isinstance(what, str) else FailureSchedule(what)


def _steps(steps: Any) -> tuple[Step, ...]:  # noqa: ANN401 - whatever was written
    if isinstance(steps, str):
        raise TypeError(
            f"a schedule is made of steps, and {shown(steps)} is a text:"
            " FailureSchedule.parse(text) reads it"
        )
    found = several(steps, "FailureSchedule", "a list of steps (`parse` reads a text)")
    for step in found:
        _check_step(step)
    return found


def _check_step(step: object) -> None:
    if not is_step(step):
        raise TypeError(
            f"a schedule is made of steps such as Ok() or Fail(OSError), not {shown(step)}"
        )


def _fallbacks(schedules: Any) -> tuple[FailureSchedule, ...]:  # noqa: ANN401 - as above
    accepted = "a list, of one schedule for each further target"
    found = several(schedules, "FailureSchedule(fallbacks=)", accepted)
    return tuple(schedule_of(one) for one in found)


def _arrivals(instants: Any) -> tuple[float, ...]:  # noqa: ANN401 - as above
    found = several(instants, "FailureSchedule(arrivals=)", "a list of instants")
    if not found:
        raise ValueError("FailureSchedule(arrivals=) must have at least one instant: who calls?")
    for at in found:
        number(at, "FailureSchedule(arrivals=)", least=0)
    return found


def _listed(value: object) -> str:
    """Return the code of a value; a tuple of several things is written as a list."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_listed, cast('tuple[object, ...]', value)))}]"
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    return repr(value)


_WELL = FailureSchedule()
