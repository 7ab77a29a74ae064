"""What an error brings with it: causes, contexts and members, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


def linked(error: BaseException, *, contexts: bool = False) -> Iterator[BaseException]:
    """Go through an error, what it was raised from, and the members of groups.

    With `contexts`, also what was being handled when it was raised.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo.append(one.__cause__)
        if contexts:
            todo.append(one.__context__)
        if isinstance(one, BaseExceptionGroup):
            todo += cast("tuple[BaseException, ...]", one.exceptions)
