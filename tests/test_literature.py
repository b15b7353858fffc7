"""The numerical bugs of the literature in the shapes that real code has: each is found, its repaired version is not."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanguard.analyse import Scan, examine, scan
from nanguard.settings import Settings

HEAD = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n"
STATIC = Settings(static=True)


@dataclass(frozen=True, slots=True)
class Pair:
    """A bug beside its repair."""

    name: str
    hazards: tuple[str, ...]
    bad: str
    good: str
    proved: bool

    @property
    def lines(self) -> set[int]:
        """The lines at which the bug may be found."""
        return {number for number, line in enumerate(self.bad.splitlines(), 1) if line.endswith("#!")}


def _pairs() -> list[Pair]:
    table = tomllib.loads(Path(__file__).with_name("literature.toml").read_text())["pair"]
    return [
        Pair(row["name"], tuple(row["hazards"]), HEAD + row["bad"], HEAD + row["good"], row.get("proved", False))
        for row in table
    ]


PAIRS = _pairs()
PROVED = [pair for pair in PAIRS if pair.proved]


def scanned(source: str) -> Scan:
    return scan("loss.py", source, ast.parse(source), STATIC, None)


def test_table_is_large_and_names_are_told_apart() -> None:
    assert len(PAIRS) >= 250
    assert len({pair.name for pair in PAIRS}) == len(PAIRS)
    assert all(pair.lines for pair in PAIRS)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_bug_is_suspected_at_its_line_without_torch(pair: Pair) -> None:
    found = scanned(pair.bad)
    suspects = [*found.suspects, *(suspect for part in found.converted for suspect in part.suspects)]
    assert {suspect.place.node.lineno for suspect in suspects} & pair.lines


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_repaired_version_is_silent(pair: Pair) -> None:
    if scanned(pair.good).candidates:  # else there is nothing to prove, and so nothing to report
        assert [str(found) for found in examine("loss.py", pair.good, STATIC, None).findings] == []


@pytest.mark.parametrize("pair", PROVED, ids=lambda pair: pair.name)
def test_bug_is_proved_at_its_line_and_as_its_kind(pair: Pair) -> None:
    found = examine("loss.py", pair.bad, STATIC, None).findings
    at_line = [finding for finding in found if finding.span.line in pair.lines]
    assert at_line
    assert {finding.hazard for finding in at_line} & set(pair.hazards)
    assert all(finding.witness is not None for finding in at_line)


def test_power_with_an_infinite_exponent_is_read() -> None:
    source = HEAD + "def norm(x):\n    return torch.log(torch.relu((2 * x.abs()) ** math.inf)) + (x / 3) ** -math.inf\n"
    assert [finding.code for finding in examine("loss.py", source, STATIC, None).findings] == ["NG201"]
