"""Diagnose: a match, its place and its proof to a finding, in words and with what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nanguard import ops
from nanguard.finding import SEVERITY, Finding, Fix, Number, Span
from nanguard.floats import FORMATS
from nanguard.matching.match import Match
from nanguard.matching.ranges import RangeTable
from nanguard.matching.rulefile import BOUNDS
from nanguard.repair.edits import Basis, Placed, literals, placed, visible
from nanguard.repair.ground import Ground, names_of
from nanguard.repair.naming import Named, every_named
from nanguard.repair.source import Move, Unprintable, Words, inwards, source_of
from nanguard.site import Site, label
from nanguard.term import Attr, Term, const, fill, make, number, var, walk

if TYPE_CHECKING:
    from nanguard.proof.confirm import Proof

_GUARDED = {
    "dead-gradient": "the guard {guard} keeps the value finite and takes the gradient away",
    "accuracy-loss": "the guard {guard} takes the place of the value that it guards",
    "ineffective-guard": "the guard {guard} does not guard here",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What a finding is made in: the file around its place, what is known there, and what is asked for.

    `sure` says that every path to the place was seen, and that each computes what was matched.
    """

    modules: Mapping[str, str]
    dtype: str
    eps: float | None = None
    prefer: str = "stable"
    ground: Ground | None = None
    sure: bool = False
    ranges: RangeTable | None = None
    moves: Mapping[Move, tuple[str, str]] = field(default_factory=dict)
    operands: Mapping[Term, str] = field(default_factory=dict)  # what earlier statements call them
    settings: Mapping[tuple[str, Attr], str] = field(default_factory=dict)
    tensors: frozenset[str] | None = None  # the names that hold tensors, where that is known
    expressions: Mapping[Term, Sequence[Span]] = field(default_factory=dict)  # where operands are worked out
    constants: Mapping[str, Collection[Term]] = field(
        default_factory=dict
    )  # what has a name and that the rule reckons with


def finding(match: Match, site: Site, proof: Proof | None, context: Context) -> Finding:
    """The finding of a match at a place; without a proof it is merely possible."""
    hazard = proof.hazard if proof is not None else match.variant.hazard
    stable = fix(match, site, "stable", match.variant.stable, proof, context)
    clamp = fix(match, site, "clamp", match.variant.clamp, proof, context)
    first, second = (clamp, None) if context.prefer == "clamp" and clamp is not None else (stable or clamp, clamp)
    return Finding(
        code=match.rule.code,
        name=match.rule.name,
        hazard=hazard,
        severity=SEVERITY[hazard] if proof is not None else "info",
        span=site.span,
        target=site.target,
        expression=site.text,
        message=message(match, site, hazard, proof, context.dtype, first),
        confirmed=proof is not None,
        witness=proof.witness if proof is not None else None,
        thresholds=proof.thresholds if proof is not None else {},
        fix=first,
        clamp=second if stable is not None else None,
    )


def accepted(match: Match, hazard: str, prefer: str) -> bool:
    """Whether a finding is what somebody who prefers clamps has asked for: the value is bounded, the gradient gone."""
    if prefer != "clamp" or hazard not in ("dead-gradient", "accuracy-loss"):
        return False
    return any(node.op == "clamp" for node in (*match.guards, *match.root.args))


_SMALL = {"float16": 1e-4, "bfloat16": 1e-8, "float32": 1e-8, "float64": 1e-12}


def default_eps(template: Term, dtype: str) -> float:
    """The epsilon of a clamped form.

    For a bound below alone a small one, of which the root and the reciprocal squared are still numbers of the dtype.
    For bounds on both sides the known 1e-4 where 1 - 1e-4 is not 1, else the spacing above 1.
    """
    form, variable = FORMATS[dtype], var("eps")
    if not any(node.op == "sub" and node.args[1] == variable for node in walk(template)):
        return _SMALL[dtype]
    return 1e-4 if form.round(1 - 1e-4) < 1 else form.eps


