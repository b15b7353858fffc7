"""Rows of the operations that act along dimensions: reductions, softmaxes, cumulative ones, products of matrices."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from nanguard.matching import interval as iv
from nanguard.matching.interval import Interval
from nanguard.ops.row import AXIS, COMPOSITE, REDUCE, Op, listed, signature

INF = math.inf


def _sum(x: Interval) -> Interval:
    """At least one entry is assumed, so a sum of values >= 1 is >= 1."""
    return Interval(
        x.low if x.low >= 0 else -INF, x.high if x.high <= 0 else INF, x.low_open and x.low >= 0,
        x.high_open and x.high <= 0, x.may_inf, x.may_nan or (x.may_inf and x.low < 0 < x.high), x.integer,
        dtype=x.dtype,
    )  # fmt: skip


def _mean(x: Interval) -> Interval:
    """nan where inf and -inf meet; 0 of numbers that are not."""
    return replace(x, integer=False, nonzero=False, may_nan=x.may_nan or (x.may_inf and x.low < 0 < x.high))


def _extreme(x: Interval) -> Interval:
    return x


def _prod(x: Interval) -> Interval:
    if x.low >= 0:
        nan = x.may_nan or (x.may_inf and x.low < 1)  # of some below 1 the product underflows to 0
        return Interval(0.0, 1.0 if x.high <= 1 else INF, x.positive, may_inf=x.may_inf, may_nan=nan, dtype=x.dtype)
    return Interval(may_inf=x.may_inf, may_nan=x.may_nan or x.may_inf, dtype=x.dtype)


def _spread(x: Interval) -> Interval:
    """The range of a variance or a deviation: 0 for a constant input."""
    return Interval(0.0, INF, may_nan=x.may_nan or x.may_inf, dtype=x.dtype)


def _unit(x: Interval) -> Interval:
    """The range of softmax: an entry is at least exp(-spread) over the number of entries, of which 2**20 are enough.

    Beside the largest there is another entry.
    """
    spread = x.high - x.low if x.bounded else INF
    low, high = math.exp(-spread) / 2**20, 1 / (1 + math.exp(-spread))
    return Interval(low, high, may_nan=x.may_nan or x.may_inf, dtype=x.dtype).outward()


def _nonpositive(x: Interval) -> Interval:
    spread = x.high - x.low
    return Interval(-INF if math.isnan(spread) else -spread - 10, 0.0, may_nan=x.may_nan or x.may_inf, dtype=x.dtype)


def _logsumexp(x: Interval) -> Interval:
    return Interval(x.low, INF, may_inf=x.may_inf, may_nan=x.may_nan, dtype=x.dtype)


def _free(*operands: Interval) -> Interval:
    return Interval(may_nan=any(x.may_nan for x in operands), dtype=operands[0].dtype)


def _product(x: Interval, other: Interval) -> Interval:
    return _sum(iv.mul(x, other))


def _norm(x: Interval) -> Interval:
    return Interval(0.0, INF, may_inf=x.may_inf, may_nan=x.may_nan, dtype=x.dtype)


def _length_one(*operands: Interval) -> Interval:
    """Within [-1, 1], but for what rounding adds; of what is not finite, nan."""
    nan = any(x.may_nan or x.may_inf for x in operands)
    bound = 1 + 4 * operands[0].format.eps
    return Interval(-bound, bound, may_nan=nan, dtype=operands[0].dtype)


def _cosine(x: Interval, other: Interval, *rest: Interval) -> Interval:
    return _length_one(x, other)


def _fold(name: str) -> Any:
    return lambda entries, **attrs: entries[0].fold(name, entries, **attrs)


def _reduce(
    name: str, spellings: str, range: Any, exact: str | None = None, means: str | None = None,
    params: str = "x; *dim=None, keepdim=False", torch: str | None = None, pair: bool = False,
    more: tuple[str, ...] = (),
) -> Op:  # fmt: skip
    spelled = listed(spellings, name) + more
    return Op(
        name, signature(params), REDUCE, torch or f"torch.{name}", spelled, means, range,
        _fold(exact) if exact else None, pair=pair,
    )  # fmt: skip


_KEPT = "dim=dim, keepdim=keepdim"
_ALL = "dim=none, keepdim=false"

REDUCTIONS = (
    _reduce("sum", "torch.{} Tensor.{} torch.nansum", _sum, "sum", more=tuple(
        f"{name}(x) -> sum(diagonal(x, offset=0, dim1=0, dim2=1), {_ALL})"
        for name in ("torch.trace", "Tensor.trace"))),
    _reduce("mean", "torch.{} Tensor.{} torch.nanmean", _mean, "mean"),
    _reduce("prod", "torch.{} Tensor.{}", _prod, "prod"),
    _reduce("amax", "torch.{} Tensor.{} torch.max(x;*dim=None,keepdim=False) Tensor.max(x;*dim=None,keepdim=False)",
            _extreme, "amax", pair=True),
    _reduce("amin", "torch.{} Tensor.{} torch.min(x;*dim=None,keepdim=False) Tensor.min(x;*dim=None,keepdim=False)",
            _extreme, "amin", pair=True),
    _reduce("median", "torch.{} Tensor.{} torch.quantile(x;q,dim=None,keepdim=False)"
            " Tensor.quantile(x;q,dim=None,keepdim=False)", _extreme, pair=True),
    _reduce("logsumexp", "torch.{} Tensor.{} torch.special.logsumexp", _logsumexp,
            means="log(sum(exp(x), dim=dim, keepdim=keepdim))"),
    _reduce("var", "torch.{} Tensor.{}", _spread, "var", params="x; *dim=None, correction=1, keepdim=False"),
    _reduce("std", "torch.{} Tensor.{}", _spread, "std", params="x; *dim=None, correction=1, keepdim=False"),
    # torch.linalg.norm over two dimensions is a norm of matrices, if it is told which, and over none, too, of a matrix,
    # which is not known here: what it is given is taken for a vector
    _reduce("vector_norm", "torch.linalg.{}(x;ord=2,dim=None,keepdim=False)", _norm, "norm",
            params="x; ord=2, dim=None, keepdim=False", torch="torch.linalg.vector_norm", more=(
                f"torch.linalg.norm(x; ord: None=None, dim=None, keepdim=False) -> vector_norm(x, ord=2, {_KEPT})",
                f"torch.linalg.norm(x; ord: 'fro', dim=None, keepdim=False) -> vector_norm(x, ord=2, {_KEPT})",
                f"torch.linalg.norm(x; ord: float, dim: int=None, keepdim=False) -> vector_norm(x, ord=ord, {_KEPT})",
                *(f"{name}(x; p: {kind}, dim=None, keepdim=False) -> vector_norm(x, ord=p, {_KEPT})"
                  for name in ("torch.norm", "Tensor.norm") for kind in ("'fro'='fro'", "float")))),
    _reduce("matrix_norm", "torch.linalg.{}", _norm, params="x; ord='fro', dim=(-2, -1), keepdim=False",
            torch="torch.linalg.matrix_norm", more=(
                f"torch.linalg.norm(x; ord, dim=(-2, -1), keepdim=False) -> matrix_norm(x, ord=ord, {_KEPT})",
                *(f"{name}(x; p: 'nuc', dim=(-2, -1), keepdim=False) -> matrix_norm(x, ord=p, {_KEPT})"
                  for name in ("torch.norm", "Tensor.norm")))),
    _reduce("any", "torch.{} Tensor.{}", lambda x: Interval(0.0, 1.0, integer=True, dtype=x.dtype)),
    _reduce("all", "torch.{} Tensor.{}", lambda x: Interval(0.0, 1.0, integer=True, dtype=x.dtype), more=(
            *(f"{name}(x, other, rtol=1e-05, atol=1e-08; equal_nan=False)"
              f" -> all(le(abs(x - other), atol + rtol * abs(other)), {_ALL})"
              for name in ("torch.allclose", "Tensor.allclose", "numpy.allclose")),
            *(f"{name}(x, other) -> all(eq(x, other), {_ALL})" for name in ("torch.equal", "Tensor.equal")))),
)  # fmt: skip


def _axis(
    name: str, spellings: str, range: Any, means: str | None, params: str, torch: str | None,
    more: tuple[str, ...] = (), probability: bool = False,
) -> Op:  # fmt: skip
    return Op(
        name, signature(params), AXIS, torch, listed(spellings, name) + more, means, range, probability=probability
    )


AXES = (
    _axis("softmax", "torch.{} Tensor.{} F.{} nn.Softmax[dim=None] nn.Softmax2d[](x;dim=1) torch.special.softmax",
          _unit, "exp(x) / sum(exp(x), dim=dim, keepdim=true)", "x; dim=None", "torch.softmax",
          ("F.softmin(x; dim=None) -> softmax(-x, dim=dim)",
           "nn.Softmin[dim=None](x; dim=None) -> softmax(-x, dim=dim)"),
          probability=True),
    _axis("log_softmax", "torch.{} Tensor.{} F.{} nn.LogSoftmax[dim=None] torch.special.log_softmax", _nonpositive,
          "x - log(sum(exp(x), dim=dim, keepdim=true))", "x; dim=None", "F.log_softmax"),
    # log(1 - softmax(x)): at most one entry is above 0.6, and what is left beside it is the sum of the others
    _axis("log_one_minus_softmax", "", lambda x: Interval(-INF, 0.0, dtype=x.dtype),
          "where(softmax(x, dim=dim) > 0.6,"
          " logsumexp(where(softmax(x, dim=dim) > 0.6, -inf, log_softmax(x, dim=dim)), dim=dim, keepdim=true),"
          " log1p(-where(softmax(x, dim=dim) > 0.6, 0.0, softmax(x, dim=dim))))", "x; dim=None", None),
    Op("cumsum", signature("x; dim"), AXIS, "torch.cumsum", ("torch.cumsum", "Tensor.cumsum"), None, _sum,
       lambda entries: entries[0].scan("sum", entries)),
    Op("cumprod", signature("x; dim"), AXIS, "torch.cumprod", ("torch.cumprod", "Tensor.cumprod"), None, _prod,
       lambda entries: entries[0].scan("prod", entries)),
    _axis("logcumsumexp", "torch.{} Tensor.{}", _logsumexp, "log(cumsum(exp(x), dim=dim))", "x; dim",
          "torch.logcumsumexp"),
)  # fmt: skip

PRODUCTS = (
    Op("dot", signature("x, other"), COMPOSITE, "torch.dot", ("torch.dot", "Tensor.dot", "torch.inner", "torch.vdot"),
       "sum(x * other, dim=none, keepdim=false)", _product),
    Op("matmul", signature("x, other"), COMPOSITE, "torch.matmul", ("torch.matmul", "Tensor.matmul", "torch.mm",
       "Tensor.mm", "torch.bmm", "Tensor.bmm", "torch.mv", "operator.matmul", "Tensor.mv",
       "F.linear(x, weight) -> matmul(x, t(weight))"),
       "sum(unsqueeze(x, dim=-1) * unsqueeze(other, dim=-3), dim=-2, keepdim=false)", _product),
    Op("det", signature("x"), COMPOSITE, "torch.linalg.det", ("torch.linalg.det", "torch.det", "Tensor.det"), None,
       _free, square=True),
    Op("logdet", signature("x"), COMPOSITE, "torch.logdet", ("torch.logdet", "Tensor.logdet"), "log(det(x))",
       _free, square=True),
    Op("linear", signature("x; weight=None, bias=None"), COMPOSITE, None, (
        "F.linear", "nn.Linear[in_features=None, out_features=None, bias=True](x;weight=None,bias=None)",
        "nn.LazyLinear[out_features=None](x;weight=None)", "nn.Bilinear[a=None, b=None](x;weight=None)",
        "nn.Conv1d[a=None, b=None, c=None](x;weight=None)", "nn.Conv2d[a=None, b=None, c=None](x;weight=None)",
        "nn.Conv3d[a=None, b=None, c=None](x;weight=None)", "nn.Embedding[a=None, b=None](x;weight=None)",
        "F.conv1d(x;weight=None,bias=None)", "F.conv2d(x;weight=None,bias=None)",
        "F.conv3d(x;weight=None,bias=None)", "F.embedding(x;weight=None)"), None, _free),
    # each entry is a mean, or the largest, of some entries
    Op("pool", signature("x; size=None"), COMPOSITE, None, tuple(
        text for d in "123" for text in (
            f"F.avg_pool{d}d(x;size=None)", f"F.adaptive_avg_pool{d}d(x;size=None)", f"F.max_pool{d}d(x;size=None)",
            f"F.adaptive_max_pool{d}d(x;size=None)", f"nn.AvgPool{d}d[kernel_size=None](x;size=None)",
            f"nn.AdaptiveAvgPool{d}d[output_size=None](x;size=None)", f"nn.MaxPool{d}d[kernel_size=None](x;size=None)",
            f"nn.AdaptiveMaxPool{d}d[output_size=None](x;size=None)")
        ), None, lambda x: x),
    Op("cosine_similarity", signature("x, other, eps=1e-8; dim=1"), COMPOSITE, "F.cosine_similarity", (
        "F.cosine_similarity(x1, x2; dim=1, eps=1e-8) -> cosine_similarity(x1, x2, eps, dim=dim)",
        "torch.cosine_similarity(x1, x2; dim=1, eps=1e-8) -> cosine_similarity(x1, x2, eps, dim=dim)",
        "nn.CosineSimilarity[dim=1, eps=1e-8](x1, x2; dim=1, eps=1e-8) -> cosine_similarity(x1, x2, eps, dim=dim)"),
       "sum(x * other, dim=dim, keepdim=false)"
       " / (maximum(vector_norm(x, ord=2, dim=dim, keepdim=false), eps)"
       " * maximum(vector_norm(other, ord=2, dim=dim, keepdim=false), eps))", _cosine),
    Op("normalize", signature("x, eps=1e-12; p=2.0, dim=1"), COMPOSITE, "F.normalize", (
        "F.normalize(x; p=2.0, dim=1, eps=1e-12) -> normalize(x, eps, p=p, dim=dim)",),
       "x / clamp(vector_norm(x, ord=p, dim=dim, keepdim=true), eps, none)",
       lambda x, eps: _length_one(x)),
    Op("pdist", signature("x; p=2.0"), COMPOSITE, "torch.pdist", ("torch.pdist", "F.pdist"), None,
       lambda x: Interval(0.0, INF, dtype=x.dtype)),
    Op("cdist", signature("x, other; p=2.0"), COMPOSITE, "torch.cdist", ("torch.cdist",),
       "vector_norm(unsqueeze(x, dim=-2) - unsqueeze(other, dim=-3), ord=p, dim=-1, keepdim=false)",
       lambda x, other: Interval(0.0, INF, dtype=x.dtype)),
)  # fmt: skip

_PLAIN = ("sum", "mean", "amax", "amin", "median", "any", "all")
_NESTING = ("sum", "mean", "amax", "amin")
ROWS = (
    *(replace(row, plain=row.name in _PLAIN, nests=row.name in _NESTING) for row in REDUCTIONS), *AXES, *PRODUCTS,
)  # fmt: skip
