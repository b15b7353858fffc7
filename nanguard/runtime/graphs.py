"""Graphs: fx graphs that others captured, rewritten: a GraphModule, an exported program, what Dynamo hands over."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.utils._python_dispatch import _disable_current_modes

from nanguard.errors import NanguardError
from nanguard.matching import rules
from nanguard.matching.match import matcher
from nanguard.runtime.options import Options
from nanguard.runtime.replacement import Replacement, replacement_at
from nanguard.runtime.rewriting import dtype_of, rewritten
from nanguard.stated import Range
from nanguard.tracing.arguments import Arguments, Unknown, taken_apart

_META = ("example_value", "val")  # keys of node.meta under which Dynamo and export keep a fake value


@dataclass(frozen=True, slots=True)
class Given:
    """A graph that was captured elsewhere."""

    graph: fx.Graph
    module: fx.GraphModule
    arguments: Arguments
    examples: Mapping[fx.Node, Any]
    ranges: Mapping[str, Range] = field(default_factory=dict)


def graph_module(module: fx.GraphModule, options: Options, example_inputs: Any = None) -> fx.GraphModule:
    """A rewritten copy of a graph module, with `.report()`; raises `NanguardError` for inputs that do not fit it."""
    result, done = rewritten_module(module, options, example_inputs)
    vars(result)["report"] = _Report(done)
    return result


@dataclass(frozen=True, slots=True)
class _Report:
    done: tuple[Replacement, ...]

    def __call__(self) -> tuple[Replacement, ...]:
        return self.done


def rewritten_module(
    module: fx.GraphModule, options: Options, example_inputs: Any = None
) -> tuple[fx.GraphModule, tuple[Replacement, ...]]:
    """A rewritten copy of a graph module, and what was replaced in it."""
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(str(node.target), kind) for node in inputs])
    examples = {node: value for node in module.graph.nodes if (value := _example(node)) is not None}
    values = _values(inputs, examples, example_inputs)
    examples.update(
        {node: values[str(node.target)] for node in inputs if type(values[str(node.target)]) in (int, float, bool)}
    )
    arguments = taken_apart(signature, values)
    given = Given(module.graph, module, arguments, examples)
    dtype = dtype_of(arguments.tensors)
    result, done = rewritten(given, matcher(rules.load(), dtype), options.form(dtype))
    if result is module:
        result = copy.copy(module)
    result.meta.update(module.meta)
    result.train(module.training)
    return result, tuple(replacement_at(None, plan) for plan in done)


def _example(node: fx.Node) -> Any:
    return next((node.meta[key] for key in _META if node.meta.get(key) is not None), None)


def _values(inputs: Sequence[fx.Node], examples: Mapping[fx.Node, Any], given: Any) -> dict[str, Any]:
    """A value for each input: those given, else some like those it was captured with, else none."""
    if isinstance(given, Mapping):
        given = [given[str(node.target)] for node in inputs]
    if given is not None:
        listed = [given] if isinstance(given, torch.Tensor) else list(given)
        if len(listed) != len(inputs):
            raise NanguardError(f"the graph takes {len(inputs)} inputs, example_inputs has {len(listed)}")
        examples = dict(zip(inputs, listed, strict=True))
    return {str(node.target): concrete(examples[node]) if node in examples else Unknown() for node in inputs}


def concrete(example: Any) -> Any:
    """A real value in the place of a fake or symbolic one: small sizes for symbolic ones."""
    if isinstance(example, torch.SymInt | torch.SymFloat | torch.SymBool):
        return example.node.hint
    if not isinstance(example, torch.Tensor) or type(example) in (torch.Tensor, torch.nn.Parameter):
        return example
    with _disable_current_modes():
        shape = [size if isinstance(size, int) else size.node.hint for size in example.shape]
        made = torch.zeros(shape, dtype=example.dtype, device=example.device)
        return made.requires_grad_(example.requires_grad) if example.is_floating_point() else made
