"""Points: the inputs that are tried in the search for a witness, and what the code as written gives there.

Many points are run at once, since a run costs the same for one and for hundreds: as the entries of a vector where a
term acts entry by entry, else under `torch.vmap`, and one by one where that is not possible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanguard import ops
from nanguard.matching.match import Matcher
from nanguard.proof import leaves
from nanguard.proof.exact import NotEvaluable
from nanguard.proof.leaves import Cut
from nanguard.proof.run import gradient, run
from nanguard.term import Term, walk

Values = tuple[tuple[float, ...], ...]  # the entries of each free leaf

_SQUARE = (4, 4)  # of matrices of which a product of that many diagonal entries is taken
_SHAPES = ((2,), (2, 2), (2, 3), (2, 4), (2, 2, 2), (1, 2, 2, 2), (4, 4), (1, 3, 2, 2))
_MOST = 260  # combinations of vectors
_MOST_BATCH = 20_000  # combinations tried at once where a term acts entry by entry
_CHUNK = 512  # points that are taken out of a run at a time: often the first few are enough
_REFUSALS = (NotEvaluable, RuntimeError, ValueError, IndexError, TypeError)


@dataclass(frozen=True, slots=True)
class Point:
    """Values of the free leaves, and what the term gives there."""

    values: Values
    shape: tuple[int, ...]
    output: Tensor
    gradients: tuple[Tensor | None, ...]
    finite: bool  # all entries of the output are
    smooth: bool  # all entries of the gradients are finite


def measured(
    values: Values, shape: tuple[int, ...], output: Tensor, gradients: tuple[Tensor | None, ...]
) -> Point:  # fmt: skip
    """The point of one run."""
    smooth = all(bool(torch.isfinite(part).all()) for part in gradients if part is not None)
    return Point(values, shape, output, gradients, bool(torch.isfinite(output).all()), smooth)


def points_of(cut: Cut, matcher: Matcher) -> Iterator[Point]:
    """The points that are tried, the smallest inputs first."""
    dtype = matcher.ranges.dtype
    intervals = [leaves.reached(leaf, cut.root, matcher.ranges) for leaf in cut.free]
    small = leaves.SMALL if len(cut.free) == 1 else leaves.SMALL[:10]
    listed: Sequence[float] = leaves.DIRECTED + small + leaves.below_guards(cut.root)
    if cut.elementwise:
        listed = (*listed, *leaves.slow_exponents(cut.root))
        choices = [[(value,) for value in leaves.candidates(interval, listed)] for interval in intervals]
        if len(cut.free) > 2:
            choices = [[(v,) for v in leaves.candidates(interval, leaves.COARSE)] for interval in intervals]
        rows = sorted(leaves.combined(choices, _MOST_BATCH), key=magnitude)
        found = many(cut, rows, (), dtype)
        if found is None:
            raise NotEvaluable("the term does not act entry by entry")
        yield from found
        return
    square = any((row := ops.row(node.op)) is not None and row.square for node in walk(cut.root))
    shape = _SQUARE if square and _fits(cut, _SQUARE, matcher) else fitting(cut, matcher)
    count = math.prod(shape)
    listed = listed if len(cut.free) == 1 else leaves.COARSE
    rowed = len(intervals) == 1 and len(shape) > 1
    vectors = [leaves.vectors(interval, count, listed, rowed) for interval in intervals]
    if square and shape == _SQUARE:
        vectors = [
            [*leaves.diagonals(interval, _SQUARE[0], listed), *vector]
            for interval, vector in zip(intervals, vectors, strict=True)
        ]
    rows = sorted(leaves.combined(vectors, _MOST), key=_plainness)
    found = many(cut, rows, shape, dtype)
    single = at(cut, rows[0], shape, dtype) if rows else None
    first = next(found, None) if found is not None else None
    if found is None or first is None or single is None or not _alike(first.output, single.output):
        yield from _singly(cut, rows, shape, dtype)
        return
    yield first
    yield from found


def _alike(output: Tensor, alone: Tensor) -> bool:
    """Whether a run of many gives what a run of one does: what torch refuses to map may have been left out."""
    return output.shape == alone.shape and torch.allclose(output, alone, rtol=1e-2, equal_nan=True)


def _singly(cut: Cut, rows: Sequence[Values], shape: tuple[int, ...], dtype: str) -> Iterator[Point]:
    for values in rows:
        point = at(cut, values, shape, dtype)
        if point is not None:
            yield point


def magnitude(values: Values) -> float:
    """The magnitude of the largest entry."""
    return max(abs(value) for vector in values for value in vector)


def _plainness(values: Values) -> tuple[float, float, float]:
    """What makes one input plainer than another: small, few entries, positive."""
    entries = [value for vector in values for value in vector]
    return magnitude(values), sum(map(abs, entries)), -sum(entries)


def many(cut: Cut, rows: Sequence[Values], shape: tuple[int, ...], dtype: str) -> Iterator[Point] | None:
    """The points of many values by one run, None where that cannot be done.

    The shape of the leaves is ``()`` where the term acts entry by entry: what an entry gives is then what a scalar
    gives.
    """
    if not rows:
        return iter(())
    kind = getattr(torch, dtype)
    columns = [torch.tensor([row[index] for row in rows], dtype=kind) for index in range(len(cut.free))]
    whole = at_once(cut, columns, shape, dtype)
    return _taken(rows, shape, *whole) if whole is not None else None


def at_once(
    cut: Cut, columns: Sequence[Tensor], shape: tuple[int, ...], dtype: str, slopes: bool = True
) -> tuple[Tensor, tuple[Tensor | None, ...]] | None:
    """The outputs and gradients at many values along a new first dimension, None where that cannot be done.

    `columns` has, for each free leaf, a row of entries for each point, and `shape` is that of a leaf: ``()`` where the
    term acts entry by entry.  Without `slopes` no gradient is worked out.
    """
    free = [
        column.reshape(-1, *shape).requires_grad_(slopes and leaf not in cut.targets)
        for leaf, column in zip(cut.free, columns, strict=True)
    ]
    rest = others(cut, shape or (len(free[0]),), dtype)
    try:
        output = _whole(cut, free, rest, shape)
        gradients = tuple(gradient(output, free))
    except _REFUSALS:
        return None
    if not output.is_floating_point() or (not shape and output.shape != (len(free[0]),)):
        return None
    return output.detach(), gradients


def _whole(cut: Cut, free: Sequence[Tensor], others: Mapping[Term, Tensor], shape: tuple[int, ...]) -> Tensor:
    def term(*given: Tensor) -> Tensor:
        return run(cut.root, {**others, **dict(zip(cut.free, given, strict=True))})

    return torch.vmap(term)(*free) if shape else term(*free)


def _taken(
    rows: Sequence[Values], shape: tuple[int, ...], output: Tensor, gradients: tuple[Tensor | None, ...]
) -> Iterator[Point]:
    """The points of a run, one after the other."""
    finite, count = all_finite(output), len(rows)
    smooth = torch.stack([finite.new_ones(count), *(all_finite(part) for part in gradients if part is not None)]).all(0)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        slopes = [[None] * _CHUNK if slope is None else slope[part].unbind() for slope in gradients]
        columns = zip(*slopes, strict=False) if slopes else iter([()] * _CHUNK)
        flags = zip(finite[part].tolist(), smooth[part].tolist(), strict=True)
        for row, value, slope, (is_finite, is_smooth) in zip(
            rows[part], output[part].unbind(), columns, flags, strict=False
        ):
            yield Point(row, shape, value, slope, is_finite, is_smooth)


def all_finite(tensor: Tensor) -> Tensor:
    """Which entries along the first dimension are finite altogether."""
    return torch.isfinite(tensor).reshape(len(tensor), -1).all(1)


def fitting(cut: Cut, matcher: Matcher) -> tuple[int, ...]:
    """The first shape of the leaves with which the term runs."""
    found = next((shape for shape in _SHAPES if _fits(cut, shape, matcher)), None)
    if found is None:
        raise NotEvaluable("no shape of the inputs fits the term")
    return found


def _fits(cut: Cut, shape: tuple[int, ...], matcher: Matcher) -> bool:
    """Whether the term runs with leaves of a shape."""
    ordinary = [matcher.ranges.interval(leaf).clip(0.5) for leaf in cut.free]
    values = tuple((value,) * math.prod(shape) for value in ordinary)
    return at(cut, values, shape, matcher.ranges.dtype) is not None


def given(cut: Cut, values: Sequence[Sequence[float]], shape: tuple[int, ...], dtype: str) -> dict[Term, Tensor]:
    """The leaves as tensors: the free ones with a gradient, settings as numbers, classes all alike."""
    kind = getattr(torch, dtype)
    result = {
        leaf: torch.tensor(list(vector), dtype=kind).reshape(shape).requires_grad_(leaf not in cut.targets)
        for leaf, vector in zip(cut.free, values, strict=True)
    }
    return {**result, **others(cut, shape, dtype)}


def others(cut: Cut, shape: tuple[int, ...], dtype: str) -> dict[Term, Tensor]:
    """The leaves that are not free, beside free ones of a shape."""
    result = {leaf: torch.tensor(value, dtype=getattr(torch, dtype)) for leaf, value in cut.fixed}
    if cut.index:
        entries = torch.full((shape[0], *shape[2:]), cut.classes(shape), dtype=torch.int64)
        result.update(dict.fromkeys(cut.index, entries))
    return result


def at(cut: Cut, values: Values, shape: tuple[int, ...], dtype: str) -> Point | None:
    """What the term as written gives at some values, None where torch does not take them."""
    tensors = given(cut, values, shape, dtype)
    try:
        output = run(cut.root, tensors)
        if not output.is_floating_point():
            return None
        gradients = tuple(gradient(output, [tensors[leaf] for leaf in cut.free]))
    except _REFUSALS:
        return None
    return measured(values, shape, output.detach(), gradients)
