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
