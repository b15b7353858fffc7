"""Rows of the operations that act entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nanguard.matching import interval as iv
from nanguard.matching.interval import Interval
from nanguard.ops.row import ELEMENTWISE, Exact, Op, Range, listed, signature

INF = math.inf


def _row(
    name: str,
    spellings: str,
    *,
    params: str = "x",
    torch: str | None = None,
    means: str | None = None,
    range: Range | None = None,
    exact: Exact | None = None,
    commutes: bool = False,
    singular: bool = False,
    tensors: bool = False,
    probability: bool = False,
    catches: bool = False,
    masked: tuple[int, ...] = (),
    decides: int | None = None,
    more: tuple[str, ...] = (),
) -> Op:
    """A row; `{}` in the list of spellings stands for the name."""
    spelled = listed(spellings, name) + more
    first = spelled[0] if spelled and torch is None else torch
    return Op(
        name,
        signature(params),
        ELEMENTWISE,
        first,
        spelled,
        means,
        range,
        exact,
        commutes,
        singular=singular,
        tensors=tensors,
        probability=probability,
        catches=catches,
        masked=masked,
        decides=decides,
    )


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def _log(x: Interval, function: Callable[[float], float] = math.log) -> Interval:
    inside = x.within(0.0, INF)
    result = iv.rising(inside, lambda value: function(value) if value > 0 else -INF, -INF, INF)
    return replace(result, may_inf=x.may_inf or x.holds(0), may_nan=x.may_nan or x.low < 0)


def _exp(
    x: Interval, function: Callable[[float], float] = math.exp, inverse: Callable[[float], float] = math.log
) -> Interval:  # fmt: skip
    """0 counts as reached where the exponent is free; one that is only known to be <= 0, as a squared distance is, is
    not assumed to be as far off as it takes to underflow.
    """
    result = iv.rising(x, function, 0.0, INF)
    overflows = x.high > inverse(x.format.max)
    kept = x.high <= 0 and x.low == -INF
    return replace(result, may_inf=x.may_inf or overflows, low_open=result.low_open or kept)


def _i0(x: Interval) -> Interval:
    """It grows as exp(abs(x)) does, and stays below that; torch divides infinity by infinity."""
    overflows = max(-x.low, x.high) > math.log(x.format.max)
    return Interval(1.0, INF, may_inf=x.may_inf or overflows, may_nan=x.may_nan or x.may_inf, dtype=x.dtype)


def _log1p(x: Interval) -> Interval:
    """Of x itself: 1 + x has lost the digits of a small one."""
    inside = x.within(-1.0, INF)
    result = iv.rising(inside, lambda value: math.log1p(value) if value > -1 else -INF, -INF, INF)
    return replace(result, may_inf=x.may_inf or x.holds(-1), may_nan=x.may_nan or x.low < -1)


def _expm1(x: Interval) -> Interval:
    result = iv.rising(x, math.expm1, -1.0, INF)
    return replace(result, may_inf=_exp(x).may_inf)


def _bounded(low: float, high: float) -> Range:
    """The range of an oscillating or bounded function of anything."""

    def result(x: Interval) -> Interval:
        return Interval(low, high, may_nan=x.may_nan or x.may_inf, dtype=x.dtype)

    return result


def _sinc(x: Interval) -> Interval:
    """At least -0.2172336; nan where the product of pi and x is beyond the dtype, too: sin(inf) / inf."""
    overflows = max(-x.low, x.high) > x.format.max / math.pi
    return Interval(-0.2173, 1.0, may_nan=x.may_nan or x.may_inf or overflows, dtype=x.dtype)


def _arc(low: float, high: float) -> Range:
    """The range of acos or asin: nan outside [-1, 1]."""

    def result(x: Interval) -> Interval:
        return Interval(low, high, may_nan=x.may_nan or x.low < -1 or x.high > 1, dtype=x.dtype)

    return result


def _atanh(x: Interval) -> Interval:
    inside = x.within(-1.0, 1.0)
    result = iv.rising(inside, lambda v: math.atanh(v) if abs(v) < 1 else math.copysign(INF, v), -INF, INF)
    return replace(result, may_inf=x.holds(1) or x.holds(-1), may_nan=x.may_nan or x.low < -1 or x.high > 1)


def _cosh(x: Interval) -> Interval:
    result = iv.rising(iv.magnitude(x), math.cosh, 1.0, INF)
    return replace(result, may_inf=result.may_inf or not x.bounded)


def _pow(x: Interval, exponent: Interval) -> Interval:
    if exponent.low == exponent.high:
        result = iv.power(x, exponent.low)
        return replace(result, may_nan=result.may_nan or exponent.may_nan)
    if x.nonnegative and x.high <= 1 and exponent.low >= 1:  # of a number below 1 no such power is 1
        return Interval(0.0, x.high, high_open=x.high_open, may_nan=x.may_nan or exponent.may_nan, dtype=x.dtype)
    # a hyper-parameter of which nothing is known is not taken for a negative exponent
    inverse = exponent.low < 0 and not (exponent.unknown and exponent.nonzero)
    if x.nonnegative:
        return Interval(
            0.0, INF if x.high > 1 or inverse else 1.0, may_inf=x.may_inf or x.high > 1 or inverse,
            may_nan=x.may_nan or exponent.may_nan, dtype=x.dtype,
        )  # fmt: skip
    large = not x.unknown and (x.high > 1 or x.low < -1 or inverse)
    return Interval(may_inf=x.may_inf or large, may_nan=True, dtype=x.dtype)


def _clamp(x: Interval, low: Interval | None, high: Interval | None) -> Interval:
    result = x
    if low is not None:
        result = iv.maximum(result, low)
    if high is not None:
        result = iv.minimum(result, high)
    return replace(result, may_inf=x.may_inf and not result.bounded)


def _where(condition: Interval, a: Interval, b: Interval) -> Interval:
    return iv.hull((a, b))


def _step(x: Interval, *rest: Interval) -> Interval:
    return Interval(0.0, 1.0, integer=True, dtype=x.dtype)


def _round(x: Interval) -> Interval:
    low = x.low if math.isinf(x.low) else math.floor(x.low)
    high = x.high if math.isinf(x.high) else math.ceil(x.high)
    return replace(x, low=low, high=high, low_open=False, high_open=False, integer=True, nonzero=False)


def _nan_to_num(x: Interval) -> Interval:
    """nan becomes 0, an infinity the largest float of its sign (which 1 / 0 has, is not known)."""
    parts = [replace(x, may_nan=False, may_inf=False)]
    if x.may_nan:
        parts.append(iv.point(0.0, x.dtype))
    if x.may_inf:
        parts += [iv.point(end, x.dtype) for end in (x.format.max, -x.format.max) if x.low < 0 or end > 0]
    return iv.hull(parts)


def _square(x: Interval) -> Interval:
    return iv.power(x, 2)


def _add(x: Interval, other: Interval) -> Interval:
    return iv.add(x, other)


def _sub(x: Interval, other: Interval) -> Interval:
    return iv.add(x, iv.negate(other))


def _logaddexp(x: Interval, other: Interval) -> Interval:
    high = iv.add(iv.maximum(x, other), iv.point(0.7, x.dtype))
    return Interval(max(x.low, other.low), high.high, may_inf=high.may_inf, may_nan=high.may_nan, dtype=x.dtype)


def _hypot(x: Interval, other: Interval) -> Interval:
    nan = x.may_nan or other.may_nan
    return Interval(0.0, INF, may_inf=x.may_inf or other.may_inf, may_nan=nan, dtype=x.dtype)


def _mod(x: Interval, other: Interval) -> Interval:
    """Of the sign of the divisor; nan for a divisor of 0 and for what is not finite."""
    nan = x.may_nan or x.may_inf or other.may_nan or other.holds(0)
    return Interval(min(0.0, other.low), max(0.0, other.high), may_nan=nan, dtype=x.dtype)


def _floordiv(x: Interval, other: Interval) -> Interval:
    """torch gives nan, not inf, where the quotient is infinite."""
    quotient = iv.div(x, other)
    if other.may_inf:  # of a finite number by an infinite one of the other sign it is -1
        quotient = replace(quotient, low=min(quotient.low, -1.0))
    return replace(_round(quotient), may_nan=quotient.may_nan or quotient.may_inf)


def _tan(x: Interval) -> Interval:
    return Interval(may_nan=x.may_nan or x.may_inf, dtype=x.dtype)


def _softsign(x: Interval) -> Interval:
    """nan for an infinity, which torch divides by itself."""
    result = iv.rising(x, lambda value: value / (1 + abs(value)), -1.0, 1.0)
    return replace(result, may_nan=x.may_nan or x.may_inf)


def _leaky(x: Interval, slope: Interval) -> Interval:
    """On the left of 0 the product with the slope, which for one of which nothing is known is taken to be above 0."""
    if x.low >= 0:
        return x
    given = slope if slope.bounded else slope.within(0.0, INF)
    left = iv.mul(x.within(-INF, 0.0), given)
    return iv.hull((left, x.within(0.0, INF))) if x.high > 0 else left


def _elu(x: Interval, alpha: Interval) -> Interval:
    """At least -alpha."""
    low = min(-alpha.high, 0.0) if alpha.low >= 0 or alpha.bounded else -INF
    high = max(x.high, -alpha.low if alpha.bounded else 0.0, 0.0)
    return Interval(low, high, may_inf=x.may_inf, may_nan=x.may_nan or x.may_inf, dtype=x.dtype)


def _erf(x: Interval) -> Interval:
    """torch's has steps of 6e-8 around 0 in half precision."""
    result = iv.rising(x, math.erf, -1.0, 1.0)
    if x.format.bits >= 16:
        return result
    low = max(result.low - 1.2e-7, 0.0 if result.low >= 0 else -1.0)
    high = min(result.high + 1.2e-7, 0.0 if result.high <= 0 else 1.0)
    return replace(result, low=low, high=high, low_open=False, high_open=False)


