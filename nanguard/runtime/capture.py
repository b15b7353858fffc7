"""Capture: a recorded and rewritten graph, and what it depends on of the program around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from nanguard.runtime.replacement import Replacement
from nanguard.runtime.rewriting import copied
from nanguard.tracing.arguments import Arguments
from nanguard.tracing.trace import Watched
from nanguard.tracing.tracer import is_layer


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture: the graph as it was recorded, as it was rewritten, and what it depends on."""

    recorded: fx.GraphModule
    rewritten: fx.GraphModule
    replacements: tuple[Replacement, ...]
    extra: Mapping[str, Any]
    watched: tuple[Watched, ...]
    outside: tuple[tuple[nn.Module, object], ...]  # modules beside its own, and their states
    switches: bool  # it changes the grad mode on its way
    repeatable: bool  # it writes nothing and draws nothing: after an error the original may still run
    general: bool  # it depends on nothing of its inputs, and is as good for other dtypes and shapes

    @property
    def graph(self) -> fx.Graph:
        """A copy of the rewritten graph that can be copied and pickled."""
        return copied(self.rewritten.graph)[0]

    def holds(self) -> bool:
        """Whether everything outside that it depends on is as it was."""
        for watched in self.watched:
            if watched.table.get(watched.name) is not watched.value:
                return False
        return not self.outside or all(state_of(module) == state for module, state in self.outside)

    def run(self, module: nn.Module | None, tensors: Sequence[Any]) -> Any:
        """The result of the rewritten graph; parameters are those that the module has now."""
        forward = type(self.rewritten).forward
        holder: Any = self.rewritten
        if module is not None:
            holder = _Holder(module, self.extra) if self.extra else module
        if not self.switches:
            return forward(holder, *tensors)
        with torch.set_grad_enabled(torch.is_grad_enabled()):  # which an exception would leave changed
            return forward(holder, *tensors)


@dataclass(frozen=True, slots=True)
class _Holder:
    """A module together with what its graph refers to beside it."""

    module: nn.Module
    extra: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.extra[name] if name in self.extra else getattr(self.module, name)


def plain_key(args: Sequence[Any]) -> object:
    """The dtypes of plain tensors in a plain context, None for other arguments and contexts."""
    if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda") or torch.is_inference_mode_enabled():
        return None
    key: list[object] = [torch.is_grad_enabled()]
    for arg in args:
        kind = type(arg)
        if kind is not torch.Tensor and kind is not nn.Parameter:
            return None
        key.append(arg.dtype)
    return tuple(key)


def is_plain(given: Arguments) -> bool:
    """Whether a capture can be made here: of real tensors, outside of transforms and other traces."""
    if torch._C._functorch.peek_interpreter_stack() is not None or torch._C._get_tracing_state() is not None:
        return False
    if torch._C._len_torch_dispatch_stack() > 0:  # something else records or changes what is called
        return False
    if any(type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.is_meta for tensor in given.tensors):
        return False
    return not any(isinstance(leaf, fx.Proxy) for _, leaves, _ in given.parts for leaf in leaves)


def properties(reads: set[str], tensors: Sequence[Any]) -> tuple[object, ...]:
    """The properties of inputs that a capture has read."""
    found: list[object] = []
    for tensor in tensors:
        if "shape" in reads:
            found.append(tuple(tensor.shape))
        elif "dim" in reads:
            found.append(tensor.dim())
        if "device" in reads:
            found.append(tensor.device)
    return tuple(found)


_INTERNAL = frozenset(nn.Module().__dict__) - {"training"}
_OURS = frozenset({"forward", "report", "graph", "code"})


def state_of(owner: object) -> tuple[object, ...]:
    """What a capture depends on of an object: attributes, also of the modules inside, but for layers."""
    parts = [owner]
    if isinstance(owner, nn.Module):
        parts = [part for part in owner.modules() if part is owner or not is_layer(part)]
    return tuple((name, _frozen(value)) for part in parts for name, value in attributes(part))


def attributes(owner: object) -> Iterator[tuple[str, Any]]:
    """The attributes of an object, without those that torch keeps its parts in and those that a guard sets."""
    for name, value in getattr(owner, "__dict__", {}).items():
        if name not in _INTERNAL and name not in _OURS:
            yield name, value


def _frozen(value: Any) -> object:
    """A value in a key: numbers and texts by value, tensors by version, other objects by identity."""
    match value:
        case bool() | int() | float() | str() | None:
            return (type(value), value)
        case torch.Tensor():
            return (id(value), None if value.is_inference() else value._version)
        case tuple() | list():
            return tuple(map(_frozen, value))
        case dict():
            return tuple((repr(key), _frozen(item)) for key, item in value.items())
    return id(value)
