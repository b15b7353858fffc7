"""Ball arithmetic: numbers of which the true value is known to lie inside.

Beside the finite balls of python-flint (`arb`) there are four values, each one object: POSITIVE and NEGATIVE
infinity (the limit, where a function has one: ``log(0)``, ``1 / 0``), UNDEFINED (``log(-1)``, ``0 / 0``) and
UNKNOWN, the ball of everything: what this precision cannot tell.  Nothing here raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flint import arb

POSITIVE, NEGATIVE, UNDEFINED, UNKNOWN = arb("inf"), arb("-inf"), arb("nan"), arb("0 +/- inf")
ZERO, ONE, TWO, HALF = arb(0), arb(1), arb(2), arb(0.5)
EITHER = arb(0.5, 0.5)  # 0 or 1, it is not known which

Number = int | float


def ball(value: Number) -> arb:
    """The ball of exactly this number."""
    result = arb(value)
    return result if result.is_finite() else named(result)


def named(result: arb, *operands: arb) -> arb:
    """A result that is not finite as one of the four values, given what it was computed from.

    flint says nan where an operand only reaches outside the domain; that is UNKNOWN unless all are exact.
    """
    if result > 0:
        return POSITIVE
    if result < 0:
        return NEGATIVE
    if any(operand is UNDEFINED for operand in operands):
        return UNDEFINED
    if not result.is_nan() or not all(operand.is_exact() for operand in operands):
        return UNKNOWN
    return UNDEFINED


def nearest(value: arb) -> float:
    """The float next to a ball, nan for UNKNOWN."""
    return math.nan if value is UNKNOWN else float(value)


def add(x: arb, y: arb) -> arb:
    """x + y"""
    result = x + y
    return result if result.is_finite() else named(result, x, y)


def subtract(x: arb, y: arb) -> arb:
    """x - y"""
    result = x - y
    return result if result.is_finite() else named(result, x, y)


def multiply(x: arb, y: arb) -> arb:
    """x * y"""
    result = x * y
    return result if result.is_finite() else named(result, x, y)


def negate(x: arb) -> arb:
    """-x"""
    result = -x
    return result if result.is_finite() else named(result, x)


def divide(x: arb, y: arb) -> arb:
    """x / y; a zero divisor counts as +0, so 1 / 0 is infinite."""
    result = x / y
    if result.is_finite() and y.is_finite():
        return result
    if y.is_zero() and x > 0:
        return POSITIVE
    if y.is_zero() and x < 0:
        return NEGATIVE
    return named(result, x, y) if not result.is_finite() else result


def power(x: arb, y: arb) -> arb:
    """x ** y; 0 ** 0 is 1, and a negative base takes integers only"""
    if y.is_finite() and y.is_exact() and y.is_integer():
        return _integer_power(x, y)
    if x > 0:
        result = x**y
        return result if x.is_finite() and result.is_finite() else EXP.at(multiply(y, LOG.at(x)))
    if x.is_zero() and (y > 0 or y < 0):
        return ZERO if y > 0 else POSITIVE
    if x < 0 and (y > 0 or y < 0) and not (y.is_finite() and y.contains_integer()):
        return UNDEFINED
    return UNDEFINED if x is UNDEFINED or y is UNDEFINED else UNKNOWN


def _integer_power(x: arb, y: arb) -> arb:
    if y.is_zero():
        return ONE
    if x.is_finite():
        result = x**y
        if result.is_finite():
            return result
        return POSITIVE if x.is_zero() else UNKNOWN
    if y < 0:
        return divide(ONE, _integer_power(x, -y))
    return multiply(x, x) if (y * HALF).is_integer() else x


@dataclass(frozen=True, slots=True)
class Function:
    """A function of one number on the closed interval from `low` to `high`, with its values at these ends.

    An end that `function` itself gets right has none here.  `slope` takes the argument and the result.
    """

    function: Callable[[arb], arb]
    slope: Callable[[arb, arb], arb] | None
    low: arb = NEGATIVE
    high: arb = POSITIVE
    at_low: arb | None = UNDEFINED
    at_high: arb | None = UNDEFINED

    def at(self, x: arb) -> arb:
        """The value at `x`."""
        if x.is_finite():
            result = self.function(x)
            if result.is_finite():
                return result
        elif x is UNDEFINED or x is UNKNOWN:
            return x
        return self._at_edge(x)

    def _at_edge(self, x: arb) -> arb:
        if x == self.low and self.at_low is not None:
            return self.at_low
        if x == self.high and self.at_high is not None:
            return self.at_high
        if x < self.low or x > self.high:
            return UNDEFINED
        result = self.function(x)
        return result if result.is_finite() else named(result, x)


def _log_gamma(x: arb) -> arb:
    """log|gamma(x)|, by reflection below 0; flint's is defined above 0 only."""
    if x > 0:
        return x.lgamma()
    if x.is_exact() and x.is_integer():
        return POSITIVE
    return (arb.pi() / abs(x.sin_pi())).log() - (1 - x).lgamma()