def _ndtr(x: Interval) -> Interval:
    """torch takes (1 + erf(x / sqrt(2))) / 2: off by a unit of 1 in the tail, where the exact value is far smaller."""
    result = iv.rising(x, lambda value: 0.5 * math.erfc(-value / math.sqrt(2)), 0.0, 1.0)
    unit = x.format.eps
    return replace(result, low=max(result.low - unit, 0.0), high=min(result.high + unit, 1.0), low_open=False)


def _bent(low: float) -> Range:
    """The range of an activation that is `low` at least and rises with positive arguments."""

    def result(x: Interval) -> Interval:
        nan = x.may_nan or x.may_inf  # some of them give -inf * 0 on the left
        return Interval(low, max(x.high, 0.0), may_inf=x.may_inf, may_nan=nan, dtype=x.dtype)

    return result


def _compare(sign: str) -> Exact:
    def result(x: Any, other: Any) -> Any:
        return x.compare(sign, other)

    return result


_UNARY = "torch.{} Tensor.{} Tensor.{}_ math.{} torch.special.{}"
_BINARY = "torch.{} Tensor.{} Tensor.{}_ operator.{} operator.i{}"

ARITHMETIC = (
    _row("add", "torch.{} Tensor.{} Tensor.{}_ operator.{} operator.i{}", params="x, other", range=_add, commutes=True,
         exact=lambda x, y: x + y,
         more=("torch.add(x, other, alpha) -> x + alpha * other",
               *(f"{name}({given}) -> beta * x + alpha * matmul({one}, {two})"
                 for kind, one, two in (("addmm", "mat1", "mat2"), ("baddbmm", "batch1", "batch2"))
                 for name in (f"torch.{kind}", f"Tensor.{kind}", f"Tensor.{kind}_")
                 for given in (f"x, beta, alpha, {one}, {two}", f"x, {one}, {two}, beta=1.0, alpha=1.0")))),
    _row("sub", "torch.{} Tensor.{} Tensor.{}_ operator.{} operator.i{} torch.subtract Tensor.subtract",
         params="x, other", range=_sub, exact=lambda x, y: x - y,
         more=("torch.rsub(x, other) -> sub(other, x)", "Tensor.__rsub__(x, other) -> sub(other, x)",
               "torch.distributions.Normal.log_prob(loc, scale, value)"
               " -> -((value - loc) ** 2) / (2 * scale ** 2) - (log(scale) + 0.9189385332046727)")),
    _row("mul", _BINARY + " torch.multiply Tensor.multiply", params="x, other", range=iv.mul, commutes=True,
         exact=lambda x, y: x * y,
         more=("torch.outer(x, other) -> unsqueeze(x, dim=-1) * unsqueeze(other, dim=0)",
               "Tensor.outer(x, other) -> unsqueeze(x, dim=-1) * unsqueeze(other, dim=0)",
               "torch.ger(x, other) -> unsqueeze(x, dim=-1) * unsqueeze(other, dim=0)",
               "torch.deg2rad(x) -> x * 0.017453292519943295", "Tensor.deg2rad(x) -> x * 0.017453292519943295",
               "torch.rad2deg(x) -> x * 57.29577951308232", "Tensor.rad2deg(x) -> x * 57.29577951308232")),
    _row("div", "torch.{} Tensor.{} Tensor.{}_ operator.truediv operator.itruediv torch.true_divide torch.divide"
         " Tensor.divide Tensor.true_divide", params="x, other", range=iv.div, exact=lambda x, y: x / y, singular=True),
    _row("floordiv", "operator.floordiv torch.floor_divide Tensor.floor_divide", params="x, other",
         torch="torch.floor_divide", range=_floordiv, exact=lambda x, y: (x / y).floor()),
    _row("mod", "operator.mod torch.remainder Tensor.remainder torch.fmod Tensor.fmod", params="x, other",
         torch="torch.remainder", exact=lambda x, y: x - (x / y).floor() * y,
         range=_mod),
    _row("neg", "torch.{} Tensor.{} Tensor.{}_ operator.{} torch.negative Tensor.negative", range=iv.negate,
         exact=lambda x: -x),
    _row("pow", "torch.{} Tensor.{} Tensor.{}_ operator.{} operator.i{} torch.float_power math.{}",
         params="x, exponent", range=_pow, exact=lambda x, y: x**y, singular=True),
    _row("abs", "torch.{} Tensor.{} Tensor.{}_ builtins.abs operator.abs torch.absolute Tensor.absolute math.fabs",
         range=iv.magnitude, exact=lambda x: x.abs()),
    _row("sign", "torch.{} Tensor.{} torch.sgn Tensor.sgn", exact=lambda x: x.sign(),
         range=lambda x: Interval(-1.0 if x.low < 0 else 0.0, 1.0 if x.high > 0 else 0.0, integer=True, dtype=x.dtype)),
    _row("floor", _UNARY, range=_round, exact=lambda x: x.floor()),
    _row("ceil", _UNARY, range=_round, exact=lambda x: -((-x).floor())),
    _row("round", "torch.{} Tensor.{} builtins.{}", range=_round, exact=lambda x: x.round()),
    _row("maximum", "torch.{} Tensor.{} torch.fmax torch.max(x, other) Tensor.max(x, other)",
         params="x, other", tensors=True,
         range=iv.maximum, commutes=True, exact=lambda x, y: x.maximum(y)),
    _row("minimum", "torch.{} Tensor.{} torch.fmin torch.min(x, other) Tensor.min(x, other)",
         params="x, other", tensors=True,
         range=iv.minimum, commutes=True, exact=lambda x, y: x.minimum(y)),
    _row("clamp", "torch.{} Tensor.{} Tensor.{}_ torch.clip Tensor.clip Tensor.clip_",
         params="x, min=None, max=None", range=_clamp, exact=lambda x, low, high: x.clamp(low, high),
         more=("torch.clamp_min(x, min) -> clamp(x, min, none)", "Tensor.clamp_min(x, min) -> clamp(x, min, none)",
               "Tensor.clamp_min_(x, min) -> clamp(x, min, none)", "torch.clamp_max(x, max) -> clamp(x, none, max)",
               "Tensor.clamp_max(x, max) -> clamp(x, none, max)", "Tensor.clamp_max_(x, max) -> clamp(x, none, max)",
               "F.hardtanh(x, min_val=-1.0, max_val=1.0; inplace=False) -> clamp(x, min_val, max_val)",
               "nn.Hardtanh[min_val=-1.0, max_val=1.0, inplace=False](x, min_val=-1.0, max_val=1.0)"
               " -> clamp(x, min_val, max_val)",
               "F.relu6(x; inplace=False) -> clamp(x, 0.0, 6.0)",
               "nn.ReLU6[inplace=False](x) -> clamp(x, 0.0, 6.0)")),
    _row("relu", "torch.{} Tensor.{} Tensor.{}_ F.{} nn.ReLU[inplace=False]",
         range=lambda x: iv.maximum(x, iv.point(0.0, x.dtype)), exact=lambda x: x.relu()),
    _row("where", "torch.{}", params="condition, x, other", range=_where, exact=lambda c, x, y: c.choose(x, y),
         masked=(1, 2), decides=0,
         more=("Tensor.where(x, condition, other) -> where(condition, x, other)",
               "Tensor.masked_fill(x, mask, value) -> where(mask, value, x)",
               "Tensor.masked_fill_(x, mask, value) -> where(mask, value, x)",
               "torch.masked_fill(x, mask, value) -> where(mask, value, x)",
               "F.threshold(x, threshold, value; inplace=False) -> where(x > threshold, x, value)",
               "torch.threshold(x, threshold, value) -> where(x > threshold, x, value)",
               "nn.Threshold[threshold, value, inplace=False](x, threshold, value)"
               " -> where(x > threshold, x, value)")),
    # x[mask] = value: the value is worked out for the selected entries alone, x for all of them
    _row("overwrite", "", params="x, mask, value", range=lambda x, mask, value:
         _where(mask, value, x), exact=lambda x, mask, value: mask.choose(value, x), means="where(mask, value, x)",
         masked=(0,), decides=1),
    _row("nan_to_num", "torch.{}(x;nan=0.0,posinf=None,neginf=None) Tensor.{}(x;nan=0.0,posinf=None,neginf=None)"
         " Tensor.{}_", params="x", torch="torch.nan_to_num", range=_nan_to_num,
         exact=lambda x: x.is_a("nan").choose(0, x), catches=True,
         more=("numpy.nan_to_num(x; copy=True, nan=0.0, posinf=None, neginf=None) -> detach(nan_to_num(x))",)),
)  # fmt: skip

