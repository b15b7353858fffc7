"""Layout: a tree as a program, in statements, helpers, methods of a class and other modules of a project."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from fuzzing.spelling import literal, written
from fuzzing.tree import LEAVES, Node, leaves, walk

HEAD = """\
from typing import Annotated

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

import nanguard
"""
_ORDINARY = ("alpha", "beta", "score", "gap", "ratio", "term", "part", "value", "base", "inner", "z", "t", "h", "u")


class Unwritten(Exception):
    """A tree of which a node has no spelling."""


@dataclass(frozen=True, slots=True)
class Program:
    """The files of a project by their names; `entry` is the function or class of `main` that computes the tree."""

    tree: Node
    files: dict[str, str]
    main: str
    entry: str
    leaves: tuple[str, ...]  # the arguments of the entry, in their order
    names: dict[str, str]  # what they are called there

    @property
    def is_class(self) -> bool:
        """Whether the entry is a module class."""
        return self.entry[0].isupper()

    def __str__(self) -> str:
        return "\n".join(f"# --- {name}\n{text}" for name, text in self.files.items())


@dataclass(slots=True)
class _Scope:
    """One function while it is written."""

    names: dict[str, str]  # of the arguments
    lines: list[str] = field(default_factory=list)
    texts: dict[Node, str] = field(default_factory=dict)
    prefix: str = ""


def program(root: Node, random: Random, name: str = "loss", plain: bool = False, files: bool = True) -> Program:
    """The tree as a program; a `plain` one is a single function with a statement for each shared value."""
    return _Writer(root, random, name, plain, files).program()


class _Writer:
    def __init__(self, root: Node, random: Random, name: str, plain: bool, files: bool) -> None:
        self.root, self.random, self.name, self.plain = root, random, name, plain
        self.split = 0.0 if plain else random.choice((0.0, 0.2, 0.6))
        self.out = 0.0 if plain else random.choice((0.0, 0.0, 0.12))
        self.module = not plain and random.random() < 0.3
        self.apart = files and not plain and self.out > 0 and random.random() < 0.5
        self.renamed = not plain and random.random() < 0.3
        self.constants: dict[str, str] = {}
        self.attributes: dict[str, str] = {}
        self.helpers: list[str] = []  # functions of the main file
        self.methods: list[str] = []
        self.others: list[str] = []  # functions of the other file
        self.imported: list[str] = []
        self.counts = Counter(part for node in walk(root) for part in node.parts)
        self.number = 0

    def program(self) -> Program:
        used = tuple(leaves(self.root))
        names = {name: f"{name}_{index}in" if self.renamed else name for index, name in enumerate(used)}
        scope = _Scope(names)
        result = self.text(self.root, scope)
        params = ", ".join(self.parameter(name, names[name]) for name in used)
        body = [*scope.lines, f"return {result}"]
        entry = self.name.capitalize() if self.module else self.name
        head = HEAD
        files: dict[str, str] = {}
        if self.imported:
            head += f"\nfrom parts_{self.name} import {', '.join(self.imported)}\n"
            files[f"parts_{self.name}.py"] = HEAD + "\n\n" + "\n\n".join(self.others)
        head += "".join(f"{key} = {value}\n" for key, value in self.constants.items())
        helpers = "".join(f"\n\n{text}" for text in self.helpers)
        if self.module:
            setup = "".join(f"        self.{key} = {value}\n" for key, value in self.attributes.items())
            built = f"    def __init__(self):\n        super().__init__()\n{setup}\n" if setup else ""
            methods = "".join(f"\n{_indented(text)}" for text in self.methods)
            forward = _indented(_function("forward", f"self, {params}", body))
            main = f"\n\nclass {entry}(nn.Module):\n{built}{forward}{methods}"
        else:
            main = "\n\n" + _function(entry, params, body)
        files[f"{self.name}_main.py"] = head + helpers + main
        return Program(self.root, files, f"{self.name}_main.py", entry, used, names)

    def parameter(self, name: str, called: str) -> str:
        known = LEAVES[name]
        if known.kind != "float" or (known.low == -float("inf") and known.high == float("inf")):
            return called
        ends = [literal(known.low), *([literal(known.high)] if known.high != float("inf") else [])]
        opened = ", low_open=True" if known.low_open else ""
        return f"{called}: Annotated[Tensor, nanguard.Range({', '.join(ends)}{opened})]"

    # --- expressions -----------------------------------------------------------------------------------

    def text(self, node: Node, scope: _Scope) -> str:
        """The expression of a node; statements that it needs are put before it."""
        if node in scope.texts:
            return scope.texts[node]
        if node.op == "leaf":
            return scope.names[str(node.value)]
        if node.op == "number":
            return literal(node.value)
        if node is not self.root and self.random.random() < self.out and leaves(node):
            text = self.helper(node, scope)
        else:
            parts = {part: self.text(part, scope) if part.op != "number" else self.literal(part) for part in node.parts}
            found = written(node, parts, self.random)
            if found is None:
                raise Unwritten(node.op)
            text = found
        if text.startswith("@"):
            left, sign, right = text[1:].split("\n")
            name = self.fresh(scope)
            scope.lines += [f"{name} = {_cloned(left)}", f"{name} {sign} {right}"]
            scope.texts[node] = name
            return name
        if self.counts[node] > 1 or self.random.random() < self.split:
            name = self.fresh(scope)
            scope.lines.append(f"{name} = {text}")
            scope.texts[node] = name
            return name
        return text

    def literal(self, node: Node) -> str:
        return literal(node.value)

    def fresh(self, scope: _Scope) -> str:
        self.number += 1
        return f"{self.random.choice(_ORDINARY)}{self.number}" if not self.plain else f"t{self.number}"

    def helper(self, node: Node, scope: _Scope) -> str:
        """A call of a function of its own that computes the node from the arguments."""
        used = leaves(node)
        self.number += 1
        name = f"{self.name}_step{self.number}"
        kind = self.random.choice(("function", "method") if self.module else ("function", "function", "nested"))
        inner = _Scope({leaf: f"{leaf}_" if self.random.random() < 0.5 else leaf for leaf in used})
        before, self.out = self.out, 0.0
        inner_text = self.body(node, inner)
        self.out = before
        params = ", ".join(self.parameter(leaf, inner.names[leaf]) for leaf in used)
        given = ", ".join(scope.names[leaf] for leaf in used)
        body = [*inner.lines, f"return {inner_text}"]
        if kind == "method":
            self.methods.append(_function(name, f"self, {params}", body))
            return f"self.{name}({given})"
        if kind == "nested":
            scope.lines += _function(name, params, body).rstrip("\n").split("\n")
            return f"{name}({given})"
        if self.apart:
            self.others.append(_function(name, params, body))
            self.imported.append(name)
            return f"{name}({given})"
        self.helpers.append(_function(name, params, body))
        return f"{name}({given})"

    def body(self, node: Node, scope: _Scope) -> str:
        return self.text(node, scope)


def _cloned(text: str) -> str:
    return f"{text}.clone()" if text.isidentifier() else f"({text}).clone()"


def _function(name: str, params: str, body: list[str]) -> str:
    return f"def {name}({params}):\n" + "".join(f"    {line}\n" for line in body)


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.rstrip("\n").split("\n"))
