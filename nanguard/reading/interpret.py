"""Reading statements and calls: every path of a function, followed without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nanguard import ops
from nanguard.reading.expressions import Expressions, Place
from nanguard.reading.memory import Known, relevant
from nanguard.reading.narrowing import plain_numbers
from nanguard.reading.outline import Outline, outlined
from nanguard.reading.project import Project
from nanguard.reading.scope import Scope
from nanguard.reading.state import MAX_STATES, Frame, State, join, limit
from nanguard.reading.stating import Stating, assumed, stated
from nanguard.reading.values import (
    Class,
    External,
    Function,
    Instance,
    Items,
    Many,
    Table,
    TensorMethod,
    Value,
    content,
    either,
    known,
    opaque,
    option,
    refers,
    terms_in,
)  # fmt: skip
from nanguard.term import Term, const, make, symbol, walk

__all__ = ["Interpreter", "Place"]

_MAX_DEPTH = 8  # calls inside calls that are followed
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_STATIC = (*_DEFINITIONS, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
_SIZES = re.compile(r"(^|_)(num|n|size|sizes|dim|dims|count|length|steps|width|height)(_|$)|^classes$")
_MASKS = ("mask",)
_FUNCTIONS = ("torch.autograd.Function", "torch.autograd.function.Function")
_MODULES = ("torch.nn.Module", "torch.nn.modules.Module", "torch.nn.modules.loss._Loss")


@dataclass(slots=True)
class Followed:
    """Another file of the project: the statements of it that were needed have been read."""

    state: State
    outline: Outline | None
    asked: set[str] = field(default_factory=set)
    read: set[ast.stmt] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Cut:
    """Why calls were not followed, as what was worked out meanwhile depends on it.

    `deep`: there were too many calls around; `outer`: the place, among the functions that are being read, of the
    outermost one that was called again inside of itself.
    """

    deep: bool = False
    outer: int | None = None

    def joined(self, other: Cut) -> Cut:
        """Both."""
        places = [cut.outer for cut in (self, other) if cut.outer is not None]
        return Cut(self.deep or other.deep, min(places) if places else None)

    def seen_from(self, place: int) -> Cut:
        """What of it still counts around the function at a place: that it or one inside of it calls itself does not."""
        return Cut(self.deep, self.outer if self.outer is not None and self.outer < place else None)


class Interpreter(Expressions):
    """Follows the statements of a file's functions."""

    def __init__(self, project: Project, stating: Stating) -> None:
        super().__init__()
        self.project = project
        self.stating = stating
        self.modules: dict[Path, Followed] = {}
        self.objects: dict[Class, Instance] = {}
        self.constructors: set[tuple[Class, ast.AST]] = set()  # the constructors that were read to the end for these
        self.rings: set[Class] = set()  # those whose objects hold what refers to them: no two of these are equal
        self.active: list[ast.AST] = []
        self.cut = Cut()  # of the calls in the function at hand
        self.wholes: dict[ast.AugAssign, ast.BinOp] = {}  # what an augmented assignment computes
        self.ended: list[Scope] = []  # the names of files that were read to their end
        self.entered: set[ast.AST] = set()  # functions that were read
        self.returned: set[Term] = set()  # what targets give back: a use that no term of the file shows

    # --- statements --------------------------------------------------------------------------------------------------

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
            case ast.Raise() | ast.Break() | ast.Continue():
                return [] if isinstance(node, ast.Raise) else [state]
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
        constants = [part for part in node.body if not isinstance(part, _DEFINITIONS)]
        self.block(constants, [inner], Frame(qualname, 0, frame.path))
        members = inner.env.own
        result = Class(node.name, members, bases, node)
        for part in node.body:
            if isinstance(part, _DEFINITIONS):
                function = Function(part, state.env, f"{qualname}.{part.name}", result, frame.path)
                members[part.name] = self.defined.setdefault(part, function)
        return result

    def base(self, node: ast.expr, state: State, frame: Frame) -> Value:
        """A base class, looked up in the project where it is another file's."""
        value = self.evaluate(node, state, frame)
        found = self.followed(value) if isinstance(value, External) else None
        return found if found is not None else value

    def followed(self, value: External) -> Value | None:
        found = self.project.find(value.name)
        for _ in range(4):  # a package that hands on what another of its files defines
            if found is None or not found[1]:
                return None
            held: Value | None = self.module(found[0], found[1][0]).get(found[1][0])
            for part in found[1][1:]:
                held = held.find(part) if isinstance(held, Class) else None
            if not isinstance(held, External):
                return held
            found = self.project.find(held.name)
        return None

    def module(self, path: Path, name: str) -> Scope:
        """The names of another file of the project, with the wanted one and those that it uses among them."""
        if path not in self.modules:
            outline = outlined(path) if self.project.tree(path) is not None else None
            self.modules[path] = Followed(State(Scope({})), outline)
            self.ended.append(self.modules[path].state.env)
        followed = self.modules[path]
        if followed.outline is None or name in followed.asked:
            return followed.state.env
        followed.asked.add(name)
        needed = followed.outline.needed(name) - followed.read
        followed.read |= needed
        held, self.active = self.active, []
        cut, cuts = self.cut, self.cuts
        shown = self.project.shown(path)
        try:
            for node in followed.outline.tree.body if needed else ():
                if node in needed and isinstance(node, _STATIC):
                    self.statement(node, followed.state, Frame("<module>", 0, shown))
        finally:
            self.active, self.cut, self.cuts = held, cut, cuts
        return followed.state.env

    def augmented(self, node: ast.AugAssign, state: State, frame: Frame) -> None:
        if node not in self.wholes:
            place = ast.copy_location(_loaded(node.target), node.target)
            self.wholes[node] = ast.copy_location(ast.BinOp(place, node.op, node.value), node)
        self.assign(node.target, self.worked_out(self.wholes[node], state, frame), state, frame)

    def branches(self, node: ast.If, state: State, frame: Frame) -> list[State]:
        results: list[State] = []
        for outcome, branch in self.decide(node.test, state, frame):
            results.extend(self.block(node.body if outcome else node.orelse, [branch], frame))
        return results

    def loop(self, node: ast.For | ast.AsyncFor, state: State, frame: Frame) -> list[State]:
        """A loop: its body once, with what it carries from turn to turn unknown."""
        item = self.element(self.worked_out(node.iter, state, frame))
        inside = self.carried(node, state)
        self.assign(node.target, item, inside, frame)
        return self.after_loop(node, state, inside, frame)

    def while_(self, node: ast.While, state: State, frame: Frame) -> list[State]:
        inside = self.carried(node, state)
        entered = [branch for outcome, branch in self.decide(node.test, inside, frame) if outcome]
        if not entered:
            return self.block(node.orelse, [state], frame)
        return self.after_loop(node, state, entered[0], frame)

    def after_loop(
        self, node: ast.For | ast.AsyncFor | ast.While, before: State, inside: State, frame: Frame
    ) -> list[State]:  # fmt: skip
        carried = {name: inside.env.get(name) for name in self.memory.bound(node)}
        after = self.block(node.body, [inside], frame)
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
            text = ast.unparse(item.context_expr)
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

    # --- calls -------------------------------------------------------------------------------------------------------

    def call_function(
        self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], instance: Instance | None,
        state: State, frame: Frame,
    ) -> Value:  # fmt: skip
        if frame.depth >= self.deepest or function.node in self.active:
            self.cuts += 1
            self.cut = self.cut.joined(Cut(frame.depth >= self.deepest, _place(function.node, self.active)))
            held = [term for value in (*args, *keywords.values()) for term in terms_in(value)]
            return opaque(function.qualname, tuple(held))
        if instance is not None and not isinstance(function.node, ast.Lambda):
            args = (instance, *args)
        if not self.settled(function.closure):  # what is around it may still change
            self.unrepeatable += 1
            return self.follow(function, args, keywords, state, frame)
        work = partial(self.follow, function, args, keywords, state, frame)
        if instance in self.building:  # its attributes change with each statement
            return work()
        return self.remembered((function.node, *_given(args, keywords)), work, state, frame)

    def remembered(self, given: tuple[object, ...], work: Callable[[], Value], state: State, frame: Frame) -> Value:
        """What a call gives, worked out where it is not known from one that was given the same."""
        most = self.deepest
        key = (state.without_gradient, self.writes, *given)
        known = self.memory.find(key, state.facts)
        if known is not None:
            self.met.update(known.met)
            return known.value
        known = self.memory.find((key, frame.depth, most), state.facts)
        if known is not None:
            self.met.update(known.met)
            self.cuts += 1
            self.cut = self.cut.joined(Cut(deep=True))
            return known.value
        before, unrepeatable = (self.cuts, self.writes), self.unrepeatable
        outside, self.met = self.met, set()
        around, self.cut = self.cut, Cut()
        try:
            result = work()
        finally:
            met, self.met = self.met, outside
            outside.update(met)
            cut, self.cut = self.cut.seen_from(len(self.active)), around
            self.cut = around.joined(cut)
        if cut.outer is None and self.writes == before[1]:
            found = Known(result, met, relevant(met, state.facts))
            self.memory.keep((key, frame.depth, most) if cut.deep else key, found)
            self.unrepeatable = unrepeatable  # the functions inside of it are its own
            if not cut.deep:
                self.cuts = before[0]
        return result

    @property
    def deepest(self) -> int:
        """How many calls inside calls are followed."""
        return 1 if self.hurried else _MAX_DEPTH

    def follow(
        self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], state: State, frame: Frame
    ) -> Value:  # fmt: skip
        """Read a function with the arguments of a call."""
        inner = State(Scope({}, function.closure), dict(state.facts), state.without_gradient)
        self.bind(function, args, keywords, inner, frame)
        return self.run(function, inner, frame.depth + 1)

    def settled(self, closure: Scope) -> bool:
        """Whether names are those of a file that was read to its end."""
        return any(closure is names for names in self.ended)

    def run(self, function: Function, state: State, depth: int) -> Value:
        """The value that a function returns from a state with its arguments bound."""
        frame = Frame(function.qualname, depth, function.path)
        if function.owner is not None:
            state.env["__class__"] = function.owner
        self.active.append(function.node)
        self.entered.add(function.node)
        try:
            if isinstance(function.node, ast.Lambda):
                return self.evaluate(function.node.body, state, frame)
            if function.decorated("no_grad", "inference_mode") or _never_differentiated(function):
                state.without_gradient = True
            self.block(function.node.body, [state], frame)
        finally:
            self.active.pop()
        result = either(frame.returns) if frame.returns else const(None)
        if depth == 0:
            self.returned.update(terms_in(result))
        return result

    def bind(
        self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], state: State, frame: Frame
    ) -> None:
        """Bind the arguments of a call; a parameter that gets none has its default."""
        spec = function.node.args
        positional = [*spec.posonlyargs, *spec.args]
        defaults = _defaults(spec)
        given: dict[str, Value] = dict(zip((arg.arg for arg in positional), args, strict=False))
        names = {arg.arg for arg in (*positional, *spec.kwonlyargs)}
        ranges = self.stating.of(function)
        given.update({key: value for key, value in keywords.items() if key in names})
        for arg in (*positional, *spec.kwonlyargs):
            if arg.arg in given:
                state.env[arg.arg] = assumed(given[arg.arg], ranges.get(arg.arg))
            elif arg.arg in defaults:
                state.env[arg.arg] = self.evaluate(defaults[arg.arg], State(function.closure), frame)
            else:
                state.env[arg.arg] = stated(parameter(arg, None, "tensor"), ranges.get(arg.arg))
        if spec.vararg is not None:
            state.env[spec.vararg.arg] = Items(tuple(args[len(positional) :]))
        if spec.kwarg is not None:
            state.env[spec.kwarg.arg] = Table({key: held for key, held in keywords.items() if key not in names})

    def construct(
        self, cls: Class, args: Sequence[Value], keywords: Mapping[str, Value], state: State, frame: Frame
    ) -> Value:
        self.unrepeatable += 1  # each time it is another object
        init = cls.find("__init__")
        if not isinstance(init, Function):
            instance = Instance(cls, place=str(self.unrepeatable))
            self.fields(cls, instance, args, keywords)
            return instance
        inside = any(value is held for value in (*args, *keywords.values()) for held in self.building)
        if inside or cls in self.rings or not self.settled(init.closure):
            return self.constructed(cls, init, args, keywords, state, frame)
        work = partial(self.constructed, cls, init, args, keywords, state, frame)
        made = self.remembered((cls, *_given(args, keywords)), work, state, frame)
        assert isinstance(made, Instance)
        return made.twin(str(self.unrepeatable)) if made.made is not None else made

    def constructed(
        self, cls: Class, init: Function, args: Sequence[Value], keywords: Mapping[str, Value], state: State,
        frame: Frame,
    ) -> Instance:  # fmt: skip
        """An object, for which its constructor is read."""
        instance = Instance(cls, place=str(self.unrepeatable))
        self.building.append(instance)
        self.call_function(init, args, keywords, instance, state, frame)
        self.building.remove(instance)
        if refers(instance, instance):
            self.rings.add(cls)
        else:
            instance.made = instance
        return instance

    def fields(self, cls: Class, instance: Instance, args: Sequence[Value], keywords: Mapping[str, Value]) -> None:
        """The fields of a dataclass: annotated names of its body."""
        names = [
            part.target.id
            for owner in reversed(cls.order())
            for part in owner.node.body
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
        ]
        instance.attrs.update(zip(names, args, strict=False))
        instance.attrs.update({key: value for key, value in keywords.items() if key in names})

    # --- targets: functions read on their own ------------------------------------------------------------------------

    def target(self, function: Function, instance: Instance | None, plain: str = "tensor") -> Value:
        """Read a function with arguments of which only names, annotations and defaults are known.

        `plain` is what an argument of which nothing is known is taken for: a constructor's is a number.
        """
        spec = function.node.args
        state = State(Scope({}, function.closure))
        frame = Frame(function.qualname, 0, function.path)
        defaults, ranges = _defaults(spec), self.stating.of(function)
        numbers = plain_numbers(function.node) - set(ranges)
        for arg in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs):
            default = self.evaluate(defaults[arg.arg], State(function.closure), frame) if arg.arg in defaults else None
            module = self.annotated(arg, function) if default is None else None
            known_of = module or parameter(arg, default, "number" if arg.arg in numbers else plain)
            state.env[arg.arg] = stated(known_of, ranges.get(arg.arg))
        first = [*spec.posonlyargs, *spec.args][:1]
        if instance is not None and first:
            state.env[first[0].arg] = instance
        if spec.vararg is not None:
            state.env[spec.vararg.arg] = Many(symbol(spec.vararg.arg))
        if spec.kwarg is not None:
            state.env[spec.kwarg.arg] = Table({})
        return self.run(function, state, 0)

    def annotated(self, arg: ast.arg, function: Function) -> Instance | None:
        """The object that a parameter is whose annotation names a class of the file that can be called: a model."""
        if arg.annotation is None or function.node in self.active:
            return None
        match arg.annotation:
            case ast.Name(id=name) | ast.Constant(value=str() as name):
                cls = function.closure.get(name)
            case _:
                return None
        called = isinstance(cls, Class) and (cls.find("forward") or cls.find("__call__"))
        return self.object_of(cls) if isinstance(cls, Class) and isinstance(called, Function) else None

    def object_of(self, cls: Class) -> Instance:
        """The object whose methods are read: built by its constructor from what is known of its arguments."""
        if cls not in self.objects:
            instance = Instance(cls)
            self.objects[cls] = instance
            init = cls.find("__init__")
            if isinstance(init, Function):
                self.building.append(instance)
                self.target(init, instance, plain="number")
                self.building.remove(instance)
                self.constructors.add((cls, init.node))
        return self.objects[cls]


