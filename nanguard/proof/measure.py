"""Measure: where a rule's first example fails on the torch that runs, and what its stable form gives there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nanguard import analyse
from nanguard.finding import DTYPES, Number
from nanguard.matching.match import Match
from nanguard.matching.rule import Rule
from nanguard.proof import prove
from nanguard.proof.confirm import Proof, confirm
from nanguard.proof.points import Point, at
from nanguard.proof.witness import plain
from nanguard.settings import Settings


@dataclass(frozen=True, slots=True)
class Row:
    """What an input gives in a dtype: by the code as written, by the stable form (if there is one), and exactly."""

    dtype: str
    inputs: dict[str, Number]
    what: str  # value or gradient
    naive: Number
    stable: Number | None
    exact: Number


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurements of a rule on one example."""

    example: str
    torch: str  # the version of torch
    thresholds: dict[str, Number]  # by dtype: the first failing input, its entry of largest magnitude
    rows: tuple[Row, ...]


def measure(rule: Rule, files: tuple[str, ...] = ()) -> Measured | None:
    """The measurements on the first bad example that has a proof; None where none has."""
    for example in rule.examples:
        if example.bad is None:
            continue
        proofs = {dtype: found for dtype in DTYPES if (found := _proof(rule, example.bad, dtype, files)) is not None}
        if not proofs:
            continue
        first = proofs.get(example.dtype) or next(iter(proofs.values()))
        thresholds = dict(first[1].thresholds)
        rows = tuple(row for dtype, (match, proof) in proofs.items() for row in _rows(match, proof, dtype))
        return Measured(example.bad, _version(), thresholds, rows)
    return None


def _version() -> str:
    import torch

    return str(torch.__version__)


def _proof(rule: Rule, text: str, dtype: str, files: tuple[str, ...]) -> tuple[Match, Proof] | None:
    """The match of an example and its proof in a dtype."""
    source = prove.program(text)
    settings = Settings(select=(rule.code,), static=True, dtypes=(dtype,), rules=files)
    scanned = analyse.scan("example.py", source, ast.parse(source), settings, None)
    for suspect in scanned.suspects:
        if scanned.matcher is not None:
            site = scanned.reading.site(suspect.place, suspect.uses.caught)
            proof = confirm(suspect.match, scanned.matcher, site.names.get)
            if proof is not None:
                return suspect.match, proof
    return None


def _rows(match: Match, proof: Proof, dtype: str) -> Iterator[Row]:
    """The value at the witness, and the entry of the gradient that is worst in the code as written."""
    witness, stable = proof.witness, _stable(match, proof, dtype)
    inputs = dict(witness.inputs)
    yield Row(dtype, inputs, "value", witness.computed, _value(stable), witness.exact)
    if witness.gradient is None or witness.exact_gradient is None:
        return
    slope = None
    for index, part in enumerate(proof.point.gradients):
        listed = [] if part is None else part.flatten().tolist()
        place = next((place for place, value in enumerate(listed) if plain(value) == witness.gradient), None)
        if place is not None:
            other = stable.gradients[index] if stable is not None else None
            slope = None if other is None else plain(other.flatten().tolist()[place])
            break
    yield Row(dtype, inputs, "gradient", witness.gradient, slope, witness.exact_gradient)


def _value(point: Point | None) -> Number | None:
    if point is None:
        return None
    values = [plain(value) for value in point.output.flatten().tolist()]
    return values[0] if len(values) == 1 else values


def _stable(match: Match, proof: Proof, dtype: str) -> Point | None:
    """What the stable form gives at the witness, None where there is none or torch has no kernel for it."""
    if match.variant.stable is None:
        return None
    cut = replace(proof.cut, root=match.replacement(match.variant.stable))
    return at(cut, proof.point.values, proof.point.shape, dtype)
