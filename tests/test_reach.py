"""Witnesses for whole functions: the arguments that are given really make the function fail."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from nanguard.analyse import examine
from nanguard.finding import FileResult, Report, Witness
from nanguard.lazy import load_torch
from nanguard.report.json import render
from nanguard.settings import Settings
from nanguard.tracing.deadline import OutOfTime
from nanguard.tracing.load import load_module

torch = load_torch()

SOURCE = """\
import functools

import torch
from torch import nn

def log_sigmoid(x):
    p = torch.sigmoid(x)
    return -torch.log(p).mean()

def overflow(logits, scale=2.0):
    return torch.log(torch.exp(logits * scale).sum(-1)).mean()

def distance(a, b):
    return torch.sqrt(((a - b) ** 2).sum(-1)).mean()

def early(x):
    if x.abs().max() > 50:
        raise ValueError("too large")
    return torch.log(1 - torch.tanh(x) ** 2).sum()

def variance(x):
    return (x * x).mean() - x.mean() ** 2

def guarded(positive, negative):
    return -torch.log(1e-10 + torch.sigmoid(positive - negative)).mean()

def scaled(positive, negative):
    margin = 3 * positive - negative
    return -torch.log(torch.sigmoid(margin)).mean()

def masked_mean(loss, mask):
    return (loss * mask).sum() / mask.sum()

def variation(image):
    if image.dim() != 4 or image.shape[-1] != 8:
        raise ValueError("images of 8 by 8")
    rows = image[:, :, 1:, :] - image[:, :, :-1, :]
    return torch.sqrt((rows ** 2).sum((1, 2, 3))).mean()

def plogp(p):
    return -(p * torch.log(p)).sum()

def by_number(x):
    largest = x.abs().max().item()
    return x * (1.0 / largest)

@functools.lru_cache
def two(dtype):
    return torch.full((), 2.0, dtype=dtype)

def cached(x):
    return torch.sqrt((x * two(x.dtype)) ** 2).sum()

class Focal(nn.Module):
    def __init__(self, gamma=2.0, reduction="mean"):
        super().__init__()
        self.gamma, self.reduction = gamma, reduction

    def forward(self, logits, target):
        weight = (torch.sigmoid(logits) - target).abs() ** self.gamma
        loss = weight * logits
        if self.reduction == "normalized":
            return loss.sum() / weight.sum()
        return loss.mean()

class Geometric:
    def __init__(self, size: int):
        self.rate = torch.full((size,), 0.5)

    def mean(self):
        return 1 / self.rate.abs()
