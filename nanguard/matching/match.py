"""Match: normal forms against the patterns of all rules, indexed by the operation at their root."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from nanguard import ops
from nanguard.matching import algebra, pattern
from nanguard.matching.guards import spare
from nanguard.matching.interval import Interval
from nanguard.matching.normal import Normalizer, normalizer, peel
from nanguard.matching.pattern import Bindings, Needs
from nanguard.matching.ranges import RangeTable, range_table
from nanguard.matching.rules import Identity, Rule, RuleSet, Variant, keep
from nanguard.term import Attr, Hole, Term, const, fill, make, number, substitute, walk

_NEAR = 200  # terms around a root among which those of a match are looked for


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that fits a term.

    `bindings` are the pattern's variables as terms of the program, as written where they stand there; `rest` are
    factors or summands of the root that the pattern left over; `guards` the subterms that guard the root, which the
    pattern looked through.
    """

    rule: Rule
    variant: Variant
    root: Term
    bindings: Mapping[str, Term]
    attrs: Mapping[str, Attr]
    rest: tuple[Term, ...]
    joined: str  # add or mul: how the rest belongs to the root
    guards: tuple[Term, ...]
    moved: tuple[Term, ...]  # movements at the root of the normal form, to be done to a replacement

    def replacement(self, template: Term, extra: Mapping[str, Term] | None = None) -> Term:
        """A replacement of the rule, over the terms of the program that the variables stand for."""
        return tidy(self.filled(template, extra), self.operands, inside=False)

    def wording(self, template: Term, extra: Mapping[str, Term] | None = None) -> Term:
        """A replacement as it is written: what stands around an operand and at its root cancels, -(a - b) is b - a."""
        return tidy(self.filled(template, extra), self.operands)

    @property
    def operands(self) -> set[Term]:
        """What the replacement is made of."""
        return {*self.bindings.values(), *self.rest}

    def filled(self, template: Term, extra: Mapping[str, Term] | None) -> Term:
        """The template with the operands in it."""
        term = fill(template, {**self.bindings, **(extra or {})}, self.attrs)
        for factor in self.rest:
            term = make(self.joined, (factor, term))
        for node in reversed(self.moved):
            term = make(node.op, (term, *node.args[1:]), node.attrs)
        return term


def _stable_already(match: Match) -> bool:
    """Whether a term is what would be put in its place: log1p(x), which means log(1 + x)."""
    stable = match.variant.stable
    if stable is None:
        return False
    if match.root.op == stable.op != match.variant.match.op and all(not arg.args for arg in stable.args):
        return True
    if _same(match.wording(stable), match.root):
        return True
    return bool(match.rest) and match.joined == "add" and _holds(match.root, replace(match, rest=()).wording(stable))


def _guarded_truly(found: list[Match]) -> list[Match]:
    """Without those behind guards that all stand inside of what the variables of a rule stand for, if it fits so too.

    Of ``log(exp(x / (s + 0.01)))`` the offset is no guard.
    """
    plain = {match.rule.code for match in found if not match.guards}
    return [match for match in found if match.rule.code not in plain or not _guards_operands(match)]


def _guards_operands(match: Match) -> bool:
    if not match.guards:
        return False
    return set(walk(*match.bindings.values(), *match.rest)).issuperset(match.guards)


def _holds(root: Term, form: Term) -> bool:
    """Whether a sum has a form among its summands: ``q + log1p(x) - log1p(-x)``, in any order of these."""
    nodes = set(walk(root))
    return form in nodes or (form.op in ("add", "sub") and all(part in nodes for part in form.args))


def _same(a: Term, b: Term) -> bool:
    """Whether two terms are the same but for copies of values; what they share is not gone into."""
    a, b = _original(a), _original(b)
    if a is b:
        return True
    alike = a.args and a.op == b.op and a.attrs == b.attrs and len(a.args) == len(b.args)
    return bool(alike) and all(map(_same, a.args, b.args))


def _original(term: Term) -> Term:
    while term.op == "contiguous":
        term = term.args[0]
    return term


def _rank(match: Match) -> tuple[bool, bool, bool, str]:
    variant = match.variant
    return variant.stable is None, variant.hazard != "ineffective-guard", variant.clamp is None, match.rule.code


