"""Failing: the kinds of failure, and whether a point shows one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nanguard.floats import FORMATS
from nanguard.proof import exact
from nanguard.proof.exact import Exact, NotEvaluable
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point, given

NONFINITE = ("forward-nonfinite", "gradient-nonfinite")
MEASURED_EXACTLY = ("dead-gradient", "accuracy-loss", "misuse")
_DEAD = 2.0**-12  # of the exact gradient: what is left of a dead one
_ORDINARY = 1e-2  # the least exact gradient that is missed where it is dead


def some_zero(point: Point) -> bool:
    """Whether an entry of a gradient is 0."""
    return any(part is not None and bool((part == 0).any()) for part in point.gradients)


def fails(kind: str, point: Point, truth: Exact | None, dtype: str, scale: float = 0.0) -> bool:
    """Whether a point shows a kind of failure."""
    match kind:
        case "forward-nonfinite":
            return not point.finite
        case "gradient-nonfinite":
            return point.finite and not point.smooth
    assert truth is not None
    return point.finite and (
        _is_dead(point, truth) if kind == "dead-gradient" else _wrong(point, truth, dtype, kind, scale)
    )


def _is_dead(point: Point, truth: Exact) -> bool:
    """An entry of the gradient is gone, where the exact one is of ordinary size and the exact value finite."""
    return any(
        abs(computed) < abs(value) * _DEAD for computed, value in _slopes(point, truth) if abs(value) > _ORDINARY
    )


def alive(point: Point, truth: Exact) -> bool:
    """Whether each entry of the gradient is of ordinary size where the exact one is: what a bound leaves of it."""
    return all(abs(computed) > _ORDINARY for computed, value in _slopes(point, truth) if abs(value) > _ORDINARY)


def _slopes(point: Point, truth: Exact) -> Iterator[tuple[float, float]]:
    """The entries of the gradient beside the exact ones, where these are finite."""
    for part, right in zip(point.gradients, truth.gradients, strict=True):
        if part is not None:
            pairs = zip(part.flatten().tolist(), right.values, strict=True)
            yield from ((computed, value) for computed, value in pairs if math.isfinite(value))


def _wrong(point: Point, truth: Exact, dtype: str, kind: str, scale: float) -> bool:
    """An entry of the value has lost over half of its bits (for a misuse: is another number altogether)."""
    limit = lost(kind, dtype)
    for computed, value in zip(point.output.detach().flatten().tolist(), truth.values, strict=False):
        large = math.isfinite(value) and abs(value) > FORMATS[dtype].tiny
        if large and abs(computed - value) > limit * max(abs(value), scale):
            return True
    return False


def lost(kind: str, dtype: str) -> float:
    """The relative error from which digits are lost (half of the bits), or a misuse gives another number."""
    return 2.0 ** -(FORMATS[dtype].bits / 2) if kind == "accuracy-loss" else 1e-2


def truth_at(cut: Cut, point: Point, dtype: str) -> Exact | None:
    """The exact value and gradient of the reference at a point."""
    tensors = given(cut, point.values, point.shape, dtype)
    plain = {leaf: tensor.detach() for leaf, tensor in tensors.items()}
    try:
        return exact.evaluate(cut.reference, plain, cut.free)
    except NotEvaluable:
        return None
