"""Explain: the rules as a table, and one rule in full, from the data of its file and what was measured.

The text is Markdown with fixed headings: the terminal, the generated pages of `docs/rules` and reports show the same.
Nothing here needs torch; what is measured on it comes from `measure`.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import nanguard
from nanguard.finding import DTYPES, SEVERITY, Number
from nanguard.matching.rule import Accuracy, Example, Rule, Variant
from nanguard.term import Term
from nanguard.term import show as shown

if TYPE_CHECKING:
    from nanguard.proof.measure import Measured

_WIDTH = 100
_SAFE = (
    "The fix is safe: it is equal in exact arithmetic wherever the code is defined, in value and gradient, has the "
    "same shape and dtype, and is no worse at inf, -inf and nan."
)
_UNSAFE = (
    "The fix is unsafe: it gives other values than the code where that is wrong or guarded, or at inf, -inf or nan."
)
_GUARD = (
    "Where it drops a guard (an epsilon, a clamp) it is unsafe: the value at which the guard stops goes away with it."
)
_CLAMP = "The clamped form (`--prefer clamp`, `--eps`) bounds the value and takes the gradient away beyond: unsafe."
_NONE = "There is no fix: what to write depends on what is meant."


def as_json(data: Mapping[str, Any]) -> str:
    """Data as a JSON document with the version of its shape."""
    return json.dumps({"version": 1, "nanguard": nanguard.__version__, **data}, indent=2)


def table(rules: Sequence[Rule]) -> str:
    """The rules, a row each."""
    from tabulate import tabulate

    rows = [(rule.code, rule.name, rule.hazard, rule.summary) for rule in rules]
    return tabulate(rows, headers=("code", "name", "hazard", "summary"))


def table_json(rules: Sequence[Rule]) -> str:
    """The same as JSON."""
    keys = ("code", "name", "hazard", "summary")
    return as_json({"rules": [{key: getattr(rule, key) for key in keys} for rule in rules]})


def rule_data(rule: Rule, measured: Measured | None = None) -> dict[str, Any]:
    """Everything about a rule as plain data; `measured` is null where nothing was measured."""
    return {
        "code": rule.code,
        "name": rule.name,
        "hazard": rule.hazard,
        "severity": SEVERITY[rule.hazard],
        "summary": rule.summary,
        "why": rule.why,
        "fix": availability(rule),
        "fix_safety": " ".join(safety(rule)),
        "replacements": [_variant(variant) for variant in rule.variants],
        "accuracy": {
            "ulps": _figures(rule.ulps),
            "gradient_ulps": _figures(rule.slope_ulps),
            "reach": _figures(rule.reach),
            "least": _figures(rule.least),
        },
        "examples": [_example(example) for example in rule.examples],
        "references": list(rule.references),
        "measured": _measured(measured),
    }


def _figures(accuracy: Accuracy) -> dict[str, Number]:
    return {dtype: accuracy.of(dtype) if accuracy.of(dtype) != float("inf") else "inf" for dtype in DTYPES}


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "match": show(variant.match),
        "stable": show(variant.stable) if variant.stable else None,
        "clamp": show(variant.clamp) if variant.clamp else None,
        "safe": variant.safe,
        "hazard": variant.hazard,
    }


def _example(example: Example) -> dict[str, Any]:
    return {"bad": example.bad, "good": example.good, "near": example.near, "dtype": example.dtype}


def _measured(measured: Measured | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    keys = ("dtype", "inputs", "what", "naive", "stable", "exact")
    return {
        "example": measured.example,
        "torch": measured.torch,
        "thresholds": measured.thresholds,
        "values": [{key: getattr(row, key) for key in keys} for row in measured.rows],
    }


# --- the text --------------------------------------------------------------------------------------------------------


def rule_text(rule: Rule, measured: Measured | None = None, torch: bool = True, plot: str = "") -> str:
    """Everything about a rule as Markdown; without `torch`, one line says what it would be needed for.

    `plot` is a plot of it in characters.
    """
    parts = list(sections(rule))
    at = next((index for index, part in enumerate(parts) if part.startswith("## Fix safety")), len(parts))
    if measured is not None:
        parts[at:at] = where_it_fails(measured, plot)
    elif not torch:
        parts[at:at] = ["## Where it fails\n\ntorch is not installed here: the thresholds and the table need it."]
    return "\n\n".join(parts)


def sections(rule: Rule) -> Iterator[str]:
    """The parts that need nothing but the rule, each with its heading."""
    yield f"# {rule.name} ({rule.code})"
    yield f"Severity: {SEVERITY[rule.hazard]} ({rule.hazard}). {availability(rule)}"
    yield f"## What it does\n\n{fill(f'{rule.summary}.')}"
    if rule.why.strip():
        yield f"## Why is this bad?\n\n{fill(rule.why)}"
    bad = list(dict.fromkeys(example.bad for example in rule.examples if example.bad))
    if bad:
        yield f"## Example\n\n{_code(bad)}"
    good = list(dict.fromkeys(example.good for example in rule.examples if example.good))
    if good:
        yield f"Use instead:\n\n{_code(good)}"
    near = list(dict.fromkeys(example.near for example in rule.examples if example.near))
    if near:
        yield f"Not reported:\n\n{_code(near)}"
    replacements = list(dict.fromkeys(line for variant in rule.variants for line in _replacement(variant)))
    yield "## Replacement\n\n" + "\n".join(replacements)
    yield "## Fix safety\n\n" + "\n\n".join(map(fill, safety(rule)))
    if rule.references:
        yield "## References\n\n" + "\n".join(f"- {reference}" for reference in rule.references)


def where_it_fails(measured: Measured, plot: str) -> Iterator[str]:
    """The thresholds in each dtype, a plot if there is one, and what the witness gives."""
    from tabulate import tabulate

    yield f"## Where it fails\n\nMeasured with torch {measured.torch} on `{measured.example}`."
    if measured.thresholds:
        firsts = [(dtype, _number(measured.thresholds.get(dtype, "-"))) for dtype in DTYPES]
        yield tabulate(firsts, headers=("dtype", "first failing input"), tablefmt="github", disable_numparse=True)
    if plot:
        yield f"```text\n{plot}\n```"
    rows = [
        (row.dtype, _inputs(row.inputs), row.what, _number(row.naive), _given(row.stable), _number(row.exact))
        for row in measured.rows
    ]
    headers = ("dtype", "input", "", "as written", "stable", "exact")
    yield tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def availability(rule: Rule) -> str:
    """Whether there is a fix, in a sentence."""
    stable = [variant for variant in rule.variants if variant.stable]
    if not stable:
        return "A clamp is available." if any(variant.clamp for variant in rule.variants) else "No fix is available."
    safe = any(variant.safe for variant in stable)
    when = "always" if len(stable) == len(rule.variants) else "sometimes"
    return f"{'A safe' if safe else 'An unsafe'} fix is {when} available."


def safety(rule: Rule) -> Iterator[str]:
    """When the fix is safe, when it is not, and how exact it is."""
    stable = [variant for variant in rule.variants if variant.stable]
    kinds = {variant.safe for variant in stable}
    if kinds == {True, False}:
        unsafe = ", ".join(f"`{show(variant.match)}`" for variant in stable if not variant.safe)
        yield f"{_SAFE} Not so for {unsafe}: there it is unsafe, with other values or worse ones at inf, -inf or nan."
    elif kinds:
        yield _SAFE if True in kinds else _UNSAFE
    if True in kinds and rule.guarded:
        yield _GUARD
    if stable:
        yield _accuracy(rule)
    if any(variant.clamp for variant in rule.variants):
        yield _CLAMP
    if not stable and not any(variant.clamp for variant in rule.variants):
        yield _NONE


def _accuracy(rule: Rule) -> str:
    """How exact the stable form is."""
    text = f"Proved against the exact value: within {_by_dtype(rule.ulps)} units in the last place of max(1, |value|), "
    text += f"its gradient within {_by_dtype(rule.slope_ulps)}, for inputs up to {_by_dtype(rule.reach)}"
    if rule.least.default or rule.least.given:
        text += f" and, beside 0, from {_by_dtype(rule.least)} on"
    return text + "."


def _by_dtype(accuracy: Accuracy) -> str:
    """A figure, with what is otherwise in some dtypes."""
    others = [f"{accuracy.of(dtype):g} in {dtype}" for dtype in DTYPES if accuracy.of(dtype) != accuracy.default]
    if len(others) == len(DTYPES):
        return ", ".join(others)
    return f"{accuracy.default:g}" + (f" ({', '.join(others)})" if others else "")


def _replacement(variant: Variant) -> Iterator[str]:
    stable = f" -> `{show(variant.stable)}`" if variant.stable else ""
    clamp = f" (clamped: `{show(variant.clamp)}`)" if variant.clamp else ""
    yield f"- `{show(variant.match)}`{stable}{clamp}"


def show(term: Term) -> str:
    """A pattern as its rule writes it: attributes that it binds by their names alone."""
    return re.sub(r"Hole\(name='(\w+)'\)", r"\1", shown(term)).replace("None", "none").replace("True", "true")


def fill(text: str) -> str:
    """A paragraph in lines of the width of a page."""
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _code(lines: Sequence[str]) -> str:
    return "```python\n" + "\n".join(textwrap.dedent(line).strip("\n") for line in lines) + "\n```"


def _inputs(inputs: Mapping[str, Number]) -> str:
    return ", ".join(f"{name} = {_number(value)}" for name, value in inputs.items())


def _given(value: Number | None) -> str:
    return "-" if value is None else _number(value)


def _number(value: Number) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_number, value)) + "]"
    return f"{value:.7g}" if isinstance(value, float) else str(value)
