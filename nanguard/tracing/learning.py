"""Learning: from the exception that a run ended in to better guesses of its arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from nanguard.tracing import naming
from nanguard.tracing.changes import Found, given_value, others, relayout, square, tensors, with_rank
from nanguard.tracing.clues import Clue
from nanguard.tracing.docshapes import shape_of
from nanguard.tracing.guesses import (
    C,
    Guess,
    N,
    Plain,
    Several,
    Shape,
    State,
    T,
    Tensor,
    Thing,
    relaid,
    without_classes,
)  # fmt: skip
from nanguard.tracing.plan import Plan, named
from nanguard.tracing.wishes import wish

Rule = Callable[[Clue, re.Match[str], Plan], Found]


def better(clue: Clue, plan: Plan) -> Iterator[State]:
    """States that may get further, likeliest first."""
    if clue.test is not None:
        yield from wish(clue, clue.test, clue.wanted, plan)
    for pattern, rule in _RULES:
        if match := pattern.search(f"{type(clue.error).__name__}: {clue.message}"):
            yield from rule(clue, match, plan)
    yield from _mentioned(clue, plan)


# --- dimensions ----------------------------------------------------------------------------------------


def _rank_said(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    for group in match.groups():
        if group is not None and group.isdigit():
            yield from with_rank(clue, int(group))


def _spatial_said(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    yield from with_rank(clue, int(match.group(1)) + 2)


def _ranked(rank: int) -> Rule:
    def rule(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
        yield from with_rank(clue, rank)

    return rule


def _rank_more(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """One dimension more than the largest of the expression."""
    ranks = sorted({len(guess.shape) for _, guess in tensors(clue)})
    for rank in ranks:
        yield from with_rank(clue, rank + 1)
    for rank in ranks:
        yield from with_rank(clue, rank + 2)


def _spatial_more(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Larger images, longer signals."""
    for size in (16, 32, 64, 192, 256):
        if size > clue.state.size("H"):
            yield clue.state.resize("H", size).resize("W", size).resize(T, size)
            if size >= 32:
                break
    for size in (1024, 8000, 16000):
        if size > clue.state.size(T):
            yield clue.state.resize(T, size).resize("L", size)
    for size in (192, 256):
        if size > clue.state.size("H"):
            yield clue.state.resize("H", size).resize("W", size)


