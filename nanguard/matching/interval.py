"""Interval: which floats of a dtype a term can really take, and arithmetic on intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nanguard.floats import FORMATS, Format


@dataclass(frozen=True, slots=True)
class Interval:
    """A set of floats of one dtype.

    `low` and `high` are the least and the largest value; an end is reached unless it is `open`.  An infinite end
    means that the finite values have no known bound; whether an infinity itself occurs, from a finite input, says
    `may_inf`.  `integer` and `nonzero` are facts about every value.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    may_inf: bool = False
    may_nan: bool = False
    integer: bool = False
    nonzero: bool = False
    dtype: str = "float32"

    @property
    def format(self) -> Format:
        """The floating-point format of the values."""
        return FORMATS[self.dtype]

    @property
    def bounded(self) -> bool:
        """Whether both ends are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def unknown(self) -> bool:
        """Whether nothing is known: unbounded both ways."""
        return self.low == -math.inf and self.high == math.inf

    def holds(self, value: float) -> bool:
        """Whether the set has `value`."""
        if (value == 0 and self.nonzero) or (self.integer and math.isfinite(value) and value % 1 != 0):
            return False
        above = value > self.low or (value == self.low and not self.low_open)
        below = value < self.high or (value == self.high and not self.high_open)
        return above and below

    def ends_at(self, value: float) -> bool:
        """Whether `value` is a reached end of the set (a norm ends at 0, an unbounded difference passes through)."""
        return self.holds(value) and value in (self.low, self.high)

    @property
    def nonnegative(self) -> bool:
        """Whether no value is below 0."""
        return self.low >= 0

    @property
    def positive(self) -> bool:
        """Whether every value is above 0."""
        return self.low > 0 or (self.low == 0 and (self.low_open or self.nonzero))

    def clip(self, value: float) -> float:
        """The nearest value of the dtype that the set has."""
        value = self.format.round(min(max(value, self.low), self.high))
        value = round(value) if self.integer and math.isfinite(value) else value
        if value == self.low and self.low_open:
            value = self.format.above(self.low)
        if value == self.high and self.high_open:
            value = self.format.below(self.high)
        if value == 0 and self.nonzero:
            value = 1.0 if self.integer else self.format.above(0.0)
            value = value if self.holds(value) else -value
        return value

    def within(self, low: float, high: float, low_open: bool = False, high_open: bool = False) -> Interval:
        """The part of the set between two bounds (the infinities outside them are gone, a nan is not)."""
        result = self
        if low > result.low or (low == result.low and low_open):
            result = replace(result, low=low, low_open=low_open)
        if high < result.high or (high == result.high and high_open):
            result = replace(result, high=high, high_open=high_open)
        return replace(result, may_inf=result.may_inf and not result.bounded)

    def outward(self) -> Interval:
        """The ends as the dtype reaches them: rounded outward, subnormals flushed to 0, overflow noted."""
        low, high, may_inf = self.low, self.high, self.may_inf
        low_open, high_open = self.low_open, self.high_open
        largest, tiny = self.format.max, self.format.tiny
        if math.isfinite(low) and abs(low) > largest:
            low, low_open, may_inf = (-math.inf, False, True) if low < 0 else (largest, False, True)
        if math.isfinite(high) and abs(high) > largest:
            high, high_open, may_inf = (math.inf, False, True) if high > 0 else (-largest, False, True)
        if 0 < low < tiny:
            low, low_open = 0.0, False
        if -tiny < high < 0:
            high, high_open = 0.0, False
        return replace(self, low=low, high=high, low_open=low_open, high_open=high_open, may_inf=may_inf)


def point(value: float, dtype: str) -> Interval:
    """The set of one value, as the dtype stores it."""
    rounded = FORMATS[dtype].round(value)
    return Interval(
        rounded, rounded, integer=rounded == math.floor(rounded) if math.isfinite(rounded) else False,
        nonzero=rounded != 0, may_inf=math.isinf(rounded), may_nan=math.isnan(rounded), dtype=dtype,
    )  # fmt: skip


def hull(parts: Iterable[Interval | None]) -> Interval:
    """The least interval that has every part (a part that is no number counts for nothing)."""
    first, *rest = [part for part in parts if part is not None] or [Interval()]
    result = first
    for part in rest:
        low = min((result.low, result.low_open), (part.low, part.low_open))
        high = max((result.high, not result.high_open), (part.high, not part.high_open))
        result = Interval(
            low[0], high[0], low[1], not high[1],
            result.may_inf or part.may_inf, result.may_nan or part.may_nan,
            result.integer and part.integer, result.nonzero and part.nonzero, result.dtype,
        )  # fmt: skip
    return result


def _safe(function: Callable[[float], float], value: float) -> float:
    """`function(value)` in double precision with overflow as infinity, of the sign of the argument as in sinh."""
    try:
        return function(value)
    except OverflowError:
        return math.copysign(math.inf, value)
    except ValueError:
        return math.nan


def rising(x: Interval, function: Callable[[float], float], low: float, high: float) -> Interval:
    """The image of `x` under a rising function whose limits are `low` and `high`, ends as the dtype reaches them.

    A limit at which `x` is unbounded is reached in floats when it is finite (sigmoid is exactly 1 from 16.64 on in
    float32); an infinite one is reached by overflow only if the function outgrows the dtype, which `outward` notes.
    """
    bottom = low if x.low == -math.inf else _safe(function, x.low)
    top = high if x.high == math.inf else _safe(function, x.high)
    low_open = x.low_open and x.low != -math.inf and _told(x.format, function, x.low, x.format.above(x.low))
    high_open = x.high_open and x.high != math.inf and _told(x.format, function, x.high, x.format.below(x.high))
    result = Interval(
        bottom, top, low_open, high_open,
        (x.may_inf and math.isinf(high)) or _overflows(bottom, x.low) or _overflows(top, x.high),
        x.may_nan, dtype=x.dtype,
    )  # fmt: skip
    result = _absorb(result)
    return result.outward()


def _overflows(value: float, end: float) -> bool:
    """Whether a function is infinite at an end that is finite and so reached."""
    return math.isinf(value) and math.isfinite(end)


def _told(form: Format, function: Callable[[float], float], end: float, beside: float) -> bool:
    """Whether a function gives another float beside an open end than at it; where it gives 0 at the end, it is not
    assumed to underflow.
    """
    at = form.round(_safe(function, end))
    return at == 0 or form.round(_safe(function, beside)) != at


def _absorb(x: Interval) -> Interval:
    """Open the ends no further than the dtype tells: an end that rounds onto its neighbour is reached."""
    low, high = x.format.round(x.low), x.format.round(x.high)
    return replace(
        x,
        low=low if math.isfinite(low) else x.low,
        high=high if math.isfinite(high) else x.high,
        low_open=x.low_open and low == x.low,
        high_open=x.high_open and high == x.high,
    )


def falling(x: Interval, function: Callable[[float], float], low: float, high: float) -> Interval:
    """The image of `x` under a falling function whose limits, at minus and plus infinity, are `high` and `low`."""
    return rising(negate(x), lambda value: function(-value), low, high)


def negate(x: Interval) -> Interval:
    """-x"""
    return replace(x, low=-x.high, high=-x.low, low_open=x.high_open, high_open=x.low_open)


def _sum(a: float, b: float) -> float:
    total = a + b
    return 0.0 if math.isnan(total) else total


def add(a: Interval, b: Interval) -> Interval:
    """a + b; an open end that the dtype cannot tell from the closed one is closed (1 + tiny is 1)."""
    low, high = a.low + b.low, a.high + b.high
    low = -math.inf if math.isnan(low) else low
    high = math.inf if math.isnan(high) else high
    mixed = a.may_inf and b.may_inf and (a.low < 0 < b.high or b.low < 0 < a.high)
    result = Interval(
        low, high, a.low_open or b.low_open, a.high_open or b.high_open,
        a.may_inf or b.may_inf, a.may_nan or b.may_nan or mixed, a.integer and b.integer, dtype=a.dtype,
    )  # fmt: skip
    open_low = _stays_open(a, b) if result.low_open else False
    open_high = _stays_open(negate(a), negate(b)) if result.high_open else False
    return _absorb(replace(result, low_open=open_low, high_open=open_high)).outward()


def _stays_open(a: Interval, b: Interval) -> bool:
    """Whether the low end of a + b is really never reached: the smallest step above an open end must not vanish."""
    low_a = a.format.above(a.low) if a.low_open else a.low
    low_b = b.format.above(b.low) if b.low_open else b.low
    return a.format.round(low_a + low_b) > a.low + b.low


def _product(x: float, y: float) -> float:
    return 0.0 if x == 0 or y == 0 else x * y


def mul(a: Interval, b: Interval) -> Interval:
    """a * b for operands that are not related."""
    corners = [
        (_product(x, y), not ((x_open and y != 0) or (y_open and x != 0) or (x_open and y_open)))
        for x, x_open in ((a.low, a.low_open), (a.high, a.high_open))
        for y, y_open in ((b.low, b.low_open), (b.high, b.high_open))
    ]
    low = min(value for value, _ in corners)
    high = max(value for value, _ in corners)
    nan = a.may_nan or b.may_nan or (a.may_inf and b.holds(0)) or (b.may_inf and a.holds(0))
    return _absorb(
        Interval(
            low, high,
            not any(closed for value, closed in corners if value == low),
            not any(closed for value, closed in corners if value == high),
            a.may_inf or b.may_inf, nan, a.integer and b.integer, dtype=a.dtype,
        )
    ).outward()  # fmt: skip


def reciprocal(x: Interval) -> Interval:
    """1 / x; nothing is known once 0 is inside, everything above a bound once it is an end."""
    touches = x.holds(0)
    if x.low < 0 < x.high:
        return Interval(may_inf=touches or not x.nonzero, may_nan=x.may_nan, nonzero=not x.may_inf, dtype=x.dtype)
    if x.high <= 0 and x.low < 0:
        return negate(reciprocal(negate(x)))
    low = 0.0 if x.high == math.inf or x.may_inf else math.inf if x.high == 0 else 1 / x.high
    high = math.inf if x.low == 0 else 1 / x.low
    low_open = (x.high_open and x.high != math.inf) or (x.high == math.inf and not x.may_inf)
    return _absorb(
        Interval(low, high, low_open, x.low_open and x.low != 0, touches, x.may_nan, dtype=x.dtype)
    ).outward()


def div(a: Interval, b: Interval) -> Interval:
    """a / b for operands that are not related."""
    result = mul(a, reciprocal(b))
    zero_over_zero = a.holds(0) and b.holds(0)
    return replace(result, may_nan=result.may_nan or zero_over_zero or (a.may_inf and b.may_inf), integer=False)


def magnitude(x: Interval) -> Interval:
    """|x|"""
    if x.low >= 0:
        return x
    if x.high <= 0:
        return negate(x)
    top = max((-x.low, not x.low_open), (x.high, not x.high_open))
    return replace(x, low=0.0, high=top[0], low_open=x.nonzero, high_open=not top[1])


def power(x: Interval, exponent: float) -> Interval:
    """x ** exponent for a constant exponent."""
    if not math.isfinite(exponent):
        return Interval(may_inf=True, may_nan=True, dtype=x.dtype)
    if exponent == 0:
        return point(1.0, x.dtype)
    if exponent < 0:
        return reciprocal(power(x, -exponent))
    if float(exponent).is_integer():
        base = magnitude(x) if exponent % 2 == 0 else x
        result = rising(base, lambda value: value**exponent, -math.inf, math.inf)
        return replace(result, integer=x.integer, may_inf=result.may_inf or not _fits(base, exponent))
    if x.high < 0:
        return Interval(may_inf=x.may_inf, may_nan=True, dtype=x.dtype)  # nothing but nan, and what -inf gives
    base = replace(x.within(0.0, math.inf), may_inf=x.may_inf)  # of -inf, too, it is no nan
    result = rising(base, lambda value: value**exponent, 0.0, math.inf)
    return replace(result, may_nan=x.may_nan or x.low < 0)


def _fits(x: Interval, exponent: float) -> bool:
    """Whether a power stays finite; an unbounded operand is not assumed to be as large as it takes to overflow."""
    return not x.bounded or max(abs(x.low), abs(x.high)) <= x.format.max ** (1 / exponent)


def maximum(a: Interval, b: Interval) -> Interval:
    """The larger of two values."""
    low = max((a.low, a.low_open), (b.low, b.low_open))
    high = max((a.high, not a.high_open), (b.high, not b.high_open))
    return Interval(
        low[0], high[0], low[1], not high[1], a.may_inf or b.may_inf, a.may_nan or b.may_nan,
        a.integer and b.integer, dtype=a.dtype,
    )  # fmt: skip


def minimum(a: Interval, b: Interval) -> Interval:
    """The smaller of two values."""
    return negate(maximum(negate(a), negate(b)))
