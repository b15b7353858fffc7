"""Memory: what reading has worked out before, kept with all that it depends on.

Several paths lead to one statement, and several callers to one function.  What is worked out there is the same
wherever the names it uses hold the same values and tests on the way have decided the same about the values it meets.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from nanguard.reading.values import Value
from nanguard.reading.walking import below, inside
from nanguard.term import Term

_MOST = 8  # results kept for one key, which differ in what was decided on the way

Facts = Mapping[Term, Value | bool]


@dataclass(frozen=True, slots=True)
class Known:
    """A value that was worked out, with what that has changed and what it depends on.

    `met` are the terms that were met on the way, and `facts` what had been decided about these.
    """

    value: Value
    met: Collection[Term]
    facts: Facts
    values: Mapping[ast.expr, Value] = field(default_factory=dict)
    bound: Sequence[tuple[str, Value]] = ()

    def holds(self, facts: Facts) -> bool:
        """Whether what has been decided is the same, as far as it matters."""
        met, count = self.met, 0
        for term, decided in facts.items():
            if term in met:
                if self.facts.get(term) is not decided:
                    return False
                count += 1
        return count == len(self.facts)


class Memory:
    """The results of expressions and calls, by the values that they start from."""

    def __init__(self) -> None:
        self.known: dict[object, list[Known]] = {}
        self.used: dict[ast.expr, tuple[str, ...]] = {}
        self.stored: dict[ast.stmt, frozenset[str]] = {}

    def find(self, key: object, facts: Facts) -> Known | None:
        """What is known for a key where this has been decided."""
        for known in self.known.get(key, ()):
            if known.holds(facts):
                return known
        return None

    def keep(self, key: object, known: Known) -> None:
        """Remember a result."""
        listed = self.known.setdefault(key, [])
        if len(listed) < _MOST:
            listed.append(known)

    def names(self, node: ast.expr) -> tuple[str, ...]:
        """The names that an expression may use or bind."""
        found = self.used.get(node)
        if found is None:
            found = self.used[node] = _names(node)
        return found

    def bound(self, loop: ast.For | ast.AsyncFor | ast.While) -> frozenset[str]:
        """The names that the body of a loop binds."""
        found = self.stored.get(loop)
        if found is None:
            parts = (part for statement in loop.body for part in inside(statement))
            names = (part for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
            found = self.stored[loop] = frozenset(name.id for name in names)
        return found


def relevant(met: Collection[Term], facts: Facts) -> Facts:
    """What has been decided about the terms that were met."""
    return {term: decided for term, decided in facts.items() if term in met}


def _names(node: ast.expr) -> tuple[str, ...]:
    found: dict[str, None] = {}
    waiting: list[ast.AST] = [node]
    while waiting:
        part = waiting.pop()
        if type(part) is ast.Name:
            found[part.id] = None
        else:
            waiting.extend(below(part))
    if "super" in found:  # it means the object at hand and the class around the function
        found.update({"self": None, "__class__": None})
    return tuple(found)
