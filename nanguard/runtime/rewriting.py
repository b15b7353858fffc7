"""Rewrite: put the stable forms of rules into a captured graph, and check that it still computes the same."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import torch
from torch import fx

from nanguard import collector, ops
from nanguard.errors import NanguardError
from nanguard.floats import FORMATS
from nanguard.matching.match import Match, Matcher
from nanguard.matching.rule import Rule, Variant
from nanguard.repair.diagnose import bounds
from nanguard.runtime.emit import Emitter, Movement, NotEmittable
from nanguard.stated import Range
from nanguard.term import Attr, Term, show
from nanguard.tracing.arguments import Arguments
from nanguard.tracing.calls import pure, writes
from nanguard.tracing.inputs import Samples, beyond, far, ordinary
from nanguard.tracing.nodes import Reader
from nanguard.tracing.places import GRAD, NAMES
from nanguard.tracing.replay import Outcome, Run, difference, replay, tried

RULE = "nanguard_rule"  # key of node.meta: the code of the rule that made the node

CLOSE = 1e-4  # relative difference between a naive and a stable form on ordinary inputs in float32
_TESTS = 3
_LARGEST = 200  # nodes of one expression
GUARDED = 1e-2  # the same where the naive form has an epsilon that the stable one has not


_Movement = tuple[str, tuple[tuple[str, Attr], ...]]  # an operation with its attributes


class Graphed(Protocol):
    """A graph that can be rewritten, as `Trace` is one."""

    @property
    def graph(self) -> fx.Graph:
        """The graph."""

    @property
    def module(self) -> fx.GraphModule:
        """What runs it."""

    @property
    def arguments(self) -> Arguments:
        """Its inputs, in the order of its placeholders."""

    @property
    def examples(self) -> Mapping[fx.Node, Any]:
        """Values of nodes, where some are known."""

    @property
    def ranges(self) -> Mapping[str, Range]:
        """The values that the user says its inputs take, by their names."""


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
    clamped: bool = False  # it is the clamped form of the rule

    @property
    def limited(self) -> bool:
        """Whether its form means the same for some values only."""
        return not self.clamped and not self.match.variant.safe

    @property
    def unguards(self) -> bool:
        """Whether it leaves out a guard, on which what comes after may rely."""
        return self.limited or bool(self.match.guards)

    @property
    def pattern(self) -> str:
        """What the rule replaces, in its words: a term of the program may be thousands of operations deep."""
        return show(self.match.variant.match)

    @property
    def form(self) -> str:
        """What the rule puts there, in its words."""
        form = self.match.variant.clamp if self.clamped else self.match.variant.stable
        return show(form) if form is not None else ""


def rewritten(trace: Graphed, matcher: Matcher, form: Form) -> tuple[fx.GraphModule, list[Plan]]:
    """A graph module with the replacements that rules offer in a form, and what was replaced and where, in order.

    A replacement is made only if values and gradients stay the same on ordinary inputs.  `trace` is left as it is.
    """
    with collector.paused():
        offered = plans(trace, matcher, form)
        return _accepted(trace, offered) if offered else (trace.module, [])


# --- what can be replaced -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """Which form of a rule is wanted, and of which rules: those whose codes are in `codes`, all without any."""

    prefer: str
    eps: float | None
    dtype: str
    codes: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.prefer not in ("stable", "clamp"):
            raise NanguardError(f"prefer must be 'stable' or 'clamp', not {self.prefer!r}")
        form = FORMATS[self.dtype]
        if self.eps is not None and not (0 < self.eps < 0.5 and form.round(1 - self.eps) < 1):
            raise NanguardError(
                f"eps={self.eps!r} has no effect in {self.dtype}; the least that has is {form.eps / 2:.2g}"
            )

    def has(self, rule: Rule, variant: Variant) -> bool:
        """Whether a rule is wanted and has a form of this kind."""
        form = variant.stable if self.prefer == "stable" else variant.clamp
        return form is not None and (self.codes is None or rule.code in self.codes)

    def replacement(self, match: Match) -> Term | None:
        """What a match is replaced by, None if the rule has no form of this kind or is not wanted."""
        if not self.has(match.rule, match.variant):
            return None
        if self.prefer == "stable":
            return match.wording(match.variant.stable) if match.variant.stable is not None else None
        if match.variant.clamp is None or match.guards:
            return None
        return match.wording(match.variant.clamp, bounds(match.variant.clamp, self.dtype, self.eps))


def dtype_of(tensors: Iterable[Any]) -> str:
    """The dtype of some inputs, the one of the lowest precision if there are several."""
    found = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors if isinstance(tensor, torch.Tensor)}
    return next((name for name in FORMATS if name in found), "float32")


def plans(trace: Graphed, matcher: Matcher, form: Form) -> list[Plan]:
    """The replacements that can be made in a graph, in its order."""
    planner = Planner(Reader(trace.examples, trace.ranges), matcher, form)
    found = [plan for node in trace.graph.nodes if (plan := planner.read(node)) is not None]
    return [replace(plan, written=plan.root in planner.reader.written) for plan in found]


@dataclass(slots=True)
class Planner:
    """Reads the nodes of a graph in their order, and says what can be replaced at each."""

    reader: Reader
    matcher: Matcher
    form: Form
    holders: dict[Term, list[fx.Node]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Match only what has a form of the wanted kind: most rules have none, and their conditions cost time."""
        index = self.matcher.index.only(lambda known: self.form.has(known.rule, known.variant))
        self.matcher = replace(self.matcher, index=index)

    def read(self, node: fx.Node) -> Plan | None:
        """The replacement that can be made at the next node."""
        reader = self.reader
        term = reader.read(node)
        found = self.plan(node, term) if node.op.startswith("call") and pure(node) else None
        changed = [node] if writes(node) is None else [n for n, now in reader.current.items() if now is term]
        for holder in changed:
            self.holders.setdefault(term, []).append(holder)
        return found

    def plan(self, node: fx.Node, term: Term) -> Plan | None:
        for match in self.matcher.matches(term):
            if not _passes_on(term, self.matcher):
                plan = _plan(match, node, self.form, self.reader, self.holders)
                if plan is not None:
                    return plan
        return None


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
    wanted = _wanted(replacement, match.root, holders, reader)
    inside, reached = _between(root, wanted, reader)
    if len(inside) > _LARGEST or not all(_allows(node, root, reader) for node in (root, *inside)):
        return None
    leaves: dict[Term, tuple[fx.Node, ...]] = {}
    for term, now in wanted.items():
        if len({reader.numbers[node] for node in now}) > 1:  # different values that the table has one name for
            now = [node for node in now if node in reached]
            if len({reader.numbers[node] for node in now}) != 1:
                return None
        leaves[term] = tuple(now)
    if any(_selects(moved) for moved in match.moved) and _is_singular(replacement, leaves):
        return None  # it would be computed for entries that were left out before, whose gradient may be nan
    movements = _movements((root, *inside), reader)
    return Plan(match, root, replacement, leaves, tuple(inside), movements, clamped=form.prefer == "clamp")