def _given(args: Sequence[Value], keywords: Mapping[str, Value]) -> tuple[object, ...]:
    """The arguments of a call as what makes it equal to another one."""
    return tuple(map(content, args)), tuple((key, content(value)) for key, value in keywords.items())


def _place(function: ast.AST, active: Sequence[ast.AST]) -> int | None:
    """Where a function stands among those that are being read, None for one that is not."""
    return active.index(function) if function in active else None


def _never_differentiated(function: Function) -> bool:
    """Whether no gradient goes through a function whoever calls it.

    It is of an autograd function, which says itself what its gradient is, or the constructor of a module: what that
    works out becomes a parameter, a buffer or a setting.
    """
    owner = function.owner
    if owner is None:
        return False
    bases = [base.name for cls in owner.order() for base in cls.bases if isinstance(base, External)]
    constructs = getattr(function.node, "name", "") == "__init__"
    return any(base in _FUNCTIONS or (constructs and base in _MODULES) for base in bases)


def totalled(after: Value | None, carried: Value | None, before: Value | None) -> Term | None:
    """What a name that a turn of a loop only adds to holds after the loop: what it held before and a sum.

    None for a name that a turn changes in another way.
    """
    if not (isinstance(after, Term) and isinstance(carried, Term) and isinstance(before, Term)):
        return None
    if after.op != "add" or carried.op != "opaque" or carried not in after.args or before.op == "symbol":
        return None
    added = after.args[1] if after.args[0] is carried else after.args[0]
    if any(node is carried for node in walk(added)):
        return None
    return make("add", (before, make("sum", (added,), (("dim", 0), ("keepdim", False)))))


