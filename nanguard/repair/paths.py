"""Paths: what reading says of an expression on every way that leads to it, and of how it came about."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping

from nanguard import ops
from nanguard.finding import Span
from nanguard.matching.match import Match, Matcher
from nanguard.reading.read import Reading, modules, segment, span
from nanguard.reading.recording import Place
from nanguard.reading.values import Built, External, Instance, alternatives, to_term
from nanguard.repair.ground import dotted, ground, names_in
from nanguard.repair.reaching import Reach
from nanguard.repair.source import Move, Unprintable, Words, move, source_of
from nanguard.site import Site
from nanguard.term import UNKNOWN, Attr, Term, walk


class Paths:
    """The terms that each expression of a file computes, on all the paths that were followed."""

    def __init__(self, reading: Reading, matcher: Matcher) -> None:
        self.reading, self.matcher = reading, matcher
        self.places: dict[ast.expr, list[Place]] = {}
        self.targets: dict[tuple[str, str], list[Place]] = {}
        self.first: dict[Term, Place] = {}
        self.latest: tuple[Match, Place, dict[Term, str]] | None = None
        self.held: dict[tuple[str, str], dict[str, set[Term]]] = {}  # the constants of each function
        for place in reading.places:
            self.places.setdefault(place.node, []).append(place)
            self.targets.setdefault((place.path, place.target), []).append(place)
            self.first.setdefault(place.term, place)

    def agree(self, match: Match, place: Place) -> bool:
        """Whether on every path the rule of a match fits, with what the program writes in the same words.

        What a function does by itself holds of its callers too.
        """
        idle = _idle(match)
        if any(isinstance(value, Term) and value.op == "either" for value in _inside(place, idle)):
            return False
        listed = [other for other in self.places[place.node] if place.depth > 0 or other.depth == 0]
        others = [other for other in listed if other.term is not place.term]
        words = self._words(match, place)
        return all(self._fits(match, other, words) for other in others)

    def _fits(self, match: Match, place: Place, words: list[str] | None) -> bool:
        found = (other for other in self._matches(place) if other.variant is match.variant)
        return words is not None and any(self._words(other, place) == words for other in found)

    def _matches(self, place: Place) -> list[Match]:
        """The rules that fit what an expression computes, without a gradient too."""
        term = place.term.args[0] if place.term.op == "detach" else place.term
        return self.matcher.matches(term)

    def _words(self, match: Match, place: Place) -> list[str] | None:
        """What the terms of a replacement are called at a place, None if one has no name."""
        words = Words(self.reading.site(place, False).names, modules(place))
        try:
            idle = _idle(match)
            used = (term for name, term in match.bindings.items() if name not in idle)
            return [source_of(term, words) for term in (*used, *match.rest)]
        except Unprintable:
            return None

    def operands(self, match: Match, place: Place) -> dict[Term, str]:
        """What earlier statements on the way to a match call the terms that it is about: names and attributes.

        A number only where it has one name.
        """
        if self.latest is None or self.latest[0] is not match or self.latest[1] is not place:
            self.latest = match, place, self._operands(match, place)  # for the witness, and then for the fix
        return self.latest[2]

    def _operands(self, match: Match, place: Place) -> dict[Term, str]:
        inside = set(walk(match.root))
        found: dict[Term, str] = {}
        doubtful: set[Term] = set()
        told = self.told(place)
        fits: bool | None = None  # on every path, once that is asked
        for other in self.targets[place.path, place.target]:
            if other.term not in inside:
                continue
            for node in ast.walk(other.node):
                value = other.values.get(node) if isinstance(node, ast.expr) else None
                if isinstance(node, ast.Constant) and isinstance(value, Term):
                    doubtful.add(value)
                if value is None or isinstance(value, External) or not _is_name(node):
                    continue
                whole = to_term(value)
                if _held(node, place) is not whole:
                    continue
                text = ast.unparse(node)
                for term in (part for part in (whole, *alternatives(whole)) if part in inside):
                    if _differs_each_time(term) and told.get(whole) != text:
                        continue
                    if term is not whole:
                        fits = self._fits_all(match, place) if fits is None else fits
                        if not fits:
                            continue
                    if found.setdefault(term, text) != text:
                        doubtful.add(term)
        return {term: text for term, text in found.items() if term.op != "const" or term not in doubtful}

    def caller(self, site: Site, match: Match, place: Place) -> Callable[[Term], str | None]:
        """What a term is called at the place of a match, else in the statements before, else where it comes about."""
        before: dict[Term, str] | None = None

        def called(term: Term) -> str | None:
            nonlocal before
            if term in site.names:
                return site.names[term]
            if before is None:
                before = self.operands(match, place)
            return before.get(term) or self.text(term)

        return called

    def text(self, term: Term) -> str | None:
        """What the file writes for a term that it works out, where it first does so."""
        place = self.first.get(term)
        file = ground(self.reading.text(place.path)) if place is not None else None
        return segment(file.lines, place.node) if file is not None and place is not None else None

    def _fits_all(self, match: Match, place: Place) -> bool:
        """Whether the rule fits whatever of several values the operands of an expression have."""
        return all(
            any(other.variant is match.variant for other in self._matches(listed)) for listed in self.places[place.node]
        )

    def expressions(self, match: Match, place: Place) -> dict[Term, list[Span]]:
        """Where the function of a place works out the terms that a match is about, or has a name for them."""
        wanted = {term for term in match.bindings.values() if term.op != "const"}
        found: dict[Term, dict[Span, None]] = {}
        for other in self.targets[place.path, place.target]:
            if other.node.lineno < place.node.lineno:
                for node in ast.walk(other.node):
                    value = other.values.get(node) if isinstance(node, ast.expr) else None
                    if isinstance(value, Term) and value in wanted and isinstance(node, ast.expr):
                        found.setdefault(value, {})[span(place.path, node)] = None
        return {term: list(spans) for term, spans in found.items()}

    def words(self, names: Mapping[Term, str], place: Place) -> dict[Term, str]:
        """What terms are called at a place, without the names that may hold another value than the one that is meant.

        What a call of something unknown gives is another value each time, though its term may be the same: of such a
        one only the name that the value of the place comes from.
        """
        found = {}
        told: Mapping[Term, str] | None = None
        for term, text in names.items():
            if _differs_each_time(term) and _is_text_of_name(text):
                told = self.told(place) if told is None else told
                if term in told:
                    found[term] = told[term]
            else:
                found[term] = text
        return found

    def told(self, place: Place) -> dict[Term, str]:
        """The names and attributes of a place by what they hold, of those that its value comes from; none for two."""
        text = ground(self.reading.text(place.path))
        node = text.expression(span(place.path, place.node)) if text is not None else None
        if text is None or node is None:
            return {}
        behind = [node, *Reach(text, node).sources(names_in([node]))]
        properties = _properties(place)
        found: dict[Term, str] = {}
        for listed in ([node], behind):
            names = {part: ast.unparse(part) for tree in listed for part in ast.walk(tree) if _is_name(part)}
            held: dict[Term, set[str]] = {}
            for part, name in names.items():
                value = _held(part, place)
                values = [value] if value is not None else properties.get(name, ()) if listed == [node] else ()
                for each in values:
                    held.setdefault(each, set()).add(name)
            found = {**{term: next(iter(texts)) for term, texts in held.items() if len(texts) == 1}, **found}
        return found

    def settings(self, match: Match, place: Place) -> dict[tuple[str, Attr], str]:
        """The attributes of operations on the way to a match for which the function has a name: ``dim=self.dim``.

        The name in the expression itself, if there is one there; none that is written as a number elsewhere on the way.
        """
        inside = set(walk(match.root))
        own = set(ast.walk(place.node))
        found: dict[tuple[str, Attr], set[str]] = {}
        nearest: dict[tuple[str, Attr], set[str]] = {}
        for other in self.targets[place.path, place.target]:
            if other.term in inside and isinstance(other.node, ast.Call):
                for key, held, text in (*_given(other, other.node), *_kept_by_module(other, other.node)):
                    found.setdefault((key, held), set()).add(text)
                    if other.node in own:
                        nearest.setdefault((key, held), set()).add(text)
        named = {**found, **nearest}
        return {key: next(iter(texts)) for key, texts in named.items() if len(texts) == 1 and _is_text_of_name(*texts)}

    def tensors(self, place: Place) -> frozenset[str]:
        """The names and attributes that hold tensors wherever the function of a place computes with them."""
        found: set[str] = set()
        others: set[str] = set()
        for other in self.targets[place.path, place.target]:
            for node in ast.walk(other.node):
                if isinstance(node, ast.expr) and _is_name(node) and node in other.values:
                    value = other.values[node]
                    (found if isinstance(value, Term) and value.op != "const" else others).add(ast.unparse(node))
        return frozenset(found - others)

    def constants(self, match: Match, place: Place) -> dict[str, set[Term]]:
        """What has a name and holds constants, but for what a rule does without, whatever it is.

        Arguments by their defaults, attributes, entries of tables; not epsilons and bounds of clamps.
        """
        bounds = (arg for guard in match.guards for arg in guard.args)
        without = {*bounds, *_left_out(match)}
        held = self.held_constants(place.path, place.target)
        return {text: values for text, values in held.items() if values.isdisjoint(without)}

    def held_constants(self, path: str, target: str) -> dict[str, set[Term]]:
        """What has a name in a function, on any path, and holds constants."""
        if (path, target) not in self.held:
            found: dict[str, set[Term]] = {}
            for place in self.targets[path, target]:
                for text, value in (*_bound(place), *_worked_out(place)):
                    if isinstance(value, Term) and value.op == "const" and value.value is not None:
                        found.setdefault(text, set()).add(value)
            self.held[path, target] = found
        return self.held[path, target]

    def moves(self, match: Match, place: Place) -> dict[Move, tuple[str, str]]:
        """The movements on the way to a match that are not known in full (an index): how the function writes them.

        Of each what stands before and behind what it moves; none that it writes in more than one way.
        """
        wanted = {term for term in _above(match) if ops.family(term) == ops.MOVEMENT}
        found: dict[Move, set[tuple[str, str]]] = {}
        for other in self.targets[place.path, place.target]:
            if other.term in wanted:
                around = _around(other, self.reading.lines(other.path))
                if around is not None:
                    found.setdefault(move(other.term), set()).add(around)
        return {key: next(iter(texts)) for key, texts in found.items() if len(texts) == 1}


def _above(match: Match) -> Iterator[Term]:
    """The terms between the root of a match and its variables, and those inside of movements' other operands."""
    bound = set(match.bindings.values())
    waiting, seen = [match.root], set[Term]()
    while waiting:
        term = waiting.pop()
        if term not in seen:
            seen.add(term)
            yield term
            waiting.extend(arg for arg in term.args if arg not in bound)


