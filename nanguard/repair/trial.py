"""Repair: what a replacement does where the code as written fails, and where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nanguard.floats import FORMATS
from nanguard.matching.interval import Interval
from nanguard.proof.confirm import of_operands
from nanguard.proof.evaluate import NotEvaluable
from nanguard.proof.exact import Exact
from nanguard.proof.failing import alive, fails, truth_at
from nanguard.proof.points import Point, at
from nanguard.proof.run import run
from nanguard.term import Term

if TYPE_CHECKING:
    from nanguard.proof.confirm import Proof
    from nanguard.proof.leaves import Cut

_CLOSE = 1e-2  # relative: the code as written may have lost digits
_EDGES = (math.inf, -math.inf, math.nan)
_ORDINARY = 0.5
_NEARER = (1, 0.5, 0.25)  # parts of a witness
_DTYPES = (torch.float16, torch.bfloat16, torch.float64)


def mends(proof: Proof, replacement: Term, dtype: str, kind: str = "stable") -> bool | None:
    """Whether a replacement does right at the witness of a proof; None where it cannot be run there.

    It must not fail there as the code as written does.  Where an operand has a gradient that is not finite either, of
    another hazard, the replacement is judged by the gradients of its operands, if those of the code as written are not
    finite.  A clamped form has done its work where the gradient is bounded and not gone; a bound gives it up somewhere,
    so that it may be nearer than the witness.
    """
    cut, point = _replaced(proof.cut, replacement), proof.point
    tried = at(cut, point.values, point.shape, dtype)
    if tried is None:
        return None
    truth = truth_at(proof.cut, tried, dtype)
    if proof.kind in ("forward-nonfinite", "gradient-nonfinite"):
        if _finite(tried) or (truth is not None and not _held(truth, dtype)):
            return True
        if not tried.finite or not cut.bound:
            return False
        before, itself = of_operands(proof.cut, point, dtype), of_operands(cut, tried, dtype)
        mended = itself is not None and _finite(itself)
        return mended and not (before is not None and _finite(before))
    if kind == "clamp" and proof.kind == "dead-gradient" and tried.finite:
        return _revives(proof, replacement, dtype)
    return truth is not None and not fails(proof.kind, tried, truth, dtype, cut.scale)


def _revives(proof: Proof, replacement: Term, dtype: str) -> bool:
    """Whether a clamped form has a gradient at the witness, or nearer, where the code as written has none."""
    cut, point = _replaced(proof.cut, replacement), proof.point
    for scale in _NEARER:
        values = tuple(tuple(entry * scale for entry in vector) for vector in point.values)
        before, after = (at(each, values, point.shape, dtype) for each in (proof.cut, cut))
        if before is None or after is None or not after.finite:
            return False
        truth = truth_at(proof.cut, before, dtype)
        if truth is not None and fails(proof.kind, before, truth, dtype, cut.scale) and alive(after, truth):
            return True
    return False


def alike(proof: Proof, replacement: Term, limits: Mapping[Term, Interval]) -> bool:
    """Whether a replacement is one that nobody has to look at: same shape and dtype, no worse at infinity and nan.

    The dtypes are compared for inputs of each dtype, and under autocast as this machine has it.
    """
    cut, shape = proof.cut, proof.point.shape
    try:
        return all(_same_kind(cut, replacement, shape)) and all(_no_worse(cut, replacement, shape, limits))
    except (NotEvaluable, RuntimeError, ValueError, IndexError, TypeError):
        return False


def _replaced(cut: Cut, root: Term) -> Cut:
    return replace(cut, root=root)


def _held(truth: Exact, dtype: str) -> bool:
    """Whether the dtype holds the exact value and gradient: what overflows in truth may be infinite."""
    entries = [*truth.values, *(value for slope in truth.gradients for value in slope.values)]
    return all(abs(value) <= FORMATS[dtype].max for value in entries)


def _finite(point: Point) -> bool:
    parts = (point.output, *(part for part in point.gradients if part is not None))
    return all(bool(torch.isfinite(part).all()) for part in parts)


def _same_kind(cut: Cut, replacement: Term, shape: tuple[int, ...]) -> Iterator[bool]:
    """For inputs of each dtype, and under autocast: whether shape, dtype and device are the same."""
    for kind in (torch.float32, *_DTYPES):
        leaves = _leaves(cut, {}, shape, kind)
        try:
            before = run(cut.root, leaves)
        except (NotEvaluable, RuntimeError):
            continue  # this torch has not got it in this dtype
        after = run(replacement, leaves)
        yield _kind(before) == _kind(after)
        if kind is torch.float64:
            continue
        with torch.autocast("cpu", dtype=torch.bfloat16):
            yield _kind(run(cut.root, leaves)) == _kind(run(replacement, leaves))


def _kind(value: Tensor) -> tuple[object, ...]:
    return value.shape, value.dtype, value.device


def _no_worse(cut: Cut, replacement: Term, shape: tuple[int, ...], limits: Mapping[Term, Interval]) -> Iterator[bool]:
    """At each edge of each leaf: whether the value stays what it was, where it was a number."""
    for leaf in cut.free:
        for edge in _EDGES:
            interval = limits.get(leaf, Interval())
            if not math.isnan(edge) and not interval.low <= edge <= interval.high:
                continue
            leaves = _leaves(cut, {leaf: edge}, shape, torch.float32)
            before, after = run(cut.root, leaves).double(), run(replacement, leaves).double()
            same = torch.isclose(before, after, rtol=_CLOSE, atol=_CLOSE) | torch.isnan(before)
            better = torch.isinf(before) & ~torch.isnan(after)
            yield bool((same | better).all())


def _leaves(cut: Cut, edges: Mapping[Term, float], shape: tuple[int, ...], kind: torch.dtype) -> dict[Term, Tensor]:
    """Ordinary values for the leaves, the first entry of some at an edge."""
    found: dict[Term, Tensor] = {}
    for leaf in cut.free:
        value = torch.full(shape, _ORDINARY, dtype=kind)
        if leaf in edges:
            value.view(-1)[:1] = edges[leaf]
        found[leaf] = value
    found.update({leaf: torch.tensor(value, dtype=kind) for leaf, value in cut.fixed})
    if cut.index:
        entries = torch.full((shape[0], *shape[2:]), cut.classes(shape), dtype=torch.int64)
        found.update(dict.fromkeys(cut.index, entries))
    return found
