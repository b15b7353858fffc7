"""Points: a run of many gives what runs of one give, whatever the term does with its entries."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from nanguard import ops
from nanguard.matching import algebra, rules
from nanguard.matching.match import matcher
from nanguard.matching.normal import peel
from nanguard.proof import points
from nanguard.proof.leaves import Cut
from nanguard.term import Term, fill, make, symbol

X, Y = symbol("x"), symbol("y")
ROWS = (
    ((0.5, -1.0, 2.0, 3.0), (1.0, 1.0, -2.0, 0.0)),
    ((0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 1.0)),
    ((100.0, -100.0, 0.0, 1.0), (-1.0, 0.0, 0.0, 100.0)),
)


def cut(text: str, elementwise: bool = False) -> Cut:
    root: Term = fill(ops.parse(text), {"x": X, "y": Y}, {})
    return Cut(root, root, (X, Y), (), (), frozenset(), elementwise, (), 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "log(sum(exp(x), dim=1)) + sum(y)",
        "softmax(x, dim=1) * y",
        "log(softmax(x, dim=-1)) - mean(y)",
        "matmul(x, transpose(y, dim0=0, dim1=1))",
        "sqrt(sum(x ** 2, dim=0)) / amax(y, dim=0)",
        "var(x, dim=1) + std(y)",
        "where(x > 0, log(x), y)",
        "clamp(x, 0, y) + logsumexp(x, dim=0)",
    ],
)
def test_tensors_side_by_side_are_tensors_alone(text: str) -> None:
    found = points.many(cut(text), ROWS, (2, 2), "float32")
    assert found is not None
    for values, point in zip(ROWS, found, strict=True):
        alone = points.at(cut(text), values, (2, 2), "float32")
        assert alone is not None
        assert (point.values, point.finite, point.smooth) == (alone.values, alone.finite, alone.smooth)
        pairs = zip((point.output, *point.gradients), (alone.output, *alone.gradients), strict=True)
        for part, right in pairs:
            assert (part is None) == (right is None)
            if part is not None and right is not None:
                torch.testing.assert_close(part, right, equal_nan=True)


def test_entries_of_a_vector_are_scalars() -> None:
    rows = [((value,), (1.0,)) for value in (-1.0, 0.0, 1.0)]
    found = points.many(cut("log(x) * y", elementwise=True), rows, (), "float64")
    assert found is not None
    assert [(point.output.item(), point.finite, point.smooth) for point in found][1:] == [
        (-math.inf, False, False),
        (0.0, True, True),
    ]


def test_what_does_not_act_entry_by_entry_is_not_run_so() -> None:
    assert points.many(cut("sum(x) + sum(y)", elementwise=True), [((1.0,), (1.0,))] * 3, (), "float32") is None


def test_what_cannot_be_run_side_by_side_is_run_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    term, ranges = cut("log(sum(exp(x), dim=1)) + sum(y)"), matcher(rules.load())
    together = [point.output.isfinite().tolist() for point in points.points_of(term, ranges)]

    def refused(*_: object) -> Iterator[points.Point] | None:
        return None

    monkeypatch.setattr(points, "many", refused)
    assert [point.output.isfinite().tolist() for point in points.points_of(term, ranges)] == together


ROOTS = sorted(name for name, row in ops.rows().items() if row.family not in (ops.LEAF, ops.CAST, ops.MOVEMENT))


@pytest.mark.parametrize("name", [name for name in ROOTS if name not in algebra.WRITTEN])
def test_an_operation_without_rules_or_other_spellings_stays_what_it_is(name: str) -> None:
    found = matcher(rules.load())
    if name in found.normal.spellings.entries or name == "stack":
        return
    for operand in (X, make("transpose", (X,), (("dim0", 0), ("dim1", 1))), make("log", (X,)), make("add", (X, Y))):
        term = make(name, (operand,) * len(ops.rows()[name].operands))
        head, _ = peel(found.normal.head(term))
        assert head.op == name