def _selects(moved: Term) -> bool:
    row = ops.row(moved.op)
    return row is not None and row.selects


def _wanted(
    replacement: Term, root: Term, holders: Mapping[Term, Sequence[fx.Node]], reader: Reader
) -> dict[Term, list[fx.Node]]:
    """The terms of a replacement down to those that nodes hold, with these nodes."""
    found: dict[Term, list[fx.Node]] = {}
    waiting = [replacement]
    while waiting:
        term = waiting.pop()
        if term in found or term.op == "const":
            continue
        if term is not root:
            found[term] = [node for node in holders.get(term, ()) if reader.current[node] is term]
        if not found.get(term):
            waiting.extend(term.args)
    return found


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


def _between(root: fx.Node, wanted: Container[Term], reader: Reader) -> tuple[list[fx.Node], set[fx.Node]]:
    """The nodes from the root down to those whose terms are wanted, and these."""
    inside: list[fx.Node] = []
    reached: set[fx.Node] = set()
    waiting, seen = list(root.all_input_nodes), {root}
    while waiting and len(inside) <= _LARGEST:
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
    if not node.all_input_nodes:  # torch.tensor(1.0)
        return True
    before, after = (reader.examples.get(n) for n in (node.all_input_nodes[0], node))
    return term.op == "to" and isinstance(after, torch.Tensor) and _alike(before, after)


def _alike(before: Any, after: torch.Tensor) -> bool:
    return isinstance(before, torch.Tensor) and (before.dtype, before.device) == (after.dtype, after.device)


# --- replacing ----------------------------------------------------------------------------------------


def apply(trace: Graphed, accepted: Sequence[Plan]) -> tuple[fx.GraphModule, list[Plan]]:
    """A copy of the graph with some replacements made."""
    graph, new = copied(trace.graph)
    done = replace_in(graph, accepted, new)
    graph.lint()
    return fx.GraphModule(trace.module, graph, trace.module._get_name()), done


def replace_in(graph: fx.Graph, accepted: Sequence[Plan], new: Mapping[fx.Node, fx.Node]) -> list[Plan]:
    """Make replacements in a graph, from the outermost; one inside of another falls away with it.

    `new` has the nodes of the graph by those of the plans.
    """
    return [plan for plan in reversed(accepted) if _replace(graph, plan, new)][::-1]


def copied(graph: fx.Graph) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """A graph of its own with the same nodes, and these by those of the original."""
    result = fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    result.output(result.graph_copy(graph, new))
    result.set_codegen(copy.copy(graph._codegen))  # which takes arguments apart, where they were exported so
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

    def moves(term: Term) -> Movement | None:
        model = plan.movements.get((term.op, term.attrs))
        if model is None or new[model]._erased:
            return None
        return Movement(model.op, model.target, new[model].args[1:], new[model].kwargs)

    with graph.inserting_before(root):
        emitter = Emitter(find, moves, graph=graph)
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
    """Inputs, and what the graph as it was gives on them; on `rough` ones that must merely stay finite."""

    inputs: tuple[Any, ...]
    outcome: Outcome
    rough: bool = False


