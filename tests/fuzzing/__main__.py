"""The long run: N programs from a seed, each property on its share of them; failing programs are shrunk and printed.

python -m fuzzing N SEED [PROPERTY...] [--after NUMBER] [--all]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from random import Random

from fuzzing.grow import tree
from fuzzing.layout import Unwritten, program
from fuzzing.properties import PROPERTIES, Subject, Unfit, Wrong, subject
from fuzzing.shrink import shrunk
from fuzzing.tree import Misfit, Node

# What one program of so many is put to: the slow properties are for fewer.
SHARES = {"agree": 1, "ranges": 1, "checked": 4, "variants": 2, "rewritten": 4, "fixed": 8}
_FEW = 25  # failures after which a run ends
_OFTEN = 500  # programs after which it says how far it is


def verdict(name: str, one: Subject) -> tuple[str, bool]:
    """What comes of a property on a program, and whether it holds."""
    try:
        return PROPERTIES[name](one), True
    except Wrong as error:
        return str(error), False
    except Unwritten:
        return "not written", True
    except Exception as error:
        return f"{type(error).__name__}: {error}", False


def fails(name: str, root: Node, seed: str) -> str:
    """What is wrong with a tree written anew, nothing where it holds."""
    try:
        with subject(program(root, Random(seed)), Random(seed)) as one:
            text, holds = verdict(name, one)
            return "" if holds else f"{text}\n{one.program}"
    except (Unwritten, Unfit, Misfit):
        return ""


def report(name: str, root: Node, seed: str, text: str, source: str) -> None:
    """Print a failing program, and a smaller one that fails as well."""
    print(f"--- seed {seed}: {name}\n{text}\n{source}", flush=True)
    if fails(name, root, seed):
        small = shrunk(root, lambda other: bool(fails(name, other, seed)))
        if small is not root:
            print(f"--- smaller: {fails(name, small, seed)}", flush=True)


def run(count: int, seed: str, names: list[str], after: int = 0, whole: bool = False) -> int:
    """Run `count` programs, those behind number `after` of the seed; gives the number of failures.

    Each property is for its share of the programs, or for all of them.
    """
    outcomes: Counter[tuple[str, str]] = Counter()
    left_out: Counter[str] = Counter()
    failures = programs = 0
    number = after
    began = time.monotonic()
    while programs < count and failures < _FEW:
        number += 1
        own = f"{seed}:{number}"
        random = Random(own)
        root = tree(random)
        try:
            made = program(root, random)
            with subject(made, random) as one:
                programs += 1
                if programs % _OFTEN == 0:
                    print(f"{programs} programs, {failures} failures, {time.monotonic() - began:.0f} s", flush=True)
                for name in names:
                    if number % SHARES[name] and not whole:
                        continue
                    text, holds = verdict(name, one)
                    outcomes[name, text if holds else "WRONG"] += 1
                    if not holds:
                        failures += 1
                        report(name, root, own, text, str(made))
        except Unwritten:
            left_out["not written"] += 1
        except Unfit as error:
            left_out[str(error).split(":")[0]] += 1
    numbers = f"{after + 1} to {number} of seed {seed}"
    print(f"{programs} programs, {numbers}, in {time.monotonic() - began:.0f} s, {failures} failures")
    for (name, text), times in sorted(outcomes.items()):
        print(f"  {name:10} {times:6}  {text}")
    print(f"  left out: {dict(left_out)}")
    return failures


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000, metavar="N")
    parser.add_argument("seed", nargs="?", default="0", metavar="SEED")
    parser.add_argument("properties", nargs="*", choices=[*PROPERTIES, []], metavar="PROPERTY")
    parser.add_argument("--after", type=int, default=0, metavar="NUMBER", help="go on behind this number of the seed")
    parser.add_argument("--all", action="store_true", help="put every program to every property")
    given = parser.parse_intermixed_args()
    names = given.properties or list(PROPERTIES)
    sys.exit(1 if run(given.count, given.seed, names, given.after, given.all) else 0)


if __name__ == "__main__":
    main()
