"""Scope: the names of a function, with those around it behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanguard.reading.values import Value


class Scope:
    """Names and what they stand for: `own` ones, and those of the scopes around.

    What a path through a function copies and joins are its own names alone, of which there are few.
    """

    __slots__ = ("outer", "own")

    def __init__(self, own: dict[str, Value], outer: Scope | None = None) -> None:
        self.own = own
        self.outer = outer

    def get(self, name: str) -> Value | None:
        """What a name stands for, None where it is not known."""
        scope: Scope | None = self
        while scope is not None:
            found = scope.own.get(name)
            if found is not None:
                return found
            scope = scope.outer
        return None

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __getitem__(self, name: str) -> Value:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __setitem__(self, name: str, value: Value) -> None:
        self.own[name] = value

    def items(self) -> Iterable[tuple[str, Value]]:
        """All names that are in sight with what they stand for, the nearest first."""
        found = dict(self.own)
        scope = self.outer
        while scope is not None:
            for name, value in scope.own.items():
                found.setdefault(name, value)
            scope = scope.outer
        return found.items()

    def local(self) -> Iterator[tuple[str, Value]]:
        """The same without what the file around all functions has."""
        yield from list(self.own.items())
        seen, scope = set(self.own), self.outer
        while scope is not None and scope.outer is not None:
            for name, value in scope.own.items():
                if name not in seen:
                    yield name, value
            seen.update(scope.own)
            scope = scope.outer

    def copy(self) -> Scope:
        """The same names, to be bound anew on another path."""
        return Scope(dict(self.own), self.outer)


def star(scope: Scope) -> str:
    """The name under which the next ``from module import *`` of a scope is kept: no name of a program."""
    name = "*"
    while name in scope:
        name += "*"
    return name
