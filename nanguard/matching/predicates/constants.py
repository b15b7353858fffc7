"""What a constant is, and what becomes of it in the dtype under check."""

from __future__ import annotations

import math

from nanguard.matching.predicates.asked import Ranges
from nanguard.term import Term, number


def is_number(ranges: Ranges, x: Term) -> bool:
    """A numeric constant."""
    return number(x) is not None


def small(ranges: Ranges, x: Term) -> bool:
    """A guard's constant: above 0 and at most 1e-2, or a number of the program that is called like one."""
    value = number(x)
    if value is not None:
        return 0 < value <= 1e-2
    return x.op == "symbol" and any(word in x.name.lower() for word in ("eps", "tiny", "small", "smooth"))


def just_above_one(ranges: Ranges, x: Term) -> bool:
    """A constant above 1 by at most 1e-3: 1 with the epsilon of a guard added, as in ``1.00001 - x``."""
    value = number(x)
    return value is not None and 1 < value <= 1.001


def just_below_whole(ranges: Ranges, x: Term) -> bool:
    """A product with a constant from 0.9 to 1, which keeps a cosine off 1: ``0.95 * c``."""
    return x.op == "mul" and any(0.9 <= abs(number(arg) or 0) < 1 for arg in x.args)


def least(ranges: Ranges, x: Term) -> bool:
    """A constant above 0 that is next to the least normal number of the dtype, or below it."""
    value = number(x)
    return value is not None and 0 < value < 2 * ranges.interval(x).format.tiny


def vanishes(ranges: Ranges, x: Term) -> bool:
    """A constant that is not 0 and becomes 0 in the dtype."""
    value = number(x)
    return value is not None and value != 0 and ranges.interval(x).format.round(value) == 0


def rounds_to(ranges: Ranges, x: Term, target: float) -> bool:
    """A constant other than `target` that becomes `target` in the dtype: 1 - 1e-8 is 1 in float32."""
    value = number(x)
    return value is not None and value != target and ranges.interval(x).format.round(value) == target


def fraction(ranges: Ranges, x: Term) -> bool:
    """A constant between 0 and 1."""
    value = number(x)
    return value is not None and 0 < value < 1


def rooted(ranges: Ranges, x: Term) -> bool:
    """The exponent of a square root, or of one over it."""
    return number(x) in (0.5, -0.5)


def infinite(ranges: Ranges, x: Term) -> bool:
    """A constant that is infinite."""
    value = number(x)
    return value is not None and math.isinf(value)


def root_of(ranges: Ranges, d: Term, c: Term) -> bool:
    """Two constants, `d` the root of `c`."""
    root, square = number(d), number(c)
    return root is not None and square is not None and root > 0 and abs(root * root - square) <= 1e-6 * square


def absorbed(ranges: Ranges, c: Term) -> bool:
    """A constant just above a whole number, which it is in the dtype: 1 + 1e-8 is 1 in float32."""
    value = number(c)
    held = ranges.interval(c).format.round(value) if value is not None else 0.0
    return value is not None and value > held > 0 and float(held).is_integer()


def at_least(ranges: Ranges, b: Term, least: float) -> bool:
    """An upper bound that is left out, or a constant of at least so much."""
    value = number(b)
    return value >= least if value is not None else b.op == "const"


def complement(ranges: Ranges, b: Term, a: Term) -> bool:
    """Two constants, `b` being 1 - `a`."""
    high, low = number(b), number(a)
    return high is not None and low is not None and abs(1 - low - high) <= 1e-3 * low


def square_vanishes(ranges: Ranges, e: Term) -> bool:
    """A constant above 0 in the dtype of which the reciprocal squared overflows."""
    value, form = number(e), ranges.interval(e).format
    held = form.round(value) if value is not None else 0.0
    return held > 0 and 1 / held / held > form.max


def too_large(ranges: Ranges, c: Term, times: float) -> bool:
    """A constant that is infinite in the dtype when taken so many times."""
    value = number(c)
    return value is not None and math.isfinite(value) and abs(value) * times > ranges.interval(c).format.max


def whole(ranges: Ranges, x: Term) -> bool:
    """A constant that is a whole number."""
    value = number(x)
    return value is not None and float(value).is_integer()
