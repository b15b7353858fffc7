"""Reading calls and targets: functions of the file and of its project, with what they are called with."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nanguard.reading.memory import Known, Memory, relevant
from nanguard.reading.narrowing import plain_numbers
from nanguard.reading.outline import Outline, outlined
from nanguard.reading.parameters import defaults_of, is_raw, parameter
from nanguard.reading.project import Project
from nanguard.reading.scope import Scope
from nanguard.reading.state import Frame, State
from nanguard.reading.statements import DEFINITIONS, Statements
from nanguard.reading.stating import Stating, assumed, stated
from nanguard.reading.values import (
    Class,
    External,
    Function,
    Instance,
    Items,
    Many,
    Table,
    Value,
    content,
    either,
    opaque,
    refers,
    terms_in,
)
from nanguard.term import Term, const, symbol

_MAX_DEPTH = 8  # calls inside calls that are followed
_STATIC = (*DEFINITIONS, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
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


class Interpreter(Statements):
    """Follows the calls of a file's functions into them."""

    def __init__(self, project: Project, stating: Stating) -> None:
        super().__init__(project, stating.path)
        self.stating = stating
        self.modules: dict[Path, Followed] = {}
        self.leads: dict[str, Value | None] = {}  # what names of other files stand for
        self.objects: dict[Class, Instance] = {}
        self.constructors: set[tuple[Class, ast.AST]] = set()  # the constructors that were read to the end for these
        self.rings: set[Class] = set()  # those whose objects hold what refers to them: no two of these are equal
        self.active: list[ast.AST] = []
        self.cut = Cut()  # of the calls in the function at hand
        self.ended: list[Scope] = []  # the names of files that were read to their end
        self.entered: set[ast.AST] = set()  # functions that were read
        self.returned: set[Term] = set()  # what targets give back: a use that no term of the file shows

    def call_function(
        self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], instance: Instance | None,
        state: State, frame: Frame,
    ) -> Value:  # fmt: skip
        if frame.depth >= self.deepest or function.node in self.active:
            self.cuts += 1
            self.cut = self.cut.joined(Cut(frame.depth >= self.deepest, _place(function.node, self.active)))
            held = [term for value in (*args, *keywords.values()) for term in terms_in(value)]
            return opaque(function.qualname, tuple(held))
        if _left_open(function):
            held = [term for value in (*args, *keywords.values()) for term in terms_in(value)]
            self.handed.update(held)
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
        defaults = defaults_of(spec)
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
        if inside or cls in self.rings or not self.settled(init.closure) or frame.depth >= self.deepest:
            return self.constructed(Instance(cls, place=str(self.unrepeatable)), init, args, keywords, state, frame)
        self.met.update(state.facts)  # whatever has been decided may count when the constructor is read
        then = State(Scope({}), dict(state.facts), state.without_gradient)
        place = Frame(frame.qualname, frame.depth, frame.path)
        build = partial(self.built_of, init, args, keywords, then, place, (list(self.active), self.writes))
        return Instance(cls, place=str(self.unrepeatable), build=build, given=(*args, *keywords.values()))

    def built_of(
        self, init: Function, args: Sequence[Value], keywords: Mapping[str, Value], state: State, frame: Frame,
        around: tuple[list[ast.AST], int], instance: Instance,
    ) -> Instance:  # fmt: skip
        """An object that was made some time ago, or one that it is equal to, as its constructor makes it."""
        with self.elsewhere(*around):
            if instance.cls not in self.rings:
                other = Instance(instance.cls, place=instance.place)
                work = partial(self.constructed, other, init, args, keywords, state, frame)
                made = self.remembered((instance.cls, *_given(args, keywords)), work, state, frame)
                if instance.cls not in self.rings and isinstance(made, Instance):
                    return made
            return self.constructed(instance, init, args, keywords, state, frame)

    @contextmanager
    def elsewhere(self, active: list[ast.AST], writes: int) -> Iterator[None]:
        """Read something that is none of what is being read: what it takes and meets does not count there.

        `active` are the functions that were being read, and `writes` how much had been written, where it belongs.
        """
        later, self.writes = self.writes - writes, writes
        held, self.active = self.active, active
        met, self.met = self.met, set()
        building, self.building = self.building, []
        cut, cuts, self.cut = self.cut, self.cuts, Cut()
        try:
            yield
        finally:
            self.active, self.met, self.building = held, met, building
            deep = self.cut.deep
            self.cut, self.cuts = cut.joined(Cut(deep)), cuts + deep
            self.writes += later

    def constructed(
        self, instance: Instance, init: Function, args: Sequence[Value], keywords: Mapping[str, Value], state: State,
        frame: Frame,
    ) -> Instance:  # fmt: skip
        """An object, for which its constructor is read."""
        self.building.append(instance)
        self.call_function(init, args, keywords, instance, state, frame)
        self.building.remove(instance)
        if refers(instance, instance):
            self.rings.add(instance.cls)
        else:
            instance.equal = instance
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

    def close(self) -> None:
        """Forget what is needed for reading alone; objects that were never looked into still refer to this."""
        self.objects.clear()
        self.memory = Memory()
        self.places.clear()
        self.begun.clear()

    # --- other files of the project ----------------------------------------------------------------------------------

    def followed(self, value: External) -> Value | None:
        name = value.name
        if name not in self.leads:
            found = self.looked_up(name)
            if found is None and self.project.find(name) is not None:
                return None  # it may be known later: a file that is being read leads back to itself
            self.leads[name] = found
        return self.leads[name]

    def looked_up(self, name: str) -> Value | None:
        """The same, looked up in the project."""
        found = self.project.find(name)
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
            outline = outlined(path) if self.project.may_follow(path) else None
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
            for node in sorted(needed, key=_place_of):
                if isinstance(node, _STATIC):
                    self.statement(node, followed.state, Frame("<module>", 0, shown))
        finally:
            self.active, self.cut, self.cuts = held, cut, cuts
        return followed.state.env

    # --- targets: functions read on their own ------------------------------------------------------------------------

    def target(self, function: Function, instance: Instance | None, plain: str = "tensor") -> Value:
        """Read a function with arguments of which only names, annotations and defaults are known.

        `plain` is what an argument of which nothing is known is taken for: a constructor's is a number.
        """
        spec = function.node.args
        state = State(Scope({}, function.closure))
        frame = Frame(function.qualname, 0, function.path)
        defaults, ranges = defaults_of(spec), self.stating.of(function)
        numbers = plain_numbers(function.node)
        for arg in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs):
            default = self.evaluate(defaults[arg.arg], State(function.closure), frame) if arg.arg in defaults else None
            module = self.annotated(arg, function) if default is None else None
            stands = ranges.get(arg.arg)
            if stands is not None and arg.arg in numbers:
                stands = self.stating.of_number(function, arg.arg)
            number = arg.arg in numbers and stands is None
            known_of = module or parameter(arg, default, "number" if number else plain)
            if isinstance(known_of, Term) and known_of.attr("kind") == "tensor" and is_raw(arg.arg, function.node):
                known_of = symbol(arg.arg, "tensor", raw=True)
            state.env[arg.arg] = stated(known_of, stands)
        first = [*spec.posonlyargs, *spec.args][:1]
        if instance is not None and first and not function.decorated("staticmethod"):
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


