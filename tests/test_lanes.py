"""Bounds in float64 of exact values at many inputs: what ball arithmetic says always lies between them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from nanguard import ops
from nanguard.proof import exact
from nanguard.proof.evaluate import NotEvaluable
from nanguard.proof.lanes import Bounds, bounds
from nanguard.proof.leaves import DIRECTED, SMALL
from nanguard.term import Term, make, var

INPUTS = (*DIRECTED, *SMALL, 1 / 3, -7.25, 88.8, 710.0, -745.5, 1e5, -1e30, 1e300)
FEW = (0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-8, 40.0, -90.0, 800.0, 1e30)
WITHOUT = {"i0", "i0e", "lgamma", "digamma", "erfinv", "ndtri", "atan2"}  # no bounds are known of these

X, Y = var("x"), var("y")


def outside(found: Bounds, balls: tuple[float, ...]) -> list[int]:
    """The lanes in which the exact value is not between the bounds."""
    lows, highs = found.low.flatten().tolist(), found.high.flatten().tolist()
    return [
        index
        for index, (low, high, value) in enumerate(zip(lows, highs, balls, strict=True))
        if not (low <= value <= high or (math.isnan(value) and (math.isnan(low) or low == -high == -math.inf)))
    ]


def leaves(columns: list[list[float]]) -> dict[Term, Tensor]:
    return {leaf: torch.tensor(column, dtype=torch.float64) for leaf, column in zip((X, Y), columns, strict=False)}


ELEMENTWISE = [
    row.name
    for row in ops.rows().values()
    if row.family == ops.ELEMENTWISE and row.exact and len(row.operands) <= 2 and not row.signature.attrs
]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_bounds_hold_what_balls_say(name: str) -> None:
    row = ops.row(name)
    assert row is not None
    pairs = list(zip(*itertools.product(FEW, FEW), strict=True))
    columns = [list(INPUTS)] if len(row.operands) == 1 else list(map(list, pairs))
    given = leaves(columns)
    term = make(name, tuple(given))
    if name in WITHOUT:
        with pytest.raises(NotEvaluable):
            bounds(term, given, {})
        return
    found = bounds(term, given, {})
    assert outside(found, exact.evaluate(term, given).values) == []


@pytest.mark.parametrize(
    "text",
    [
        "softmax(x, dim=0)", "log_softmax(x, dim=0)", "logsumexp(x, dim=0, keepdim=False)", "mean(x)", "prod(x, dim=0)",
        "amax(x, dim=0)", "amin(x, dim=0)", "std(x, dim=0)", "var(x, dim=0)", "vector_norm(x, dim=0)",
        "softplus(x) - relu(x)", "log(sigmoid(x))", "x / vector_norm(x)", "log(1 + exp(x))", "exp(x) / (1 + exp(x))",
        "where(x > 0, log(x), x)", "sum(x) / numel(x)", "clamp(x, 0.5, 20)", "x ** 3", "x ** -2",
        "x ** 2.5", "x ** 0.5", "0 * tanh(x / 0)", "log(1 - tanh(x) ** 2)", "1 - tanh(x) * tanh(x)", "cumsum(x, dim=0)",
    ],
)  # fmt: skip
def test_bounds_of_tensors_hold_what_balls_say(text: str) -> None:
    term = ops.parse(text)
    torch.manual_seed(0)
    rows = torch.randn(60, 4, dtype=torch.float64) * torch.logspace(-6, 6, 60, dtype=torch.float64).unsqueeze(1)
    found = bounds(term, {X: rows}, {})
    for index, row in enumerate(rows):
        lane = Bounds(found.low[index], found.high[index])
        balls = exact.evaluate(term, {X: row})
        assert not balls.decided or outside(lane, balls.values) == [], row


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("logsigmoid(x)", 44),
        ("softplus(x)", 44),
        ("log_softmax(x, dim=0)", 40),
        ("sigmoid(x)", 44),
        ("expm1(x)", 44),
        ("1 - tanh(x) ** 2", 40),
    ],
)
def test_bounds_are_close_where_a_stable_form_is_accurate(text: str, bits: int) -> None:
    values = torch.linspace(-600, 600, 241, dtype=torch.float64)
    rows = values if "dim" not in text else torch.stack((values, values / 2, -values), 1)
    found = bounds(ops.parse(text), {X: rows}, {})
    assert bool((found.high - found.low <= found.high.abs().clamp_min(2.0**-126) * 2.0**-bits).all())


def test_what_is_undefined_is_known_to_be() -> None:
    values = torch.tensor([-3.0, -1e-300, 2.0], dtype=torch.float64)
    assert bounds(make("log", (X,)), {X: values}, {}).low.isnan().tolist() == [True, True, False]
    assert bounds(make("sqrt", (X,)), {X: values}, {}).low.isnan().tolist() == [True, True, False]


def test_what_lanes_would_have_to_agree_on_has_no_bounds() -> None:
    with pytest.raises(NotEvaluable):
        bounds(ops.parse("sort(x, dim=0)"), {X: torch.randn(3, 2)}, {})
