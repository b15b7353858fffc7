"""What is read only when it is asked for, what counts for more, and what goes when it is no longer needed."""

import ast
import gc
import weakref
from pathlib import Path

import pytest

from nanguard import collector
from nanguard.reading import expressions, recording
from nanguard.reading.discover import targets
from nanguard.reading.narrowing import Questions
from nanguard.reading.read import Reading, read
from nanguard.reading.slices import sliced
from nanguard.term import const, make, show, symbol

X, Y = symbol("x"), symbol("y")
PARTS = """
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, factor, eps=0.5, plain=True):
        super().__init__()
        self.factor = factor * 2
        if plain:
            self.eps = eps
        else:
            self.eps = 0.25

class Pair(nn.Module):
    def __init__(self, one):
        super().__init__()
        self.one = one
        self.two = Scale(7)
"""
LOSS = """
import torch
from torch import nn
from parts import Pair, Scale

class Loss(nn.Module):
    def __init__(self, hard: bool = False):
        super().__init__()
        {build}

    def forward(self, x):
        return {use}
"""


def reading(path: Path, source: str) -> Reading:
    path.write_text(source)
    tree = ast.parse(source)
    return read(str(path), source, tree, targets(str(path), tree))


# --- objects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "use", "expected"),
    [
        ("self.part = Scale(3)", "torch.exp(x * self.part.factor)", {"exp(x * 6)"}),
        ("self.part = Scale(3, plain=False)", "torch.exp(x + self.part.eps)", {"exp(x + 0.25)"}),
        ("self.part = Scale(3, eps=0.125)", "torch.exp(x + self.part.eps)", {"exp(x + 0.125)"}),
        ("self.part = Pair(Scale(3))", "torch.exp(x * self.part.one.factor)", {"exp(x * 6)"}),
        ("self.part = Pair(Scale(3))", "torch.exp(x * self.part.two.factor)", {"exp(x * 14)"}),
        ("self.part = Scale(3); self.part.factor = 5", "torch.exp(x * self.part.factor)", {"exp(x * 5)"}),
        ("self.part = Scale(3) if hard else Scale(4)", "torch.exp(x)", {"exp(x)"}),
        (
            "a, b = Scale(3), Scale(3); b.factor = 9; self.a, self.b = a, b",
            "torch.exp(x * self.a.factor - self.b.factor)",
            {"exp(x * 6 - 9)"},
        ),
    ],
)
def test_an_object_has_what_its_constructor_gave_it(tmp_path: Path, build: str, use: str, expected: set[str]) -> None:
    (tmp_path / "parts.py").write_text(PARTS)
    found = reading(tmp_path / "loss.py", LOSS.format(build=build, use=use))
    assert {show(place.term) for place in found.places if place.term.op == "exp"} == expected
    assert not found.failed


@pytest.mark.parametrize(("use", "looked_into"), [("torch.exp(x)", False), ("torch.exp(x * self.part.factor)", True)])
def test_the_constructor_of_an_object_is_read_once_it_is_looked_into(
    tmp_path: Path, use: str, looked_into: bool, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    seen: set[ast.expr] = set()
    plain = expressions.Expressions.evaluate

    def watched(self: expressions.Expressions, node: ast.expr, *rest: object) -> object:
        seen.add(node)
        return plain(self, node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(expressions.Expressions, "evaluate", watched)
    (tmp_path / "parts.py").write_text(PARTS)
    reading(tmp_path / "loss.py", LOSS.format(build="self.part = Scale(3)", use=use))
    parts = sliced(tmp_path / "parts.py")
    assert parts is not None
    found = (node for definition in parts.definitions for node in ast.walk(definition.node))
    products = [node for node in found if isinstance(node, ast.BinOp)]
    assert any(node in seen for node in products) is looked_into


# --- the budget --------------------------------------------------------------------------------------------------


def test_what_another_file_holds_counts_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "".join(f"    if a{n} > 0:\n        x = x + {n}\n" for n in range(4))
    names = ", ".join(f"a{n}" for n in range(4))
    helper = f"def helper(x, {names}):\n{body}    return x\n"
    use = f"def loss(x, {names}):\n    return helper(x, {names}).exp()\n"
    (tmp_path / "helpers.py").write_text(helper)
    monkeypatch.setattr(recording, "_MANY_STEPS", 150)
    assert not reading(tmp_path / "own.py", helper + use).failed
    assert "loss" in reading(tmp_path / "other.py", "from helpers import helper\n" + use).failed


# --- tests -------------------------------------------------------------------------------------------------------


def test_what_a_test_asks_about() -> None:
    questions = Questions()
    both = make("logical_and", (make("gt", (X, const(0))), make("isnan", (Y,))))
    asked = questions.asked(make("any", (both,), (("dim", None), ("keepdim", False))))
    assert {X, Y} <= asked.subjects
    assert asked.found_finite(False) == {Y}
    assert asked.found_finite(True) == frozenset()
    assert questions.asked(make("isfinite", (X,))).found_finite(True) == {X}
    assert questions.asked(X).subjects == frozenset()


# --- memory ------------------------------------------------------------------------------------------------------


def test_what_a_file_takes_goes_without_the_collector(tmp_path: Path) -> None:
    (tmp_path / "parts.py").write_text(PARTS)
    found = reading(tmp_path / "loss.py", LOSS.format(build="self.part = Scale(3)", use="torch.exp(0.8125 * x)"))
    # equal terms are one, and a cache may still hold those of other tests
    terms = [weakref.ref(place.term) for place in found.places if place.term.op == "exp"]
    assert terms
    assert all(term() is not None for term in terms)
    enabled = gc.isenabled()
    gc.disable()
    try:
        del found
        assert not [term() for term in terms if term() is not None]
    finally:
        if enabled:
            gc.enable()


def test_a_process_that_reads_many_files_collects_seldom() -> None:
    before = gc.get_threshold()
    try:
        collector.seldom()
        assert gc.get_threshold()[0] >= 100 * before[0]
        assert gc.get_freeze_count() > 0
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
