"""The rules as data: every rule proves its own examples, a wrong one fails, a broken rule file gets one line."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from nanguard import analyse, ops
from nanguard.cli import main
from nanguard.matching import rules
from nanguard.matching.rules import Rule, RuleError
from nanguard.proof import prove, sweep
from nanguard.running.checking import check_paths
from nanguard.settings import Settings
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


# --- what a proof refuses ------------------------------------------------------------------------------------


def own(tmp_path: Path, text: str) -> tuple[Rule, tuple[str, ...]]:
    """The rule of a file of one's own, and the files to load for it."""
    path = tmp_path / "own.toml"
    path.write_text(text)
    (rule,) = rules.read([path]).rules
    return rule, (str(path),)


HEAD = 'code = "XY900"\nname = "own"\nhazard = "forward-nonfinite"\nalso = ["gradient-nonfinite"]\nsummary = "s"\n'
ROOT = HEAD + 'match = ["sqrt(exp(x) + 5)"]\n'
EXAMPLES = '[[example]]\nbad = "torch.sqrt(torch.exp(x) + 5)"\n[[example]]\nnear = "torch.sqrt(torch.sigmoid(x) + 5)"\n'
FAILING = {
    "another function": (ROOT + 'stable = "exp(0.5 * x)"\n' + EXAMPLES, "meaning: exactly, the value"),
    "not exact enough": (ROOT + 'stable = "exp(0.5 * log(exp(x) + 5))"\n' + EXAMPLES, "ulps from"),
    "overflows": (ROOT + 'stable = "exp(0.5 * x) * sqrt(1 + 5 * exp(-x))"\n' + EXAMPLES, "value: the value"),
    "wrong gradient": (
        ROOT + 'stable = "detach(exp(0.5 * x) * sqrt(1 + 5 * exp(-x)))"\n' + EXAMPLES,
        "gradient",
    ),
    "worse at infinity": (
        HEAD + 'match = ["exp(x) / (3 + 2 * exp(x))"]\nstable = "1 / (2 + 3 * exp(-x)) + 0 * x"\nulps = inf\n'
        'slope_ulps = inf\n[[example]]\nbad = "torch.exp(x) / (3 + 2 * torch.exp(x))"\n[[example]]\nnear = "x"\n',
        "not finite: the value of the stable form is nan, that of the code 0 at x = -inf",
    ),
    "other columns": (
        ROOT + '[[example]]\nbad = "2 * torch.sqrt(torch.exp(x) + 5)"\n[[example]]\nnear = "x"\n',
        "is found at `torch.sqrt(torch.exp(x) + 5)`: say so with `at`",
    ),
    "another hazard": (
        ROOT + EXAMPLES.replace('5)"\n[[', '5)"\nhazard = "dead-gradient"\n[[', 1),
        "is found as forward-nonfinite, not as dead-gradient",
    ),
    "a pattern nobody shows": (
        ROOT.replace("match = [", 'match = ["sqrt(exp(x) + 7)", ') + 'stable = "exp(0.5 * x)"\n' + EXAMPLES,
        "`sqrt(exp(x) + 7)` is a pattern with a fix that no bad example shows",
    ),
    "finds nothing": (
        HEAD + 'match = ["log(x)"]\n[[example]]\nbad = "torch.sin(x)"\n[[example]]\nnear = "x"\n',
        "is not found under XY900",
    ),
    "reports what is safe": (
        ROOT + EXAMPLES + '[[example]]\nnear = "torch.sqrt(5 + torch.exp(y))"\n',
        "is found, although it is safe",
    ),
    "no near miss": (ROOT + '[[example]]\nbad = "torch.sqrt(torch.exp(x) + 5)"\n', "has no near miss"),
    "no bad example": (ROOT + '[[example]]\nnear = "x"\n', "has no bad example"),
}


@pytest.mark.parametrize(("text", "message"), FAILING.values(), ids=FAILING.keys())
def test_wrong_rule_fails_its_proof(tmp_path: Path, text: str, message: str) -> None:
    rule, files = own(tmp_path, text)
    failures = [str(failure) for failure in prove.prove(rule, files)]
    assert any(message in failure for failure in failures), failures
    assert all(failure.startswith(f"{files[0]}:1: XY900: ") for failure in failures)


