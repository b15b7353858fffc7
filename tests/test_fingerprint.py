"""Fingerprints: what a finding is known by, however the lines of its file move."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from nanguard.finding import Finding, Span
from nanguard.fingerprint import fingerprints, normalised

FINDING = Finding(
    code="NG101", name="log-sigmoid", hazard="forward-nonfinite", severity="error", span=Span("a.py", 3, 4, 3, 30),
    target="loss", expression="torch.log(torch.sigmoid(x))", message="", confirmed=True,
)  # fmt: skip


def at(line: int, finding: Finding = FINDING) -> Finding:
    return replace(finding, span=replace(finding.span, line=line, end_line=line))


SAME = {
    "place": at(90),
    "layout": replace(FINDING, expression="torch.log(  torch.sigmoid( x, ), )"),
    "message": replace(FINDING, message="reworded", severity="warning", witness=None),
    "path": replace(FINDING, span=replace(FINDING.span, path="./b/../a.py")),
}
OTHER = {
    "code": replace(FINDING, code="NG102"),
    "target": replace(FINDING, target="Loss.forward"),
    "expression": replace(FINDING, expression="torch.log(torch.sigmoid(y))"),
    "file": replace(FINDING, span=replace(FINDING.span, path="b/a.py")),
}


@pytest.mark.parametrize("finding", SAME.values(), ids=SAME)
def test_is_the_same(finding: Finding) -> None:
    assert fingerprints([finding]) == fingerprints([FINDING])


@pytest.mark.parametrize("finding", OTHER.values(), ids=OTHER)
def test_is_another(finding: Finding) -> None:
    assert fingerprints([finding]) != fingerprints([FINDING])


def test_equal_ones_are_numbered_in_the_order_of_the_file() -> None:
    first, second = fingerprints([at(3), at(7)])
    assert first != second
    assert fingerprints([at(80), at(20)]) == (second, first)


def test_what_is_only_possible_does_not_renumber_what_is_proved() -> None:
    possible = replace(at(1), confirmed=False, severity="info")
    assert fingerprints([possible, at(3), at(7)])[1:] == fingerprints([at(3), at(7)])


def test_paths_count_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    absolute = replace(FINDING, span=replace(FINDING.span, path=str(tmp_path / "a.py")))
    expected = fingerprints([FINDING], str(tmp_path))
    assert fingerprints([absolute], str(tmp_path)) == expected
    monkeypatch.chdir(tmp_path / "sub")
    assert (
        fingerprints([replace(FINDING, span=replace(FINDING.span, path=os.path.join("..", "a.py")))], "..") == expected
    )


@pytest.mark.parametrize(
    "written, plain",
    [
        ("torch.log(\n    torch.sigmoid(x),  # why\n)", "torch.log(torch.sigmoid(x))"),
        ("f(x, \"a\")", "f(x, 'a')"),
        ("( x )/( y )", "x / y"),
        ("x /= y", "x /= y"),
        ("log(x) +   # cut", "log(x) + # cut"),
        ("torch\n  .log(x)", "torch.log(x)"),
        ("x +\n  # why\n  1", "x + 1"),
        ("# nanguard: ignore[NG101]", "# nanguard: ignore[NG101]"),
        ("a\n  b", "a b"),
        ("  x + 1", "x + 1"),
    ],
)  # fmt: skip
def test_layout_is_gone(written: str, plain: str) -> None:
    assert normalised(written) == plain
