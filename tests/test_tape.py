"""Tapes: terms and places of code that decides on values, and what numbers of one run must not claim."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from nanguard.lazy import load_torch
from nanguard.reading import discover
from nanguard.settings import Settings
from nanguard.term import show
from nanguard.tracing.arguments import taken_apart, unknown
from nanguard.tracing.deadline import worked
from nanguard.tracing.live import findings
from nanguard.tracing.load import load_module
from nanguard.tracing.places import Sources
from nanguard.tracing.recording import Recording
from nanguard.tracing.subject import subject_of
from nanguard.tracing.trace import TraceError, trace_target

torch = load_torch()

from nanguard.tracing.tape import Trains, taped  # noqa: E402  (torch is loaded quietly first)

HEAD = """\
import math
import torch
import torch.nn.functional as F
from torch import nn

"""


def recorded(path: Path, body: str, seconds: float = 10.0, **arguments: Any) -> Recording:
    """The tape of ``def loss(x, y): body``."""
    text = HEAD + f"def loss(x, y):\n    {body}\n"
    path.write_text(text, encoding="utf-8")
    subject = subject_of(load_module(str(path), text).loss)
    values = {"x": torch.tensor([[0.5, -1.0], [2.0, 0.3]]), "y": torch.tensor([[0.2, 0.9], [0.4, 0.7]]), **arguments}
    given = taken_apart(subject.signature, {**unknown(subject.signature), **values})
    return taped(subject, given, Sources(), worked() + seconds)


def last(found: Recording) -> str:
    """The term of the last site, as text."""
    return show(found.sites[-1].term)


TERMS = [
    ("return torch.log(torch.sigmoid(x))", "log(sigmoid(x))"),
    ("return 1 - x.sigmoid()", "1 - sigmoid(x)"),
    ("return 2 ** x", "2 ** x"),
    ("return F.softplus(x, beta=2.0).log()", "log(softplus(2.0 * x) / 2.0)"),
    ("return nn.Softmax(dim=1)(x).log()", "log(softmax(x, dim=1))"),
    ("if x.sum() > 99: return x\n    return x.log()", "log(x)"),
    ("while x.sum() < 99: x = x.exp()\n    return x.log()", "log(exp(exp(x)))"),
    ("return torch.stack([row.log() for row in x])", "stack(log(index(unbind(x, dim=0), key=0)), "
     "log(index(unbind(x, dim=0), key=1)))"),
    ("a, b = x.unbind(1)\n    return a.log()", "log(index(unbind(x, dim=1), key=0))"),
    ("return x.max(1).values.log()", "log(amax(x, dim=1, keepdim=False))"),
    ("return torch.exp(x - x.max().item())", "exp(x - detach(amax(x, keepdim=False)))"),
    ("return torch.exp(x - float(x.max()))", "exp(x - detach(amax(x, keepdim=False)))"),
    ("return torch.distributions.Normal(x, y.exp()).scale.log()", "log(exp(y))"),
    ("p = x.sigmoid()\n    p.clamp_(0.1, 0.9)\n    return p.log()", "log(clamp(sigmoid(x), 0.1, 0.9))"),
    ("p = x.sigmoid()\n    p[y > 0.5] = 1\n    return p.log()", "log(overwrite(sigmoid(x), y > 0.5, 1))"),
    ("p = x.sigmoid()\n    p += 1\n    return p.log()", "log(sigmoid(x) + 1)"),
    ("with torch.no_grad(): p = x.sigmoid()\n    return p.log()", "log(detach(sigmoid(x)))"),
    ("assert isinstance(x, torch.Tensor) and len(x) == 2 and x.shape == y.shape\n    return x.log()", "log(x)"),
    ("return F.gaussian_nll_loss(x, x, y, full=True, reduction='none').log()", None),
    ("return x.unique(return_counts=True)[0].log()", None),
    ("return torch.einsum('ij,ij->i', x, y).log()", None),
]  # fmt: skip


@pytest.mark.parametrize("body, expected", TERMS)
def test_terms(tmp_path: Path, body: str, expected: str | None) -> None:
    found = last(recorded(tmp_path / "m.py", body))
    assert found == expected if expected is not None else found.startswith("log(")


def test_a_function_of_torch_that_the_table_lacks_is_seen_through(tmp_path: Path) -> None:
    found = recorded(tmp_path / "m.py", "return F.multilabel_soft_margin_loss(x, y).log()")
    assert "logsigmoid(x)" in last(found)
    assert [site.text for site in found.sites] == [
        "F.multilabel_soft_margin_loss(x, y)",
        "F.multilabel_soft_margin_loss(x, y).log()",
    ]


def test_places_and_names(tmp_path: Path) -> None:
    found = recorded(tmp_path / "m.py", "p = torch.sigmoid(x)\n    if p.sum() > 9: return x\n    return -torch.log(p)")
    assert [site.text for site in found.sites] == [
        "torch.sigmoid(x)", "p.sum()", "p.sum() > 9", "torch.log(p)", "-torch.log(p)",
    ]  # fmt: skip
    assert {show(term): name for term, name in found.sites[3].names.items()}["sigmoid(x)"] == "p"


PROVED = [
    ("if x.sum() > 99: x = x * 2\n    return -torch.log(torch.sigmoid(x))", {"NG101"}),
    ("return torch.log(torch.exp(x - x.max().item()).sum(1))", set()),
    ("m = float(x.max()) * 1.0\n    return torch.log(torch.exp(x - m).sum(1)) + m", set()),
    ("m = x.max().tolist()\n    return torch.log(torch.exp(x - m).sum(1)) + m", set()),
    ("if (y < 0).any(): return x\n    return torch.sqrt(y + 1e-6)", set()),
    ("d = (x - y).norm(dim=1).sum()\n    if d == 0: return x\n    return x / d", set()),
    ("d = (x - y).norm(dim=1).sum()\n    if d.item() == 0: return x\n    return x / d", set()),
    ("with torch.no_grad(): w = (1 - torch.sigmoid(x) + 1e-12).log()\n    return w * y", set()),
    ("torch.set_grad_enabled(False)\n    w = (torch.sigmoid(x) + 1e-12).log()\n    return w", set()),
]


@pytest.mark.parametrize("body, codes", PROVED)
def test_what_is_found(tmp_path: Path, body: str, codes: set[str]) -> None:
    with torch.enable_grad():
        found = recorded(tmp_path / "m.py", body)
    listed = findings(found, {"torch": "torch", "torch.nn.functional": "F"}, Settings())
    assert {finding.code for finding in listed} == codes
    torch.set_grad_enabled(True)


def test_a_run_leaves_inputs_buffers_and_random_numbers_alone(tmp_path: Path) -> None:
    x = torch.ones(2)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    recorded(tmp_path / "m.py", "x.add_(torch.randn(2))\n    return x.log()", x=x)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(x, torch.ones(2))
    assert torch.nn.functional.has_torch_function is torch.overrides.has_torch_function


def test_what_the_run_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no such"):
        recorded(tmp_path / "m.py", "x.log()\n    raise KeyError('no such')")


def test_a_run_without_an_end_is_broken_off(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="takes too long"):
        recorded(tmp_path / "m.py", "while True:\n        x = x.sin()", seconds=0.2)


def paths(path: Path, text: str) -> list[str]:
    """The last terms of what is found of ``loss``."""
    source = HEAD + dedent(text)
    path.write_text(source, encoding="utf-8")
    (target,) = [one for one in discover.targets(str(path), ast.parse(source)) if one.name == "loss"]
    return sorted({last(found) for found in trace_target(load_module(str(path), source), target)})


def test_both_sides_of_a_test_on_a_value_are_followed(tmp_path: Path) -> None:
    text = """
    def loss(x):
        if x.sum() > 1000:
            return x.log()
        elif x.mean() > 1000:
            raise ValueError("too large")
        return x.exp()
    """
    assert paths(tmp_path / "m.py", text) == ["exp(x)", "log(x)"]


def test_a_test_that_was_passed_is_known_after_it(tmp_path: Path) -> None:
    text = """
    def loss(x):
        total = x.sum()
        if total <= 0:
            raise ValueError("nothing to divide by")
        return x / total
    """
    (found,) = paths(tmp_path / "m.py", text)
    assert found.startswith("x / assume(sum(x, keepdim=False), low=0.0")


def test_a_helper_that_cannot_be_traced_is_left_out(tmp_path: Path) -> None:
    text = """
    def helper(x):
        raise RuntimeError("no device")

    def loss(x):
        return torch.log(torch.sigmoid(helper(x)))
    """
    assert paths(tmp_path / "m.py", text) == ["log(sigmoid(opaque(x, name='helper')))"]


def test_a_tape_where_symbols_do_not_do(tmp_path: Path) -> None:
    text = """
    def loss(x, scale=2.0):
        for value in x.tolist():
            scale = scale * 2
        return torch.log(x.sigmoid())
    """
    assert paths(tmp_path / "m.py", text) == ["log(sigmoid(x))"]


def test_an_import_in_a_run_is_not_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import time, torch\nend = time.thread_time() + 0.5\nwhile time.thread_time() < end: torch.ones(1)\n"
    (tmp_path / "computes_long.py").write_text(f"{text}whole = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TraceError, match="takes too long"):
        recorded(tmp_path / "m.py", "import computes_long\n    while True: x = x + 1", seconds=0.2)
    assert sys.modules.pop("computes_long").whole


@pytest.mark.parametrize(
    "body", ["torch.optim.SGD([x.requires_grad_()], lr=0.1)", "x.requires_grad_().sum().backward()"]
)
def test_training_is_not_run(tmp_path: Path, body: str) -> None:
    with pytest.raises(Trains):
        recorded(tmp_path / "training.py", f"y = {body}; return x")
