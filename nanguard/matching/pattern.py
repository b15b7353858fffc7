"""Matching a pattern against a normal form, operands of sums and products in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Generic, Protocol, TypeVar

from nanguard import ops
from nanguard.matching import algebra
from nanguard.term import Attr, Hole, Term, is_number, make, number

_COMBINATIONS = 20_000  # of traits, whose candidates are remembered


@dataclass(slots=True)  # nothing changes one; to enforce that takes longer than to make one, and many are made
class Bindings:
    """What the variables of a pattern stand for, and what of a sum or product at the root it left over."""

    terms: Mapping[str, Term] = field(default_factory=dict)
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    rest: tuple[Term, ...] = ()

    def with_term(self, name: str, term: Term) -> Bindings:
        return Bindings({**self.terms, name: term}, self.attrs, self.rest)

    def with_attr(self, name: str, value: Attr) -> Bindings:
        return Bindings(self.terms, {**self.attrs, name: value}, self.rest)


@dataclass(slots=True)
class Traits:
    """What a term of normal form is made of, as bits, so that what cannot match is told at once.

    A trait is an operation, or an operation together with the operation or the number that is one of its operands.
    `bits` numbers those that some pattern needs; the others do not count.
    """

    bits: dict[object, int] = field(default_factory=dict)
    own: dict[Term, int] = field(default_factory=dict)
    below: dict[Term, int] = field(default_factory=dict)
    named: dict[object, int] = field(default_factory=dict)  # the bits of a node by what it and its operands are called
    asks: dict[Term, tuple[int, int]] = field(default_factory=dict)  # what patterns ask for
    calls: dict[Term, object] = field(default_factory=dict)  # what terms are called as operands

    def needs(self, pattern: Term) -> Needs:
        """What a term must have if the pattern is to match it."""
        self.below.clear()
        self.own.clear()
        self.named.clear()
        self.calls.clear()
        root, anywhere = self.asked(pattern)
        return Needs(root, anywhere)

    def asked(self, pattern: Term) -> tuple[int, int]:
        """The bits of what a pattern asks for, at its root and anywhere."""
        found = self.asks.get(pattern)
        if found is None:
            root = anywhere = self.number(_wanted(pattern))
            for arg in pattern.args:
                anywhere |= self.asked(arg)[1]
            found = self.asks[pattern] = (root, anywhere)
        return found

    def number(self, traits: Iterable[object]) -> int:
        """The bits of traits that patterns need."""
        result = 0
        for trait in traits:
            result |= self.bits.setdefault(trait, 1 << len(self.bits))
        return result

    def had(self, term: Term) -> tuple[int, int]:
        """The traits of a term, at its root and anywhere."""
        below = self.below.get(term)
        if below is None:
            below = self.gather(term)
        return self.own[term], below

    def gather(self, term: Term) -> int:
        """Note the traits of a term and of all that is below it."""
        below, waiting = self.below, [term]
        while waiting:
            node = waiting[-1]
            missing = [arg for arg in node.args if arg not in below]
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            self.own[node] = bits = self.at(node)
            for arg in node.args:
                bits |= below[arg]
            below[node] = bits
        return below[term]

    def at(self, node: Term) -> int:
        """The traits that one node of a term has."""
        name, calls = _called(node), self.calls
        key: tuple[object, ...]
        if algebra.moves(node):
            key, calls[node] = (name, None), calls[node.args[0]]
        else:
            key, calls[node] = (name, *[calls[arg] for arg in node.args]), name
        bits = self.named.get(key)
        if bits is None:
            own, *operands = map(_names, key)
            bits = 0
            for trait in (*own, *(pair for names in operands for pair in product(own, names))):
                bits |= self.bits.get(trait, 0)
            self.named[key] = bits
        return bits


@dataclass(frozen=True, slots=True)
class Needs:
    """The traits that a term must have at its root, and those that it must have somewhere."""

    root: int
    anywhere: int


class Needy(Protocol):
    """What is compared with terms that have what it needs."""

    @property
    def needs(self) -> Needs:
        """What a term must have."""


N = TypeVar("N", bound=Needy)


@dataclass(slots=True)
class Index(Generic[N]):
    """Patterns, or what has some, by the operation at the root of terms that they may match.

    Terms with the same traits have the same candidates, which are looked for once.
    """

    entries: dict[str, list[N]] = field(default_factory=dict)
    asked: dict[str, tuple[int, int]] = field(default_factory=dict)  # the traits that some entry needs, by operation
    met: dict[tuple[str, int, int], tuple[N, ...]] = field(default_factory=dict)

    def add(self, op: str, entry: N) -> None:
        """Take an entry for terms with this operation at their root, after those there are."""
        self.entries.setdefault(op, []).append(entry)
        self.asked.clear()
        self.met.clear()

    def only(self, wanted: Callable[[N], bool]) -> Index[N]:
        """The index without what is not wanted."""
        kept = ((op, list(filter(wanted, listed))) for op, listed in self.entries.items())
        return Index({op: listed for op, listed in kept if listed})

    def candidates(self, term: Term, traits: Traits) -> tuple[N, ...]:
        """The entries that may match a term, in their order."""
        op = term.op
        if op not in self.entries:
            return ()
        own, below = traits.had(term)
        root, anywhere = self.asked.get(op) or self.asks(op)
        key = (op, own & root, below & anywhere)
        found = self.met.get(key)
        if found is None:
            if len(self.met) >= _COMBINATIONS:
                self.met.clear()
            found = self.met[key] = tuple(
                entry for entry in self.entries[op] if not (entry.needs.root & ~own or entry.needs.anywhere & ~below)
            )
        return found

    def asks(self, op: str) -> tuple[int, int]:
        """The traits that any entry for an operation needs, at the root and anywhere: no others tell terms apart."""
        root = anywhere = 0
        for entry in self.entries[op]:
            root |= entry.needs.root
            anywhere |= entry.needs.anywhere
        self.asked[op] = (root, anywhere)
        return root, anywhere


def _wanted(node: Term) -> Iterator[object]:
    """The traits that one node of a pattern asks for.

    A movement may stand anywhere between two operations, and a variable and its negative stand for anything.
    """
    if node.op == "variable" or _is_negated_variable(node):
        return
    name = _names(_called(node))[-1:]
    yield from name
    if ops.family(node) == ops.MOVEMENT:
        return
    for arg in node.args:
        if arg.op != "variable" and not _is_negated_variable(arg) and ops.family(arg) != ops.MOVEMENT:
            yield from product(name, _names(_called(arg))[-1:])


def _called(node: Term) -> object:
    """What a node is called: a power also by its exponent, a constant by its value."""
    op = node.op
    if op == "pow":
        exponent = number(node.args[1])
        return op if exponent is None else (op, round(exponent, 4))
    if op == "const":
        value = number(node)
        return None if value is None else (op, round(value, 4))
    return op


def _names(called: object) -> tuple[object, ...]:
    """The traits that a name stands for, the most particular last: a power with an exponent is a power too."""
    if called is None:
        return ()
    return ("pow", called) if isinstance(called, tuple) and called[0] == "pow" else (called,)


def match(pattern: Term, term: Term, leave_rest: bool = True) -> Iterator[Bindings]:
    """The ways in which `pattern` (in normal form) is `term` (in normal form).

    At the root, a pattern that is a sum or a product also matches a part of one (``leave_rest``); what is left over
    is in `Bindings.rest`.
    """
    if pattern.op == term.op and pattern.op in algebra.NARY:
        yield from _nary(pattern, term, Bindings(), leave_rest)
    else:
        yield from _match(pattern, term, Bindings())


def _match(pattern: Term, term: Term, bound: Bindings) -> Iterator[Bindings]:
    if pattern.op == "variable":
        yield from _bind(pattern.name, term, bound)
    elif is_number(pattern):
        if is_number(term) and _close(number(pattern), number(term)):
            yield bound
    elif pattern.op == "const":
        if term is pattern:
            yield bound
    elif _is_negated_variable(pattern):
        yield from _bind(pattern.args[1].name, algebra.negative(term), bound)
    elif pattern.op != term.op:
        sunk = sunken(term)
        if sunk is not None and sunk.op == pattern.op:
            yield from _match(pattern, sunk, bound)
    elif pattern.op in algebra.NARY:
        yield from _nary(pattern, term, bound, False)
    elif len(pattern.args) == len(term.args):
        row = ops.row(pattern.op)
        for found in _attributes(pattern, term, bound) if pattern.attrs else (bound,):
            yield from _operands(pattern.args, term.args, found)
            if row is not None and row.commutes and len(term.args) == 2:
                yield from _operands(pattern.args, term.args[::-1], found)


def sunken(term: Term) -> Term | None:
    """Movements of an entry-by-entry operation as that operation on moved operands: the other way to see it."""
    if not algebra.moves(term):
        return None
    inner = term.args[0]
    if algebra.moves(inner):
        inner = sunken(inner) or inner
    if ops.family(inner) != ops.ELEMENTWISE:
        return None
    moved = (arg if arg.op == "const" else make(term.op, (arg, *term.args[1:]), term.attrs) for arg in inner.args)
    return make(inner.op, tuple(moved), inner.attrs)


def _bind(name: str, term: Term, bound: Bindings) -> Iterator[Bindings]:
    if name not in bound.terms:
        yield bound.with_term(name, term)
    elif bound.terms[name] is term:
        yield bound


def _close(a: float | None, b: float | None) -> bool:
    """Equal but for the digits that people leave off a constant like log(2)."""
    return a is not None and b is not None and abs(a - b) <= 1e-6 * abs(a)


def _is_negated_variable(pattern: Term) -> bool:
    return (
        pattern.op == "mul"
        and len(pattern.args) == 2
        and number(pattern.args[0]) == -1
        and pattern.args[1].op == "variable"
    )


def _operands(patterns: tuple[Term, ...], terms: tuple[Term, ...], bound: Bindings) -> Iterator[Bindings]:
    if not patterns:
        yield bound
    elif len(patterns) == 1:
        yield from _match(patterns[0], terms[0], bound)
    elif _may_match(patterns[0], terms[0]):
        for found in _match(patterns[0], terms[0], bound):
            yield from _operands(patterns[1:], terms[1:], found)


def _may_match(pattern: Term, term: Term) -> bool:
    """Whether it takes a closer look to see that a pattern is not a term: for most pairs their operations tell."""
    return pattern.op == term.op or pattern.op in ("variable", "mul") or algebra.moves(term)


def _attributes(pattern: Term, term: Term, bound: Bindings) -> Iterator[Bindings]:
    for key, wanted in pattern.attrs:
        value = term.attr(key)
        if isinstance(wanted, Hole):
            if wanted.name not in bound.attrs:
                bound = bound.with_attr(
                    wanted.name, value[0] if isinstance(value, tuple) and len(value) == 1 else value
                )
            elif not same_attr(bound.attrs[wanted.name], value):
                return
        elif wanted is not None and not same_attr(wanted, value):
            return
    yield bound


def _alone(value: Attr) -> Attr:
    """The one dimension of a tuple of one."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def same_attr(a: Attr, b: Attr) -> bool:
    """Whether two attributes mean the same: ``(1,)`` is ``1``, and dimensions counted from either end may be one.

    The rank is not known: it is taken to be the least at which both are there, 2 at least.
    """
    a, b = _alone(a), _alone(b)
    if isinstance(a, int) and isinstance(b, int) and not isinstance(a, bool) and not isinstance(b, bool):
        first, last = max(a, b), min(a, b)
        return a == b or (last < 0 <= first and first - last == max(2, first + 1, -last))
    return a == b