def _given(place: Place, call: ast.Call) -> Iterator[tuple[str, Attr, str]]:
    """The attributes of an operation, as the call that it comes from writes them."""
    for node in (*call.args, *(keyword.value for keyword in call.keywords)):
        value = place.values.get(node)
        if not isinstance(value, Term) or value.op != "const" or value.value is None:
            continue
        for key, held in place.term.attrs:
            if type(held) is type(value.value) and held == value.value:
                yield key, held, ast.unparse(node)


def _kept_by_module(place: Place, call: ast.Call) -> Iterator[tuple[str, Attr, str]]:
    """The attributes of an operation that a module of torch keeps under their names: ``self.softmax.dim``."""
    module = place.values.get(call.func)
    if not isinstance(module, Built) or not _is_name(call.func):
        return
    made = (spelling.constructor for spelling in ops.spellings().get(module.name, ()))
    given = {name for constructor in made if constructor is not None for name, _ in constructor.attrs}
    for key, held in place.term.attrs:
        if key in given and held is not None and held is not UNKNOWN:
            yield key, held, f"{ast.unparse(call.func)}.{key}"


def _held(node: ast.AST, place: Place) -> Term | None:
    """What a name, or an attribute of an object of the file, stands for at a place."""
    match node:
        case ast.Name(id=name) if name in place.env:
            return to_term(place.env[name])
        case ast.Attribute(value=ast.Name(id=name), attr=attr):
            owner = place.env.get(name)
            if isinstance(owner, Instance) and attr in owner.held:
                return to_term(owner.held[attr])
    return None


