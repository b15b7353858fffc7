"""Traces of a file's targets: what they add to reading, and what a target may do without harm to the others."""

from __future__ import annotations

import time
from pathlib import Path
from textwrap import dedent

import pytest

from nanguard.analyse import examine
from nanguard.finding import FileResult
from nanguard.lazy import load_torch
from nanguard.settings import Settings
from nanguard.tracing.deadline import OutOfTime, within

torch = load_torch()

from nanguard.tracing import traced  # noqa: E402  (torch is loaded quietly first)


def examined(folder: Path, text: str, **files: str) -> FileResult:
    """What is known of a file with this text, beside other modules."""
    for name, other in files.items():
        (folder / f"{name}.py").write_text("import torch\n" + dedent(other), encoding="utf-8")
    path = folder / "losses.py"
    source = "import torch\nfrom torch import nn\n" + dedent(text)
    path.write_text(source, encoding="utf-8")
    return examine(str(path), source, Settings(timeout=100), None)


def test_what_another_module_does_is_seen(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("", encoding="utf-8")
    text = """
    from pkg.inner import probability

    def loss(x):
        return -torch.log(probability(x)).mean()
    """
    found = examined(tmp_path / "pkg", text, inner="def probability(x):\n    return torch.sigmoid(x)\n")
    assert [(finding.code, finding.expression) for finding in found.findings] == [
        ("NG101", "torch.log(probability(x))")
    ]
    assert [target.capture for target in found.targets] == ["trace"]


def test_one_finding_for_a_place_that_several_targets_reach(tmp_path: Path) -> None:
    text = """
    class Base(nn.Module):
        def score(self, x):
            make = {"p": torch.sigmoid}
            return torch.log(make["p"](x))

        def forward(self, x):
            return self.score(x).sum() if x.sum() > 0 else self.score(-x).sum()

    class Other(Base):
        def forward(self, x):
            return self.score(x * 2).mean()
    """
    found = examined(tmp_path, text)
    assert [finding.code for finding in found.findings] == ["NG101"]
    assert {target.capture for target in found.targets} == {"trace"}


def test_a_test_of_the_program_keeps_a_finding_away(tmp_path: Path) -> None:
    text = """
    def loss(x, parts={"norm": torch.linalg.vector_norm}):
        size = parts["norm"](x)
        if size.item() == 0:
            return x.sum()
        return (x / size).sum()
    """
    assert examined(tmp_path, text).findings == ()


def test_a_target_that_never_ends_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "_LONGEST", 0.5)
    text = """
    def endless(x):
        while True:
            pass

    def loss(x):
        return x.exp().log()
    """
    found = {target.name: target for target in examined(tmp_path, text).targets}
    assert found["loss"].capture == "trace"
    assert (found["endless"].capture, found["endless"].reason) == (
        "read",
        f"{tmp_path / 'losses.py'}:4: takes too long on small inputs",
    )


def test_a_scripted_helper_is_seen_through(tmp_path: Path) -> None:
    text = """
    @torch.jit.script
    def helper(x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x)

    def loss(x):
        return torch.log(helper(x))
    """
    found = examined(tmp_path, text)
    assert {target.capture for target in found.targets} == {"trace"}
    assert torch.jit._state._enabled.enabled


def compute(seconds: float) -> None:
    """Be busy for some time, or until the deadline."""
    start = time.monotonic()
    with within(0.1):
        while time.monotonic() < start + seconds:
            pass


def test_a_deadline() -> None:
    with pytest.raises(OutOfTime):
        compute(20)
    with within(0.1):
        pass
    time.sleep(0.2)  # nothing rings any more


def test_functions_of_numpy_on_symbols() -> None:
    numpy = pytest.importorskip("numpy")
    from nanguard.term import show
    from nanguard.tracing.trace import trace

    found = trace(lambda x: numpy.log(x) + numpy.power(x, 2.0) / numpy.mean(x))
    assert show(found.sites[-1].term) == "log(x) + x ** 2.0 / mean(x, keepdim=False)"
