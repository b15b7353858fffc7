"""How many of the findings in traced functions are shown on the whole function, from its own arguments.

    python benchmarks/reach.py PATH... [--expressions]

Runs `nanguard check` on files and folders, in the environment that can import them, and counts the findings whose
function was traced by the level of their witness; the bar is one half at the level of the function.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

BAR = 0.5


def report(paths: Sequence[str]) -> dict[str, Any]:
    """What nanguard says of some paths."""
    command = [sys.executable, "-m", "nanguard", "check", "--isolated", "--no-cache", "--format", "json", *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        sys.exit(f"nanguard failed ({done.returncode}):\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_traced(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The proved findings of functions that were traced."""
    traced = {(row["path"], row["name"]) for row in document["targets"] if row["capture"] == "trace"}
    return [row for row in document["findings"] if row["witness"] and (row["path"], row["target"]) in traced]


def table(findings: Sequence[dict[str, Any]]) -> str:
    """One line a hazard, and one for all: at which level its witnesses are, and how many a caller sees."""
    lines = []
    for hazard in [*sorted({row["hazard"] for row in findings}), "all"]:
        own = [row["witness"] for row in findings if hazard in (row["hazard"], "all")]
        levels = Counter(witness["level"] for witness in own)
        seen = sum(bool(witness["outcome"]) for witness in own)
        share = 100 * levels["function"] / len(own) if own else 0.0
        lines.append((hazard, len(own), levels["function"], levels["expression"], share, seen))
    head = ["hazard", "findings", "function", "expression", "% function", "a caller sees it"]
    return str(tabulate(lines, headers=head, floatfmt=".0f"))


def main() -> None:
    """Measure some paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", help="files and folders to check")
    parser.add_argument("--expressions", action="store_true", help="list the findings that are shown there alone")
    given = parser.parse_args()
    findings = in_traced(report(given.paths))
    print(table(findings))
    print(f"\nbar: {BAR:.0%} at the level of the function")
    if given.expressions:
        rows = [row for row in findings if row["witness"]["level"] == "expression"]
        print(*(f"{row['path']}:{row['line']}: {row['code']} {row['target']}" for row in rows), sep="\n")


if __name__ == "__main__":
    main()