def _place_of(node: ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _given(args: Sequence[Value], keywords: Mapping[str, Value]) -> tuple[object, ...]:
    """The arguments of a call as what makes it equal to another one."""
    return tuple(map(content, args)), tuple((key, content(value)) for key, value in keywords.items())


def _left_open(function: Function) -> bool:
    """Whether a method is there for others to say what it does: what it gives is not known."""
    body = [] if isinstance(function.node, ast.Lambda) else function.node.body
    match body[1:] if len(body) > 1 and isinstance(body[0], ast.Expr) else body:
        case [ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name)))]:
            return name == "NotImplementedError"
        case [ast.Expr(value=ast.Constant(value=value))]:
            return value is ... or function.decorated("abstractmethod")
        case [ast.Pass()]:
            return function.decorated("abstractmethod")
    return False


def _place(function: ast.AST, active: Sequence[ast.AST]) -> int | None:
    """Where a function stands among those that are being read, None for one that is not."""
    return active.index(function) if function in active else None


def _never_differentiated(function: Function) -> bool:
    """Whether no gradient goes through a function whoever calls it.

    It is of an autograd function, which says itself what its gradient is, of an optimizer, whose steps are not taken
    back, or the constructor of a module: what that works out becomes a parameter, a buffer or a setting.
    """
    owner = function.owner
    if owner is None:
        return False
    bases = [base.name for cls in owner.order() for base in cls.bases if isinstance(base, External)]
    constructs = getattr(function.node, "name", "") == "__init__"
    return any(base in _FUNCTIONS or _steps(base) or (constructs and base in _MODULES) for base in bases)


def _steps(base: str) -> bool:
    """Whether a base class is an optimizer's: one of torch's, or one of another library, as its name says."""
    return base.startswith("torch.optim.") or base.endswith("Optimizer")
