"""Normal forms: spellings of one meaning have one form, and what only looks alike has another."""

from __future__ import annotations

import pytest

from nanguard import ops
from nanguard.matching import match, rules
from nanguard.matching.match import Matcher


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return match.matcher(rules.load())


SAME = [
    ("1 / (1 + exp(-x))", "sigmoid(x)"),
    ("reciprocal(1 + exp(-x))", "sigmoid(x)"),
    ("(1 + exp(-x)) ** -1", "sigmoid(x)"),
    ("exp(x) / (exp(x) + 1)", "sigmoid(x)"),
    ("exp(a) / (exp(b) + exp(a))", "sigmoid(a - b)"),
    ("1 - 1 / (1 + exp(-x))", "1 - sigmoid(x)"),
    ("-sigmoid(x) + 1", "1 - sigmoid(x)"),
    ("ones() - sigmoid(x)", "1 - sigmoid(x)"),
    ("1 - (1 - sigmoid(x))", "sigmoid(x)"),
    ("log1p(-sigmoid(x))", "log(1 - sigmoid(x))"),
    ("exp(x) / sum(exp(x), dim=1, keepdim=true)", "softmax(x, dim=1)"),
    ("exp(x) / unsqueeze(sum(exp(x), dim=1), dim=1)", "softmax(x, dim=1)"),
    ("exp(log_softmax(x, dim=1))", "softmax(x, dim=1)"),
    ("x * x", "x ** 2"),
    ("square(x)", "x ** 2"),
    ("-(a - b)", "b - a"),
    ("a - (-b)", "a + b"),
    ("x * -1", "-x"),
    ("x + x", "2 * x"),
    ("maximum(x, 0)", "relu(x)"),
    ("clamp(x, 0, none)", "relu(x)"),
    ("log(pick(x) + 1)", "pick(log(x + 1))"),
    ("0.5 * (1 + tanh(0.5 * x))", "sigmoid(x)"),
    ("sqrt(x ** 2)", "abs(x)"),
    ("detach(x) + 1", "x + 1"),
    ("index(x, key=1) - index(x, key=0)", "index(x, key=1) + index(-x, key=0)"),
    ("log(1 - pick(x))", "pick(log(1 - x))"),
]
DIFFERENT = [
    ("1 / (2 + exp(-x))", "sigmoid(x)"),
    ("2 - sigmoid(x)", "1 - sigmoid(x)"),
    ("sigmoid(-x)", "1 - sigmoid(x)"),
    ("exp(x) / sum(exp(y), dim=1, keepdim=true)", "softmax(x, dim=1)"),
    ("exp(x) / sum(exp(x), dim=1)", "softmax(x, dim=1)"),
    ("1 + 1e-8 - x", "1 - x"),
    ("x / x", "1"),
    ("exp(log(x))", "x"),
    ("log(a * b)", "log(a) + log(b)"),
]


@pytest.mark.parametrize(("written", "meant"), SAME)
def test_same_meaning(matcher: Matcher, written: str, meant: str) -> None:
    assert matcher.normal(ops.parse(written)) is matcher.normal(ops.parse(meant))


@pytest.mark.parametrize(("written", "other"), DIFFERENT)
def test_other_meaning(matcher: Matcher, written: str, other: str) -> None:
    assert matcher.normal(ops.parse(written)) is not matcher.normal(ops.parse(other))


@pytest.mark.parametrize("text", [written for written, _ in SAME])
def test_a_normal_form_is_its_own_normal_form(matcher: Matcher, text: str) -> None:
    form = matcher.normal(ops.parse(text))
    assert matcher.normal(form) is form


def test_matching_does_not_depend_on_the_order_of_operands(matcher: Matcher) -> None:
    for text in ("log(exp(a) + exp(b))", "log(exp(b) + exp(a))"):
        assert [found.rule.code for found in matcher.matches(ops.parse(text))][:1] == ["NG112"]


def test_a_match_names_the_terms_of_the_program(matcher: Matcher) -> None:
    x = ops.parse("dot(a, b)")
    (found, *_) = matcher.matches(ops.parse("log(1 - 1 / (1 + exp(-dot(a, b))))"))
    assert found.rule.code == "NG102"
    assert found.bindings["x"] is x
    stable = found.variant.stable
    assert stable is not None
    assert found.replacement(stable) is ops.parse("logsigmoid(-dot(a, b))")


def test_a_guard_is_looked_through_and_named(matcher: Matcher) -> None:
    found = [m for m in matcher.matches(ops.parse("log(sigmoid(x) + 1e-8)")) if m.rule.code == "NG101"]
    assert [str(guard) for guard in found[0].guards] == ["sigmoid(x) + 1e-08"]


def test_the_order_of_a_norm_may_be_called_p() -> None:
    x = ops.parse("x")
    assert ops.call("Tensor.norm", (x,), {"p": 1, "dim": 1}) is ops.parse("vector_norm(x, ord=1, dim=1)")
    assert ops.call("torch.nn.functional.normalize", (x,), {"p": 1.0}) is ops.parse("normalize(x, 1e-12, p=1.0)")
