"""The rules as data: every rule proves its own examples, and a broken rule file is told apart in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanguard import ops, prove, rules
from nanguard.rules import Rule, RuleError
from nanguard.term import walk

RULES = rules.load().rules


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_proves_its_examples(rule: Rule) -> None:
    assert [str(failure) for failure in prove.prove(rule)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_file_is_named_after_code_and_name(rule: Rule) -> None:
    assert Path(rule.path).name == f"{rule.code}-{rule.name}.toml"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_says_why_and_where_it_comes_from(rule: Rule) -> None:
    assert rule.summary
    assert not rule.summary.endswith(".")
    assert rule.why.strip()
    assert rule.references


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_is_about_something_that_reading_takes_for_risky(rule: Rule) -> None:
    inside = any(condition.predicate == "has_singularity" for variant in rule.variants for condition in variant.when)
    assert inside or any(map(ops.risky, walk(*(variant.match for variant in rule.variants))))


GOOD = 'code = "XX900"\nname = "own"\nhazard = "forward-nonfinite"\nsummary = "s"\n'
BROKEN = {
    "toml": ("code = ", "not valid TOML"),
    "unknown key": (GOOD + 'match = ["log(x)"]\nmacth = 1\n', "did you mean 'match'"),
    "unknown operation": (GOOD + 'match = ["lg(x)"]\n', "unknown operation 'lg'"),
    "no pattern": (GOOD, "at least one pattern"),
    "bad code": (GOOD.replace("XX900", "X1") + 'match = ["log(x)"]\n', "two capital letters"),
    "bad hazard": (GOOD.replace("forward", "foward") + 'match = ["log(x)"]\n', "unknown hazard"),
    "attribute access": (GOOD + 'match = ["x.__class__"]\n', "not part of the rule language"),
    "call of a call": (GOOD + 'match = ["log(x)(y)"]\n', "not part of the rule language"),
    "huge power is only text": (GOOD + 'match = ["log(x"]\n', "not an expression"),
    "deep nesting": (GOOD + f'match = ["{"exp(" * 90}x{")" * 90}"]\n', "nested deeper"),
    "too long": (GOOD + f'match = ["{"x + " * 900}x"]\n', "at most 2000 characters"),
    "unbound": (GOOD + 'match = ["log(x)"]\nstable = "y"\n', "does not bind"),
    "unknown predicate": (GOOD + 'match = ["log(x)"]\nwhen = ["end_at(x, 0)"]\n', "did you mean 'ends_at'"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_rule_file_gets_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(RuleError) as caught:
        rules.read([path])
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_two_rules_of_one_code_are_refused(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(GOOD + 'match = ["log(x)"]\n')
    with pytest.raises(RuleError, match="is taken by"):
        rules.read([tmp_path / "a.toml", tmp_path / "b.toml"])


def test_a_rule_that_finds_nothing_fails_its_proof(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(GOOD + 'match = ["log(x)"]\n[[example]]\nbad = "torch.sin(x)"\n[[example]]\nnear = "x"\n')
    (rule,) = rules.read([path]).rules
    assert ["is not found" in str(failure) for failure in prove.prove(rule)] == [True]
