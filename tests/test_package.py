"""The package as users get it: the rules are found from a wheel and from an editable install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from nanguard.cli import pages

ROOT = Path(__file__).parents[1]
LOSS = "import torch\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, env=clean, timeout=300
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder, ROOT, cwd=folder
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def environment(folder: Path) -> Path:
    """A new environment that sees the dependencies of this one, but not nanguard."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*")) / "site-packages"
    ours = Path(sysconfig.get_paths()["purelib"])
    for entry in ours.iterdir():
        if "nanguard" not in entry.name.lower() and entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    return python


def works(python: Path, folder: Path) -> None:
    (folder / "loss.py").write_text(LOSS)
    listed = run(python, "-m", "nanguard", "rules", "--format", "json", cwd=folder)
    assert '"NG101"' in listed.stdout, listed.stderr
    checked = run(python, "-m", "nanguard", "check", "loss.py", "--format", "concise", cwd=folder)
    assert checked.returncode == 1, checked.stderr
    assert checked.stdout.startswith("loss.py:4:13: NG101 [*] ")


def test_wheel_holds_the_rules(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "nanguard/_rules/identities.toml" in names
    assert {"nanguard/report/schema.json", "nanguard/report/html/page.html"} <= set(names)
    assert sum(name.startswith("nanguard/_rules/NG") for name in names) == len(list((ROOT / "rules").glob("NG*.toml")))


def test_installed_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    site = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    done = run(sys.executable, "-m", "pip", "install", "--no-deps", "-q", "--target", site, wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    works(python, tmp_path)


def test_installed_for_editing(tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    site = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    copy = tmp_path / "checkout"
    for part in ("nanguard", "rules"):
        shutil.copytree(ROOT / part, copy / part)
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / part).write_bytes((ROOT / part).read_bytes())
    done = run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "-q", "--target", site, "-e", copy,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    works(python, tmp_path)


def test_pages_of_commands_are_current() -> None:
    folder = ROOT / "docs/commands"
    assert {path.stem for path in folder.glob("*.md")} == set(pages.names())
    for name in pages.names():
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
        assert pages.current(name, text) == text, "run `make docs`"
