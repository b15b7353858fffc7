"""Lanes: bounds in float64 of the exact values of a term at many inputs at once.

torch's sums, differences, products and quotients in float64 are correctly rounded, so each bound is moved outward by
one float.  Its functions there are those of SLEEF and of the system's mathematical library, which are documented to be
right to 1.5 units in the last place; each bound is moved outward by sixteen.  What lies between two bounds that are
close enough for a purpose needs no ball arithmetic; all else does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanguard.proof.arrays import Array, Balls
from nanguard.proof.balls import Number, ball
from nanguard.proof.dual import Dual
from nanguard.proof.evaluate import NotEvaluable
from nanguard.term import Term

_INF = math.inf
_SLACK = 2.0**-49  # of a result of one of torch's functions: sixteen units in the last place
_LEAST = 1e-300  # below it a function may have flushed its result to 0
_LARGEST_POWER = 8  # whole powers that are products


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of the entries of a term: tensors of the lanes and then its shape, nan where undefined."""

    low: Tensor
    high: Tensor


def bounds(term: Term, leaves: Mapping[Term, Tensor], others: Mapping[Term, Tensor]) -> Bounds:
    """Bounds of the entries of `term` in many lanes: the first dimension of `leaves`; `others` are alike in all lanes.

    Raises `NotEvaluable` for what is not known how to bound; what a lane does not tell is all numbers.
    """
    given: dict[Term, Array | None] = {}
    for leaf, tensor in leaves.items():
        numbers = tensor.detach().to(torch.float64)
        columns = numbers.flatten(1).unbind(1) if numbers.dim() > 1 else (numbers,)
        given[leaf] = Array(tuple(tensor.shape[1:]), tuple(Lanes(column, column) for column in columns))
    for leaf, tensor in others.items():
        given[leaf] = Array(tuple(tensor.shape), tuple(map(_constant, tensor.flatten().tolist())))
    array = _LaneArrays().evaluate(term, given)
    if array is None:
        raise NotEvaluable("None has no exact value")
    count = len(next(iter(leaves.values())))
    parts = [[bound.expand(count) for bound in (_lanes(entry).low, _lanes(entry).high)] for entry in array.entries]
    low, high = (torch.stack([part[index] for part in parts], 1).reshape(count, *array.shape) for index in (0, 1))
    return Bounds(low, high)


class _LaneArrays(Balls):
    """Gives an operation its bounds; how entries move is what it is for balls."""

    def number(self, value: Number) -> Dual:
        return _constant(value)