_WITHIN = (
    *(f"{name}(x, other, rtol=1e-05, atol=1e-08; equal_nan=False) -> le(abs(x - other), atol + rtol * abs(other))"
      for name in ("torch.isclose", "Tensor.isclose", "numpy.isclose")),
    "math.isclose(a, b; rel_tol=1e-09, abs_tol=0.0)"
    " -> le(abs(a - b), maximum(rel_tol * maximum(abs(a), abs(b)), abs_tol))",
)  # fmt: skip
COMPARISONS = (
    *(
        _row(name, f"torch.{name} Tensor.{name} operator.{name}", params="x, other", range=_step, exact=_compare(name),
             more=_WITHIN if name == "le" else ())
        for name in ("gt", "ge", "lt", "le", "eq", "ne")
    ),
    _row("logical_and", "torch.{} Tensor.{} operator.and_ torch.bitwise_and", params="x, other", range=_step,
         tensors=True, commutes=True, exact=lambda x, y: x.compare("ne", 0).minimum(y.compare("ne", 0))),
    _row("logical_or", "torch.{} Tensor.{} operator.or_ torch.bitwise_or", params="x, other", range=_step,
         tensors=True, commutes=True, exact=lambda x, y: x.compare("ne", 0).maximum(y.compare("ne", 0))),
    _row("logical_xor", "torch.{} Tensor.{} operator.xor torch.bitwise_xor", params="x, other", range=_step,
         tensors=True, commutes=True, exact=lambda x, y: (x.compare("ne", 0) - y.compare("ne", 0)).abs()),
    _row("logical_not", "torch.{} Tensor.{} operator.invert torch.bitwise_not", range=_step,
         exact=lambda x: x.compare("eq", 0)),
    _row("isnan", "torch.{} Tensor.{} math.{} numpy.{}", range=_step, exact=lambda x: x.is_a("nan"), catches=True),
    _row("isfinite", "torch.{} Tensor.{} math.{} numpy.{}", range=_step,
         exact=lambda x: x.is_a("finite"), catches=True),
    _row("isinf", "torch.{} Tensor.{} math.{} numpy.{}", range=_step, exact=lambda x: x.is_a("inf"), catches=True),
)  # fmt: skip

