"""Time and memory of whole nanguard processes beside plain Python processes, and the bars to stay under."""

import argparse
import ctypes
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "skipgram.py"

# A cache would make every run after the first one a look-up.
CHECK = [sys.executable, "-m", "nanguard", "check", "--no-cache"]
IMPORT_TORCH = [sys.executable, "-c", "import torch"]
PASS = [sys.executable, "-c", "pass"]

PR_SET_CHILD_SUBREAPER = 36
ORPHAN_SECONDS = 10.0
MAXRSS_PER_MB = 1024**2 if sys.platform == "darwin" else 1024

# One function of the generated file: a loss in which there is nothing to find.
HARMLESS = """

def loss_{number}(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    difference = prediction - {number} * target
    return (difference * difference).mean()
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall time of a command, and the peak memory of the largest process it started."""

    seconds: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    checked: str
    plain: str
    measured: str
    bar: str


def adopt_orphans() -> None:
    """Make processes that outlive their parent children of this one, so that their memory is counted too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for_orphans() -> None:
    deadline = time.monotonic() + ORPHAN_SECONDS
    while time.monotonic() < deadline:
        try:
            process, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            time.sleep(0.01)


def measure_here(command: Sequence[str]) -> dict[str, Any]:
    adopt_orphans()
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        status = subprocess.call(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        seconds = time.perf_counter() - start
        wait_for_orphans()
        errors.seek(0)
        # 1 is the status of a check with findings.
        failure = "" if status in (0, 1) else f"status {status}: {errors.read().decode(errors='replace')}"
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MAXRSS_PER_MB
    return {"seconds": seconds, "megabytes": peak, "failure": failure}


def measure(command: Sequence[str]) -> Cost:
    """Run the command under a forked child: the peak a process reports covers all children it ever had."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            result = measure_here(command)
        except Exception as error:
            result = {"failure": repr(error)}
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    cost: dict[str, Any] = json.loads(answer) if answer else {"failure": "the measuring process died"}
    if cost["failure"]:
        raise SystemExit(f"{' '.join(command)}\n{cost['failure']}")
    return Cost(cost["seconds"], cost["megabytes"])


def measure_pairs(first: Sequence[str], second: Sequence[str], pairs: int) -> tuple[list[Cost], list[Cost]]:
    """Run the two commands in turn, so that what slows the machine down slows both; one pair warms up."""
    costs = [(measure(first), measure(second)) for _ in range(pairs + 1)][1:]
    return [cost for cost, _ in costs], [cost for _, cost in costs]


def imports_torch(command: Sequence[str]) -> bool:
    timed = [command[0], "-X", "importtime", *command[1:]]
    run = subprocess.run(timed, cwd=ROOT, capture_output=True, text=True, check=False)
    return re.search(r"^import time:.*\|\s+torch$", run.stderr, re.MULTILINE) is not None


def example_rows(pairs: int) -> list[Row]:
    checked, plain = measure_pairs([*CHECK, str(EXAMPLE)], IMPORT_TORCH, pairs)
    seconds, plain_seconds = median(c.seconds for c in checked), median(c.seconds for c in plain)
    peak, plain_peak = median(c.megabytes for c in checked), median(c.megabytes for c in plain)
    return [
        Row(
            "check skipgram.py / import torch, wall time",
            f"{seconds:.3f} s",
            f"{plain_seconds:.3f} s",
            f"{seconds / plain_seconds:.2f}",
            "1.50",
        ),
        Row(
            "check skipgram.py - import torch, peak memory",
            f"{peak:.0f} MB",
            f"{plain_peak:.0f} MB",
            f"{peak - plain_peak:.0f} MB",
            "80 MB",
        ),
    ]


def harmless_rows(pairs: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "harmless.py"
        functions = "".join(HARMLESS.format(number=number) for number in range(50))
        path.write_text(f"import torch\n{functions}", encoding="utf-8")
        command = [*CHECK, str(path)]
        if not imports_torch(IMPORT_TORCH):
            raise SystemExit("cannot tell whether torch is imported: is torch installed?")
        if imports_torch(command):
            raise SystemExit("nanguard imported torch to check a file without candidates")
        checked, plain = measure_pairs(command, PASS, pairs)
    seconds, plain_seconds = median(c.seconds for c in checked), median(c.seconds for c in plain)
    return [
        Row(
            "check a file without candidates - pass, wall time",
            f"{seconds:.3f} s",
            f"{plain_seconds:.3f} s",
            f"{seconds - plain_seconds:.3f} s",
            "0.200 s",
        )
    ]


def print_table(rows: Sequence[Row]) -> None:
    head = Row("what", "nanguard", "plain", "measured", "bar")
    lines = [(row.what, row.checked, row.plain, row.measured, row.bar) for row in [head, *rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        what, *numbers = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join([what, *(number.strip().rjust(len(number)) for number in numbers)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7, help="how often each pair is measured (default: 7)")
    pairs = parser.parse_args().pairs
    # Both sides run from bytecode, as an installed package does; the warm-up runs write it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    rows = example_rows(pairs) + harmless_rows(pairs)
    print(f"medians of {pairs} pairs, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print_table(rows)


if __name__ == "__main__":
    main()
