"""Witnesses for whole functions: the arguments that are given really make the function fail."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from nanguard.analyse import examine
from nanguard.finding import FileResult, Report
from nanguard.lazy import load_torch
from nanguard.report.json import render
from nanguard.settings import Settings
from nanguard.tracing.load import load_module

torch = load_torch()

SOURCE = """\
import torch

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

"""


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
