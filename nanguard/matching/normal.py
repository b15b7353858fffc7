"""Normal forms: what a term means, however it was written.

The normal form is what rules are matched against; what is executed and measured is the term as written.  It is
built from below: sums, products and powers by `algebra`; casts and the like dropped; movements of entries taken to
the outside of what acts entry by entry, so that ``log(softmax(x).gather(1, i))`` has ``log(softmax(x))`` in it; and
the identities of ``rules/identities.toml`` applied, directed, until none fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from nanguard import ops
from nanguard.matching import algebra, pattern
from nanguard.matching.condition import Condition
from nanguard.matching.predicates import OF_LEAVES
from nanguard.matching.predicates.asked import Ranges
from nanguard.matching.rules import Identity
from nanguard.term import Attr, Term, const, fill, make, number, walk

_STEPS = 40  # applications of identities at one node: far more than any chain that ends


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A compiled identity: its left side in normal form."""

    source: Term
    identity: Identity
    needs: pattern.Needs
    leaves: tuple[Condition, ...] = ()  # the conditions that an operand of a sum or a product must meet

    def may_fit(self, term: Term, ranges: Ranges | None) -> bool:
        """Whether a term has such operands: most sums hold no epsilon."""
        for condition in self.leaves:
            name = str(condition.args[0])
            leaves = [arg for arg in term.args if not arg.args]
            if ranges is None or not any(condition.holds({name: leaf}, {}, ranges) for leaf in leaves):
                return False
        return True


def _of_leaves(source: Term, when: Sequence[Condition]) -> tuple[Condition, ...]:
    """The conditions on single operands of a sum or product that only constants and symbols meet."""
    if source.op not in algebra.NARY:
        return ()
    names = {arg.name for arg in source.args if arg.op == "variable"}
    return tuple(c for c in when if c.predicate in OF_LEAVES and not c.negated and c.args[0] in names)


