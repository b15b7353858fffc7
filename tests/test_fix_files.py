"""Fixing files: how they are written, what is left alone, and what the command line says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nanguard.cli import main
from nanguard.finding import Report
from nanguard.repair import fixing
from nanguard.repair.fixing import Fixed, Outcome, fix_paths, save
from nanguard.running.checking import check_paths
from nanguard.settings import Settings

HEAD = "import torch\nimport torch.nn.functional as F\n\n\n"


pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        printed = capfd.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


# --- files ----------------------------------------------------------------------------------------------------------

LOSS = HEAD + "def f(x):\n    return torch.log(torch.sigmoid(x))\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the fix makes of the loss."""
    path = tmp_path_factory.mktemp("done") / "m.py"
    path.write_text(LOSS)
    return fix_paths([str(path)], Settings(static=True, quiet=True), unsafe=False).files[0].after


def outcome(path: str, after: bytes) -> Outcome:
    """The outcome of fixing the loss in a file that is written first."""
    Path(path).write_text(LOSS)
    return Outcome((Fixed(path, LOSS.encode(), after, ()),), Report(1, (), ()))


def test_mode_and_link_stay(done: bytes) -> None:
    fixed = outcome("real.py", done)
    os.chmod("real.py", 0o754)
    os.symlink("real.py", "link.py")
    save(replace(fixed, files=(replace(fixed.files[0], path="link.py"),)))
    assert os.path.islink("link.py")
    assert os.stat("real.py").st_mode & 0o777 == 0o754
    assert (
        Path("real.py").read_bytes() == done == LOSS.replace("torch.log(torch.sigmoid(x))", "F.logsigmoid(x)").encode()
    )
    assert sorted(os.listdir()) == ["link.py", "real.py"]


def failure(fixed: Outcome) -> str:
    (note,) = [note for note in save(fixed).report.notes if note.failed]
    return note.message


def test_a_file_that_changed_meanwhile_is_left_alone(done: bytes) -> None:
    fixed = outcome("m.py", done)
    Path("m.py").write_text(LOSS + "# mine\n")
    assert "changed meanwhile" in failure(fixed)
    assert Path("m.py").read_text() == LOSS + "# mine\n"


def test_a_read_only_file_is_left_alone(done: bytes) -> None:
    fixed = outcome("m.py", done)
    os.chmod("m.py", 0o444)
    assert "read-only" in failure(fixed)
    assert Path("m.py").read_text() == LOSS


