"""What a change does to the findings on real code: two revisions check the same folders; what came and went is told.

`make ecosystem REV=main ECOSYSTEM="folder …"`; without folders, the parts of the installed torch that hold losses.
Findings are matched by their fingerprints, so that lines that have moved are no change.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from nanguard.finding import Finding, Span
from nanguard.fingerprint import fingerprints

HERE = Path(__file__).resolve().parent.parent
LOSSES = ("distributions", "nn")  # of torch


class RunError(Exception):
    """A run that gave no report; the message says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """What two revisions find in a folder, by fingerprint."""

    folder: Path
    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]

    @property
    def came(self) -> list[dict[str, Any]]:
        """The findings that only the new revision has, in the order of the files."""
        return [finding for mark, finding in self.after.items() if mark not in self.before]

    @property
    def went(self) -> list[dict[str, Any]]:
        """The findings that only the old revision has."""
        return [finding for mark, finding in self.before.items() if mark not in self.after]


@contextmanager
def checked_out(repository: Path, revision: str) -> Iterator[Path]:
    """A tree of a revision, in a worktree that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            _git(repository, "worktree", "remove", "--force", str(tree))


def _git(repository: Path, *arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"git {arguments[0]}: {done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class Run:
    """A check of a folder by the nanguard of a tree, while it lasts, and where it prints."""

    tree: Path
    folder: Path
    process: subprocess.Popen[bytes]
    out: IO[bytes]
    err: IO[bytes]


@contextmanager
def started(tree: Path, folder: Path, options: Sequence[str]) -> Iterator[Run]:
    """A check that is under way; nothing of it is left in the end."""
    command = [sys.executable, "-P", "-m", "nanguard", "check", "--isolated", "--no-cache", "--format", "json"]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [*command, *options, folder.name],
            cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,  # so that all of it can be ended
        )
        try:
            yield Run(tree, folder, process, out, err)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def findings(run: Run, timeout: float) -> dict[str, dict[str, Any]]:
    """What a check has found, by fingerprint; raises `RunError`."""
    try:
        status = run.process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise RunError(f"{run.folder}: took more than {timeout:g} s with {run.tree}; give a longer --timeout") from None
    out, err = map(_text, (run.out, run.err))
    try:
        found: list[dict[str, Any]] = json.loads(out)["findings"]
    except (ValueError, KeyError):
        last = (err.strip().splitlines() or ["nothing on standard error"])[-1]
        raise RunError(f"{run.folder}: no report from {run.tree} (status {status}): {last}") from None
    marks = fingerprints([_known(finding) for finding in found])
    return dict(zip(marks, found, strict=True))


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _known(finding: dict[str, Any]) -> Finding:
    """As much of a finding as its fingerprint is made of; older revisions do not print it."""
    span = Span(finding["path"], finding["line"], finding["column"], finding["end_line"], finding["end_column"])
    texts = {name: finding[name] for name in ("code", "name", "hazard", "severity", "target", "expression", "message")}
    return Finding(span=span, confirmed=finding["confirmed"], **texts)


def compare(
    repository: Path, revision: str, folders: Sequence[Path], options: Sequence[str], timeout: float
) -> list[Change]:  # fmt: skip
    """What the tree of `repository` finds in each folder, and what a revision of it does; both at a time."""
    changes = []
    with checked_out(repository, revision) as tree:
        for folder in folders:
            with started(tree, folder, options) as old, started(repository, folder, options) as new:
                changes.append(Change(folder, findings(old, timeout), findings(new, timeout)))
    return changes


def told(changes: Sequence[Change]) -> str:
    """The changes as text: per folder what came and what went, each with its witness."""
    lines = []
    for change in changes:
        counts = f"{len(change.before)} before, {len(change.after)} after"
        lines.append(f"{change.folder.name}: {counts}; {len(change.came)} came, {len(change.went)} went")
        for sign, listed in (("+", change.came), ("-", change.went)):
            for finding in listed:
                place = f"{finding['path']}:{finding['line']}:{finding['column']}"
                lines.append(f"  {sign} {place}: {finding['code']} {finding['message']}")
                lines.append(f"      {witness(finding)}")
    return "\n".join(lines) + "\n"


def witness(finding: dict[str, Any]) -> str:
    """The witness of a finding on one line."""
    found = finding["witness"]
    if found is None:
        return "no witness"
    inputs = ", ".join(f"{name} = {_brief(value)}" for name, value in found["inputs"].items())
    text = f"{inputs} in {found['dtype']}: computed {_brief(found['computed'])}, exact {_brief(found['exact'])}"
    if found["gradient"] is not None:
        text += f"; gradient {_brief(found['gradient'])}, exact {_brief(found['exact_gradient'])}"
    return text


def _brief(value: object) -> str:
    """A number in a few digits, a tensor on one line."""
    if isinstance(value, list):
        parts = [_brief(part) for part in value[:4]]
        return f"[{', '.join(parts)}{', ...' if len(value) > 4 else ''}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def losses_of_torch() -> list[Path]:
    """The folders of the installed torch that hold losses."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise RunError("torch is not installed here; name folders to check")
    return [Path(spec.origin).parent / name for name in LOSSES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="the revision to compare the present tree with")
    parser.add_argument("folders", nargs="*", type=Path, help="what to check, such as packages of site-packages")
    parser.add_argument("--traced", action="store_true", help="run the files, too, not only read them")
    parser.add_argument("--jobs", default="1", help="files at a time, of each of the two runs")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for each folder")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *told: sys.exit(128 + told[0]))  # so that worktree and processes go
    options = ["--jobs", given.jobs, *([] if given.traced else ["--static"])]
    try:
        folders = [folder.resolve(strict=True) for folder in given.folders] or losses_of_torch()
        print(told(compare(HERE, given.revision, folders, options, given.timeout)), end="")
    except (RunError, OSError) as error:
        sys.exit(f"ecosystem: {error}")


if __name__ == "__main__":
    main()