def bounds(template: Term, dtype: str, eps: float | None) -> dict[str, Term]:
    """What a clamped form is bounded with: `eps`, the one that is asked for or the default, and `tiny`.

    That is a normal number of the dtype a little above the least, in few digits: the logarithm of a probability needs
    no larger bound, since below it the dtype has lost the probability itself.
    """
    used = {node.name for node in walk(template) if node.op == "variable"}
    values = {"eps": default_eps(template, dtype), "tiny": float(f"{1.02 * FORMATS[dtype].tiny:.1e}")}
    return {name: const(values[name] if eps is None else eps) for name in BOUNDS & used}


def fix(
    match: Match, site: Site, kind: str, template: Term | None, proof: Proof | None, context: Context
) -> Fix | None:
    """A replacement as source; None where the rule has none, the place has no words for it, or it does not mend."""
    if template is None:
        return None
    extra = bounds(template, context.dtype, context.eps)
    if _recast(match) or _coincide(match, context.constants.values()):
        return None
    detached = _detached(match) if site.term is match.root else match
    if detached is None:
        return None
    match = detached
    term = match.replacement(template, extra)
    if context.ranges is not None and _takes_all(term, context.ranges):
        return None
    worded = _worded(match, site, template, extra, context)
    if worded is None and kind == "clamp":
        whole = _of_operands(match)
        worded = _worded(whole, site, template, extra, context) if whole is not None else None
    if worded is None:
        return None
    text, moved, put = worded
    if put is None:
        return Fix(kind, text, False)
    # a replacement that is computed before a mask selects from it meets entries that the original never saw
    selected = moved and any(node.op == "masked_select" for node in match.moved)
    changed = bool(match.guards) or selected or site.caught
    safe = kind == "stable" and match.variant.safe and put.safe and not changed
    if proof is not None:
        part = term if proof.cut.root is match.root else replace(match, rest=()).replacement(template, extra)
        mended, alike = measured(proof, part, kind, context)
        if mended is False:
            return None
        safe = safe and mended is True and alike
    if match.variant.hazard == "misuse":  # it computes something else, as it is meant to: not for a tool to do
        return Fix(kind, one_line(text), False)
    return Fix(kind, one_line(text), safe, put.edits)


_SAME = ("contiguous", "assume", "detach")  # what a value goes through as it is


def _recast(match: Match) -> bool:
    """Whether matching has looked through a cast, a move to a device or a dropout that a replacement would not have.

    A cast of a test or of a number takes nothing away.
    """
    wanted = {*match.bindings.values(), *match.rest}
    through = (node for node in walk(*match.root.args, known=wanted) if ops.family(node) == ops.CAST)
    inner = (node.args[0] for node in through if node.op not in _SAME)
    return any(not ops.compares(term) and term.attr("kind") not in ("mask", "number", "size") for term in inner)


_NEUTRAL = {"mul": 1, "div": 1, "pow": 1, "add": 0, "sub": 0}


def _coincide(match: Match, settings: Iterable[Collection[Term]]) -> bool:
    """Whether two operands may be one only by the value of a setting: ``weight * y`` and ``y``, of a weight of 1."""
    neutral = {value for values in settings for value in values}
    uses: dict[Term, set[Term]] = {}
    for node in walk(match.root):
        for arg in node.args:
            uses.setdefault(arg, set()).add(node)
    return any(
        any(arg in neutral and number(arg) == _NEUTRAL[node.op] for arg in node.args)
        and any(arg not in neutral and len(uses[arg]) > 1 for arg in node.args)
        for node in walk(match.root)
        if node.op in _NEUTRAL
    )


def _detached(match: Match) -> Match | None:
    """A match whose variables get no gradient where they got none: matching looks through ``p.detach()``.

    None where one of them gets a gradient on one way and none on another.
    """
    wanted = {*match.bindings.values(), *match.rest}
    ways: dict[Term, set[bool]] = {}
    waiting, seen = [(arg, False) for arg in match.root.args], set[tuple[Term, bool]]()
    while waiting:
        term, cut = waiting.pop()
        if (term, cut) in seen:
            continue
        seen.add((term, cut))
        if term in wanted:
            ways.setdefault(term, set()).add(cut)
        else:
            waiting.extend((arg, cut or term.op == "detach") for arg in term.args)
    if not any(cut for _, cut in seen):
        return match
    free = [term for term in wanted if term.op != "const" and ways.get(term) != {False}]
    if any(ways.get(term) != {True} for term in free):
        return None
    wrapped = {term: make("detach", (term,)) for term in free}
    return replace(
        match,
        bindings={name: wrapped.get(term, term) for name, term in match.bindings.items()},
        rest=tuple(wrapped.get(term, term) for term in match.rest),
    )


