"""Dual numbers over balls: exact values that remember the slopes to what they were computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from flint import arb

from nanguard.proof import balls
from nanguard.proof.balls import (
    EITHER,
    HALF,
    NEGATIVE,
    ONE,
    POSITIVE,
    TWO,
    UNDEFINED,
    UNKNOWN,
    ZERO,
    Function,
    Number,
    add,
    ball,
    divide,
    multiply,
    negate,
    power,
    subtract,
)

Edges = tuple[tuple["Dual", arb], ...]


def _edges(*edges: tuple[Dual, arb]) -> Edges | None:
    """The edges to numbers that are not constants, None if there are none."""
    return tuple(edge for edge in edges if edge[0].slopes is not None) or None


def _order(x: Dual, y: Dual) -> int | None:
    """1, 0 or -1 as `x` is above, equal to or below `y`; None where it cannot be told or one is UNDEFINED."""
    a, b = x.value, y.value
    if a > b:
        return 1
    if a < b:
        return -1
    return 0 if a == b or (a is b and a.is_finite()) else None


_TRUE_FOR: Mapping[str, frozenset[int]] = {
    "gt": frozenset({1}), "ge": frozenset({0, 1}), "lt": frozenset({-1}), "le": frozenset({-1, 0}),
    "eq": frozenset({0}), "ne": frozenset({-1, 1}),
}  # fmt: skip


def _smooth(function: Function) -> Callable[[Dual], Dual]:
    """The method that applies a function of one number."""

    def apply(self: Dual) -> Dual:
        value = function.at(self.value)
        if self.slopes is None or function.slope is None:
            return Dual(value)
        slope = value if _lost(value) else function.slope(self.value, value)
        return Dual(value, ((self, slope),))

    return apply


def _lost(value: arb) -> bool:
    return value is UNDEFINED or value is UNKNOWN


class Dual:
    """A ball with its slopes: its derivatives with respect to the numbers it was computed from.

    `slopes` is None for a constant and empty for a number that others are differentiated by (see `gradient`).
    """

    __slots__ = ("slopes", "value")

    def __init__(self, value: arb, slopes: Edges | None = None) -> None:
        self.value = value
        self.slopes = slopes

    def __repr__(self) -> str:
        return f"Dual({self.value.str(10)})"

    def nearest(self) -> float:
        """The float next to the number, nan where it is not known."""
        return balls.nearest(self.value)

    def detached(self) -> Dual:
        """The number as a constant."""
        return Dual(self.value)

    def __add__(self, other: Dual | Number) -> Dual:
        y = dual(other)
        if self.slopes is None and y.slopes is None:
            return Dual(add(self.value, y.value))
        return Dual(add(self.value, y.value), _edges((self, ONE), (y, ONE)))

    def __sub__(self, other: Dual | Number) -> Dual:
        y = dual(other)
        if y is self and y.value.is_finite():
            return Dual(ZERO)
        if self.slopes is None and y.slopes is None:
            return Dual(subtract(self.value, y.value))
        return Dual(subtract(self.value, y.value), _edges((self, ONE), (y, -ONE)))

    def __mul__(self, other: Dual | Number) -> Dual:
        y = dual(other)
        if self.slopes is None and y.slopes is None:
            return Dual(multiply(self.value, y.value))
        return Dual(multiply(self.value, y.value), _edges((self, y.value), (y, self.value)))

    def __truediv__(self, other: Dual | Number) -> Dual:
        y = dual(other)
        if y is self and (y.value > 0 or y.value < 0) and y.value.is_finite():
            return Dual(ONE)
        value = divide(self.value, y.value)
        if self.slopes is None and y.slopes is None:
            return Dual(value)
        slope = divide(ONE, y.value)
        return Dual(value, _edges((self, slope), (y, negate(multiply(value, slope)))))

    def __pow__(self, other: Dual | Number) -> Dual:
        y = dual(other)
        value = power(self.value, y.value)
        edges: list[tuple[Dual, arb]] = []
        if self.slopes is not None and not y.value.is_zero():
            edges.append((self, multiply(y.value, power(self.value, subtract(y.value, ONE)))))
        if y.slopes is not None and not (self.value.is_zero() and y.value >= 0):
            edges.append((y, multiply(value, balls.LOG.at(self.value))))
        return Dual(value, tuple(edges) or None)

    def __radd__(self, other: Number) -> Dual:
        return dual(other) + self

    def __rsub__(self, other: Number) -> Dual:
        return dual(other) - self

    def __rmul__(self, other: Number) -> Dual:
        return dual(other) * self

    def __rtruediv__(self, other: Number) -> Dual:
        return dual(other) / self

    def __rpow__(self, other: Number) -> Dual:
        return dual(other) ** self

    def __neg__(self) -> Dual:
        if self.slopes is None:
            return Dual(negate(self.value))
        return Dual(negate(self.value), _edges((self, -ONE)))

    exp = _smooth(balls.EXP)
    exp2 = _smooth(balls.EXP2)
    expm1 = _smooth(balls.EXPM1)
    log = _smooth(balls.LOG)
    log1p = _smooth(balls.LOG1P)
    sqrt = _smooth(balls.SQRT)
    sin = _smooth(balls.SIN)
    cos = _smooth(balls.COS)
    atan = _smooth(balls.ATAN)
    asin = _smooth(balls.ASIN)
    acos = _smooth(balls.ACOS)
    tanh = _smooth(balls.TANH)
    erf = _smooth(balls.ERF)
    erfc = _smooth(balls.ERFC)
    erfinv = _smooth(balls.ERFINV)
    lgamma = _smooth(balls.LOG_GAMMA)
    digamma = _smooth(balls.DIGAMMA)
    i0 = _smooth(balls.I0)
    floor = _smooth(balls.FLOOR)

    def round(self) -> Dual:
        """The nearest integer, ties to even."""
        above = self + 0.5
        result = above.floor()
        tie = above.value.is_finite() and above.value.is_exact() and above.value.is_integer()
        return result - 1 if tie and not (result.value * HALF).is_integer() else result

    def atan2(self, other: Dual | Number) -> Dual:
        """The angle of the point (other, self)."""
        x = dual(other)
        value = arb.atan2(self.value, x.value)
        if not (self.value.is_finite() and x.value.is_finite() and value.is_finite()):
            value = balls.named(UNDEFINED, self.value, x.value)
        square = add(multiply(x.value, x.value), multiply(self.value, self.value))
        return Dual(value, _edges((self, divide(x.value, square)), (x, negate(divide(self.value, square)))))

    def xlogy(self, other: Dual | Number) -> Dual:
        """self * log(other), 0 where self is 0."""
        y = dual(other)
        if not self.value.is_zero() or y.value is UNDEFINED:
            return self * y.log()
        return Dual(ZERO, _edges((self, balls.LOG.at(y.value))))

    def sign(self) -> Dual:
        """-1, 0 or 1."""
        order = _order(self, _NOUGHT)
        if order is not None:
            return Dual(arb(order))
        return Dual(UNDEFINED if self.value is UNDEFINED else arb(0, 1))

    def abs(self) -> Dual:
        """The absolute value; its slope at 0 is 0."""
        value = abs(self.value)
        if not value.is_finite():
            value = POSITIVE if self.value is NEGATIVE else self.value
        order = _order(self, _NOUGHT)
        if order == 0:
            return Dual(value)
        return Dual(value, _edges((self, arb(order) if order is not None else arb(0, 1))))

    def relu(self) -> Dual:
        """The number, 0 below 0; its slope at 0 is 0."""
        order = _order(self, _NOUGHT)
        if order is not None:
            return self if order > 0 else Dual(ZERO)
        return self.maximum(0)

    def maximum(self, other: Dual | Number) -> Dual:
        """The larger of two numbers; the slopes are halved where they are equal."""
        return _extreme((self, dual(other)), 1)

    def minimum(self, other: Dual | Number) -> Dual:
        """The smaller of two numbers; the slopes are halved where they are equal."""
        return _extreme((self, dual(other)), -1)

    def clamp(self, low: Dual | Number | None, high: Dual | Number | None) -> Dual:
        """The number held between two bounds; at a bound the slope is that of the number."""
        result = self
        if low is not None:
            result = result if _order(result, dual(low)) == 0 else result.maximum(low)
        if high is not None:
            result = result if _order(result, dual(high)) == 0 else result.minimum(high)
        return result

    def compare(self, sign: str, other: Dual | Number) -> Dual:
        """1 where ``self sign other`` is true (gt, ge, lt, le, eq, ne), else 0."""
        y = dual(other)
        order = _order(self, y)
        if order is not None:
            return Dual(ONE if order in _TRUE_FOR[sign] else ZERO)
        if self.value is UNDEFINED or y.value is UNDEFINED:
            return Dual(ONE if sign == "ne" else ZERO)
        return Dual(EITHER)

    def is_a(self, kind: str) -> Dual:
        """1 where the number is `kind` (nan, inf or finite), else 0."""
        if self.value is UNKNOWN:
            return Dual(EITHER)
        found = "finite" if self.value.is_finite() else "nan" if self.value is UNDEFINED else "inf"
        return Dual(ONE if kind == found else ZERO)

    def choose(self, x: Dual | Number, y: Dual | Number) -> Dual:
        """`x` where this number is not 0, `y` where it is; the other one has no influence."""
        if self.value.is_zero():
            return dual(y)
        if self.value > 0 or self.value < 0 or self.value is UNDEFINED:
            return dual(x)
        a, b = dual(x), dual(y)
        finite = a.value.is_finite() and b.value.is_finite()
        return Dual(a.value.union(b.value) if finite else UNKNOWN, _edges((a, EITHER), (b, EITHER)))

    def fold(self, name: str, entries: Sequence[Dual], **attrs: object) -> Dual:
        """The reduction `name` of some numbers: sum, mean, prod, amax, amin, var, std or norm."""
        return _FOLDS[name](entries, **attrs)

    def scan(self, name: str, entries: Sequence[Dual]) -> list[Dual]:
        """The running sum or product of some numbers."""
        result = [entries[0]]
        for entry in entries[1:]:
            result.append(result[-1] + entry if name == "sum" else result[-1] * entry)
        return result

    def ln2(self) -> Dual:
        """log(2)"""
        return Dual(arb.const_log2())

    def ln10(self) -> Dual:
        """log(10)"""
        return Dual(arb.const_log10())

    def sqrt2(self) -> Dual:
        """sqrt(2)"""
        return Dual(TWO.sqrt())

    def pi(self) -> Dual:
        """The circle's number."""
        return Dual(arb.pi())

    def snapped(self) -> Dual:
        """The number, taken to be the float that its ball, if it is minute, cannot be told from."""
        value = self.value
        if not value.is_finite() or value.is_exact() or not value.rad() < _IMPERCEPTIBLE:
            return self
        nearest = arb(float(value))
        return Dual(nearest, _edges((self, ONE))) if value.contains(nearest) else self


