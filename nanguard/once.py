"""Once: of what goes wrong in several expressions, or on several paths, one is told.

It is the outermost, or those that can be repaired.  What a function does by itself comes before what it does where it
is called, and an earlier statement before a later one that goes on with its value.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nanguard import ops
from nanguard.term import Term, number, walk

if TYPE_CHECKING:  # what a file in which nothing is risky does not need
    from nanguard.analyse import Suspect
    from nanguard.finding import Finding
    from nanguard.matching.match import Match
    from nanguard.reading.recording import Place


def outermost_first(suspected: Iterable[Suspect]) -> list[Suspect]:
    return sorted(suspected, key=lambda suspect: (suspect.place.depth > 0, -suspect.match.root.size))


def spread_out(suspected: Sequence[Suspect]) -> dict[int, list[Suspect]]:
    """The suspects all of which goes wrong in other statements, by their id, with those that can be repaired there.

    ``pos + neg`` of two logarithms is no worse than they are: each is reported where it is taken.
    """
    repairable: dict[tuple[str, int], dict[Term, Suspect]] = {}
    for suspect in suspected:
        if suspect.match.variant.stable is not None:
            found = repairable.setdefault((suspect.place.target, suspect.place.depth), {})
            found.setdefault(suspect.match.root, suspect)
    spread = {}
    for suspect in suspected:
        others = repairable.get((suspect.place.target, suspect.place.depth), {})
        parts = _parts(suspect, others) if others and not suspect.match.variant.untaken else []
        if parts:
            spread[id(suspect)] = parts
    return spread


def _parts(suspect: Suspect, others: Mapping[Term, Suspect]) -> list[Suspect]:
    """Those of the others that stand in other statements and hold all that can go wrong in a suspect, else none."""
    node, bound = suspect.place.node, set(suspect.match.bindings.values())
    found: list[Suspect] = []
    seen = set[Term]()
    below = list(suspect.match.root.args) if not ops.breaks(suspect.match.root) else []
    while below:
        term = below.pop()
        if term in seen or term in bound or ops.size(term):
            continue
        seen.add(term)
        other = others.get(term)
        if other is not None and not node.lineno <= other.place.node.lineno <= (node.end_lineno or node.lineno):
            found.append(other)
        elif ops.breaks(term):
            return []
        else:
            below.extend(term.args)
    return found


def goes_on(match: Match, roots: Mapping[tuple[str, Term], int], lines: range) -> bool:
    """Whether a match is about what its rule finds in an earlier statement: a quotient that is divided further.

    `roots` are such findings with their lines, `lines` those of the match.  What its operands do is their own matter.
    """
    code, operands = match.rule.code, set(walk(*match.bindings.values()))
    found = (roots.get((code, term)) for term in walk(*match.root.args) if term not in operands)
    return any(line is not None and line not in lines for line in found)


def lines_of(node: ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def done_by_called(suspect: Suspect, called: Mapping[Term, Sequence[Place]], nodes: Container[ast.expr]) -> bool:
    """Whether all that goes wrong in a suspect is what functions that are called there do at some of these nodes.

    `called` are the places of terms in such functions.  ``2 * atanh(x)`` of a hand-written atanh is no worse than that.
    """
    if not called:
        return False
    bound, target = set(suspect.match.bindings.values()), suspect.place.target
    known: dict[Term, bool | None] = dict.fromkeys(bound)  # None where nothing of it goes wrong
    itself = suspect.match.root  # is worked out by the operation at the place, whoever else works it out
    for term in walk(suspect.match.root, known=known):
        parts = {known[arg] for arg in term.args}
        if term is not itself and any(place.node in nodes and place.target != target for place in called.get(term, ())):
            known[term] = True
        elif ops.breaks(term) and not (term.op == "div" and number(term.args[1])):
            known[term] = False
        elif True in parts and (False not in parts or (term.op in ("mul", "div") and suspect.match.rest)):
            known[term] = True
        else:
            known[term] = False if False in parts else None
    return known[suspect.match.root] is True


class Settled:
    """The expressions that have a finding, and the terms inside of them that the finding is about."""

    def __init__(self) -> None:
        self.nodes: set[ast.expr] = set()
        self.inside: set[Term] = set()
        self.where: set[tuple[str, str, Term]] = set()  # the same by the function that a finding stands in
        self.found: set[tuple[str, ast.expr]] = set()  # rules with the expressions that they have found
        self.roots: dict[tuple[str, Term], int] = {}  # what has a finding, with the code of the rule, and its line
        self.sums: set[tuple[str, ast.expr]] = set()  # rules, and the sums and parts of sums that they have found

    def add(self, suspect: Suspect) -> None:
        """Take the place, and what lies between the root of the match and its variables."""
        self.nodes.add(suspect.place.node)
        self.found.add((suspect.match.rule.code, suspect.place.node))
        self.roots[suspect.match.rule.code, suspect.match.root] = suspect.place.node.lineno
        if suspect.match.rest and suspect.match.joined == "add":
            self.sums.update((suspect.match.rule.code, part) for part in sums(suspect.place.node))
        bound = set(walk(*suspect.match.bindings.values(), *suspect.match.rest))
        stack = [arg for arg in suspect.match.root.args if arg not in bound]
        while stack:
            term = stack.pop()
            if (suspect.place.path, suspect.place.target, term) in self.where:
                continue
            self.inside.add(term)
            self.where.add((suspect.place.path, suspect.place.target, term))
            stack.extend(arg for arg in term.args if arg not in bound)
        for node in ast.walk(suspect.place.node):
            if isinstance(node, ast.expr) and suspect.place.values.get(node) in self.inside:
                self.nodes.add(node)

    def covers(self, suspect: Suspect) -> bool:
        """Whether a suspect stands where a finding does, or is a part of one (on any way that leads there).

        Two functions may write the same of arguments with the same names: neither is a part of the other.
        """
        place, root = suspect.place, suspect.match.root
        if (root in self.inside and place.depth > 0) or (place.path, place.target, root) in self.where:
            self.nodes.add(suspect.place.node)
        if any((suspect.match.rule.code, part) in self.sums for part in sums(place.node)):
            return True  # of one sum it may be said of the whole on one path, of a part of it on another
        if (suspect.match.rule.code, place.node) in self.found:  # on another path: what goes on with it goes on here
            self.roots[suspect.match.rule.code, root] = place.node.lineno
        return suspect.place.node in self.nodes


def sums(node: ast.expr) -> Iterator[ast.BinOp]:
    """A sum or difference and those that it begins with."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        yield node
        node = node.left


def one_for_each(found: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for each place: the proved one before the possible one, the repairable before the other."""
    best: dict[tuple[object, ...], Finding] = {}
    for item in found:
        key = (item.span,) if item.confirmed else (item.span, item.code)
        kept = best.get(key)
        if kept is None or (item.confirmed, item.fix is not None) > (kept.confirmed, kept.fix is not None):
            best[key] = item
    proved = {item.span for item in best.values() if item.confirmed}
    for item in sorted(best.values(), key=lambda item: (item.span, item.code)):
        if item.confirmed or item.span not in proved:
            yield item