def _nary(pattern: Term, term: Term, bound: Bindings, leave_rest: bool) -> Iterator[Bindings]:
    """Match the operands of a sum or product as multisets; a variable takes what the others leave."""
    fixed, variables = _kinds(pattern)
    if len(term.args) < len(fixed) + (1 if variables else 0) or len(term.args) > algebra.WIDEST:
        return
    if not fixed:
        yield from _share(variables, term.args, bound, term.op, leave_rest)
        return
    for found, left in _choose(fixed, term.args, bound):
        yield from _share(variables, left, found, term.op, leave_rest)


@lru_cache(4096)
def _kinds(pattern: Term) -> tuple[list[Term], list[str]]:
    """The operands of a sum or product of a pattern that are no variables, and the names of those that are."""
    fixed = [arg for arg in pattern.args if arg.op != "variable"]
    return fixed, [arg.name for arg in pattern.args if arg.op == "variable"]


def _choose(
    patterns: list[Term], terms: tuple[Term, ...], bound: Bindings
) -> Iterator[tuple[Bindings, tuple[Term, ...]]]:
    """Match each pattern with a different term; also gives the terms that are left."""
    first, others = patterns[0], patterns[1:]
    for index, term in enumerate(terms):
        if not _may_match(first, term):
            continue
        left = terms[:index] + terms[index + 1 :]
        for found in _match(first, term, bound):
            if others:
                yield from _choose(others, left, found)
            else:
                yield found, left