@dataclass(frozen=True, slots=True)
class Compiled:
    """A pattern of a rule in normal form."""

    rule: Rule
    variant: Variant
    pattern: Term
    needs: Needs


@dataclass(slots=True, weakref_slot=True)
class Matcher:
    """All that matching one file in one dtype takes: normal forms with and without guards, ranges, the index."""

    normal: Normalizer
    unguarded: Normalizer
    ranges: RangeTable
    index: pattern.Index[Compiled]
    guards: list[tuple[Term, Identity]] = field(default_factory=list)
    known_guards: dict[Term, bool] = field(default_factory=dict)

    def matches(self, term: Term, hazard: str | None = None) -> list[Match]:
        """The rules that fit `term` at its root, as it is or behind its guards.

        Those that say most about what is wrong come first: exact replacements, then guards that do nothing.  Those
        come last that keep a guard under which nothing goes wrong, where it can be left out as well.  With a `hazard`,
        those that fit it as it is and are about that.
        """
        op = term.op
        known = op in self.index.entries or op in self.normal.spellings.entries
        if not known and op not in algebra.WRITTEN:
            return []  # the root of its normal form is this very operation, about which there is no rule
        row = ops.row(op)
        if row is None or row.family in (ops.LEAF, ops.CAST, ops.MOVEMENT) or op in ("neg", "either"):
            return []
        head, behind = self.normal.head(term), self.unguarded.head(term)
        if op in algebra.WRITTEN and any(arg.args and self.normal.head(arg) is head for arg in term.args):
            return []  # y / 1, of a setting that is 1 by default: it is y that a rule is about
        found = list(self.fitting(term, head, False, hazard)) if self.may_fit(head) else []
        if behind is not head and self.may_fit(behind):
            found.extend(self.fitting(term, behind, True, hazard))
        found = [match for match in found if not _stable_already(match) and spare(term, match.guards, self.ranges)]
        if len(found) < 2:
            return found
        found = _guarded_truly(found)
        guarded = {match.rule.code for match in found if match.guards}
        return sorted(found, key=lambda match: (match.rule.code in guarded and self.holds(match), *_rank(match)))

    def holds(self, match: Match) -> bool:
        """Whether a guard that a match keeps does its work: nothing is not finite there, of what is.

        ``log(1 + exp(clamp(x, max=80)))`` is finite; what the clamp costs is the gradient.  How many entries a sum adds
        up is not asked.
        """
        if match.guards or match.variant.hazard != "forward-nonfinite":
            return False
        bound = set(match.bindings.values())
        waiting = [match.root]
        while waiting:
            term = waiting.pop()
            if term in bound or not term.args:
                continue
            waiting.extend(term.args)
            value = self.ranges.interval(term)
            operands = [self.ranges.interval(arg) for arg in term.args]
            finite = not any(operand.may_inf or operand.may_nan for operand in operands)
            if ops.family(term) == ops.ELEMENTWISE and finite and (value.may_inf or value.may_nan):
                return False
        return True

    def may_fit(self, head: Term) -> bool:
        """Whether rules may be about a form: there are none with the traits of most."""
        if head.op == "mul" or algebra.moves(head):
            return True  # what is inside of it is a form too
        return bool(self.index.candidates(head, self.normal.traits))

    def fitting(self, term: Term, head: Term, guarded: bool, hazard: str | None) -> Iterator[Match]:
        """The rules that fit the head of `term`, as it is or, if `guarded`, behind its guards.

        Each fits at most once, or once for each branch of a selection.
        """
        seen: set[tuple[str, str]] = set()
        facts: _Facts | None = None
        for form, rest, moved in forms(term, head):
            for compiled in self.index.candidates(form, self.normal.traits):
                if hazard is not None and compiled.variant.hazard != hazard:
                    continue
                facts = facts or _Facts(self, term, guarded)
                kind = (compiled.rule.code, compiled.variant.untaken)  # of a selection, either branch may be the one
                if kind in seen:
                    continue
                for bound in pattern.match(compiled.pattern, form):
                    if facts.guards and not compiled.rule.guarded:
                        break
                    if all(c.holds(bound.terms, bound.attrs, facts) for c in compiled.variant.when):
                        seen.add(kind)
                        yield self.made(term, compiled, bound, rest, moved, facts)
                        break

    def made(
        self, term: Term, compiled: Compiled, bound: Bindings, rest: tuple[Term, ...], moved: tuple[Term, ...],
        facts: _Facts,
    ) -> Match:  # fmt: skip
        written = facts.written
        joined = compiled.pattern.op if bound.rest else "mul"
        bindings = {
            name: written.constant(value) if value.op == "const" else restore(value, written.get)
            for name, value in bound.terms.items()
        }
        return Match(
            compiled.rule, _possible(compiled.variant, bound.attrs), term,
            {**bindings, **self.operands(term, compiled.variant.match, bound)}, bound.attrs,
            tuple(restore(value, written.get) for value in (*rest, *bound.rest)), joined, facts.guards, moved,
        )  # fmt: skip

    def operands(self, term: Term, source: Term, bound: Bindings) -> dict[str, Term]:
        """The variables that are whole operands of `term`, where two mean the same and are written differently."""
        if term.op != source.op or len(term.args) != len(source.args):
            return {}
        alike = len(set(bound.terms.values())) < len(bound.terms)
        if not alike and len({self.normal(arg) for arg in term.args}) == len(term.args):
            return {}
        pairs = ((part, arg) for part, arg in zip(source.args, term.args, strict=True) if part.op == "variable")
        return {part.name: arg for part, arg in pairs if self.normal(arg) is bound.terms.get(part.name)}

    def guarding(self, term: Term) -> tuple[Term, ...]:
        """The guards among the subterms of `term`, outermost last."""
        found = {node for node in nearest(term) if node is not term and self.is_guard(node)}
        return tuple(node for node in near(term) if node in found) if len(found) > 1 else tuple(found)

    def is_guard(self, node: Term) -> bool:
        """Whether a term is one that guards what is inside of it."""
        if node not in self.known_guards:
            self.known_guards[node] = self.fits_guard(node)
        return self.known_guards[node]

    def fits_guard(self, node: Term) -> bool:
        if ops.family(node) != ops.ELEMENTWISE:
            return False
        head = self.normal.head(node)
        head, _ = peel(head)
        for source, guard in self.guards:
            if source.op == head.op:
                for bound in pattern.match(source, head, leave_rest=False):
                    if all(c.holds(bound.terms, bound.attrs, self.ranges) for c in guard.when):
                        return True
        return False


