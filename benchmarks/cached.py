"""Time and memory of a first and a second run of `nanguard check`, and the bars to stay under.

    python benchmarks/cached.py                          generated files without candidates
    python benchmarks/cached.py --checks --static PATH   what `nanguard check --static PATH` checks

The memory is that of the largest process.  Of a machine that does other things, too, the processor time tells more.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COUNTS = (1_000, 10_000)  # of generated files
IN_A_FOLDER = 50
FUNCTIONS = 5  # in a file
FUNCTION = """

def loss_{number}(prediction, target):
    difference = prediction - {number} * target
    return (difference * difference).mean()
"""
COLD_BAR = 4.0  # seconds for 1,000 generated files
SECOND_BAR = (0.5, 0.001)  # seconds, and seconds a file
KB_PER_MB = 1024**2 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took: seconds on the clock and of the processors, megabytes; and what it wrote."""

    wall: float
    processor: float
    megabytes: float
    written: bytes
    files: int
    torch: bool


def run(arguments: Sequence[str], cache: Path) -> Run:
    """Run `nanguard check`; whether it has imported torch is asked of a hook at its end."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        "from nanguard.cli import main\nmain(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "check", "--cache-dir", str(cache), *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        *said, torch = errors.read().decode(errors="replace").splitlines()
        summary = next((line for line in said if line.startswith("Found ")), "")
        if not summary:
            raise SystemExit(f"{' '.join(command)}: status {process.returncode}\n" + "\n".join(said))
        files = int(summary.split(" file")[0].rsplit(" ", 1)[1])
        written = out.read() + "\n".join(said).encode()
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / KB_PER_MB, written, files, torch == "True")


def generate(folder: Path, count: int) -> None:
    """Files with losses in which there is nothing to find."""
    text = "import torch\n" + "".join(FUNCTION.format(number=number) for number in range(FUNCTIONS))
    for number in range(count):
        path = folder / f"part{number // IN_A_FOLDER}" / f"losses{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def compare(name: str, arguments: Sequence[str], cache: Path) -> tuple[Run, Run]:
    """A run without and one with what the first has left, in two lines of the table."""
    first, second = run(arguments, cache), run(arguments, cache)
    constant, each = SECOND_BAR
    bars = (f"{COLD_BAR:.1f} s" if first.files == COUNTS[0] else "", f"{constant + each * first.files:.1f} s")
    for what, done, bar in zip(("first", "second"), (first, second), bars, strict=True):
        print(f"{name:28} {what:7} {done.wall:8.2f} s {done.processor:8.2f} s {done.megabytes:7.0f} MB  {bar}")
    size = sum(path.stat().st_size for path in cache.iterdir())
    same = "the same output" if first.written == second.written else "ANOTHER OUTPUT"
    torch = "torch IMPORTED" if second.torch else "no torch"
    print(f"{'':28} {same}, {torch}; the cache takes {size / first.files:.0f} bytes a file")
    return first, second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", nargs=argparse.REMAINDER, help="arguments for nanguard check: paths and options")
    given = parser.parse_args().checks
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    print(f"{'':28} {'run':7} {'clock':>10} {'processor':>10} {'memory':>10}  bar (clock)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given:
            compare("given", given, folder / "cache")
            return
        runs = []
        for count in COUNTS:
            (folder / str(count)).mkdir()
            generate(folder / str(count), count)
            runs.append(compare(f"{count} generated files", [str(folder / str(count))], folder / f"cache{count}"))
        more = COUNTS[1] - COUNTS[0]
        for what, few, many in zip(("first", "second"), *runs, strict=True):
            print(f"{what} run: {(many.megabytes - few.megabytes) * 1024 / more:.2f} KB of memory for a file more")


if __name__ == "__main__":
    main()
