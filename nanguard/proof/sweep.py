"""Sweep: a stable form against the exact value, over ordinary, extreme, zero, subnormal and non-finite inputs.

Up to the reach of its rule, the stable form must mean what the code as written means (both in ball arithmetic), and
what torch computes for it must be within the rule's ulps of that, in value and gradient.  Beyond the reach, and where
an input is not finite, it must be no worse than the code as written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nanguard.finding import DTYPES
from nanguard.floats import FORMATS, Format
from nanguard.matching.match import Match, Matcher
from nanguard.matching.rule import Rule
from nanguard.proof import leaves
from nanguard.proof.exact import Entries, Exact, NotEvaluable
from nanguard.proof.failing import truth_at
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point, at, fitting
from nanguard.term import Term, number, show, walk

# Grids that the inputs of two dtypes lie on, so that one exact value serves both.
_GRID = {"float16": "bfloat16", "bfloat16": "bfloat16", "float32": "float32", "float64": "float32"}
_ORDINARY = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 0.9, -0.9, 3.1, -3.1, 5.2, -5.2, 12.0, -12.0, 17.0, -17.0, 26.0, -26.0, 53.0,
    -53.0, 88.0, -88.0, 107.0, -107.0, 410.0, -410.0, 760.0, -760.0,
)  # fmt: skip
_GRADES = tuple(sign * 1.1 * 10.0**power for power in range(-4, 4) for sign in (1, -1))  # bounds are round numbers
_FEW = (0.0, 1.0, -1.0, 0.3, -2.0, 21.0, -21.0, 110.0, -110.0, 1e-3, -1e-3, 9e3, -9e3)
_BESIDE_SMALL = (1.0, -1.0, 21.0)
_PARTS = (1e-30, 1e-15, 1e-3, 0.1, 0.5, 1.0)  # of the largest number of the dtype
_SPECIAL = (math.inf, -math.inf, math.nan)
_BESIDE = (1.0, -1.0, 20.0, -20.0, 0.25)  # what the other entries are where one is not finite
_ROWS = 200  # combinations of the leaves, of a term that acts entry by entry
_VECTORS = {"float16": 8, "bfloat16": 8, "float32": 14, "float64": 14}  # and of another
_EQUAL = 1e-9  # two exact values that are one, relative to the larger of them and 1: constants are doubles

Values = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a stable form, at which inputs, and by how much."""

    dtype: str
    inputs: str
    reason: str
    ulps: float = math.inf

    def __str__(self) -> str:
        return f"{self.reason} at {self.inputs} in {self.dtype}"


