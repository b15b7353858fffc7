"""Changes: the steps from one set of guesses to others, as learning and the program's own tests ask for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from nanguard.tracing.clues import Clue
from nanguard.tracing.guesses import LAYOUTS, C, N, Shape, State, Tensor, relaid
from nanguard.tracing.plan import Plan

Found = Iterator[State]
Rule = Callable[[Clue, re.Match[str], Plan], Found]  # what a message that a pattern fits says


def tensors(clue: Clue) -> list[tuple[str, Tensor]]:
    """The tensors that the failing expression is about; all if none is known."""
    every = dict(clue.state.tensors())
    involved = [(name, every[name]) for name in clue.involved if name in every]
    return involved or list(every.items())


def others(clue: Clue) -> list[str]:
    """Parameters that the failing expression is about; all that are given if none is known."""
    return list(clue.involved) or [name for name, _ in clue.state.guesses]


def relayout(state: State, layout: Shape) -> State:
    """All tensors in another layout."""
    for name, guess in state.tensors():
        state = state.put(name, relaid(guess, layout))
    return state


def with_rank(clue: Clue, rank: int) -> Found:
    """The tensors of the expression, and then all, with this many dimensions."""
    layouts = LAYOUTS.get(rank, ())
    concerned = [(name, guess) for name, guess in tensors(clue) if len(guess.shape) != rank]
    for layout in layouts:
        if len(list(clue.state.tensors())) == 1 or rank > 2:
            yield relayout(clue.state, layout)
        for name, guess in concerned:
            yield clue.state.put(name, replace(guess, shape=layout))
        if len(concerned) > 1:
            state = clue.state
            for name, guess in concerned:
                state = state.put(name, replace(guess, shape=layout))
            yield state
    for layout in layouts:
        yield relayout(clue.state, layout)


def square(state: State) -> State:
    """All dimensions of one size."""
    for dim in dict.fromkeys(d for _, guess in state.tensors() for d in guess.shape if isinstance(d, str)):
        state = state.resize(dim, 4)
    return state


def given_value(clue: Clue, name: str, plan: Plan) -> Found:
    """A value for a parameter that had its default."""
    parameter = plan.parameters.get(name)
    if parameter is None or clue.state.get(name) is not None:
        return
    layout = next((guess.shape for _, guess in clue.state.tensors()), (N, C))
    for mode in plan.modes([parameter]):
        yield clue.state.put(name, plan.guess(parameter, layout, mode))
