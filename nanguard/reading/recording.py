"""Recording: the operations that a file computes, each with its place, and what has been read before.

Every expression that is an operation of the ops table is recorded where it stands, once for each term that it is on
the paths that lead there.
"""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nanguard import ops
from nanguard.floats import HALVES
from nanguard.matching.interval import Interval
from nanguard.ops.names import of_numbers
from nanguard.reading.decisions import Decisions
from nanguard.reading.memory import Known, Memory, relevant
from nanguard.reading.narrowing import chosen, is_mask
from nanguard.reading.scope import Scope
from nanguard.reading.state import Frame, State
from nanguard.reading.values import (
    Class,
    External,
    Function,
    Instance,
    Items,
    Many,
    Value,
    alternatives,
    either,
    opaque,
    to_term,
)
from nanguard.term import UNKNOWN, Attr, Term, make, symbol

_SIMPLE = (ast.Name, ast.Constant)  # quicker to read than to look up
_MANY_STEPS = 4_000  # expressions per target after which paths are joined, and calls followed once at most
_FILE_STEPS = 12_000  # expressions per file after which that is so after few of them
_FEW_STEPS = 1_000
FAR = 3  # what an expression of another file counts for: what is wrong there is found where that file is read itself
MAX_STEPS = 40_000  # expressions per target: a bound on the time that one function can take
_MAX_UNROLL = 4
COMPLEX = "a complex number"  # what is said of exp, log and roots here is of real numbers


class BudgetSpent(Exception):
    """A target has taken as many steps as it may; what was found until then stands."""


@dataclass(frozen=True, slots=True)
class Place:
    """An expression of the file that computes a term, with what was in scope there."""

    node: ast.expr
    term: Term
    target: str
    values: Mapping[ast.expr, Value]
    env: Scope
    path: str
    depth: int  # 0 where the function was read on its own, more where a caller was followed into it