def _possible(variant: Variant, attrs: Mapping[str, Attr]) -> Variant:
    """A variant without its stable form where that has no such dimensions: a softmax has one, not a tuple of some."""
    if not any(isinstance(value, tuple) for value in attrs.values()):
        return variant
    forms = () if variant.stable is None else (variant.stable,)
    dims = (node.attr("dim") for node in walk(*forms) if ops.family(node) == ops.AXIS)
    several = any(isinstance(dim, Hole) and isinstance(attrs.get(dim.name), tuple) for dim in dims)
    return replace(variant, stable=None) if several else variant


class _Facts:
    """The ranges of the normal forms in a term, as the program has them: with the facts found on the way."""

    def __init__(self, matcher: Matcher, term: Term, guarded: bool) -> None:
        self.matcher, self.term, self.guarded = matcher, term, guarded

    @cached_property
    def guards(self) -> tuple[Term, ...]:
        """The guards behind which a form is looked at, looked for where a pattern fits it."""
        return self.matcher.guarding(self.term) if self.guarded else ()

    @cached_property
    def written(self) -> Written:
        """The subterms as written, by their normal forms."""
        return Written(self.matcher, self.term, self.guards)

    @property
    def head(self) -> Term:
        """The normal form of the term."""
        return self.matcher.normal.head(self.term)

    @property
    def bare(self) -> Term:
        """The normal form that patterns are compared with: behind the guards, where it is matched behind them."""
        return (self.matcher.unguarded if self.guards else self.matcher.normal).head(self.term)

    def normal(self, term: Term) -> Term:
        """The normal form of any term."""
        return self.matcher.normal(term)

    def interval(self, term: Term) -> Interval:
        """The interval of a term of the normal form."""
        if term.op == "const":
            return self.matcher.ranges.interval(term)
        return self.matcher.ranges.interval(self.written.get(term) or self.written.narrowing(term))


