"""Plots: the samples of an expression over all finite floats of a dtype, column by column.

A curve of one input is exhaustive in float16 and bfloat16 where there is time for it.  Two inputs make a heat map;
more of them, or tensors whose entries meet, are taken along the line through 0 and the witness.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby

from nanguard.errors import NanguardError
from nanguard.floats import FORMATS
from nanguard.matching.match import Matcher
from nanguard.proof.leaves import Cut
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
from nanguard.report.html.sample import Pair, Sample
from nanguard.term import Term, make, substitute

_NAMES = "xyzuvwabcdefghijkl"
_EACH = 4  # inputs of a column that are tried where not all are
_SPARSE = 120  # inputs along a line of tensors
_ROUNDS, _PARTS, _EDGES = 3, 40, 12  # how closely it is looked where something begins to go wrong
_REFUSALS = (NanguardError, RuntimeError, ValueError, TypeError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is to be plotted: an expression, its replacement, the inputs that it can have, and a witness."""

    pair: Pair
    matcher: Matcher
    witness: Values
    truths: dict[object, array[float]] = field(default_factory=dict)  # of all floats of a dtype, by what is meant

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

    def tried(ordinals: Sequence[int]) -> _Tried | None:
        values = [form.from_ordinal(ordinal) for ordinal in ordinals]
        rows = [(value,) for value in values]
        known = partial(_truths, drawing, rows, dtype) if exhaustive else None
        found = sample.entrywise(drawing.pair, rows, dtype, known)
        return _tried(ordinals, found, [interval.holds(value) for value in values])

    first, end = edge(dtype, 0), edge(dtype, COLUMNS)
    marked = {form.ordinal(form.round(value)) for vector in drawing.witness for value in vector}
    inside = [ordinal for ordinal in marked if first <= ordinal < end]
    found = tried(range(first, end) if exhaustive else sorted({*_spread(dtype, COLUMNS, _EACH), *inside}))
    if found is None:
        return None
    for _ in range(0 if exhaustive else _ROUNDS):
        between = found.between(dtype)
        more = tried(between) if between else None
        found = found.with_more(more) if more is not None else found
    return found.curve(dtype, exhaustive)


def _truths(drawing: Drawing, rows: Sequence[sample.Row], dtype: str) -> Sequence[float]:
    """The exact values at all floats of a dtype, which expressions that mean the same share."""
    cut = drawing.pair.before
    key = (renamed(cut, cut.reference), tuple(value for _, value in cut.fixed), dtype)
    if key not in drawing.truths:
        drawing.truths[key] = array("d", sample.truths(cut, rows, dtype))
    return drawing.truths[key]