@dataclass(slots=True)
class Normalizer:
    """Builds and remembers normal forms; `ranges` answers the conditions of identities that have any.

    `plain` is a normalizer with fewer identities, whose forms are the same where none of the others fits.
    """

    spellings: pattern.Index[Rewrite]
    rewrites: pattern.Index[Rewrite]
    ranges: Ranges | None = None
    memo: dict[Term, Term] = field(default_factory=dict)
    held: dict[Term, list[Term]] = field(default_factory=dict)  # the terms that have a normal form
    made: dict[Term, Term] = field(default_factory=dict)
    heads: dict[Term, Term] = field(default_factory=dict)
    traits: pattern.Traits = field(default_factory=pattern.Traits)
    plain: Normalizer | None = None
    further: pattern.Index[Rewrite] = field(default_factory=pattern.Index)  # the identities that `plain` has not got

    def __call__(self, term: Term) -> Term:
        """The normal form of `term`."""
        found = self.memo.get(term)
        if found is None:
            memo = self.memo
            if self.plain is not None and self.is_plain(term) and not self.goes_on(form := self.plain(term)):
                memo[term] = form  # that it has this form is known to `plain`
                return form
            nodes: Iterable[Term] = (term,)
            for arg in term.args:
                if arg not in memo:
                    nodes = walk(term, known=memo)
                    break
            for node in nodes:
                memo[node] = found = self.formed(node, tuple([memo[arg] for arg in node.args]))
                holders = self.held.get(found)
                if holders is None:
                    self.held[found] = [node]
                else:
                    holders.append(node)
            found = memo[term]
        return found

    def formed(self, node: Term, args: tuple[Term, ...]) -> Term:
        """The normal form of a node over operands that are in normal form."""
        if self.plain is not None and self.is_plain(node):
            form = self.plain(node)
            return self.settle(form) if self.goes_on(form) else form
        head = self.heads.get(node)
        if head is None:
            head = self.heads[node] = self.spelled(shape(node, args))
        return self.settle(head)

    def goes_on(self, form: Term) -> bool:
        """Whether an identity that `plain` has not got may fit a form in which it has come to an end."""
        if form.op in algebra.NARY:
            for arg in form.args:
                if arg.op == "pow":
                    return True
        if form.op in self.further.entries:
            return self.first(self.further, form) is not None
        return algebra.moves(form)

    def head(self, term: Term) -> Term:
        """The normal form of `term` before identities are applied at its root: what patterns are compared with."""
        found = self.heads.get(term)
        if found is None:
            args = tuple([self(arg) for arg in term.args])
            if self.plain is not None and self.is_plain(term):
                found = self.plain.head(term)
            else:
                found = self.spelled(shape(term, args))
            self.heads[term] = found
        return found

    def is_plain(self, term: Term) -> bool:
        """Whether the operands of a term are known to have the forms that they have for `plain`."""
        assert self.plain is not None
        own, plain = self.memo, self.plain.memo
        for arg in term.args:
            form = own.get(arg)
            if form is None or form is not plain.get(arg):
                return False
        return True

    def spelled(self, head: Term) -> Term:
        """`head` under the one name that its meaning has: ``log1p(x)`` is ``log(1 + x)``, moved or not."""
        if algebra.moves(head):
            inner = self.spelled(head.args[0])
            return head if inner is head.args[0] else make(head.op, (inner, *head.args[1:]), head.attrs)
        for rewrite in self.spellings.candidates(head, self.traits):
            for found in pattern.match(rewrite.source, head, leave_rest=False):
                if self.allowed(rewrite, found):
                    target = fill(rewrite.identity.target, found.terms, found.attrs)
                    return self.head(target)
        return head

    def settle(self, head: Term) -> Term:
        """Apply identities at the root of `head`, and at the operands that shaping it made, until none fits."""
        found = self.made.get(head)
        if found is not None:
            return found
        if self.is_settled(head):
            self.made[head] = head
            return head
        result = head
        for _ in range(_STEPS):
            changed = self.step(result)
            if changed is result:
                break
            result = changed
        self.made[head] = result
        self.made.setdefault(result, result)
        return result

    def is_settled(self, head: Term) -> bool:
        """Whether it can be seen from what a term is made of that no identity fits: true for most terms."""
        op = head.op
        if algebra.moves(head):
            return False
        if op in algebra.NARY:
            for arg in head.args:
                if arg.op == "pow":
                    return False
        if op not in self.spellings.entries and op not in self.rewrites.entries:
            return True
        return not self.spellings.candidates(head, self.traits) and not self.rewrites.candidates(head, self.traits)

    def step(self, term: Term) -> Term:
        """`term` after one identity, at its root or inside the operands that belong to the root's own shape."""
        spelled = self.spelled(term)
        if spelled is not term:
            return spelled
        rewritten = self.identity(term)
        if rewritten is not None:
            return rewritten
        if term.op in algebra.NARY:
            args = tuple(self.settle(arg) if arg.op == "pow" else arg for arg in term.args)
            if args != term.args:
                return algebra.join(term.op, args)
        if ops.family(term) == ops.MOVEMENT and term.args:
            inner = self.settle(term.args[0])
            if inner is not term.args[0]:
                return shape(make(term.op, term.args, term.attrs), (inner, *term.args[1:]))
        return term

    def identity(self, term: Term) -> Term | None:
        """The right side of the first identity whose left side `term` is (or has, in a sum or product)."""
        fitting = self.first(self.rewrites, term)
        if fitting is None:
            return None
        rewrite, found = fitting
        result = self(fill(rewrite.identity.target, found.terms, found.attrs))
        return algebra.join(term.op, (result, *found.rest)) if found.rest else result

    def first(self, rewrites: pattern.Index[Rewrite], term: Term) -> tuple[Rewrite, pattern.Bindings] | None:
        """The first of some identities that fits `term`, and how."""
        for rewrite in rewrites.candidates(term, self.traits):
            if rewrite.leaves and not rewrite.may_fit(term, self.ranges):
                continue
            for found in pattern.match(rewrite.source, term):
                if self.allowed(rewrite, found):
                    return rewrite, found
        return None

    def allowed(self, rewrite: Rewrite, found: pattern.Bindings) -> bool:
        """Whether the conditions of an identity hold (none of them is known to without ranges)."""
        ranges, when = self.ranges, rewrite.identity.when
        return not when or (
            ranges is not None and all(condition.holds(found.terms, found.attrs, ranges) for condition in when)
        )


