"""Whole packages through `nanguard check`: what was seen of each, and what it took.

Fails where a run ends with a status of nanguard's own errors, shows a traceback, or leaves a function unseen.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from tabulate import tabulate

CHECK = [sys.executable, "-m", "nanguard", "check", "--no-cache", "--format", "json", "-v"]
MAXRSS_PER_MB = 1024**2 if sys.platform == "darwin" else 1024
OWN_FAULTS = ("Traceback (most recent call last)", "internal error")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what a run over one folder saw and cost."""

    package: str
    files: int
    targets: int
    traced: int
    read: int
    findings: int
    status: int
    seconds: float
    cpu: float
    megabytes: int  # of the largest process
    faults: str


def measure(folder: str, options: Sequence[str]) -> Row:
    """Check one folder in a process of its own; `wait4` gives the time and the peak of all it started."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen([*CHECK, *options, folder], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        report, remarks = _json(out), _text(err)
    unseen = sum(target["capture"] == "none" for target in report.get("targets", ()))
    summary: dict[str, int] = report.get("summary", {})
    return Row(
        Path(folder).name,
        summary.get("files", 0),
        summary.get("targets", 0),
        summary.get("traced", 0),
        summary.get("read", 0),
        summary.get("findings", 0),
        process.returncode,
        round(seconds, 1),
        round(usage.ru_utime + usage.ru_stime, 1),
        round(usage.ru_maxrss / MAXRSS_PER_MB),
        _faults(process.returncode, unseen, bool(report), remarks),
    )


def _json(stream: IO[bytes]) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(_text(stream))
    except ValueError:
        return {}
    return report


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _faults(status: int, unseen: int, reported: bool, remarks: str) -> str:
    """What nanguard itself did wrong; a file that is no Python is the package's fault."""
    found = [line for line in remarks.splitlines() if any(fault in line for fault in OWN_FAULTS)]
    if not reported:
        found.append(f"no report (status {status})")
    if unseen:
        found.append(f"{unseen} functions unseen")
    return "; ".join(dict.fromkeys(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", help="packages, such as those of site-packages")
    parser.add_argument("--options", default="", help="more options for nanguard check, in one string")
    given = parser.parse_args()
    rows = []
    for folder in given.folders:
        rows.append(measure(folder, given.options.split()))
        print(f"{rows[-1].package}: {rows[-1].seconds} s", file=sys.stderr, flush=True)
    names = [field.name for field in fields(Row)]
    print(tabulate([[getattr(row, name) for name in names] for row in rows], names, disable_numparse=True))
    if any(row.faults for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
