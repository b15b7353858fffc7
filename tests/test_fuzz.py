"""Random programs: the properties of `fuzzing` on a few of them, and as cases what longer runs have found.

`make fuzz` is the long run.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from fuzzing.grow import tree
from fuzzing.layout import Unwritten, program
from fuzzing.properties import PROPERTIES, Unfit, plain, subject
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from inprocess import in_process

import nanguard
from nanguard import ops
from nanguard.analyse import examine, scan
from nanguard.matching import rules
from nanguard.matching.interval import Interval
from nanguard.matching.match import matcher
from nanguard.proof.run import run
from nanguard.reading.discover import targets
from nanguard.reading.read import read
from nanguard.repair.fixing import fix_paths
from nanguard.settings import Settings
from nanguard.term import Term, substitute, symbol, var
from nanguard.tracing.trace import trace

INF = math.inf


def held(name: str, random: Random) -> None:
    """Put one random program to a property."""
    try:
        made = program(tree(random, size=3), random)
        with subject(made, random) as one:
            PROPERTIES[name](one)
    except (Unwritten, Unfit):
        assume(False)


@pytest.mark.parametrize(
    "name, count", [("agree", 15), ("ranges", 10), ("variants", 6), ("checked", 2), ("rewritten", 3), ("fixed", 2)]
)
def test_properties_of_random_programs(name: str, count: int) -> None:
    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.randoms(use_true_random=False))
    def run(random: Random) -> None:
        held(name, random)

    run()


# --- spellings: an expression, and the term that reading and tracing both see ---------------------------

SPELLED = [
    ("x.sum(1, True)", "sum(x, dim=1, keepdim=true)"),
    ("torch.logsumexp(x, -1, True)", "logsumexp(x, dim=-1, keepdim=true)"),
    ("x.mean((0, 1), True)", "mean(x, dim=(0, 1), keepdim=true)"),
    ("x.std(0, False)", "std(x, dim=0, correction=false, keepdim=false)"),
    ("x.var(1, False, True)", "var(x, dim=1, correction=false, keepdim=true)"),
    ("x.std(False)", "std(x, correction=false, keepdim=false)"),
    ("F.normalize(x, 2.0, -1)", "normalize(x, 1e-12, p=2.0, dim=-1)"),
    ("F.normalize(x, 1.0, 0, 1e-6)", "normalize(x, 1e-6, p=1.0, dim=0)"),
    ("F.cosine_similarity(x, y, 0)", "cosine_similarity(x, y, 1e-8, dim=0)"),
    ("F.cosine_similarity(x, y, -1, 1e-6)", "cosine_similarity(x, y, 1e-6, dim=-1)"),
    ("nn.CosineSimilarity(0)(x, y)", "cosine_similarity(x, y, 1e-8, dim=0)"),
    ("torch.norm(x, p=1, dim=1)", "vector_norm(x, ord=1, dim=1)"),
    ("x.norm(p=2, dim=0, keepdim=True)", "vector_norm(x, ord=2, dim=0, keepdim=true)"),
    ("torch.max(x, other=y)", "maximum(x, y)"),
    ("x.min(other=y)", "minimum(x, y)"),
    ("(x > 0) ^ (y > 0)", "logical_xor(x > 0, y > 0)"),
    ("F.mse_loss(x, y, reduction='none')", "mse_loss(x, y, reduction='none')"),
    ("F.elu(x, 2.0)", "elu(x, 2.0)"),
    ("F.leaky_relu(x, negative_slope=0.2)", "leaky_relu(x, 0.2)"),
    ("F.elu(x)", "elu(x, 1.0)"),
    ("nn.ELU(2.0)(x)", "elu(x, 2.0)"),
    ("nn.ELU(alpha=2.0, inplace=True)(x)", "elu(x, 2.0)"),
    ("nn.LeakyReLU(0.2)(x)", "leaky_relu(x, 0.2)"),
    ("nn.LeakyReLU()(x)", "leaky_relu(x, 0.01)"),
    ("nn.Softplus(3.0)(x)", "softplus(3.0 * x) / 3.0"),
    ("nn.Hardtanh(0.0, 5.0)(x)", "clamp(x, 0.0, 5.0)"),
    ("nn.Hardtanh(max_val=5.0)(x)", "clamp(x, -1.0, 5.0)"),
    ("nn.ReLU6()(x)", "clamp(x, 0.0, 6.0)"),
    ("nn.CELU(0.5)(x)", "0.5 * elu(x / 0.5, 1.0)"),
    ("nn.Threshold(0.1, 20.0)(x)", "where(x > 0.1, x, 20.0)"),
    ("torch.linalg.norm(x, 2, dim=(0, 1))", "matrix_norm(x, ord=2, dim=(0, 1), keepdim=false)"),
    ("torch.linalg.norm(x, dim=(0, 1))", "vector_norm(x, ord=2, dim=(0, 1), keepdim=false)"),
    ("torch.linalg.norm(x, 'fro', (0, 1))", "vector_norm(x, ord=2, dim=(0, 1), keepdim=false)"),
    ("torch.linalg.norm(x, 1, 1)", "vector_norm(x, ord=1, dim=1, keepdim=false)"),
    ("torch.norm(x, 2, (0, 1))", "vector_norm(x, ord=2, dim=(0, 1), keepdim=false)"),
    ("x.norm('nuc')", "matrix_norm(x, ord='nuc', dim=(-2, -1), keepdim=false)"),
    ("torch.linalg.matrix_norm(x, 2)", "matrix_norm(x, ord=2, dim=(-2, -1), keepdim=false)"),
    ("F.mse_loss(x, y, None, None, 'sum')", "mse_loss(x, y, reduction='sum')"),
]  # fmt: skip
HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\ndef loss(x, y):\n    return "


@pytest.mark.parametrize("text, expected", SPELLED)
def test_reading_and_tracing_take_arguments_as_torch_does(text: str, expected: str) -> None:
    source = HEAD + text + "\n"
    parsed = ast.parse(source)
    (seen,) = read("m.py", source, parsed, targets("m.py", parsed)).returned
    names: dict[str, object] = {}
    exec(compile(source, "m.py", "exec"), names)
    traced = trace(names["loss"], arguments={name: torch.ones(2, 3) for name in ("x", "y")}, source=source, path="m.py")
    output = next(node for node in traced.graph.nodes if node.op == "output")
    meant = leaves_of(expected)
    assert plain(seen) is plain(meant)
    assert plain(traced.terms[output.args[0]]) is plain(meant)


def test_a_reduction_in_the_place_of_the_flags_of_old_is_none() -> None:
    # torch takes F.mse_loss(x, y, 'none') for size_average='none', which is true: it gives the mean
    source = HEAD + "F.mse_loss(x, y, 'none')\n"
    parsed = ast.parse(source)
    (seen,) = read("m.py", source, parsed, targets("m.py", parsed)).returned
    assert seen.attr("reduction") == "mean"


@pytest.mark.parametrize(
    "text",
    [
        "1 / torch.log1p(torch.acosh(x.clamp(min=1.000001)))",
        "y + (torch.log1p(x) - torch.log1p(-x))",
        "y + torch.log1p(x) - torch.log1p(-x)",
        "torch.log(1 - x + 1e-12)",  # its guard would be lost in log1p(1e-12 - x), where x is 1
        "torch.log1p(x.clone().log1p_())",
        "torch.expm1(torch.cumprod(torch.sigmoid(x).clamp(min=1e-8), -1))",
    ],
)
def test_what_is_stable_already_is_no_match(text: str) -> None:
    source = HEAD + text + "\n"
    found = scan("m.py", source, ast.parse(source), Settings(static=True), None).suspects
    assert {"NG414", "NG401", "NG402", "NG130"}.isdisjoint(suspect.match.rule.code for suspect in found)


@pytest.mark.parametrize(
    "text",
    [
        "torch.log(torch.cumsum(torch.exp(x - y), 0)) + y",  # y is not the same all along
        "torch.log(torch.cumsum(torch.exp(x - x.amax(1, True)), 0)) + x.amax(1, True)",
        "torch.log(torch.clamp(torch.sigmoid(x) * torch.sigmoid(y), 1e-8, 0.5))",  # ordinary values are above it
        "torch.log(torch.clamp(torch.sigmoid(x) * torch.sigmoid(y), 1e-8, y))",
        "torch.clamp(torch.exp(torch.exp(x)), max=10)",  # the exponential inside overflows all the same
        "1 - torch.prod(1 - x.abs().rsqrt(), 1)",  # what is above 1 has no bound of 1 that is met in vain
        "torch.log(torch.special.ndtr(x).clamp(1e-12, 0.5))",
        "torch.log((torch.sigmoid(x) - torch.sigmoid(y)).clamp(min=1e-8))",  # x may be below y
    ],
)
def test_what_an_operand_must_be_for_a_fix_is_asked(text: str) -> None:
    source = HEAD + text + "\n"
    found = scan("m.py", source, ast.parse(source), Settings(static=True), None).suspects
    forms = [
        suspect.match.variant
        for suspect in found
        if suspect.match.rule.code in ("NG429", "NG419", "NG307", "NG503", "NG128")
    ]
    assert all(form.stable is None and form.clamp is None for form in forms)


def test_what_is_along_several_dimensions_has_no_stable_form_of_one() -> None:
    source = HEAD + "torch.exp(x) / torch.exp(x).sum(dim=(1, 2), keepdim=True)\n"
    found = scan("m.py", source, ast.parse(source), Settings(static=True), None).suspects
    assert [suspect.match.variant.stable for suspect in found if suspect.match.rule.code == "NG107"] == [None]


def test_rewriting_takes_numbers_made_tensors() -> None:
    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.sigmoid(torch.hypot(x, torch.tensor(3.0))))

    stable = nanguard.rewrite(loss, example_inputs={"x": torch.ones(2, 3)})
    assert [one.code for one in stable.report()] == ["NG101"]


@pytest.mark.parametrize(
    "text, code",
    [
        ("torch.log(torch.exp(torch.sort(x, 1, True).values) - 1)", "NG123"),  # a vector has no such dimension
        (
            "torch.log(torch.sigmoid(nn.Flatten(0, -1)(x)))",
            "NG101",
        ),  # moved by a module made there
        ("(nn.Flatten(0, -1)(x) ** 2).sqrt().sqrt()", "NG301"),
    ],
)
def test_what_moves_entries_is_checked(text: str, code: str) -> None:
    result = examine("m.py", HEAD + text + "\n", Settings(static=True), None)
    assert code in [finding.code for finding in result.findings]


def test_a_guard_stays_where_what_comes_after_relies_on_it() -> None:
    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        p = (torch.softmax(x, 1) * torch.softmax(y, 1)).clamp(min=1e-12)
        return torch.log(p).sigmoid().clone().log_()  # what is written in place is not replaced

    x = torch.tensor([[1.0, -200.0, 0.0]])
    stable = nanguard.rewrite(loss, example_inputs={"x": torch.ones(1, 3), "y": torch.ones(1, 3)})
    assert loss(x, x).isfinite().all()
    torch.testing.assert_close(stable(x, x), loss(x, x))


@pytest.mark.parametrize(
    "text, code",
    [
        ("torch.log(0.5 * (torch.exp(x.norm(dim=1)) + torch.exp(-x.norm(2.0, dim=1))))", "NG116"),
        ("torch.log(1 + x.std(1, False)) - torch.log(1 - x.std(1, correction=0))", "NG130"),
    ],
)
def test_attributes_that_mean_the_same_are_the_same(text: str, code: str) -> None:
    source = HEAD + text + "\n"
    found = scan("m.py", source, ast.parse(source), Settings(static=True), None).suspects
    assert code in [suspect.match.rule.code for suspect in found]


def test_a_clamp_that_would_take_every_value_is_not_offered() -> None:
    source = HEAD + "y / torch.log_softmax(x, dim=1) ** 2\n"  # of numbers that are never above 0
    (finding,) = examine("m.py", source, Settings(static=True), None).findings
    assert finding.code == "NG202"
    assert finding.fix is None


def leaves_of(text: str, **facts: float | bool) -> Term:
    """An expression of the rule language over arguments."""
    leaves = {var(name): symbol(name, **(facts if name == "x" else {})) for name in ("x", "y")}
    return substitute(ops.parse(text), leaves)


# --- fixes: an expression whose fix once changed ordinary values -----------------------------------------

FIXED = [
    ("y / torch.log_softmax(x, dim=1)", "NG202"),  # its divisor is below 0
    ("torch.log(x.std(1)).clamp(min=1e-12, max=0.5)", "NG201"),  # its bounds are met by ordinary values
    ("torch.log(x.relu()).clamp(-50, 0.5)", "NG507"),
    ("1 / torch.log1p(torch.acosh(x.clamp(min=1.000001)))", "NG202"),
    ("torch.exp(x) / torch.exp(x).sum(dim=(1,), keepdim=True)", "NG107"),
    ("torch.where(y < 0.5, 2.0, torch.log(torch.exp(x).sum(1, keepdim=True) * y))", "NG303"),  # it was taken back
    ("torch.log(1 - torch.tanh(torch.hypot(y, torch.tensor(1.0))) ** 2)", "NG109"),  # it was written without its tensor
    ("1 / (torch.exp(x) - torch.exp(y - 100))", "NG418"),  # it overflowed where one is far below the other
    ("1 - (1 - x) ** 3", "NG419"),  # x goes beyond 1
    ("1 / (1 - torch.sigmoid(torch.sort(x, 1)[0]))", "NG404"),  # the values of it, not the pair
    ("1 / (1 - torch.sigmoid(x.max(1, True).values))", "NG404"),
    ("y[0] * torch.log(torch.sigmoid(x)) + (1 - y[0]) * torch.log(1 - torch.sigmoid(x))", "NG106"),  # of another shape
    ("torch.where(y > 0, y * torch.log(y / (x * x + 1)), 0)", "NG303"),
    # the branch that is not taken overflows in two places, and the other one divides by 0
    ("torch.where(y > 0, x / y, torch.exp(torch.exp(y)))", "NG303"),
    ("F.logsigmoid(x) / F.logsigmoid(x).sum(1, keepdim=True)", "NG208"),  # its divisor is below 0
]  # fmt: skip


@pytest.mark.parametrize("text, code", FIXED)
def test_fixes_keep_ordinary_values(text: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(HEAD + text + "\n")
    with in_process():
        outcome = fix_paths([str(path)], Settings(static=True, quiet=True), unsafe=True)
    assert outcome.bugs == ()
    assert {finding.code for finding in outcome.fixed} == {code}
    x, y = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = []
    for source in (path.read_text(), *(file.after.decode() for file in outcome.files)):
        names: dict[str, Callable[..., torch.Tensor]] = {}
        exec(compile(source, "m.py", "exec"), names)
        values.append(names["loss"](x, y))
    ordinary = values[0].isfinite() & (values[0].abs() < 40)
    torch.testing.assert_close(values[-1][ordinary], values[0][ordinary], rtol=1e-5, atol=1e-8)


def test_the_logarithm_of_cosh_keeps_its_digits_near_zero() -> None:
    x = torch.tensor([1e-42, 1e-30, 1e-8, 1e-3, 0.5, 0.999, 1.0, 30.0, 800.0], requires_grad=True)
    value = run(ops.parse("log_cosh(x)"), {var("x"): x})
    value.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, x.detach().tanh(), rtol=5e-7, atol=0)
    right = [math.log(math.cosh(entry)) if 0.1 < entry < 700 else entry**2 / 2 for entry in x.tolist()]
    right[-1] = 800 - math.log(2)
    torch.testing.assert_close(value, torch.tensor(right), rtol=5e-7, atol=0)


# --- ranges: a value that an operation gives, and what is known of its operands -------------------------

RANGES = [
    ("log2(x)", {"low": 0.25, "high": 4.0}, "float32", [-2.0, 2.0]),
    ("log10(x)", {"low": 0.01, "high": 1000.0}, "float32", [-2.0, 3.0]),
    ("log10(x)", {"low": 1e-8, "high": 1e-8}, "float32", [-8.0]),
    ("sigmoid(x)", {"low": 0.0, "low_open": True}, "float16", [0.5]),  # of the least float above 0
    ("sigmoid(x) - 0.5", {"low": 0.0, "low_open": True}, "float32", [0.0]),
    ("exp(x)", {"low": 0.0, "low_open": True, "high": 1.0}, "float32", [1.0]),
    ("erfinv(x)", {}, "float32", [math.nan, INF]),
    ("mean(1 / x)", {}, "float32", [0.0]),
    ("trunc(1 / x)", {"low": 0.0, "high": 0.0}, "float32", [INF]),  # and it raised
    ("leaky_relu(x, 0.01)", {"high": -1.0}, "float32", [-0.01]),
    ("leaky_relu(x, 3.0)", {"low": -2.0, "high": 1.0}, "float32", [-6.0, 1.0]),
    ("elu(x, 2.0)", {}, "float32", [-2.0]),
    ("sum(softmax(x, dim=-2), dim=1)", {}, "float32", [0.1, 3.0]),
    ("sum(softmax(x, dim=0), dim=-1)", {}, "float32", [0.1, 3.0]),
    ("floordiv(x, log(y))", {"low": 1.0}, "float32", [-1.0]),
    ("log1p(x)", {"low": 1e-12, "high": 1e-6}, "float16", [9.5367431640625e-07]),
    ("expm1(x)", {"low": 1e-12, "high": 1e-6}, "float16", [9.5367431640625e-07]),
    ("erf(x)", {"low": 1e-12, "high": 1e-6}, "bfloat16", [0.0, 1.1920928955078125e-06]),
    ("sinh(x)", {"low": -1e300, "high": 1.0}, "float64", [0.0, -INF]),
    ("binary_cross_entropy_with_logits(1 / x, y)", {}, "float32", [math.nan]),
    ("sinh(x)", {"low": -1.0, "high": 1e30}, "float32", [INF]),
    ("cosh(x)", {"low": -1.0, "high": 20.0}, "float16", [INF]),
    ("x ** y", {"low": 0.0, "high": 1.0}, "float32", [4.0, INF]),
    ("ndtr(x)", {"low": -13.8, "high": -6.907755278982137}, "float64", [0.0, 2.4619195571062846e-12]),
    ("trunc(cos(x))", {"low": -1.0, "high": 1.0}, "float16", [0.0]),
    ("trunc(1 / x)", {}, "float16", [0.0]),
    ("x ** x", {"low": -4.0, "high": 1e30}, "float16", [INF, math.nan]),
    ("tril(x + 1)", {"low": 0.0}, "float32", [0.0]),
    ("sqrt(x)", {"low": -2.0, "high": -1.0}, "float32", [math.nan]),  # and it raised
    ("nan_to_num(1 / x)", {"low": 0.0, "high": 1.0}, "float32", [3.4028234663852886e38]),
    ("nan_to_num(log(x) / log(x))", {"low": 0.0, "high": 0.5}, "float32", [0.0]),
    ("hypot(log(x), 1 + x)", {}, "float32", [math.nan]),
    ("atan2(log(x), y)", {}, "float32", [math.nan]),
    ("prod(log(x))", {}, "float32", [math.nan]),
    ("mean(1 / x)", {}, "float32", [math.nan]),
    ("digamma(x)", {}, "float32", [math.nan]),
    ("lgamma(x)", {"low": -3.0, "high": -1.0}, "float32", [INF]),
    ("silu(log(x))", {}, "float32", [math.nan]),
    ("softsign(1 / x)", {}, "float32", [math.nan]),
    ("tan(1 / x)", {}, "float32", [math.nan]),
    ("clamp(x, log(y), none)", {}, "float32", [math.nan]),
    ("floordiv(1 / x, 2)", {}, "float32", [math.nan]),
    ("mod(x, y)", {}, "float32", [math.nan]),
    ("normalize(1 / x, 1e-12, p=2.0, dim=1)", {}, "float32", [math.nan]),
    ("exp2(x)", {"low": -100.0}, "bfloat16", [7.888609052210118e-31, INF]),
    ("x ** sqrt(log(sigmoid(y)))", {}, "float32", [math.nan]),
    ("vector_norm(normalize(x, 1e-12, p=2.0, dim=1), ord=2, dim=1, keepdim=false)", {}, "float16", [1.001]),
    ("sum(softmax(x, dim=1), dim=1, keepdim=true)", {}, "float16", [0.999, 1.0, 1.001]),
    ("prod(square(1 / log_softmax(x, dim=1)))", {}, "float16", [math.nan]),  # 0 by underflow, times inf
    ("binary_cross_entropy(x, y, reduction='sum')", {"low": 0.0, "high": 1.0}, "float32", [250.0]),
]  # fmt: skip


@pytest.mark.parametrize("text, facts, dtype, values", RANGES)
def test_ranges_have_what_torch_computes(
    text: str, facts: dict[str, float | bool], dtype: str, values: list[float]
) -> None:
    interval = matcher(rules.load(), dtype).ranges.interval(leaves_of(text, **facts))
    assert all(_has(interval, value) for value in values), interval


def _has(interval: Interval, value: float) -> bool:
    if math.isnan(value):
        return interval.may_nan
    return interval.may_inf if math.isinf(value) else interval.holds(value)