class Written:
    """The subterms of a term as they are written, by their normal forms; behind guards, by those without them too.

    Of several that have one form it is the last, x / t and not x where t is 1 by default; behind guards the first.
    What a test has narrowed says more than either.
    """

    def __init__(self, matcher: Matcher, term: Term, guards: tuple[Term, ...]) -> None:
        self.matcher, self.term, self.guards = matcher, term, guards
        self.found: dict[Term, Term | None] = {}

    def get(self, form: Term) -> Term | None:
        """The subterm that has a normal form, None where none has."""
        if form not in self.found:
            self.found[form] = self.find(form)
        return self.found[form]

    def find(self, form: Term) -> Term | None:
        below = self.below
        held = [node for node in self.matcher.normal.held.get(form, ()) if node in below]
        narrowed = [node for node in held if node.op == "assume"]
        if not narrowed and self.implied and form in self.implied:
            return self.implied[form]
        if self.guards and not narrowed:
            held.extend(node for node in self.matcher.unguarded.held.get(form, ()) if node in below)
        if not held:
            return None
        if narrowed:
            return narrowed[0] if len(narrowed) == 1 else max(narrowed, key=self.order.__getitem__)
        if len(held) == 1:
            return held[0]
        nearest = min if self.guards else max  # what is behind the guards, and not these
        return nearest(held, key=self.order.__getitem__)

    def constant(self, form: Term) -> Term:
        """A number as the program has it: 2.0 where the normal form has 2, ones_like(x) where it has 1."""
        found = self.get(form)
        if found is not None or form in self.below:
            return found or form
        value = number(form)
        alike = (node for node in near(self.term) if node.op == "const" and value is not None and number(node) == value)
        return next(alike, form)

    def narrowing(self, form: Term) -> Term:
        """A normal form that stands nowhere as it is, with what tests have narrowed in the place of its parts."""
        return substitute(form, self.narrowed) if self.narrowed else form

    @cached_property
    def narrowed(self) -> dict[Term, Term]:
        """What tests have narrowed, by the normal forms of it."""
        if not any(node.op == "assume" for node in nearest(self.term)):
            return {}  # as nearly always
        return {self.matcher.normal(node): node for node in near(self.term) if node.op == "assume"}

    @cached_property
    def implied(self) -> dict[Term, Term]:
        """What these are worked out of, with what a root or a product that is not 0 tells of it."""
        result = {}
        for node in self.narrowed.values():
            if node.attr("nonzero") or self.matcher.ranges.interval(node).positive:
                result.update({self.matcher.normal(part): _not_zero(part) for part in _factors(node)})
        return result

    @cached_property
    def below(self) -> _Below:
        """The terms near the root, without it."""
        return _Below(self.term)

    @cached_property
    def order(self) -> dict[Term, int]:
        """The places of these, operands first."""
        return {node: place for place, node in enumerate(near(self.term))}


def _factors(term: Term) -> Iterator[Term]:
    """Everything that is not 0 where a term is not: what is under its roots, and its factors."""
    below = [term]
    while below:
        node = below.pop()
        if node.op in ("sqrt", "mul", "assume"):
            below.extend(node.args)
        if node is not term and node.op != "assume" and number(node) is None:
            yield node


def _not_zero(term: Term) -> Term:
    return make("assume", (term,), (("nonzero", True),))


class _Below:
    """The terms below a root that are closest to it, gone through as far as is asked."""

    def __init__(self, term: Term) -> None:
        self.seen: set[Term] = set()
        self.nodes = closest(term)
        next(self.nodes)  # the root

    def __contains__(self, term: Term) -> bool:
        if term in self.seen:
            return True
        for node in self.nodes:
            self.seen.add(node)
            if node is term:
                return True
        return False


def near(term: Term) -> Iterator[Term]:
    """A term and the terms below it, operands first; of very many those that are closest to it.

    What a rule is about lies near the root, and a graph of thousands of nodes has thousands of roots.
    """
    return walk(term, known=_Beyond(set(nearest(term))))


