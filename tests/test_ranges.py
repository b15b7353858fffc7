"""Intervals hold every value that torch computes, ends are open only where they are never reached."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nanguard import ops
from nanguard.matching import match, rules
from nanguard.matching.interval import Interval
from nanguard.matching.match import Matcher
from nanguard.matching.predicates.origins import length_of_noise
from nanguard.ops import ELEMENTWISE
from nanguard.proof.run import NotEvaluable, run
from nanguard.term import Term, make, symbol

X = symbol("x")
UNARY = [
    row.name
    for row in ops.rows().values()
    if row.family == ELEMENTWISE and row.operands == ("x",) and row.range is not None and row.torch is not None
]


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return match.matcher(rules.load())


def interval(matcher: Matcher, text: str) -> Interval:
    return matcher.ranges.interval(ops.parse(text))


ENDS = [
    ("sigmoid(x)", 0.0, 1.0), ("softmax(x, dim=1)", 0.0, 1.0), ("tanh(x)", -1.0, 1.0), ("exp(x)", 0.0, math.inf),
    ("relu(x)", 0.0, math.inf), ("x ** 2", 0.0, math.inf), ("x * x", 0.0, math.inf), ("1 + exp(x)", 1.0, math.inf),
    ("1 / (1 + exp(x))", 0.0, 1.0), ("abs(x) + 1", 1.0, math.inf), ("clamp(x, 1, 2)", 1.0, 2.0),
    ("x - amax(x, dim=1, keepdim=true)", -math.inf, 0.0), ("log(clamp(x, 1, none))", 0.0, math.inf),
    ("sum(exp(x - amax(x, dim=1, keepdim=true)), dim=1)", 1.0, math.inf), ("vector_norm(x)", 0.0, math.inf),
    ("sum(softmax(x, dim=1) ** 2, dim=0)", 0.0, math.inf), ("sum(eye(), dim=0)", 1.0, math.inf),
    ("var(x)", 0.0, math.inf), ("1 - sigmoid(x)", 0.0, 1.0), ("where(x > 0, 1, 2)", 1.0, 2.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "low", "high"), ENDS)
def test_ends(matcher: Matcher, text: str, low: float, high: float) -> None:
    found = interval(matcher, text)
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize(("op", "high", "overflows"), [("exp", 88.0, False), ("exp", 89.0, True), ("i0", 88.0, False),
                                                        ("i0", 1e30, True)])  # fmt: skip
def test_what_overflows_within_finite_ends(matcher: Matcher, op: str, high: float, overflows: bool) -> None:
    x = symbol("x", "tensor", low=-4.0, high=high)
    assert matcher.ranges.interval(make(op, (x,))).may_inf == overflows


def test_infinity_over_infinity_in_a_bessel_function(matcher: Matcher) -> None:
    x = symbol("x", "tensor", low=1.0)
    assert not matcher.ranges.interval(make("i0", (x,))).may_nan
    assert matcher.ranges.interval(make("i0", (make("exp", (x,)),))).may_nan


def test_what_is_shared_is_asked_about_once(matcher: Matcher) -> None:
    """A term that holds each of 200 others twice has more paths through it than anybody could follow."""
    silent, noisy = symbol("x"), symbol("randn at 1:0")
    for _ in range(200):
        silent, noisy = make("add", (silent, silent)), make("add", (noisy, noisy))
    assert not length_of_noise(matcher.ranges, silent)
    assert length_of_noise(matcher.ranges, noisy)


def test_an_argument_that_is_called_random_is_no_noise(matcher: Matcher) -> None:
    assert length_of_noise(matcher.ranges, make("abs", (symbol("rand at 3:4"),)))
    assert not length_of_noise(matcher.ranges, make("abs", (symbol("random_weights"),)))


def test_a_float_reaches_the_ends_that_mathematics_does_not(matcher: Matcher) -> None:
    assert interval(matcher, "sigmoid(x)").ends_at(0)
    assert interval(matcher, "sigmoid(x)").ends_at(1)
    assert interval(matcher, "1 + exp(x)").ends_at(1)
    assert not interval(matcher, "x").ends_at(0)


def test_an_epsilon_moves_the_end_only_if_the_dtype_holds_it(matcher: Matcher) -> None:
    assert interval(matcher, "relu(x) + 1e-8").positive
    assert not interval(matcher, "relu(x) + 1e-46").positive
    half = match.matcher(rules.load(), "float16")
    assert not half.ranges.interval(ops.parse("relu(x) + 1e-8")).positive


def test_a_test_on_the_way_narrows(matcher: Matcher) -> None:
    known = make("assume", (X,), (("low", 0.0), ("high", None), ("low_open", True), ("high_open", False)))
    assert matcher.ranges.interval(known).positive
    assert not matcher.ranges.interval(known).holds(0.0)


@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=60, deadline=None)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_range_holds_what_torch_computes(name: str, value: float) -> None:
    checked = match.matcher(rules.load())
    term = make(name, (X,), tuple((key, default) for key, default in ops.rows()[name].signature.attrs))
    found = checked.ranges.interval(term)
    assert _inside(found, term, {X: torch.tensor(value)})


@settings(max_examples=300, deadline=None)
@given(
    op=st.sampled_from(["add", "sub", "mul", "div", "maximum", "minimum"]),
    ends=st.tuples(*[st.floats(-1e3, 1e3, width=32) for _ in range(4)]),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_arithmetic_on_intervals(op: str, ends: tuple[float, ...], at: tuple[float, float]) -> None:
    checked = match.matcher(rules.load())
    lows, highs = (min(ends[0], ends[1]), min(ends[2], ends[3])), (max(ends[0], ends[1]), max(ends[2], ends[3]))
    leaves = [symbol(name, low=low, high=high) for name, low, high in zip("ab", lows, highs, strict=True)]
    term = make(op, tuple(leaves))
    values = [
        torch.tensor(min(max(low + (high - low) * part, low), high))
        for low, high, part in zip(lows, highs, at, strict=True)
    ]
    assert _inside(checked.ranges.interval(term), term, dict(zip(leaves, values, strict=True)))


def _inside(found: Interval, term: Term, leaves: dict[Term, torch.Tensor]) -> bool:
    try:
        computed = run(term, leaves).item()
    except NotEvaluable:
        return True
    if math.isnan(computed):
        return found.may_nan or found.unknown
    if math.isinf(computed):
        return found.may_inf or computed in (found.low, found.high)
    slack = 4 * abs(computed) * found.format.eps + found.format.tiny
    return found.low - slack <= computed <= found.high + slack
