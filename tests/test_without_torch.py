"""The base install: torch is not there, nor numpy; nothing fails for it, and what needs torch says so in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOSS = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
CLEAN = "import torch\n\n\ndef add(x, y):\n    return x + y\n"

# What Python runs at its start: packages are not found, as if they had never been installed, and who asks is told on.
HIDING = """
import importlib.metadata, importlib.machinery, os, sys

HIDDEN = {"torch", "numpy"}
finder, metadata = importlib.machinery.PathFinder, importlib.metadata.MetadataPathFinder
find_spec, find_distributions = finder.find_spec, metadata.find_distributions

def no_spec(name, path=None, target=None):
    if name.partition(".")[0] not in HIDDEN:
        return find_spec(name, path, target)
    with open(os.environ["ASKED"], "a") as file:
        print(name, file=file)
    return None

finder.find_spec = staticmethod(no_spec)
metadata.find_distributions = staticmethod(
    lambda context=metadata.find_distributions: (
        found for found in find_distributions(context) if found.metadata["Name"] not in HIDDEN
    )
)
"""


class Place:
    """A project, and what is run in it without torch."""

    def __init__(self, folder: Path, hiding: Path) -> None:
        self.folder, self._hiding, self._asked = folder, hiding, hiding / "asked"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(self._hiding), os.environ.get("PYTHONPATH", "")]))
        return subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": path, "ASKED": str(self._asked)},
        )  # fmt: skip

    def nanguard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.run("-m", "nanguard", *arguments)
        assert "Traceback" not in done.stderr
        return done

    @property
    def asked(self) -> set[str]:
        return set(self._asked.read_text().split()) if self._asked.exists() else set()


@pytest.fixture
def bare(tmp_path: Path) -> Place:
    folder, hiding = tmp_path / "project", tmp_path / "hiding"
    for made in (folder, hiding):
        made.mkdir()
    (hiding / "sitecustomize.py").write_text(HIDING)
    (folder / "loss.py").write_text(LOSS)
    (folder / "clean.py").write_text(CLEAN)
    return Place(folder, hiding)


def test_the_hiding_hides(bare: Place) -> None:
    for name in ("torch", "numpy"):
        done = bare.run("-c", f"import {name}")
        assert done.stderr.strip().endswith(f"ModuleNotFoundError: No module named '{name}'")
    done = bare.run("-c", "import importlib.metadata; importlib.metadata.version('torch')")
    assert "PackageNotFoundError" in done.stderr
    assert bare.asked == {"torch", "numpy"}


def test_check_says_so_in_one_line(bare: Place) -> None:
    done = bare.nanguard("check", ".", "-q")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("nanguard: error: torch is not installed here (pip install 'nanguard[torch]')")
    assert "loss.py" in line
    assert "--static" in line
    assert bare.asked == {"torch"}  # which is looked for, and nothing tries numpy


def test_where_nothing_is_to_be_proved_nothing_is_said(bare: Place) -> None:
    done = bare.nanguard("check", "clean.py")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Found no problems in 1 file; 1 function checked\n"
    assert bare.asked == set()


def test_a_static_check_shows_what_is_possible_as_such(bare: Place) -> None:
    for _ in ("fresh", "again"):  # the cache keeps nothing that torch would have proved
        done = bare.nanguard("check", ".", "--static")
        assert done.returncode == 0  # a finding is a claim with a proof
        first, *rest = done.stdout.splitlines()
        assert first.startswith("loss.py:5:13: NG101 log(sigmoid(x))")  # without [*]: nothing is fixed without a proof
        assert "  = note: possible, not proved" in rest
        assert sum(line.startswith("loss.py:") for line in done.stdout.splitlines()) == 1  # one for an expression
        said = done.stderr.splitlines()[0]
        assert said.startswith("nanguard: warning: torch is not installed here")
        assert said.endswith("what is found is possible, not proved")
    assert bare.asked == {"torch"}
    (finding,) = json.loads(bare.nanguard("check", ".", "--static", "--format", "json").stdout)["findings"]
    assert (finding["severity"], finding["confirmed"], finding["witness"]) == ("info", False, None)
    assert "Found no proved problems and 1 possible in 2 files" in done.stderr
    assert "<failure" not in bare.nanguard("check", ".", "--static", "--format", "junit").stdout
    for options, status in {("--pedantic",): 1, ("--pedantic", "--exit-zero"): 0, ("--add-ignores",): 0}.items():
        assert bare.nanguard("check", ".", "--static", *options).returncode == status


def test_a_fix_is_not_made_of_what_is_merely_possible(bare: Place) -> None:
    for options in (("--fix",), ("--static", "--fix"), ("--static", "--fix", "--unsafe-fixes"), ("--static", "--diff")):
        bare.nanguard("check", "loss.py", *options)
        assert (bare.folder / "loss.py").read_text() == LOSS


@pytest.mark.parametrize(
    "arguments, status, out, err",
    [
        (("--version",), 0, "nanguard ", ""),
        (("check", "--help"), 0, "--static", ""),
        (("rules",), 0, "NG101", ""),
        (("explain", "NG101"), 0, "torch is not installed here", ""),
        (("rules", "--prove"), 2, "", "torch is not installed here"),
        (("rewrite", "loss.py::loss"), 2, "", "torch is not installed here"),
        (("clean",), 0, "No cache", ""),
    ],
)
def test_every_command_works_or_says_in_one_line_what_it_needs(
    bare: Place, arguments: tuple[str, ...], status: int, out: str, err: str
) -> None:
    done = bare.nanguard(*arguments)
    assert done.returncode == status, done.stderr
    assert out in done.stdout
    assert err in done.stderr
    assert len(done.stderr.splitlines()) == (1 if err else 0)
    assert "numpy" not in bare.asked


def test_the_interface_says_what_it_needs(bare: Place) -> None:
    for call in ("check(print)", "rewrite(print)", "guard(print)", "watch()"):
        done = bare.run("-c", f"import nanguard; nanguard.{call}")
        last = done.stderr.splitlines()[-1]
        assert last.endswith("this needs torch, which is not installed: pip install 'nanguard[torch]'")
    assert bare.asked == {"torch"}