_NOUGHT = Dual(ZERO)
_IMPERCEPTIBLE = TWO**-2000


def dual(value: Dual | Number) -> Dual:
    """A number as it is, a plain one as a constant."""
    return value if isinstance(value, Dual) else Dual(ball(value))


# --- reductions


def _total(entries: Sequence[Dual]) -> Dual:
    if len(entries) == 1:
        return entries[0]
    value = entries[0].value
    for entry in entries[1:]:
        value = add(value, entry.value)
    return Dual(value, _edges(*((entry, ONE) for entry in entries)))


def _mean(entries: Sequence[Dual]) -> Dual:
    return _total(entries) / len(entries)


def _prod(entries: Sequence[Dual]) -> Dual:
    result = entries[0]
    for entry in entries[1:]:
        result = result * entry
    return result


def _extreme(entries: Sequence[Dual], direction: int) -> Dual:
    """The largest (1) or smallest (-1) entry; entries that are equal share the slope evenly."""
    best = entries[0]
    for entry in entries:
        if _lost(entry.value):
            return Dual(entry.value, _edges((entry, entry.value)))
        if _order(entry, best) == direction:
            best = entry
    near = [entry for entry in entries if entry is best or _order(best, entry) != direction]
    if len(near) == 1 or all(entry is best for entry in near):
        return best
    value = best.value
    for entry in near:
        value = _hull(value, entry.value, direction)
    tied = all(_order(entry, best) == 0 for entry in near)
    share = divide(ONE, arb(len(near)))
    return Dual(value, _edges(*((entry, share if tied else share + arb(0, 1)) for entry in near)))


