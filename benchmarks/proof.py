"""How long the proof of a finding takes: the search for a witness, its exact value, thresholds and replacement.

    python benchmarks/proof.py [FILE...]

Without files, the bad examples of the rules, each as a function of its own.  Processor time of one thread, after one
proof that is not counted; the bar is 20 ms in the median.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from time import process_time

from nanguard.lazy import load_torch

BAR = 0.020  # seconds


def programs(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """The files, or the examples of the rules, each with its path."""
    from nanguard.matching import rules
    from nanguard.proof.prove import program

    if paths:
        yield from ((str(path), path.read_text(encoding="utf-8")) for path in paths)
        return
    for rule in rules.load().rules:
        for example in rule.examples:
            if example.bad is not None and example.dtype == "float32":
                yield rule.path, program(example.bad)


def seconds_a_finding(path: str, source: str) -> list[float]:
    """The time of each finding of a text, with that of the suspects before it that came to nothing."""
    from nanguard.analyse import ProofTime, prove, scan
    from nanguard.settings import Settings

    settings = Settings(static=True)
    scanned = scan(path, source, ast.parse(source), settings, None)
    if scanned.matcher is None:
        return []
    times = []
    began = process_time()
    for _ in prove(scanned.reading, scanned.suspects, scanned.matcher, settings, ProofTime()):
        now = process_time()
        times.append(now - began)
        began = now
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="files to prove the findings of")
    given = parser.parse_args()
    torch = load_torch()
    torch.set_num_threads(1)
    listed = list(programs(given.files))
    seconds_a_finding(*listed[0])
    times = [seconds for path, source in listed for seconds in seconds_a_finding(path, source)]
    ninth = quantiles(times, n=10)[-1]
    print(f"torch {torch.__version__}, {len(times)} findings, processor time")
    print(f"median {median(times) * 1000:.1f} ms (bar: {BAR * 1000:.0f}), nine of ten below {ninth * 1000:.0f} ms")


if __name__ == "__main__":
    main()