def _takes_all(replacement: Term, ranges: RangeTable) -> bool:
    """Whether a bound of a replacement takes the place of every value: one above 0, of what is never positive."""
    for node in walk(replacement):
        if node.op == "clamp":
            interval = ranges.interval(node.args[0])
            low, high = map(number, node.args[1:])
            if (low is not None and interval.high < low) or (high is not None and interval.low > high):
                return True
    return False


def _worded(
    match: Match, site: Site, template: Term, extra: Mapping[str, Term], context: Context
) -> tuple[str, bool, Placed | None] | None:
    """A replacement in words that hold at the place, whether entries are moved after it, and its edits.

    In the words of the expression itself, else in those of the statements before it, else with a statement put in that
    gives an operand a name.  None where none of these do; without a file there are no edits.
    """
    term = match.wording(template, extra)
    ground = context.ground
    modules = context.modules if ground is None else visible(context.modules, site.span, ground)
    own = {*walk(template), *extra.values()}
    before = {part: name for part, name in context.operands.items() if part.op != "const" or part not in own}
    before = {**_attributes(term), **before}
    here = names_of(site.text)
    numbered = {part: name for part, name in before.items() if part.op == "const" and name in here}
    words_of = (text for text in context.settings.values() if text not in site.text)
    settings = frozenset(name for text in words_of for name in names_of(text) - here)
    texts = [*before.values(), *(f"_{behind}" for _, behind in context.moves.values())]
    taken = settings | {name for text in texts for name in names_of(text)}
    leans = any(node.op == "clamp" and node.args[2].op != "const" for node in walk(template))  # on an upper bound
    basis = Basis(
        tuple(modules.values()), given=given(match, template, extra), tensors=context.tensors, agreed=context.sure,
        constants=context.constants.keys(), leans=leans,
    )  # fmt: skip
    everything = _under_casts({**before, **site.names})
    ways = [
        (Words(_under_casts({**numbered, **site.names}), modules, settings=context.settings), settings),
        (Words(everything, modules, context.moves, context.settings), taken),
    ]
    written_out = (part for part in walk(term, known=ways[0][0].terms) if part.op == "const")
    if any(part in before and part not in numbered for part in written_out):
        del ways[0]  # a setting of an earlier statement, which callers may give another value
    for words, names in ways:
        written = spelled(term, words)
        if written is None:
            continue
        if ground is None:
            return *written, None
        put = placed(site.span, ground, written[0], replace(basis, sure=context.sure and not names, earlier=names))
        if put is not None:
            return *written, put
    if ground is None:
        return None
    for operand, put_in in _put_in(match, template, everything, site.span, ground, context):
        words = Words({**everything, operand: put_in.name}, modules, context.moves, context.settings)
        written = spelled(term, words)
        if written is not None:
            tensors = context.tensors and context.tensors | {put_in.name}
            more = replace(basis, earlier=taken, tensors=tensors, put_in=put_in.name)
            put = placed(put_in.span(site.span), put_in.ground, written[0], more)
            if put is not None:
                return *written, put_in.placed(put)
    return None


def _put_in(
    match: Match, template: Term, names: Mapping[Term, str], place: Span, ground: Ground, context: Context
) -> Iterator[tuple[Term, Named]]:
    """The operands of a replacement, those that have no words first, with a statement put in that gives them a name."""
    used = dict.fromkeys(match.bindings[part.name] for part in walk(template) if part.name in match.bindings)
    wordless = [operand for operand in used if operand not in names]
    for operand in wordless or used:
        for found in every_named(ground, context.expressions.get(operand, ()), place):
            yield operand, found


def _under_casts(names: Mapping[Term, str]) -> dict[Term, str]:
    """The names, and those of casts for what they cast, where that has none: matching looks through casts."""
    casts = ((term, name) for term, name in names.items() if ops.family(term) == ops.CAST)
    return {**{term.args[0]: name for term, name in casts}, **names}


