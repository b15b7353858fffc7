"""Time and size of the HTML report of `nanguard check`, beside the same check as JSON, and the bars to stay under.

    python benchmarks/report.py PATH...            in the environment that has the packages of the files
    python benchmarks/report.py --jobs 1 PATH...   more options of nanguard check may stand before the paths

The results are in the cache for both, so that the difference is what the report takes beyond the check itself.  Of a
machine that does other things, too, the processor time tells more.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS, MEGABYTES = 10.0, 5.0  # bars for 200 findings


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took: seconds on the clock and of the processors."""

    wall: float
    processor: float


def run(arguments: Sequence[str], folder: Path, form: str) -> tuple[Run, Path]:
    """Run `nanguard check` with a cache in a folder, and write its output beside that."""
    output = folder / f"report.{form}"
    command = [sys.executable, "-m", "nanguard", "check", "--cache-dir", str(folder / "cache"), "--format", form]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "-o", str(output), *arguments], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1) and not output.exists():
        raise SystemExit(f"{' '.join(command)}: status {process.returncode}")
    return Run(time.perf_counter() - start, used.ru_utime + used.ru_stime), output


def main(arguments: Sequence[str]) -> None:
    if not arguments or "--help" in arguments:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(arguments, folder, "json")
        plain, document = run(arguments, folder, "json")
        report, page = run(arguments, folder, "html")
        findings = len(json.loads(document.read_text("utf-8"))["findings"])
        text = page.read_text("utf-8")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print(f"{findings} findings, {text.count('<g id=')} plots; bars for 200: {SECONDS:.0f} s, {MEGABYTES:.0f} MB")
    for what, done in (("JSON, from the cache", plain), ("HTML, from the cache", report)):
        print(f"{what:24} {done.wall:7.2f} s on the clock {done.processor:7.2f} s of the processors")
    print(f"{'beyond the check':24} {report.wall - plain.wall:7.2f} s on the clock "
          f"{report.processor - plain.processor:7.2f} s of the processors")  # fmt: skip
    print(f"{'size':24} {len(text.encode()) / 1e6:7.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
