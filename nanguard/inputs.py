"""Inputs: small tensors to try a loss on, found from the names and annotations of its parameters."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_SHAPES = ((4,), (4, 3), (), (2, 3, 4, 4), (2, 4, 3), (2, 1, 8, 8))
_TARGETS = ("target", "label", "index", "indices", "idx", "class", "ids", "gt", "true", "truth")
_TARGET_NAMES = frozenset({"y", "t", "i", "j"})
_MASKS = ("mask", "valid")
_WEIGHTS = ("weight", "pos_weight")
_NUMBERS = {
    "temperature": 0.5, "tau": 0.5, "alpha": 0.25, "beta": 0.5, "gamma": 2.0, "margin": 0.5, "eps": 1e-6,
    "epsilon": 1e-6, "scale": 2.0, "lam": 0.5, "lambda_": 0.5, "delta": 1.0, "smoothing": 0.1, "dim": -1,
    "num_classes": 3, "n_classes": 3, "k": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to fill the parameters."""

    shape: tuple[int, ...]
    unit: bool  # floats in (0, 1), else around 0
    classes: bool  # targets are the numbers of classes, else floats
    per_class: bool  # weights have one entry for each class


def samples(signature: inspect.Signature, module: nn.Module | None = None) -> Iterator[dict[str, Any]]:
    """Arguments to try, the likeliest first; parameters with a default are left out.

    Gives nothing for a parameter that no tensor and no number can be.
    """
    needed = [p for p in signature.parameters.values() if _is_needed(p)]
    if any(_is_other(parameter) for parameter in needed):
        return
    needed = needed or [p for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL]
    first = _first_shapes(module)
    embeds = module is not None and any(isinstance(part, nn.Embedding) for part in module.modules())
    roles = {parameter.name: _role(parameter) for parameter in needed}
    has_target, has_weight = "target" in roles.values(), "weight" in roles.values()
    for unit, classes, per_class, shape in itertools.product(
        (False, True), (False, True) if has_target else (False,), (False, True) if has_weight else (False,),
        (*first, *_SHAPES),
    ):  # fmt: skip
        way = _Way(shape, unit, classes, per_class)
        generator = torch.Generator().manual_seed(len(shape))
        yield {name: _value(name, role, way, generator) for name, role in roles.items()}
    if embeds:
        yield {name: torch.tensor([0, 1, 2, 1]) for name in roles}


def _is_needed(parameter: inspect.Parameter) -> bool:
    variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and not variable


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return ""
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _is_other(parameter: inspect.Parameter) -> bool:
    """Whether the parameter wants a model, a function, a text: nothing that can be made up."""
    text = _annotation(parameter)
    return text == "str" or any(word in text for word in ("Module", "Callable", "Dict", "dict", "Config"))


def _role(parameter: inspect.Parameter) -> str:
    text, name = _annotation(parameter), parameter.name.lower()
    if parameter.kind is parameter.VAR_POSITIONAL:
        return "several"
    if text in ("int", "float", "bool"):
        return text
    if "LongTensor" in text:
        return "target"
    if "Tensor" not in text and name in _NUMBERS:
        return "number"
    if any(word in name for word in _MASKS):
        return "mask"
    if any(word in name for word in _WEIGHTS):
        return "weight"
    if name in _TARGET_NAMES or any(word in name for word in _TARGETS):
        return "target"
    return "list" if text.lower().startswith(("list", "tuple", "sequence")) else "float tensor"


def _value(name: str, role: str, way: _Way, generator: torch.Generator) -> Any:
    match role:
        case "int":
            return int(_NUMBERS.get(name.lower(), 3)) or 1
        case "float" | "number":
            return _NUMBERS.get(name.lower(), 0.5)
        case "bool":
            return True
        case "mask":
            return torch.rand(way.shape, generator=generator) < 0.7
        case "weight" if way.per_class:
            return _floats(way.shape[1:2] or way.shape[:1], True, generator)
        case "target" if way.classes:
            return _classes(way.shape, generator)
        case "target":
            target = _floats(way.shape, True, generator)
            return target.round() if way.unit else target
        case "several":
            return tuple(_floats(way.shape, way.unit, generator) for _ in range(2))
        case "list":
            return [_floats(way.shape, way.unit, generator) for _ in range(2)]
    return _floats(way.shape, way.unit, generator)


def _classes(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """A class for each row: the shape without the dimension of the classes."""
    count = shape[1] if len(shape) > 1 else shape[0] if shape else 2
    rows = (shape[0], *shape[2:]) if len(shape) > 1 else ()
    return torch.randint(count, rows, generator=generator)


def _floats(shape: Sequence[int], unit: bool, generator: torch.Generator) -> torch.Tensor:
    if unit:
        return 0.05 + 0.9 * torch.rand(tuple(shape), generator=generator)
    return torch.randn(tuple(shape), generator=generator).clamp(-2, 2)


def _first_shapes(module: nn.Module | None) -> tuple[tuple[int, ...], ...]:
    """Shapes that the first layer of a module takes."""
    for part in module.modules() if module is not None else ():
        match part:
            case nn.Linear():
                return ((4, part.in_features), (part.in_features,))
            case nn.Conv2d():
                return ((2, part.in_channels, 8, 8),)
            case nn.Conv1d():
                return ((2, part.in_channels, 8),)
            case nn.LayerNorm():
                return ((4, *part.normalized_shape),)
            case nn.BatchNorm1d():
                return ((4, part.num_features),)
    return ()


def ordinary(examples: Mapping[str, torch.Tensor], draws: int = 4) -> Iterator[dict[str, torch.Tensor]]:
    """Tensors like `examples` with harmless values: floats around 0 or in (0, 1), the rest as it is."""
    for draw in range(draws):
        generator = torch.Generator().manual_seed(draw)
        yield {name: _ordinary(example, draw, generator) for name, example in examples.items()}


def _ordinary(example: torch.Tensor, draw: int, generator: torch.Generator) -> torch.Tensor:
    if not example.is_floating_point():
        return example.detach().clone()
    inside = example.numel() > 0 and bool(((example >= 0) & (example <= 1)).all())
    values = _floats(example.shape, inside or draw % 2 == 1, generator)
    return values.to(example.device, example.dtype)


def differentiable(values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Values with a gradient for all floating tensors; for those not called target or mask; for none."""
    floats = [name for name, value in values.items() if _is_float(value)]
    for wanted in (floats, [name for name in floats if _named(name) == "float tensor"], []):
        yield tuple(
            value.detach().clone().requires_grad_(name in wanted) if _is_float(value) else value
            for name, value in values.items()
        )


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _named(name: str) -> str:
    return _role(inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD))
