"""Completion in the shell: the scripts that click prints, and what is offered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nanguard.matching import rules


def complete(tmp_path: Path, instruction: str, words: str = "", word: int = 0) -> str:
    """What nanguard prints for a shell that has these words, the cursor in one of them."""
    environment = {**os.environ, "_NANGUARD_COMPLETE": instruction, "COMP_WORDS": words, "COMP_CWORD": str(word)}
    code = (
        "import sys, atexit; atexit.register(lambda: 'torch' in sys.modules and print('torch has been loaded')); "
        "from nanguard.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(tmp_path: Path, shell: str) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version")
    script = complete(tmp_path, f"{shell}_source")
    assert f"_NANGUARD_COMPLETE={shell}_complete" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", "-c", script], check=True)


def offered(tmp_path: Path, words: str) -> list[str]:
    given = complete(tmp_path, "bash_complete", words, len(words.split(" ")) - 1)
    return [line.partition(",")[2] for line in given.splitlines()]


def test_options_and_commands_are_offered(tmp_path: Path) -> None:
    assert {"check", "explain", "rules", "rewrite", "server"} <= set(offered(tmp_path, "nanguard "))
    assert "--select" in offered(tmp_path, "nanguard check --sel")
    assert offered(tmp_path, "nanguard check --prefer c") == ["clamp"]


def test_rules_are_offered_by_code_and_name(tmp_path: Path) -> None:
    listed = rules.listed()
    codes, names = [rule.code for rule in listed], [rule.name for rule in listed]
    assert offered(tmp_path, "nanguard check --select ") == ["ALL", *codes, *names]
    assert offered(tmp_path, "nanguard check --ignore NG10") == [code for code in codes if code.startswith("NG10")]
    assert offered(tmp_path, "nanguard check --select NG2,NG101") == ["NG2,NG101"]
    assert offered(tmp_path, "nanguard explain log-sig") == [name for name in names if name.startswith("log-sig")]