def _share(
    variables: list[str], left: tuple[Term, ...], bound: Bindings, op: str, leave_rest: bool
) -> Iterator[Bindings]:
    """Bind the variables of a sum or product to what is left: one operand each, and one of them all that remains."""
    for name in variables:
        if (known := bound.terms.get(name)) is not None and known in left:  # it is settled which operand it takes
            place = left.index(known)
            others = [other for other in variables if other is not name]
            yield from _share(others, left[:place] + left[place + 1 :], bound, op, leave_rest)
            return
    if not variables:
        if not left:
            yield bound
        elif leave_rest:
            yield Bindings(bound.terms, bound.attrs, left)
        return
    if len(left) < len(variables):
        return
    takers = variables if len(left) > len(variables) else variables[-1:]
    for taker in takers:
        singles = [name for name in variables if name is not taker]
        for found, rest in _singly(singles, left, bound):
            yield from _bind(taker, rest[0] if len(rest) == 1 else _joined(op, rest), found)


@lru_cache(4096)  # a sum or a product is compared with many patterns in turn
def _joined(op: str, terms: tuple[Term, ...]) -> Term:
    return algebra.join(op, terms)


def _singly(
    names: list[str], left: tuple[Term, ...], bound: Bindings
) -> Iterator[tuple[Bindings, tuple[Term, ...]]]:  # fmt: skip
    """Bind each name to an operand of its own; also gives the operands that remain."""
    if not names:
        yield bound, left
        return
    for index, term in enumerate(left):
        for found in _bind(names[0], term, bound):
            yield from _singly(names[1:], left[:index] + left[index + 1 :], found)
