"""The hooks of pre-commit, run by the real pre-commit on a repository of a test's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOSS = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
STABLE = LOSS.replace("torch.log(torch.sigmoid(x))", "torch.nn.functional.logsigmoid(x)")
CLEAN = "import torch\n\n\ndef add(x, y):\n    return x + y\n"
LINE = "NG101 [*] log(sigmoid(x)) is -inf once sigmoid(x) underflows"

pytest.importorskip("pre_commit", reason="pre-commit is not installed: pip install 'nanguard[dev]'")
if shutil.which("git") is None:
    pytest.skip("pre-commit needs git, which is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that pre-commit runs with: a cache of its own, and this nanguard as the installed one."""
    folder = tmp_path_factory.mktemp("environment")
    script = folder / "nanguard"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m nanguard "$@"\n')
    script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON", "PRE_COMMIT"))}
    return {
        **kept, "PATH": f"{folder}{os.pathsep}{kept['PATH']}", "PRE_COMMIT_HOME": str(folder / "cache"),
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PRE_COMMIT_COLOR": "never",
        "PIP_NO_COMPILE": "1",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a",
    }  # fmt: skip


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> tuple[str, str]:
    """A repository with what is here, and its revision."""
    folder = tmp_path_factory.mktemp("hooks") / "nanguard"
    for name in ("nanguard", "rules"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml"):
        shutil.copy(ROOT / name, folder)
    git(folder, environment, "init", "-q")
    git(folder, environment, "add", "-A")
    git(folder, environment, "commit", "-q", "-m", "all")
    return str(folder), git(folder, environment, "rev-parse", "HEAD").strip()


def git(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


class Project:
    """A repository that uses a hook."""

    def __init__(self, folder: Path, environment: dict[str, str], hooks: tuple[str, str]) -> None:
        self.folder, self._environment, self._hooks = folder, environment, hooks

    def use(self, hook: str, args: str = "") -> None:
        """Choose the hook, with its arguments as YAML."""
        path, revision = self._hooks
        given = f"\n        args: {args}" if args else ""
        config = f"repos:\n  - repo: {path}\n    rev: {revision}\n    hooks:\n      - id: {hook}{given}\n"
        (self.folder / ".pre-commit-config.yaml").write_text(config)

    def run(self, *arguments: str) -> tuple[int, str]:
        """The status of ``pre-commit run``, and what it prints."""
        git(self.folder, self._environment, "init", "-q")
        git(self.folder, self._environment, "add", "-A")
        command = [sys.executable, "-m", "pre_commit", "run", *(arguments or ("--all-files",))]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, check=False, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.returncode, done.stdout

    def has_network(self) -> bool:
        """Whether pip can fetch a package that nanguard needs."""
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(self.folder), "tabulate"]
        return subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode == 0


@pytest.fixture
def project(tmp_path: Path, environment: dict[str, str], hooks: tuple[str, str]) -> Project:
    return Project(tmp_path, environment, hooks)


def test_a_finding_fails_until_it_is_fixed(project: Project) -> None:
    project.use("nanguard")
    path, excluded = project.folder / "loss.py", project.folder / "old" / "loss.py"
    excluded.parent.mkdir()
    for file in (path, excluded, project.folder / "notes.txt"):
        file.write_text(LOSS)
    (project.folder / "pyproject.toml").write_text('[tool.nanguard]\nexclude = ["old"]\n')
    status, said = project.run()
    assert status == 1, said
    assert f"\nloss.py:5:13: {LINE}" in said
    assert "old/loss.py" not in said
    assert project.run("--files", "old/loss.py")[0] == 0  # nothing is left to check

    project.use("nanguard", "[--fix]")
    status, said = project.run()
    assert status == 1, said
    assert "files were modified by this hook" in said
    assert (path.read_text(), excluded.read_text()) == (STABLE, LOSS)
    assert project.run()[0] == 0


def test_a_static_hook_needs_no_torch(project: Project) -> None:
    project.use("nanguard-static")
    (project.folder / "loss.py").write_text(LOSS)
    (project.folder / "clean.py").write_text(CLEAN)
    status, said = project.run()
    if status == 3 and not project.has_network():
        pytest.skip("pip reaches no package index here, and this hook is installed from one")
    assert status == 1, said
    assert f"loss.py:5:13: {LINE.replace('[*] ', '')}" in said
    assert project.run("--files", "clean.py")[0] == 0
    assert not [*Path(project._environment["PRE_COMMIT_HOME"]).glob("**/site-packages/torch")]


# --- what the documentation says -------------------------------------------------------------------------------------


def snippets() -> list[object]:
    """The YAML that docs/ci.md shows."""
    yaml = pytest.importorskip("yaml")
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def test_the_documentation_names_hooks_that_exist() -> None:
    yaml = pytest.importorskip("yaml")
    hooks = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    shown = {
        hook["id"]
        for snippet in snippets()
        if isinstance(snippet, dict)
        for repo in snippet.get("repos", ())
        for hook in repo["hooks"]
    }
    assert shown
    assert shown <= hooks


def test_the_documentation_names_inputs_and_outputs_that_exist() -> None:
    yaml = pytest.importorskip("yaml")
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    steps = [
        step
        for snippet in snippets()
        if isinstance(snippet, dict)
        for job in snippet.get("jobs", {}).values()
        for step in job["steps"]
    ]
    used = {name for step in steps if "/nanguard@" in step.get("uses", "") for name in step.get("with", {})}
    assert used == {"paths", "sarif-file"}
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    table = text[text.index("| input |") :].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.MULTILINE)) == set(action["inputs"])
    assert set(re.findall(r"outputs\.([\w-]+) ", text)) == set(action["outputs"])
