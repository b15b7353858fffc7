"""Rows of the losses of torch.nn.functional and of torch.nn."""

from __future__ import annotations

import math

from nanguard.matching.interval import Interval
from nanguard.ops.row import COMPOSITE, Op, Range, signature

INF = math.inf


def _between(low: float, high: float) -> Range:
    def result(*operands: Interval) -> Interval:
        nan = any(x.may_nan or x.may_inf for x in operands if x is not None)
        return Interval(low, high, may_nan=nan, dtype=operands[0].dtype)

    return result


def _divergence(x: Interval, target: Interval) -> Interval:
    """nan for a target that is no probability, and for 0 times an infinite x."""
    return Interval(may_nan=x.may_nan or x.may_inf or target.may_nan or target.low < 0, dtype=x.dtype)


def _loss(
    name: str, module: str, means: str, range: Range, params: str = "x, target; reduction='mean'",
    constructor: str = "weight=None, reduction='mean'", call: str = "",
) -> Op:  # fmt: skip
    """A loss: a function of torch.nn.functional and a class of torch.nn.  An operand `index` holds integer classes."""
    spelled = (f"F.{name}{call}", f"nn.{module}[{constructor}]{call}")
    return Op(name, signature(params), COMPOSITE, f"F.{name}", spelled, means, range)


# torch has two flags of old before the reduction, which swallow one that is given by position
_AVERAGED = "(x, target; size_average=None, reduce=None, reduction='mean')"
_CLASSES = "(input, target; weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean')"
_CONSTRUCTOR = "weight=None, size_average=None, ignore_index=-100, reduce=None, reduction='mean'"
_POSITIVE = _between(0.0, INF)
_PROBABLE = (
    "(x, target; weight: None=None, size_average=None, reduce=None, reduction='mean')"
    " -> {}(x, assume(target, low=0.0, high=1.0), reduction=reduction)"
)
_WEIGHTED = (
    "(x, target, weight; size_average=None, reduce=None, reduction='mean')"
    " -> weighted_{}(x, assume(target, low=0.0, high=1.0), assume(weight, low=0.0), reduction=reduction)"
)


def _weighted(name: str, module: str, means: str) -> Op:
    """A loss with a weight for each of its entries: the same function of torch with one argument more."""
    spelled = (f"F.{name}{_WEIGHTED.format(name)}", f"nn.{module}[weight, reduction='mean']{_WEIGHTED.format(name)}")
    own = signature("x, target, weight; reduction='mean'")
    return Op(f"weighted_{name}", own, COMPOSITE, f"F.{name}", spelled, means, _between(-INF, INF))


ROWS = (
    # `reduced` is how a loss ends: the mean, the sum or the entries themselves
    Op("reduced", signature("x; reduction='mean'"), COMPOSITE, None, (), None, lambda x: x),
    # the entry of each row that the integer target names, along dimension 1 (as the class losses of torch do)
    Op("of_class", signature("x, index"), COMPOSITE, None, (), None, lambda x, index: x),
    _loss("cross_entropy", "CrossEntropyLoss", "reduced(-of_class(log_softmax(x, dim=1), index), reduction=reduction)",
          _POSITIVE, params="x, index; reduction='mean'", call=_CLASSES, constructor=_CONSTRUCTOR),
    _loss("nll_loss", "NLLLoss", "reduced(-of_class(x, index), reduction=reduction)", _between(-INF, INF),
          params="x, index; reduction='mean'", call=_CLASSES, constructor=_CONSTRUCTOR),
    # torch demands targets in [0, 1] of the first, and the second means them so
    _loss("binary_cross_entropy", "BCELoss",
          "reduced(-(xlogy(target, x) + xlogy(1 - target, 1 - x)), reduction=reduction)", _POSITIVE,
          call=_PROBABLE.format("binary_cross_entropy")),
    _loss("binary_cross_entropy_with_logits", "BCEWithLogitsLoss",
          "reduced(target * softplus(-x) + (1 - target) * softplus(x), reduction=reduction)", _POSITIVE,
          call=_PROBABLE.format("binary_cross_entropy_with_logits")),
    _weighted("binary_cross_entropy", "BCELoss",
              "reduced(-weight * (xlogy(target, x) + xlogy(1 - target, 1 - x)), reduction=reduction)"),
    _weighted("binary_cross_entropy_with_logits", "BCEWithLogitsLoss",
              "reduced(weight * (target * softplus(-x) + (1 - target) * softplus(x)), reduction=reduction)"),
    _loss("kl_div", "KLDivLoss", "reduced(xlogy(target, target) - target * x, reduction=reduction)",
          _divergence, params="x, target; reduction='mean', log_target=False",
          constructor="size_average=None, reduce=None, reduction='mean', log_target=False",
          call="(x, target; size_average=None, reduce=None, reduction='mean', log_target=False)"),
    Op("gaussian_nll_loss", signature("x, target, var, eps=1e-6; full=False, reduction='mean'"), COMPOSITE,
       "F.gaussian_nll_loss", tuple(
           f"{name}(x, target, var; full=False, eps=1e-6, reduction='mean') -> "
           "gaussian_nll_loss(x, target, var, eps, full=full, reduction=reduction)"
           for name in ("F.gaussian_nll_loss", "nn.GaussianNLLLoss[full=False, eps=1e-6, reduction='mean']")),
       "reduced(0.5 * (log(maximum(var, eps)) + square(x - target) / maximum(var, eps)), reduction=reduction)",
       _between(-INF, INF)),
    Op("poisson_nll_loss", signature("x, target, eps=1e-8; log_input=True, full=False, reduction='mean'"), COMPOSITE,
       "F.poisson_nll_loss", tuple(
           f"{name}(x, target; {options}) -> "
           "poisson_nll_loss(x, target, eps, log_input=log_input, full=full, reduction=reduction)"
           for name, options in (
               ("F.poisson_nll_loss", "log_input=True, full=False, size_average=None, eps=1e-8, reduce=None,"
                                      " reduction='mean'"),
               ("nn.PoissonNLLLoss[log_input=True, full=False, size_average=None, eps=1e-8, reduce=None,"
                " reduction='mean']", "log_input=True, full=False, eps=1e-8, reduction='mean'"))),
       None, _between(-INF, INF)),
    _loss("mse_loss", "MSELoss", "reduced(square(x - target), reduction=reduction)", _POSITIVE, call=_AVERAGED,
          constructor="size_average=None, reduce=None, reduction='mean'"),
    _loss("l1_loss", "L1Loss", "reduced(abs(x - target), reduction=reduction)", _POSITIVE, call=_AVERAGED,
          constructor="size_average=None, reduce=None, reduction='mean'"),
    _loss("smooth_l1_loss", "SmoothL1Loss",
          "reduced(where(abs(x - target) < 1, 0.5 * square(x - target), abs(x - target) - 0.5), reduction=reduction)",
          _POSITIVE, call=_AVERAGED),
    _loss("huber_loss", "HuberLoss",
          "reduced(where(abs(x - target) < 1, 0.5 * square(x - target), abs(x - target) - 0.5), reduction=reduction)",
          _POSITIVE, constructor="reduction='mean', delta=1.0"),
)  # fmt: skip
