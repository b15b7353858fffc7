"""Which floats an operand can take in the dtype under check."""

from __future__ import annotations

import math

from nanguard.matching.predicates.asked import Ranges, core
from nanguard.term import Term, number


def ends_at(ranges: Ranges, x: Term, value: float) -> bool:
    """`value` is an end of the range of `x`, and reached."""
    return ranges.interval(x).ends_at(value)


def reaches(ranges: Ranges, x: Term, value: float) -> bool:
    """`x` can be `value`."""
    return ranges.interval(x).holds(value)


def nonnegative(ranges: Ranges, x: Term) -> bool:
    """`x` is never below 0."""
    return ranges.interval(x).nonnegative


def positive(ranges: Ranges, x: Term) -> bool:
    """`x` is always above 0."""
    return ranges.interval(x).positive


def probability(ranges: Ranges, x: Term) -> bool:
    """`x` lies in [0, 1]."""
    interval = ranges.interval(x)
    return interval.low >= 0 and interval.high <= 1


def just_below(ranges: Ranges, x: Term) -> bool:
    """The range of `x` ends a little below 0, as that of ``p - eps`` does."""
    return -1e-2 <= ranges.interval(x).low < 0


def partly_negative(ranges: Ranges, x: Term) -> bool:
    """Something is known of the range of `x`, and it has negative values."""
    interval = ranges.interval(x)
    return interval.low < 0 and not interval.unknown


def overflows(ranges: Ranges, x: Term) -> bool:
    """`x` has a bound above at which exp(x) has overflown."""
    interval = ranges.interval(x)
    return math.isfinite(interval.high) and interval.high > math.log(interval.format.max)


def beyond(ranges: Ranges, x: Term, low: float, high: float) -> bool:
    """The range of `x` is bounded and goes beyond [low, high], by rounding say."""
    interval = ranges.interval(x)
    return interval.bounded and (interval.low < low or interval.high > high)


def spares(ranges: Ranges, x: Term, b: Term) -> bool:
    """The upper bound `b` leaves ordinary values of `x` alone: it is within a hundredth of their range of its end.

    Where there is no such end, it is 1 at least.
    """
    value, interval = number(b), ranges.interval(x)
    if value is None:
        return False
    if math.isinf(interval.high):
        return value >= 1
    size = interval.high - interval.low if interval.bounded else 1.0
    return value >= interval.high - 0.01 * size


def half(ranges: Ranges, x: Term) -> bool:
    """The dtype under check is float16."""
    return ranges.interval(x).dtype == "float16"


def tops_at(ranges: Ranges, x: Term, c: Term) -> bool:
    """The constant `c` is, in the dtype, the largest value of `x`, and reached."""
    value, interval = number(c), ranges.interval(x)
    held = interval.format.round(value) if value is not None else math.nan
    return interval.high == held and interval.holds(held)


def signed(ranges: Ranges, x: Term) -> bool:
    """`x` is bounded and takes both signs: a tanh, a cosine."""
    interval = ranges.interval(x)
    return interval.bounded and interval.low < 0 < interval.high


def share_of_one(ranges: Ranges, x: Term) -> bool:
    """`x` is at most 1, or an argument of which nothing is known: it is then taken for one."""
    interval = ranges.interval(x)
    return interval.high <= 1 or (interval.unknown and core(x).op in ("symbol", "opaque"))


def mask(ranges: Ranges, x: Term) -> bool:
    """Each entry of `x` is 0 or 1, a comparison say."""
    interval = ranges.interval(x)
    return interval.integer and interval.low >= 0 and interval.high <= 1 and number(x) is None


def exp_overflows(ranges: Ranges, x: Term, factor: float) -> bool:
    """exp(factor * x) can overflow in the dtype, for what is known of the range of `x`."""
    interval = ranges.interval(x)
    return max(factor * interval.low, factor * interval.high) > math.log(interval.format.max)