EXPONENTIAL = (
    _row("exp", _UNARY, range=_exp, exact=lambda x: x.exp(), singular=True),
    _row("exp2", _UNARY, range=lambda x: _exp(x, math.exp2, math.log2), means="exp(0.6931471805599453 * x)",
         exact=lambda x: x.exp2(), singular=True),
    _row("expm1", _UNARY, range=_expm1, exact=lambda x: x.expm1(),
         singular=True),
    _row("log", "torch.{} Tensor.{} Tensor.{}_ math.{}", range=_log, exact=lambda x: x.log(), singular=True,
         more=tuple(f"torch.distributions.{name}.log_prob(probs, value) -> log(clamped_probs(probs))"
                    for name in ("Categorical", "OneHotCategorical", "Bernoulli"))),
    _row("log2", "torch.{} Tensor.{} Tensor.{}_ math.{}", range=lambda x: _log(x, math.log2),
         exact=lambda x: x.log() / x.ln2(),
         singular=True),
    _row("log10", "torch.{} Tensor.{} Tensor.{}_ math.{}", range=lambda x: _log(x, math.log10),
         exact=lambda x: x.log() / x.ln10(), singular=True),
    _row("log1p", _UNARY, range=_log1p, exact=lambda x: x.log1p(),
         singular=True),
    _row("sqrt", "torch.{} Tensor.{} Tensor.{}_ math.{}", range=lambda x: iv.power(x, 0.5),
         exact=lambda x: x.sqrt(), singular=True),
    _row("rsqrt", "torch.{} Tensor.{} Tensor.{}_", range=lambda x: iv.power(x, -0.5), exact=lambda x: 1 / x.sqrt(),
         singular=True),
    _row("reciprocal", "torch.{} Tensor.{} Tensor.{}_", range=iv.reciprocal, exact=lambda x: 1 / x, singular=True),
    _row("square", "torch.{} Tensor.{} Tensor.{}_", range=_square, exact=lambda x: x * x),
    _row("logaddexp", "torch.{} Tensor.{}", params="x, other", tensors=True, range=_logaddexp, commutes=True,
         exact=lambda x, y: (x.exp() + y.exp()).log()),
    # what a distribution of torch makes of the probabilities that it is given, in float32
    _row("clamped_probs", "", means="clamp(x, 1.1920928955078125e-07, 0.9999998807907104)",
         range=lambda x: _clamp(x, iv.point(1.1920928955078125e-07, x.dtype), iv.point(0.9999998807907104, x.dtype)),
         exact=lambda x: x.clamp(1.1920928955078125e-07, 0.9999998807907104)),
    # log(1 - exp(x)) for x < 0, each half of it where it keeps its digits; the bounds keep the gradient of the half
    # that is not taken finite
    _row("log1mexp", "", exact=lambda x: (1 - x.exp()).log(), range=lambda x: Interval(-INF, 0.0, dtype=x.dtype),
         singular=True, means="where(x > -0.6931471805599453, log(-expm1(clamp(x, -0.6931471805599453, none))),"
                              " log1p(-exp(clamp(x, none, -0.6931471805599453))))"),
    # log(cosh(x)): near 0 of half the angle, so that value and gradient keep their digits; beyond, of exponentials
    # that only underflow
    _row("log_cosh", "", exact=lambda x: ((x.exp() + (-x).exp()) / 2).log(),
         range=lambda x: Interval(0.0, INF, may_inf=x.may_inf, may_nan=x.may_nan, dtype=x.dtype),
         means="where(abs(x) < 1, log1p(2 * square(sinh(clamp(x, -1, 1) / 2))),"
               " abs(x) + log1p(exp(-2 * abs(x))) - 0.6931471805599453)"),
    _row("xlogy", "torch.{} Tensor.{} torch.special.{}", params="x, other", exact=lambda x, y: x.xlogy(y),
         range=lambda x, y: iv.mul(x, _log(y)), singular=True),
    _row("entr", "torch.special.{}", exact=lambda x: x.compare("lt", 0).choose(-INF, -x.xlogy(x)), singular=True,
         range=lambda x: Interval(-INF if x.high > 1 else 0.0, 0.37, may_inf=x.may_inf or x.low < 0, may_nan=x.may_nan,
                                  dtype=x.dtype)),
    _row("hypot", "torch.{} Tensor.{}",
         params="x, other", tensors=True, range=_hypot,
         exact=lambda x, y: (x * x + y * y).sqrt(), commutes=True, singular=True),
)  # fmt: skip