def test_unsafe_rule_may_be_worse_at_infinity(tmp_path: Path) -> None:
    text, _ = FAILING["worse at infinity"]
    rule, files = own(tmp_path, text.replace("ulps = inf", "safe = false\nulps = inf", 1))
    assert [str(failure) for failure in prove.prove(rule, files)] == []


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("value", "exact", "dtype", "size", "ulps"),
    [
        (1.0, 1.0, "float32", 0.0, 0.0),
        (1.0 + 2**-23, 1.0, "float32", 0.0, 1.0),
        (2**-23, 0.0, "float32", 0.0, 1.0),  # near 0 the measure is absolute
        (2.0 + 2**-22, 2.0, "float32", 0.0, 1.0),
        (8 * 2**-23, 0.0, "float32", 8.0, 1.0),  # what is rounded off the largest input shows in all
        (INF, 1e39, "float32", 0.0, 0.0),  # not in the dtype
        (-INF, 1e39, "float32", 0.0, INF),
        (INF, 1e39, "float64", 0.0, INF),
        (NAN, 1.0, "float32", 0.0, INF),
        (7.0, NAN, "float32", 0.0, 0.0),  # not known
        (-INF, -INF, "float32", 0.0, 0.0),
    ],
)
def test_distance_counts_ulps(value: float, exact: float, dtype: str, size: float, ulps: float) -> None:
    assert sweep.distance(value, exact, dtype, size) == pytest.approx(ulps)


@pytest.mark.parametrize(
    ("old", "new", "is_worse"),
    [(1.0, NAN, True), (NAN, 1.0, False), (NAN, NAN, False), (INF, NAN, True), (1.0, INF, True), (INF, 1.0, False),
     (INF, INF, False), (INF, -INF, True), (1.0, 2.0, False), (NAN, INF, False)],
)  # fmt: skip
def test_nan_says_less_than_infinity_and_infinity_less_than_a_number(old: float, new: float, is_worse: bool) -> None:
    assert sweep.worse(old, new) is is_worse


# Forms that look right and are not: (rule, code it finds, the tempting form, how the sweep sees through it).
TEMPTING = {
    "another log1p": ("NG102", "torch.log(1 - torch.sigmoid(x))", "log1p(-sigmoid(x))", "value"),
    "softplus in float64": ("NG105", "torch.log(1 + torch.exp(x))", "softplus(x)", "value"),
    "log1p of tanh": ("NG109", "torch.log(1 - torch.tanh(x) ** 2)", "log1p(-tanh(x) ** 2)", "value"),
    "log1mexp of a rounded log": (
        "NG110", "torch.log(1 - torch.softmax(x, dim=1))", "log1mexp(log_softmax(x, dim=1))", "value",
    ),
    "log1p alone": ("NG111", "torch.log(1 - torch.exp(x))", "log1p(-exp(x))", "value"),
    "a single where": (
        "NG111", "torch.log(1 - torch.exp(x))",
        "where(x > -0.6931471805599453, log(-expm1(x)), log1p(-exp(x)))", "gradient",
    ),
    "a shifted sum": (
        "NG104", "torch.log(torch.sum(torch.exp(x), dim=1))",
        "log(sum(exp(clamp(x, none, 80.0)), dim=1, keepdim=false))", "value",
    ),
    "log of expm1": ("NG123", "torch.log(torch.exp(x) - 1)", "log(expm1(x))", "value"),
    "xlogy": (
        "NG205", "torch.softmax(x, dim=1) * torch.log(torch.softmax(x, dim=1))",
        "xlogy(softmax(x, dim=1), softmax(x, dim=1))", "gradient",
    ),
    "ndtr by its complement": ("NG416", "1 - torch.special.ndtr(x)", "1 - ndtr(x)", "value"),
    "merged logarithms": ("NG103", "torch.log(torch.softmax(x, dim=1))",
                          "log(exp(x) / sum(exp(x), dim=1, keepdim=true))", "value"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "bad", "tempting", "kind"), TEMPTING.values(), ids=TEMPTING.keys())
def test_form_that_looks_right_is_seen_through(code: str, bad: str, tempting: str, kind: str) -> None:
    source = prove.program(bad)
    scanned = analyse.scan("example.py", source, ast.parse(source), Settings(static=True), None)
    match = next(suspect.match for suspect in scanned.suspects if suspect.match.rule.code == code)
    assert match.variant.stable is not None
    assert scanned.matcher is not None
    for form, right in ((match.variant.stable, True), (ops.parse(tempting), False)):
        case = sweep.case(replace(match, variant=replace(match.variant, stable=form)), scanned.matcher)
        assert case is not None
        faults = [str(fault) for fault in sweep.faults(case, safe=False)]
        faults = [fault for fault in faults if fault.startswith(f"{kind}: ")]
        assert (faults == []) is right, faults