def _of_operands(match: Match) -> Match | None:
    """A match whose variables are the whole operands of its root, guards and all; None where they are that already.

    For a clamp, which may as well bound the divisor that the program computes as the part of it that vanishes.  Not
    where the sign of the two may differ, or where a number of Python may have been taken out of a tensor.
    """
    source, root = match.variant.match, match.root
    if source.op != root.op or len(source.args) != len(root.args):
        return None
    if any(part.op != "variable" for part in source.args) or any(map(_may_be_negative, walk(*match.rest))):
        return None
    if any(ops.family(node) == ops.CAST for node in walk(*root.args)):
        return None
    whole = {part.name: arg for part, arg in zip(source.args, root.args, strict=True)}
    if all(match.bindings.get(name) is arg for name, arg in whole.items()):
        return None
    return replace(match, bindings={**match.bindings, **whole}, rest=(), moved=())


def _may_be_negative(factor: Term) -> bool:
    value = number(factor)
    return factor.op in ("neg", "sub") or (value is not None and value < 0)


def given(match: Match, template: Term, extra: Mapping[str, Term]) -> frozenset[object]:
    """The numbers and texts that a rule itself, the form of an operation or its printing puts into a replacement.

    Not those of the attributes, which are the program's; a factor that the program has not got is one of an operation
    (a log10 is a multiple of a log).
    """
    operands = {name: make("symbol", (), (("name", name),)) for name in match.bindings}
    form = fill(template, {**operands, **extra}, match.attrs)
    written = spelled(form, Words({node: node.name for node in operands.values()}, {}))
    own = literals(written[0]) if written is not None else frozenset()
    root = set(walk(match.root))
    factors = {node.value for node in match.rest if node.op == "const" and node not in root}
    flat = (part for value in match.attrs.values() for part in (value if isinstance(value, tuple) else (value,)))
    return (own - {part for part in flat if not isinstance(part, bool)}) | factors


def _attributes(term: Term) -> dict[Term, str]:
    """Attributes of a module by their own names; whether these are in scope is seen when they are placed."""
    symbols = (node for node in walk(term) if node.op == "symbol" and node.name.startswith("self."))
    return {node: node.name for node in symbols}


def spelled(term: Term, words: Words) -> tuple[str, bool] | None:
    """A term in the words of a place, and whether entries are moved after it; None where there are no words for it."""
    for form in (inwards(term, words), term):
        try:
            return source_of(form, words), form is term
        except Unprintable:
            continue
    return None


def measured(proof: Proof, replacement: Term, kind: str, context: Context) -> tuple[bool | None, bool]:
    """Whether a replacement is right at the witness, and whether it is elsewhere what the original was."""
    from nanguard.repair import trial

    table = context.ranges
    limits = {leaf: table.interval(leaf) for leaf in proof.cut.free} if table is not None else {}
    mended = trial.mends(proof, replacement, context.dtype, kind)
    return mended, mended is True and trial.alike(proof, replacement, limits)


def one_line(text: str) -> str:
    """A replacement as messages show it."""
    return " ".join(text.split()) if "\n" in text else text


def message(match: Match, site: Site, hazard: str, proof: Proof | None, dtype: str, repair: Fix | None) -> str:
    """What happens, when, and what to write instead."""
    text = match.rule.summary
    if match.guards and hazard in _GUARDED:
        guard = match.guards[-1]
        text = f"{text}; " + _GUARDED[hazard].format(guard=f"`{label(guard, site.names.get)}`")
    first = proof.thresholds.get(dtype) if proof is not None else None
    if first is not None and proof is not None and not _least(first, dtype):
        text += f" (first at {_input(proof)} = {_short(first)} in {dtype})"
    if repair is None:
        return text
    before = "".join(f"`{statement}` before and " for statement in put_in(repair))
    return f"{text}; write {before}`{repair.replacement}`"


def put_in(repair: Fix) -> list[str]:
    """The assignments that a fix puts into the file before the place of its finding."""
    return [one_line(edit.text) for edit in repair.edits[:-1] if " = " in edit.text]


def _input(proof: Proof) -> str:
    names = list(proof.witness.inputs)
    return names[0] if len(names) == 1 else ", ".join(names)


def _least(value: Number, dtype: str) -> bool:
    """The float next to 0: the term fails all along the way, which says nothing of where it begins to."""
    return isinstance(value, float) and abs(value) == FORMATS[dtype].from_ordinal(1)


def _short(value: Number) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
