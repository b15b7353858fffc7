"""What a message about dtypes or ranges says of the entries of arguments."""

from __future__ import annotations

import re
from dataclasses import replace

from nanguard.tracing import naming
from nanguard.tracing.changes import Found, Rule, tensors
from nanguard.tracing.clues import Clue
from nanguard.tracing.guesses import (
    C,
    N,
    T,
    relaid,
)  # fmt: skip
from nanguard.tracing.learning import dimensions
from nanguard.tracing.plan import Plan

_FLOATS = frozenset({"unit", "positive", "simplex"})


def to_values(values: str) -> Rule:
    """A rule that gives the tensors of the expression other entries."""

    def rule(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
        concerned = [pair for pair in tensors(clue) if pair[1].values != values]
        ordered = sorted(concerned, key=lambda pair: _fits(pair[0], values))
        together = clue.state
        for name, guess in ordered:
            together = together.put(name, replace(guess, values=values))
        if values in _FLOATS:
            yield together
        for name, guess in ordered:
            made = replace(guess, values=values)
            yield clue.state.put(name, made)
            if values == "labels" and len(guess.shape) > 1:
                yield clue.state.put(name, relaid(made, guess.shape))
        yield together

    return rule


def _fits(name: str, values: str) -> int:
    """How badly a name fits some entries."""
    role = naming.role(name)
    good = {
        "labels": ("labels", "index", "target", "events"), "mask": ("mask", "events", "target", "weight"),
        "unit": ("unit", "target"), "positive": ("positive", "times", "weight"),
        "binary": ("target", "mask", "labels", "events"),
    }.get(values, ())  # fmt: skip
    return good.index(role) if role in good else len(good)


def to_floats(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Numbers of classes, masks become floats."""
    concerned = [(name, guess) for name, guess in tensors(clue) if guess.integral or guess.values == "mask"]
    for name, guess in concerned:
        yield clue.state.put(name, replace(guess, values="binary"))
        yield clue.state.put(name, replace(guess, values="normal"))
    state = clue.state
    for name, guess in concerned:
        state = state.put(name, replace(guess, values="binary"))
    yield state


def to_dtype(dtype: str) -> Rule:
    """A rule that gives tensors a dtype."""

    def rule(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
        for name, guess in tensors(clue):
            yield clue.state.put(name, replace(guess, dtype=dtype))

    return rule


def index_range(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Indices that are too large or no indices at all, or rows that are too few."""
    if not any(guess.values == "labels" for _, guess in tensors(clue)):
        yield from to_values("labels")(clue, match, plan)
    for name, guess in clue.state.tensors():
        if guess.values == "labels":
            yield clue.state.put(name, replace(guess, high=2 if guess.high != 2 else 1))
    for dim in (C, T, N):
        yield clue.state.resize(dim, clue.state.size(dim) + 4)
    for name, guess in tensors(clue):
        if guess.values == "labels":
            yield clue.state.put(name, replace(guess, high=1))
    yield from dimensions.rank_more(clue, match, plan)
