"""Edits: a replacement as edits of the file, in which nothing else changes its meaning."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from nanguard.finding import Edit, Span
from nanguard.repair.effects import acts, heirs_differ, is_wrapped, known, rebound
from nanguard.repair.ground import Function, Ground, comments, dotted, names_in, parsed_at
from nanguard.repair.imports import torch_import
from nanguard.repair.reaching import Reach, is_number
from nanguard.repair.storage import of_torch, written_by

_HELD = (ast.Name, ast.Attribute, ast.Subscript)  # what may hold a setting
_ONCE = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)  # what may be done neither twice nor never


@dataclass(frozen=True, slots=True)
class Placed:
    """The edits that make a replacement, and whether they keep every comment and what others may override."""

    edits: tuple[Edit, ...]
    safe: bool


@dataclass(frozen=True, slots=True)
class Basis:
    """What is known at a place of the expression there and of the text that is to stand in its stead.

    `modules` are the names by which the place reaches torch.  `sure` says that on every path that leads to the place
    the expression is known to compute what was replaced; otherwise the syntax has to show it.  The names in `earlier`
    are taken from statements before: they must hold here what they held there.  `given` are the numbers and texts
    that the rule puts in, `tensors` the names that are known to hold tensors and no settings.  `agreed` says that all
    callers that are known give the same settings.  `put_in` is a name that a statement put in gives to what the
    expression is worked out from.  `constants` are what has a name and a value that the rule reckons with; `leans`
    that it relies on what an operand that stays is known to be.
    """

    modules: Collection[str]
    sure: bool = False
    earlier: frozenset[str] = frozenset()
    given: frozenset[object] = frozenset()
    tensors: frozenset[str] | None = None
    agreed: bool = False
    put_in: str | None = None
    constants: Collection[str] = ()
    leans: bool = False


def placed(span: Span, ground: Ground, text: str, basis: Basis) -> Placed | None:
    """The edits that put `text` in the place of the expression at `span`, None where that cannot be done soundly."""
    node = _replaceable(ground.expression(span), ground)
    if node is None:
        return None
    exact = text
    for line, lines in ground.several_lines(node).items():
        exact = exact.replace(line, lines)
    value = _parsed(exact)
    if value is None:
        return None
    roots = {name.split(".")[0] for name in basis.modules}
    met = frozenset({basis.put_in} if basis.put_in is not None else ())
    change = _Change(ground, node, value, frozenset(roots | {"torch"}), basis.earlier | met, met, basis.leans)
    if not change.sound(basis.sure) or not change.spoken(basis.given, basis.tensors):
        return None
    settings = change.settings(basis.tensors)
    if settings and not (basis.sure or basis.agreed):  # another caller gives them other values
        return None
    if not change.reckoned.isdisjoint(basis.constants):  # it holds for the values that they have by default
        return None
    edits: list[Edit] = []
    if "torch" in names_in([value]) and "torch" not in roots:
        needed = torch_import(span.path, ground)
        if needed is None:
            return None
        edits.append(needed)
    replaced = _spliced(span, node, exact, value, ground)
    if replaced is None:
        return None
    edit, keeps = replaced
    lost = Counter(comments(ground.text(node))) - Counter(comments(edit.text))
    kept = keeps and not lost and not change.overridable and not settings
    return Placed((*edits, edit), kept)


Replaceable = ast.expr | ast.AugAssign | ast.Assign


def _replaceable(node: ast.expr | ast.AugAssign | None, ground: Ground) -> Replaceable | None:
    """What is to be replaced where an expression goes: of ``x[mask] = 0`` the statement, which then binds ``x`` anew.

    That is the same only where nothing else holds what is written into: a result that was computed in the function.
    """
    if node is None or isinstance(getattr(node, "ctx", None), ast.Del):
        return None
    if not isinstance(getattr(node, "ctx", None), ast.Store):
        return node
    match node, ground.parents.get(node):
        case ast.Subscript(value=ast.Name(id=name)), ast.Assign(targets=[_], value=value) as statement:
            return statement if is_number(value) and Reach(ground, statement).its_own(name) else None
    return None


@dataclass(frozen=True)
class _Change:
    """An expression of the file and what is to stand there instead."""

    ground: Ground
    node: Replaceable
    value: ast.expr
    modules: frozenset[str]
    earlier: frozenset[str]
    met: frozenset[str]
    leans: bool

    @cached_property
    def kept(self) -> Counter[str]:
        """The expressions inside of the new one."""
        return Counter(ast.dump(part) for part in ast.walk(self.value) if isinstance(part, ast.expr))

    @cached_property
    def left(self) -> list[ast.AST]:
        """The nodes of the old expression that the new one has not got as they stand."""
        found: list[ast.AST] = []
        waiting: list[ast.AST] = [self.node]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.expr) and not isinstance(node, ast.Name) and ast.dump(node) in self.kept:
                continue
            found.append(node)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                continue  # one name: self.weight
            waiting.extend(ast.iter_child_nodes(node))
        return found

    @cached_property
    def overridable(self) -> bool:
        """Whether a call is left out of a method that a subclass may define otherwise, or of a function elsewhere."""
        seen = names_in([part for part in self.left if isinstance(part, ast.Name | ast.Attribute)])
        sources = Reach(self.ground, self.node).sources(seen, names_in([self.value]))
        parts = [*self.left, *(part for value in sources for part in ast.walk(value))]
        calls = [part for part in parts if isinstance(part, ast.Call) and not of_torch(part)]
        tree = self.ground.tree
        return any((dotted(part.func) or "").startswith("self.") or not known(part, tree) for part in calls)

    def settings(self, tensors: frozenset[str] | None) -> set[str]:
        """The arguments and attributes that go and are no tensors: without them the new expression holds for these."""
        seen = names_in([part for part in self.left if isinstance(part, ast.Name | ast.Attribute)])
        gone = seen - names_in([self.value]) - self.modules - _callers([self.node])
        reach = Reach(self.ground, self.node)
        return {name for name in gone if tensors is not None and name not in tensors and not reach.sources({name})}

    @cached_property
    def reckoned(self) -> set[str]:
        """The arguments, attributes and entries that what goes is worked out from."""
        seen = names_in([part for part in self.left if isinstance(part, ast.Name | ast.Attribute)])
        now = names_in([self.value])
        reach = Reach(self.ground, self.node)
        behind = [part for value in reach.sources(seen - now, now) for part in ast.walk(value)]
        kept = {ast.unparse(part) for part in ast.walk(self.value) if isinstance(part, _HELD)}
        gone = {ast.unparse(part) for part in (*self.left, *behind) if isinstance(part, _HELD)} - kept
        imported = _imported(self.ground.tree)
        return {text for text in gone if text.split(".")[0] not in imported and not reach.sources({text})}

    def sound(self, sure: bool) -> bool:
        """Whether the new expression has the value that the old one is known to have."""
        if not self._once():
            return False
        if any(isinstance(part, ast.Call) and _elsewhere(part, self.ground.tree) for part in self.left):
            return False
        if any(self._does(part) for part in self.left):
            return False
        reach = Reach(self.ground, self.node)
        seen = names_in([part for part in self.left if isinstance(part, ast.Name | ast.Attribute)]) - self.modules
        now = names_in([self.value])
        new = ((now - names_in([self.node])) | (now & self.earlier)) - self.modules
        dropped = seen - now
        if new & reach.inner or any(reach.shadowed(name) for name in new):
            return False
        if not reach.undisturbed(dropped | new):
            return False
        if (seen | now) & rebound(self.ground.tree) or any(map(reach.left_open, dropped | new)):
            return False
        if any(map(reach.taken_away, dropped | new)):
            return False
        if not isinstance(self.node, ast.expr) and not self._in_place_again() and not reach.its_own(self._written()):
            return False
        sources = reach.sources(dropped)
        if self.leans and not self._is_plain(reach, sure):
            return False
        parts = [part for value in reach.sources(dropped, now) for part in ast.walk(value)]
        if any(acts(part, self.ground.tree) for part in parts):
            return False
        if any(self._left_to_callers(part) for part in (*ast.walk(self.node), *parts)):
            return False
        if any(is_wrapped(part, self.ground.tree) for part in (*self.left, *parts)):
            return False
        if sources and reach.entered:
            return False
        behind = {name for value in sources for name in names_in([value])}
        if reach.unsettled & (seen | behind):
            return False
        if sure:
            return True
        if any(isinstance(part, ast.IfExp | ast.BoolOp) for part in self.left):
            return False
        if any(isinstance(part, ast.Call) and not of_torch(part) for part in self.left):
            return False
        if new:
            return reach.holds(seen, new, self.met)
        rarer = {name for name in seen if _count(self.node, name) > _count(self.value, name)}
        return reach.holds(dropped, set()) and not any(map(reach.ambiguous, rarer - dropped))

    def _is_plain(self, reach: Reach, sure: bool) -> bool:
        """Whether all that the old expression is worked out from is what it seems to be: no choice, no other method."""
        names = names_in([self.node]) - self.modules
        if not sure and any(reach.choices(names)):
            return False
        behind = [part for value in (self.node, *reach.sources(names)) for part in ast.walk(value)]
        return not any(self._left_to_callers(part) or is_wrapped(part, self.ground.tree) for part in behind)

    def _does(self, part: ast.AST) -> bool:
        """Whether a part of the old expression that goes does more than to give a value, or gives another dtype."""
        if acts(part, self.ground.tree):
            return True
        if not isinstance(part, ast.Call):
            return False
        return bool(list(written_by(part))) or any(keyword.arg in ("out", "dtype") for keyword in part.keywords)

    def _left_to_callers(self, part: ast.AST) -> bool:
        """Whether callers, or heirs of the class around, say what a call does: of a parameter, or with ``**kw``."""
        if not isinstance(part, ast.Call):
            return False
        around = next((node for node in self.ground.outwards(self.node) if isinstance(node, Function)), None)
        given = around.args if around is not None else None
        if given is not None and _given_by_callers(part, given):
            return True
        within = next((node for node in self.ground.outwards(self.node) if isinstance(node, ast.ClassDef)), None)
        return heirs_differ(part, within, self.ground.tree)

    def _in_place_again(self) -> bool:
        """Whether an augmented assignment stays one."""
        return isinstance(self.node, ast.AugAssign) and _operand(self.node, self.value) is not None

    def _written(self) -> str:
        """The name that an assignment writes into."""
        assert isinstance(self.node, ast.AugAssign | ast.Assign)
        target = self.node.target if isinstance(self.node, ast.AugAssign) else self.node.targets[0]
        return dotted(target.value if isinstance(target, ast.Subscript) else target) or ""

    def spoken(self, given: frozenset[object], tensors: frozenset[str] | None) -> bool:
        """Whether no number or text of the new expression stands for a setting that goes.

        What stands for a default of an argument, or for an attribute, would be another one with other settings.  Where
        something that may be a setting goes, the numbers must be the program's own, or those `given`.
        """
        reach = Reach(self.ground, self.node)
        seen = names_in([part for part in self.left if isinstance(part, ast.Name | ast.Attribute)])
        now = names_in([self.value])
        sources = reach.sources(seen - now)
        defined = {name for value in sources for name in names_in([value])} | seen
        gone = defined - now
        if tensors is not None:
            gone |= {name for name in seen if _count(self.node, name) > _count(self.value, name)}
            gone -= tensors
        listed = [self.node, *sources]
        if all(reach.sources({name}) for name in gone - self.modules - _callers(listed)):
            return True
        own = _literals(listed) + Counter((True, value) for _, value in _literals(listed))
        extra = {literal: count for literal, count in _literals([self.value]).items() if literal[1] not in given}
        return all(count <= own[literal] for literal, count in extra.items())

    def _once(self) -> bool:
        """Whether what has an effect is done as often as before, and a call of somebody's function no more often."""
        before = Counter(ast.dump(part) for part in ast.walk(self.node) if isinstance(part, _ONCE))
        if any(self.kept[part] != count for part, count in before.items()):
            return False
        calls = Counter(ast.dump(part) for part in ast.walk(self.node) if isinstance(part, ast.Call))
        acting = {ast.dump(part) for part in ast.walk(self.node) if acts(part, self.ground.tree)}
        if any(self.kept[part] != calls[part] for part in acting & calls.keys()):
            return False
        others = (part for part in ast.walk(self.value) if isinstance(part, ast.Call) and not of_torch(part))
        return all(self.kept[ast.dump(part)] <= calls[ast.dump(part)] for part in others)