class Recording(Decisions):
    """Evaluates expressions with the help of its subclasses, and records what they compute."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path  # of the file that is read
        self.places: dict[tuple[ast.expr, Term], Place] = {}
        self.turning = False  # the first turn of a loop is being read
        self.begun: set[tuple[ast.expr, Term]] = set()  # the places that such a turn has, and others may have
        self.kin: dict[Term, Term] = {}  # values with alternatives, and what these are worked out from
        self.steps = 0  # expressions that were read for the target at hand; one of another file counts for several
        self.taken = 0  # the same for the targets before
        self.allowed = _MANY_STEPS
        self.cuts = 0  # calls that were not followed
        self.defined: dict[ast.AST, Function] = {}  # functions and lambdas, as they were first met
        self.placed: set[str] = set()  # the functions that have a place
        self.shown: set[Term] = set()  # what is printed or logged
        self.handed: set[Term] = set()  # what goes where reading cannot follow it: into other calls, into attributes
        self.building: list[Instance] = []  # objects whose constructor is being read
        self.writes = 0  # to objects that existed before: what a method gives may change with them
        self.unrepeatable = 0  # times that a result depended on more than can be compared
        self.constants: dict[ast.Constant, Term] = {}
        self.memory = Memory()

    @abstractmethod
    def evaluate(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """The value of an expression."""

    @abstractmethod
    def arithmetic(
        self, sign: ast.operator, left: Value, right: Value, node: ast.expr, state: State, frame: Frame
    ) -> Value:
        """A binary operator on values."""

    @abstractmethod
    def call_function(
        self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], instance: Instance | None,
        state: State, frame: Frame,
    ) -> Value:  # fmt: skip
        """The value that a function of the file returns."""

    @abstractmethod
    def followed(self, value: External) -> Value | None:
        """What a name of another file of the project stands for, None for one of somebody else's."""

    @abstractmethod
    def construct(
        self, cls: Class, args: Sequence[Value], keywords: Mapping[str, Value], state: State, frame: Frame
    ) -> Value:
        """An object of a class of the file."""

    @property
    def hurried(self) -> bool:
        """Whether so much has been read for one target that the rest of it is read in less detail."""
        return self.steps > self.allowed

    def start(self) -> None:
        """Begin another target: the more the file has taken, the less is read in detail for each."""
        self.taken += self.steps
        self.steps = 0
        self.allowed = _MANY_STEPS if self.taken < _FILE_STEPS else _FEW_STEPS

    def worked_out(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """The value of an expression that several paths lead to: read again only where something is different."""
        if self.building or type(node) in _SIMPLE:
            return self.evaluate(node, state, frame)
        names = self.memory.names(node)
        held = [state.env.get(name) for name in names]
        key = (node, state.without_gradient, self.writes, *held)
        known = self.memory.find(key, state.facts)
        if known is not None:
            self.steps += 1
            self.met.update(known.met)
            frame.values.update(known.values)
            state.env.own.update(known.bound)
            return known.value
        before = self.changes(frame)
        outer, frame.values = frame.values, {}
        outside, self.met = self.met, set()
        try:
            value = self.evaluate(node, state, frame)
        finally:
            met, self.met = self.met, outside
            outside.update(met)
        if self.changes(frame) == before:
            env = state.env
            bound = [(name, env[name]) for name, old in zip(names, held, strict=True) if env.get(name) is not old]
            self.memory.keep(key, Known(value, met, relevant(met, state.facts), frame.values, bound))
        outer.update(frame.values)
        frame.values = outer
        return value

    def changes(self, frame: Frame) -> tuple[int, ...]:
        """Counts of what an expression can do beside giving its value; where one grows it has to be read again."""
        return self.cuts, self.writes, self.unrepeatable, len(frame.returns)

    def operation(
        self, name: str, args: Sequence[Value], keywords: Mapping[str, Value], node: ast.expr, state: State,
        frame: Frame,
    ) -> Value | None:  # fmt: skip
        """A call of the ops table, recorded at `node`; None if the table has not got it or takes other arguments."""
        if name not in ops.spellings():
            return None
        if any(isinstance(arg, Term) and arg.op == "opaque" and arg.name == COMPLEX for arg in args):
            return opaque(COMPLEX)
        choices, base = self.choices(args)
        named = {key: _argument(self.look(value, state)) for key, value in keywords.items()}
        results: list[Value] = []
        for taken in choices:
            given = [_argument(self.look(value, state)) for value in taken]
            try:
                term = ops.call(name, given, named)
            except ops.BindError:
                return None
            if term is None:
                return None
            term = chosen(term)
            row = ops.row(term.op)
            if row is not None and not row.pure:  # every draw is another one
                term = opaque(name, (), f"{node.lineno}:{node.col_offset}") if row.range is None else _drawn(term, node)
            if of_numbers(name):
                constant = all(arg.op == "const" for arg in term.args)
                results.append(term if constant else make("detach", (term,)))
                continue
            results.append(self.record(term, node, state, frame))
        result = either(results)
        if base is not None and len(alternatives(to_term(result))) == len(alternatives(base)):
            self.kin[to_term(result)] = base
        return result

    def choices(self, args: Sequence[Value]) -> tuple[list[tuple[Value, ...]], Term | None]:
        """The argument lists that operands of several values stand for: the first few, defaults before other choices.

        Operands that are worked out from the same values are chosen together: ``x - x.amax()`` takes one ``x``.  Gives
        also what the operands are all worked out from, if that is one.
        """
        for value in args:
            if type(value) is Term and value.op == "either":
                break
        else:
            return [tuple(args)], None
        lists: list[tuple[tuple[Value, ...], dict[Term, int]]] = [((), {})]
        for value in args:
            options: tuple[Value, ...] = alternatives(value) if isinstance(value, Term) else (value,)
            if len(options) == 1 or not isinstance(value, Term):
                lists = [((*chosen, options[0]), taken) for chosen, taken in lists]
                continue
            base = self.kin.get(value, value)
            following: list[tuple[tuple[Value, ...], dict[Term, int]]] = []
            for held, taken in lists:
                places = (taken[base],) if base in taken else range(len(options))
                following.extend(((*held, options[place]), {**taken, base: place}) for place in places)
            lists = following[:_MAX_UNROLL]
        bases = {base for _, taken in lists for base in taken}
        return [chosen for chosen, _ in lists], bases.pop() if len(bases) == 1 else None

    def record(self, term: Term, node: ast.expr, state: State, frame: Frame) -> Term:
        """Note that `node` computes `term`."""
        if state.without_gradient and term.op != "const" and not is_mask(term):  # a test has no gradient anyway
            term = make("detach", (term,))
        key = (node, term)
        if key not in self.places or (key in self.begun and not self.turning):  # what is in scope is that of any turn
            (self.begun.add if self.turning else self.begun.discard)(key)
            if frame.snapshot is None:
                frame.snapshot = state.env.copy()
            self.placed.add(frame.qualname)
            self.places[key] = Place(node, term, frame.qualname, frame.values, frame.snapshot, frame.path, frame.depth)
        return term


def _drawn(term: Term, node: ast.expr) -> Term:
    """The random numbers of one place: a symbol with the range of the operation."""
    row = ops.row(term.op)
    interval = row.range() if row is not None and row.range is not None else Interval()
    ends = {"high_open": True} if interval.high_open else {}
    name = f"{term.op} at {node.lineno}:{node.col_offset}"
    return symbol(name, "tensor", low=interval.low, high=interval.high, **ends)


COUNTER = symbol("counter", "size", low=0)  # one of a range of numbers
_DTYPES = {**{name: name for name in (*HALVES, "float64")}, "half": "float16", "double": "float64"}


def _argument(value: Value) -> Attr:
    """A value as the ops table takes it."""
    if type(value) is Items:
        return tuple(_argument(item) for item in value.items)
    if type(value) is Many and value.item is COUNTER:  # tuple(range(1, x.ndim)): dimensions that are not known
        return UNKNOWN
    if isinstance(value, External) and value.name.removeprefix("torch.") in _DTYPES:
        return _DTYPES[value.name.removeprefix("torch.")]
    return to_term(value)
