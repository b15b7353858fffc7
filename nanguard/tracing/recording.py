"""Recording: what one run of a callable computed, as terms, and the places where it did."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import fx

from nanguard.finding import Span
from nanguard.reading.uses import UseTable
from nanguard.site import Site
from nanguard.term import Term, make
from nanguard.tracing.arguments import Arguments
from nanguard.tracing.nodes import Passed, Reader
from nanguard.tracing.places import DIRECT, GRAD, NAMES, SPAN, Sources
from nanguard.tracing.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The graph of a run, with the term and the place of each node.

    `examples` are values of nodes; `uses` says what becomes of the terms; `home` is the path:line of the callable.
    """

    name: str
    graph: fx.Graph
    terms: Mapping[fx.Node, Term]
    sites: tuple[Site, ...]
    uses: UseTable
    arguments: Arguments
    examples: Mapping[fx.Node, Any]
    home: str


@dataclass(frozen=True, slots=True)
class Read:
    """The nodes of a graph, read."""

    terms: Mapping[fx.Node, Term]
    sites: tuple[Site, ...]
    uses: UseTable


def read_nodes(
    graph: fx.Graph, examples: Mapping[fx.Node, Any], sources: Sources, subject: Subject,
    passed: Sequence[Passed] = (), unsure: Collection[fx.Node] = (),
) -> Read:  # fmt: skip
    """The terms and sites of a graph.

    `unsure` are nodes whose arguments hold numbers that are true of one run only.
    """
    reader = Reader(examples, subject.ranges)
    tests: dict[fx.Node, list[Passed]] = {}
    for test in passed:
        tests.setdefault(test.after, []).append(test)
    sites: list[Site] = []
    doubtful: frozenset[Term] = frozenset()
    for node in graph.nodes:
        term = reader.read(node)
        if node in unsure:
            doubtful |= {term}
        if SPAN in node.meta and node.op.startswith("call") and node.target is not torch._C._set_grad_enabled:
            if sites and not node.meta.get(DIRECT, True) and _inner(sites[-1], node):
                sites.pop()  # a step on the way to the value of the expression
            sites.append(_site(node, term, reader, sources, subject.name, doubtful))
        for test in tests.get(node, ()):
            doubtful |= reader.passed(test.node, test.outcome)
    ends = [make("detach", (term,)) for node, term in reader.terms.items() if node.meta.get(GRAD) is False]
    uses = UseTable([*reader.terms.values(), *ends])
    listed = tuple(replace(site, caught=uses.of(site.term).caught) for site in sites)
    return Read(MappingProxyType(reader.terms), listed, uses)


def _inner(site: Site, node: fx.Node) -> bool:
    span: Span = node.meta[SPAN]
    return site.span == span


def _site(
    node: fx.Node, term: Term, reader: Reader, sources: Sources, target: str, doubtful: frozenset[Term]
) -> Site:  # fmt: skip
    span: Span = node.meta[SPAN]
    names: dict[Term, str] = {}
    for name, held in node.meta.get(NAMES, {}).items():
        if held is not node and held in reader.current:
            names[reader.current[held]] = min(names.get(reader.current[held], name), name, key=len)
    waiting, seen = list(node.all_input_nodes), set()
    while waiting:  # the expressions inside this one
        operand = waiting.pop()
        inner = operand.meta.get(SPAN)
        if operand in seen or inner is None or not span.covers(inner) or inner == span:
            continue
        seen.add(operand)
        names.setdefault(reader.current[operand], sources.segment(inner))
        waiting.extend(operand.all_input_nodes)
    kept = {held: name for held, name in names.items() if held.op != "const"}
    return Site(term, span, target, sources.segment(span), kept, doubtful=doubtful)