def _shapes_listed(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Shapes that a message lists: the tensors get one of them."""
    for text in dict.fromkeys(re.findall(r"[\[(](\d+(?:, ?\d+)*),?[\])]", clue.message)):
        shape = tuple(int(part) for part in text.split(","))
        state = clue.state
        for name, guess in tensors(clue):
            state = state.put(name, replace(guess, shape=shape))
        yield state
        for name, guess in tensors(clue):
            yield clue.state.put(name, replace(guess, shape=shape))


def _numbered(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A size that a message names: 257 elements, two sources."""
    said = next(group for group in match.groups() if group is not None).lower()
    number = int(said) if said.isdigit() else {"two": 2, "three": 3}.get(said, 1)
    if not 0 < number <= 1 << 15:
        return
    concerned = tensors(clue)
    for dim in dict.fromkeys(d for _, g in concerned for d in reversed(g.shape) if isinstance(d, str)):
        if clue.state.size(dim) != number:
            yield clue.state.resize(dim, number)
    for name, guess in concerned:
        if guess.shape:
            yield clue.state.put(name, replace(guess, shape=(*guess.shape[:-1], number)))
            yield clue.state.put(name, replace(guess, shape=(guess.shape[0], number, *guess.shape[2:])))


def _at_least(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A kernel or a window that is larger than the input."""
    number = int(match.group(1))
    state = clue.state
    for dim in dict.fromkeys(d for _, g in state.tensors() for d in g.shape[2:] or g.shape[1:] if isinstance(d, str)):
        state = state.resize(dim, max(2 * number, state.size(dim)))
    yield state


def _sizes_differ(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Two sizes that should be equal."""
    numbers = [int(group) for group in match.groups() if group is not None and group.isdigit()]
    every = list(clue.state.tensors())
    concerned = tensors(clue)
    state = clue.state
    # the sizes that no dimension of an argument has come from elsewhere: from the object, or a constant
    known = {state.size(dim) for _, guess in every for dim in guess.shape}
    strange = [number for number in numbers if number not in known and number > 0]
    for number in strange:
        for _, guess in (*concerned, *every):
            for letter in guess.shape:
                if isinstance(letter, str) and state.size(letter) in numbers:
                    yield state.resize(letter, number)
    place = re.search(r"dimension (\d+)", clue.message)
    if place is not None and len(numbers) == 2:
        for name, guess in reversed(concerned):
            for at in {int(place.group(1)), int(place.group(1)) - 1}:
                if 0 <= at < len(guess.shape) and state.size(guess.shape[at]) in numbers:
                    other = numbers[numbers.index(state.size(guess.shape[at])) - 1]
                    dim: str | int = next((d for d in (N, C) if state.size(d) == other), other)
                    yield state.put(name, replace(guess, shape=(*guess.shape[:at], dim, *guess.shape[at + 1 :])))
    if len(concerned) > 1:
        first = concerned[0][1].shape
        for shape in dict.fromkeys([guess.shape for _, guess in concerned]):
            changed = state
            for name, guess in concerned:
                changed = changed.put(name, replace(guess, shape=shape))
            yield changed
        for name, guess in concerned[1:]:
            yield state.put(name, replace(guess, shape=without_classes(first)))
            yield state.put(name, replace(guess, shape=first[:1]))
    else:
        for name, guess in every:
            for another, model in every:
                if name != another and guess.shape != model.shape:
                    yield state.put(name, replace(guess, shape=model.shape))
    plain: tuple[Shape, ...] = ((N, C), (N,), (N, 1), (), (N, N))
    for name, guess in concerned:
        for layout in plain:
            if guess.shape != layout:
                yield state.put(name, replace(guess, shape=layout))
    yield state.resize(C, state.size(N))
    yield square(state)


def _unpacked(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """``a, b = x.shape``, or ``a, b = x``"""
    wanted = int(match.group(1))
    yield from with_rank(clue, wanted)
    for name, guess in tensors(clue):
        yield clue.state.put(name, Several((guess,) * wanted, "tuple"))
        yield clue.state.put(name, replace(guess, shape=(wanted, *guess.shape[1:])))
        yield clue.state.put(name, replace(guess, shape=(*guess.shape[:-1], wanted)))
    for name in others(clue):
        held = clue.state.get(name)
        if isinstance(held, Several) and held.items:
            yield clue.state.put(name, replace(held, items=(held.items[0],) * wanted))


def _channels(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A layer that was built for another number of channels."""
    number = int(match.group(1))
    yield clue.state.resize(C, number)
    for name, guess in tensors(clue):
        if len(guess.shape) > 1:
            yield clue.state.put(name, replace(guess, shape=(guess.shape[0], number, *guess.shape[2:])))
            yield clue.state.put(name, replace(guess, shape=(*guess.shape[:-1], number)))


def _products(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """mat1 and mat2 shapes cannot be multiplied"""
    _, columns, rows, _ = map(int, match.groups())
    yield from _resized(clue, columns, rows)
    yield from _resized(clue, rows, columns)
    yield from _sizes_differ(clue, match, plan)


def _resized(clue: Clue, old: int, new: int) -> Found:
    """Dimensions of one size get another."""
    for dim in dict.fromkeys(d for _, g in clue.state.tensors() for d in g.shape if isinstance(d, str)):
        if clue.state.size(dim) == old:
            yield clue.state.resize(dim, new)


# --- dtypes --------------------------------------------------------------------------------------------


def _to_values(values: str) -> Rule:
    """A rule that gives the tensors of the expression other entries."""

    def rule(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
        concerned = [pair for pair in tensors(clue) if pair[1].values != values]
        ordered = sorted(concerned, key=lambda pair: _fits(pair[0], values))
        together = clue.state
        for name, guess in ordered:
            together = together.put(name, replace(guess, values=values))
        if values in _FLOATS:
            yield together
        for name, guess in ordered:
            made = replace(guess, values=values)
            yield clue.state.put(name, made)
            if values == "labels" and len(guess.shape) > 1:
                yield clue.state.put(name, relaid(made, guess.shape))
        yield together

    return rule


_FLOATS = frozenset({"unit", "positive", "simplex"})


def _fits(name: str, values: str) -> int:
    """How badly a name fits some entries."""
    role = naming.role(name)
    good = {
        "labels": ("labels", "index", "target", "events"), "mask": ("mask", "events", "target", "weight"),
        "unit": ("unit", "target"), "positive": ("positive", "times", "weight"),
        "binary": ("target", "mask", "labels", "events"),
    }.get(values, ())  # fmt: skip
    return good.index(role) if role in good else len(good)


def _to_floats(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Numbers of classes, masks become floats."""
    concerned = [(name, guess) for name, guess in tensors(clue) if guess.integral or guess.values == "mask"]
    for name, guess in concerned:
        yield clue.state.put(name, replace(guess, values="binary"))
        yield clue.state.put(name, replace(guess, values="normal"))
    state = clue.state
    for name, guess in concerned:
        state = state.put(name, replace(guess, values="binary"))
    yield state


def _to_dtype(dtype: str) -> Rule:
    def rule(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
        for name, guess in tensors(clue):
            yield clue.state.put(name, replace(guess, dtype=dtype))

    return rule


def _index_range(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Indices that are too large or no indices at all, or rows that are too few."""
    if not any(guess.values == "labels" for _, guess in tensors(clue)):
        yield from _to_values("labels")(clue, match, plan)
    for name, guess in clue.state.tensors():
        if guess.values == "labels":
            yield clue.state.put(name, replace(guess, high=2 if guess.high != 2 else 1))
    for dim in (C, T, N):
        yield clue.state.resize(dim, clue.state.size(dim) + 4)
    for name, guess in tensors(clue):
        if guess.values == "labels":
            yield clue.state.put(name, replace(guess, high=1))
    yield from _rank_more(clue, match, plan)


# --- other kinds of arguments --------------------------------------------------------------------------


def _none_used(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A parameter whose default is None is used all the same."""
    missing = [name for name, p in plan.parameters.items() if clue.state.get(name) is None]
    words = set(re.findall(r"\w+", clue.message)) | set(clue.names)
    line = set(clue.involved)
    ordered = sorted(missing, key=lambda name: (name not in words, name not in line))
    for name in ordered:
        yield from given_value(clue, name, plan)


def _mentioned(clue: Clue, plan: Plan) -> Found:
    """Parameters without a value that the message names."""
    if not isinstance(clue.error, ValueError | TypeError | AssertionError | RuntimeError):
        return
    for word in dict.fromkeys(re.findall(r"\w+", clue.message)):
        if word in plan.parameters:
            yield from given_value(clue, word, plan)


def _attribute(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument that lacks an attribute becomes an object that has it."""
    kind, name = match.group(1), match.group(2)
    for parameter in others(clue):
        guess = clue.state.get(parameter)
        if guess is None:
            continue
        yield from (clue.state.put(parameter, other) for other in _having(guess, kind, name, parameter))


def _having(guess: Guess, kind: str, attribute: str, parameter: str) -> Iterator[Guess]:
    layout: Shape = guess.shape if isinstance(guess, Tensor) else (N, C)
    made = Tensor(layout)
    if hasattr(torch.Tensor, attribute) and kind != "Tensor":
        yield made
    elif attribute in ("astype", "copy", "reshape"):
        yield Thing("array", held=made)
    elif attribute in ("append", "extend", "insert", "index"):
        yield Several((made, made), "list")
    elif attribute in ("items", "keys", "values", "get", "update", "pop"):
        yield Several((made,), "dict", ("a",))
    elif attribute in ("lower", "upper", "startswith"):
        yield Plain("mean")
    elif attribute in ("log_prob", "rsample", "mean", "loc", "kl_divergence", "base_dist"):
        yield Thing("normal", held=made)
    elif isinstance(guess, Thing) and guess.kind == "object":
        yield replace(guess, attributes=(*guess.attributes, (attribute, made)))
    else:
        yield Thing("object", ((attribute, made),))
        yield Thing("config")
        yield Thing("module")


def _key(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A key that a dict, or the keywords of the call, lacked."""
    key = str(clue.error.args[0]) if clue.error.args else ""
    if plan.keywords:
        yield _with_keyword(clue.state, plan, key)
    for name in others(clue):
        guess = clue.state.get(name)
        if isinstance(guess, Several) and guess.kind == "dict" and key not in guess.keys:
            item = guess.items[0] if guess.items else Tensor((N, C))
            yield clue.state.put(name, Several((*guess.items, item), "dict", (*guess.keys, key)))
        elif isinstance(guess, Tensor | Thing):
            yield clue.state.put(name, Several((Tensor((N, C)),), "dict", (key,)))


def _with_keyword(state: State, plan: Plan, key: str) -> State:
    """One more keyword for a parameter that takes any."""
    parameter = str(plan.keywords)
    held = state.get(parameter)
    items, keys = (held.items, held.keys) if isinstance(held, Several) else ((), ())
    layout = next((guess.shape for _, guess in state.tensors()), (N, C))
    made = plan.guess(named(key), layout) if plan.building else Tensor(layout)
    return state.put(parameter, Several((*items, made), "dict", (*keys, key)))


def _as_dict(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument that is indexed with a text."""
    for name in others(clue):
        used = plan.parameters[name].use.keys if name in plan.parameters else []
        keys = tuple(dict.fromkeys(used)) or ("a",)
        yield clue.state.put(name, Several((Tensor((N, C)),) * len(keys), "dict", keys))


def _to_callable(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    for name in clue.involved:
        yield clue.state.put(name, Thing("callable"))
        yield clue.state.put(name, Thing("module"))


def _to_tensor(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument that is no tensor becomes one."""
    layout = next((guess.shape for _, guess in clue.state.tensors()), (N, C))
    for name in others(clue):
        if not isinstance(clue.state.get(name), Tensor | None):
            yield clue.state.put(name, Tensor(layout))
    for name, guess in clue.state.guesses:
        if isinstance(guess, Plain | Thing):
            yield clue.state.put(name, Tensor(layout))


def _to_number(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument that is a tensor becomes a number."""
    for name, _ in tensors(clue):
        number = naming.number(name)
        yield clue.state.put(name, Plain(int(number) if number and number >= 1 else 2))
        yield clue.state.put(name, Plain(float(number or 0.5)))
    for name, guess in tensors(clue):
        if guess.shape != ():
            yield clue.state.put(name, replace(guess, shape=()))


def _to_list(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument becomes a list of tensors."""
    for name, guess in tensors(clue):
        yield clue.state.put(name, Several((guess, guess), "list"))
        yield clue.state.put(name, Several((guess, guess), "tuple"))
    for name in others(clue):
        if isinstance(clue.state.get(name), Plain | Thing):
            yield clue.state.put(name, Several((Tensor((N, C)),) * 2, "list"))
            yield clue.state.put(name, Tensor((N, C)))


def _ambiguous(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A tensor with several entries where one is meant: a flag, a number."""
    for name, guess in tensors(clue):
        yield clue.state.put(name, Plain(True))
        yield clue.state.put(name, replace(guess, shape=()))
    yield relayout(clue.state, ())


def _missing_argument(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A keyword that is passed on, or one that the callable takes with its default."""
    names = re.findall(r"'(\w+)'", match.group(1))
    state = clue.state
    for name in names:
        yield from given_value(clue, name, plan)
        if plan.keywords and name not in plan.parameters:
            state = _with_keyword(state, plan, name)
    yield state


def _one_of(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Options that a message lists."""
    quoted = re.findall(r"['\"`](\w[\w\-]*)['\"`]", clue.message)
    for name in others(clue):
        if isinstance(clue.state.get(name), Plain):
            for word in quoted:
                yield clue.state.put(name, Plain(word))


def _numpy(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    for name, guess in tensors(clue):
        yield clue.state.put(name, Thing("array", held=guess))


def _shape_said(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A shape that a message writes out: BxCxHxW, (N, C), [B, C]"""
    shape = shape_of(re.split(r"\s*[x×,*]\s*", match.group(1)))
    if shape is not None:
        for name, guess in tensors(clue):
            yield clue.state.put(name, replace(guess, shape=shape))
        state = clue.state
        for name, guess in state.tensors():
            state = state.put(name, replace(guess, shape=shape))
        yield state


_RULES: tuple[tuple[re.Pattern[str], Rule], ...] = tuple(
    (re.compile("|".join(patterns)), rule)
    for rule, *patterns in (
        # numbers of dimensions
        (_unpacked, r"(?:not enough|too many) values to unpack \(expected (?:at least )?(\d+)"),
        (_rank_said,
         r"(?i)(?:expect\w*|requires?|works?|must be|should be|be|is|have|has|only supports?|needs?|supported)"
         r"[^.]{0,60}?"
         r"\b(\d)[- ]?(?:D\b|dim|d tensor|axes)(?:[^.]{0,30}?(?:\bor\b|/|and)\s*(\d)[- ]?(?:D|dim))?"),
        (_rank_said, r"(?i)expected (?:input )?(\d)D or (\d)D"),
        (_rank_said, r"(?i)(\d)[- ]?D(?:imensional)? (?:tensor|input)s? (?:is |are )?(?:expected|required)"),
        (_rank_said, r"(?i)dimension\w* (?:to be|must be|should be|equal to|of|=+) (\d)"),
        (_rank_said, r"expected (\d) dimensions|len\(dims\) = (\d)|(\d) or more dim"),
        (_spatial_said, r"(\d) spatial dim"),
        (_ranked(2), r"must be a (?:square )?matrix|expected a matrix|2-D matri"),
        (_to_values("ordered"), r"(?i)\bbox|increasing|ascending|sorted"),
        (_rank_more, r"number of dims don't match in permute|permute\(sparse_coo\)"),
        (_shape_said, r"(?i)shape (?:of )?[\[(]?((?:\*|[A-Z]\w*)(?:\s?[x×,*]\s?[A-Z0-9]\w*)+)"),
        (_rank_more, r"Dimension out of range", r"too many indices", r"(?:tuple|list) index out of range",
         r"Dimension specified as", r"dimensions must", r"iteration over a 0-d", r"0-d tensor", r"0-dim"),
        (_ranked(1), r"1D tensors expected", r"inconsistent tensor size, expected tensor \[\d+\] and src"),
        # dtypes
        (_to_values("labels"), r"expected scalar type (?:Long|Int)", r"expected (?:dtype|object of) .*(?:int64|Long)",
         r"[Ee]xpected dtype int", r"must be (?:of (?:type|dtype) )?(?:torch\.)?(?:int64|long|Long)", r"index tensor",
         r"used as indices must be", r"Long, Int", r"'indices'", r"torch\.int64", r"LongTensor",
         r"integer (?:tensor|type|dtype)", r"must be integers", r"long dtype"),
        (_to_floats, r"expected scalar type (?:Float|Double)", r"[Ee]xpected floating", r"floating[- ]point",
         r"not implemented for '(?:Long|Bool|Int)'", r"can't be cast to the desired output type",
         r"(?:dtype|Input) .*floating", r"Found dtype Long", r"should be float", r"float32", r"[Ee]xpected .* float",
         r"bool tensor", r"must be float"),
        (_to_values("mask"), r"bitwise_", r"torch\.bool", r"must be bool", r"[Bb]oolean", r"BoolTensor",
         r"mask to be bool", r"expected .*[Bb]ool", r"condition to have type bool"),
        (_to_dtype("complex64"), r"(?:be|expects?|requires?|expected|only)\b[^.]*complex"),
        # sizes
        (_at_least, r"Kernel size: \((\d+)"),
        (_spatial_more, r"[Kk]ernel size", r"smaller than (?!num)", r"too small", r"[Pp]adding size should be less",
         r"larger than", r"at least \d+", r"calculated output size", r"greater than actual input", r"window"),
        (_index_range, r"index \S* ?(?:is )?out of (?:range|bounds)", r"out of bounds", r"Class values must be",
         r"index out of range", r"smaller than num_classes", r"Target \d+ is out"),
        (_products, r"mat1 and mat2 shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)"),
        (_channels, r"to have (\d+) channels"),
        (_channels, r"Given normalized_shape=\[(\d+)\]"),
        (_channels, r"expected input\.size\(-1\) must be equal to input_size\. Expected (\d+)"),
        (_sizes_differ, r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)"),
        (_sizes_differ, r"[Ee]xpected size (\d+) but got size (\d+)",
         r"Expected input batch_size \((\d+)\) to match target batch_size \((\d+)\)",
         r"Expected size .*? \[(\d+), .*but got.*\[(\d+)",
         r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\)"),
        (_sizes_differ, r"[Ss]hape mismatch", r"[Ss]ame (?:shape|size|length|number|batch|dim|spatial)", r"must match",
         r"do(?:es)? not match", r"mismatch", r"sizes? .*equal", r"is invalid for input of size", r"broadcast",
         r"incompatible", r"[Ee]xpected target size", r"inconsistent", r"[Dd]iffer(?:s|ent)? .*(?:shape|size)",
         r"target size", r"equal length"),
        (_shapes_listed, r"[\[(]\d+(?:, ?\d+)*,?[\])].*[\[(]\d+(?:, ?\d+)*,?[\])]"),
        (_numbered, r"(?i:\b(\d+) (?:elements|channels|features|columns|points|samples|frames|coordinates))",
         r"(?i:\b(two|three|single|one) (?:\w+ )?(?:mixtures?|sources?|channels?|inputs?|classes|elements|columns))"),
        # other kinds of arguments
        (_missing_argument, r"missing \d+ required (?:positional|keyword-only) arguments?: (.*)"),
        (_none_used, r"NoneType", r"(?:is|are) required", r"must (?:be given|be provided|provide|specify|pass)",
         r"cannot be None", r"not None", r"need to"),
        (_to_callable, r"object is not callable"),
        (_attribute, r"'([\w.]+)' object has no attribute '(\w+)'"),
        (_key, r"^KeyError"),
        (_as_dict, r"indices must be integers or slices, not str", r"string indices"),
        (_to_tensor, r"must be Tensor, not",
         r"'(?:int|float|str|bool|function)' object is not (?:subscriptable|iterable)",
         r"(?:argument|input) .*must be (?:a )?Tensor", r"has no len\(\)",
         r"'(?:float|int|str|bool|function|Bunch|Config)' and", r"and '(?:float|int|str|function|Bunch|Config)'",
         r"[Ee]xpected (?:a )?(?:torch\.)?Tensor", r"to be a [tT]ensor", r"is not a (?:torch\.)?[tT]ensor"),
        (_to_number, r"cannot be interpreted as an integer", r"must be (?:tuple of )?ints?",
         r"only integer tensors of a single element", r"not Tensor", r"can only convert",
         r"cannot be converted to Scalar", r"could not convert"),
        (_to_list, r"tuple of Tensors", r"list of [Tt]ensors", r"sequence of", r"must be (?:a )?(?:list|tuple)",
         r"iterable"),
        (_ambiguous, r"[Bb]oolean value of Tensor"),
        (_one_of, r"(?i)one of|unknown|unsupported|invalid|not supported|not implemented|choose|choices|available"),
        (_numpy, r"numpy", r"ndarray"),
        # values
        (_to_values("unit"), r"(?i)probabilit|between 0|greater (?:than )?or equal|values? (?:to be|must be|should be)|"
         r"\[0, ?1\]|range|values? in"),
        (_to_values("positive"), r"(?i)positive|negative|GreaterThan"),
        (_to_values("simplex"), r"(?i)simplex|sum to (?:1|one)|normali[sz]ed"),
        (_to_values("binary"), r"(?i)binary|0 (?:and|or) 1|only .*0.*1"),
        (_to_values("onehot"), r"(?i)one[- ]hot"),
    )
)  # fmt: skip