def normalizer(
    spellings: Sequence[Identity], identities: Sequence[Identity], ranges: Ranges | None, traits: pattern.Traits
) -> Normalizer:
    """A normalizer for some identities; the earlier ones are in force when the later ones are compiled."""
    result = Normalizer(pattern.Index(), pattern.Index(), ranges, traits=traits)
    for table, listed in ((result.spellings, spellings), (result.rewrites, identities)):
        for identity in listed:
            source = shape(identity.source, tuple(map(result, identity.source.args)))
            source = source if table is result.spellings else result.spelled(source)
            needs = result.traits.needs(source)
            table.add(source.op, Rewrite(source, identity, needs, _of_leaves(source, identity.when)))
            result.memo.clear()
            result.held.clear()
            result.made.clear()
            result.heads.clear()
    return result


def shape(node: Term, args: tuple[Term, ...]) -> Term:
    """The node over operands that are in normal form, before any identity."""
    match node.op:
        case "add":
            return lift("add", args) or algebra.total(args)
        case "sub":
            return lift("sub", args) or algebra.total((args[0], algebra.negative(args[1])))
        case "neg":
            return lift("neg", args) or algebra.negative(args[0])
        case "mul":
            return lift("mul", args) or algebra.product(args)
        case "div":
            return lift("div", args) or algebra.product((args[0], algebra.power(args[1], -1)))
        case "reciprocal":
            return lift("reciprocal", args) or algebra.power(args[0], -1)
        case "pow":
            exponent = number(args[1])
            if exponent is not None:
                return lift("pow", args) or algebra.power(args[0], exponent)
    family = ops.family(node)
    if family == ops.CAST and args:
        return args[0]
    if family == ops.MOVEMENT and args:
        return movement(node, args)
    if args and args[0].op == node.op and ops.nests(node):
        return joined(node, args[0])
    if family == ops.ELEMENTWISE:
        folded = fold(node.op, args)
        if folded is not None:
            return folded
        lifted = lift(node.op, args, node)
        if lifted is not None:
            return lifted
        row = ops.row(node.op)
        if row is not None and row.commutes and len(args) == 2:
            args = tuple(sorted(args, key=lambda arg: arg.digest))
    return make(node.op, args, plain(node) if args and node.attrs else node.attrs)


def joined(node: Term, inner: Term) -> Term:
    """A reduction of the same reduction as one: ``x.sum(0).sum(1)`` is ``x.sum((0, 2))``.

    Not where the dimensions cannot be told apart: one counted from the front, another from the back.
    """
    dims = _dims(node), _dims(inner)
    apart = make(node.op, (inner,), plain(node))
    if node.attr("dim") is None and node.attr("keepdim") is False:
        return make(node.op, inner.args, plain(node))
    if not dims[0] or not dims[1] or node.attr("keepdim") != inner.attr("keepdim"):
        return apart
    front = all(dim >= 0 for dim in (*dims[0], *dims[1]))
    if not front and any(dim >= 0 for dim in (*dims[0], *dims[1])):
        return apart
    taken = set(dims[1])
    for dim in dims[0]:
        if inner.attr("keepdim") is False:  # counted without those that are gone
            for gone in sorted(dims[1], reverse=not front):
                dim += (gone <= dim) if front else -(gone >= dim)
        taken.add(dim)
    attrs = tuple((key, tuple(sorted(taken)) if key == "dim" else value) for key, value in plain(node))
    return make(node.op, inner.args, attrs) if len(taken) == len(dims[0]) + len(dims[1]) else apart


def _dims(node: Term) -> tuple[int, ...]:
    """The dimensions of a reduction, none where they are not known."""
    dim = node.attr("dim")
    several = dim if isinstance(dim, tuple) else (dim,)
    return tuple(part for part in several if isinstance(part, int)) if all(type(p) is int for p in several) else ()


