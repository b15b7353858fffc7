"""Exact values against closed forms, against rational arithmetic, and against torch in double precision."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from nanguard import ops
from nanguard.lazy import load_torch
from nanguard.proof.dual import Dual, dual, gradient
from nanguard.proof.exact import NotEvaluable, evaluate
from nanguard.proof.run import gradient as torch_gradient
from nanguard.proof.run import run
from nanguard.term import UNKNOWN, Term, const, make, substitute, symbol, var

torch = load_torch()
LEAVES = {name: symbol(name) for name in ("x", "y", "c")}
X, Y, C = LEAVES.values()
INF, NAN = math.inf, math.nan


def term(text: str) -> Term:
    return substitute(ops.parse(text), {var(name): leaf for name, leaf in LEAVES.items()})


def at(text: str, value: float) -> tuple[float, float]:
    """The exact value and derivative of an expression in x."""
    exact = evaluate(term(text), {X: torch.tensor(value, dtype=torch.float64)}, [X])
    assert exact.decided
    return exact.values[0], exact.gradients[0].values[0]


def same(a: float, b: float, bound: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= bound * max(abs(a), abs(b))


# Closed forms that need no cancellation are within 2 ulp in double precision.
@pytest.mark.parametrize(
    "text, x, value, slope",
    [
        ("log(sigmoid(x))", -104.0, -104 - math.log1p(math.exp(-104)), 1 / (1 + math.exp(-104))),
        ("log(sigmoid(x))", -1e300, -1e300, 1.0),
        ("log(1 - sigmoid(x))", 200.0, -200.0, -1.0),
        ("log(1 - sigmoid(x))", -200.0, -math.exp(-200), -math.exp(-200)),
        ("log(1 + exp(x))", 800.0, 800.0, 1.0),
        ("exp(x) - 1", 1e-20, 1e-20, 1.0),
        ("(1 - cos(x)) / x ** 2", 1e-9, 0.5, -1e-9 / 12),
        ("log(tanh(x))", 40.0, -2 * math.exp(-80), 4 * math.exp(-80)),
        ("sqrt(x * x + 1) - x", 1e10, 0.5e-10, -0.5e-20),
        ("erfc(x)", 30.0, 2.564656203756112e-393, 0.0),
        ("log_ndtr(x)", -1e4, -50000010.129278, 10000.0001),
        ("exp(x)", -1e300, 0.0, 0.0),
        ("x ** 2", -3.0, 9.0, -6.0),
        ("x ** 0.5", 4.0, 2.0, 0.25),
        ("2 ** x", 10.0, 1024.0, 1024 * math.log(2)),
        ("x - x", 1e300, 0.0, 0.0),
        ("x / x", 3.0, 1.0, 0.0),
        ("sinc(x)", 0.0, 1.0, 0.0),
    ],
)
def test_closed_forms(text: str, x: float, value: float, slope: float) -> None:
    found = at(text, x)
    assert same(found[0], value, 1e-11)
    assert same(found[1], slope, 1e-8)


@pytest.mark.parametrize(
    "text, x, value, slope",
    [
        ("log(x)", 0.0, -INF, 0.0),  # an entry that is not finite has no part in the gradient
        ("log(x)", -1.0, NAN, 0.0),
        ("1 / x", 0.0, INF, 0.0),
        ("x / x", 0.0, NAN, 0.0),
        ("sqrt(x)", 0.0, 0.0, INF),
        ("sqrt(x)", -1.0, NAN, 0.0),
        ("acos(x)", 1.0, 0.0, -INF),
        ("asin(x)", 1.5, NAN, 0.0),
        ("x ** 0.5", 0.0, 0.0, INF),
        ("x ** -1", 0.0, INF, 0.0),
        ("x ** 0", 0.0, 1.0, 0.0),
        ("x ** 0.5", -1.0, NAN, 0.0),
        ("sqrt(x * x)", 0.0, 0.0, NAN),
        ("exp(log(x))", 0.0, 0.0, NAN),
        ("lgamma(x)", -2.0, INF, 0.0),
        ("sigmoid(x)", -INF, 0.0, NAN),
        ("log(sigmoid(x))", -INF, -INF, 0.0),
        ("x + 1", NAN, NAN, 0.0),
        ("x - x", INF, NAN, 0.0),
        ("entr(x)", 0.0, 0.0, INF),
        ("xlogy(0, x)", 0.0, 0.0, 0.0),
        ("abs(x)", 0.0, 0.0, 0.0),
        ("relu(x)", 0.0, 0.0, 0.0),
        ("clamp(x, 0, 1)", 0.0, 0.0, 1.0),
        ("clamp(x, 0, 1)", 1.0, 1.0, 1.0),
        ("clamp(x, 0, 1)", 2.0, 1.0, 0.0),
        ("clamp(x, none, 1)", -5.0, -5.0, 1.0),
        ("maximum(x, 0)", 0.0, 0.0, 0.5),
        ("where(x > 0, log(x), 0)", -1.0, 0.0, 0.0),
        ("where(x > 0, x, sqrt(x))", 2.0, 2.0, 1.0),
        ("round(x)", 2.5, 2.0, 0.0),
        ("round(x)", -0.5, 0.0, 0.0),
        ("trunc(x)", -2.5, -2.0, 0.0),
        ("x * detach(x)", 3.0, 9.0, 3.0),
        ("nan_to_num(log(x))", -1.0, 0.0, 0.0),
        ("logical_and(x, 2)", 3.0, 1.0, 0.0),
    ],
)
def test_edges_of_domains_and_kinks(text: str, x: float, value: float, slope: float) -> None:
    assert all(same(a, b, 0) for a, b in zip(at(text, x), (value, slope), strict=True))


# --- against torch

ORDINARY = (-2.3, -0.7, 0.3, 0.6, 1.7, 3.2)
ELEMENTWISE = [row for row in ops.rows().values() if row.family == ops.ELEMENTWISE and row.torch]


def compare(expression: Term, leaves: dict[Term, object]) -> int:
    """Run and exact agree in shape, value and gradient; returns how many values are finite."""
    doubles = {
        leaf: value.double().requires_grad_() if value.is_floating_point() else value  # type: ignore[attr-defined]
        for leaf, value in leaves.items()
    }
    wrt = [leaf for leaf, value in doubles.items() if value.is_floating_point()]
    computed, exact = run(expression, doubles), evaluate(expression, doubles, wrt)
    assert exact.decided
    assert exact.shape == tuple(computed.shape)
    for value, true in zip(computed.double().flatten().tolist(), exact.values, strict=True):
        assert same(value, true, 1e-12), (expression, leaves, value, true)
    try:
        slopes = torch_gradient(computed, [doubles[leaf] for leaf in wrt])
    except NotEvaluable:  # torch has no derivative of floor_divide
        return 0
    if not all(map(math.isfinite, exact.values)):
        return 0
    for slope, true_slopes in zip(slopes, exact.gradients, strict=True):
        found = [0.0] * len(true_slopes.values) if slope is None else slope.flatten().tolist()
        for one, other in zip(found, true_slopes.values, strict=True):
            assert same(one, other, 1e-9) or abs(one - other) < 1e-12, (expression, leaves, one, other)
    return len(exact.values)


@pytest.mark.parametrize("row", ELEMENTWISE, ids=lambda row: row.name)
def test_each_elementwise_row_agrees_with_torch(row: ops.Op) -> None:
    numbers = tuple(const(default) for _, default in row.signature.operands if isinstance(default, float))
    leaves = [symbol(name) for name in row.operands[: len(row.operands) - len(numbers)]]
    finite = 0
    for point in itertools.product(ORDINARY, repeat=len(leaves)):
        if row.name == "clamp" and point[1] >= point[2]:
            continue  # bounds that leave no room: torch gives nobody a slope
        tensors = [torch.tensor(value) for value in point]
        finite += compare(make(row.name, (*leaves, *numbers)), dict(zip(leaves, tensors, strict=True)))
    assert finite >= 2 or row.name == "floordiv"


REDUCED = [
    f"{name}(x, dim={dim}, keepdim={keepdim})"
    for name in ("sum", "mean", "amax", "amin", "var", "std", "vector_norm", "prod", "logsumexp", "any")
    for dim in ("none", "0", "1", "-1", "(0, 1)")
    for keepdim in ("false", "true")
    if not (name == "prod" and dim == "(0, 1)")  # torch's takes one dimension
]
ALONG = [
    f"{name}(x, dim={dim})"
    for name in ("softmax", "log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort")
    for dim in ("0", "1", "-1")
]
MOVED = [
    "reshape(x, shape=(4, 3))", "reshape(x, shape=-1)", "flatten(x)", "squeeze(unsqueeze(x, dim=1), dim=1)",
    "transpose(x, dim0=0, dim1=1)", "t(x)", "permute(x, dims=(1, 0))", "movedim(x, source=0, destination=1)",
    "expand(unsqueeze(x, dim=0), size=(2, 3, 4))", "repeat_interleave(x, repeats=2, dim=0)",
    "flip(x, dims=1)", "roll(x, shifts=1, dims=0)", "diagonal(x)", "tril(x)", "select(x, dim=1, index=2)",
    "sort(x, dim=0, descending=true)", "unbind(x, dim=1)", "masked_select(x, x > 0)",
]  # fmt: skip
MIXED = [
    "where(x > 0, x, 0.0)", "where(x > 0, 1.0, 2.0) * x", "clamp(x, none, 0.5)", "clamp(x, none, none)",
    "clamp(x, -0.1, sum(x))", "maximum(x, 0.0)", "2.0 ** x", "1 / x", "1 - x", "2 * 3 * x", "log(10) * x",
    "one_minus_sigmoid(x)", "full(2.5) * x", "zeros() + x", "ones(size=(3, 1)) * x", "arange(end=4) * x",
    "mean(to(x > 0))", "sum(x) / numel(x)", "detach(x) * x", "trunc(x * 3)", "dropout(x, 0.5)", "eye(n=3)",
    "assume(x, low=0.0)", "count_nonzero(x)", "argmax(x, dim=1)", "x * sum(x, dim=1, keepdim=true)",
    "logsumexp(x) - amax(x)", "vector_norm(x - mean(x, dim=0, keepdim=true), ord=3.0)",
    "vector_norm(x, ord=1)", "vector_norm(x, ord=inf, dim=1)", "vector_norm(x, ord=0)",
    "vector_norm(x, ord='fro')",
    "var(x, dim=1, correction=0)", "normalize(x, 1e-12, p=2.0, dim=1)", "softmax(x) * log_softmax(x)",
    "dropout(logit(sigmoid(x)))", "isnan(log(x))", "isfinite(1 / x)", "isinf(x)", "2 > 1",
]  # fmt: skip


@pytest.mark.parametrize("text", [*REDUCED, *ALONG, *MOVED, *MIXED])
def test_expressions_of_a_matrix_agree_with_torch(text: str) -> None:
    torch.manual_seed(3)
    compare(term(text), {X: torch.randn(3, 4)})


@pytest.mark.parametrize(
    "text, x, y",
    [
        ("x * y", (3, 1), (1, 4)),
        ("x + y", (3,), (2, 1)),
        ("x - y", (), (2, 2)),
        ("dot(x, y)", (4,), (4,)),
        ("matmul(x, y)", (3, 4), (4, 2)),
        ("matmul(x, y)", (3, 4), (4,)),
        ("matmul(x, y)", (3,), (3, 4)),
        ("matmul(x, y)", (3,), (3,)),
        ("matmul(x, y)", (2, 3, 4), (2, 4, 5)),
        ("matmul(x, y)", (2, 3, 4), (4, 5)),
        ("cosine_similarity(x, y, 1e-8, dim=1)", (3, 4), (3, 4)),
        ("cosine_similarity(x, y, 1e-8, dim=-1)", (4,), (4,)),
        ("cdist(x, y, p=2.0)", (3, 4), (2, 4)),
        ("mse_loss(x, y, reduction='mean')", (3, 4), (3, 4)),
        ("l1_loss(x, y, reduction='sum')", (3, 4), (3, 4)),
        ("smooth_l1_loss(x, y, reduction='none')", (3, 4), (3, 4)),
        ("huber_loss(x, y, reduction='mean')", (3, 4), (3, 4)),
        ("binary_cross_entropy_with_logits(x, y, reduction='mean')", (3, 4), (3, 4)),
        ("binary_cross_entropy(sigmoid(x), sigmoid(y), reduction='mean')", (3, 4), (3, 4)),
        ("kl_div(x, softmax(y, dim=1), reduction='batchmean')", (3, 4), (3, 4)),
        ("cross_entropy(x, softmax(y, dim=1), reduction='mean')", (3, 4), (3, 4)),
    ],
)
def test_expressions_of_two_tensors_agree_with_torch(text: str, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    torch.manual_seed(4)
    compare(term(text), {X: torch.randn(x), Y: torch.randn(y)})


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape, classes", [((3, 5), (3,)), ((5,), ()), ((2, 5, 4), (2, 4))])
def test_losses_of_classes_agree_with_torch(shape: tuple[int, ...], classes: tuple[int, ...], reduction: str) -> None:
    torch.manual_seed(5)
    leaves = {X: torch.randn(shape), C: torch.randint(0, 5, classes)}
    for loss in ("cross_entropy", "nll_loss"):
        compare(term(f"{loss}(x, c, reduction='{reduction}')"), leaves)


@pytest.mark.parametrize("text", ["amax(x, dim=1)", "amin(x)", "std(x, dim=1)", "var(x)", "maximum(x, 1.0)"])
def test_ties_share_the_slope_as_in_torch(text: str) -> None:
    compare(term(text), {X: torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]])})


@pytest.mark.parametrize("order", ["1", "1.5", "2", "3", "inf"])
def test_a_norm_has_no_slope_at_zero_as_in_torch(order: str) -> None:
    compare(term(f"vector_norm(x, ord={order}, dim=1)"), {X: torch.zeros(2, 3)})


def test_stack_index_and_one_hot_agree_with_torch() -> None:
    leaves = {X: torch.randn(2, 3), Y: torch.randn(3)}
    stacked = make("stack", (X, Y, const(1.0)))
    compare(stacked, leaves)
    for key in (1, (0, 1), ("...", 0), (("slice", 0, 2, None), None), ("slice", None, None, 2)):
        compare(make("index", (stacked,), (("key", key),)), leaves)
    compare(term("one_hot(c, num_classes=5) * 1.5"), {C: torch.tensor([0, 3, 1])})


# --- what is taken as what


@pytest.mark.parametrize("dtype, stored", [("float16", 0.0999755859375), ("bfloat16", 0.10009765625), ("float64", 0.1)])
def test_leaves_are_taken_as_stored(dtype: str, stored: float) -> None:
    exact = evaluate(X, {X: torch.tensor(0.1, dtype=getattr(torch, dtype))})
    assert exact.values == (stored,)
    assert exact.balls[0] == arb(stored)  # true of two balls without a radius only


def test_a_leaf_may_be_any_subterm() -> None:
    inner = make("opaque", (X,))
    exact = evaluate(make("log", (inner,)), {inner: torch.tensor([1.0, math.e])}, [inner])
    assert same(exact.values[1], 1.0, 1e-7)
    assert exact.gradients[0].shape == (2,)
    assert exact.gradients[0].values[0] == 1.0


@pytest.mark.parametrize("key", [None, UNKNOWN, (0, UNKNOWN)])
def test_movements_that_are_not_known_keep_their_operand(key: object) -> None:
    assert evaluate(make("index", (X,), (("key", key),)), {X: torch.tensor([1.0, 2.0])}).values == (1.0, 2.0)
    assert evaluate(make("reshape", (X,), (("shape", UNKNOWN),)), {X: torch.ones(2)}).shape == (2,)


@pytest.mark.parametrize(
    "expression",
    [
        Y,
        make("opaque", (X,)),
        make("either", (X, X)),
        make("rand", (), (("size", None),)),
        make("linear", (X,), (("weight", None), ("bias", None))),
        make("add", (X, const(None))),
        make("add", (X, const("text"))),
        make("no_such_operation", (X,)),
        term("x + ones(size=(7,))"),
        const(None),
    ],
    ids=repr,
)
def test_what_has_no_exact_value_says_so(expression: Term) -> None:
    with pytest.raises(NotEvaluable):
        evaluate(expression, {X: torch.tensor([1.0, 2.0])})


def test_only_finite_entries_count_in_the_gradient() -> None:
    exact = evaluate(term("log(x)"), {X: torch.tensor([0.0, 2.0, -1.0])}, [X])
    assert exact.gradients[0].values == (0.0, 0.5, 0.0)


# --- precision


def test_precision_is_raised_until_the_value_is_known() -> None:
    exact = evaluate(term("log(1 - sigmoid(x))"), {X: torch.tensor(2000.0)}, [X])
    assert (exact.values, exact.gradients[0].values, exact.decided) == ((-2000.0,), (-1.0,), True)


def test_a_slope_that_cancels_to_zero_is_decided() -> None:
    exact = evaluate(term("softmax(x, dim=0)"), {X: torch.tensor([1.0, 2.0, 3.0])}, [X])
    assert exact.decided
    assert exact.gradients[0].values == (0.0, 0.0, 0.0)


def test_what_no_precision_can_tell_is_not_decided() -> None:
    beyond = evaluate(term("log(1 - sigmoid(x))"), {X: torch.tensor(1e6)}, [X])
    assert not beyond.decided
    alike = evaluate(term("acos(cosine_similarity(x, x, 1e-8, dim=0))"), {X: torch.tensor([1.0, 1.0])}, [X])
    assert not alike.decided
    assert alike.values == (0.0,)


def test_the_highest_precision_can_be_set() -> None:
    assert not evaluate(term("log(1 - sigmoid(x))"), {X: torch.tensor(200.0)}, bits=128).decided


# --- properties

ANY = st.floats(width=64) | st.sampled_from([0.0, 1.0, -1.0, INF, -INF, NAN, 5e-324, 1e300])
UNARY = [
    "exp", "exp2", "expm1", "log", "log1p", "sqrt", "sin", "cos", "atan", "asin", "acos", "tanh", "erf",
    "erfc", "erfinv", "lgamma", "digamma", "floor", "round", "relu", "abs", "sign", "__neg__", "snapped",
]  # fmt: skip
BINARY = [
    "__add__", "__sub__", "__mul__", "__truediv__", "__pow__", "maximum", "minimum", "atan2", "xlogy",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_chain_of_operations_raises(data: st.DataObject) -> None:
    pool = [Dual(dual(data.draw(ANY)).value, ()) for _ in range(3)]
    leaves = list(pool)
    for name in data.draw(st.lists(st.sampled_from([*UNARY, *BINARY, "clamp", "compare", "choose"]), max_size=8)):
        one, two, three = (data.draw(st.sampled_from(pool)) for _ in range(3))
        operands: tuple[object, ...] = () if name in UNARY else (two,) if name in BINARY else (two, three)
        pool.append(getattr(one, name)(*(("lt", two) if name == "compare" else operands)))
    for name in ("sum", "mean", "prod", "amax", "amin", "var", "std", "norm"):
        pool.append(pool[0].fold(name, pool))
    gradient(pool, leaves)


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(FINITE, min_size=2, max_size=5))
def test_rational_operations_hold_the_true_value(numbers: list[float]) -> None:
    fractions = [Fraction(number) for number in numbers]
    duals = [dual(number) for number in numbers]
    mean = sum(fractions) / len(fractions)
    for true, found in (
        (sum(fractions), duals[0].fold("sum", duals)),
        (mean, duals[0].fold("mean", duals)),
        (max(fractions), duals[0].fold("amax", duals)),
        (math.prod(fractions), duals[0].fold("prod", duals)),
        (sum((each - mean) ** 2 for each in fractions), duals[0].fold("var", duals) * (len(duals) - 1)),
    ):
        with ctx.workprec(4000):  # flint rounds the fraction before it looks
            assert found.value.overlaps(fmpq(true.numerator, true.denominator))


@settings(deadline=None)
@given(FINITE)
def test_the_value_of_a_float_expression_is_its_nearest_float(number: float) -> None:
    exact = evaluate(term("x * x - x / 3"), {X: torch.tensor(number, dtype=torch.float64)})
    true = Fraction(number) ** 2 - Fraction(number) / 3
    assert exact.values == (float(true),)
