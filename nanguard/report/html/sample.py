"""Samples: how many digits of an expression are right at many inputs, measured against the exact value.

The code as written and its replacement run with torch, all inputs at once where the expression acts entry by entry;
the exact value comes from ball arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, float64

from nanguard.floats import FORMATS
from nanguard.proof import exact
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point, at, given, many
from nanguard.report.html.drawn import DEAD, NONFINITE, OUTSIDE, SLOPE, UNDEFINED, full
from nanguard.term import Term

_CHUNK = 256  # inputs whose exact values are worked out at once: a hard one among them makes all of them slow
_BITS = 2048  # of precision, at most
_LOOKS = 12  # inputs of a run of small gradients at which the exact one is worked out
_ORDINARY = 1e-2  # a gradient that is missed when it is gone
_GONE = 2.0**-12  # of that

Row = tuple[float, ...]  # an input for each free leaf
_FINE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Sample:
    """What one input gives: the digits that are right, None without an exact value, and what goes wrong."""

    digits: float | None
    states: frozenset[str]


@dataclass(frozen=True, slots=True)
class Pair:
    """An expression and its replacement over the same leaves; `shape` is () where it acts entry by entry.

    `after` is None where there is no replacement.
    """

    before: Cut
    after: Cut | None
    shape: tuple[int, ...]


Samples = tuple[list[Sample], list[Sample] | None]


def entrywise(
    pair: Pair, rows: Sequence[Row], dtype: str, exactly: Callable[[], Sequence[float]] | None = None
) -> Samples | None:  # fmt: skip
    """The samples of inputs to an expression that acts entry by entry; None where torch does not take them.

    `exactly` gives the exact values, where these may be known already.
    """
    columns = tuple(zip(*rows, strict=True))
    runs = [at(cut, columns, (len(rows),), dtype) for cut in (pair.before, pair.after) if cut is not None]
    if any(run is None or run.output.shape != (len(rows),) for run in runs):
        return None
    truth = exactly() if exactly is not None else truths(pair.before, rows, dtype)
    found = [_samples(pair, run, rows, truth, dtype) for run in runs if run is not None]
    return found[0], found[1] if len(found) > 1 else None


def truths(cut: Cut, rows: Sequence[Row], dtype: str) -> list[float]:
    """The exact values at some inputs, as the floats next to them."""
    return [value for part in _chunks(rows) for value in _values(cut, part, dtype)]


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))


def _values(cut: Cut, rows: Sequence[Row], dtype: str) -> Sequence[float]:
    tensors = _detached(cut, tuple(zip(*rows, strict=True)), (len(rows),), dtype)
    found = exact.evaluate(cut.reference, tensors, bits=_BITS).values
    return found if len(found) == len(rows) else found * len(rows)  # a constant


def _detached(cut: Cut, values: tuple[Row, ...], shape: tuple[int, ...], dtype: str) -> dict[Term, Tensor]:
    return {leaf: tensor.detach() for leaf, tensor in given(cut, values, shape, dtype).items()}


def _samples(pair: Pair, run: Point, rows: Sequence[Row], truth: Sequence[float], dtype: str) -> list[Sample]:
    gradients = [part for part in run.gradients if part is not None and part.shape == run.output.shape]
    slopes = [part.tolist() for part in gradients]
    dead = _dead(pair.before, rows, _small(gradients, run.output.new_tensor(truth, dtype=float64)), slopes, dtype)
    right, fine = _right(run.output, gradients, truth, dtype, pair.before.scale)
    values = run.output.tolist()
    return [
        Sample(right[index], _FINE)
        if fine[index] and index not in dead
        else _sample(
            values[index], truth[index], [part[index] for part in slopes], index in dead, dtype, pair.before.scale
        )
        for index in range(len(truth))
    ]


def _right(
    output: Tensor, gradients: Sequence[Tensor], truth: Sequence[float], dtype: str, scale: float
) -> tuple[list[float], list[bool]]:
    """As `digits`, of all inputs at once, and where that is all there is to say: nothing there is infinite or nan."""
    form = FORMATS[dtype]
    exactly = output.new_tensor(truth, dtype=float64)
    fine = exactly.abs().le(form.max) & output.isfinite()
    for part in gradients:
        fine &= part.isfinite()
    error = (output.detach().to(float64) - exactly).abs() / exactly.abs().clamp_min(max(scale, form.tiny))
    return error.log10().neg().clamp(0.0, full(dtype)).tolist(), fine.tolist()


def _sample(value: float, truth: float, slopes: Sequence[float], dead: bool, dtype: str, scale: float) -> Sample:
    right = digits(value, truth, dtype, scale)
    if right is None:
        return Sample(None, frozenset({UNDEFINED}))
    if math.isfinite(value) and not dead and all(map(math.isfinite, slopes)):
        return Sample(right, _FINE)
    states = {NONFINITE} if not math.isfinite(value) else set()
    if not all(map(math.isfinite, slopes)):
        states.add(SLOPE)
    elif dead:
        states.add(DEAD)
    return Sample(right, frozenset(states))


def digits(value: float, truth: float, dtype: str, scale: float = 0.0) -> float | None:
    """The decimal digits of a computed number that are right, from 0 to those that the dtype has.

    The error is relative to the largest of the exact number, `scale` and the smallest normal number.  None where the
    exact number is not known, or is none that the dtype has.
    """
    form = FORMATS[dtype]
    if not math.isfinite(truth) or abs(truth) > form.max:
        return None
    if not math.isfinite(value):
        return 0.0
    error = abs(value - truth) / max(abs(truth), scale, form.tiny)
    return full(dtype) if error == 0 else min(max(0.0, -math.log10(error)), full(dtype))


def _small(gradients: Sequence[Tensor], exactly: Tensor) -> list[int]:
    """The inputs at which a gradient is small, and the exact value finite."""
    small = exactly.isfinite() & sum((part.abs().lt(_GONE) for part in gradients), start=exactly.new_zeros(())).gt(0)
    return [int(index) for index in small.nonzero().flatten().tolist()]


def _dead(
    cut: Cut, rows: Sequence[Row], small: Sequence[int], slopes: Sequence[Sequence[float]], dtype: str
) -> set[int]:  # fmt: skip
    """Those of the inputs with a `small` gradient at which it is gone, and the exact one is of ordinary size.

    Inputs next to each other behave alike: of a run of small gradients the ends and some between are looked at.
    """
    picked: list[tuple[int, range]] = []  # an input that is looked at, and those that it speaks for
    for run in _runs(small):
        step = max(1, len(run) // _LOOKS)
        starts = sorted({*run[::step], run[-1]})
        picked += [(at, range(at, end)) for at, end in zip(starts, [*starts[1:], run[-1] + 1], strict=True)]
    dead: set[int] = set()
    for start in range(0, len(picked), _CHUNK):
        part = picked[start : start + _CHUNK]
        found = _missed(cut, [rows[at] for at, _ in part], [[one[at] for at, _ in part] for one in slopes], dtype)
        dead.update(index for (_, spoken), gone in zip(part, found, strict=True) if gone for index in spoken)
    return dead


def _runs(indices: Sequence[int]) -> Iterator[list[int]]:
    """Neighbouring numbers of a rising list."""
    run: list[int] = []
    for index in indices:
        if run and index != run[-1] + 1:
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _missed(cut: Cut, rows: Sequence[Row], slopes: Sequence[Sequence[float]], dtype: str) -> list[bool]:
    wrt = [leaf for leaf in cut.free if leaf not in cut.targets]
    tensors = _detached(cut, tuple(zip(*rows, strict=True)), (len(rows),), dtype)
    truth = exact.evaluate(cut.reference, tensors, wrt, bits=_BITS).gradients
    parts = [part.values for part in truth if len(part.values) == len(rows)]
    return [any(_is_gone(*pair) for pair in zip(got, meant, strict=True)) for got, meant in _by_row(slopes, parts)]


def _by_row(
    slopes: Sequence[Sequence[float]], parts: Sequence[Sequence[float]]
) -> Iterator[tuple[tuple[float, ...], tuple[float, ...]]]:
    count = min(len(slopes), len(parts))
    return zip(zip(*slopes[:count], strict=True), zip(*parts[:count], strict=True), strict=True)


def _is_gone(computed: float, truth: float) -> bool:
    return math.isfinite(truth) and abs(truth) > _ORDINARY and abs(computed) < abs(truth) * _GONE


def together(pair: Pair, rows: Sequence[tuple[Row, ...]], dtype: str) -> Samples | None:
    """The samples of an expression whose entries meet: a tensor for each leaf, and the worst entry of the result."""
    befores = _points(pair.before, rows, pair.shape, dtype)
    afters = _points(pair.after, rows, pair.shape, dtype) if pair.after is not None else None
    if befores is None:
        return None
    before: list[Sample] = []
    after: list[Sample] | None = [] if afters is not None else None
    for index, point in enumerate(befores):
        tensors = _detached(pair.before, point.values, pair.shape, dtype)
        truth = exact.evaluate(pair.before.reference, tensors, pair.before.free, bits=_BITS)
        before.append(_worst(point, truth, dtype, pair.before.scale))
        if after is not None and afters is not None:
            after.append(_worst(afters[index], truth, dtype, pair.before.scale))
    return before, after


def _points(cut: Cut, rows: Sequence[tuple[Row, ...]], shape: tuple[int, ...], dtype: str) -> list[Point] | None:
    found = many(replace(cut, elementwise=False), rows, shape, dtype)
    points = list(found) if found is not None else [at(cut, row, shape, dtype) for row in rows]
    return [point for point in points if point is not None] if None not in points else None


def _worst(point: Point, truth: exact.Exact, dtype: str, scale: float) -> Sample:
    pairs = zip(point.output.flatten().tolist(), truth.values, strict=False)
    entries = [_sample(value, right, (), False, dtype, scale) for value, right in pairs]
    known = [entry for entry in entries if entry.digits is not None]
    if not known:
        return Sample(None, frozenset({UNDEFINED}))
    states = set[str]().union(*(entry.states for entry in known))
    for part, right in zip(point.gradients, truth.gradients, strict=True):
        slopes = part.flatten().tolist() if part is not None else []
        if not all(map(math.isfinite, slopes)):
            states.add(SLOPE)
        elif any(_is_gone(*entry) for entry in zip(slopes, right.values, strict=False)):
            states.add(DEAD)
    return Sample(min(entry.digits for entry in known if entry.digits is not None), frozenset(states))


def outside(samples: Sequence[Sample], inside: Sequence[bool]) -> list[Sample]:
    """The samples without those of inputs that the program cannot have."""
    return [
        sample if held else Sample(None, frozenset({OUTSIDE})) for sample, held in zip(samples, inside, strict=True)
    ]
