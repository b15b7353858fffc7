"""Explain: a rule in full, what was measured, and the generated pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nanguard.cli import cli
from nanguard.finding import DTYPES
from nanguard.matching import rules
from nanguard.proof import prove
from nanguard.proof.measure import measure
from nanguard.report import explain, pages
from nanguard.running.checking import check_paths
from nanguard.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
KNOWN = rules.load().rules

HEADINGS = ["What it does", "Why is this bad?", "Example", "Replacement", "Where it fails", "Fix safety", "References"]


def headings(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_a_rule_has_its_headings_in_order() -> None:
    rule = rules.load().find("NG101")
    assert rule is not None
    text = explain.rule_text(rule, measure(rule))
    assert text.startswith(
        "# log-sigmoid (NG101)\n\nSeverity: error (forward-nonfinite). A safe fix is always available."
    )
    assert headings(text) == HEADINGS
    for part in ("Use instead:", "Not reported:", "`log(sigmoid(x))` -> `logsigmoid(x)`", "within 4 units"):
        assert part in text


def test_without_torch_one_line_says_what_it_is_needed_for() -> None:
    text = explain.rule_text(KNOWN[0], None, torch=False)
    assert "torch is not installed here: the thresholds and the table need it." in text
    assert headings(text) == HEADINGS


@pytest.mark.parametrize("code", ["NG001", "NG002", "NG003", "unused-suppression"])
def test_codes_that_are_no_rules_are_explained(code: str) -> None:
    result = CliRunner().invoke(cli, ["explain", code])
    assert result.exit_code == 0
    assert headings(result.output) == ["What it does", "What to do"]
    data = json.loads(CliRunner().invoke(cli, ["explain", code, "--format", "json"]).output)
    assert code in (data["code"], data["name"])


def test_measured_values_are_those_of_the_witness() -> None:
    rule = rules.load().find("NG101")
    assert rule is not None
    measured = measure(rule)
    assert measured is not None
    assert measured.thresholds.keys() == set(DTYPES)
    assert -88.8 < float(str(measured.thresholds["float32"])) < -88.7  # where sigmoid(x) is 0
    rows = [row for row in measured.rows if row.dtype == "float32"]
    assert [(row.what, row.naive, row.stable, row.exact) for row in rows] == [
        ("value", "-inf", -89.0, -89.0),
        ("gradient", "nan", 1.0, 1.0),
    ]
    data = explain.rule_data(rule, measured)
    assert data["measured"]["values"][0].keys() == {"dtype", "inputs", "what", "naive", "stable", "exact"}
    assert data["measured"]["thresholds"] == measured.thresholds


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("NG101", ("The fix is safe", "Where it drops a guard")),
        ("NG413", ("The fix is unsafe",)),
        ("NG201", ("The clamped form",)),
        ("NG429", ("The fix is safe", "Not so for `log(cumsum(exp(x - m), dim=d) + e) + m`")),
    ],
)
def test_fix_safety_says_when(code: str, words: tuple[str, ...]) -> None:
    rule = rules.load().find(code)
    assert rule is not None
    text = " ".join(explain.safety(rule))
    for part in words:
        assert part in text


def test_pages_are_current() -> None:
    made = pages.pages(KNOWN)
    found = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "rules").glob("*.md")}
    stale = sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))
    assert stale == [], "run `make docs`"


def test_pages_link_to_pages_that_are_there() -> None:
    made = pages.pages(KNOWN)
    for text in made.values():
        assert set(re.findall(r"\]\((\w+\.md)\)", text)) <= made.keys()


def test_pages_of_rules_that_are_gone_go(tmp_path: Path) -> None:
    folder, readme = tmp_path / "rules", tmp_path / "README.md"
    folder.mkdir()
    (folder / "NG999.md").write_text("old")
    readme.write_text((DOCS.parent / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    pages.write(folder, readme)
    assert {path.name for path in folder.iterdir()} == pages.pages(KNOWN).keys()


def blocks(page: str, language: str) -> list[str]:
    """The examples of a page in one language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def test_the_rule_of_the_page_on_writing_rules_is_proved(tmp_path: Path) -> None:
    (text,) = blocks("writing-rules.md", "toml")
    path = tmp_path / "ours.toml"
    path.write_text(text)
    (rule,) = rules.read([path]).rules
    assert [str(failure) for failure in prove.prove(rule, (str(path),))] == []


def test_the_page_on_writing_rules_names_every_key() -> None:
    from nanguard.matching.rulefile import EXAMPLE_KEYS, RULE_KEYS, VARIANT_KEYS

    text = (DOCS / "writing-rules.md").read_text(encoding="utf-8")
    for key in {*RULE_KEYS, *VARIANT_KEYS, *EXAMPLE_KEYS} - {"untaken", "taken"}:
        assert f"`{key}`" in text, key


def test_the_example_of_the_page_on_proofs_is_found_as_it_says(tmp_path: Path) -> None:
    (code,), (said, _) = blocks("proof.md", "python"), blocks("proof.md", "text")
    (tmp_path / "loss.py").write_text(code)
    (finding,) = check_paths([str(tmp_path / "loss.py")], Settings(static=True)).shown
    assert finding.witness is not None
    head, witness = said.splitlines()
    assert head in f"{finding.code} {finding.message}"
    inputs = ", ".join(f"{name} = {value}" for name, value in finding.witness.inputs.items())
    values = f"computed {finding.witness.computed}, exact {finding.witness.exact}"
    assert witness == f"witness: {inputs} in {finding.witness.dtype}: {values}"