def test_a_full_disk_loses_nothing(done: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = outcome("m.py", done)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in failure(fixed)
    assert Path("m.py").read_text() == LOSS
    assert os.listdir() == ["m.py"]


def test_only_what_was_asked_for_is_fixed() -> None:
    Path("helper.py").write_text(
        HEAD + "def safe(p):\n    return torch.log(p)\n\n\ndef g(x):\n    return safe(torch.sigmoid(x))\n"
    )
    Path("m.py").write_text("import torch\nfrom helper import g\n\n\ndef f(x):\n    return g(x)\n")
    before = Path("helper.py").read_text()
    save(fix_paths(["m.py"], Settings(static=True), unsafe=True))
    assert Path("helper.py").read_text() == before
    Path("two.py").write_text(LOSS + "\n\ndef g(x):\n    return torch.log(torch.sigmoid(x))\n")
    save(fix_paths(["two.py::g"], Settings(static=True, quiet=True), unsafe=True))
    assert Path("two.py").read_text().count("logsigmoid") == 1


def test_a_file_by_two_paths_has_each_finding_once(workplace: Path) -> None:
    Path("helper.py").write_text(LOSS)
    Path("m.py").write_text("from helper import f\n\n\ndef g(x):\n    return f(x)\n")
    for paths in (["m.py", str(workplace / "helper.py")], [str(workplace / "m.py"), "helper.py"]):
        (found,) = check_paths(paths, Settings(static=True, quiet=True)).findings
        assert found.span.path == paths[1]


# --- the command line -----------------------------------------------------------------------------------------------

MIXED = LOSS + "\n\ndef g(x):\n    return torch.log(torch.sigmoid(x) + 1e-10)\n"


def test_exit_status_and_what_is_said(run) -> None:
    Path("m.py").write_text(MIXED)
    status, out, err = run("check", "m.py", "--static", "--fix", "--show-fixes")
    assert status == 1  # one is left
    assert "No safe fixes available (1 unsafe fix can be made with `--fix --unsafe-fixes`)" in err
    assert "NG101 (log-sigmoid)" in err
    assert "1e-10" in out
    status, out, err = run("check", "m.py", "--static", "--fix", "--unsafe-fixes", "--exit-non-zero-on-fix")
    assert status == 1
    assert "Found no problems" in err


def test_a_helper_in_a_file_that_was_not_asked_for_is_not_edited(run, workplace: Path) -> None:
    (workplace / "helpers.py").write_text(LOSS)
    (workplace / "m.py").write_text("from helpers import f\n\n\ndef loss(x):\n    return -f(x).mean()\n")
    status, out, err = run("check", "m.py", "--static", "--fix", "--unsafe-fixes")
    assert status == 1
    assert out.startswith("helpers.py:6:12: NG101 log(sigmoid(x))")  # no [*]
    assert "logsigmoid(x)`" in out
    assert "fix" not in err
    assert (workplace / "helpers.py").read_text() == LOSS
    assert run("check", "m.py", "helpers.py", "--static", "--fix")[0] == 0
    assert "logsigmoid(x)" in (workplace / "helpers.py").read_text()


def test_fix_only_is_silent_about_the_rest(run) -> None:
    Path("m.py").write_text(MIXED)
    assert run("check", "m.py", "--static", "--fix-only") == (0, "", "")
    assert "F.logsigmoid(x)" in Path("m.py").read_text()


def test_git_takes_the_diff(run) -> None:
    text = MIXED.replace("\n", "\r\n").rstrip()
    Path("with space.py").write_bytes(text.encode())
    Path("m.py").write_text(MIXED)
    subprocess.run(["git", "init", "-q", "."], check=True)
    status, out, err = run("check", "--static", "--diff", "--unsafe-fixes", "-o", "fixes.diff")
    assert (status, out, err) == (1, "", "")
    assert Path("m.py").read_text() == MIXED
    assert "--- a/m.py\n+++ b/m.py\n" in Path("fixes.diff").read_bytes().decode()
    subprocess.run(["git", "apply", "fixes.diff"], check=True)
    assert Path("m.py").read_text().count("logsigmoid") == 2
    assert Path("with space.py").read_bytes().count(b"logsigmoid") == 2


def test_clamps_that_work_are_accepted_where_they_are_preferred(run) -> None:
    Path("m.py").write_text(LOSS)
    arguments = ("check", "m.py", "--static", "--prefer", "clamp")
    assert run(*arguments, "--fix", "--unsafe-fixes", "--eps", "1e-5")[0] == 0
    assert "torch.log(torch.clamp(torch.sigmoid(x), 1e-05, 1 - 1e-05))" in Path("m.py").read_text()
    status, _, err = run(*arguments, "--eps", "1e-9")
    assert status == 2
    assert "no effect in float32" in err


def test_edits_of_a_report(run) -> None:
    Path("m.py").write_text("def f(x):\n    return x.sigmoid().log()\n")
    (finding,) = json.loads(run("check", "m.py", "--static", "--format", "json")[1])["findings"]
    first, second = finding["fix"]["edits"]
    assert (first["line"], first["column"], first["text"]) == (1, 1, "import torch\n")
    assert (second["line"], second["column"], second["end_line"], second["end_column"]) == (2, 12, 2, 29)
    assert second["text"] == finding["fix"]["replacement"] == "torch.nn.functional.logsigmoid(x)"


def test_two_runs_over_a_folder_at_once() -> None:
    for index in range(6):
        Path(f"m{index}.py").write_text(MIXED)
    command = [sys.executable, "-m", "nanguard", "check", ".", "--static", "--no-cache", "--fix", "--unsafe-fixes"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120) for process in runs]
    assert [process.returncode for process in runs] == [0, 0]
    assert not [line for _, err in said for line in err.splitlines() if "error" in line or "warning" in line]
    fixed = MIXED.replace("torch.log(torch.sigmoid(x))", "F.logsigmoid(x)").replace(
        "torch.log(torch.sigmoid(x) + 1e-10)", "F.logsigmoid(x)"
    )
    assert {entry.name: entry.read_text() for entry in Path().iterdir()} == {f"m{i}.py": fixed for i in range(6)}


def test_what_another_run_has_written_is_no_failure(done: bytes) -> None:
    fixed = outcome("m.py", done)
    Path("m.py").write_bytes(done)
    assert save(fixed).report.notes == ()
    assert Path("m.py").read_bytes() == done


def test_a_file_that_is_written_while_it_is_checked_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("m.py").write_text(LOSS)

    def written(*given: object) -> Report:
        Path("m.py").write_text("# mine\n" + LOSS)
        return check_paths(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fixing, "check_paths", written)
    found = fix_paths(["m.py"], Settings(static=True, quiet=True), unsafe=False)
    assert (found.files, found.bugs) == ((), ())
    assert [note.message for note in found.report.notes] == [
        "m.py: not fixed, since it has been changed meanwhile; run again"
    ]


@pytest.mark.parametrize("become", [os.mkfifo, os.mkdir])
def test_what_is_no_file_any_more_is_left_alone(done: bytes, become: Callable[[str], None]) -> None:
    fixed = outcome("m.py", done)
    os.unlink("m.py")
    become("m.py")
    assert failure(fixed) == "m.py: not fixed, since it is no regular file any more; run again"
    assert not os.path.isfile("m.py")
    assert os.listdir() == ["m.py"]
