"""Arguments: those of one call taken apart into tensors, which a capture has as inputs, and the rest."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree


class Unknown:
    """An argument that is not known, when a callable is traced without inputs."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call.

    `tensors` are all tensors in them, also those inside lists, tuples and dicts, under the names `names`;
    `parts` are the arguments by the names of the parameters, each as leaves with their structure.
    """

    signature: inspect.Signature
    names: tuple[str, ...]
    tensors: tuple[Any, ...]
    parts: tuple[tuple[str, tuple[Any, ...], pytree.TreeSpec | None], ...]

    def rebuild(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the keyword arguments of the call, with other tensors."""
        given = iter(tensors)
        bound = inspect.BoundArguments(self.signature, OrderedDict())
        for name, leaves, spec in self.parts:
            values = [next(given) if is_input(leaf) else leaf for leaf in leaves]
            bound.arguments[name] = values[0] if spec is None else pytree.tree_unflatten(values, spec)
        return bound.args, bound.kwargs

    def values(self) -> dict[str, Any]:
        """The arguments by the names of the parameters."""
        return {
            name: leaves[0] if spec is None else pytree.tree_unflatten(list(leaves), spec)
            for name, leaves, spec in self.parts
        }

    def key(self) -> tuple[object, ...]:
        """What a capture depends on: where tensors are, of which dtype, and the value of everything else."""
        return tuple(
            (name, None if spec is None else repr(spec), *map(_key, leaves)) for name, leaves, spec in self.parts
        )


def is_input(value: object) -> bool:
    """Whether a value becomes an input of the graph."""
    return isinstance(value, torch.Tensor | Unknown)


def _key(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.dtype
    try:
        hash(value)
    except TypeError:
        return ("id", id(value))
    return (type(value), value)


class Binder:
    """Binds the arguments of calls to one signature; in the plain case faster than `inspect` does."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.signature = signature
        parameters = signature.parameters.values()
        self.plain = all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters)
        self.positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.defaults = {p.name: p.default for p in parameters}

    def __call__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """The arguments of a call, defaults included; raises `TypeError` as the call would."""
        values = {**self.defaults, **dict(zip(self.positional, args, strict=False)), **kwargs}
        repeated = any(name in kwargs for name in self.positional[: len(args)])
        missing = any(value is inspect.Parameter.empty for value in values.values())
        surplus = len(args) > len(self.positional) or len(values) != len(self.defaults)
        if not self.plain or repeated or missing or surplus:
            bound = self.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = bound.arguments
        return taken_apart(self.signature, values)


def taken_apart(signature: inspect.Signature, values: Mapping[str, Any]) -> Arguments:
    """Values by the names of parameters, taken apart."""
    parts: list[tuple[str, tuple[Any, ...], pytree.TreeSpec | None]] = []
    names: list[str] = []
    tensors: list[Any] = []
    for name, value in values.items():
        leaves, spec = ((value,), None)
        if isinstance(value, list | tuple | dict):
            leaves, spec = pytree.tree_flatten(value)  # type: ignore[assignment]
        parts.append((name, tuple(leaves), spec))
        for index, leaf in enumerate(leaves):
            if is_input(leaf):
                names.append(name if spec is None else f"{name}_{index}")
                tensors.append(leaf)
    return Arguments(signature, tuple(names), tuple(tensors), tuple(parts))


def unknown(signature: inspect.Signature) -> Mapping[str, Any]:
    """What is known of the arguments from a signature: the defaults."""
    return dict(_known(signature))


def _known(signature: inspect.Signature) -> Iterator[tuple[str, Any]]:
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield name, ()
        elif parameter.kind is parameter.VAR_KEYWORD:
            yield name, {}
        else:
            yield name, Unknown() if parameter.default is parameter.empty else parameter.default