def _trigamma(x: arb) -> arb:
    """The derivative of digamma, by reflection below 0."""
    if x > 0 and x.is_finite():
        return TWO.zeta(x)
    return subtract(divide(arb.pi() ** 2, x.sin_pi() ** 2), TWO.zeta(1 - x))


def _arc_slope(x: arb, y: arb) -> arb:
    """1 / sqrt(1 - x²)"""
    return divide(ONE, SQRT.at((1 - x) * (1 + x)))


def _bell(x: arb) -> arb:
    """2 / sqrt(pi) exp(-x²), the derivative of erf."""
    return multiply(2 / arb.pi().sqrt(), EXP.at(negate(multiply(x, x))))


EXP = Function(arb.exp, lambda x, y: y, at_low=ZERO, at_high=POSITIVE)
EXP2 = Function(lambda x: TWO**x, lambda x, y: multiply(y, arb.const_log2()), at_low=ZERO, at_high=POSITIVE)
EXPM1 = Function(arb.expm1, lambda x, y: add(y, ONE), at_low=-ONE, at_high=POSITIVE)
LOG = Function(arb.log, lambda x, y: divide(ONE, x), low=ZERO, at_low=NEGATIVE, at_high=POSITIVE)
LOG1P = Function(arb.log1p, lambda x, y: divide(ONE, add(x, ONE)), low=-ONE, at_low=NEGATIVE, at_high=POSITIVE)
SQRT = Function(arb.sqrt, lambda x, y: divide(HALF, y), low=ZERO, at_low=ZERO, at_high=POSITIVE)
SIN = Function(arb.sin, lambda x, y: COS.at(x))
COS: Function = Function(arb.cos, lambda x, y: negate(SIN.at(x)))
ATAN = Function(arb.atan, lambda x, y: divide(ONE, add(ONE, multiply(x, x))), at_low=None, at_high=None)
ASIN = Function(arb.asin, _arc_slope, low=-ONE, high=ONE, at_low=None, at_high=None)
ACOS = Function(arb.acos, lambda x, y: negate(_arc_slope(x, y)), low=-ONE, high=ONE, at_low=None, at_high=None)
TANH = Function(arb.tanh, lambda x, y: _integer_power(COSH.at(x), arb(-2)), at_low=-ONE, at_high=ONE)
COSH: Function = Function(arb.cosh, None, at_low=POSITIVE, at_high=POSITIVE)
ERF = Function(arb.erf, lambda x, y: _bell(x), at_low=-ONE, at_high=ONE)
ERFC = Function(arb.erfc, lambda x, y: negate(_bell(x)), at_low=TWO, at_high=ZERO)
ERFINV = Function(arb.erfinv, lambda x, y: divide(ONE, _bell(y)), low=-ONE, high=ONE, at_low=NEGATIVE, at_high=POSITIVE)
LOG_GAMMA = Function(_log_gamma, lambda x, y: DIGAMMA.at(x), at_low=POSITIVE, at_high=POSITIVE)
DIGAMMA: Function = Function(arb.digamma, lambda x, y: TRIGAMMA.at(x), at_high=POSITIVE)
TRIGAMMA: Function = Function(_trigamma, None, at_high=ZERO)
I0 = Function(lambda x: x.bessel_i(arb(0)), lambda x, y: x.bessel_i(arb(1)), at_low=POSITIVE, at_high=POSITIVE)
FLOOR = Function(arb.floor, None, at_low=NEGATIVE, at_high=POSITIVE)
