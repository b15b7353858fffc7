"""Thresholds: the first failing input of each dtype on the way to a witness.

The way is a ray: the witness times a scale from 0 outward, or, for a witness at 0, ones scaled down to it.  It is
searched over the floats of the dtype, many of them in one run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nanguard.finding import DTYPES, Number
from nanguard.floats import FORMATS, Format
from nanguard.proof.failing import MEASURED_EXACTLY, fails, lost, some_zero, truth_at
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point, all_finite, at, at_once, magnitude
from nanguard.proof.witness import plain

_DIGITS = 2.0**-7  # relative: what the first input with a loss of digits is worth knowing to
_FAR_BELOW = 2.0**-20  # of a scale that fails: what fails there too fails at any scale
_PARTS = 2048  # into which the way is cut at once where a term acts entry by entry
_PARTS_MAPPED = 256  # and where each point is a tensor of its own
_ORDINALS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of a float


def thresholds(cut: Cut, point: Point, kind: str) -> dict[str, Number]:
    """The first failing input of each dtype on the way to the witness: the entry of largest magnitude."""
    found = {dtype: first_failing(cut, point, kind, dtype) for dtype in DTYPES}
    return {dtype: plain(value) for dtype, value in found.items() if value is not None}


def first_failing(cut: Cut, point: Point, kind: str, dtype: str) -> float | None:
    """The input of largest magnitude at the first failing point of the ray in one dtype.

    Found by bisection over the floats between a scale that does not fail and one that does.
    """
    form = FORMATS[dtype]
    size = magnitude(point.values)
    ray = _Ray(cut, point, kind, dtype, size)
    if size == 0 or (kind == "accuracy-loss" and size < 0.5):  # the failure lies towards 0
        good, bad = next((scale for scale in (1.0, 0.5, 2.0, 4.0) if not ray.fails(scale)), None), _near_zero(ray, form)
    else:
        reaches = [scale for scale in (size, 2 * size, 8 * size, 32 * size) if scale <= form.max]
        bad = next((scale for scale in map(form.round, reaches) if ray.fails(scale)), None)
        good = 0.0
        if bad is not None and kind == "accuracy-loss" and ray.fails(form.round(bad * _FAR_BELOW)):
            return None  # not the magnitude of the entries counts but how they lie to each other
    if bad is None:
        return None
    if good is None:  # it fails all along the ray
        return form.round(bad * ray.sign(bad))
    return form.round(ray.between(good, bad, form) * ray.sign(bad))


def floats(ordinals: Tensor, dtype: str) -> Tensor:
    """The floats of a format by their ordinals, as float64: what `Format.from_ordinal` gives, for a tensor of int64."""
    kind: torch.dtype = getattr(torch, dtype)
    magnitudes = ordinals.abs().to(_ORDINALS[kind.itemsize]).view(kind).double()
    return torch.where(ordinals < 0, -magnitudes, magnitudes)


def _near(a: float, b: float, relative: float) -> bool:
    return abs(a - b) <= relative * min(abs(a), abs(b))


def _near_zero(ray: _Ray, form: Format) -> float | None:
    """A failing scale at or near 0."""
    scales = (0.0, ray.size, ray.size / 8, form.tiny, form.eps / 8)
    return next((scale for scale in scales if ray.fails(scale)), None)


@dataclass(frozen=True, slots=True)
class _Ray:
    """The points on the way to a witness, as multiples of it."""

    cut: Cut
    point: Point
    kind: str
    dtype: str
    size: float

    def sign(self, scale: float) -> float:
        """The sign of the entry of largest magnitude; of two with both signs, that with which a scale fails."""
        signs = {
            math.copysign(1.0, value) for vector in self.point.values for value in vector if abs(value) == self.size
        }
        if not self.size or len(signs) == 1:
            return signs.pop() if self.size else 1.0
        negative = tuple(tuple(min(value, 0.0) for value in vector) for vector in self.point.values)
        return -1.0 if replace(self, point=replace(self.point, values=negative)).fails(scale) else 1.0

    @property
    def direction(self) -> tuple[tuple[float, ...], ...]:
        """The leaves at the scale 1; a witness at 0 has ones for its ray."""
        if not self.size:
            return tuple((1.0,) * len(vector) for vector in self.point.values)
        return tuple(tuple(value / self.size for value in vector) for vector in self.point.values)

    def fails(self, scale: float) -> bool:
        """Whether the term fails at a scale."""
        values = tuple(tuple(value * scale for value in vector) for vector in self.direction)
        point = at(self.cut, values, self.point.shape, self.dtype)
        if point is None:
            return False
        if self.kind == "dead-gradient":
            return point.finite and point.smooth and some_zero(point)
        if self.kind not in MEASURED_EXACTLY:
            return fails(self.kind, point, None, self.dtype)
        truth = truth_at(self.cut, point, self.dtype)
        return truth is not None and point.smooth and fails(self.kind, point, truth, self.dtype, self.cut.scale)

    def between(self, good: float, bad: float, form: Format) -> float:
        """The failing scale nearest to `good`, over the floats between: many at once where that can be done.

        What was found by many at once is a guess, which a run of its own or the exact value may contradict.
        """
        parts = _PARTS if self.cut.elementwise else _PARTS_MAPPED
        found = self.narrowed(good, bad, form, parts, self.first_at_once)
        if found is None or not self.fails(found):
            found = self.narrowed(good, bad, form, 2, self.first_of)
        return bad if found is None else found

    def narrowed(
        self, good: float, bad: float, form: Format, most: int, first: Callable[[Tensor], int | None]
    ) -> float | None:
        """The failing scale nearest to `good`, by cutting what lies between into at most so many parts.

        `first` gives the index of the first of some scales that fails; where it cannot, there is no result.
        """
        low, high = form.ordinal(form.round(good)), form.ordinal(form.round(bad))
        digits = 0.0 if self.kind not in MEASURED_EXACTLY else _DIGITS
        while abs(high - low) > 1 and not _near(form.from_ordinal(low), form.from_ordinal(high), digits):
            parts = min(abs(high - low), most)
            step = int((high - low) / parts)  # towards 0: the last part is the longest
            failing = first(floats(low + step * torch.arange(1, parts), self.dtype))
            if failing is None:
                return None
            low, high = low + step * failing, high if failing == parts - 1 else low + step * (failing + 1)
        return form.from_ordinal(high)

    def first_of(self, scales: Tensor) -> int:
        """The index of the first of some scales that fails, by a run for each; their number if none does."""
        return next((index for index, scale in enumerate(scales.tolist()) if self.fails(scale)), len(scales))

    def first_at_once(self, scales: Tensor) -> int | None:
        """The index of the first of some scales that fails, by one run; their number if none does.

        None where that cannot be done.  What is exact is taken from float64 here.
        """
        found = self._failing(scales)
        if found is None:
            return None
        places = found.nonzero().flatten()
        return int(places[0]) if len(places) else len(scales)

    def _failing(self, scales: Tensor) -> Tensor | None:
        """Which of some scales fail."""
        columns = [torch.tensor(vector, dtype=torch.float64) * scales[:, None] for vector in self.direction]
        cast = [column.to(getattr(torch, self.dtype)) for column in columns]
        shape = () if self.cut.elementwise else self.point.shape
        whole = at_once(self.cut, cast, shape, self.dtype, slopes=self.kind != "forward-nonfinite")
        if whole is None:
            return None
        output, gradients = whole
        slopes = [slope for slope in gradients if slope is not None]
        finite = all_finite(output)
        smooth = torch.stack([torch.ones_like(finite), *map(all_finite, slopes)]).all(0)
        match self.kind:
            case "forward-nonfinite":
                return ~finite
            case "gradient-nonfinite":
                return finite & ~smooth
            case "dead-gradient":
                gone = [(slope == 0).reshape(len(slope), -1).any(1) for slope in slopes]
                return finite & smooth & torch.stack([torch.zeros_like(finite), *gone]).any(0)
        wrong = self._wrong(cast, output, shape)
        return None if wrong is None else finite & smooth & wrong

    def _wrong(self, columns: list[Tensor], output: Tensor, shape: tuple[int, ...]) -> Tensor | None:
        """Which points differ from what float64 gives for the reference by more than they may."""
        if self.dtype == "float64":
            return None
        reference = replace(self.cut, root=self.cut.reference)
        better = at_once(reference, [column.double() for column in columns], shape, "float64", slopes=False)
        if better is None or better[0].shape != output.shape:
            return None
        exacter = better[0]
        limit = lost(self.kind, self.dtype) * exacter.abs().clamp(min=self.cut.scale)
        large = torch.isfinite(exacter) & (exacter.abs() > FORMATS[self.dtype].tiny)
        return (large & ((output.double() - exacter).abs() > limit)).reshape(len(output), -1).any(1)