def _hull(x: arb, y: arb, direction: int) -> arb:
    """The larger or smaller of two balls that may overlap."""
    if not (x.is_finite() and y.is_finite()):
        return x
    return x.max(y) if direction > 0 else x.min(y)


def _variance(entries: Sequence[Dual], correction: object = 1) -> Dual:
    mean = _mean(entries)
    offsets = [entry - mean for entry in entries]
    less = correction if isinstance(correction, int | float) else 1
    return _total([offset * offset for offset in offsets]) / max(len(entries) - less, 0)


def _deviation(entries: Sequence[Dual], correction: object = 1) -> Dual:
    """The standard deviation; torch takes its slope as 0 where it is 0."""
    variance = _variance(entries, correction)
    return Dual(ZERO) if variance.value.is_zero() else variance.sqrt()


def _norm(entries: Sequence[Dual], ord: object = 2) -> Dual:
    """The norm of order `ord`; its slope is 0 where all entries are 0."""
    order = float(ord) if isinstance(ord, int | float) else 2.0
    sizes = [entry.abs() for entry in entries]
    if order in (float("inf"), -float("inf")):
        return _extreme(sizes, 1 if order > 0 else -1)
    if order == 0:
        return _total([size.compare("ne", 0) for size in sizes])
    if order == 1:
        return _total(sizes)
    powers = _total([entry * entry for entry in entries] if order == 2 else [size**order for size in sizes])
    if powers.value.is_zero():
        return Dual(ZERO)
    return powers.sqrt() if order == 2 else powers ** (1 / dual(order))