def plain(node: Term) -> tuple[tuple[str, Attr], ...]:
    """The attributes of a node by what they mean: a norm of order 2.0 is one of order 2, a correction of False is 0."""
    if all(type(value) in (int, str) or value is None for _, value in node.attrs):
        return node.attrs
    row = ops.row(node.op)
    numbers = {name for name, default in row.signature.attrs if type(default) is int} if row is not None else ()
    return tuple([(name, _plain(value, name in numbers)) for name, value in node.attrs])


def _plain(value: Attr, number: bool) -> Attr:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) and number:
        return int(value)
    return value


def fold(op: str, args: tuple[Term, ...]) -> Term | None:
    """exp(0) and log(1): the constants that identities bring about."""
    if len(args) == 1 and args[0].numeric and (op, number(args[0])) in _CONSTANTS:
        return const(_CONSTANTS[op, number(args[0]) or 0.0])
    return None


_CONSTANTS = {("exp", 0.0): 1, ("log", 1.0): 0, ("expm1", 0.0): 0, ("log1p", 0.0): 0}


def lift(op: str, args: tuple[Term, ...], node: Term | None = None) -> Term | None:
    """Take a movement to the outside of an entry-by-entry operation.

    The other operands must be numbers, or moved in the same way.
    """
    moved: list[Term] = []
    for arg in args:
        if arg.op != "const":
            if not algebra.moves(arg):
                return None  # as nearly always
            moved.append(arg)
    if not moved:
        return None
    first = moved[0]
    if any((arg.op, arg.attrs, arg.args[1:]) != (first.op, first.attrs, first.args[1:]) for arg in moved):
        return None
    inner = tuple(arg.args[0] if arg.op != "const" else arg for arg in args)
    attrs = node.attrs if node is not None else ()
    return make(first.op, (shape(make(op, inner, attrs), inner), *first.args[1:]), first.attrs)


def movement(node: Term, args: tuple[Term, ...]) -> Term:
    """A movement: broadcasting dropped, the spellings of keepdim made one."""
    if node.op == "expand":
        return args[0]
    inner = args[0]
    kept = ops.family(inner) == ops.REDUCE and inner.attr("keepdim") is False
    if kept and any(pattern.same_attr(inner.attr("dim"), dim) for dim in restored(node)):
        attrs = tuple((key, True if key == "keepdim" else value) for key, value in inner.attrs)
        return make(inner.op, inner.args, attrs)
    dim = inserted(node)
    if dim is not None:
        return make("unsqueeze", (inner,), (("dim", dim),))
    return make(node.op, args, node.attrs)


def restored(node: Term) -> tuple[int, ...]:
    """The dimension that a movement puts back after a reduction, under the names that it has.

    ``view(-1, 1)`` puts back the last one of two.
    """
    shape = node.attr("shape")
    if node.op == "reshape" and isinstance(shape, tuple) and len(shape) == 2 and shape.count(1) == 1:
        place = shape.index(1)
        return (place, place - 2)
    dim = inserted(node)
    return () if dim is None else (dim,)


def inserted(node: Term) -> int | None:
    """The dimension that ``unsqueeze(d)`` or an index like ``[:, None]`` inserts, None for other movements."""
    if node.op == "unsqueeze":
        dim = node.attr("dim")
        return dim if isinstance(dim, int) else None
    key = node.attr("key")
    if node.op != "index" or not isinstance(key, tuple) or key.count(None) != 1:
        return None
    position = key.index(None)
    others = [item for item in key if item is not None]
    if any(item not in ("...", ("slice", None, None, None)) for item in others):
        return None
    return position - len(key) if "..." in key[:position] else position


def peel(term: Term) -> tuple[Term, tuple[Term, ...]]:
    """A normal form without the movements at its root, and these, outermost first."""
    removed: list[Term] = []
    while algebra.moves(term):
        removed.append(term)
        term = term.args[0]
    return term, tuple(removed)
