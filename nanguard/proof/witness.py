"""Witness: the record of a point at which a finding was proved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from nanguard.finding import Number, Witness
from nanguard.proof.exact import Exact
from nanguard.proof.failing import truth_at
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point
from nanguard.site import label
from nanguard.term import Term


def witnessed(cut: Cut, point: Point, dtype: str, called: Callable[[Term], str | None]) -> Witness:
    """The record of a point: the inputs by their names, the value and the worst entry of the gradient."""
    truth = truth_at(cut, point, dtype)
    inputs: dict[str, Number] = {}
    for leaf, values in _inputs(cut, point):
        inputs[_label(leaf, called, inputs)] = _number(values, point.shape)
    computed = _number(tuple(point.output.flatten().tolist()), tuple(point.output.shape))
    right = _number(truth.values, truth.shape) if truth is not None else "undefined"
    gradient_computed, gradient_right = _worst(point, truth)
    return Witness(dtype, inputs, computed, right, gradient_computed, gradient_right)


def _label(leaf: Term, called: Callable[[Term], str | None], taken: Mapping[str, Number]) -> str:
    """What a leaf is called, with a number where another one has that name."""
    text = label(leaf, called)
    return text if text not in taken else f"{text} ({len(taken) + 1})"


def _inputs(cut: Cut, point: Point) -> Iterator[tuple[Term, tuple[float, ...]]]:
    yield from zip(cut.free, point.values, strict=True)
    for leaf, value in cut.fixed:
        if leaf.attr("kind") == "number":
            yield leaf, (value,)


def _worst(point: Point, truth: Exact | None) -> tuple[Number | None, Number | None]:
    """The entry of the gradient that is furthest from the exact one, with the exact one."""
    worst: tuple[float, float, float] | None = None
    for index, part in enumerate(point.gradients):
        if part is None:
            continue
        right = truth.gradients[index].values if truth is not None else None
        for place, computed in enumerate(part.flatten().tolist()):
            value = right[place] if right is not None and place < len(right) else math.nan
            distance = abs(computed - value)
            badness = math.inf if not math.isfinite(computed) else (-1.0 if math.isnan(distance) else distance)
            if worst is None or badness > worst[0]:
                worst = (badness, computed, value)
    if worst is None:
        return None, None
    return plain(worst[1]), plain(worst[2]) if truth is not None else None


def plain(value: float) -> Number:
    """A float as JSON takes it: infinities and nan as texts."""
    if math.isnan(value):
        return "nan"
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _number(values: Sequence[float], shape: tuple[int, ...]) -> Number:
    if not shape or (len(values) == 1 and len(shape) <= 1):
        return plain(values[0]) if values else "nan"
    if len(shape) == 1:
        return [plain(value) for value in values]
    step = len(values) // shape[0] if shape[0] else 0
    return [_number(values[index * step : (index + 1) * step], shape[1:]) for index in range(shape[0])]
