"""Functions with some arguments fixed that are equal where their arguments are."""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Bound:
    """A function whose first arguments are fixed.

    Two of the same function and equal arguments are equal and hash alike, which neither closures
    nor `functools.partial` do. A program that takes one as a static argument therefore compiles
    once.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self, *others: Any) -> Any:
        return self.function(*self.arguments, *others)


def bind(function: Callable[..., Any], *arguments: Any) -> Bound:
    """Fixes the first arguments of a function.

    Args:
        function: of the module's level, so that it is the same object every time.
        arguments: hashable: numbers, texts, records of them, functions.
    """
    return Bound(function, arguments)
