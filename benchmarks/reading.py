"""How many files a second are read on one core, and how a well-known linter of PyTorch code does on the same files."""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import process_time

from nanguard import collector, ops
from nanguard.analyse import scan
from nanguard.matching import rules
from nanguard.matching.match import matcher
from nanguard.reading.discover import SourceError, parse
from nanguard.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
BAR_FILES = 100  # files a second, for the median file
BAR_RATIO = 20  # times faster than the linter


def python_files(folders: Sequence[str], every: int) -> list[Path]:
    """The Python files below some folders in a fixed order, or each `every`-th of them."""
    found: list[Path] = []
    for folder in map(Path, folders):
        found.extend(sorted(folder.rglob("*.py")) if folder.is_dir() else [folder])
    return found[::every]


def seconds_to_read(path: Path, settings: Settings) -> float | None:
    """Processor time to parse, read and match one file without torch; None for a file that is no Python."""
    source = path.read_text(encoding="utf-8", errors="replace")
    start = process_time()
    try:
        tree = parse(str(path), source)
    except SourceError:
        return None
    scan(str(path), source, tree, settings, None)
    return process_time() - start


def linter_seconds(linter: str, files: Sequence[Path]) -> float:
    """Processor time of the linter for all files in one run, less that of its start on an empty file."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text("", encoding="utf-8")
        whole, start = run([linter, *map(str, files)]), run([linter, str(empty)])
    return whole - start


def run(command: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", default=[str(ROOT / "examples")], help="folders or files to read")
    parser.add_argument("--every", type=int, default=1, help="read each N-th file only")
    parser.add_argument("--torchfix", default="torchfix", help="the linter to compare with (default: on the PATH)")
    given = parser.parse_args()
    files = python_files(given.paths, given.every)
    settings = Settings(static=True)
    ops.spellings()
    matcher(rules.load(settings.rules))  # compiled once for all files, as a check of many files does
    seconds_to_read(Path(__file__), settings)
    collector.seldom()  # so does a process that reads many files
    timed = [(file, seconds) for file in files if (seconds := seconds_to_read(file, settings)) is not None]
    if not timed:
        raise SystemExit(f"no Python files in {', '.join(given.paths)}")
    times = [seconds for _, seconds in timed]
    middle = median(times)
    print(
        f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {len(timed)} files; processor time, torch not used"
    )
    print(f"median file: {middle * 1000:.1f} ms, {1 / middle:.0f} files a second (bar: {BAR_FILES})")
    print(f"all files: {sum(times):.2f} s, {len(times) / sum(times):.0f} files a second")
    linter = shutil.which(given.torchfix)
    if linter is None:
        print("torchfix was not found; install it (pip install torchfix), or name it with --torchfix, to compare")
        return
    theirs = linter_seconds(linter, [file for file, _ in timed])
    print(f"torchfix: {theirs:.2f} s for the same files, {theirs / sum(times):.1f} times as long (bar: {BAR_RATIO})")


if __name__ == "__main__":
    main()