# --- rule files of one's own ---------------------------------------------------------------------------------

GOOD = 'code = "XX900"\nname = "own"\nhazard = "forward-nonfinite"\nsummary = "s"\n'
LOG = GOOD + 'match = ["log(x)"]\n'
# text, message, line (0 where the TOML cannot be read)
BROKEN = {
    "toml": ("code = ", "not valid TOML", 0),
    "deep toml": ("a = " + "[" * 5000, "not valid TOML: nested too deeply", 0),
    "empty": ("", "there is no rule in it", 1),
    "unknown key": (LOG + "macth = 1\n", "did you mean 'match'", 6),
    "unknown operation": (GOOD + 'match = ["lg(x)"]\n', "unknown operation 'lg'", 5),
    "no pattern": (GOOD, "at least one pattern", 1),
    "no code in a table": ("[[rule]]\nname = 'x'\n", "'code' must be a text, and it is missing", 1),
    "bad code": (LOG.replace("XX900", "X1"), "two capital letters", 1),
    "bad name": (LOG.replace('"own"', '"Own Rule"'), "words in small letters", 2),
    "bad hazard": (LOG.replace("forward", "foward"), "unknown hazard", 3),
    "attribute access": (GOOD + 'match = ["x.__class__"]\n', "not part of the rule language", 5),
    "call of a call": (GOOD + 'match = ["log(x)(y)"]\n', "not part of the rule language", 5),
    "call of a lambda": (GOOD + 'match = ["(lambda: x)()"]\n', "not part of the rule language", 5),
    "not an expression": (GOOD + 'match = ["log(x"]\n', "not an expression", 5),
    "tower of powers": (GOOD + 'match = ["log(x + 9 ** 9 ** 9)"]\n', "an exponent is at most 1000", 5),
    "huge power": (GOOD + 'match = ["x ** 99999999"]\n', "an exponent is at most 1000", 5),
    "huge number": (GOOD + f'match = ["log(x + 1{"0" * 400})"]\n', "is no operand", 5),
    "text as operand": (GOOD + "match = [\"log('a')\"]\n", "is no operand", 5),
    "deep nesting": (GOOD + f'match = ["{"exp(" * 90}x{")" * 90}"]\n', "nested deeper", 5),
    "deep brackets": (GOOD + f'match = ["{"(" * 300}x{")" * 300}"]\n', "not an expression", 5),
    "too long": (GOOD + f'match = ["{"x + " * 900}x"]\n', "at most 2000 characters", 5),
    "a variable alone": (GOOD + 'match = ["x"]\n', "a pattern is an operation", 5),
    "unbound": (LOG + 'stable = "y"\n', "does not bind", 5),
    "unbound attribute": (GOOD + 'match = ["sum(x, dim=d)"]\nstable = "sum(x, dim=e)"\n', "uses 'e'", 5),
    "unknown predicate": (LOG + 'when = ["end_at(x, 0)"]\n', "did you mean 'ends_at'", 6),
    "predicate of nothing": (LOG + 'when = ["ends_at(z, 0)"]\n', "which the pattern does not bind", 6),
    "predicate of too little": (LOG + 'when = ["ends_at(x)"]\n', "another number of arguments", 6),
    "branch": (LOG + 'untaken = "z"\n', "'z' is a branch", 6),
    "logits of nothing": (LOG + 'logits = "z"\n', "'z' is no variable", 6),
    "text for a number": (LOG + 'ulps = "a"\n', "'ulps' must be a number", 6),
    "unknown dtype": (LOG + "ulps = {float8 = 1}\n", "unknown key 'float8' of ulps", 6),
    "number for a text": (LOG + "why = 3\n", "'why' must be a text", 6),
    "text for a truth": (LOG + 'safe = "no"\n', "'safe' must be true or false", 6),
    "variant that is none": (LOG + "variant = 3\n", "'variant' must be tables", 6),
    "example that is none": (LOG + "example = [3]\n", "'example' must be tables", 6),
    "example without text": (LOG + "[[example]]\nbad = 3\n", "'bad' must be a text", 7),
    "columns of another example": (LOG + '[[example]]\nbad = "x"\nat = "y"\n', "'at' must be a part", 8),
    "relation": ('[[relation]]\nmatch = "x"\nlow = "a"\n', "'low' must be a number", 3),
    "range of nothing": ('[[relation]]\nmatch = "log(x)"\nwithin = "z"\n', "'within' must be a variable", 3),
    "identity": ('[[identity]]\nfrom = "log(x)"\nto = "y"\n', "'to' uses 'y'", 2),
    "identity of a whole expression": (
        '[[identity]]\nfrom = "log(x)"\nto = "x"\nwhen = ["divides()"]\n',
        "which only a rule has",
        4,
    ),
    "code that is taken": (LOG.replace("XX900", "NG101"), "the code 'NG101' is taken by", 1),
    "name that is taken": (LOG.replace('"own"', '"log-sigmoid"'), "the name 'log-sigmoid' is taken by", 1),
}