def _given_by_callers(call: ast.Call, given: ast.arguments) -> bool:
    """Whether the function of a call is an argument that has a default, or an argument is spread out in it."""
    plain = [*given.posonlyargs, *given.args]
    optional = [*plain[len(plain) - len(given.defaults) :], *given.kwonlyargs]
    spread = [node.value for node in call.args if isinstance(node, ast.Starred)]
    spread += [keyword.value for keyword in call.keywords if keyword.arg is None]
    every = {arg.arg for arg in ast.walk(given) if isinstance(arg, ast.arg)}
    return (isinstance(call.func, ast.Name) and call.func.id in {arg.arg for arg in optional}) or any(
        isinstance(value, ast.Name) and value.id in every for value in spread
    )


Literal = tuple[bool, object]  # whether it is an argument or an index; numbers have their sign only there


def literals(text: str) -> frozenset[object]:
    """The numbers, with either sign, and the texts in an expression."""
    value = _parsed(text)
    found = {literal for _, literal in _literals([value])} if value is not None else set()
    return frozenset(found | {-number for number in found if isinstance(number, int | float)})


def _literals(nodes: Iterable[ast.AST]) -> Counter[Literal]:
    """The numbers and texts in some code, by how they are used; 1 and 2 in sums and products are anybody's."""
    found: Counter[Literal] = Counter()
    waiting: list[tuple[ast.AST, bool, int]] = [(node, False, 1) for node in nodes]
    while waiting:
        node, argument, sign = waiting.pop()
        match node:
            case ast.Constant(value=bool(value)):
                found[argument, str(value)] += value
            case ast.Constant(value=int() | float() as number):
                if argument or number not in (1, 2):
                    found[argument, number * sign if argument else abs(number)] += 1
            case ast.Constant(value=str(text)):
                found[argument, text] += 1
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                waiting.append((operand, argument, -sign))
            case ast.Call(func=func, args=args, keywords=keywords):
                waiting.append((func, False, 1))
                waiting.extend((part, True, 1) for part in (*args, *(keyword.value for keyword in keywords)))
            case ast.Subscript(value=value, slice=key):
                waiting.extend(((value, False, 1), (key, True, 1)))
            case ast.Tuple() | ast.List() | ast.Slice():
                waiting.extend((part, argument, 1) for part in ast.iter_child_nodes(node))
            case _:
                waiting.extend((part, False, 1) for part in ast.iter_child_nodes(node))
    return found


