"""What a message about numbers of dimensions, or sizes, says of the shapes of arguments."""

from __future__ import annotations

import re
from dataclasses import replace

from nanguard.tracing.changes import Found, Rule, others, square, tensors, with_rank
from nanguard.tracing.clues import Clue
from nanguard.tracing.docshapes import shape_of
from nanguard.tracing.guesses import (
    C,
    N,
    Several,
    Shape,
    T,
    without_classes,
)  # fmt: skip
from nanguard.tracing.plan import Plan


def rank_said(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """The number of dimensions that the message has."""
    for group in match.groups():
        if group is not None and group.isdigit():
            yield from with_rank(clue, int(group))


def spatial_said(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """The number of spatial dimensions that the message has."""
    yield from with_rank(clue, int(match.group(1)) + 2)


def ranked(rank: int) -> Rule:
    """A rule that gives tensors a number of dimensions."""

    def rule(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
        yield from with_rank(clue, rank)

    return rule


def rank_more(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """One dimension more than the largest of the expression."""
    ranks = sorted({len(guess.shape) for _, guess in tensors(clue)})
    for rank in ranks:
        yield from with_rank(clue, rank + 1)
    for rank in ranks:
        yield from with_rank(clue, rank + 2)


def spatial_more(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Larger images, longer signals."""
    for size in (16, 32, 64, 192, 256):
        if size > clue.state.size("H"):
            yield clue.state.resize("H", size).resize("W", size).resize(T, size)
            if size >= 32:
                break
    for size in (1024, 8000, 16000):
        if size > clue.state.size(T):
            yield clue.state.resize(T, size).resize("L", size)
    for size in (192, 256):
        if size > clue.state.size("H"):
            yield clue.state.resize("H", size).resize("W", size)


def shapes_listed(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Shapes that a message lists: the tensors get one of them."""
    for text in dict.fromkeys(re.findall(r"[\[(](\d+(?:, ?\d+)*),?[\])]", clue.message)):
        shape = tuple(int(part) for part in text.split(","))
        state = clue.state
        for name, guess in tensors(clue):
            state = state.put(name, replace(guess, shape=shape))
        yield state
        for name, guess in tensors(clue):
            yield clue.state.put(name, replace(guess, shape=shape))


def numbered(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A size that a message names: 257 elements, two sources."""
    said = next(group for group in match.groups() if group is not None).lower()
    number = int(said) if said.isdigit() else {"two": 2, "three": 3}.get(said, 1)
    if not 0 < number <= 1 << 15:
        return
    concerned = tensors(clue)
    for dim in dict.fromkeys(d for _, g in concerned for d in reversed(g.shape) if isinstance(d, str)):
        if clue.state.size(dim) != number:
            yield clue.state.resize(dim, number)
    for name, guess in concerned:
        if guess.shape:
            yield clue.state.put(name, replace(guess, shape=(*guess.shape[:-1], number)))
            yield clue.state.put(name, replace(guess, shape=(guess.shape[0], number, *guess.shape[2:])))


def at_least(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A kernel or a window that is larger than the input."""
    number = int(match.group(1))
    state = clue.state
    for dim in dict.fromkeys(d for _, g in state.tensors() for d in g.shape[2:] or g.shape[1:] if isinstance(d, str)):
        state = state.resize(dim, max(2 * number, state.size(dim)))
    yield state


def sizes_differ(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Two sizes that should be equal."""
    numbers = [int(group) for group in match.groups() if group is not None and group.isdigit()]
    every = list(clue.state.tensors())
    concerned = tensors(clue)
    state = clue.state
    # the sizes that no dimension of an argument has come from elsewhere: from the object, or a constant
    known = {state.size(dim) for _, guess in every for dim in guess.shape}
    strange = [number for number in numbers if number not in known and number > 0]
    for number in strange:
        for _, guess in (*concerned, *every):
            for letter in guess.shape:
                if isinstance(letter, str) and state.size(letter) in numbers:
                    yield state.resize(letter, number)
    place = re.search(r"dimension (\d+)", clue.message)
    if place is not None and len(numbers) == 2:
        for name, guess in reversed(concerned):
            for at in {int(place.group(1)), int(place.group(1)) - 1}:
                if 0 <= at < len(guess.shape) and state.size(guess.shape[at]) in numbers:
                    other = numbers[numbers.index(state.size(guess.shape[at])) - 1]
                    dim: str | int = next((d for d in (N, C) if state.size(d) == other), other)
                    yield state.put(name, replace(guess, shape=(*guess.shape[:at], dim, *guess.shape[at + 1 :])))
    if len(concerned) > 1:
        first = concerned[0][1].shape
        for shape in dict.fromkeys([guess.shape for _, guess in concerned]):
            changed = state
            for name, guess in concerned:
                changed = changed.put(name, replace(guess, shape=shape))
            yield changed
        for name, guess in concerned[1:]:
            yield state.put(name, replace(guess, shape=without_classes(first)))
            yield state.put(name, replace(guess, shape=first[:1]))
    else:
        for name, guess in every:
            for another, model in every:
                if name != another and guess.shape != model.shape:
                    yield state.put(name, replace(guess, shape=model.shape))
    plain: tuple[Shape, ...] = ((N, C), (N,), (N, 1), (), (N, N))
    for name, guess in concerned:
        for layout in plain:
            if guess.shape != layout:
                yield state.put(name, replace(guess, shape=layout))
    yield state.resize(C, state.size(N))
    yield square(state)


def unpacked(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """``a, b = x.shape``, or ``a, b = x``"""
    wanted = int(match.group(1))
    yield from with_rank(clue, wanted)
    for name, guess in tensors(clue):
        yield clue.state.put(name, Several((guess,) * wanted, "tuple"))
        yield clue.state.put(name, replace(guess, shape=(wanted, *guess.shape[1:])))
        yield clue.state.put(name, replace(guess, shape=(*guess.shape[:-1], wanted)))
    for name in others(clue):
        held = clue.state.get(name)
        if isinstance(held, Several) and held.items:
            yield clue.state.put(name, replace(held, items=(held.items[0],) * wanted))


def channels(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A layer that was built for another number of channels."""
    number = int(match.group(1))
    yield clue.state.resize(C, number)
    for name, guess in tensors(clue):
        if len(guess.shape) > 1:
            yield clue.state.put(name, replace(guess, shape=(guess.shape[0], number, *guess.shape[2:])))
            yield clue.state.put(name, replace(guess, shape=(*guess.shape[:-1], number)))


def products(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """mat1 and mat2 shapes cannot be multiplied"""
    _, columns, rows, _ = map(int, match.groups())
    yield from _resized(clue, columns, rows)
    yield from _resized(clue, rows, columns)
    yield from sizes_differ(clue, match, plan)


def _resized(clue: Clue, old: int, new: int) -> Found:
    """Dimensions of one size get another."""
    for dim in dict.fromkeys(d for _, g in clue.state.tensors() for d in g.shape if isinstance(d, str)):
        if clue.state.size(dim) == old:
            yield clue.state.resize(dim, new)


def shape_said(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A shape that a message writes out: BxCxHxW, (N, C), [B, C]"""
    shape = shape_of(re.split(r"\s*[x×,*]\s*", match.group(1)))
    if shape is not None:
        for name, guess in tensors(clue):
            yield clue.state.put(name, replace(guess, shape=shape))
        state = clue.state
        for name, guess in state.tensors():
            state = state.put(name, replace(guess, shape=shape))
        yield state
