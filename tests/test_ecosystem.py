"""Comparing two revisions: what came and went, whatever moved; a run that fails says so."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="makes a repository of two revisions")

# A project that calls itself nanguard, and finds what a file beside it says.
TOOL = "import json, pathlib\nprint(pathlib.Path(__file__).with_name('report.json').read_text())\n"


@pytest.fixture
def ecosystem() -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / "ecosystem.py"
    spec = importlib.util.spec_from_file_location("ecosystem", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["ecosystem"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finding(target: str, line: int, expression: str = "log(p)") -> dict[str, object]:
    witness = {"dtype": "float32", "inputs": {"p": [0.0, 1.5]}, "computed": "-inf", "exact": -104.25,
               "gradient": "nan", "exact_gradient": 1.0}  # fmt: skip
    return {"code": "NG101", "name": "n", "hazard": "h", "severity": "error", "path": "code/loss.py", "line": line,
            "column": 5, "end_line": line, "end_column": 11, "target": target, "expression": expression,
            "message": "is -inf", "confirmed": True, "witness": witness}  # fmt: skip


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def write(project: Path, text: str) -> None:
    (project / "nanguard").mkdir(exist_ok=True)
    (project / "nanguard" / "__init__.py").touch()
    (project / "nanguard" / "__main__.py").write_text(TOOL)
    (project / "nanguard" / "report.json").write_text(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository whose last revision finds three hazards, and whose tree finds another three."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "code").mkdir()
    before = [finding("kept", 3), finding("gone", 9), finding("twice", 20)]
    write(project, json.dumps({"findings": before}))
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "one")
    after = [finding("kept", 4, "log( p )"), finding("twice", 21), finding("twice", 22)]
    write(project, json.dumps({"findings": after}))
    return project


def test_what_came_and_what_went(project: Path, ecosystem: ModuleType) -> None:
    changes = ecosystem.compare(project, "HEAD", [project.parent / "code"], ["--static"], 60)
    witness = "      p = [0, 1.5] in float32: computed -inf, exact -104.25; gradient nan, exact 1\n"
    assert ecosystem.told(changes) == (
        "code: 3 before, 3 after; 1 came, 1 went\n"
        f"  + code/loss.py:22:5: NG101 is -inf\n{witness}"
        f"  - code/loss.py:9:5: NG101 is -inf\n{witness}"
    )
    listed = subprocess.run(["git", "worktree", "list"], cwd=project, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("tool", "timeout", "said"),
    [
        ("import sys; sys.exit('no such option')", 60, r"no report from .*\(status 1\): no such option"),
        ("import time; time.sleep(100)", 0.5, "took more than 0.5 s"),
    ],
)
def test_a_run_that_fails(project: Path, ecosystem: ModuleType, tool: str, timeout: float, said: str) -> None:
    (project / "nanguard" / "__main__.py").write_text(tool)
    with (
        pytest.raises(ecosystem.RunError, match=said),
        ecosystem.started(project, project.parent / "code", []) as run,
    ):
        ecosystem.findings(run, timeout)
    assert run.process.poll() is not None


def test_an_unknown_revision(project: Path, ecosystem: ModuleType) -> None:
    with pytest.raises(ecosystem.RunError, match=r"git worktree: .*nowhere"):
        ecosystem.compare(project, "nowhere", [], [], 60)


# --- findings in published packages ----------------------------------------------------------------------

DOCS = Path(__file__).parent.parent / "docs"


def test_every_finding_that_is_listed_is_on_the_page() -> None:
    """...with the release, the witness and the command, and nothing else is."""
    page = (DOCS / "in-the-wild.md").read_text()
    listed = tomllib.loads((DOCS / "in-the-wild.toml").read_text())["finding"]
    commands = {f"--select {one['code']} {one['file']}::{one['function']}" for one in listed}
    shown = [line.strip() for line in page.splitlines() if line.startswith("      nanguard check ")]
    assert {command.removeprefix("nanguard check --isolated --static ") for command in shown} == commands
    releases = [line.split() for line in page.splitlines() if line.startswith("## ")]
    assert {name for _, name, _ in releases} == {one["package"] for one in listed}
    assert all(version[0].isdigit() for _, _, version in releases)
    assert page.count(": computed ") == page.count("\n- `") >= len(listed)