def renamed(cut: Cut, term: Term) -> Term:
    """A term with the same names for its leaves whatever they were called."""
    leaves = (*cut.free, *(leaf for leaf, _ in cut.fixed), *cut.index)
    names = (make("symbol", (), (("name", name),)) for name in _NAMES)
    return substitute(term, dict(zip(leaves, names, strict=False)))


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was tried: ordinals, from the smallest, and their samples."""

    ordinals: Sequence[int]
    before: Sequence[Sample]
    after: Sequence[Sample] | None

    def between(self, dtype: str) -> list[int]:
        """Some ordinals between neighbours of which one goes wrong as the other does not; none if these are many."""
        gaps = [
            (low, high)
            for low, high, one, other in zip(
                self.ordinals, self.ordinals[1:], self.before, self.before[1:], strict=False
            )
            if high - low > 1 and _kind(one, dtype) != _kind(other, dtype)
        ]
        if len(gaps) > _EDGES:
            return []
        inner = {low + (high - low) * part // _PARTS for low, high in gaps for part in range(1, _PARTS)}
        return sorted(inner.difference(self.ordinals))

    def with_more(self, more: _Tried) -> _Tried:
        """Both together."""
        order = sorted(range(len(self.ordinals) + len(more.ordinals)), key=[*self.ordinals, *more.ordinals].__getitem__)
        ordinals, before = [*self.ordinals, *more.ordinals], [*self.before, *more.before]
        after = [*self.after, *more.after] if self.after is not None and more.after is not None else None
        return _Tried(
            [ordinals[at] for at in order], [before[at] for at in order],
            [after[at] for at in order] if after is not None else None,
        )  # fmt: skip

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
        runs: list[list[int]] = []
        for _, group in groupby(range(len(self.ordinals)), lambda at: _kind(self.before[at], dtype)):
            run = list(group)
            short = self.ordinals[run[-1]] - self.ordinals[run[0]] < shortest
            same = bool(runs) and self.before[runs[-1][-1]].states == self.before[run[0]].states
            if same and (short or _kind(self.before[runs[-1][0]], dtype) == _kind(self.before[run[0]], dtype)):
                runs[-1] += run
            else:
                runs.append(run)
        form = FORMATS[dtype]
        for run in runs:
            first, last = (form.from_ordinal(self.ordinals[at]) for at in (run[0], run[-1]))
            after = _least(self.after, run) if self.after is not None else None
            yield Stretch(first, last, self.before[run[0]].states, _least(self.before, run), after)


def _kind(one: Sample, dtype: str) -> tuple[frozenset[str], bool]:
    """What goes wrong at an input, and whether fewer than half of the digits are right."""
    return one.states, one.digits is not None and one.digits < full(dtype) / 2


def _least(samples: Sequence[Sample], run: Sequence[int]) -> float | None:
    """The fewest digits of some samples."""
    return min((digits for at in run if (digits := samples[at].digits) is not None), default=None)


def _tried(ordinals: Sequence[int], found: sample.Samples | None, held: Sequence[bool]) -> _Tried | None:
    if found is None:
        return None
    before, after = found
    return _Tried(ordinals, sample.outside(before, held), sample.outside(after, held) if after is not None else None)


def _spread(dtype: str, columns: int, each: int) -> list[int]:
    """Some ordinals of each column, the first and the last among them (or the middle one alone), and 0."""
    found = {0}
    for column in range(columns):
        first, last = edge(dtype, column, columns), edge(dtype, column + 1, columns) - 1
        found.update(first + (last - first) * step // (each - 1) for step in range(each) if each > 1)
        found.add((first + last) // 2)
    return sorted(found)


def _places(dtype: str, ordinals: Sequence[int], count: int) -> list[int]:
    """The columns, of so many, that some ordinals belong to."""
    edges = [edge(dtype, column, count) for column in range(count)]
    return [bisect_right(edges, ordinal) - 1 for ordinal in ordinals]


def _columns(samples: Sequence[Sample], places: Sequence[int], count: int = COLUMNS) -> tuple[Column, ...]:
    """The samples of each column in one."""
    held: list[list[Sample]] = [[] for _ in range(count)]
    for each, place in zip(samples, places, strict=True):
        held[place].append(each)
    return tuple(map(_column, held))


def _column(samples: Sequence[Sample]) -> Column:
    digits = [each.digits for each in samples if each.digits is not None]
    states = frozenset[str]().union(*(each.states for each in samples))
    if digits:  # what a part of the column has no value for says nothing of the rest
        return Column(min(digits), max(digits), states - {OUTSIDE, UNDEFINED})
    return Column(None, None, states & {OUTSIDE} or states)


def _heat(drawing: Drawing, dtype: str) -> Heat | None:
    form = FORMATS[dtype]
    middles = [(edge(dtype, cell, CELLS) + edge(dtype, cell + 1, CELLS) - 1) // 2 for cell in range(CELLS)]
    values = [form.from_ordinal(ordinal) for ordinal in middles]
    rows = [(x, y) for y in reversed(values) for x in values]
    found = sample.entrywise(drawing.pair, rows, dtype)
    if found is None:
        return None
    one, other = (drawing.matcher.ranges.interval(leaf) for leaf in drawing.pair.before.free)
    held = [one.holds(x) and other.holds(y) for x, y in rows]
    before, after = (_cells(sample.outside(part, held)) if part is not None else None for part in found)
    assert before is not None
    return Heat(dtype, before, after, len(rows))


def _cells(samples: Sequence[Sample]) -> tuple[tuple[Column, ...], ...]:
    cells = [_column([each]) for each in samples]
    return tuple(tuple(cells[start : start + CELLS]) for start in range(0, len(cells), CELLS))


def direction(witness: Values) -> Values:
    """A witness as multiples of its entry of largest magnitude; one at 0 has ones."""
    size = max((abs(value) for vector in witness for value in vector), default=0.0)
    return tuple(tuple(value / size if size else 1.0 for value in vector) for vector in witness)


def _line(drawing: Drawing, dtype: str) -> Curve | None:
    form = FORMATS[dtype]
    way = direction(drawing.witness)
    scalar = drawing.pair.before.elementwise
    ordinals = _spread(dtype, COLUMNS, _EACH) if scalar else _spread(dtype, _SPARSE, 1)
    scales = [form.from_ordinal(ordinal) for ordinal in ordinals]
    if scalar:
        found = sample.entrywise(drawing.pair, [tuple(scale * part[0] for part in way) for scale in scales], dtype)
    else:
        rows = [tuple(tuple(scale * value for value in vector) for vector in way) for scale in scales]
        found = sample.together(drawing.pair, rows, dtype)
    if found is None or len(found[0]) != len(scales):
        return None
    intervals = [drawing.matcher.ranges.interval(leaf) for leaf in drawing.pair.before.free]
    held = [
        all(interval.holds(scale * value) for interval, vector in zip(intervals, way, strict=True) for value in vector)
        for scale in scales
    ]
    tried = _tried(ordinals, found, held)
    return tried.curve(dtype, count=COLUMNS if scalar else _SPARSE) if tried is not None else None


def _widened(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Fewer columns as the usual number, each several times."""
    return tuple(column for column in columns for _ in range(COLUMNS // len(columns)))
