"""Every benchmark, one after the other, into one page: what ``make bench`` runs.

    python benchmarks/all.py docs/benchmarks.md [FOLDER...]

The folders are Python code to read, beside the installed torch package; the packages of a `site-packages`, say.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEAD = """\
<!-- Written by `make bench`; edit `benchmarks/all.py` instead. -->

# Benchmarks

What `make bench` printed on {date}: {machine}, {cores} cores, Python {python}, {versions}. A machine that does other
things at the same time gives other numbers; the ratios change less. `benchmarks/README.md` says how each is measured.
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """A benchmark: what it is about, and its command."""

    title: str
    script: str
    arguments: tuple[str, ...] = ()


def benches(folders: list[str]) -> list[Bench]:
    torch = str(importlib.metadata.distribution("torch").locate_file("torch"))
    reading = [Bench("Reading a sample of the torch package, beside TorchFix", "reading.py", (torch, "--every", "20"))]
    if folders:
        every = "10"
        reading.append(Bench("Reading other packages, beside TorchFix", "reading.py", (*folders, "--every", every)))
    return [
        Bench("Whole runs, beside `import torch` and an empty program", "run.py", ("--pairs", "5")),
        Bench("Cached runs", "cached.py"),
        *reading,
        Bench("The proof of a finding", "proof.py"),
        Bench("Rewriting graphs, beside `torch.fx.subgraph_rewriter`", "matching.py"),
        Bench("Guarded losses, and `watch` beside `detect_anomaly`", "runtime.py"),
    ]


def section(bench: Bench) -> str:
    """What a benchmark prints, under its title."""
    given = " ".join(Path(argument).name if os.sep in argument else argument for argument in bench.arguments)
    print(f"{bench.title} ...", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, str(HERE / bench.script), *bench.arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"benchmarks/{bench.script} ended with {done.returncode}:\n{done.stderr}", file=sys.stderr)
    text = done.stdout.rstrip() or "(it failed)"
    return f"## {bench.title}\n\n`python benchmarks/{bench.script} {given}`".rstrip("` ") + f"`\n\n```\n{text}\n```\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="the file to write")
    parser.add_argument("folders", nargs="*", help="more code to read")
    given = parser.parse_args()
    names = ("nanguard", "torch", "python-flint", "torchfix")
    head = HEAD.format(
        date=datetime.date.today().isoformat(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        python=platform.python_version(),
        versions=", ".join(f"{name} {version}" for name in names if (version := _version(name))),
    )
    page = "\n".join([head, *map(section, benches(given.folders))])
    given.page.write_text(page, encoding="utf-8")
    print(page)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