"""

# Where the failure shows outside, in words, by the names of the targets.
OUTCOMES = {
    "log_sigmoid": "returns inf",
    "distance": "has the gradient nan for a",
    "guarded": "has a gradient of at most",
    "scaled": "returns inf",
    "masked_mean": "returns nan",
    "variation": "has the gradient nan for image",
    "plogp": "returns nan",
    "by_number": "raises ZeroDivisionError",
    "cached": "has the gradient nan for x",
    "Focal.forward": "returns nan",
    "variance": "in float64",
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FileResult]:
    path = tmp_path_factory.mktemp("reach") / "losses.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path, examine(str(path), SOURCE, Settings(timeout=100), None)


@pytest.mark.parametrize("name", ["log_sigmoid", "overflow", "distance", "early", "guarded"])
def test_the_function_fails_with_the_arguments(result: tuple[Path, FileResult], name: str) -> None:
    path, found = result
    (finding,) = [finding for finding in found.findings if finding.target == name]
    assert finding.witness is not None
    assert finding.witness.level == "function"
    given = {key: torch.tensor(value, requires_grad=True) for key, value in finding.witness.arguments.items()}
    assert all(torch.isfinite(tensor).all() for tensor in given.values())
    value = getattr(load_module(str(path), SOURCE), name)(**given)
    value.backward()
    slopes = [tensor.grad for tensor in given.values()]
    match finding.hazard:
        case "forward-nonfinite":
            assert not torch.isfinite(value)
        case "gradient-nonfinite":
            assert torch.isfinite(value)
            assert not all(torch.isfinite(slope).all() for slope in slopes)
        case _:
            assert torch.isfinite(value)
            assert any((slope.abs() < 1e-15).any() for slope in slopes)


def witness_of(found: FileResult, name: str) -> Witness:
    (finding,) = [finding for finding in found.findings if finding.target == name]
    assert finding.witness is not None
    return finding.witness


@pytest.mark.parametrize(("name", "outcome"), OUTCOMES.items())
def test_what_a_caller_sees_is_said(result: tuple[Path, FileResult], name: str, outcome: str) -> None:
    witness = witness_of(result[1], name)
    assert witness.level == "function"
    assert outcome in witness.outcome


@pytest.mark.parametrize("name", [name for name, outcome in OUTCOMES.items() if outcome.startswith("returns")])
def test_the_call_is_python_that_fails(result: tuple[Path, FileResult], name: str) -> None:
    path, found = result
    witness = witness_of(found, name)
    assert witness.call is not None
    *before, call = witness.call.split("; ")
    names = dict(vars(load_module(str(path), SOURCE)))
    for line in before:
        exec(line, names)
    assert witness.outcome == f"returns {eval(call, names).item()}"


def test_an_option_of_the_object_is_among_the_arguments(result: tuple[Path, FileResult]) -> None:
    witness = witness_of(result[1], "Focal.forward")
    assert witness.arguments["self.reduction"] == "normalized"
    assert (witness.call or "").startswith("self = Focal(); self.reduction = 'normalized'; self.forward(")


def test_a_large_argument_is_written_as_what_makes_it(result: tuple[Path, FileResult]) -> None:
    assert "torch.full(" in (witness_of(result[1], "variation").call or "")


def test_only_the_failure_that_was_found_counts(result: tuple[Path, FileResult]) -> None:
    assert set(flat(witness_of(result[1], "plogp").arguments["p"])) == {0.0}  # not the logarithm of what is below 0


def flat(value: Any) -> list[float]:
    return [entry for part in value for entry in flat(part)] if isinstance(value, list) else [value]


def test_lost_digits_are_told_by_a_run_in_float64(result: tuple[Path, FileResult]) -> None:
    path, found = result
    (finding,) = [finding for finding in found.findings if finding.target == "variance"]
    assert finding.witness is not None
    assert finding.witness.level == "function"
    x = torch.tensor(finding.witness.arguments["x"])
    variance = load_module(str(path), SOURCE).variance
    assert abs(variance(x).double() - variance(x.double())) > 1e-4 * abs(variance(x.double()))


def test_the_report_says_the_level(result: tuple[Path, FileResult]) -> None:
    _, found = result
    document = json.loads(render(Report(1, found.targets, found.findings), found.findings))
    witness = next(row["witness"] for row in document["findings"] if row["target"] == "log_sigmoid")
    assert witness["level"] == "function"
    assert set(witness["arguments"]) == {"x"}


def test_what_is_not_reached_stays_a_claim_about_the_expression(tmp_path: Path) -> None:
    text = dedent("""\
        import torch

        def unreached(x):
            if x.sum() != 1.2345:
                return x
            return torch.log(torch.sigmoid(x))
        """)
    path = tmp_path / "m.py"
    path.write_text(text, encoding="utf-8")
    (finding,) = examine(str(path), text, Settings(timeout=100), None).findings
    assert finding.witness is not None
    assert (finding.witness.level, dict(finding.witness.arguments)) == ("expression", {})


def test_without_traces_nothing_is_run(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(SOURCE, encoding="utf-8")
    found = examine(str(path), SOURCE, Settings(static=True), ("log_sigmoid",))
    assert [finding.witness.level for finding in found.findings if finding.witness] == ["expression"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("of the program\nand more"), "ValueError: of the program"),
        (OutOfTime(), "it takes too long"),
    ],
)
def test_a_search_that_is_broken_off_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, words: str
) -> None:
    def broken(*given: object) -> None:
        raise error

    monkeypatch.setattr("nanguard.tracing.traced.reach", broken)
    text = "import torch\n\ndef loss(x):\n    return torch.log(torch.sigmoid(x))\n"
    path = tmp_path / "m.py"
    path.write_text(text, encoding="utf-8")
    result = examine(str(path), text, Settings(timeout=100), None)
    assert [finding.code for finding in result.findings] == ["NG101"]
    (note,) = result.notes
    assert note.message.endswith(f"was broken off: {words}")
    assert (note.line, note.failed, note.warning) == (3, False, False)  # shown with -v
