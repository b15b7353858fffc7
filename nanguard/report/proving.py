"""Proving: the proofs of many rules, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nanguard.lazy import load_torch
from nanguard.matching.rule import Rule
from nanguard.proof.prove import Failure, prove
from nanguard.report.explain import as_json


@dataclass(frozen=True, slots=True)
class RuleProof:
    """What came of the proof of a rule: no failure, if it may ship."""

    rule: Rule
    failures: tuple[Failure, ...]


def proofs(rules: Sequence[Rule], files: tuple[str, ...], report: Callable[[str], None]) -> Iterator[RuleProof]:
    """Prove rules one after the other; `files` are those to load beside nanguard's own, `report` hears of progress."""
    load_torch().set_num_threads(1)
    for index, rule in enumerate(rules, 1):
        report(f"proving {rule.code} ({index}/{len(rules)})")
        yield RuleProof(rule, tuple(prove(rule, files)))
    report("")


def as_text(found: Sequence[RuleProof]) -> str:
    """A row for each rule, and below what failed."""
    from tabulate import tabulate

    rows = [(proof.rule.code, proof.rule.name, len(proof.rule.examples), _verdict(proof)) for proof in found]
    lines = [tabulate(rows, headers=("code", "name", "examples", "proof"))]
    lines += [f"{failure}" for proof in found for failure in proof.failures]
    failing = sum(bool(proof.failures) for proof in found)
    lines.append(f"{len(found)} rules, {failing} failing" if failing else f"{len(found)} rules, all proved")
    return "\n".join(lines)


def _verdict(proof: RuleProof) -> str:
    return f"{len(proof.failures)} failing" if proof.failures else "ok"


def as_json_text(found: Sequence[RuleProof]) -> str:
    """The same as JSON."""
    rows = [
        {
            "code": proof.rule.code,
            "name": proof.rule.name,
            "path": proof.rule.path,
            "line": proof.rule.line,
            "ok": not proof.failures,
            "failures": [{"example": failure.example, "reason": failure.reason} for failure in proof.failures],
        }
        for proof in found
    ]
    return as_json({"rules": rows})