def _properties(place: Place) -> dict[str, tuple[Term, ...]]:
    """What the attributes in an expression are that nothing holds, with the alternatives of each."""
    inside = (node for node in ast.walk(place.node) if isinstance(node, ast.Attribute) and _is_name(node))
    values = ((ast.unparse(node), place.values.get(node)) for node in inside)
    return {name: (value, *alternatives(value)) for name, value in values if isinstance(value, Term)}


def _differs_each_time(term: Term) -> bool:
    """Whether a term says too little of a value to tell it from others: a call of something unknown, a random one."""
    rows = ops.rows()
    return any(node.op == "opaque" or (node.op in rows and not rows[node.op].pure) for node in walk(term))


def _is_text_of_name(text: str) -> bool:
    return _is_name(ast.parse(text, mode="eval").body)


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and dotted(node) is not None


def _idle(match: Match) -> dict[str, Term]:
    """What a match binds and no replacement takes: the test that chooses between two forms of one value."""
    forms = [form for form in (match.variant.stable, match.variant.clamp) if form is not None]
    taken = {part.name for part in walk(*forms)}
    return {name: term for name, term in match.bindings.items() if forms and name not in taken}


def _bound(place: Place) -> Iterator[tuple[str, object]]:
    """The names at a place and the attributes of objects, with what they hold."""
    for name, held in place.env.items():
        yield name, held
        if isinstance(held, Instance):
            yield from ((f"{name}.{attr}", value) for attr, value in held.held.items())


