"""Docshapes: the shapes of parameters that docstrings and annotations tell."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from nanguard.tracing.naming import SIZES

Shape = tuple[str | int, ...]

_LIST = re.compile(r"[\(\[]\s*((?:[\w\s.+*/\-{}\\]+,)+[\w\s.+*/\-{}\\]*|[A-Z])\s*,?[\)\]]")
_PACKED = re.compile(r"\b([BN][CNHWDT]{1,4})(?:[\[(]([HWD]{1,3})[\])])?(?!\w)")
_CROSSED = re.compile(r"\b([A-Z1-9]\w*(?:\s[x×*]\s\w+)+|[A-Z1-9][A-Z0-9]?(?:[x×*](?:[A-Z][A-Z0-9]?|\d+))+)\b")
_ANNOTATED = re.compile(r"(\w+)\[[^\"'\]]*((?:[\"'][^\"']+[\"'](?:,\s*)?)+)")
_WORDS = {
    "batch": "N", "batch_size": "N", "bs": "N", "minibatch": "N", "b": "N", "n": "N", "batchsize": "N", "nb": "N",
    "c": "C", "num_classes": "C", "n_classes": "C", "classes": "C", "channels": "C", "channel": "C", "n_class": "C",
    "num_class": "C", "nclasses": "C", "k": "C",
    "h": "H", "height": "H", "w": "W", "width": "W", "t": "T", "time": "T", "seq_len": "T", "l": "T", "length": "T",
    "d": "D", "dim": "D", "embedding_dim": "D", "embedding_size": "D", "hidden_size": "D", "e": "D",
}  # fmt: skip


def documented(docs: Iterable[str | None], names: Iterable[str]) -> dict[str, tuple[Shape, ...]]:
    """The shapes that docstrings give for parameters, in the order in which they stand there."""
    listed = list(names)
    found: dict[str, list[Shape]] = {name: [] for name in listed}
    for doc in docs:
        for name, text in _blocks(doc or "", listed):
            found[name].extend(shape for shape in _shapes(text) if shape not in found[name])
    return {name: tuple(shapes) for name, shapes in found.items()}


def integral(docs: Iterable[str | None], names: Iterable[str]) -> frozenset[str]:
    """The parameters that docstrings call numbers of classes or indices."""
    listed = list(names)
    blocks = [block for doc in docs for block in _blocks(doc or "", listed)]
    return frozenset(name for name, text in blocks if _INTEGRAL.search(text))


_INTEGRAL = re.compile(
    r"(?i)class (?:ind|labels?\b|ids?\b)|\binteger|\blong\b|int64|LongTensor|[≤<]=? ?\S+ ?[≤<]=? ?C\b|\bindices\b|leq"
)


def docs_of(function: Callable[..., Any] | None, owner: object) -> list[str | None]:
    """The docstrings that speak of the parameters of a function."""
    own = inspect.getdoc(function) if function is not None else None
    return [own, type(owner).__doc__] if owner is not None else [own]


def _blocks(doc: str, names: list[str]) -> list[tuple[str, str]]:
    """The pieces of a docstring that begin with the name of a parameter."""
    starts: list[tuple[int, str]] = []
    for name in names:
        marked = rf"[`*]{{0,2}}{re.escape(name)}[`*]{{0,2}}"
        pattern = rf"(?im)^[ \t]*(?:[-*]\s*)?(?::param\s+(?:[\w.]+\s+)?|@param\s+)?{marked}\s*(?:\([^\n]*\))?\s*[:(\-–]"
        starts.extend((match.start(), name) for match in re.finditer(pattern, doc))
    starts.sort()
    blocks = []
    for index, (start, name) in enumerate(starts):
        end = starts[index + 1][0] if index + 1 < len(starts) else len(doc)
        text = doc[start:end]
        stop = re.search(r"\n\s*(Returns?|Raises?|Examples?|Shape|:return|:rtype|>>>)\b", text)
        blocks.append((name, text[: stop.start() if stop else 600][:600]))
    return blocks


def _shapes(text: str) -> list[Shape]:
    body = text.split(":", 1)[-1] if ":" in text else text
    body = body.replace(":math:", "").replace("`", "").replace("\\text", "").replace("\\times", "x")
    found: list[tuple[int, Shape]] = []
    for match in _PACKED.finditer(body):
        letters = match.group(1) + (match.group(2) or "")[:1]
        rest = letters[1:].replace("N", "C")  # the batch is the first one, whatever it is called
        found.append((match.start(), ("N", *rest)))
        body = body[: match.start()] + " " * (match.end() - match.start()) + body[match.end() :]
    for match in _LIST.finditer(body):
        shape = shape_of(match.group(1).split(","))
        if shape is not None:
            found.append((match.start(), shape))
    for match in _CROSSED.finditer(body):
        shape = shape_of(re.split(r"\s?[x×*]\s?", match.group(1)))
        if shape is not None:
            found.append((match.start(), shape))
    return [shape for _, shape in sorted(found, key=lambda pair: pair[0])]


def shape_of(parts: Iterable[str]) -> Shape | None:
    """A shape of the dimensions `parts`, None where they are no dimensions."""
    shape: list[str | int] = []
    for part in parts:
        word = re.sub(r"[{}\\$_]", lambda m: "_" if m.group() == "_" else "", part.strip())
        if not word:
            continue
        if word.isdigit():
            if not 0 < int(word) <= 64:
                return None
            shape.append(int(word))
        elif word in ("*", "...", "…", "*spatial", "*_"):
            continue
        elif match := re.fullmatch(r"\*?([A-Za-z]\w*)\s*([+\-]\s*1)?", word):
            letter = _letter(match.group(1))
            if letter is None:
                return None
            shape.append(letter)
        else:
            return None
    return tuple(shape) if 0 < len(shape) < 6 else None


def _letter(word: str) -> str | None:
    lower = word.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    known = next((letter for key, letter in _WORDS.items() if len(key) > 3 and key in lower), None)
    if known is not None:
        return known
    if len(word) <= 2 or word.isupper():
        return word
    if word.upper() in SIZES or re.search(r"size|num|dim|len|n_|_n|points?|frames?|samples?|sources?|nodes?", lower):
        return word
    return None if lower in _PLAIN else (word if "_" in word else None)


_PLAIN = frozenset({"optional", "tensor", "float", "int", "bool", "str", "torch", "default", "string", "list", "of"})


def annotated(text: str) -> tuple[Shape | None, str | None]:
    """The shape and the kind of dtype that an annotation gives: ``Float[Tensor, "batch classes"]``."""
    match = _ANNOTATED.search(text)
    if match is None:
        return None, None
    kind = match.group(1).lower()
    dtype = "float" if "float" in kind else "int" if "int" in kind else "bool" if "bool" in kind else None
    parts = re.split(r"[\s,]+", re.sub(r"[\"']", "", match.group(2)).strip())
    return shape_of([part.lstrip("#*_?") or "..." for part in parts]), dtype
