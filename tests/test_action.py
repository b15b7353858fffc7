"""The GitHub Action: its steps, run as GitHub runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip(
    "yaml", reason="PyYAML is not installed; it comes with pre-commit: pip install 'nanguard[dev]'"
)

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = ACTION["runs"]["steps"]
LOSS = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
CLEAN = "import torch\n\n\ndef add(x, y):\n    return x + y\n"

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the steps are written for bash")


class Job:
    """The steps of the action in a folder, with what a workflow gives as inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.output = folder / "output"
        self.output.touch()
        self._installed = folder / "installed"
        self.python = folder / "python"  # installs nothing, and has this nanguard
        self.python.write_text(
            f'#!/bin/sh\nif [ "$2" = pip ]; then printf "%s\\n" "$@" > "{self._installed}"; exit; fi\n'
            f'PYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n'
        )
        self.python.chmod(0o755)

    def step(self, index: int, **given: str) -> subprocess.CompletedProcess[str]:
        """Run a step; `given` are inputs, with _ for -."""
        inputs = {name: str(about["default"]) for name, about in ACTION["inputs"].items()}
        inputs |= {"python": str(self.python)} | {name.replace("_", "-"): value for name, value in given.items()}
        step = STEPS[index]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NANGUARD"))}
        environment |= {"GITHUB_OUTPUT": str(self.output), "GITHUB_WORKSPACE": str(self.folder)}
        environment |= {name: evaluated(value, inputs) for name, value in step["env"].items()}
        script = self.folder.parent / "script.sh"
        script.write_text(step["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    @property
    def installed(self) -> list[str]:
        return self._installed.read_text().splitlines()


def evaluated(text: str, inputs: dict[str, str]) -> str:
    """An expression as GitHub evaluates it: an input, or where the action lies."""
    name = re.fullmatch(r"\$\{\{ (?:inputs\.)?([\w.-]+) \}\}", text)
    assert name is not None, text
    return str(ROOT) if name[1] == "github.action_path" else inputs[name[1]]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_nothing_is_put_into_a_script() -> None:
    for step in STEPS:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


@needs_bash
@pytest.mark.parametrize(
    "version, wanted",
    [("", str(ROOT)), ("0.1.0", "nanguard==0.1.0"), (">=0.1,<1", "nanguard>=0.1,<1"), ("$(a)", "nanguard$(a)")],
)  # fmt: skip
def test_what_is_installed(job: Job, version: str, wanted: str) -> None:
    assert job.step(0, version=version).returncode == 0
    assert job.installed == ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
    assert not (job.folder / "bad").exists()


@needs_bash
def test_findings_are_annotations_and_sarif(job: Job) -> None:
    (job.folder / "part").mkdir()
    (job.folder / "part" / "loss.py").write_text(LOSS)
    done = job.step(
        1, paths="loss.py\n\n", args="--static --select NG101", working_directory="part/", sarif_file="found.sarif"
    )
    assert done.returncode == 1, done.stderr
    (annotation,) = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert annotation.startswith("::error ")
    assert "file=part/loss.py,line=5," in annotation
    assert job.output.read_text() == "sarif-file=found.sarif\n"
    (run,) = json.loads((job.folder / "found.sarif").read_text())["runs"]
    (result,) = run["results"]
    assert result["ruleId"] == "NG101"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "part/loss.py"


@needs_bash
@pytest.mark.parametrize(
    "paths, args, status",
    [
        (".", "", 0),
        ("missing.py", "", 2),
        ("clean.py", "--selct NG1", 2),
        ("$(touch bad)", "", 2),
        ("clean.py; touch bad", "", 2),
        ("clean.py", "--select=`touch bad`", 2),
        ("clean.py", "; touch bad", 2),
        ("--help", "", 2),
    ],
)
def test_the_status_is_that_of_nanguard(job: Job, paths: str, args: str, status: int) -> None:
    (job.folder / "clean.py").write_text(CLEAN)
    done = job.step(1, paths=paths, args=args, format="concise")
    assert done.returncode == status, done.stderr
    assert sorted(set(os.listdir(job.folder)) - {".nanguard_cache"}) == ["clean.py"]
    assert job.output.read_text() == ""