def _callers(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules, functions and objects whose calls some code makes: ``math`` in ``math.sqrt(2)``."""
    calls = (part for node in nodes for part in ast.walk(node) if isinstance(part, ast.Call))
    return {(dotted(call.func) or "").split(".")[0] for call in calls}


def _imported(tree: ast.Module) -> set[str]:
    """The names that a file imports."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return {alias.asname or alias.name.split(".")[0] for node in imports for alias in node.names}


def _elsewhere(call: ast.Call, tree: ast.Module) -> bool:
    """Whether a call is of a module that is not torch's: ``math.sqrt`` takes and gives plain numbers.

    One of numbers as they stand is a number itself.
    """
    if not names_in([*call.args, *call.keywords]):
        return False
    root = (dotted(call.func) or "").split(".")[0]
    imported = {
        (alias.asname or alias.name.split(".")[0]): getattr(node, "module", None) or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return imported.get(root, "torch").split(".")[0] in ("math", "cmath", "numpy", "scipy", "builtins")


def _count(node: ast.AST, name: str) -> int:
    return sum(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(f"({text}\n)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _spliced(span: Span, node: Replaceable, text: str, value: ast.expr, ground: Ground) -> tuple[Edit, bool] | None:
    """The edit that leaves everything around as it is, with brackets where they are needed.

    ``x[mask] = 0`` becomes an assignment of ``x``.  Of ``x /= y`` the right side is replaced where that is all that
    changes, else it becomes an assignment too.  Neither writes in place any more (then the second part of the result
    is False).
    """
    if isinstance(node, ast.expr):
        edit = _bracketed(span, text, value, ground)
        return (edit, True) if edit is not None else None
    if isinstance(node, ast.Assign):
        (written,) = node.targets
        assert isinstance(written, ast.Subscript)
        name = ground.text(written.value)
        whole = f"{name} = ({text})" if "\n" in text else f"{name} = {text}"
        return Edit(ground.span(span.path, node), whole), False
    right = _operand(node, value)
    if right is not None:
        edit = _bracketed(ground.span(span.path, node.value), ast.unparse(right), right, ground)
        return (edit, True) if edit is not None else None
    head = ground.text(node.target)
    return (Edit(span, f"{head} = {text}"), False) if "\n" not in text else (Edit(span, f"{head} = (\n{text})"), False)


def _operand(node: ast.AugAssign, value: ast.expr) -> ast.expr | None:
    """The right side of an augmented assignment that gives a value, None where it takes a plain one."""
    match value:
        case ast.BinOp(left=left, op=op, right=right):
            same = type(op) is type(node.op) and ast.dump(left) == _as_loaded(node.target)
            return right if same else None
    return None


def _as_loaded(target: ast.expr) -> str:
    return ast.dump(target).replace("Store()", "Load()")


def _bracketed(span: Span, text: str, value: ast.expr, ground: Ground) -> Edit | None:
    """The edit after which the parser finds the new expression, whole, at its place."""
    for opening, spelled in (("", text), ("(", f"({text})")):
        edit = Edit(span, spelled)
        found = _reparsed(edit, len(opening), ground)
        if found is not None and ast.dump(found) == ast.dump(value):
            return edit
    return None


def _reparsed(edit: Edit, inside: int, ground: Ground) -> ast.expr | None:
    """The expression that stands where an edit was made, `inside` brackets."""
    lines = [line + b"\n" for line in ground.lines]
    changed = apply(lines, [edit], 1, len(lines)).decode("utf-8", "surrogatepass")
    span, rows = edit.span, edit.text.encode("utf-8", "surrogatepass").split(b"\n")
    end_line = span.line + len(rows) - 1
    end_column = len(rows[-1]) + (span.column if len(rows) == 1 else 0) - inside
    return parsed_at(changed, (span.line, span.column + inside), (end_line, end_column))


def apply(lines: Sequence[bytes], edits: Sequence[Edit], start: int, end: int) -> bytes:
    """Lines `start` to `end` (from 1, both included) with the edits made; columns are bytes of UTF-8."""
    kept = list(lines)
    for edit in sorted(edits, key=lambda edit: (edit.span.line, edit.span.column), reverse=True):
        span = edit.span
        head = kept[span.line - 1][: span.column]
        tail = kept[span.end_line - 1][span.end_column :]
        text = edit.text.encode("utf-8", "surrogatepass")
        kept[span.line - 1 : span.end_line] = [head + text + tail, *[b""] * (span.end_line - span.line)]
    return b"".join(kept[start - 1 : end])


def visible(modules: Mapping[str, str], span: Span, ground: Ground) -> dict[str, str]:
    """The names of torch's modules that mean these at a place: not those that something around it binds anew."""
    node = ground.expression(span)
    if node is None:
        return dict(modules)
    bound = ground.bound_around(node)
    return {full: name for full, name in modules.items() if name.split(".")[0] not in bound}