ACTIVATIONS = (
    _row("sigmoid", "torch.{} Tensor.{} Tensor.{}_ F.{} torch.special.expit torch.special.{} nn.Sigmoid[]",
         range=lambda x: iv.rising(x, _sigmoid, 0.0, 1.0), exact=lambda x: 1 / (1 + (-x).exp()), probability=True),
    # 1 - sigmoid(x): one name for it, so that what it cancels to is not lost in sigmoid(-x)
    _row("one_minus_sigmoid", "", means="1 - sigmoid(x)", exact=lambda x: 1 / (1 + x.exp()),
         range=lambda x: iv.falling(x, lambda value: _sigmoid(-value), 0.0, 1.0), probability=True),
    _row("logsigmoid", "F.{} nn.LogSigmoid[]", range=lambda x: iv.rising(x, lambda v: -_softplus(-v), -INF, 0.0),
         exact=lambda x: -(-x).exp().log1p()),
    _row("tanh", "torch.{} Tensor.{} Tensor.{}_ F.{} nn.Tanh[] math.{}",
         range=lambda x: iv.rising(x, math.tanh, -1.0, 1.0), exact=lambda x: x.tanh()),
    _row("softplus", "", params="x", torch="F.softplus", range=lambda x: iv.rising(x, _softplus, 0.0, INF),
         exact=lambda x: x.exp().log1p(),
         more=("F.softplus(x, beta=1.0, threshold=20.0) -> softplus(beta * x) / beta",
               "nn.Softplus[beta=1.0, threshold=20.0](x, beta=1.0, threshold=20.0) -> softplus(beta * x) / beta")),
    _row("silu", "F.{} nn.SiLU[inplace=False]", means="x * sigmoid(x)", exact=lambda x: x / (1 + (-x).exp()),
         range=_bent(-0.27847)),
    _row("gelu", "F.{} nn.GELU[approximate='none']", exact=lambda x: x * (-x / x.sqrt2()).erfc() / 2,
         range=_bent(-0.17)),
    _row("elu", "", params="x, alpha=1.0", torch="F.elu", range=_elu,
         exact=lambda x, alpha: x.compare("gt", 0).choose(x, alpha * x.expm1()), more=(
             "F.elu(x, alpha=1.0; inplace=False) -> elu(x, alpha)",
             "nn.ELU[alpha=1.0, inplace=False](x, alpha=1.0) -> elu(x, alpha)",
             "F.celu(x, alpha=1.0; inplace=False) -> alpha * elu(x / alpha, 1.0)",
             "nn.CELU[alpha=1.0, inplace=False](x, alpha=1.0) -> alpha * elu(x / alpha, 1.0)")),
    _row("leaky_relu", "", params="x, negative_slope=0.01", torch="F.leaky_relu", range=_leaky,
         exact=lambda x, slope: x.compare("gt", 0).choose(x, slope * x), more=(
             "F.leaky_relu(x, negative_slope=0.01; inplace=False) -> leaky_relu(x, negative_slope)",
             "nn.LeakyReLU[negative_slope=0.01, inplace=False](x, negative_slope=0.01)"
             " -> leaky_relu(x, negative_slope)")),
    # log(softplus(x)): from below it is x - exp(x) / 2 + ..., which needs no exp(x) that underflows
    _row("log_softplus", "", exact=lambda x: x.exp().log1p().log(), range=lambda x: Interval(dtype=x.dtype),
         means="where(x < -9, x - exp(clamp(x, none, -9))"
               " * (0.5 - exp(clamp(x, none, -9)) * (5 / 24 - exp(clamp(x, none, -9)) / 8)),"
               " log(-logsigmoid(-clamp(x, -9, none))))"),
    _row("softsign", "F.{} nn.Softsign[]", means="x / (1 + abs(x))",
         range=_softsign),
    _row("logit", "", params="x", torch="torch.logit", means="log(x / (1 - x))", singular=True,
         more=("torch.logit(x, eps) -> logit(clamp(x, eps, 1 - eps))", "torch.logit",
               "Tensor.logit(x, eps) -> logit(clamp(x, eps, 1 - eps))", "Tensor.logit",
               "torch.special.logit(x, eps) -> logit(clamp(x, eps, 1 - eps))", "torch.special.logit")),
)  # fmt: skip

