"""Uses: what becomes of a value in the program after it was computed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from nanguard import ops
from nanguard.reading.values import alternatives
from nanguard.term import Term, number, walk


@dataclass(frozen=True, slots=True)
class Uses:
    """What is true of every use of a value.

    `masked`: it goes behind a selection (where, masked_fill, an index), which drops its entries that are non-finite;
    `caught`: a test of it for nan or infinity, or nan_to_num, puts another value in the place of such entries;
    `chosen`: a test of what it is worked out from decides between it and another form;
    `compared`: it goes into comparisons alone, which take a nan or an infinity as they are, and give no gradient back;
    `detached`: no gradient comes back from it; `offset`: it is added to a constant of ordinary size, beside which the
    digits that a small value has lost do not count; `logged`: it is printed or logged, and that is all;
    `weighed`: it is the logarithm of what it is multiplied by, as in an entropy, or of what a mask tests that it is
    multiplied by: where that is next to 0, so is the product, whatever the logarithm is; `placed`: only where the
    largest or the smallest of its entries stand is asked.
    """

    masked: bool = False
    caught: bool = False
    chosen: bool = False
    compared: bool = False
    detached: bool = False
    offset: bool = False
    logged: bool = False
    weighed: bool = False
    placed: bool = False


_FAR = 12  # operations around a value that are looked at


class UseTable:
    """The uses of all terms of a program; what it returns has a use that is not seen, of which nothing is known."""

    def __init__(
        self, terms: Sequence[Term], returned: Collection[Term] = (), shown: Collection[Term] = (),
        handed: Collection[Term] = (),
    ) -> None:  # fmt: skip
        self.shown = {part for term in shown for part in alternatives(term)}
        self.handed = {part for term in handed for part in alternatives(term)}
        self.returned = {part for term in returned for part in alternatives(term)} | set(returned)
        self.users: dict[Term, list[tuple[Term, int]]] = {}
        self.order: dict[Term, int] = {}  # operands come before the terms that use them
        for node in walk(*terms):
            self.order[node] = len(self.order)
            for index, arg in enumerate(node.args):
                self.users.setdefault(arg, []).append((node, index))
        self.known: dict[Term, Uses] = {}

    def of(self, term: Term) -> Uses:
        """The uses of a term; of one that nothing uses nothing is known."""
        found = self.known.get(term)
        if found is None:
            for node in self.above(term):
                self.known[node] = self.work_out(node)
            found = self.known[term]
        return found

    def above(self, term: Term) -> list[Term]:
        """A term and those that it goes into, as far as their uses are not known, users before what they use."""
        found = {term}
        waiting = [term]
        while waiting:
            for user, _ in self.users.get(waiting.pop(), ()):
                if user not in found and user not in self.known:
                    found.add(user)
                    waiting.append(user)
        return sorted(found, key=lambda node: self.order.get(node, -1), reverse=True)

    def around(self, term: Term) -> tuple[Term, ...]:
        """The terms that a value goes into, from the inside out: the first that each goes into."""
        found: list[Term] = []
        while len(found) < _FAR and term not in self.returned and self.users.get(term):
            term = self.users[term][0][0]
            found.append(term)
        return tuple(found)

    def work_out(self, term: Term) -> Uses:
        every = self.users.get(term, ())
        users = [(user, index) for user, index in every if not _compares(user)]
        if not every or term in self.returned:
            return Uses(logged=term in self.shown and term not in self.handed and term not in self.returned)
        if all(self.of(user).compared and _passes(user) for user, _ in users):
            return Uses(compared=True)
        return Uses(
            masked=all(
                _selects(user, index, term) or (self.of(user).masked and _passes(user)) for user, index in users
            ),
            caught=all(_catches(user, index) or (self.of(user).caught and _passes(user)) for user, index in users),
            chosen=all(
                _chooses(user, index, term) or (self.of(user).chosen and _passes(user)) for user, index in users
            ),
            detached=term not in self.handed and all(ops.cuts(u) or self.of(u).detached for u, _ in users),
            offset=all(_offset(user) or (self.of(user).offset and _scales(user)) for user, _ in users),
            logged=term not in self.handed and all(self.of(user).logged for user, _ in every),
            weighed=bool(users) and all(_weighs(user, term) for user, _ in users),
            placed=all(self.gives_places(user) or (self.of(user).placed and _passes(user)) for user, _ in every),
        )

    def gives_places(self, user: Term) -> bool:
        """Whether nothing but the places of some entries is taken: their values are not used."""
        row = ops.row(user.op)
        if row is None or not row.pair:
            return user.op == "argmax"
        return not self.users.get(user) and user not in self.returned and user not in self.handed


def _compares(user: Term) -> bool:
    """A test: it takes nan and infinities as they are, and gives no gradient back."""
    row = ops.row(user.op)
    return row is not None and row.mask


def _selects(user: Term, index: int, term: Term) -> bool:
    row = ops.row(user.op)
    return row is not None and index in row.masked and not _alternates(user, index, term)


def _alternates(user: Term, index: int, term: Term) -> bool:
    """Whether a selection is between two formulas by something else: it keeps a value from none of its edges."""
    if user.op != "where":
        return False
    test, other = user.args[0], user.args[3 - index]
    if not test.args or not set(_leaves(other)):
        return False
    return set(_leaves(test)).isdisjoint(_leaves(term))


def _leaves(term: Term) -> Iterator[Term]:
    return (node for node in walk(term) if node.op in ("symbol", "opaque"))


def _catches(user: Term, index: int) -> bool:
    if user.op == "assume" and user.attr("finite"):  # a test on the way has shown that there is none
        return True
    if ops.catches(user) and not _compares(user):
        return True
    row = ops.row(user.op)
    tested = row.decides if row is not None else None
    if tested is None or index == tested:
        return False
    return any(ops.catches(node) and _compares(node) for node in walk(user.args[tested]))


def _chooses(user: Term, index: int, term: Term) -> bool:
    if user.op != "where" or index == 0:
        return False
    return not set(_leaves(user.args[0])).isdisjoint(_worked_from(term))


def _worked_from(term: Term) -> Iterator[Term]:
    """The leaves that a value depends on smoothly: which class is picked, or what a mask keeps, is no part of that."""
    below, seen = [term], set[Term]()
    while below:
        node = below.pop()
        row = ops.row(node.op)
        if node in seen or (row is not None and (row.mask or row.flat)):
            continue
        seen.add(node)
        if not node.args:
            yield node
        below.extend(node.args)


def _passes(user: Term) -> bool:
    """Whether an operation gives entry by entry what it is given, or whole numbers of it."""
    return ops.family(user) in (ops.ELEMENTWISE, ops.CAST, ops.MOVEMENT) or ops.cuts(user)


def _offset(user: Term) -> bool:
    constants = [abs(value) for value in map(number, user.args) if value is not None]
    return user.op in ("add", "sub") and bool(constants) and max(constants) >= 0.1


def _weighs(user: Term, term: Term) -> bool:
    """``p * log(p + eps)``: a product with what is inside of the logarithm, as it is or next to a number, or tested."""
    if user.op != "mul" or not term.op.startswith("log") or not term.args:
        return False
    inside = {part for part in (term.args[0], *term.args[0].args) if number(part) is None}
    below, factors = [arg for arg in user.args if arg is not term], set[Term]()
    while below:
        factor = below.pop()
        factors.add(factor)
        if factor.op in ("mul", "neg", "detach") or _compares(factor) or ops.family(factor) == ops.CAST:
            below.extend(factor.args)
    return not inside.isdisjoint(factors)


def _scales(user: Term) -> bool:
    return user.op in ("neg", "mul") or ops.family(user) in (ops.CAST, ops.MOVEMENT)