def _worked_out(place: Place) -> Iterator[tuple[str, object]]:
    """The names, attributes and entries in an expression, with what they hold."""
    for node in ast.walk(place.node):
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            yield ast.unparse(node), place.values.get(node)


def _left_out(match: Match) -> Iterator[Term]:
    """What a match binds and one of its replacements does not take."""
    for form in (match.variant.stable, match.variant.clamp):
        if form is not None:
            taken = {part.name for part in walk(form)}
            yield from (term for name, term in match.bindings.items() if name not in taken)


def _inside(place: Place, idle: Mapping[str, Term]) -> Iterator[object]:
    """The values of the parts of an expression, but for parts that are a value in `idle`, on one way or another."""
    without = set(idle.values())
    waiting: list[ast.AST] = [place.node]
    while waiting:
        node = waiting.pop()
        value = place.values.get(node) if isinstance(node, ast.expr) else None
        if isinstance(value, Term) and not without.isdisjoint(alternatives(value)):
            continue
        if node is not place.node:  # that has one value for each of its parts' values
            yield value
        waiting.extend(ast.iter_child_nodes(node))


def _around(place: Place, lines: list[bytes]) -> tuple[str, str] | None:
    """What stands around the operand of a movement: in ``x[mask]``, ``x.gather(1, i)`` or ``torch.gather(x, 1, i)``."""
    if not isinstance(place.node, ast.Subscript | ast.Call):
        return None
    whole = segment(lines, place.node)
    before = ""
    match place.node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch" | "F")) as function, args=[operand, *_]):
            before = f"{segment(lines, function)}("
        case ast.Subscript(value=operand) | ast.Call(func=ast.Attribute(value=operand)):
            pass
        case _:  # nn.Flatten(0)(x), say
            return None
    around = before + segment(lines, operand)
    return (before, whole[len(around) :]) if whole.startswith(around) and "#" not in whole else None
