"""Reading statements: every path of a function, followed without running it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence

from nanguard import ops
from nanguard.reading.expressions import Expressions
from nanguard.reading.project import Project
from nanguard.reading.scope import Scope, star
from nanguard.reading.state import MAX_STATES, Frame, State, join, limit
from nanguard.reading.values import (
    Class,
    External,
    Function,
    TensorMethod,
    Value,
    chosen,
    is_called,
    opaque,
    terms_in,
)
from nanguard.reading.walking import written
from nanguard.term import Term, const, make, walk

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Statements(Expressions):
    """Follows the statements of a file's functions."""

    def __init__(self, project: Project, path: str) -> None:
        super().__init__(path)
        self.project = project
        self.wholes: dict[ast.AugAssign, ast.BinOp] = {}  # what an augmented assignment computes
        self.leaving: list[list[State]] = []  # for each loop that is read, the states at its breaks and continues

    def block(self, body: Sequence[ast.stmt], states: list[State], frame: Frame) -> list[State]:
        """The states after some statements; paths that return or raise have ended."""
        for statement in body:
            following: list[State] = []
            for state in states:
                frame.values = {}
                frame.snapshot = None
                following.extend(self.statement(statement, state, frame))
            states = limit(following, 1 if self.hurried else MAX_STATES)
            if not states:
                break
        return states

    def statement(self, node: ast.stmt, state: State, frame: Frame) -> list[State]:
        """The states after one statement."""
        follow = _STATEMENTS.get(type(node))
        if follow is not None:
            return follow(self, node, state, frame)
        match node:
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self.assign(target, self.worked_out(value, state, frame), state, frame)
            case ast.AugAssign():
                self.augmented(node, state, frame)
            case ast.Raise():
                return []
            case ast.Break() | ast.Continue():  # the path goes on after the turn
                self.leaving[-1].append(state)
                return []
            case ast.Assert(test=test):
                return [branch for outcome, branch in self.decide(test, state, frame) if outcome]
            case ast.Delete(targets=targets):
                for name in targets:
                    if isinstance(name, ast.Name):
                        state.env.own.pop(name.id, None)
            case _:
                self.define(node, state, frame)
        return [state]

    def alone(self, node: ast.Expr, state: State, frame: Frame) -> list[State]:
        """An expression as a statement."""
        value = self.worked_out(node.value, state, frame)
        if isinstance(node.value, ast.Call) and isinstance(value, Term):
            self.dropped(node.value, value, state, frame)
        return [state]

    def dropped(self, node: ast.Call, value: Term, state: State, frame: Frame) -> None:
        """``x.clamp(min=eps)`` as a statement: what it was called on stays as it was."""
        if any(keyword.arg in ("out", "inplace") for keyword in node.keywords):
            return
        called = frame.values.get(node.func)
        before: Value | None = None
        if isinstance(called, TensorMethod) and not called.name.endswith("_"):
            before = called.term
        elif isinstance(called, External) and not called.name.endswith("_") and node.args:
            before = frame.values.get(node.args[0])
        if isinstance(before, Term) and ops.family(value) == ops.ELEMENTWISE:
            self.record(make("dropped", (before, value)), node, state, frame)

    def assignment(self, node: ast.Assign, state: State, frame: Frame) -> list[State]:
        if isinstance(node.value, ast.IfExp) and _unpacks(node.value, node.targets):
            # ``low, high = (x, y) if x < y else (y, x)``: what the test says holds of the pair from here on
            branches = self.decide(node.value.test, state, frame)
            for outcome, branch in branches:
                held = self.worked_out(node.value.body if outcome else node.value.orelse, branch, frame)
                self.assign(node.targets[0], held, branch, frame)
            return [branch for _, branch in branches]
        held = self.worked_out(node.value, state, frame)
        for target in node.targets:
            self.assign(target, held, state, frame)
        return [state]

    def return_(self, node: ast.Return, state: State, frame: Frame) -> list[State]:
        frame.returns.append(self.worked_out(node.value, state, frame) if node.value is not None else const(None))
        return []

    def define(self, node: ast.stmt, state: State, frame: Frame) -> None:
        """Imports, functions and classes."""
        match node:
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.split(".")[0]
                    state.env[alias.asname or top] = External(alias.name if alias.asname else top)
            case ast.ImportFrom(module=module, names=names, level=level):
                origin = "." * level + (module or "")
                for alias in names:
                    if alias.name == "*":
                        state.env[star(state.env)] = External(self.project.absolute(origin, frame.path))
                        continue
                    name = f"{origin}{'' if origin.endswith('.') else '.'}{alias.name}"
                    state.env[alias.asname or alias.name] = External(self.project.absolute(name, frame.path))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                name = _join(frame.qualname, node.name)
                state.env[node.name] = function = Function(node, state.env, name, None, frame.path)
                self.defined.setdefault(node, function)
            case ast.ClassDef():
                state.env[node.name] = self.class_(node, state, frame)

    def class_(self, node: ast.ClassDef, state: State, frame: Frame) -> Class:
        """A class: its constants and its methods, which close over what is around the class."""
        qualname = _join(frame.qualname, node.name)
        bases = tuple(self.base(base, state, frame) for base in node.bases)
        inner = State(Scope({}, state.env), dict(state.facts))
        constants = [part for part in node.body if not isinstance(part, DEFINITIONS)]
        self.block(constants, [inner], Frame(qualname, 0, frame.path))
        members = inner.env.own
        result = Class(node.name, members, bases, node)
        for part in node.body:
            if isinstance(part, DEFINITIONS):
                function = Function(part, state.env, f"{qualname}.{part.name}", result, frame.path)
                members[part.name] = self.defined.setdefault(part, function)
        return result

    def base(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """A base class, looked up in the project where it is another file's."""
        value = self.evaluate(node, state, frame)
        found = self.followed(value) if isinstance(value, External) else None
        return found if found is not None else value

    def augmented(self, node: ast.AugAssign, state: State, frame: Frame) -> None:
        if node not in self.wholes:
            place = ast.copy_location(_loaded(node.target), node.target)
            self.wholes[node] = ast.copy_location(ast.BinOp(place, node.op, node.value), node)
        self.assign(node.target, self.worked_out(self.wholes[node], state, frame), state, frame)

    def branches(self, node: ast.If, state: State, frame: Frame) -> list[State]:
        results: list[State] = []
        made = self.building[-1] if self.building and frame.qualname.endswith("__init__") else None
        kept: dict[str, list[Value]] = {}
        for outcome, branch in self.decide(node.test, state, frame):
            before = dict(made.attrs) if made is not None else {}
            results.extend(self.block(node.body if outcome else node.orelse, [branch], frame))
            for name, value in made.attrs.items() if made is not None else ():
                if is_called(value) and value is not before.get(name):
                    kept.setdefault(name, []).append(value)
        for name, values in kept.items():
            if made is not None and len(values) > 1:  # a module of one branch or of the other
                made.attrs[name] = chosen(values)
        return results

    def loop(self, node: ast.For | ast.AsyncFor, state: State, frame: Frame) -> list[State]:
        """A loop: its body once, with what it carries from turn to turn unknown, and its first turn."""
        item = self.element(self.worked_out(node.iter, state, frame))
        inside = self.carried(node, state)
        if self.begins(inside, state):
            first = state.copy()
            self.assign(node.target, item, first, frame)
            self.first_turn(node, first, frame)
        self.assign(node.target, item, inside, frame)
        return self.after_loop(node, state, inside, frame)

    def while_(self, node: ast.While, state: State, frame: Frame) -> list[State]:
        inside = self.carried(node, state)
        if self.begins(inside, state):
            for branch in [branch for outcome, branch in self.decide(node.test, state.copy(), frame) if outcome][:1]:
                self.first_turn(node, branch, frame)
        entered = [branch for outcome, branch in self.decide(node.test, inside, frame) if outcome]
        if not entered:
            return self.block(node.orelse, [state], frame)
        return self.after_loop(node, state, entered[0], frame)

    def begins(self, inside: State, before: State) -> bool:
        """Whether the first turn of a loop says more than any turn: a tensor goes into it that later turns change.

        A loop inside of one is not begun a second time: that would double the work with each level.
        """
        if self.turning or self.hurried:
            return False
        changed = (name for name, held in inside.env.own.items() if held is not before.env.get(name))
        return any(isinstance(held := before.env.get(name), Term) and held.op != "const" for name in changed)

    def first_turn(self, node: ast.For | ast.AsyncFor | ast.While, state: State, frame: Frame) -> None:
        """The body of a loop with what goes into its first turn, for the places in it alone."""
        self.turning = True
        self.leaving.append([])
        try:
            self.block(node.body, [state], frame)
        finally:
            self.turning = False
            self.leaving.pop()

    def after_loop(
        self, node: ast.For | ast.AsyncFor | ast.While, before: State, inside: State, frame: Frame
    ) -> list[State]:  # fmt: skip
        carried = {name: inside.env.get(name) for name in self.memory.bound(node)}
        self.leaving.append([])
        after = self.block(node.body, [inside], frame)
        after.extend(limit(self.leaving.pop(), 1 if self.hurried else MAX_STATES))
        before = before.copy()
        for name, held in carried.items():
            totals = [totalled(state.env.get(name), held, before.env.get(name)) for state in after]
            known_totals = [total for total in totals if total is not None]
            if known_totals and len(known_totals) == len(totals):
                before.env[name] = known_totals[0]  # the sum over no turn is one of its values
                for state, total in zip(after, known_totals, strict=True):
                    state.env[name] = total
        return self.block(node.orelse, [join([*after, before])], frame)

    def carried(self, node: ast.For | ast.AsyncFor | ast.While, state: State) -> State:
        """The state at the start of any turn: names that the body binds may hold what an earlier turn left."""
        inside = state.copy()
        for name in self.memory.bound(node):
            held = inside.env.get(name)
            if isinstance(held, Term) and held.op != "symbol":
                inside.env[name] = opaque(f"{name} of an earlier turn", tuple(terms_in(held)))
        return inside

    def with_(self, node: ast.With | ast.AsyncWith, state: State, frame: Frame) -> list[State]:
        before = state.without_gradient
        for item in node.items:
            text = written(item.context_expr)
            value = self.worked_out(item.context_expr, state, frame)
            if "no_grad" in text or "inference_mode" in text:
                state.without_gradient = True
            if item.optional_vars is not None:
                self.assign(item.optional_vars, value, state, frame)
        results = self.block(node.body, [state], frame)
        for result in results:
            result.without_gradient = before
        return results

    def try_(self, node: ast.Try | ast.TryStar, state: State, frame: Frame) -> list[State]:
        before = state.copy()
        results = self.block([*node.body, *node.orelse], [state], frame)
        for handler in node.handlers:
            branch = before.copy()
            if handler.name:
                branch.env[handler.name] = opaque("exception")
            results.extend(self.block(handler.body, [branch], frame))
        return self.block(node.finalbody, limit(results), frame) if node.finalbody else results

    def match_(self, node: ast.Match, state: State, frame: Frame) -> list[State]:
        subject = self.worked_out(node.subject, state, frame)
        results: list[State] = []
        for case in node.cases:
            branch = state.copy()
            for part in ast.walk(case.pattern):
                if isinstance(part, ast.MatchAs | ast.MatchStar) and part.name:
                    whole = part is case.pattern and isinstance(part, ast.MatchAs) and part.pattern is None
                    branch.env[part.name] = subject if whole else opaque(part.name, tuple(terms_in(subject)))
            results.extend(self.block(case.body, [branch], frame))
        return [*results, state]


def _unpacks(value: ast.IfExp, targets: Sequence[ast.expr]) -> bool:
    """Whether a conditional gives one tuple or another, which is taken apart at once."""
    sides = (value.body, value.orelse, targets[0])
    return len(targets) == 1 and all(isinstance(side, ast.Tuple) for side in sides)


def totalled(after: Value | None, carried: Value | None, before: Value | None) -> Term | None:
    """What a name that a turn of a loop only adds to holds after the loop: what it held before and a sum.

    None for a name that a turn changes in another way.
    """
    if not (isinstance(after, Term) and isinstance(carried, Term) and isinstance(before, Term)):
        return None
    if carried.op != "opaque" or before.op == "symbol":
        return None
    detached = after.op == "detach"  # without gradients
    added = _added(after.args[0] if detached else after, carried)
    if added is None or any(node is carried for node in walk(added)):
        return None
    whole = make("add", (before, make("sum", (added,), (("dim", 0), ("keepdim", False)))))
    return make("detach", (whole,)) if detached else whole


def _added(after: Term, carried: Term) -> Term | None:
    """What a sum has beside one of its summands, None where that is not in it or is all of it."""
    if after.op != "add":
        return None
    if carried in after.args:
        return after.args[1] if after.args[0] is carried else after.args[0]
    rest = _added(after.args[0], carried)
    return make("add", (rest, after.args[1])) if rest is not None else None


def _loaded(target: ast.expr) -> ast.expr:
    """The left side of an augmented assignment as an expression to evaluate."""
    match target:
        case ast.Name(id=name):
            return ast.Name(name, ast.Load())
        case ast.Attribute(value=value, attr=attr):
            return ast.Attribute(value, attr, ast.Load())
        case ast.Subscript(value=value, slice=part):
            return ast.Subscript(value, part, ast.Load())
    return target


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and prefix != "<module>" else name


_STATEMENTS: Mapping[type[ast.stmt], Callable[..., list[State]]] = {
    ast.Expr: Statements.alone, ast.Assign: Statements.assignment, ast.Return: Statements.return_,
    ast.If: Statements.branches, ast.For: Statements.loop, ast.AsyncFor: Statements.loop,
    ast.While: Statements.while_, ast.With: Statements.with_, ast.AsyncWith: Statements.with_,
    ast.Try: Statements.try_, ast.TryStar: Statements.try_, ast.Match: Statements.match_,
}  # fmt: skip