_FOLDS: Mapping[str, Callable[..., Dual]] = {
    "sum": _total,
    "mean": _mean,
    "prod": _prod,
    "amax": lambda entries: _extreme(entries, 1),
    "amin": lambda entries: _extreme(entries, -1),
    "var": _variance,
    "std": _deviation,
    "norm": _norm,
}


# --- derivatives


def gradient(outputs: Iterable[Dual], leaves: Iterable[Dual]) -> list[arb]:
    """The derivatives of the sum of `outputs` with respect to each of `leaves`."""
    outputs = [output for output in outputs if output.slopes is not None]
    total: dict[Dual, arb] = {}
    for output in outputs:
        total[output] = total[output] + ONE if output in total else ONE
    for node in reversed(_in_order(outputs)):
        weight = total[node]
        for parent, slope in node.slopes or ():
            part = multiply(weight, slope)
            total[parent] = add(total[parent], part) if parent in total else part
    return [total.get(leaf, ZERO) for leaf in leaves]


def _in_order(outputs: Iterable[Dual]) -> list[Dual]:
    """All numbers below and including `outputs`, each after those it was computed from."""
    result: list[Dual] = []
    seen: set[Dual] = set()
    stack = [(output, False) for output in outputs]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            result.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.slopes or ())
    return result