def parameter(arg: ast.arg, default: Value | None, plain: str) -> Value:
    """What is known of a parameter from its name, its annotation and its default; else it is a `plain` symbol."""
    name = arg.arg
    annotation = ast.unparse(arg.annotation) if arg.annotation is not None else ""
    kind = kind_of(name, annotation, plain)
    constant = known(default) if default is not None else None
    if constant is not None:
        if isinstance(constant.value, int | float) and not isinstance(constant.value, bool):
            return constant
        return option(name, constant.value, kind)
    if default is not None:
        return default
    words = _words(annotation)
    if words & {"bool", "str"}:
        return option(name, False if "bool" in words else "?")
    if words & {"list", "List", "Sequence", "tuple", "Tuple", "Iterable"} and "Tensor" in words:
        return Many(symbol(name))
    return symbol(name, kind)


def kind_of(name: str, annotation: str, plain: str) -> str:
    """The kind of symbol for a parameter: what its annotation says, else what its name does."""
    words = _words(annotation)
    if "Tensor" in words or "ndarray" in words:
        return "mask" if any(word in name.lower() for word in _MASKS) else "tensor"
    if "int" in words and "float" not in words:
        return "size"
    if "float" in words:
        return "number"
    if not annotation and _SIZES.search(name.lower()):
        return "size"
    if any(word in name.lower() for word in _MASKS):
        return "mask"
    return plain if not annotation else "tensor"


def _words(annotation: str) -> set[str]:
    """The identifiers of an annotation."""
    return set(re.findall(r"\w+", annotation))


def _defaults(spec: ast.arguments) -> dict[str, ast.expr]:
    """The defaults by the names of the parameters."""
    positional = [*spec.posonlyargs, *spec.args]
    result = dict(
        zip((arg.arg for arg in positional[len(positional) - len(spec.defaults) :]), spec.defaults, strict=True)
    )
    for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        if default is not None:
            result[arg.arg] = default
    return result


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
    ast.Expr: Interpreter.alone, ast.Assign: Interpreter.assignment, ast.Return: Interpreter.return_,
    ast.If: Interpreter.branches, ast.For: Interpreter.loop, ast.AsyncFor: Interpreter.loop,
    ast.While: Interpreter.while_, ast.With: Interpreter.with_, ast.AsyncWith: Interpreter.with_,
    ast.Try: Interpreter.try_, ast.TryStar: Interpreter.try_, ast.Match: Interpreter.match_,
}  # fmt: skip