@lru_cache(maxsize=4)  # one term is looked at several times, and then no more
def nearest(term: Term) -> tuple[Term, ...]:
    """All of those that are closest to a term, from the top, with itself."""
    return tuple(closest(term))


def closest(term: Term) -> Iterator[Term]:
    """A term and the terms below it, from the top; of very many those that are closest to it."""
    yield term
    chosen: set[Term] = {term}
    waiting = deque(term.args)
    while waiting and len(chosen) < _NEAR:
        node = waiting.popleft()
        if node not in chosen:
            chosen.add(node)
            waiting.extend(node.args)
            yield node


@dataclass(frozen=True, slots=True)
class _Beyond:
    """All terms but some."""

    chosen: set[Term]

    def __contains__(self, term: object) -> bool:
        return term not in self.chosen


def matcher(rules: RuleSet, dtype: str = "float32") -> Matcher:
    """A matcher for the rules in one dtype, which remembers nothing yet: the rules are compiled once."""
    known = _compiled.get((id(rules), dtype))
    if known is None or known[0] is not rules:
        known = _compiled[id(rules), dtype] = (rules, _compile(rules, dtype))
    compiled = known[1]
    traits = pattern.Traits(compiled.normal.traits.bits)
    normal = Normalizer(compiled.normal.spellings, compiled.normal.rewrites, traits=traits)
    table = RangeTable(dtype, compiled.ranges.relations, normal)
    normal.ranges = table
    unguarded = Normalizer(
        compiled.unguarded.spellings, compiled.unguarded.rewrites, table, traits=traits, plain=normal,
        further=compiled.unguarded.further,
    )  # fmt: skip
    made = Matcher(normal, unguarded, table, compiled.index, compiled.guards)
    memos = (table.memo, normal.memo, normal.held, normal.made, normal.heads)
    weakref.finalize(made, _forget, [memo.clear for memo in memos]).atexit = False
    return made


def _forget(memories: Iterable[Callable[[], None]]) -> None:
    """Empty what has been remembered: ranges and normal forms refer to each other, and would stay for the collector."""
    for clear in memories:
        clear()


_compiled: dict[tuple[int, str], tuple[RuleSet, Matcher]] = {}


def _compile(rules: RuleSet, dtype: str) -> Matcher:
    """Bring the patterns of all rules to normal form, and index them by the operation at their root."""
    traits = pattern.Traits()
    normal = normalizer(rules.spellings, rules.identities, None, traits)
    table = range_table(dtype, rules.relations, normal)
    normal.ranges = table
    unguarded = normalizer(rules.spellings, (*rules.identities, *rules.guards), table, traits)
    unguarded.further = unguarded.rewrites.only(lambda rewrite: rewrite.identity in rules.guards)
    index: pattern.Index[Compiled] = pattern.Index()
    kept = rules.heads if dtype == "float32" else None
    heads = dict(kept or {})
    for rule in rules.rules:
        for variant in rule.variants:
            source = heads.get(variant.match) or normal.head(variant.match)
            heads[variant.match] = source
            index.add(source.op, Compiled(rule, variant, source, normal.traits.needs(source)))
    if kept is not None and not kept:
        keep(rules, heads)
    guards = [(normal.head(guard.source), guard) for guard in rules.guards]
    return Matcher(normal, unguarded, table, index, guards)


def forms(term: Term, head: Term) -> Iterator[tuple[Term, tuple[Term, ...], tuple[Term, ...]]]:
    """The forms of a root to compare with patterns, each with the factors and the movements taken off it."""
    head, moved = peel(head)
    yield head, (), moved
    if head.op != "mul":
        return
    if term.op not in ("mul", "div", "add", "sub"):  # log2(x) is a multiple of log(x), 0 - log(x) stands around one
        coefficient, inner = algebra.split(head)
        if coefficient != 1 and inner is not None:
            yield inner, (head.args[0],), moved
    if term.op == "div":  # y / (1 + exp(-x)): the divisor is a form of its own
        for index, factor in enumerate(head.args):
            if factor.op == "pow":
                yield factor, head.args[:index] + head.args[index + 1 :], moved


def restore(term: Term, written: Callable[[Term], Term | None]) -> Term:
    """A normal form as a term of the program: as written where it stands there, else in binary operations."""
    return _restored(term, written, {})


