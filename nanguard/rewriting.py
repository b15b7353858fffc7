"""Rewrite: put the stable forms of rules into a captured graph, and check that it still computes the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import fx

from nanguard import ops
from nanguard.diagnose import default_eps
from nanguard.emit import Emitter, NotEmittable
from nanguard.errors import NanguardError
from nanguard.floats import FORMATS
from nanguard.inputs import ordinary, samples
from nanguard.match import Match, Matcher
from nanguard.nodes import Reader, pure, writes
from nanguard.replay import Outcome, difference, replay, tried
from nanguard.term import Attr, Term, const, walk
from nanguard.trace import Trace
from nanguard.tracer import GRAD, NAMES

RULE = "nanguard_rule"  # key of node.meta: the code of the rule that made the node

_CLOSE = 1e-4  # relative difference between a naive and a stable form on ordinary inputs in float32
_TESTS = 3
_SELECTING = frozenset({"masked_select", "pick", "index", "select", "diagonal", "unbind", "tril"})
_GUARDED = 1e-2  # the same where the naive form has an epsilon that the stable one has not


_Movement = tuple[str, tuple[tuple[str, Attr], ...]]  # an operation with its attributes


@dataclass(frozen=True, slots=True)
class Plan:
    """A replacement that can be made: at the node `root`, by `term`, over the values of `leaves`."""

    match: Match
    root: fx.Node
    term: Term
    leaves: Mapping[Term, tuple[fx.Node, ...]]
    inside: tuple[fx.Node, ...]  # what of the matched expression lies between the root and the leaves
    movements: Mapping[_Movement, fx.Node]  # the movements of entries among these
    written: bool = False  # the root's value is written into later


def rewrite_graph(
    trace: Trace, matcher: Matcher, *, prefer: str = "stable", eps: float | None = None
) -> tuple[fx.GraphModule, tuple[Match, ...]]:
    """A graph module with the replacements that rules offer, and the matches that were replaced, in order.

    With `prefer` "clamp" the clamped forms are used, with an `eps` that works in the dtype unless one is given.
    A replacement is made only if values and gradients stay the same on ordinary inputs.  `trace` is left as it
    is.
    """
    module, done = rewritten(trace, matcher, prefer, eps)
    return module, tuple(plan.match for plan in done)


def rewritten(trace: Trace, matcher: Matcher, prefer: str, eps: float | None) -> tuple[fx.GraphModule, list[Plan]]:
    """As `rewrite_graph`, with the places of the replacements."""
    offered = plans(trace, matcher, Form(prefer, eps, dtype_of(trace.arguments.tensors)))
    return apply(trace, _accepted(trace, offered)) if offered else (trace.module, [])


# --- what can be replaced -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """Which form of a rule is wanted."""

    prefer: str
    eps: float | None
    dtype: str

    def __post_init__(self) -> None:
        if self.prefer not in ("stable", "clamp"):
            raise NanguardError(f"prefer must be 'stable' or 'clamp', not {self.prefer!r}")
        form = FORMATS[self.dtype]
        if self.eps is not None and not (0 < self.eps < 0.5 and form.round(1 - self.eps) < 1):
            raise NanguardError(
                f"eps={self.eps!r} has no effect in {self.dtype}; the least that has is {form.eps / 2:.2g}"
            )

    def replacement(self, match: Match) -> Term | None:
        """What a match is replaced by, None if the rule has no form of this kind."""
        if self.prefer == "stable":
            return match.replacement(match.variant.stable) if match.variant.stable is not None else None
        if match.variant.clamp is None or match.guards:
            return None
        eps = default_eps(self.dtype) if self.eps is None else self.eps
        return match.replacement(match.variant.clamp, {"eps": const(eps)})


def dtype_of(tensors: Iterable[Any]) -> str:
    """The dtype of some inputs, the one of the lowest precision if there are several."""
    found = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if isinstance(tensor, torch.Tensor)}
    return next((name for name in FORMATS if name in found), "float32")


def plans(trace: Trace, matcher: Matcher, form: Form) -> list[Plan]:
    """The replacements that can be made in a graph, in its order."""
    reader = Reader(trace.examples)
    holders: dict[Term, list[fx.Node]] = {}
    found: list[Plan] = []
    for node in trace.graph.nodes:
        term = reader.read(node)
        if node.op.startswith("call") and pure(node):
            matches = [match for match in matcher.matches(term) if not _passes_on(term, matcher)]
            offered = (_plan(match, node, form, reader, holders) for match in matches)
            found.extend(list(filter(None, offered))[:1])
        changed = [node] if writes(node) is None else [n for n, now in reader.current.items() if now is term]
        for holder in changed:
            holders.setdefault(term, []).append(holder)
    return [replace(plan, written=plan.root in reader.written) for plan in found]


def _passes_on(term: Term, matcher: Matcher) -> bool:
    """Whether a term means the same as one of its operands, which is to be replaced: ``0 + x``."""
    meaning = matcher.normal(term)
    return any(matcher.normal(arg) is meaning for arg in term.args)


def _plan(
    match: Match, root: fx.Node, form: Form, reader: Reader, holders: Mapping[Term, Sequence[fx.Node]]
) -> Plan | None:
    """The plan for a match, None where the graph does something between root and leaves that forbids it."""
    replacement = form.replacement(match)
    if replacement is None or replacement is match.root:
        return None
    wanted = {term for term in walk(replacement) if term.op != "const" and term is not match.root}
    inside, reached = _between(root, wanted, reader)
    if not all(_allows(node, root, reader) for node in (root, *inside)):
        return None
    leaves: dict[Term, tuple[fx.Node, ...]] = {}
    for term in wanted:
        now = [node for node in holders.get(term, ()) if reader.current[node] is term]
        if len({reader.numbers[node] for node in now}) > 1:  # different values that the table has one name for
            now = [node for node in now if node in reached]
            if len({reader.numbers[node] for node in now}) != 1:
                return None
        leaves[term] = tuple(now)
    if any(moved.op in _SELECTING for moved in match.moved) and _is_singular(replacement, leaves):
        return None  # it would be computed for entries that were left out before, whose gradient may be nan
    return Plan(match, root, replacement, leaves, tuple(inside), _movements((root, *inside), reader))


def _is_singular(term: Term, leaves: Mapping[Term, Sequence[fx.Node]]) -> bool:
    """Whether what is new in a replacement can be non-finite at a finite argument, or its derivative can."""
    if leaves.get(term) or term.op == "const":
        return False
    row = ops.row(term.op)
    return (row is not None and row.singular) or any(_is_singular(arg, leaves) for arg in term.args)


def _movements(nodes: Sequence[fx.Node], reader: Reader) -> dict[_Movement, fx.Node]:
    """The movements of entries among some nodes, those left out that stand for several."""
    found: dict[_Movement, list[fx.Node]] = {}
    for node in nodes:
        term = reader.terms[node]
        if ops.family(term) == ops.MOVEMENT and node.args and isinstance(node.args[0], fx.Node):
            found.setdefault((term.op, term.attrs), []).append(node)
    return {
        key: listed[0]
        for key, listed in found.items()
        if len({(repr(node.args[1:]), repr(node.kwargs)) for node in listed}) == 1
    }


def _between(root: fx.Node, wanted: set[Term], reader: Reader) -> tuple[list[fx.Node], set[fx.Node]]:
    """The nodes from the root down to those whose terms are wanted, and these."""
    inside: list[fx.Node] = []
    reached: set[fx.Node] = set()
    waiting, seen = list(root.all_input_nodes), {root}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if reader.current[node] in wanted:
            reached.add(node)
        elif node.op.startswith("call"):
            inside.append(node)
            waiting.extend(node.all_input_nodes)
    return inside, reached


def _allows(node: fx.Node, root: fx.Node, reader: Reader) -> bool:
    """Whether a matched node may be left out of the computation of the root."""
    if not pure(node) or node.meta.get(GRAD) != root.meta.get(GRAD):
        return False
    if node is not root and node in reader.written:
        return False
    if node in reader.dropped:
        return False
    term = reader.terms[node]
    if ops.family(term) != ops.CAST or term.op == "contiguous":
        return True
    before, after = (reader.examples.get(n) for n in (node.all_input_nodes[0], node))
    return term.op == "to" and isinstance(after, torch.Tensor) and _alike(before, after)


def _alike(before: Any, after: torch.Tensor) -> bool:
    return isinstance(before, torch.Tensor) and (before.dtype, before.device) == (after.dtype, after.device)


# --- replacing ----------------------------------------------------------------------------------------


def apply(trace: Trace, accepted: Sequence[Plan]) -> tuple[fx.GraphModule, list[Plan]]:
    """The graph with some replacements made, from the outermost; one inside of another falls away with it."""
    graph, new = copied(trace.graph)
    done = [plan for plan in reversed(accepted) if _replace(graph, plan, new)]
    graph.lint()
    return fx.GraphModule(trace.module, graph, trace.module._get_name()), done[::-1]


def copied(graph: fx.Graph) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """A graph of its own with the same nodes, and these by those of the original."""
    result = fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    result.output(result.graph_copy(graph, new))
    for node in new.values():
        node.meta.pop(NAMES, None)  # which refers to the original
    return result, new


def _replace(graph: fx.Graph, plan: Plan, new: Mapping[fx.Node, fx.Node]) -> bool:
    """Make one replacement; False if its root has gone or its term cannot be written as torch calls."""
    root = new[plan.root]
    if root._erased:
        return False

    def find(term: Term) -> fx.Node | None:
        return next((new[node] for node in plan.leaves.get(term, ()) if not new[node]._erased), None)

    def moves(term: Term) -> fx.Node | None:
        model = plan.movements.get((term.op, term.attrs))
        return new[model] if model is not None and not new[model]._erased else None

    with graph.inserting_before(root):
        emitter = Emitter(graph, find, moves)
        try:
            result = emitter.emit(plan.term)
        except NotEmittable:
            result = None
        if not isinstance(result, fx.Node) or (plan.written and result not in emitter.made):
            for node in reversed(emitter.made):
                graph.erase_node(node)
            return False
    for node in emitter.made:
        node.meta = {**root.meta, RULE: plan.match.rule.code}
    root.replace_all_uses_with(result)
    for node in (root, *sorted((new[node] for node in plan.inside), reverse=True)):
        if not node._erased and not node.users and pure(node):
            graph.erase_node(node)
    return True


# --- checking -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Test:
    """Ordinary inputs, and what the graph as it was gives on them."""

    inputs: tuple[Any, ...]
    outcome: Outcome


def _accepted(trace: Trace, offered: Sequence[Plan]) -> list[Plan]:
    """The plans under which the graph computes the same: all of them, or else those that do one by one."""
    tests = list(islice(_tests(trace), _TESTS))
    if not tests or _agrees(trace, offered, tests):
        return list(offered) if tests else []
    accepted: list[Plan] = []
    for plan in reversed(offered):  # the outermost first
        if _agrees(trace, [plan, *accepted], tests):
            accepted.insert(0, plan)
    return accepted


def _tests(trace: Trace) -> Iterator[_Test]:
    """Inputs on which the graph as it is has finite values and gradients."""
    for values in _inputs(trace):
        try:
            inputs, outcome = tried(lambda given: trace.module.forward(*given), values, [trace.module])
        except Exception:
            continue  # these inputs do not fit
        if outcome.finite:
            yield _Test(inputs, outcome)


def _inputs(trace: Trace) -> Iterator[dict[str, Any]]:
    """Ordinary values for the inputs of a graph: like those it was captured with, or made up."""
    given = dict(zip(trace.arguments.names, trace.arguments.tensors, strict=True))
    if all(isinstance(value, torch.Tensor) for value in given.values()):
        yield from ordinary(given)
        return
    for sample in samples(trace.arguments.signature):
        if set(given) <= set(sample):
            yield {name: sample[name] for name in given}


def _agrees(trace: Trace, chosen: Sequence[Plan], tests: Sequence[_Test]) -> bool:
    """Whether the graph with some replacements gives on all tests what it gave without."""
    try:
        module, _ = apply(trace, chosen)
        for test in tests:
            outcome = replay(lambda given: module.forward(*given), test.inputs, [module])
            relative = max(_GUARDED if any(plan.match.guards for plan in chosen) else _CLOSE, _precision(test))
            if difference(test.outcome, outcome, relative, relative / 10, missing_is_zero=True):
                return False
    except Exception:
        return False  # a call that torch does not take is no replacement
    return True


def _precision(test: _Test) -> float:
    """The error that is usual in the dtype of a test."""
    results = (value for value in test.outcome.results if isinstance(value, torch.Tensor))
    return max((16 * torch.finfo(value.dtype).eps for value in results if value.is_floating_point()), default=0.0)
