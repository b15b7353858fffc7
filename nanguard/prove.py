"""Prove rules by their own examples: what is bad is found, witnessed and repaired, what is good is left alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nanguard.analyse import examine
from nanguard.finding import Finding
from nanguard.rules import Example, Rule
from nanguard.settings import Settings

_HEAD = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n"
_NAMES = ("x", "y", "a", "b", "p", "y_pred", "target")
_LINE = _HEAD.count("\n") + 2
_COLUMN = len("    return ")


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that does not do what its rule says."""

    rule: Rule
    example: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule.path}:{self.rule.line}: {self.rule.code}: `{self.example}` {self.reason}"


def program(expression: str) -> str:
    """A file with one loss that returns the expression; its arguments are tensors."""
    return f"{_HEAD}def loss({', '.join(_NAMES)}):\n    return {expression}\n"


def findings(expression: str, settings: Settings | None = None) -> tuple[Finding, ...]:
    """What is found in an expression at the default level."""
    result = examine("example.py", program(expression), settings or Settings(static=True), None)
    return tuple(finding for finding in result.findings if finding.severity != "info")


def prove(rule: Rule) -> Iterator[Failure]:
    """The failures of a rule: none, if it may ship."""
    if not any(example.bad for example in rule.examples):
        yield Failure(rule, rule.name, "has no bad example: add one")
    if not any(example.near for example in rule.examples):
        yield Failure(rule, rule.name, "has no near miss: add an example with `near`")
    for example in rule.examples:
        if example.bad is not None:
            yield from _bad(rule, example)
        for text in (example.good, example.near):
            if text is not None:
                yield from _silent(rule, text, _settings(example))


def _settings(example: Example) -> Settings:
    """What an example is checked with."""
    return Settings(static=True, dtypes=(example.dtype,))


def _bad(rule: Rule, example: Example) -> Iterator[Failure]:
    text = example.bad or ""
    settings = _settings(example)
    every = findings(text, settings)
    found = [finding for finding in every if finding.code == rule.code]
    if not found:
        others = sorted({finding.code for finding in every})
        yield Failure(rule, text, f"is not found under {rule.code} (found: {', '.join(others) or 'nothing'})")
        return
    first = found[0]
    hazard = example.hazard or rule.hazard
    if first.hazard != hazard:
        yield Failure(rule, text, f"is found as {first.hazard}, not as {hazard}")
    if first.witness is None or not (first.thresholds or _constant(first.witness.inputs)):
        yield Failure(rule, text, "has no witness or no threshold")
    span = first.span
    if span.line != _LINE or span.column < _COLUMN or span.end_column > _COLUMN + len(text.encode()):
        yield Failure(rule, text, f"is found at {span.line}:{span.column + 1}, outside of the expression")
    yield from _repair(rule, text, first, settings)


def _constant(inputs: Mapping[str, object]) -> bool:
    """Whether the inputs are tensors of equal entries: what fails for a constant one does so at any size."""
    rows = [str(value) for value in inputs.values()]
    entries = [set(row.replace("[", "").replace("]", "").split(", ")) for row in rows]
    return any("," in row for row in rows) and all(len(found) == 1 for found in entries)


def _repair(rule: Rule, text: str, found: Finding, settings: Settings) -> Iterator[Failure]:
    """The stable replacement must leave nothing to find, and be exact where the rule's own points are."""
    if found.fix is None:
        if rule.variants[0].stable is not None:
            yield Failure(rule, text, "has no fix, although the rule has a stable form")
        return
    if found.fix.kind != "stable":
        return
    start, end = found.span.column - _COLUMN, found.span.end_column - _COLUMN
    repaired = text[:start] + found.fix.edits[0].text + text[end:]
    left = [finding.code for finding in findings(repaired, settings) if finding.code == rule.code]
    if left:
        yield Failure(rule, text, f"is still found after the fix: `{repaired}`")


def _silent(rule: Rule, text: str, settings: Settings) -> Iterator[Failure]:
    every = findings(text, settings)
    found = [finding for finding in every if finding.code == rule.code]
    if found:
        yield Failure(rule, text, f"is found, although it is safe (at {dict(found[0].witness.inputs)})"
                      if found[0].witness else "is found, although it is safe")  # fmt: skip
    others = sorted({finding.code for finding in every} - {rule.code})
    if others:
        yield Failure(rule, text, f"is found under {', '.join(others)}, although it is safe")