@pytest.mark.parametrize(("text", "message", "line"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_rule_file_gets_one_clear_line(tmp_path: Path, text: str, message: str, line: int) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(RuleError) as caught:
        rules.load((str(path),))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 400


def test_rules_whose_examples_wait_say_all_that_their_files_say() -> None:
    whole = rules.read(sorted(rules.folder().glob("*.toml"))).rules
    assert [tuple(rule.examples) for rule in RULES] == [tuple(rule.examples) for rule in whole]
    assert [replace(rule, examples=()) for rule in RULES] == [replace(rule, examples=()) for rule in whole]


def test_two_rules_of_one_code_are_refused(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(LOG)
    with pytest.raises(RuleError, match="is taken by"):
        rules.read([tmp_path / "a.toml", tmp_path / "b.toml"])


def test_a_file_may_hold_several_rules(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    second = LOG.replace("XX900", "XX901").replace('"own"', '"other"')
    path.write_text(f"[[rule]]\n{LOG}[[rule.example]]\nnear = 'x'\n[[rule]]\n{second}")
    assert [(rule.code, rule.line) for rule in rules.read([path]).rules] == [("XX900", 2), ("XX901", 10)]


LOSS = "import torch\n\n\ndef loss(x):\n    return torch.sqrt(torch.exp(x) + 5)\n"


def test_own_rules_take_part_in_check(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(ROOT + EXAMPLES)
    (tmp_path / "loss.py").write_text(LOSS)
    files = (str(tmp_path / "own.toml"),)
    for static in (True, False):
        report = check_paths([str(tmp_path / "loss.py")], Settings(static=static, rules=files))
        assert [finding.code for finding in report.shown] == ["XY900"]
    alone = check_paths([str(tmp_path / "loss.py")], Settings(static=True, select=("XY900",), rules=files))
    assert [finding.code for finding in alone.shown] == ["XY900"]
    assert check_paths([str(tmp_path / "loss.py")], Settings(static=True)).ok


def run(*arguments: str) -> tuple[int, str]:
    """The exit status and the output of a command."""
    runner = CliRunner()
    with runner.isolation() as streams:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        return int(str(caught.value.code or 0)), streams[0].getvalue().decode()


def test_rules_are_proved_on_the_command_line(tmp_path: Path) -> None:
    good, bad, broken = (tmp_path / name for name in ("good.toml", "bad.toml", "broken.toml"))
    good.write_text(ROOT + EXAMPLES)
    bad.write_text(FAILING["other columns"][0].replace("XY900", "XY901").replace('"own"', '"other"').replace("5", "7"))
    broken.write_text("code = 1\n")
    status, out = run("rules", "--prove", "--rules", str(good))
    assert (status, out.splitlines()[-1]) == (0, "1 rules, all proved")
    assert [line.split() for line in out.splitlines()[2:3]] == [["XY900", "own", "2", "ok"]]
    status, out = run("rules", "--prove", "--rules", str(good), "--rules", str(bad))
    assert (status, out.splitlines()[-1]) == (1, "2 rules, 1 failing")
    assert f"{bad}:1: XY901: `2 * torch.sqrt(torch.exp(x) + 7)` is found at" in out
    status, out = run("rules", "--prove", "--format", "json", "--rules", str(bad))
    (row,) = json.loads(out)["rules"]
    assert (status, row["code"], row["ok"], len(row["failures"])) == (1, "XY901", False, 1)
    assert run("rules", "--prove", "--rules", str(broken))[0] == 2
    assert run("check", "--rules", str(tmp_path / "missing.toml"), str(good))[0] == 2