TRIGONOMETRIC = (
    _row("sin", _UNARY, range=_bounded(-1.0, 1.0), exact=lambda x: x.sin()),
    # no float is so near an odd multiple of half pi that its cosine rounds to 0
    _row("cos", _UNARY, range=lambda x: replace(_bounded(-1.0, 1.0)(x), nonzero=True), exact=lambda x: x.cos()),
    _row("tan", _UNARY, exact=lambda x: x.sin() / x.cos(), range=_tan, singular=True),
    _row("asin", "torch.{} Tensor.{} torch.arcsin Tensor.arcsin math.{}", range=_arc(-math.pi / 2, math.pi / 2),
         exact=lambda x: x.asin(), singular=True),
    _row("acos", "torch.{} Tensor.{} torch.arccos Tensor.arccos math.{}", range=_arc(0.0, math.pi),
         exact=lambda x: x.acos(), singular=True),
    _row("atan", "torch.{} Tensor.{} torch.arctan Tensor.arctan math.{}", exact=lambda x: x.atan(),
         range=lambda x: iv.rising(x, math.atan, -math.pi / 2, math.pi / 2)),
    _row("atan2", "torch.{} Tensor.{} torch.arctan2 Tensor.arctan2 math.{}",
         params="x, other", tensors=True, exact=lambda y, x: y.atan2(x),
         range=lambda y, x: Interval(-3.1415927, 3.1415927, may_nan=y.may_nan or x.may_nan, dtype=x.dtype)),
    _row("sinh", _UNARY, range=lambda x: iv.rising(x, math.sinh, -INF, INF), exact=lambda x: (x.exp() - (-x).exp()) / 2,
         singular=True),
    _row("cosh", _UNARY, range=_cosh, exact=lambda x: (x.exp() + (-x).exp()) / 2, singular=True),
    _row("asinh", "torch.{} Tensor.{} torch.arcsinh Tensor.arcsinh math.{}",
         range=lambda x: iv.rising(x, math.asinh, -INF, INF),
         exact=lambda x: (x + (x * x + 1).sqrt()).log()),
    _row("acosh", "torch.{} Tensor.{} torch.arccosh Tensor.arccosh math.{}",
         exact=lambda x: (x + (x * x - 1).sqrt()).log(),
         range=lambda x: Interval(0.0, INF, may_inf=x.may_inf, may_nan=x.may_nan or x.low < 1, dtype=x.dtype),
         singular=True),
    _row("atanh", "torch.{} Tensor.{} torch.arctanh Tensor.arctanh math.{}", range=_atanh,
         exact=lambda x: ((1 + x) / (1 - x)).log() / 2, singular=True),
    _row("sinc", "torch.{} Tensor.{} torch.special.{}", range=_sinc,
         exact=lambda x: x.compare("eq", 0).choose(1, (x * x.pi()).sin() / (x * x.pi()))),
)  # fmt: skip

