"""What a message says of the kind of an argument: a tensor, a number, a list, a dict, an object, a callable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import torch

from nanguard.tracing import naming
from nanguard.tracing.changes import Found, given_value, others, relayout, tensors
from nanguard.tracing.clues import Clue
from nanguard.tracing.guesses import (
    C,
    Guess,
    N,
    Plain,
    Several,
    Shape,
    State,
    Tensor,
    Thing,
)  # fmt: skip
from nanguard.tracing.plan import Plan, named


def none_used(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A parameter whose default is None is used all the same."""
    missing = [name for name, p in plan.parameters.items() if clue.state.get(name) is None]
    words = set(re.findall(r"\w+", clue.message)) | set(clue.names)
    line = set(clue.involved)
    ordered = sorted(missing, key=lambda name: (name not in words, name not in line))
    for name in ordered:
        yield from given_value(clue, name, plan)


def mentioned(clue: Clue, plan: Plan) -> Found:
    """Parameters without a value that the message names."""
    if not isinstance(clue.error, ValueError | TypeError | AssertionError | RuntimeError):
        return
    for word in dict.fromkeys(re.findall(r"\w+", clue.message)):
        if word in plan.parameters:
            yield from given_value(clue, word, plan)


def attribute(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
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


def key(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
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


def as_dict(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument that is indexed with a text."""
    for name in others(clue):
        used = plan.parameters[name].use.keys if name in plan.parameters else []
        keys = tuple(dict.fromkeys(used)) or ("a",)
        yield clue.state.put(name, Several((Tensor((N, C)),) * len(keys), "dict", keys))


def to_callable(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Something that is called becomes a module."""
    for name in clue.involved:
        yield clue.state.put(name, Thing("callable"))
        yield clue.state.put(name, Thing("module"))


def to_tensor(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument that is no tensor becomes one."""
    layout = next((guess.shape for _, guess in clue.state.tensors()), (N, C))
    for name in others(clue):
        if not isinstance(clue.state.get(name), Tensor | None):
            yield clue.state.put(name, Tensor(layout))
    for name, guess in clue.state.guesses:
        if isinstance(guess, Plain | Thing):
            yield clue.state.put(name, Tensor(layout))


def to_number(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument that is a tensor becomes a number."""
    for name, _ in tensors(clue):
        number = naming.number(name)
        yield clue.state.put(name, Plain(int(number) if number and number >= 1 else 2))
        yield clue.state.put(name, Plain(float(number or 0.5)))
    for name, guess in tensors(clue):
        if guess.shape != ():
            yield clue.state.put(name, replace(guess, shape=()))


def to_list(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """An argument becomes a list of tensors."""
    for name, guess in tensors(clue):
        yield clue.state.put(name, Several((guess, guess), "list"))
        yield clue.state.put(name, Several((guess, guess), "tuple"))
    for name in others(clue):
        if isinstance(clue.state.get(name), Plain | Thing):
            yield clue.state.put(name, Several((Tensor((N, C)),) * 2, "list"))
            yield clue.state.put(name, Tensor((N, C)))


def ambiguous(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A tensor with several entries where one is meant: a flag, a number."""
    for name, guess in tensors(clue):
        yield clue.state.put(name, Plain(True))
        yield clue.state.put(name, replace(guess, shape=()))
    yield relayout(clue.state, ())


def missing_argument(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """A keyword that is passed on, or one that the callable takes with its default."""
    names = re.findall(r"'(\w+)'", match.group(1))
    state = clue.state
    for name in names:
        yield from given_value(clue, name, plan)
        if plan.keywords and name not in plan.parameters:
            state = _with_keyword(state, plan, name)
    yield state


def one_of(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Options that a message lists."""
    quoted = re.findall(r"['\"`](\w[\w\-]*)['\"`]", clue.message)
    for name in others(clue):
        if isinstance(clue.state.get(name), Plain):
            for word in quoted:
                yield clue.state.put(name, Plain(word))


def numpy(clue: Clue, match: re.Match[str], plan: Plan) -> Found:
    """Tensors become arrays."""
    for name, guess in tensors(clue):
        yield clue.state.put(name, Thing("array", held=guess))