def _restored(node: Term, written: Callable[[Term], Term | None], done: dict[Term, Term]) -> Term:
    """The same; what a term shares with itself is restored once."""
    if node not in done:
        found = written(node) or _negated(node, written)
        if found is None:
            found = _binary(node, tuple([_restored(arg, written, done) for arg in node.args]))
        done[node] = found
    return done[node]


def _negated(term: Term, written: Callable[[Term], Term | None]) -> Term | None:
    """A product with a negative number, as minus the product with the positive one where the program has that."""
    factor = number(term.args[0]) if term.op == "mul" else None
    if factor is None or factor >= 0 or factor == -1:
        return None
    found = written(make("mul", (const(-term.args[0].value), *term.args[1:])))  # type: ignore[operator]
    return make("neg", (found,)) if found is not None else None


def _binary(term: Term, args: tuple[Term, ...]) -> Term:
    """An operation of a normal form over operands that are restored."""
    match term.op:
        case "add":
            return _sum(args)
        case "mul":
            return _quotient(args)
        case "pow":
            return _power(args, number(term.args[1]))
    return make(term.op, args, term.attrs)


def _sum(args: Sequence[Term]) -> Term:
    """A sum, positive operands first, negative ones subtracted, constants last."""
    ordered = sorted(args, key=lambda arg: (arg.op == "const", arg.op == "neg"))
    result = ordered[0]
    for arg in ordered[1:]:
        result = make("sub", (result, arg.args[0])) if arg.op == "neg" else make("add", (result, arg))
    return result


def _quotient(args: Sequence[Term]) -> Term:
    above = [arg for arg in args if not _is_inverse(arg)]
    below = [arg.args[1] for arg in args if _is_inverse(arg)]
    sign = bool(above) and number(above[0]) == -1
    above = above[1:] if sign else above
    result = _chain(above) if above else const(1)
    if below:
        result = make("div", (result, _chain(below)))
    return make("neg", (result,)) if sign else result


def _is_inverse(term: Term) -> bool:
    return term.op == "div" and number(term.args[0]) == 1


def _chain(factors: Sequence[Term]) -> Term:
    result = factors[0]
    for factor in factors[1:]:
        result = make("mul", (result, factor))
    return result


def _power(args: tuple[Term, ...], exponent: float | None) -> Term:
    base = args[0]
    if exponent == -1:
        return make("div", (const(1), base))
    if exponent == 0.5:
        return make("sqrt", (base,))
    return make("pow", args)


_BASES = {math.log2(math.e): "log2", math.log10(math.e): "log10"}  # the factors of `identities.toml` for these bases


def tidy(term: Term, leaves: Container[Term] = (), inside: bool = True) -> Term:
    """A replacement without what putting it together left: ``-(-x)`` is ``x``, ``-(a - b)`` is ``b - a``.

    What is in `leaves` stays as it is; whether its root is looked at, `inside` says.
    """

    def change(node: Term, args: tuple[Term, ...]) -> Term:
        match node.op, args:
            case "neg", (Term(op="neg", args=(inner,)),):
                return inner
            case "neg", (Term(op="sub", args=(a, b)),):
                return make("sub", (b, a))
            case "neg", (Term(op="const") as value,) if number(value) is not None:
                return const(-value.value)  # type: ignore[operator]
            case "mul", (Term(op="const") as value, Term(op="log", args=(inner,))) if number(value) in _BASES:
                return make(_BASES[number(value) or 0.0], (inner,))
            case "mul", (Term(op="const") as value, other) if number(value) == 1:
                return other
            case "mul", (Term(op="const") as value, other) if number(value) == -1:
                return make("neg", (other,))
            case "add", (first, Term(op="neg", args=(second,))):
                return make("sub", (first, second))
            case "sub", (first, Term(op="neg", args=(second,))):
                return make("add", (first, second))
        return make(node.op, args, node.attrs)

    done: dict[Term, Term] = {}
    for node in walk(term, known=leaves):
        args = tuple(done.get(arg, arg) for arg in node.args)
        closed = not inside and any(arg in leaves and arg.op in ("neg", "sub") for arg in node.args)
        done[node] = make(node.op, args, node.attrs) if closed else change(node, args)
    return done.get(term, term)
