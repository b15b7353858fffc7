"""Confirm: witnesses are finite inputs that fail, thresholds are those that were measured, ranges are kept to."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import chain, repeat

import pytest
from torch import Tensor

from nanguard.analyse import examine, stages
from nanguard.finding import Finding
from nanguard.proof import confirm, prove
from nanguard.proof.leaves import Cut
from nanguard.proof.points import Point
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn as nn\n\n"

# The first failing input of each dtype on torch 2.13, CPU: the catalogue of hazards has them from another program.
THRESHOLDS = [
    ("torch.log(torch.sigmoid(x))", "NG101", (-17.34, -89, -88.7228, -709.783)),
    ("torch.log(1 - torch.sigmoid(x))", "NG102", (8.32, 6.25, 16.6355, 36.7368)),
    ("torch.log1p(-torch.sigmoid(x))", "NG102", (8.32, 6.25, 16.6355, 36.7368)),
    ("torch.log(1 + torch.exp(x))", "NG105", (11.09, 89, 88.7228, 709.783)),
    ("1 / (1 + torch.exp(-x))", "NG115", (-11.09, -89, -88.7228, -709.783)),
    ("torch.exp(x) / (1 + torch.exp(x))", "NG115", (11.09, 89, 88.7228, 709.783)),
    ("torch.sqrt(torch.exp(x))", "NG117", (11.09, 89, 88.7228, 709.783)),
    ("torch.log(1 - torch.tanh(x) ** 2)", "NG109", (4.508, 3.469, 9.0108, 19.0615)),
    ("torch.log(torch.relu(x))", "NG201", (0, 0, 0, 0)),
    ("torch.sqrt(torch.relu(x))", "NG301", (0, 0, 0, 0)),
    ("torch.mean(x**2) - torch.mean(x) ** 2", "NG405", ()),  # at any magnitude: the spread beside the mean counts
]


def found(expression: str, code: str, settings: Settings | None = None) -> Finding:
    (finding,) = [finding for finding in prove.findings(expression, settings) if finding.code == code]
    return finding


@pytest.mark.parametrize(("expression", "code", "expected"), THRESHOLDS)
def test_thresholds(expression: str, code: str, expected: tuple[float, ...]) -> None:
    finding = found(expression, code)
    assert list(finding.thresholds.values()) == pytest.approx(list(expected), rel=1e-3)


def test_what_is_loaded_before_the_first_exact_value_is_not_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    in_float64 = confirm._in_float64

    def slow(cut: Cut, points: Sequence[Point]) -> Sequence[Tensor | None]:
        end = time.thread_time() + 1.0
        while time.thread_time() < end:
            pass
        return in_float64(cut, points)

    monkeypatch.setattr(confirm, "_in_float64", slow)
    assert found("torch.log(1 + x)", "NG401").witness is not None


@pytest.mark.parametrize("clock", ["worked", "time.monotonic"])
def test_proofs_for_which_there_is_no_time_left_are_said(monkeypatch: pytest.MonkeyPatch, clock: str) -> None:
    times = chain([0.0, 0.0], repeat(9.0))  # the limit is set, what comes first is proved, the time is up
    monkeypatch.setattr("nanguard.analyse.worked", lambda: 0.0)
    monkeypatch.setattr(f"nanguard.analyse.{clock}", lambda: next(times))
    source = (
        HEAD + "def f(x):\n    return torch.log(torch.sigmoid(x))\n\ndef g(x):\n    return torch.log(1 + torch.exp(x))"
    )
    (stage,) = stages("loss.py", source, Settings(static=True, timeout=10), None)
    assert [finding.code for finding in stage.result.findings] == ["NG105"]
    assert [note.message for note in stage.result.notes] == [
        "2 places were suspected and not put to the proof for want of time (--timeout)"
    ]
    assert stage.hurried


def test_a_search_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "_SECONDS", -1.0)
    assert not any(finding.confirmed for finding in prove.findings("torch.log(torch.sigmoid(x))"))


def test_a_witness_is_finite_and_has_the_exact_value() -> None:
    witness = found("torch.log(torch.sigmoid(x))", "NG101").witness
    assert witness is not None
    (value,) = witness.inputs.values()
    assert isinstance(value, float)
    assert math.isfinite(value)
    assert (witness.computed, witness.gradient) == ("-inf", "nan")
    assert witness.exact == pytest.approx(value - math.log1p(math.exp(value)), rel=1e-12)
    assert witness.exact_gradient == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("expression", "code", "hazard"),
    [
        ("torch.log(torch.sigmoid(x).clamp(1e-4, 1 - 1e-4))", "NG101", "dead-gradient"),
        ("torch.log(torch.sigmoid(x) + 1e-15)", "NG101", "dead-gradient"),
        ("torch.log((1 - torch.sigmoid(x)).clamp(min=1e-6))", "NG102", "dead-gradient"),
        ("torch.log(1 - torch.clamp(p, 1e-8, 1 - 1e-8))", "NG502", "ineffective-guard"),
        ("torch.log(1 - torch.sigmoid(x).clamp(1e-8, 1 - 1e-8))", "NG102", "ineffective-guard"),
        ("F.binary_cross_entropy(torch.sigmoid(x), y)", "NG106", "dead-gradient"),
    ],
)
def test_a_guard_changes_what_the_hazard_is(expression: str, code: str, hazard: str) -> None:
    assert found(expression, code).hazard == hazard


SILENT = [
    "torch.log(torch.relu(x) + 1e-8)",
    "torch.log(x + 1e-8)",
    "torch.log(x.abs() + 1e-6)",
    "torch.sigmoid(x) / x.size(0)",
    "torch.exp(x)",
    "x / (x.sum() + 1e-8)",
    "torch.log(torch.sigmoid(x.clamp(-10, 10)) + 1e-9)",
    "F.softmax(x, dim=1)",
    "torch.sqrt(x ** 2 + y ** 2 + 1e-8)",
    "torch.log_softmax(x, dim=1).exp()",
    "torch.log(torch.exp(x - x.amax(1, keepdim=True)).sum(1)) + x.amax(1)",
    "F.logsigmoid(x) - x",
    "torch.norm(x, dim=1)",
    "torch.linalg.vector_norm(x - y)",
]


@pytest.mark.parametrize("expression", SILENT)
def test_what_is_safe_is_silent(expression: str) -> None:
    assert [finding.code for finding in prove.findings(expression)] == []


def test_the_dtype_is_a_setting() -> None:
    assert prove.findings("torch.log(torch.relu(x) + 1e-8)") == ()
    half = Settings(static=True, dtypes=("float16",))
    assert found("torch.log(torch.relu(x) + 1e-8)", "NG501", half).witness is not None


def test_the_clamped_form_uses_an_epsilon_that_the_dtype_holds() -> None:
    clamp = found("torch.log(torch.sigmoid(x))", "NG101").clamp
    assert clamp is not None
    assert clamp.replacement == "torch.log(torch.clamp(torch.sigmoid(x), 0.0001, 1 - 0.0001))"


# a program, and what its witness calls the inputs
CALLED = {
    "by the text of the place": ("def f(x, t):\n    return torch.log(torch.sigmoid(x / t))", ["x / t"]),
    "one value, though a replacement has its parts in the other order": (
        "def f(a, b):\n    return torch.log(1 + torch.exp(-(a - b)))",
        ["-(a - b)"],
    ),
    "by names of the statements before": (
        "def f(x, t):\n    sim = x @ x.T\n    e = torch.exp(sim / t)\n    return torch.log(e.sum(1))",
        ["sim / t"],
    ),
    "by the text of where it comes about": (
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        self.fc, self.out = nn.Linear(3, 2), nn.Sigmoid()\n"
        "    def forward(self, x):\n        return self.out(self.fc(x))\n\n"
        "def f(loader):\n    net = Net()\n    for batch, y in loader:\n        p = net(batch)\n"
        "        loss = -torch.log(p).mean()\n        loss.backward()",
        ["self.fc(x)"],
    ),
}


@pytest.mark.parametrize(("source", "names"), CALLED.values(), ids=CALLED.keys())
def test_inputs_are_called_as_the_program_calls_them(source: str, names: list[str]) -> None:
    result = examine("loss.py", HEAD + source, Settings(static=True), None)
    witness = next(finding.witness for finding in result.findings if finding.code in ("NG101", "NG104", "NG105"))
    assert witness is not None
    assert list(witness.inputs) == names
