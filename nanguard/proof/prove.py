"""Prove rules by their own examples: what is bad is found, witnessed and repaired, what is good is left alone.

One test for all rules.  Every bad example must be found under the rule's code, at its columns, as its hazard, with a
witness; nothing may be left to find after the fix; and what the fix writes is swept against the exact value (`sweep`).
Good examples and near misses must stay silent, and every pattern with a stable form needs a bad example.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nanguard.analyse import Scan, examine, scan
from nanguard.finding import DTYPES, Finding
from nanguard.matching.match import Match, Matcher
from nanguard.matching.rule import Example, Rule, Variant
from nanguard.proof import sweep
from nanguard.reading.read import span
from nanguard.repair.edits import apply
from nanguard.settings import Settings
from nanguard.term import Term, show

_HEAD = "import math\nimport torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n\n"
_NAMES = ("x", "y", "a", "b", "p", "y_pred", "target")
_LINE = _HEAD.count("\n") + 2
_PATH = "example.py"


@dataclass(frozen=True, slots=True)
class Failure:
    """An example or a pattern that does not do what its rule says."""

    rule: Rule
    example: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule.path}:{self.rule.line}: {self.rule.code}: `{self.example}` {self.reason}"


def program(expression: str) -> str:
    """A file with one loss that returns the expression; its arguments are tensors.

    Statements may come before it, each with a semicolon and a space after it.
    """
    *before, returned = expression.split("; ")
    statements = "".join(f"{statement}; " for statement in before)
    return f"{_HEAD}def loss({', '.join(_NAMES)}):\n    {statements}return {returned}\n"


def findings(expression: str, settings: Settings | None = None) -> tuple[Finding, ...]:
    """What is found in an expression at the default level."""
    return found_in(program(expression), settings or Settings(static=True))


def found_in(source: str, settings: Settings) -> tuple[Finding, ...]:
    """What is found in a file at the default level."""
    result = examine(_PATH, source, settings, None)
    return tuple(finding for finding in result.findings if finding.severity != "info")


def prove(rule: Rule, files: tuple[str, ...] = ()) -> Iterator[Failure]:
    """The failures of a rule: none, if it may ship.  `files` are the rule files to load beside nanguard's own."""
    if not any(example.bad for example in rule.examples):
        yield Failure(rule, rule.name, "has no bad example: add one")
    if not any(example.near for example in rule.examples):
        yield Failure(rule, rule.name, "has no near miss: add an example with `near`")
    proof = _Proof(rule, files, set(), set(), set())
    for example in rule.examples:
        if example.bad is not None:
            yield from proof.bad(example)
        for text in (example.good, example.near):
            if text is not None:
                yield from proof.silent(text, example)
    shown = {variant.match for variant in proof.proved}
    for pattern in dict.fromkeys(variant.match for variant in rule.variants if variant.stable is not None):
        if pattern not in shown:  # what a fix writes was not swept
            yield Failure(rule, show(pattern), "is a pattern with a fix that no bad example shows: add one")


@dataclass(frozen=True, slots=True)
class _Proof:
    """The proof of one rule, and what its examples have shown so far."""

    rule: Rule
    files: tuple[str, ...]
    proved: set[Variant]
    swept: set[Variant]
    forms: set[Term]  # the stable forms that were swept in every dtype

    def settings(self, example: Example) -> Settings:
        """What an example is checked with."""
        return Settings(static=True, dtypes=(example.dtype,), rules=self.files)

    def bad(self, example: Example) -> Iterator[Failure]:
        """What is wrong with how an example of bad code is found."""
        rule, text, settings = self.rule, example.bad or "", self.settings(example)
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
        scaled = hazard == "accuracy-loss"  # digits may be lost at every magnitude
        if first.witness is None or not (first.thresholds or scaled or _constant(first.witness.inputs)):
            yield Failure(rule, text, "has no witness or no threshold")
        at = program(text).encode().split(b"\n")[_LINE - 1][first.span.column : first.span.end_column].decode()
        if first.span.line != _LINE or at != (example.at or text):
            yield Failure(rule, text, f"is found at `{at}`: say so with `at`, if that is right")
        scanned = scan(_PATH, program(text), ast.parse(program(text)), settings, None)
        matches = list(_matches(scanned, first))
        yield from self.repaired(text, first, matches, settings)
        if scanned.matcher is not None:
            yield from self.exact(text, matches, scanned.matcher)

    def repaired(self, text: str, found: Finding, matches: Sequence[Match], settings: Settings) -> Iterator[Failure]:
        """The stable replacement must leave nothing to find."""
        if found.fix is None:
            if any(match.variant.stable is not None for match in matches):
                yield Failure(self.rule, text, "has no fix, although the rule has a stable form")
            return
        if found.fix.kind != "stable" or not found.fix.edits:
            return
        lines = program(text).encode().splitlines(keepends=True)
        source = apply(lines, found.fix.edits, 1, len(lines)).decode()
        repaired = source.splitlines()[-1].removeprefix("    return ")
        left = [finding.code for finding in found_in(source, settings) if finding.code == self.rule.code]
        if left:
            yield Failure(self.rule, text, f"is still found after the fix: `{repaired}`")

    def exact(self, text: str, matches: Sequence[Match], matcher: Matcher) -> Iterator[Failure]:
        """The stable form must keep to the exact value, once for each form and each pattern."""
        for match in matches:
            self.proved.add(match.variant)
            stable = match.variant.stable
            if stable is None or match.guards or match.variant in self.swept:
                continue
            case = sweep.case(match, matcher)
            if case is None:
                continue
            dtypes = DTYPES if stable not in self.forms else ("float32",)
            self.swept.add(match.variant)
            self.forms.add(stable)
            for fault in sweep.faults(case, match.variant.safe, dtypes):
                yield Failure(self.rule, text, str(fault))

    def silent(self, text: str, example: Example) -> Iterator[Failure]:
        """What is found in code that is safe."""
        every = findings(text, self.settings(example))
        for finding in every:
            if finding.code == self.rule.code:
                where = f" (at {dict(finding.witness.inputs)})" if finding.witness else ""
                yield Failure(self.rule, text, f"is found, although it is safe{where}")
        others = sorted({finding.code for finding in every} - {self.rule.code})
        if others:
            yield Failure(self.rule, text, f"is found under {', '.join(others)}, although it is safe")


def _matches(scanned: Scan, found: Finding) -> Iterator[Match]:
    """The matches that a finding comes from."""
    for suspect in scanned.suspects:
        if suspect.match.rule.code == found.code and span(suspect.place.path, suspect.place.node) == found.span:
            yield suspect.match


def _constant(inputs: Mapping[str, object]) -> bool:
    """Whether the inputs are tensors of equal entries: what fails for a constant one does so at any size."""
    rows = [str(value) for value in inputs.values()]
    entries = [set(row.replace("[", "").replace("]", "").split(", ")) for row in rows]
    return any("," in row for row in rows) and all(len(found) == 1 for found in entries)
