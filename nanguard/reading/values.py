"""The values that reading computes with: terms, and what Python has beside numbers and tensors."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nanguard.reading.scope import Scope
from nanguard.term import Term, const, make, symbol


@dataclass(frozen=True, slots=True, eq=False)
class External:
    """Something of another module, by its full dotted name: ``torch.nn.functional.log_softmax``."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of the file: its definition, the names it closes over, the class it belongs to."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    closure: Scope
    qualname: str
    owner: Class | None = None
    path: str = ""

    def decorated(self, *names: str) -> bool:
        """Whether a decorator of the function is called so: by its last name, ``no_grad`` of ``@torch.no_grad()``."""
        if isinstance(self.node, ast.Lambda):
            return False
        for decorator in self.node.decorator_list:
            named = decorator.func if isinstance(decorator, ast.Call) else decorator
            if (named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")) in names:
                return True
        return False


@dataclass(frozen=True, slots=True, eq=False)
class Class:
    """A class of the file with its members by name and the classes of the file that it derives from."""

    name: str
    members: dict[str, Value]
    bases: tuple[Value, ...]
    node: ast.ClassDef

    def find(self, name: str, after: Class | None = None) -> Value | None:
        """A member, its own or inherited; with `after`, looked up past that class (as ``super()`` does)."""
        order = list(self.order())
        if after is not None and after in order:
            order = order[order.index(after) + 1 :]
        return next((owner.members[name] for owner in order if name in owner.members), None)

    def order(self) -> list[Class]:
        """The class and the classes of the file above it, nearest first."""
        result: dict[Class, None] = {}
        waiting: list[Class] = [self]
        while waiting:  # each class once: the ways up through bases that have bases in common double at each step
            cls = waiting.pop()
            if cls not in result:
                result[cls] = None
                waiting.extend(base for base in reversed(cls.bases) if isinstance(base, Class))
        return list(result)


@dataclass(slots=True, eq=False)
class Instance:
    """An object of a class of the file.

    `origins` has the left side that set an attribute: where it is the same one again, on another path through a
    constructor, the attribute is one of the values.  `equal` is the object that it is equal to until one of the two is
    written to: one that its constructor made of the same arguments.

    Most objects that a constructor makes are never looked into while a file is read: `build` reads the constructor of
    one once an attribute is asked for, or gives an object that it is equal to.
    """

    cls: Class
    held: dict[str, Value] = field(default_factory=dict)
    origins: dict[str, ast.expr] = field(default_factory=dict)
    equal: Instance | None = None
    place: str = ""  # which of the objects of its class it is
    build: Callable[[Instance], Instance] | None = None
    given: tuple[Value, ...] = ()  # what its constructor was called with, until that is read

    @property
    def attrs(self) -> dict[str, Value]:
        """The attributes."""
        self.finish()
        return self.held

    @property
    def made(self) -> Instance | None:
        """The object that it is equal to."""
        self.finish()
        return self.equal

    def finish(self) -> None:
        """Read the constructor, if that has not been done."""
        if self.build is not None:
            build, self.build, self.given = self.build, None, ()
            other = build(self)
            if other is not self:
                self.held, self.origins, self.equal = dict(other.held), dict(other.origins), other.equal


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A method of an object; `owner` is the class that ``super()`` starts after."""

    instance: Instance
    function: Function


@dataclass(frozen=True, slots=True, eq=False)
class Super:
    """``super()`` inside a method."""

    instance: Instance
    after: Class


@dataclass(frozen=True, slots=True, eq=False)
class TensorMethod:
    """A method of a value that reading knows as a term: ``x.sum``."""

    term: Term
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """An object of a class of torch, with the arguments it was built with."""

    name: str
    args: tuple[Value, ...]
    keywords: Mapping[str, Value]
    place: str = ""  # where it was built: two parameters are two values


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """``functools.partial``"""

    function: Value
    args: tuple[Value, ...]
    keywords: Mapping[str, Value]


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """A tuple or list whose items are known."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of several things that can be called, it is not known which: ``act = torch.sin if flag else torch.cos``."""

    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Many:
    """A list of unknown length: a comprehension, ``*args``; one item stands for all, `last` for itself."""

    item: Value
    last: Value | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A dict whose keys are known; any other key gives `rest`."""

    items: Mapping[object, Value]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """``x.shape``"""

    term: Term


Value = (
    Term | External | Function | Class | Instance | Bound | Super | TensorMethod | Built | Partial
    | Items | Many | Table | Shape | Choice
)  # fmt: skip


DISTRIBUTIONS = "torch.distributions."


def option(name: str, default: object, otherwise: str = "tensor") -> Term:
    """An argument whose default is None, a bool or a text: tests on it are explored both ways.

    `otherwise` is the kind of symbol that it is where it is not None.
    """
    return symbol(name, "option", default=default, otherwise=otherwise)


def not_none(value: Term) -> Term:
    """What an option is where a test has shown that it is not None."""
    facts = {name: held for name, held in value.attrs if name not in ("name", "kind", "default", "otherwise")}
    return symbol(value.name, str(value.attr("otherwise", "tensor")), **facts)


def is_option(value: Value) -> bool:
    """Whether a value is such an argument."""
    return isinstance(value, Term) and value.op == "symbol" and value.attr("kind") == "option"


def opaque(name: str, operands: tuple[Term, ...] = (), place: str = "") -> Term:
    """The result of something that reading cannot see through; results of different places are different."""
    kept = tuple(operand for operand in operands if operand.op != "const")
    return make("opaque", kept, (("name", name), ("place", place)))


def known(value: Value) -> Term | None:
    """The value as a constant, None when it is not known."""
    return value if isinstance(value, Term) and value.op == "const" else None


def to_term(value: Value) -> Term:
    """The value as an operand; what has no number in it is opaque, with the terms inside kept as operands."""
    if type(value) is Term:
        if value.op == "symbol" and is_option(value):
            default = value.attr("default")
            return not_none(value) if default is None or isinstance(default, str) else const(default)
        return value
    if isinstance(value, Built):
        return opaque(value.name.rpartition(".")[2], tuple(terms_in(value)), value.place)
    if isinstance(value, External):
        return opaque(value.name.removeprefix("builtins."))
    if isinstance(value, Instance):
        return opaque(value.cls.name, (), value.place)
    if isinstance(value, TensorMethod):
        owner = value.term.name if value.term.op in ("symbol", "opaque") else ""
        return opaque(f"{owner}.{value.name}", (value.term,))
    return opaque(type(value).__name__, tuple(terms_in(value)))


def terms_in(value: Value) -> list[Term]:
    """The terms that a value holds."""
    if type(value) is Term:
        return [value] if value.op != "const" else []
    match value:
        case Items(items=items):
            return [term for item in items for term in terms_in(item)]
        case Many(item=item):
            return terms_in(item)
        case Table(items=entries):
            return [term for entry in entries.values() for term in terms_in(entry)]
        case Shape(term=term) | TensorMethod(term=term):
            return [term]
        case Built(name=name, args=args, keywords=keywords) if name.startswith(DISTRIBUTIONS):
            return [term for held in (*args, *keywords.values()) for term in terms_in(held)]
    return []


def content(value: Value) -> object:
    """What makes a value equal to another: containers that are equal item by item are."""
    if type(value) is Term:
        return value
    match value:
        case Items(items=items):
            return ("items", *map(content, items))
        case Many(item=item):
            return ("many", content(item))
        case Table(items=entries):
            return ("table", *((key, content(entry)) for key, entry in entries.items()))
        case Shape(term=term):
            return ("shape", term)
        case Choice(values=values):
            return ("choice", *map(content, values))
        case Instance(made=Instance() as made):
            return ("made", made)
    return value


def refers(value: Value, instance: Instance) -> bool:
    """Whether an object can be reached from a value: from its attributes or as the one that a method belongs to."""
    waiting, seen = list(parts_of(value)), {value}
    while waiting:
        part = waiting.pop()
        if part is instance:
            return True
        if type(part) is not Term and part not in seen:
            seen.add(part)
            waiting.extend(parts_of(part))
    return False


def parts_of(value: Value) -> Iterable[Value]:
    """The values that a value holds."""
    match value:
        case Instance(held=held, given=given):
            return (*held.values(), *given)
        case Items(items=items) | Choice(values=items):
            return items
        case Many(item=item):
            return (item,)
        case Table(items=entries):
            return entries.values()
        case Bound(instance=instance) | Super(instance=instance):
            return (instance,)
        case Built(args=args, keywords=keywords):
            return (*args, *keywords.values())
        case Partial(function=function, args=args, keywords=keywords):
            return (function, *args, *keywords.values())
        case Function(closure=closure):
            return [held for _, held in closure.local()]
    return ()


_LARGEST = 20_000  # nodes of alternatives that are still told apart


def either(values: list[Value]) -> Value:
    """One of several values, it is not known which."""
    distinct = list({id(value): value for value in values}.values())
    if len(distinct) == 1:
        return distinct[0]
    if all(isinstance(value, Items) for value in distinct):
        lengths = {len(value.items) for value in distinct if isinstance(value, Items)}
        if len(lengths) == 1:
            columns = zip(*(value.items for value in distinct if isinstance(value, Items)), strict=True)
            return Items(tuple(either(list(column)) for column in columns))
    grown = _grown(distinct)
    if grown is not None:
        return grown
    if all(isinstance(value, _CALLED) for value in distinct):
        return chosen(distinct)
    terms: list[Term] = []
    for value in distinct:
        for part in alternatives(to_term(value)):
            if part not in terms:
                terms.append(part)
    if len(terms) == 1:
        return terms[0]
    if sum(term.size for term in terms) > _LARGEST:
        return opaque("either", ())
    return make("either", tuple(terms))


_CALLED = (External, Function, Class, Instance, Bound, Built, Partial, Choice)
_MOST_CALLED = 3  # of what may be called at one place, those that are followed


def is_called(value: Value | None) -> bool:
    """Whether a value is a function, a module or something else that is there to be called."""
    return isinstance(value, _CALLED)


def chosen(values: Iterable[Value]) -> Value:
    """One of several things that can be called."""
    flat = [part for value in values for part in (value.values if isinstance(value, Choice) else (value,))]
    distinct = list({content(value): value for value in flat}.values())
    return distinct[0] if len(distinct) == 1 else Choice(tuple(distinct[:_MOST_CALLED]))


def _grown(values: list[Value]) -> Many | None:
    """A list at several stages of its growth, as a list of unknown length; None for what is no such list."""
    items: list[Value] = []
    for value in values:
        if isinstance(value, Items):
            if any(new is not old for new, old in zip(value.items, items, strict=False)):
                return None
            items.extend(value.items[len(items) :])
        elif isinstance(value, Many):
            items.append(value.item)
        else:
            return None
    return Many(either(items)) if items else None


def alternatives(term: Term) -> tuple[Term, ...]:
    """The values that a term may stand for."""
    return term.args if term.op == "either" else (term,)
