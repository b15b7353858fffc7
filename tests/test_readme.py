"""The README shows what nanguard really prints, and lists the rules there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_output_of_the_example_is_current() -> None:
    shown = re.search(r"<!-- output of `make run`: begin -->\n```\n(.*?)```\n", README, re.DOTALL)
    assert shown is not None
    done = subprocess.run(
        [sys.executable, "-m", "nanguard", "check", "examples/skipgram.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert shown[1].strip() == done.stdout.strip()


def test_the_skip_gram_loss_is_that_of_the_examples() -> None:
    shown = re.search(r"```python\n(def skipgram_loss.*?)```", README, re.DOTALL)
    assert shown is not None
    assert shown[1].splitlines()[1:] == [
        line for line in _body((ROOT / "examples" / "skipgram.py").read_text(encoding="utf-8")) if '"""' not in line
    ]


def _body(source: str) -> list[str]:
    lines = source.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("def skipgram_loss"))
    end = next(number for number in range(start, len(lines)) if lines[number].startswith("    return"))
    return lines[start + 1 : end + 1]