def _accepted(trace: Graphed, offered: Sequence[Plan]) -> tuple[fx.GraphModule, list[Plan]]:
    """The graph with the plans under which it computes the same: all of them, or else those that do one by one."""
    tests = list(islice(_tests(trace), _TESTS))
    if not tests:
        return apply(trace, [])
    raised = [found for test in tests for found in _raised(trace, test)]
    if raised:
        tests = [*raised, *(replace(test, rough=True) for test in tests)]
    if any(plan.limited for plan in offered):
        tests.extend(_beyond(trace, tests[0]))
    if any(plan.unguards for plan in offered):
        tests.extend(_far(trace, tests[0]))
    accepted: list[Plan] = []
    result: tuple[fx.GraphModule, list[Plan]] | None = None
    groups = [list(offered)]
    while groups:
        group = groups.pop()
        found = _agreeing(trace, [*group, *accepted], tests)
        if found is not None:
            accepted, result = [*group, *accepted], found
        elif len(group) > 1:  # the outermost, which come last, are tried first
            groups.extend((group[: len(group) // 2], group[len(group) // 2 :]))
    return result or apply(trace, [])


def _tests(trace: Graphed) -> Iterator[_Test]:
    """Inputs on which the graph as it is has finite values and gradients.

    They are like those it was captured with, or made up.
    """
    given = dict(zip(trace.arguments.names, trace.arguments.tensors, strict=True))
    made_up = Samples(trace.arguments.signature)
    known = all(isinstance(value, torch.Tensor) for value in given.values())
    for sample in ordinary(given) if known else made_up:
        try:
            values = {name: sample[name] for name in given}
            inputs, outcome = tried(_running(trace, trace.module), values, [trace.module])
        except Exception as error:
            made_up.learn(error)
            continue  # these inputs do not fit
        if outcome.finite:
            yield _Test(inputs, outcome)


def _beyond(trace: Graphed, test: _Test) -> Iterator[_Test]:
    """Tests like one, with inputs of both signs and beyond 1 where the graph is finite and no range was stated.

    A form that holds for some values only may agree on all the inputs that a graph was captured with.
    """
    values = dict(zip(trace.arguments.names, test.inputs, strict=True))
    return _finite(trace, beyond(values, trace.ranges))


def _raised(trace: Graphed, test: _Test) -> Iterator[_Test]:
    """A test of half precision in float32, where a graph takes it.

    A difference in half precision may have lost so many digits that a stable form gives something else.
    """
    if not any(_is_half(value) for value in test.inputs):
        return iter(())
    values = dict(zip(trace.arguments.names, test.inputs, strict=True))
    return _finite(trace, [{name: value.float() if _is_half(value) else value for name, value in values.items()}])


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)


def _dtypes(outcome: Outcome) -> list[torch.dtype | None]:
    return [getattr(value, "dtype", None) for value in outcome.results]


def _far(trace: Graphed, test: _Test) -> Iterator[_Test]:
    """Tests like one, with inputs as large as guards are for."""
    values = dict(zip(trace.arguments.names, test.inputs, strict=True))
    return (replace(found, rough=True) for found in _finite(trace, far(values, trace.ranges)))


def _finite(trace: Graphed, samples: Iterable[Mapping[str, Any]]) -> Iterator[_Test]:
    """The inputs among some on which the graph as it is has finite values and gradients."""
    for sample in samples:
        with suppress(Exception):  # it does not take such values
            inputs, outcome = tried(_running(trace, trace.module), sample, [trace.module])
            if outcome.finite:
                yield _Test(inputs, outcome)


def _running(trace: Graphed, module: fx.GraphModule) -> Run:
    """A module with the graph's inputs, run on other tensors; inputs that are no tensors stay as they were."""
    names = set(trace.arguments.names)
    inputs = [node for node in trace.graph.nodes if node.op == "placeholder"]

    def run(tensors: Sequence[Any]) -> Any:
        given = iter(tensors)
        return module.forward(*(next(given) if node.target in names else trace.examples[node] for node in inputs))

    return run


def _agreeing(
    trace: Graphed, chosen: Sequence[Plan], tests: Sequence[_Test]
) -> tuple[fx.GraphModule, list[Plan]] | None:  # fmt: skip
    """The graph with some replacements, None where it does not give on all tests what it gave without."""
    try:
        module, done = apply(trace, chosen)
        for test in tests:
            outcome = replay(_running(trace, module), test.inputs, [module])
            if test.rough:
                if not outcome.finite or _dtypes(outcome) != _dtypes(test.outcome):
                    return None
                continue
            relative = max(GUARDED if any(plan.match.guards for plan in chosen) else CLOSE, _precision(test))
            if difference(test.outcome, outcome, relative, relative / 10, missing_is_zero=True):
                return None
    except Exception:
        return None  # a call that torch does not take is no replacement
    return module, done


def _precision(test: _Test) -> float:
    """The error that is usual in the dtype of a test."""
    results = (value for value in test.outcome.results if isinstance(value, torch.Tensor))
    return max((16 * torch.finfo(value.dtype).eps for value in results if value.is_floating_point()), default=0.0)
