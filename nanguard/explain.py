"""Explain: the rules as a table, and one rule in full, from the data of its file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import nanguard
from nanguard.finding import SEVERITY
from nanguard.rules import Example, Rule, Variant
from nanguard.term import show

_WIDTH = 96


def table(rules: Sequence[Rule]) -> str:
    """The rules, a row each."""
    from tabulate import tabulate

    rows = [(rule.code, rule.name, rule.hazard, rule.summary) for rule in rules]
    return tabulate(rows, headers=("code", "name", "hazard", "summary"))


def table_json(rules: Sequence[Rule]) -> str:
    """The same as JSON."""
    keys = ("code", "name", "hazard", "summary")
    rows = [{key: getattr(rule, key) for key in keys} for rule in rules]
    return _json({"rules": rows})


def rule_json(rule: Rule) -> str:
    """Everything about a rule as JSON."""
    return _json(
        {
            "code": rule.code,
            "name": rule.name,
            "hazard": rule.hazard,
            "severity": SEVERITY[rule.hazard],
            "summary": rule.summary,
            "why": rule.why,
            "replacements": [_variant(variant) for variant in rule.variants],
            "examples": [_example(example) for example in rule.examples],
            "references": list(rule.references),
        }
    )


def rule_text(rule: Rule) -> str:
    """Everything about a rule as text for a terminal."""
    return "\n".join(_sections(rule))


def _json(data: dict[str, Any]) -> str:
    return json.dumps({"version": 1, "nanguard": nanguard.__version__, **data}, indent=2)


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "match": show(variant.match),
        "stable": show(variant.stable) if variant.stable else None,
        "clamp": show(variant.clamp) if variant.clamp else None,
        "safe": variant.safe,
        "hazard": variant.hazard,
    }


def _example(example: Example) -> dict[str, Any]:
    return {"bad": example.bad, "good": example.good, "near": example.near}


def _sections(rule: Rule) -> Iterator[str]:
    yield f"{rule.name} ({rule.code}): {SEVERITY[rule.hazard]}, {rule.hazard}\n"
    yield textwrap.fill(rule.summary, _WIDTH)
    if rule.why:
        yield "\nWhy"
        yield textwrap.fill(" ".join(rule.why.split()), _WIDTH, initial_indent="  ", subsequent_indent="  ")
    for example in rule.examples:
        yield from _code("\nExample" if example.bad else "", example.bad)
        yield from _code("Use instead", example.good)
        yield from _code("\nNot reported", example.near)
    yield "\nReplacement"
    yield from dict.fromkeys(line for variant in rule.variants for line in _replacement(variant))
    if rule.references:
        yield "\nReferences"
        yield from (f"  {reference}" for reference in rule.references)


def _code(title: str, code: str | None) -> Iterator[str]:
    if code:
        yield title
        yield textwrap.indent(textwrap.dedent(code).strip("\n"), "  ")


def _replacement(variant: Variant) -> Iterator[str]:
    yield f"  {show(variant.match)}"
    if variant.stable:
        yield f"    stable  {show(variant.stable)}{'' if variant.safe else '  (not equal everywhere)'}"
    if variant.clamp:
        yield f"    clamp   {show(variant.clamp)}"
    if not variant.stable and not variant.clamp:
        yield "    none: what to write depends on what is meant"