SPECIAL = (
    _row("erf", _UNARY, range=_erf, exact=lambda x: x.erf()),
    _row("erfc", _UNARY, range=lambda x: iv.falling(x, math.erfc, 0.0, 2.0), exact=lambda x: x.erfc()),
    _row("erfcx", "torch.special.{}", exact=lambda x: x.erfc() * (x * x).exp(),
         range=lambda x: Interval(0.0, INF, may_inf=x.may_inf or x.low < 0, may_nan=x.may_nan, dtype=x.dtype)),
    _row("erfinv", "torch.{} Tensor.{} torch.special.{}", singular=True, range=lambda x: Interval(
         may_inf=x.holds(1) or x.holds(-1), may_nan=x.may_nan or x.low < -1 or x.high > 1, dtype=x.dtype),
         exact=lambda x: x.erfinv()),
    _row("ndtr", "torch.special.{}", exact=lambda x: (-x / x.sqrt2()).erfc() / 2,
         range=_ndtr, more=("torch.distributions.Normal.cdf(loc, scale, value) -> ndtr((value - loc) / scale)",)),
    _row("ndtri", "torch.special.{}", exact=lambda x: (2 * x - 1).erfinv() * x.sqrt2(), singular=True,
         more=("torch.distributions.Normal.icdf(loc, scale, value) -> loc + scale * ndtri(value)",),
         range=lambda x: Interval(may_inf=x.holds(0) or x.holds(1), may_nan=x.may_nan or x.low < 0 or x.high > 1,
                                  dtype=x.dtype)),
    _row("log_ndtr", "torch.special.{}", exact=lambda x: ((-x / x.sqrt2()).erfc() / 2).log(),
         range=lambda x: Interval(-INF, 0.0, may_inf=x.may_inf, may_nan=x.may_nan, dtype=x.dtype)),
    _row("i0", "torch.{} Tensor.{} torch.special.{}", exact=lambda x: x.i0(), singular=True,
         range=_i0),
    _row("i0e", "torch.special.{}", exact=lambda x: x.i0() * (-x.abs()).exp(),
         range=lambda x: Interval(0.0, 1.0, low_open=True, may_nan=x.may_nan, dtype=x.dtype)),
    _row("lgamma", "torch.{} Tensor.{} math.{} torch.special.gammaln", exact=lambda x: x.lgamma(), singular=True,
         range=lambda x: Interval(-0.1215 if x.positive else -INF, INF, may_inf=x.low <= 0 or x.may_inf,
                                  may_nan=x.may_nan, dtype=x.dtype)),
    _row("digamma", "torch.{} Tensor.{} torch.special.{} torch.special.psi", exact=lambda x: x.digamma(),
         range=lambda x: Interval(may_inf=x.holds(0) or x.may_inf, may_nan=x.may_nan or x.low < 0, dtype=x.dtype)),
)  # fmt: skip

_PLAIN = (
    "add", "sub", "mul", "neg", "abs", "sign", "floor", "ceil", "round", "maximum", "minimum", "clamp", "relu",
    "leaky_relu", "floordiv", "mod",
)  # fmt: skip
_FLAT = ("sign", "floor", "ceil", "round", "floordiv")
ROWS = tuple(replace(row, plain=row.name in _PLAIN, flat=row.name in _FLAT) for row in ARITHMETIC)
ROWS += tuple(replace(row, plain=True, mask=True) for row in COMPARISONS)
ROWS += EXPONENTIAL + ACTIVATIONS + TRIGONOMETRIC + SPECIAL
