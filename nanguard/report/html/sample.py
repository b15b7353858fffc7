"""Samples: how many digits of an expression are right at many inputs, measured against the exact value.

The code as written and its replacement run with torch, all inputs at once.  The exact value comes from ball arithmetic,
or, in the smaller dtypes, from bounds in float64 where these are so close that no digit depends on what lies between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nanguard.floats import FORMATS
from nanguard.proof import exact
from nanguard.proof.evaluate import NotEvaluable
from nanguard.proof.lanes import bounds
from nanguard.proof.leaves import Cut
from nanguard.proof.points import at, at_once, others
from nanguard.report.html.drawn import DEAD, NONFINITE, OUTSIDE, SLOPE, UNDEFINED, full
from nanguard.term import Term

STATES = (NONFINITE, SLOPE, DEAD, OUTSIDE, UNDEFINED)  # each a bit, from the lowest on

_CHUNK = 256  # inputs whose exact values are worked out at once
_BITS = 2048  # of precision, at most
_LOOKS = 12  # inputs of a run of small gradients at which the exact one is worked out; fewer where runs are short
_FEW_LOOKS = 4
_ORDINARY = 1e-2  # a gradient that is missed when it is gone
_GONE = 2.0**-12  # of that
BOUNDED = ("float16", "bfloat16", "float32")  # dtypes in which bounds in float64 can say how many digits are right
_SPARE = 14  # bits by which bounds are closer than the numbers of the dtype
_CHECKED = 64  # inputs at which ball arithmetic goes over what bounds say; fewer where entries meet
_CHECKED_TOGETHER = 8
_AT_ONCE = 8  # of them at once, so that one that balls cannot tell spares the others


@dataclass(frozen=True, slots=True)
class Samples:
    """What inputs give: how many digits are right, nan without an exact value, and the bits of what goes wrong."""

    digits: Tensor
    states: Tensor

    def __len__(self) -> int:
        return len(self.digits)

    def outside(self, held: Tensor) -> Samples:
        """The samples without those of inputs that the program cannot have, which are not `held`."""
        return Samples(self.digits.where(held, math.nan), self.states.where(held, bit(OUTSIDE)))

    def at(self, places: Tensor) -> Samples:
        """Those at some places."""
        return Samples(self.digits[places], self.states[places])

    def __add__(self, more: Samples) -> Samples:
        return Samples(torch.cat((self.digits, more.digits)), torch.cat((self.states, more.states)))


Compared = tuple[Samples, Samples | None]  # of the code as written and of its replacement


@dataclass(frozen=True, slots=True)
class Pair:
    """An expression and its replacement over the same leaves; `shape` is () where it acts entry by entry.

    `after` is None where there is no replacement.
    """

    before: Cut
    after: Cut | None
    shape: tuple[int, ...]


def bit(state: str) -> Tensor:
    """The bit of what goes wrong."""
    return torch.tensor(1 << STATES.index(state), dtype=torch.uint8)


def compare(pair: Pair, columns: Sequence[Tensor], dtype: str) -> Compared | None:
    """The samples of inputs, the first dimension of a column for each free leaf; None where torch does not take them.

    Of an expression whose entries meet a sample is the worst entry of the result.
    """
    cuts = [cut for cut in (pair.before, pair.after) if cut is not None]
    runs = [_run(cut, columns, pair.shape, dtype) for cut in cuts]
    if any(run is None for run in runs):
        return None
    truth, slopes = truths(pair.before, columns, pair.shape, dtype), _Slopes(pair, columns, dtype)
    found = [_samples(pair.before, run, truth, slopes, dtype) for run in runs if run is not None]
    return found[0], found[1] if len(found) > 1 else None


@dataclass(frozen=True, slots=True)
class _Run:
    """What inputs give: the entries of the result, and of the gradient to each leaf that has one, in rows."""

    output: Tensor
    slopes: tuple[Tensor | None, ...]


def _run(cut: Cut, columns: Sequence[Tensor], shape: tuple[int, ...], dtype: str) -> _Run | None:
    count = len(columns[0])
    found = at_once(cut, columns, shape, dtype) if shape or cut.elementwise else None
    if found is None:
        if cut.elementwise:
            return None
        found = _singly(cut, columns, shape, dtype)
    if found is None or len(found[0]) != count:
        return None
    output, slopes = found
    return _Run(output.reshape(count, -1), tuple(part if part is None else part.reshape(count, -1) for part in slopes))


def _singly(
    cut: Cut, columns: Sequence[Tensor], shape: tuple[int, ...], dtype: str
) -> tuple[Tensor, tuple[Tensor | None, ...]] | None:
    """The same of one input after the other, where they cannot be run at once."""
    rows = zip(*(column.flatten(1).tolist() for column in columns), strict=True)
    points = [at(replace(cut, elementwise=False), row, shape, dtype) for row in rows]
    known = [point for point in points if point is not None]
    if len(known) < len(points):
        return None
    parts = zip(*(point.gradients for point in known), strict=True)
    slopes = tuple(torch.stack(part) if None not in part else None for part in map(list, parts))
    return torch.stack([point.output for point in known]), slopes


# --- the exact values


def truths(cut: Cut, columns: Sequence[Tensor], shape: tuple[int, ...], dtype: str) -> Tensor:
    """The exact values at some inputs as rows of numbers in float64, nan where there is none.

    They are the floats next to the exact values, or next enough that no digit of the dtype depends on it.
    """
    count = len(columns[0])
    found = _bounded(cut, columns, shape, dtype) if dtype in BOUNDED else None
    if found is None:
        return _exactly(cut, columns, shape, dtype, torch.arange(count))
    values, settled = found
    rest = (~settled).nonzero().flatten()
    if len(rest):
        values[rest] = _exactly(cut, columns, shape, dtype, rest)
    return values


def _bounded(
    cut: Cut, columns: Sequence[Tensor], shape: tuple[int, ...], dtype: str
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """The exact values by bounds, and the inputs at which all of them are settled; None where no bounds are known.

    Some of those are worked out in balls, too: where these said another thing, no bounds would count.
    """
    form = FORMATS[dtype]
    try:
        found = bounds(cut.reference, dict(zip(cut.free, columns, strict=True)), others(cut, shape, dtype))
    except NotEvaluable:
        return None
    low, high = (bound.reshape(len(columns[0]), -1) for bound in (found.low, found.high))
    values = low + (high - low) / 2
    near = high - low <= values.abs().clamp_min(max(cut.scale, form.tiny)) * 2.0 ** -(form.bits + _SPARE)
    beyond = (low > form.max) | (high < -form.max)  # which no number of the dtype is next to, whatever it is
    within = (high < form.max) & (low > -form.max)
    settled = (low.isnan() | beyond | (near & within)).all(1)
    values = values.where(~beyond, math.inf)
    places = settled.nonzero().flatten()
    picked = places[:: max(1, len(places) // (_CHECKED if cut.elementwise else _CHECKED_TOGETHER))]
    for part, balls in _evaluated(cut, columns, shape, dtype, picked, _AT_ONCE):
        if not balls.decided:  # bounds may know more than the highest precision
            continue
        truth = _row(balls, len(part))
        if truth.shape != low[part].shape:
            return None
        inside = (low[part] <= truth) & (truth <= high[part])
        if not bool((inside | (truth.isnan() & low[part].isnan())).all()):
            return None
    return values, settled


def _exactly(cut: Cut, columns: Sequence[Tensor], shape: tuple[int, ...], dtype: str, places: Tensor) -> Tensor:
    """The exact values at some of the inputs, as the floats next to them, by ball arithmetic."""
    if cut.elementwise:
        return torch.cat([_entries(cut, [column[part] for column in columns], dtype) for part in places.split(_CHUNK)])
    found = _evaluated(cut, columns, shape, dtype, places, 1)
    return torch.cat([_row(balls, len(part)) for part, balls in found])


def _entries(cut: Cut, rows: Sequence[Tensor], dtype: str) -> Tensor:
    """The same of a term that acts entry by entry: a hard entry has a higher precision for itself."""
    values = torch.empty(len(rows[0]), 1, dtype=torch.float64)
    rest = torch.arange(len(values))
    for bits, snap in (*((bits, False) for bits in exact.precisions(_BITS)), (_BITS, True)):
        given = _given(cut, [row[rest] for row in rows], (len(rest),), dtype)
        balls = exact.attempt(cut.reference, given, (), bits, snap)
        values[rest] = _row(balls, len(rest))
        if balls.decided:
            break
        if len(balls.balls) == len(rest):  # of a constant there is one for all
            rest = rest[[not exact.narrow(ball) for ball in balls.balls]]
    return values


def _row(balls: exact.Exact, count: int) -> Tensor:
    """The entries of each of some inputs; of a constant there is one for all."""
    values = torch.tensor(balls.values, dtype=torch.float64)
    return values.expand(count).unsqueeze(1) if len(values) == 1 else values.reshape(count, -1)


def _evaluated(
    cut: Cut, columns: Sequence[Tensor], shape: tuple[int, ...], dtype: str, places: Tensor, together: int
) -> Iterator[tuple[Tensor, exact.Exact]]:
    """Balls at some of the inputs, of so many together where the term acts entry by entry, else of one."""
    for part in places.split(together if cut.elementwise else 1):
        rows = [column[part] if cut.elementwise else column[part].squeeze(0) for column in columns]
        within = (len(part),) if cut.elementwise else shape
        yield part, exact.evaluate(cut.reference, _given(cut, rows, within, dtype), bits=_BITS)


def _given(cut: Cut, tensors: Sequence[Tensor], shape: tuple[int, ...], dtype: str) -> dict[Term, Tensor]:
    return {**dict(zip(cut.free, tensors, strict=True)), **others(cut, shape, dtype)}


# --- beside what was computed


def _samples(cut: Cut, run: _Run, truth: Tensor, exactly: _Slopes, dtype: str) -> Samples:
    form = FORMATS[dtype]
    size = min(truth.shape[1], run.output.shape[1])
    truth, value = truth[:, :size], run.output[:, :size].to(torch.float64)
    known = truth.isfinite() & truth.abs().le(form.max)
    finite = value.isfinite()
    error = (value - truth).abs() / truth.abs().clamp_min(max(cut.scale, form.tiny))
    right = error.log10().neg().clamp(0.0, full(dtype)).where(finite, 0.0).where(known, math.inf).amin(1)
    any_known = known.any(1)
    steep = torch.zeros_like(any_known)
    for part in run.slopes:
        steep |= ~part.isfinite().all(1) if part is not None else False
    dead = _dead(cut, run, any_known & ~steep, exactly)
    states = torch.zeros_like(any_known, dtype=torch.uint8)
    for state, found in ((NONFINITE, (known & ~finite).any(1)), (SLOPE, steep), (DEAD, dead & ~steep)):
        states |= bit(state).where(found, 0)
    return Samples(right.where(any_known, math.nan), states.where(any_known, bit(UNDEFINED)))


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


def _dead(cut: Cut, run: _Run, known: Tensor, exactly: _Slopes) -> Tensor:
    """At which of the `known` inputs a gradient is gone, and the exact one is of ordinary size.

    Inputs next to each other behave alike: of a run of small gradients the ends and some between are looked at.
    """
    small = torch.zeros_like(known)
    for part in run.slopes:
        small |= part.abs().lt(_GONE).any(1) & known if part is not None else False
    looks = _LOOKS if cut.elementwise and len(cut.free) == 1 else _FEW_LOOKS
    picked: list[tuple[int, int]] = []  # an input that is looked at, and up to which one it speaks for others
    for first, last in _runs(small):
        starts = sorted({*range(first, last + 1, max(1, (last + 1 - first) // looks)), last})
        picked += zip(starts, [*starts[1:], last + 1], strict=True)
    dead = torch.zeros_like(known)
    for (start, end), gone in zip(picked, exactly.gone(run, [start for start, _ in picked]), strict=True):
        if gone:
            dead[start:end] = True
    return dead


def _runs(chosen: Tensor) -> Iterator[tuple[int, int]]:
    """The first and the last of neighbours that are chosen."""
    flags = torch.nn.functional.pad(chosen.to(torch.int8), (1, 1)).diff()
    firsts, lasts = flags.eq(1).nonzero().flatten(), flags.eq(-1).nonzero().flatten() - 1
    yield from zip(firsts.tolist(), lasts.tolist(), strict=True)


@dataclass(slots=True)
class _Slopes:
    """The exact gradients at some inputs, in a row for each leaf, each worked out once."""

    pair: Pair
    columns: Sequence[Tensor]
    dtype: str
    rows: dict[int, list[Tensor]] = field(default_factory=dict)

    def gone(self, run: _Run, places: Sequence[int]) -> list[bool]:
        """Whether a computed gradient is gone at some inputs."""
        self._work_out([place for place in places if place not in self.rows])
        cut = self.pair.before
        wanted = zip(cut.free, run.slopes, strict=True)
        computed = [part for leaf, part in wanted if part is not None and leaf not in cut.targets]
        return [
            any(
                meant.shape == part[place].shape and bool(_is_gone(part[place].to(torch.float64), meant).any())
                for part, meant in zip(computed, self.rows[place], strict=False)
            )
            for place in places
        ]

    def _work_out(self, places: Sequence[int]) -> None:
        cut = self.pair.before
        wrt = [leaf for leaf in cut.free if leaf not in cut.targets]
        step = _CHUNK if cut.elementwise else 1
        for start in range(0, len(places), step):
            part = list(places[start : start + step])
            rows = [column[part] if cut.elementwise else column[part[0]] for column in self.columns]
            shape = (len(part),) if cut.elementwise else self.pair.shape
            truth = exact.evaluate(cut.reference, _given(cut, rows, shape, self.dtype), wrt, bits=_BITS).gradients
            found = [torch.tensor(each.values, dtype=torch.float64).reshape(len(part), -1) for each in truth]
            self.rows.update({place: [each[index] for each in found] for index, place in enumerate(part)})


def _is_gone(computed: Tensor, truth: Tensor) -> Tensor:
    return truth.isfinite() & truth.abs().gt(_ORDINARY) & computed.abs().lt(truth.abs() * _GONE)
