"""Fingerprint: what a finding is known by from one run to the next, however the lines of its file move.

It is made of the file, the code, the target and the expression, not of the line, so that edits elsewhere, a formatter
and a function that moves leave it as it is.  The baseline, SARIF, GitLab and JSON use the same one.
"""

from __future__ import annotations

import ast
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from nanguard.finding import Finding

# Of the recipe below: it goes into the hash, and names the fingerprint where a format wants a name (SARIF).
NAME = "nanguard/v1"


def fingerprints(findings: Sequence[Finding], folder: str = ".") -> tuple[str, ...]:
    """The fingerprint of each finding, 32 hexadecimal digits, no two of them the same; paths count from `folder`.

    Findings that are equal but for their place are numbered in the order of the file, the proved ones first: give all
    findings of a file at once, those that are suppressed too.
    """
    paths = {path: relative(path, folder) for path in {finding.span.path for finding in findings}}
    order = sorted(range(len(findings)), key=lambda index: _rank(findings[index]))
    counts: Counter[tuple[str, ...]] = Counter()
    made = [""] * len(findings)
    for index in order:
        finding = findings[index]
        key = (paths[finding.span.path], finding.code, finding.target, normalised(finding.expression))
        counts[key] += 1
        text = "\0".join((NAME, *key, str(counts[key])))
        made[index] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return tuple(made)


def _rank(finding: Finding) -> tuple[bool, tuple[str, int, int, int, int]]:
    span = finding.span
    return not finding.confirmed, (span.path, span.line, span.column, span.end_line, span.end_column)


def relative(path: str, folder: str) -> str:
    """A path from a folder, with slashes; links are followed, so that one file has one path."""
    try:
        found = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
    except ValueError:  # another drive
        found = os.path.abspath(path)
    return found.replace(os.sep, "/")


def normalised(expression: str) -> str:
    """An expression as one text for all its layouts: blanks, quotes, commas and brackets that mean nothing are gone."""
    for text in (f"({expression}\n)", expression.strip()):  # an augmented assignment bears no brackets
        with warnings.catch_warnings(), suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            warnings.simplefilter("ignore")  # odd escapes in somebody's strings
            plain = ast.unparse(ast.parse(text))
            return plain if plain != "()" else " ".join(expression.split())  # of a comment no tree is left
    return " ".join(expression.split())
