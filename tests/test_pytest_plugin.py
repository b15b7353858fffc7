"""The pytest plugin: files are checked when asked for, marked tests are watched, and torch is left alone otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LOSSES = """
import torch

def loss(x):
    return -torch.log(torch.sigmoid(x))
"""
TESTS = """
import pytest, torch
from losses import loss

@pytest.mark.nanguard
def test_marked():
    loss(torch.tensor([-200.0]))

@pytest.mark.nanguard
def test_marked_and_fine():
    loss(torch.tensor([2.0]))

def test_fixture(nanguard):
    with pytest.raises(AssertionError, match="NG101"):
        nanguard.assert_stable(loss)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "losses.py").write_text(LOSSES)
    (tmp_path / "fine.py").write_text("def loss(x):\n    return x * x\n")
    (tmp_path / "test_losses.py").write_text(TESTS)
    return tmp_path


def run(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def test_files_and_marked_tests(project: Path) -> None:
    output = run(project, "--nanguard", "--strict-markers", "-rA")
    assert "2 failed, 3 passed" in output
    assert "PASSED fine.py::nanguard" in output
    assert "FAILED losses.py::nanguard" in output
    assert "FAILED test_losses.py::test_marked -" in output
    assert "losses.py:5:13: NG101 [*] log(sigmoid(x)) is -inf once sigmoid(x) underflows" in output
    assert "= witness:" in output
    assert "losses.py:5:13: `torch.log(torch.sigmoid(x))` (log) gives -inf" in output


def test_nothing_is_collected_and_torch_not_imported_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text(LOSSES)
    (tmp_path / "test_plain.py").write_text("import sys\ndef test_plain():\n    assert 'torch' not in sys.modules\n")
    output = run(tmp_path)
    assert "1 passed" in output


CONFIGURATION = """
[tool.nanguard]
ignore = ["NG"]
rules = ["ours.toml"]
dtype = "float16"
exclude = ["third"]

[tool.nanguard.per-file-ignores]
"old/*" = ["ALL"]

[tool.nanguard.inputs]
"losses.py::near" = { x = "-3 <= x <= 3" }
"""
OURS = """
code = "XY101"
name = "root-of-exp-plus-one"
hazard = "forward-nonfinite"
summary = "sqrt(exp(x) + 1) is inf once exp(x) overflows, long before the root does"
match = ["sqrt(exp(x) + 1)"]
stable = "exp(0.5 * softplus(x))"

[[example]]
bad = "torch.sqrt(torch.exp(x) + 1)"
"""
MORE = """

def near(x):
    return torch.sqrt(torch.exp(x) + 1)

def far(x):
    return torch.sqrt(torch.exp(x) + 1)
"""


def test_the_nearest_configuration_of_a_file_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(CONFIGURATION)
    (tmp_path / "ours.toml").write_text(OURS)
    for folder in ("old", "third", "inner"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "losses.py").write_text(LOSSES)
    (tmp_path / "inner/nanguard.toml").write_text("")
    (tmp_path / "losses.py").write_text(LOSSES + MORE)
    output = run(tmp_path, "--nanguard", "-rA")
    assert "FAILED inner/losses.py::nanguard" in output
    assert "NG101" in output
    assert "PASSED old/losses.py::nanguard" in output
    # Under CI the summary repeats the messages, where a terminal shortens them.
    failures, _, short = output.partition("short test summary")
    assert "third" not in short
    assert failures.count(": XY101 ") == 1
    assert "losses.py:12:12: XY101 " in output
    assert " in float16: computed inf" in output


def test_a_wrong_configuration_is_a_usage_error(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.nanguard]\nselekt = []\n")
    output = run(project, "--nanguard")
    assert "selekt is no key of nanguard's; did you mean 'select'?" in output
    assert "Traceback" not in output
