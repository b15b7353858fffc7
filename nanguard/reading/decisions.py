"""Decisions: the ways in which a test can go, each with what is known then."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Sequence

from nanguard.reading.narrowing import Questions, as_test, implied, narrow, of_every_entry, without_facts
from nanguard.reading.state import Frame, State
from nanguard.reading.values import Items, Value, alternatives, either, is_option, known, not_none
from nanguard.term import Term, const, make


class Decisions(ABC):
    """Follows both sides of a test that is not known, and remembers what it decided."""

    def __init__(self) -> None:
        self.met: set[Term] = set()  # the terms about which it was asked what has been decided
        self.questions = Questions()
        self.chains: dict[ast.Compare, list[ast.expr]] = {}  # ``0 < x < 1`` as the comparisons that it is made of

    @abstractmethod
    def worked_out(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """The value of an expression."""

    @abstractmethod
    def comparing(self, node: ast.Compare, left: Value, rights: list[Value], state: State, frame: Frame) -> Value:
        """The value of a comparison of values."""

    def look(self, value: Value, state: State) -> Value:
        """The value, or what a test has decided that it is."""
        if type(value) is not Term:
            return value
        self.met.add(value)
        decided = state.facts.get(value)
        return value if decided is None or isinstance(decided, bool) else decided

    def option_open(self, value: Value, state: State) -> bool:
        """Whether the value is an option that no test has decided yet."""
        return is_option(value) and self.look(value, state) is value

    def decide(self, test: ast.expr, state: State, frame: Frame) -> list[tuple[bool, State]]:
        """The ways a test can go, each with what is known then."""
        match test:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return [(not outcome, branch) for outcome, branch in self.decide(operand, state, frame)]
            case ast.Call(func=ast.Name(id="bool"), args=[operand], keywords=[]):
                return self.decide(operand, state, frame)
            case ast.BoolOp(op=ast.And(), values=parts):
                return self.connected(parts, False, state, frame)
            case ast.BoolOp(op=ast.Or(), values=parts):
                return self.connected(parts, True, state, frame)
            case ast.Compare(left=left, ops=[sign], comparators=[right]):
                return self.compared(test, left, sign, right, state, frame)
            case ast.Compare():
                return self.connected(self.links(test), False, state, frame)
        value = self.worked_out(test, state, frame)
        if self.option_open(value, state):
            return self.truth_of_option(value, state)
        return self.split(value, state)

    def links(self, test: ast.Compare) -> list[ast.expr]:
        """The comparisons of a chain of them, each of which has to hold."""
        if test not in self.chains:
            sides = [test.left, *test.comparators]
            links = zip(sides, test.ops, sides[1:], strict=False)
            self.chains[test] = [
                ast.copy_location(ast.Compare(left, [sign], [right]), test) for left, sign, right in links
            ]
        return self.chains[test]

    def connected(
        self, parts: list[ast.expr], ends: bool, state: State, frame: Frame
    ) -> list[tuple[bool, State]]:  # fmt: skip
        """``and`` (ends at the first False) and ``or`` (ends at the first True)."""
        open_states, closed = [state], []
        for part in parts:
            following = []
            for current in open_states:
                for outcome, branch in self.decide(part, current, frame):
                    if outcome is ends:
                        closed.append((ends, branch))
                    else:
                        following.append(branch)
            open_states = following[:4]
        return [*closed[:4], *((not ends, branch) for branch in open_states)]

    def truth_of_option(self, value: Value, state: State) -> list[tuple[bool, State]]:
        """``if weight:`` for an option: its default first, the other way after it."""
        assert isinstance(value, Term)
        default = bool(value.attr("default"))
        results = []
        for outcome in (default, not default):
            branch = state.copy()
            branch.facts[value] = _chosen(value, outcome)
            results.append((outcome, branch))
        return results

    def compared(
        self, test: ast.Compare, left: ast.expr, sign: ast.cmpop, right: ast.expr, state: State, frame: Frame
    ) -> list[tuple[bool, State]]:
        """A test with one comparison."""
        value = self.worked_out(left, state, frame)
        other = self.worked_out(right, state, frame)
        constant = known(other)
        if isinstance(sign, ast.Is | ast.IsNot | ast.Eq | ast.NotEq) and constant is not None:
            positive = isinstance(sign, ast.Is | ast.Eq)
            if self.option_open(value, state):
                return self.option_is(value, constant, positive, state)
            if isinstance(sign, ast.Is | ast.IsNot) or constant.value is None:
                held = known(value)
                if held is not None:
                    return [((held.value is constant.value) == positive, state)]
                if constant.value is None:
                    return self.may_be_none(value, positive, state)
        if isinstance(sign, ast.In | ast.NotIn):
            return self.contained(value, other, isinstance(sign, ast.In), state)
        result = self.look(self.comparing(test, value, [other], state, frame), state)
        frame.values[test] = result
        return self.split(result, state)

    def may_be_none(self, value: Value, positive: bool, state: State) -> list[tuple[bool, State]]:
        """``value is None``: both ways where None is among what it may be."""
        parts = alternatives(value) if isinstance(value, Term) else ()
        rest: list[Value] = [part for part in parts if part != const(None)]
        if len(rest) == len(parts):
            return [(not positive, state)]
        assert isinstance(value, Term)
        same, other = state.copy(), state.copy()
        same.facts[value], other.facts[value] = const(None), either(rest)
        return [(positive, same), (not positive, other)]

    def contained(self, value: Value, other: Value, positive: bool, state: State) -> list[tuple[bool, State]]:
        held = known(value)
        if isinstance(other, Items) and all(known(item) is not None for item in other.items):
            if held is not None:
                return [((held in other.items) == positive, state)]
            if is_option(value) and isinstance(value, Term) and const(value.attr("default")) in other.items:
                return [(positive, state)]
        return [(True, state.copy()), (False, state.copy())]

    def option_is(self, value: Value, constant: Term, positive: bool, state: State) -> list[tuple[bool, State]]:
        """A test of an option against a constant: both ways, unless it was excluded before."""
        assert isinstance(value, Term)
        same, other = state.copy(), state.copy()
        same.facts[value] = constant
        excluded = make("eq", (value, constant))
        self.met.add(excluded)
        if state.facts.get(excluded) is False:
            return [(not positive, state)]
        other.facts[excluded] = False
        if constant.value is None:
            other.facts[value] = not_none(value)
        results = [(positive, same), (not positive, other)]
        return results if constant.value == value.attr("default") else results[::-1]

    def split(self, value: Value, state: State) -> list[tuple[bool, State]]:
        """Both ways of a test on a value, narrowed by what it says; one way if it is known."""
        constant = known(value)
        if constant is not None:
            return [(bool(constant.value), state)]
        if not isinstance(value, Term):
            truth = bool(value.items) if isinstance(value, Items) else True
            return [(truth, state)]
        self.met.add(value)
        decided = state.facts.get(value)
        if isinstance(decided, bool):
            return [(decided, state)]
        results = []
        for outcome in (True, False):
            branch = state.copy()
            branch.facts[value] = outcome
            self.narrow_names(value, outcome, branch)
            results.append((outcome, branch))
        return results

    def narrow_names(self, test: Term, outcome: bool, state: State) -> None:
        """Narrow what the names of a state stand for by a test that went `outcome`, and what it has computed itself."""
        if test.op == "opaque" and test.name == "requires_grad" and test.args and not outcome:
            for name, held in state.env.local():
                if held is test.args[0]:
                    state.env[name] = make("detach", (held,))
            return
        for subject in self.questions.asked(test).found_finite(outcome):
            for name, held in state.env.local():
                if held is subject:
                    state.env[name] = make("assume", (held,), (("finite", True),))
        for term, narrowed in implied(test, outcome):
            state.facts.setdefault(term, narrowed)
        inner, truth = of_every_entry(as_test(test), outcome)
        if inner is None:
            return
        compared = self.questions.asked(inner).subjects
        if not compared:
            return
        for name, held in state.env.local():
            if type(held) is Term and (held if held.op != "assume" else without_facts(held)) in compared:
                state.env[name] = narrow(held, inner, truth)
            elif type(held) is Term and held.op == inner.op == "either" and not compared.isdisjoint(held.args):
                state.env[name] = either([_each_by_its_own(part, inner.args, truth) for part in held.args])
        for subject in compared:
            if subject.args and subject.op != "opaque" and subject not in state.facts:
                narrowed = _each_by_its_own(subject, inner.args if inner.op == "either" else (inner,), truth)
                if narrowed is not subject:  # ``if x.abs() < 1: return`` holds of the next x.abs() too
                    state.facts[subject] = narrowed


def _each_by_its_own(part: Term, tests: Sequence[Term], outcome: bool) -> Term:
    """An alternative of a value, narrowed by the alternative of a test that was worked out of it."""
    for test in tests:
        part = narrow(part, test, outcome)
    return part


def _chosen(value: Term, outcome: bool) -> Value:
    """What an option is when a test of its truth went `outcome`."""
    default = value.attr("default")
    if isinstance(default, bool):
        return const(outcome)
    if outcome:
        return const(default) if default else not_none(value)
    return const(default) if not default else const(None)
