"""The state of one path through a function while it is read: names, decided options, what is masked."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from nanguard.reading.scope import Scope
from nanguard.reading.values import Value, either
from nanguard.term import Term

MAX_STATES = 8  # paths followed apart in one function; more are joined


@dataclass(slots=True)
class State:
    """Names, and what tests on the way have decided about options and conditions."""

    env: Scope
    facts: dict[Term, Value | bool] = field(default_factory=dict)
    without_gradient: bool = False

    def copy(self) -> State:
        """An independent continuation of this path."""
        return State(self.env.copy(), dict(self.facts), self.without_gradient)


@dataclass(slots=True)
class Frame:
    """One call of a function: what it returns, and where expressions of the current statement got to."""

    qualname: str
    depth: int
    path: str = ""  # of the file that the statements stand in
    returns: list[Value] = field(default_factory=list)
    values: dict[ast.expr, Value] = field(default_factory=dict)
    snapshot: Scope | None = None  # the names in scope, once a place of the statement needs them


def join(states: list[State]) -> State:
    """One state for several: values that differ become one of them."""
    first, *rest = states
    own: dict[str, Value] = {}
    for name in {name: None for state in states for name in state.env.own}:
        found = [state.env[name] for state in states if name in state.env]
        one = found[0]
        own[name] = one if all(value is one for value in found) else either(found)
    facts = {term: value for term, value in first.facts.items() if all(s.facts.get(term) is value for s in rest)}
    return State(Scope(own, first.env.outer), facts, first.without_gradient)


def limit(states: list[State], most: int = MAX_STATES) -> list[State]:
    """The states, joined into one if they are too many."""
    return states if len(states) <= most else [join(states)]
