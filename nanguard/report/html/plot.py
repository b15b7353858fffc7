"""Plots: the samples of an expression over all finite floats of a dtype, column by column.

A curve of one input is exhaustive in float16 and bfloat16 where there is time for it.  Two inputs make a heat map;
more of them, or tensors whose entries meet, are taken along the line through 0 and the witness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nanguard.errors import NanguardError
from nanguard.floats import FORMATS
from nanguard.matching.interval import Interval
from nanguard.matching.match import Matcher
from nanguard.proof.leaves import DIRECTED, SMALL, Cut
from nanguard.proof.points import Values
from nanguard.report.html import sample
from nanguard.report.html.drawn import (
    CELLS,
    COLUMNS,
    EXHAUSTIVE,
    OUTSIDE,
    UNDEFINED,
    Column,
    Curve,
    Heat,
    Stretch,
    edge,
    full,
)
from nanguard.report.html.sample import Pair, Samples
from nanguard.term import Term, make, substitute

_NAMES = "xyzuvwabcdefghijkl"
_EACH = 4  # inputs of a column that are tried where not all are
_SPARSE = 120  # inputs along a line of tensors; half of that where ball arithmetic alone can say what is right
_ROUNDS, _PARTS, _EDGES = 3, 40, 12  # how closely it is looked where something begins to go wrong
_REFUSALS = (NanguardError, RuntimeError, ValueError, TypeError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is to be plotted: an expression, its replacement, the inputs that it can have, and a witness."""

    pair: Pair
    matcher: Matcher
    witness: Values

    @property
    def inputs(self) -> int:
        """How many inputs the plot has: 1, 2, or 0 for a line through tensors or more inputs."""
        count = len(self.pair.before.free)
        return count if self.pair.before.elementwise and count <= 2 else 0


def draw(drawing: Drawing, dtype: str, exhaustive: bool) -> Curve | Heat | None:
    """The plot in one dtype; None where the expression does not run in it, or its exact value is not known."""
    try:
        match drawing.inputs:
            case 1:
                return _curve(drawing, dtype, exhaustive and dtype in EXHAUSTIVE)
            case 2:
                return _heat(drawing, dtype)
        return _line(drawing, dtype)
    except _REFUSALS:
        return None


def _curve(drawing: Drawing, dtype: str, exhaustive: bool) -> Curve | None:
    form, interval = FORMATS[dtype], drawing.matcher.ranges.interval(drawing.pair.before.free[0])

    def tried(ordinals: Tensor) -> _Tried | None:
        values = floats(ordinals, dtype)
        return _tried(ordinals, sample.compare(drawing.pair, [values], dtype), _held(interval, values))

    first, end = edge(dtype, 0), edge(dtype, COLUMNS)
    ordinary = (form.ordinal(form.round(value)) for value in (*DIRECTED, *SMALL, *marks(drawing)))
    spread = sorted({*_spread(dtype, COLUMNS, _EACH), *(each for each in ordinary if first <= each < end)})
    found = tried(torch.arange(first, end) if exhaustive else torch.tensor(spread))
    if found is None:
        return None
    for _ in range(0 if exhaustive else _ROUNDS):
        between = found.between(dtype)
        more = tried(torch.tensor(between)) if between else None
        found = found.with_more(more) if more is not None else found
    return found.curve(dtype, exhaustive)


def marks(drawing: Drawing) -> tuple[float, ...]:
    """The inputs of the witness that are looked at beside ordinary ones."""
    return tuple(sorted({value for vector in drawing.witness for value in vector}.difference(DIRECTED, SMALL)))


def floats(ordinals: Tensor, dtype: str) -> Tensor:
    """The numbers of a dtype with some ordinals: but for the sign these are the bits of the numbers."""
    sizes = ordinals.abs().to(_BITS[dtype]).view(getattr(torch, dtype))
    return torch.where(ordinals < 0, -sizes, sizes)


_BITS = {"float16": torch.int16, "bfloat16": torch.int16, "float32": torch.int32, "float64": torch.int64}