class Lanes(Dual):
    """A number of each lane between two bounds, with the operations that the table asks of a dual number.

    Nothing can be differentiated by it.  Bounds are never infinite inward, and both nan where the number is undefined
    for certain; `exponent` is the logarithm of the number where it was made from that, and bounded where it overflows.
    It is the sum of its `parts`, where it has any, which may be known more closely; the hyperbolic tangent of its
    `angle`, or 1 less its `complement`, where it was made so.
    """

    __slots__ = ("angle", "complement", "exponent", "high", "low", "parts")

    def __init__(
        self, low: Tensor, high: Tensor, exponent: Lanes | None = None, parts: tuple[Lanes, Lanes] | None = None,
        angle: Lanes | None = None, complement: Lanes | None = None,
    ) -> None:  # fmt: skip
        super().__init__(_NOTHING)
        self.low, self.high, self.exponent, self.parts = low, high, exponent, parts
        self.angle, self.complement = angle, complement

    def __repr__(self) -> str:
        return f"Lanes({self.low}, {self.high})"

    @property
    def undefined(self) -> Tensor:
        """Which lanes have no value."""
        return self.low.isnan()

    @property
    def known(self) -> Tensor:
        """Which lanes have a bound, or no value for certain; of the others it is not known whether they have one."""
        return (self.low > -_INF) | (self.high < _INF) | self.undefined

    def nearest(self) -> float:
        if self.low.dim() or not bool(self.low == self.high):
            raise NotEvaluable("lanes differ in what decides how entries move")
        return float(self.low)

    def detached(self) -> Lanes:
        return self

    def snapped(self) -> Lanes:
        return self

    # --- arithmetic

    def __add__(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        return _outward(self.low + y.low, self.high + y.high)

    def __sub__(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        if y is self:
            return self._with(torch.zeros_like(self.low), torch.zeros_like(self.low))
        if y.complement is not None and not self.low.dim() and bool((self.low == 1) & (self.high == 1)):
            return y.complement
        if y.parts is not None:
            return (self - y.parts[0]) - y.parts[1]
        return _outward(self.low - y.high, self.high - y.low)

    def __mul__(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        if y is self:
            size = self.abs()
            found = _outward(size.low * size.low, size.high * size.high, 0.0).where(self.known)
            rest = _slope_of_tanh(self.angle) if self.angle is not None else None
            return Lanes(found.low, found.high, complement=rest)
        if self.exponent is not None and y.exponent is not None:
            return (self.exponent + y.exponent).exp()
        return _hull((self.low * y.low, self.low * y.high, self.high * y.low, self.high * y.high), self, y)

    def __truediv__(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        if y is self:
            one = torch.ones_like(self.low)
            return self._with(one, one).where((self.low > 0) | (self.high < 0))
        if self.exponent is not None and y.exponent is not None:
            return (self.exponent - y.exponent).exp()
        found = _hull((self.low / y.low, self.low / y.high, self.high / y.low, self.high / y.high), self, y)
        return found.where((y.low > 0) | (y.high < 0) | found.undefined)

    def __pow__(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        power = None if y.low.dim() or not bool(y.low == y.high) else float(y.low)
        if power is not None and power.is_integer() and 0 < abs(power) <= _LARGEST_POWER:
            return self._whole(int(power))
        if power == 0.5:
            return self.sqrt()
        found = (y * self.log()).exp()
        undefined = self.undefined | ((self.high < 0) & (power is not None and not power.is_integer()))
        found = found.where(self.low > 0)
        return Lanes(_nan_where(found.low, undefined), _nan_where(found.high, undefined))

    def _whole(self, power: int) -> Lanes:
        """A whole power; that of a pair of powers is a square, which is never below 0."""
        if power < 0:
            return 1 / self._whole(-power)
        if power == 1:
            return self
        half = self._whole(power // 2)
        return half * half * self if power % 2 else half * half

    def __radd__(self, other: Number) -> Lanes:
        return _constant(other) + self

    def __rsub__(self, other: Number) -> Lanes:
        return _constant(other) - self

    def __rmul__(self, other: Number) -> Lanes:
        return _constant(other) * self

    def __rtruediv__(self, other: Number) -> Lanes:
        return _constant(other) / self

    def __rpow__(self, other: Number) -> Lanes:
        return _constant(other) ** self

    def __neg__(self) -> Lanes:
        return Lanes(-self.high, -self.low)

    # --- functions of one number

    def exp(self) -> Lanes:
        found = self._risen(self.low.exp(), self.high.exp(), 0.0)
        return Lanes(found.low, found.high, exponent=self)

    def exp2(self) -> Lanes:
        return self._risen(self.low.exp2(), self.high.exp2(), 0.0)

    def expm1(self) -> Lanes:
        return self._risen(self.low.expm1(), self.high.expm1(), -1.0)

    def log(self) -> Lanes:
        return self.exponent if self.exponent is not None else self._above(0.0, torch.log)

    def log1p(self) -> Lanes:
        if self.exponent is None:
            return self._above(-1.0, torch.log1p)
        x = self.exponent  # log(1 + exp(x)) is max(x, 0) + log(1 + exp(-|x|)), and exp(-|x|) does not overflow
        rest = (-x.abs()).exp()
        return x.relu() + Lanes(rest.low, rest.high).log1p()

    def sqrt(self) -> Lanes:
        return self._above(0.0, torch.sqrt, closed=True)

    def tanh(self) -> Lanes:
        found = self._risen(self.low.tanh(), self.high.tanh(), -1.0, 1.0)
        return Lanes(found.low, found.high, angle=self)

    def erf(self) -> Lanes:
        return self._risen(self.low.erf(), self.high.erf(), -1.0, 1.0)

    def erfc(self) -> Lanes:
        return self._risen(self.high.erfc(), self.low.erfc(), 0.0, 2.0)

    def atan(self) -> Lanes:
        return self._risen(self.low.atan(), self.high.atan())

    def asin(self) -> Lanes:
        return self._within_one(self.low.asin(), self.high.asin())

    def acos(self) -> Lanes:
        return self._within_one(self.high.acos(), self.low.acos())

    def sin(self) -> Lanes:
        return self._wave(torch.sin)

    def cos(self) -> Lanes:
        return self._wave(torch.cos)

    def floor(self) -> Lanes:
        return Lanes(self.low.floor(), self.high.floor())

    def round(self) -> Lanes:
        return Lanes(self.low.round(), self.high.round())

    def erfinv(self) -> Lanes:
        raise NotEvaluable("no bounds of erfinv are known")

    def i0(self) -> Lanes:
        raise NotEvaluable("no bounds of i0 are known")

    def lgamma(self) -> Lanes:
        raise NotEvaluable("no bounds of lgamma are known")

    def digamma(self) -> Lanes:
        raise NotEvaluable("no bounds of digamma are known")

    def atan2(self, other: Dual | Number) -> Lanes:
        raise NotEvaluable("no bounds of atan2 are known")

    def _risen(self, low: Tensor, high: Tensor, least: float = -_INF, most: float = _INF) -> Lanes:
        """What a function gives that has a value for all numbers."""
        return Lanes(*_widened(low, high, least, most)).where(self.known)

    def _above(self, end: float, function: Callable[[Tensor], Tensor], closed: bool = False) -> Lanes:
        """A rising function of numbers above `end`, or from it on, where it is 0; below it is undefined."""
        inside = (self.low >= end) if closed else (self.low > end)
        low, high = _widened(function(self.low.clamp_min(end)), function(self.high.clamp_min(end)))
        outside = self.undefined | (self.high < end)
        found = Lanes(low.clamp_min(0.0) if closed else low, high).where(inside)
        return Lanes(_nan_where(found.low, outside), _nan_where(found.high, outside))

    def _within_one(self, low: Tensor, high: Tensor) -> Lanes:
        """A function of numbers from -1 to 1."""
        outside = self.undefined | (self.low > 1) | (self.high < -1)
        found = Lanes(*_widened(low, high)).where((self.low >= -1) & (self.high <= 1))
        return Lanes(_nan_where(found.low, outside), _nan_where(found.high, outside))

    def _wave(self, function: Callable[[Tensor], Tensor]) -> Lanes:
        """A function whose slope is never above 1."""
        half = (self.high - self.low) / 2
        middle = function(self.low + half)
        low, high = _widened(middle - half * 1.01, middle + half * 1.01, -1.0, 1.0)
        return Lanes(low, high).where((half < 1) | self.undefined)

    # --- order

    def sign(self) -> Lanes:
        return Lanes(_sign(self.low), _sign(self.high)).where(self.known)

    def abs(self) -> Lanes:
        least = torch.maximum(self.low, -self.high).clamp_min(0.0)
        return Lanes(least, torch.maximum(-self.low, self.high)).where(self.known)

    def relu(self) -> Lanes:
        return Lanes(self.low.clamp_min(0.0), self.high.clamp_min(0.0)).where(self.known)

    def maximum(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        return Lanes(torch.maximum(self.low, y.low), torch.maximum(self.high, y.high)).where(self.known & y.known)

    def minimum(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        return Lanes(torch.minimum(self.low, y.low), torch.minimum(self.high, y.high)).where(self.known & y.known)

    def compare(self, sign: str, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        if sign in ("lt", "le"):
            return y.compare("gt" if sign == "lt" else "ge", self)
        if sign == "ne":
            return 1 - self.compare("eq", y)
        if sign == "gt":
            yes, no = self.low > y.high, self.high <= y.low
        elif sign == "ge":
            yes, no = self.low >= y.high, self.high < y.low
        else:
            yes = (self.low == self.high) & (y.low == y.high) & (self.low == y.low)
            no = (self.low > y.high) | (self.high < y.low)
        no = no | self.undefined | y.undefined
        return Lanes(yes.double(), (~no).double())

    def is_a(self, kind: str) -> Lanes:
        known = self.undefined | (self.low.isfinite() & self.high.isfinite())
        yes = self.undefined if kind == "nan" else ~self.undefined if kind == "finite" else torch.zeros_like(known)
        return Lanes((known & yes).double(), (~known | yes).double())

    def choose(self, x: Dual | Number, y: Dual | Number) -> Lanes:
        a, b = _lanes(x), _lanes(y)
        yes, no = (self.low > 0) | (self.high < 0) | self.undefined, (self.low == 0) & (self.high == 0)
        either = Lanes(torch.minimum(a.low, b.low), torch.maximum(a.high, b.high))
        either = either.where(~either.undefined)
        low, high = (
            torch.where(yes, one, torch.where(no, other, both))
            for one, other, both in ((a.low, b.low, either.low), (a.high, b.high, either.high))
        )
        return Lanes(low, high)

    def clamp(self, low: Dual | Number | None, high: Dual | Number | None) -> Lanes:
        result = self if low is None else self.maximum(low)
        return result if high is None else result.minimum(high)

    def xlogy(self, other: Dual | Number) -> Lanes:
        y = _lanes(other)
        return self.compare("eq", 0).choose(y.choose(0.0, 0.0), self * y.log())

    def fold(self, name: str, entries: Sequence[Dual], **attrs: object) -> Lanes:
        listed = [_lanes(entry) for entry in entries]
        match name:
            case "sum":
                return _total(listed)
            case "mean":
                return _total(listed) / len(listed)
            case "prod":
                return _product(listed)
            case "amax" | "amin":
                return _extreme(listed, name)
            case "var" | "std":
                return _variance(listed, attrs.get("correction", 1), name == "std")
            case "norm":
                return _norm(listed, attrs.get("ord", 2))
        raise NotEvaluable(f"no bounds of {name} are known")

    # --- constants

    def ln2(self) -> Lanes:
        return _irrational(math.log(2))

    def ln10(self) -> Lanes:
        return _irrational(math.log(10))

    def sqrt2(self) -> Lanes:
        return _irrational(math.sqrt(2))

    def pi(self) -> Lanes:
        return _irrational(math.pi)

    def where(self, known: Tensor) -> Lanes:
        """The same, with all numbers in the lanes that are not `known`."""
        return Lanes(self.low.where(known, -_INF), self.high.where(known, _INF))

    def _with(self, low: Tensor, high: Tensor) -> Lanes:
        """Other bounds where this one is finite."""
        return Lanes(low, high).where(self.low.isfinite() & self.high.isfinite())


_NOTHING = ball(0)  # a number of lanes has no one ball


def _constant(value: Number) -> Lanes:
    number = torch.tensor(float(value), dtype=torch.float64)
    if isinstance(value, int) and int(float(value)) != value:
        return _irrational(float(value))
    return Lanes(number, number).where(number.isfinite())


def _irrational(near: float) -> Lanes:
    """A number that is one float away from this one at most."""
    number = torch.tensor(near, dtype=torch.float64)
    return _outward(number, number)


def _lanes(value: Dual | Number) -> Lanes:
    if isinstance(value, Lanes):
        return value
    if isinstance(value, Dual):
        raise NotEvaluable("a number without bounds")
    return _constant(value)


def _slope_of_tanh(x: Lanes) -> Lanes:
    """1 - tanh(x)**2, as (2 / (exp(x) + exp(-x)))**2."""
    return ((_constant(2).log() - _log_of_sum((x, -x))) * 2).exp()


def _nan_where(bound: Tensor, undefined: Tensor) -> Tensor:
    return bound.where(~undefined, math.nan)


def _sign(bound: Tensor) -> Tensor:
    return bound.sign().where(~bound.isnan(), math.nan)


def _outward(low: Tensor, high: Tensor, least: float = -_INF) -> Lanes:
    """Bounds that were rounded once."""
    down, up = low.new_tensor(-_INF), low.new_tensor(_INF)
    return Lanes(low.nextafter(down).clamp_min(least), high.nextafter(up))


def _widened(low: Tensor, high: Tensor, least: float = -_INF, most: float = _INF) -> tuple[Tensor, Tensor]:
    """Bounds that one of torch's functions gave, held to what the function can give; infinite ones only outward."""
    down, up = low.clamp_max(_MAX), high.clamp_min(-_MAX)
    return (
        (down - (down.abs() * _SLACK + _LEAST)).clamp(least, most),
        (up + (up.abs() * _SLACK + _LEAST)).clamp(least, most),
    )


_MAX = torch.finfo(torch.float64).max


def _hull(results: Sequence[Tensor], x: Lanes, y: Lanes) -> Lanes:
    """Bounds of a product or quotient from those of the ends; an end at 0 beside one that is infinite counts as 0."""
    low = high = results[0].nan_to_num(nan=0.0, posinf=_INF, neginf=-_INF)
    for result in results[1:]:
        known = result.nan_to_num(nan=0.0, posinf=_INF, neginf=-_INF)
        low, high = torch.minimum(low, known), torch.maximum(high, known)
    found, undefined = _outward(low, high).where(x.known & y.known), x.undefined | y.undefined
    return Lanes(_nan_where(found.low, undefined), _nan_where(found.high, undefined))


# --- reductions


def _total(entries: Sequence[Lanes]) -> Lanes:
    result = entries[0]
    for entry in entries[1:]:
        result = result + entry
    exponents = [entry.exponent for entry in entries if entry.exponent is not None]
    if len(exponents) < len(entries) or len(entries) == 1:
        return result
    return Lanes(result.low, result.high, _log_of_sum(exponents))


def _log_of_sum(exponents: Sequence[Lanes]) -> Lanes:
    """log(sum(exp(x))), as c + log(sum(exp(x - c))), which holds for any c; an entry that is c is the 1 of log1p."""
    highest = _extreme(exponents, "amax").high.clamp(-_MAX, _MAX)
    shift = Lanes(highest, highest)
    taken = torch.zeros_like(highest, dtype=torch.bool)
    others: list[Lanes] = []
    for exponent in exponents:
        top = (exponent.low == highest) & (exponent.high == highest) & ~taken
        power = (exponent - shift).exp()
        others.append(Lanes(power.low.where(~top, 0.0), power.high.where(~top, 0.0)))
        taken = taken | top
    total = _total(others)
    one, none = total.log1p(), total.log()
    rest = Lanes(one.low.where(taken, none.low), one.high.where(taken, none.high))
    found = shift + rest
    return Lanes(found.low, found.high, parts=(shift, rest))


def _product(entries: Sequence[Lanes]) -> Lanes:
    result = entries[0]
    for entry in entries[1:]:
        result = result * entry
    return result


def _extreme(entries: Sequence[Lanes], name: str) -> Lanes:
    result = entries[0]
    for entry in entries[1:]:
        result = result.maximum(entry) if name == "amax" else result.minimum(entry)
    return result


def _variance(entries: Sequence[Lanes], correction: object, root: bool) -> Lanes:
    mean = _total(entries) / len(entries)
    less = correction if isinstance(correction, int | float) else 1
    count = max(len(entries) - less, 0)
    if count == 0:
        raise NotEvaluable("a variance of too few entries")
    found = _total([(entry - mean) * (entry - mean) for entry in entries]) / count
    return found.sqrt() if root else found


def _norm(entries: Sequence[Lanes], ord: object) -> Lanes:
    sizes = [entry.abs() for entry in entries]
    order = float(ord) if isinstance(ord, int | float) else 2.0
    if order == 1:
        return _total(sizes)
    if order == 2:
        return _total([size * size for size in sizes]).sqrt()
    if order == _INF:
        return _extreme(sizes, "amax")
    raise NotEvaluable(f"no bounds of the norm of order {ord} are known")
