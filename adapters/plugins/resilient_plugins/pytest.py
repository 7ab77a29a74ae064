"""The pytest plugin: fixtures, and switches for a whole suite.

Without an option, a marker or a fixture of it nothing happens, and nothing of
the library is loaded.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    Switch = AbstractContextManager[Any]


def testing() -> Any:  # noqa: ANN401 - a module
    """Load the kit: only when a test needs it."""
    from resilient import testing  # noqa: PLC0415 - as above

    return testing


_BACKENDS = ("asyncio", "trio", "both")
_HOW = "on, off, instant, or instant:N for at most N attempts"
_THE_BACKEND = "the marker resilient_backend"
_THE_POLICIES = "the marker resilient_policies"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the command line and of the configuration."""
    parser.getgroup("resilient").addoption(
        "--resilient-backend",
        choices=_BACKENDS,
        help="where tests with the fixtures resilient_backend or virtual_time run",
    )
    parser.addini(
        "resilient_backend",
        "the default of --resilient-backend: asyncio, trio or both",
        default="asyncio",
    )
    parser.addini(
        "resilient_policies", f"which policies are in force in every test: {_HOW}", default="on"
    )
    parser.addini(
        "resilient_fresh_breakers",
        "give each test its own circuit breakers",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and refuse bad options before any test runs."""
    for text in (
        "resilient_backend(*names): run with these backends only, whatever the option says",
        f"resilient_policies(how): which policies are in force in this test: {_HOW}",
    ):
        config.addinivalue_line("markers", text)
    _switch(str(config.getini("resilient_policies")), "resilient_policies")
    _chosen(str(config.getini("resilient_backend")), "resilient_backend")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for the backend with each that is chosen."""
    if "resilient_backend" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("resilient_backend")
    option: Any = metafunc.config.getoption("resilient_backend")
    ini = str(metafunc.config.getini("resilient_backend"))
    if marker is None:
        backends = _chosen(option or ini, "resilient_backend")
    elif marker.kwargs or not marker.args:
        names = ", ".join(_BACKENDS)
        raise pytest.UsageError(f"{_THE_BACKEND} takes one or more of {names}, not {_said(marker)}")
    else:
        backends = [one for name in marker.args for one in _chosen(name, _THE_BACKEND)]
    metafunc.parametrize("resilient_backend", dict.fromkeys(backends), scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test, its fixtures included, run with the policies that are asked for."""
    with ExitStack() as stack:
        if item.config.getini("resilient_fresh_breakers"):
            stack.enter_context(testing().fresh_breakers())
        with suppress(pytest.UsageError):  # here it would end the session; setup tells it
            stack.enter_context(_policies(item))
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a test whose marker cannot be read fail, before its fixtures are made."""
    try:
        _policies(item)
    except pytest.UsageError as error:
        pytest.fail(str(error), pytrace=False)


def _policies(item: pytest.Item) -> Switch:
    marker = item.get_closest_marker("resilient_policies")
    if marker is None:
        how: object = item.config.getini("resilient_policies")
    elif marker.kwargs or len(marker.args) != 1:
        raise pytest.UsageError(f"{_THE_POLICIES} takes {_HOW}, not {_said(marker)}")
    else:
        (how,) = marker.args
    return _switch(how, _THE_POLICIES)


def _said(marker: pytest.Mark) -> str:
    """Write a marker as it was called."""
    named = [f"{name}={one!r}" for name, one in marker.kwargs.items()]
    return f"{marker.name}({', '.join([*map(repr, marker.args), *named])})"


def _chosen(name: object, option: str) -> Sequence[str]:
    if not isinstance(name, str) or name not in _BACKENDS:
        names = ", ".join(_BACKENDS)
        raise pytest.UsageError(f"{option} must be one of {names}, not {name!r}")
    return _BACKENDS[:2] if name == "both" else (name,)


def _switch(how: object, option: str) -> Switch:
    name, _, number = how.partition(":") if isinstance(how, str) else ("", "", "")
    if name == "instant" and (not number or (number.isdecimal() and int(number))):
        return cast("Switch", testing().instant(int(number) if number else None))
    if how == "off":
        return cast("Switch", testing().policies_off())
    if how == "on":
        return nullcontext()
    raise pytest.UsageError(f"{option} must be {_HOW}, not {how!r}")


# Fixtures


@pytest.fixture(scope="session")
def resilient_backend(request: pytest.FixtureRequest) -> str:
    """Name the backend that this test is run with: "asyncio" or "trio"."""
    backend: str = request.param
    return backend


@pytest.fixture
def virtual_time(resilient_backend: Any) -> Callable[..., Any]:  # noqa: ANN401 - one of two names
    """Run async functions in virtual time, on the backend of this test."""
    return partial(testing().virtual_time, backend=resilient_backend)


@pytest.fixture(name="fresh_breakers")
def _fresh_breakers() -> Generator[None]:
    """Let this test find every circuit breaker new."""
    with testing().fresh_breakers():
        yield


@pytest.fixture
def policies_off() -> Generator[None]:
    """Let every guarded function be as if no policy decorated it."""
    with testing().policies_off():
        yield


@pytest.fixture
def policies_on() -> Generator[None]:
    """Undo what the configuration has switched."""
    with testing().policies_on():
        yield


@pytest.fixture
def policies_instant() -> Generator[None]:
    """Let no retry wait."""
    with testing().instant():
        yield


@pytest.fixture
def overrides() -> Generator[Callable[..., None]]:
    """Let one guarded function have other policies: `overrides(fn, attempts=1)`."""
    with ExitStack() as stack:

        def override(fn: Any, /, **options: Any) -> None:  # noqa: ANN401 - as the kit's takes them
            stack.enter_context(testing().overrides(fn, **options))

        yield override


@pytest.fixture
def capture_spans() -> Generator[Any]:
    """Give the spans that this test makes, in order; needs the extra `otel`."""
    with testing().capture_spans() as spans:
        yield spans