def _held(interval: Interval, values: Tensor) -> Tensor:
    """Which of some values an interval has."""
    if interval.unknown and not interval.nonzero and not interval.integer:
        return torch.ones(len(values), dtype=torch.bool)
    return torch.tensor([interval.holds(value) for value in values.tolist()])


def renamed(cut: Cut, term: Term) -> Term:
    """A term with the same names for its leaves whatever they were called."""
    leaves = (*cut.free, *(leaf for leaf, _ in cut.fixed), *cut.index)
    names = (make("symbol", (), (("name", name),)) for name in _NAMES)
    return substitute(term, dict(zip(leaves, names, strict=False)))


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was tried: ordinals, from the smallest, and their samples."""

    ordinals: Tensor
    before: Samples
    after: Samples | None

    def between(self, dtype: str) -> list[int]:
        """Some ordinals between neighbours of which one goes wrong as the other does not; none if these are many."""
        kinds, low, high = _kinds(self.before, dtype), self.ordinals[:-1], self.ordinals[1:]
        places = ((kinds[1:] != kinds[:-1]) & (high - low > 1)).nonzero().flatten()
        if len(places) > _EDGES:
            return []
        gaps = zip(low[places].tolist(), high[places].tolist(), strict=True)
        inner = {low + (high - low) * part // _PARTS for low, high in gaps for part in range(1, _PARTS)}
        return sorted(inner.difference(self.ordinals.tolist()))

    def with_more(self, more: _Tried) -> _Tried:
        """Both together."""
        ordinals, order = torch.cat((self.ordinals, more.ordinals)).sort(stable=True)
        after = (self.after + more.after).at(order) if self.after is not None and more.after is not None else None
        return _Tried(ordinals, (self.before + more.before).at(order), after)

    def curve(self, dtype: str, exhaustive: bool = False, count: int = COLUMNS) -> Curve:
        """The samples as the columns of a curve."""
        places = _places(dtype, self.ordinals, count)
        before, after = (
            _widened(_columns(part, places, count)) if part is not None else None for part in (self.before, self.after)
        )
        assert before is not None
        return Curve(dtype, before, after, tuple(self.stretches(dtype)), len(self.ordinals), exhaustive)

    def stretches(self, dtype: str) -> Iterator[Stretch]:
        """Neighbours that go wrong alike; a few that only have more or fewer digits set none apart."""
        shortest = (edge(dtype, 1) - edge(dtype, 0)) // 2
        kinds, counts = _kinds(self.before, dtype).unique_consecutive(return_counts=True)
        runs: list[tuple[int, int, int]] = []  # from which place to which, and what goes wrong there
        end = 0
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            start, end = end, end + count
            short = int(self.ordinals[end - 1]) - int(self.ordinals[start]) < shortest
            if runs and runs[-1][2] // 2 == kind // 2 and (short or runs[-1][2] == kind):
                runs[-1] = (runs[-1][0], end, runs[-1][2])
            else:
                runs.append((start, end, kind))
        form = FORMATS[dtype]
        for start, end, kind in runs:
            first, last = (form.from_ordinal(int(self.ordinals[at])) for at in (start, end - 1))
            after = _least(self.after.digits[start:end]) if self.after is not None else None
            yield Stretch(first, last, _states(kind // 2), _least(self.before.digits[start:end]), after)


def _kinds(samples: Samples, dtype: str) -> Tensor:
    """What goes wrong at each input, and, in the lowest bit, whether fewer than half of the digits are right."""
    return samples.states.to(torch.int64) * 2 + (samples.digits < full(dtype) / 2)


def _states(bits: int) -> frozenset[str]:
    return frozenset(state for index, state in enumerate(sample.STATES) if bits >> index & 1)


def _least(digits: Tensor) -> float | None:
    """The fewest digits of some samples."""
    known = digits[~digits.isnan()]
    return float(known.min()) if len(known) else None


def _tried(ordinals: Tensor, found: sample.Compared | None, held: Tensor) -> _Tried | None:
    if found is None:
        return None
    before, after = found
    return _Tried(ordinals, before.outside(held), after.outside(held) if after is not None else None)


def _spread(dtype: str, columns: int, each: int) -> list[int]:
    """Some ordinals of each column, the first and the last among them (or the middle one alone), and 0."""
    found = {0}
    for column in range(columns):
        first, last = edge(dtype, column, columns), edge(dtype, column + 1, columns) - 1
        found.update(first + (last - first) * step // (each - 1) for step in range(each) if each > 1)
        found.add((first + last) // 2)
    return sorted(found)


def _places(dtype: str, ordinals: Tensor, count: int) -> Tensor:
    """The columns, of so many, that some ordinals belong to."""
    edges = torch.tensor([edge(dtype, column, count) for column in range(count)])
    return torch.searchsorted(edges, ordinals, right=True) - 1


def _columns(samples: Samples, places: Tensor, count: int = COLUMNS) -> tuple[Column, ...]:
    """The samples of each column in one."""
    lows, highs = (
        torch.full((count,), end, dtype=torch.float64).scatter_reduce(
            0, places, samples.digits.nan_to_num(nan=end), "amin" if end > 0 else "amax"
        ).tolist()
        for end in (math.inf, -math.inf)
    )  # fmt: skip
    bits = [0] * count
    for index in range(len(sample.STATES)):
        for place in places[samples.states.bitwise_and(1 << index) > 0].unique().tolist():
            bits[place] |= 1 << index
    return tuple(map(_column, lows, highs, bits))


def _column(low: float, high: float, bits: int) -> Column:
    states = _states(bits)
    if low <= high:  # what a part of the column has no value for says nothing of the rest
        return Column(low, high, states - {OUTSIDE, UNDEFINED})
    return Column(None, None, states & {OUTSIDE} or states)


def _heat(drawing: Drawing, dtype: str) -> Heat | None:
    middles = [(edge(dtype, cell, CELLS) + edge(dtype, cell + 1, CELLS) - 1) // 2 for cell in range(CELLS)]
    values = floats(torch.tensor(middles), dtype)
    columns = values.repeat(CELLS), values.flip(0).repeat_interleave(CELLS)  # rows, from the largest y on
    found = sample.compare(drawing.pair, columns, dtype)
    if found is None:
        return None
    one, other = (
        _held(drawing.matcher.ranges.interval(leaf), column)
        for leaf, column in zip(drawing.pair.before.free, columns, strict=True)
    )
    before, after = (_cells(part.outside(one & other)) if part is not None else None for part in found)
    assert before is not None
    return Heat(dtype, before, after, len(values) ** 2)


def _cells(samples: Samples) -> tuple[tuple[Column, ...], ...]:
    cells = _columns(samples, torch.arange(len(samples)), len(samples))
    return tuple(cells[start : start + CELLS] for start in range(0, len(cells), CELLS))


def direction(witness: Values) -> Values:
    """A witness as multiples of its entry of largest magnitude; one at 0 has ones."""
    size = max((abs(value) for vector in witness for value in vector), default=0.0)
    return tuple(tuple(value / size if size else 1.0 for value in vector) for vector in witness)


def _line(drawing: Drawing, dtype: str) -> Curve | None:
    kind = getattr(torch, dtype)
    scalar = drawing.pair.before.elementwise
    sparse = _SPARSE if dtype in sample.BOUNDED else _SPARSE // 2
    ordinals = torch.tensor(_spread(dtype, COLUMNS, _EACH) if scalar else _spread(dtype, sparse, 1))
    scales = floats(ordinals, dtype).to(torch.float64)
    columns = [
        (scales.unsqueeze(1) * torch.tensor(part, dtype=torch.float64)).reshape(-1, *drawing.pair.shape)
        for part in direction(drawing.witness)
    ]  # fmt: skip
    found = sample.compare(drawing.pair, [column.to(kind) for column in columns], dtype)
    held = torch.ones(len(scales), dtype=torch.bool)
    for leaf, column in zip(drawing.pair.before.free, columns, strict=True):
        interval = drawing.matcher.ranges.interval(leaf)
        held &= _held(interval, column.flatten()).reshape(len(scales), -1).all(1)
    tried = _tried(ordinals, found, held)
    return tried.curve(dtype, count=COLUMNS if scalar else sparse) if tried is not None else None


def _widened(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Fewer columns as the usual number, each several times."""
    return tuple(column for column in columns for _ in range(COLUMNS // len(columns)))