@dataclass(frozen=True, slots=True)
class Case:
    """A match and its stable form over the same leaves."""

    rule: Rule
    hazard: str  # of the pattern
    written: Cut
    stable: Cut
    shape: tuple[int, ...]  # of a leaf; () where the terms act entry by entry
    matcher: Matcher
    known: dict[tuple[Cut, Values], Exact | None] = field(default_factory=dict)

    @property
    def floor(self) -> float:
        """What the value's error is relative to at least: where digits are what a rule is about, to nothing else."""
        return self.rule.scale if self.hazard == "accuracy-loss" else 1.0

    def fits(self, dtype: str) -> bool:
        """Whether the dtype holds the constants of the program: an eps that vanishes in it is another hazard."""
        values = [abs(number(node) or 0.0) for node in walk(self.written.root, self.stable.root)]
        return all(value == 0 or math.isinf(value) or 0 < FORMATS[dtype].round(value) < math.inf for value in values)

    def inside(self, leaf: Term, listed: Sequence[float], dtype: str) -> list[float]:
        """The values of a list that a leaf can take, in a dtype."""
        interval, form, grid = self.matcher.ranges.interval(leaf), FORMATS[dtype], FORMATS[_GRID[dtype]]
        ends = [end for end in (interval.low, interval.high) if math.isfinite(end)]
        rounded = dict.fromkeys([*(form.round(_on(grid, value)) for value in listed), *map(form.round, ends)])
        whole = (value for value in rounded if math.isfinite(value) and (not interval.integer or value % 1 == 0))
        return [value for value in whole if interval.holds(value)]

    def batches(self, listed: Sequence[float], dtype: str) -> Iterator[Batch]:
        """The inputs made of a list of values: one batch of columns, or a batch for each choice of vectors."""
        choices = [self.inside(leaf, listed, dtype) for leaf in self.written.free]
        if not all(choices):
            return
        if self.shape:
            vectors = [_vectors(choice, math.prod(self.shape)) for choice in choices]
            yield from (Batch(self, values, dtype) for values in leaves.combined(vectors, _VECTORS[dtype]))
        else:
            rows = leaves.combined([[(value,) for value in choice] for choice in choices], _ROWS)
            yield Batch(self, tuple(tuple(row[index][0] for row in rows) for index in range(len(choices))), dtype)


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs that are run at once: a column of points for each leaf, or the entries of each leaf at one point."""

    case: Case
    values: Values
    dtype: str

    def run(self, cut: Cut) -> Point | None:
        """What torch computes, None where it has no kernel for it."""
        return at(cut, self.values, self.case.shape or (len(self.values[0]),), self.dtype)

    def truth(self, cut: Cut) -> Exact | None:
        """The exact value, worked out once for the dtypes that share it."""
        key = cut, self.values
        if key not in self.case.known:
            point = Point(self.values, self.case.shape or (len(self.values[0]),), torch.empty(0), (), True, True)
            self.case.known[key] = truth_at(cut, point, self.dtype)
        return self.case.known[key]

    def entries(self, index: int) -> tuple[float, ...]:
        """The inputs that an entry of a result comes from."""
        if self.case.shape:
            return tuple(value for vector in self.values for value in vector)
        return tuple(vector[index] for vector in self.values)

    def size(self, index: int) -> float:
        """The largest of these inputs, where several meet: its rounding shows in what comes of the others."""
        entries = self.entries(index)
        return max(map(abs, entries)) if len(entries) > 1 else 0.0

    def fault(self, index: int, reason: str, ulps: float = math.inf) -> Fault:
        """A fault at the inputs of an entry."""
        shown = [vector if self.case.shape else vector[index] for vector in self.values]
        names = (leaf.name if leaf.op == "symbol" else show(leaf) for leaf in self.case.written.free)
        named = ", ".join(f"{name} = {_text(value)}" for name, value in zip(names, shown, strict=True))
        return Fault(self.dtype, named, reason, ulps)


def case(match: Match, matcher: Matcher) -> Case | None:
    """What is swept for a match; None where its stable form cannot be run on inputs of its own."""
    stable = match.variant.stable
    if stable is None:
        return None
    replacement = match.replacement(stable)
    for cut in leaves.cuts(match, matcher, replacement):
        if any(inner in leaf.args for leaf in cut.free for inner in walk(*cut.free)):
            continue  # one leaf is a part of another: their values would not go together
        try:
            shape = () if cut.elementwise else fitting(replace(cut, root=replacement), matcher)
        except NotEvaluable:
            continue
        written = replace(cut, reference=cut.root)
        return Case(
            match.rule,
            match.variant.hazard,
            written,
            replace(written, root=replacement, reference=replacement),
            shape,
            matcher,
        )
    return None


def faults(case: Case, safe: bool, dtypes: Sequence[str] = DTYPES) -> Iterator[Fault]:
    """What is wrong with a stable form, at most one fault of each kind and dtype.

    `safe` says that it may take the place of the code without anybody asking.
    """
    for dtype in filter(case.fits, dtypes):
        yield from _first(_within(case, safe, dtype))
        if safe:
            yield from _first(_beyond(case, dtype))
            yield from _first(_special(case, dtype))


def _first(found: Iterable[Fault]) -> Iterable[Fault]:
    """The worst fault of each kind."""
    kept: dict[str, Fault] = {}
    for fault in found:
        kind = fault.reason.partition(":")[0]
        if kind not in kept or fault.ulps > kept[kind].ulps:
            kept[kind] = fault
    return kept.values()


# --- within the reach of the rule


def _within(case: Case, safe: bool, dtype: str) -> Iterator[Fault]:
    form, reach, least = FORMATS[dtype], case.rule.reach.of(dtype), case.rule.least.of(dtype)
    plenty = len(case.written.free) == 1 or not case.shape
    small = (1.1e-5, -1.1e-5, 1.1e-6, -1.1e-6, form.smallest, -form.smallest, form.tiny, -form.tiny)
    beside = () if len(case.written.free) == 1 and not case.shape else _BESIDE_SMALL
    for listed in ((*_ORDINARY, *_GRADES) if plenty else _FEW, (*small, *beside)):
        for batch in case.batches([value for value in listed if value == 0 or least <= abs(value) <= reach], dtype):
            computed, truth = batch.run(case.stable), batch.truth(case.stable)
            if computed is None or truth is None:
                continue
            yield from _distances(batch, computed, truth)
            meant = batch.truth(case.written) if safe and dtype == "float32" else None
            if meant is not None:
                yield from _differences(batch, meant, truth)


def _distances(batch: Batch, computed: Point, truth: Exact) -> Iterator[Fault]:
    """Where a computed value or gradient is further from the exact one than the rule says."""
    rule, dtype = batch.case.rule, batch.dtype
    parts: list[tuple[str, Tensor | None, Entries, float]] = [("value", computed.output, truth, rule.ulps.of(dtype))]
    for slope, right in zip(computed.gradients, truth.gradients, strict=True):
        parts.append(("gradient", slope, right, rule.slope_ulps.of(dtype)))
    for what, tensor, exact, limit in parts:
        if tensor is None:
            continue
        for index, (value, wanted) in enumerate(zip(tensor.flatten().tolist(), exact.values, strict=False)):
            if what == "gradient" and not _sloped(batch, truth, index):
                continue
            least = batch.case.floor if what == "value" else 1.0
            ulps = distance(value, wanted, dtype, batch.size(index), least)
            if ulps > limit:
                words = f"{what} of the stable form is {_text(value)}, {ulps:.3g} ulps from {_text(wanted)}"
                yield batch.fault(index, f"{what}: the {words}", ulps)


def _sloped(batch: Batch, truth: Exact, index: int) -> bool:
    """Whether the value that an entry of the gradient belongs to is finite: where entries meet, all of them."""
    if batch.case.shape:
        return all(map(math.isfinite, truth.values))
    return math.isfinite(truth.values[index])


def distance(value: float, exact: float, dtype: str, size: float = 0.0, floor: float = 1.0) -> float:
    """How far a computed number is from the exact one, in units of finfo.eps times max(floor, abs(exact), size).

    0 where the exact one is not known; where it is infinite or not in the dtype, infinity is right.
    """
    form = FORMATS[dtype]
    if math.isnan(exact) or value == exact:
        return 0.0
    if abs(exact) >= form.max * (1 - 64 * form.eps):
        return 0.0 if abs(value) >= form.max * (1 - 256 * form.eps) and (value > 0) == (exact > 0) else math.inf
    if not math.isfinite(value):
        return math.inf
    return abs(value - exact) / (form.eps * max(floor, abs(exact), size, form.tiny))


def _differences(batch: Batch, meant: Exact, truth: Exact) -> Iterator[Fault]:
    """Where the stable form means something else than the code as written, both in exact arithmetic."""
    pairs: list[tuple[str, Entries, Entries]] = [("value", meant, truth)]
    pairs += [("gradient", one, other) for one, other in zip(meant.gradients, truth.gradients, strict=True)]
    for what, one, other in pairs:
        for index, (value, right) in enumerate(zip(one.values, other.values, strict=False)):
            if what == "gradient" and not _sloped(batch, meant, index):
                continue
            if math.isfinite(value) and not abs(value - right) <= _EQUAL * max(1.0, abs(value), batch.size(index)):
                words = f"{what} of the code is {_text(value)}, that of the stable form {_text(right)}"
                yield batch.fault(index, f"meaning: exactly, the {words}")


# --- beyond it, and inputs that are not finite


def _beyond(case: Case, dtype: str) -> Iterator[Fault]:
    form, reach = FORMATS[dtype], case.rule.reach.of(dtype)
    sizes = [form.max * part for part in _PARTS if form.max * part > reach]
    others = () if len(case.written.free) == 1 and not case.shape else (1.0, -1.0)
    for batch in case.batches([*(sign * size for size in sizes for sign in (1, -1)), *others], dtype):
        yield from _worse(batch, "beyond the reach")


def _special(case: Case, dtype: str) -> Iterator[Fault]:
    """One leaf, or one entry of it, is inf, -inf or nan, and the others are ordinary."""
    beside = [case.inside(leaf, _BESIDE, dtype) for leaf in case.written.free]
    if not all(beside):
        return
    for place, leaf in enumerate(case.written.free):
        interval = case.matcher.ranges.interval(leaf)
        for special in _SPECIAL:
            if leaf in case.written.targets or not (math.isnan(special) or interval.low <= special <= interval.high):
                continue
            rows = [[[value] * math.prod(case.shape or (1,)) for value in row] for row in zip(*beside, strict=False)]
            for row in rows:
                row[place][0] = special
            if case.shape:
                batches = [tuple(map(tuple, row)) for row in rows]
            else:
                batches = [tuple(tuple(row[index][0] for row in rows) for index in range(len(beside)))]
            for values in batches:
                yield from _worse(Batch(case, values, dtype), "not finite")


def _worse(batch: Batch, kind: str) -> Iterator[Fault]:
    """Where the stable form gives less than the code as written does.

    Where entries meet and the code gives a nan among its results, nothing is left to lose.
    """
    before, after = batch.run(batch.case.written), batch.run(batch.case.stable)
    if before is None or after is None:
        return
    pairs: list[tuple[str, Tensor | None, Tensor | None]] = [("value", before.output, after.output)]
    if bool(torch.isfinite(before.output).all()):
        pairs += [("gradient", one, other) for one, other in zip(before.gradients, after.gradients, strict=True)]
    for what, one, other in pairs:
        if one is None or other is None or one.shape != other.shape:
            continue
        if batch.case.shape and bool(torch.isnan(one).any()):
            continue
        for index, (old, new) in enumerate(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True)):
            if worse(old, new) and not (what == "value" and _undefined(batch, index)):
                words = f"the {what} of the stable form is {_text(new)}, that of the code {_text(old)}"
                yield batch.fault(index, f"{kind}: {words}")


def _undefined(batch: Batch, index: int) -> bool:
    """Whether the code has no exact value for an entry, so that nan is right."""
    meant = batch.truth(batch.case.written)
    return meant is not None and index < len(meant.values) and math.isnan(meant.values[index])


def worse(old: float, new: float) -> bool:
    """Whether a number says less than another: nan less than anything, an infinity less than a finite number."""
    if math.isnan(new):
        return not math.isnan(old)
    return math.isinf(new) and (math.isfinite(old) or (math.isinf(old) and (old > 0) != (new > 0)))


def _on(grid: Format, value: float) -> float:
    """A value on a grid, but for one of the very smallest, which each dtype has of its own."""
    return grid.round(value) if abs(value) > 1e-30 else value


def _vectors(choice: Sequence[float], count: int) -> list[tuple[float, ...]]:
    """Vectors of some values: all alike, one that stands out, alternating, and different ones."""
    found: dict[tuple[float, ...], None] = {}
    rest = min(choice, key=abs)
    for index, value in enumerate(choice):
        found[(value,) * count] = None
        found[(value,) + (rest,) * (count - 1)] = None
        other = choice[(index + 3) % len(choice)]
        found[tuple(value if place % 2 == 0 else other for place in range(count))] = None
        found[tuple(choice[(index + place) % len(choice)] for place in range(count))] = None
    return list(found)


def _text(value: float | tuple[float, ...]) -> str:
    return "[" + ", ".join(map(_text, value)) + "]" if isinstance(value, tuple) else f"{value:.9g}"
