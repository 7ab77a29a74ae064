"""What classes, functions and failures are called, whatever they say of themselves."""

from __future__ import annotations

import functools

import pytest

from resilient._core.functions import function_name, refuse_async, short_name
from resilient._core.names import class_name, error_type


class Silent(type):
    """A metaclass whose classes do not say what they are called."""

    def __getattribute__(cls, name: str) -> object:
        if name in {"__name__", "__module__", "__qualname__"}:
            raise RuntimeError(name)
        return super().__getattribute__(name)


class Named(Exception):
    """An exception that brings its own name."""

    def __init__(self, name: object) -> None:
        super().__init__()
        self.telemetry_error_type = name


class Caller:
    """An object that is called."""

    def __call__(self, value: int) -> int:
        return value

    def method(self, value: int) -> int:
        return value


class AsyncCaller:
    """An object that is called and awaited."""

    async def __call__(self) -> int:
        return 1


async def later() -> int:
    return 1


def local():
    """Return a function that was made in another."""

    def inner() -> None:
        pass

    return inner


def test_a_class_is_named_with_its_module_and_a_builtin_without():
    """`class_name` is `module.qualname`, and bare for a builtin."""
    assert class_name(ConnectionError) == "ConnectionError"
    assert class_name(Caller) == f"{__name__}.Caller"
    assert class_name(type("Odd", (Exception,), {"__module__": 5})) == "Odd"


def test_a_class_that_does_not_say_its_name_has_one():
    """A metaclass that fails when it is asked is not asked."""
    strange = Silent("Strange", (Exception,), {})
    assert error_type(strange()) == class_name(strange) == f"{__name__}.Strange"


def test_an_error_that_lies_is_named_by_its_class(untrusted):
    """Neither an attribute that raises nor a false `__class__` changes the name of an error."""
    assert error_type(untrusted) == class_name(type(untrusted))


@pytest.mark.parametrize(("said", "name"), [("429", "429"), ("", None), (429, None), (None, None)])
def test_an_error_s_own_name_is_a_text(said, name):
    """`telemetry_error_type` counts where it is a text that is not empty."""
    assert error_type(Named(said)) == (name or f"{__name__}.Named")


@pytest.mark.parametrize(
    ("function", "full", "short"),
    [
        (len, "len", "len"),
        (later, f"{__name__}.later", "later"),
        (local(), f"{__name__}.local.<locals>.inner", "inner"),
        (functools.partial(functools.partial(later)), f"{__name__}.later", "later"),
        (Caller().method, f"{__name__}.Caller.method", "Caller.method"),
        (Caller(), f"{__name__}.Caller", "Caller"),
        (functools.partial(Caller(), 1), f"{__name__}.Caller", "Caller"),
    ],
    ids=str,
)
def test_a_function_is_named_by_what_is_inside(function, full, short):
    """A partial has the name of its function, any other object that of its class."""
    assert (function_name(function), short_name(function)) == (full, short)


@pytest.mark.parametrize("function", [later, functools.partial(later), AsyncCaller()])
def test_what_must_be_awaited_is_no_plain_function(function):
    """An async function, a partial of one, and an object with an async `__call__` are refused."""
    with pytest.raises(TypeError, match=r"^option must be a plain function, not the async \S+$"):
        refuse_async(function, "option")


@pytest.mark.parametrize("function", [len, Caller(), functools.partial(Caller(), 1), Caller, list])
def test_what_answers_at_once_is_a_plain_function(function):
    """A function, an object with `__call__`, a partial and a class are not refused."""
    refuse_async(function, "option")
