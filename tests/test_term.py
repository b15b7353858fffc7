"""Terms are hash-consed, and their expression language reads what it shows."""

from __future__ import annotations

import pytest

from nanguard import ops, term
from nanguard.term import ExpressionError, const, make, show, substitute, symbol, walk


def test_equal_terms_are_one_object() -> None:
    x = symbol("x")
    assert make("exp", (x,)) is make("exp", (symbol("x"),))
    assert const(1) is not const(1.0)
    assert const(1) is not const(True)


@pytest.mark.parametrize(
    "text",
    [
        "log(1 - sigmoid(x))", "a - (b - c)", "(a + b) * c", "-x ** 2", "2 ** -x", "sum(exp(x), dim=1, keepdim=True)",
        "a / (b * c)", "clamp(x, None, 80)", "where(x > 0, x, -x)",
    ],
)  # fmt: skip
def test_show_is_read_back(text: str) -> None:
    term = ops.parse(text.replace("None", "none").replace("True", "true"))
    assert ops.parse(show(term).replace("None", "none").replace("True", "true")) is term


@pytest.mark.parametrize("text", ["f(x)", "x.y", "x[0]", "lambda: x", "log(x, y, z)", "log()", "[x]", "log(x, dim=1)"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        ops.parse(text)


def test_walk_gives_operands_before_their_users_and_each_once() -> None:
    order = list(walk(ops.parse("exp(x) + exp(x) * y")))
    assert len(order) == len(set(order)) == 5
    for index, node in enumerate(order):
        assert all(arg in order[:index] for arg in node.args)


def test_substitute_does_not_go_into_what_it_put_in() -> None:
    x = ops.parse("x")
    assert substitute(ops.parse("exp(x)"), {x: ops.parse("log(x)")}) is ops.parse("exp(log(x))")


def test_terms_that_are_gone_leave_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain goes as a whole: each entry holds the operands of its term."""
    monkeypatch.setattr(term, "_FEW", 100)
    term._tidy()
    before = len(term._terms)
    kept = chain = term.symbol("kept")
    for number in range(3 * max(before, 100)):
        chain = term.make("add", (chain, term.const(float(number) + 0.125)))
    del chain, number
    kept_too = term.make("exp", (kept,))
    term._tidy()
    assert len(term._terms) <= before + 2
    assert term.make("exp", (term.symbol("kept"),)) is kept_too
