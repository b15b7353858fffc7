"""Plan: what the parameters of a loss are taken for before it is run, from annotations, names, docs and the body."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from nanguard.stated import Range
from nanguard.tracing import naming
from nanguard.tracing.docshapes import Shape, annotated, docs_of, documented, integral
from nanguard.tracing.guesses import (
    LAYOUTS,
    C,
    Guess,
    N,
    Plain,
    Several,
    State,
    T,
    Tensor,
    Thing,
    relaid,
    without_classes,
)
from nanguard.tracing.usage import Use, function_node, is_dict, is_list, is_text, uses

# What is tried first where nothing is known.
_COMMON: tuple[Shape, ...] = (
    (N, C), (N,), (N, C, "H", "W"), (N, T, C), (), (N, 1, "H", "W"), (N, C, "S", "H", "W"), (N, T),
)  # fmt: skip
_TENSOR_ATTRIBUTES = frozenset(dir(torch.Tensor))
_VALUES = {
    "logits": "normal", "mask": "mask", "weight": "positive", "events": "binary", "times": "positive",
    "lengths": "lengths", "index": "labels", "labels": "labels", "target": "target", "unit": "unit",
    "positive": "positive", "normal": "normal", "boxes": "ordered",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, and what is known of it."""

    name: str
    annotation: str
    required: bool
    default: Any
    use: Use
    shapes: tuple[Shape, ...]  # that docs or the annotation give
    dtype: str | None  # that the annotation gives: float, int or bool
    role: str

    def tensorlike(self) -> bool:
        """Whether its use or its annotation are those of a tensor."""
        if "Tensor" in self.annotation or self.shapes or self.dtype:
            return True
        use = self.use
        used = [name for name in use.attributes if name in _TENSOR_ATTRIBUTES]
        return bool(used) or use.rank is not None or use.least > 0 or bool(use.ranks) or use.integer or use.mask


@dataclass(slots=True)
class Plan:
    """The parameters of a callable, and the sets of guesses to begin with."""

    parameters: dict[str, Parameter]
    owner: object = None
    sizes: dict[str, int] = field(default_factory=dict)
    keywords: str | None = None  # the parameter that takes any keyword
    building: bool = False  # it is a constructor

    def starts(self) -> Iterator[State]:
        """Sets of guesses, likeliest first."""
        needed = [p for p in self.parameters.values() if p.required]
        if not self.building and not any(isinstance(self.guess(p), Tensor | Several) for p in needed):
            needed += [p for p in self.parameters.values() if not p.required and p.default is None and p.tensorlike()]
        seen: set[State] = set()
        for unit in (False, True):
            for layout in self.layouts(needed):
                for mode in self.modes(needed):
                    state = self.state(needed, layout, mode, unit)
                    if state not in seen:
                        seen.add(state)
                        yield state

    def state(self, needed: list[Parameter], layout: Shape, mode: str, unit: bool) -> State:
        """The guesses for one layout."""
        guesses = tuple((p.name, self.guess(p, layout, mode, unit)) for p in needed)
        return State(guesses, tuple(self.sizes.items()), seed=len(layout))

    def layouts(self, needed: list[Parameter]) -> Iterator[Shape]:
        """The shapes that the first tensor may have."""
        for parameter in needed:
            use = parameter.use
            yield from (shape for shape in parameter.shapes[:2] if parameter.role != "labels")
            for rank in (use.rank, use.least or None, *use.ranks):
                if rank is not None and rank in LAYOUTS and parameter.role in ("normal", "logits", "unit", "target"):
                    yield from LAYOUTS[rank]
        if isinstance(self.owner, nn.Module):
            yield from _first_shapes(self.owner)
        for parameter in needed:
            yield from (tuple(letters) for letters in naming.shapes(parameter.name))
        yield from _COMMON

    def modes(self, needed: list[Parameter]) -> tuple[str, ...]:
        """What targets may be: numbers of classes, or entries like those of the prediction."""
        roles = {p.role for p in needed}
        if not roles & {"target", "labels", "index"}:
            return ("same",)
        classes = "labels" in roles or any(p.use.integer or p.dtype == "int" for p in needed)
        return ("classes", "binary", "same") if classes else ("same", "classes", "binary")

    def guess(self, parameter: Parameter, layout: Shape = (N, C), mode: str = "same", unit: bool = False) -> Guess:
        """The guess for one parameter."""
        text = parameter.annotation
        found = _by_annotation(parameter, lambda: self.tensor(parameter, layout, mode, unit))
        if found is not None:
            return found
        if self.building and not parameter.shapes:
            return _built_with(parameter, lambda: self.tensor(parameter, (C,), mode, True), layout)
        if parameter.tensorlike():
            strange = [name for name in parameter.use.attributes if name not in _TENSOR_ATTRIBUTES]
            if not (strange and not text):
                return self.tensor(parameter, layout, mode, unit)
        return _by_use(parameter, lambda: self.tensor(parameter, layout, mode, unit))

    def tensor(self, parameter: Parameter, layout: Shape, mode: str, unit: bool) -> Tensor:
        """The guess for a parameter that is a tensor."""
        role, use = parameter.role, parameter.use
        values = _VALUES[role]
        if use.integer or parameter.dtype == "int":
            values = values if values in ("labels", "lengths") else "labels"
        elif use.mask or parameter.dtype == "bool":
            values = "mask"
        if values == "target":
            values = {"classes": "labels", "binary": "binary", "same": "unit" if unit else "normal"}[mode]
        elif values == "labels" and mode != "classes" and not use.integer and parameter.dtype != "int":
            values = "binary" if mode == "binary" else "labels"
        elif values == "normal" and unit:
            values = "unit"
        made = Tensor(layout, values)
        if parameter.shapes:
            return replace(made, shape=parameter.shapes[0])
        if role in ("events", "times") or (role == "weight" and mode == "classes"):
            made = replace(made, shape=layout[:1] if role != "weight" or C not in layout else (C,))
        elif values in ("labels", "lengths"):
            made = relaid(made, layout)
        elif values == "mask" and len(layout) == 3:
            made = replace(made, shape=without_classes(layout))
        rank = use.rank if use.rank is not None else max(use.least, 0)
        if (use.rank is not None and len(made.shape) != rank) or len(made.shape) < rank:
            return replace(made, shape=LAYOUTS[rank][0]) if rank in LAYOUTS else made
        return made

    def optional(self, parameter: Parameter, layout: Shape, mode: str) -> Guess | None:
        """What a parameter whose default is None may be instead, None where there is nothing else."""
        if re.search(r"Callable|\bstr\b|device|dtype", parameter.annotation) or parameter.name in ("device", "dtype"):
            return None
        return self.guess(parameter, layout, mode)


def plan_of(
    signature: inspect.Signature, owner: object = None, function: Callable[..., Any] | None = None,
    building: bool = False,
) -> Plan:  # fmt: skip
    """The plan for the parameters of a signature; `building` if it is that of a constructor."""
    names = list(signature.parameters)
    used = uses(function_node(function) if function is not None else None, names)
    docs = docs_of(function, owner)
    shapes, integers = documented(docs, names), integral(docs, names)
    parameters: dict[str, Parameter] = {}
    keywords: str | None = None
    variable_kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    only = not building and all(
        p.kind in variable_kinds or p.default is not p.empty for p in signature.parameters.values()
    )
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            keywords = name
            continue
        variable = parameter.kind is parameter.VAR_POSITIONAL
        text = annotation(parameter)
        shape, dtype = annotated(text)
        if "LongTensor" in text or "IntTensor" in text:
            dtype = "int"
        elif "BoolTensor" in text:
            dtype = "bool"
        elif name in integers and dtype is None and naming.role(name) in ("target", "labels", "index"):
            dtype = "int"
        known = (shape,) if shape is not None else shapes[name]
        required = parameter.default is parameter.empty and (not variable or only)
        role = naming.role(name)
        parameters[name] = Parameter(
            name, "*" if variable else text, required, parameter.default, used[name], known, dtype, role
        )
    return Plan(parameters, owner, _sizes(owner), keywords, building)


def named(name: str) -> Parameter:
    """A parameter of which only the name is known."""
    return Parameter(name, "", True, inspect.Parameter.empty, Use(), (), None, naming.role(name))


def annotation(parameter: inspect.Parameter) -> str:
    """The annotation of a parameter as text, empty where there is none."""
    held = parameter.annotation
    if held is parameter.empty:
        return ""
    if isinstance(held, str):
        return held
    if getattr(held, "dim_str", None) is not None and hasattr(held, "dtypes"):
        kinds = " ".join(map(str, held.dtypes))
        kind = "Bool" if "bool" in kinds else "Float" if "float" in kinds else "Int" if "int" in kinds else "Shaped"
        return f'{kind}[Tensor, "{held.dim_str}"]'
    return held.__name__ if isinstance(held, type) and not hasattr(held, "__args__") else str(held)


def _by_annotation(parameter: Parameter, tensor: Callable[[], Tensor]) -> Guess | None:
    """What an annotation says, None where it leaves it open or says tensor."""
    text = re.sub(r"typing\.|torch\.|collections\.abc\.", "", parameter.annotation)
    bare = re.sub(r"^Optional\[(.*)\]$|(.*) \| None$", lambda m: m.group(1) or m.group(2), text)
    lower = bare.lower()
    name = parameter.name
    if bare == "*":
        return Several((tensor(), tensor()), "tuple")
    if re.match(r"(list|tuple|sequence|iterable|collection)\b", lower):
        kind = "tuple" if lower.startswith("tuple") else "list"
        inside = re.findall(r"Tensor|float|int|str|bool", bare)
        count = len(inside) if kind == "tuple" and "..." not in bare and len(inside) > 1 else 2
        if not inside or "Tensor" in inside:
            return Several((tensor(),) * count, kind)
        return Several((Plain({"float": 0.5, "int": 1, "str": "a", "bool": True}[inside[0]]),) * count, kind)
    if re.match(r"(dict|mapping|ordereddict)\b", lower):
        keys = tuple(dict.fromkeys(parameter.use.keys)) or ("a",)
        return Several((tensor(),) * len(keys), "dict", keys)
    if lower.startswith("callable"):
        return Thing("callable")
    if "Tensor" in bare or parameter.dtype:
        return None
    if re.search(r"\bdevice\b", lower) or (not bare and name == "device"):
        return Plain(torch.device("cpu"))
    if re.search(r"\bdtype\b", lower) or (not bare and name == "dtype"):
        return Plain(torch.float32)
    if re.search(r"\bModule\b", bare):
        return Thing("module")
    if "ndarray" in lower or "array" in lower:
        return Thing("array", held=tensor())
    if re.search(r"\bbool\b", lower):
        return Plain(True)
    if re.search(r"\bint\b", lower):
        found = naming.number(name)
        return Plain(int(found) or 1 if found is not None else 3)
    if re.search(r"\bfloat\b", lower):
        found = naming.number(name)
        return Plain(float(found) if found is not None else 0.5)
    if re.search(r"\bstr\b|literal", lower):
        quoted = re.findall(r"['\"](\w+)['\"]", bare)
        return Plain((quoted or parameter.use.options or ["mean"])[0])
    if re.search(r"Normal|Distribution", bare):
        return Thing("normal", held=tensor())
    if re.search(r"(Config|Args|Params)$", bare):
        return Thing("config")
    return None


def _by_use(parameter: Parameter, tensor: Callable[[], Tensor]) -> Guess:
    """What the name and the use of a parameter say."""
    use, name = parameter.use, parameter.name
    if is_dict(use):
        keys = tuple(dict.fromkeys(use.keys)) or ("a",)
        return Several((tensor(),) * len(keys), "dict", keys)
    if is_text(use):
        return Plain((use.options or ["mean"])[0])
    if use.called or naming.is_callable(name):
        return Thing("module" if naming.is_model(name) else "callable")
    if naming.is_model(name):
        return Thing("module")
    if naming.is_config(name):
        return Thing("config")
    strange = [one for one in use.attributes if one not in _TENSOR_ATTRIBUTES]
    if strange:
        return Thing("object", tuple((one, tensor()) for one in dict.fromkeys(use.attributes)))
    if is_list(use):
        return Several((tensor(), tensor()), "list")
    if naming.is_flag(name):
        return Plain(True)
    number = naming.number(name)
    named = parameter.role == "normal" and not naming.shapes(name)
    if number is not None and (named or naming.is_hyper_parameter(name)):
        return Plain(number)
    return tensor()


def _built_with(parameter: Parameter, tensor: Callable[[], Tensor], layout: Shape) -> Guess:
    """What a constructor is given: stand-ins and numbers by name, and by layout something else where that fails."""
    use, name = parameter.use, parameter.name
    if is_text(use) and use.options:
        return Plain(use.options[0])
    if naming.is_model(name):
        return Thing("module")
    if naming.is_callable(name):
        return Thing("module")
    if naming.is_config(name):
        return Thing("config")
    if is_dict(use):
        keys = tuple(dict.fromkeys(use.keys)) or ("a",)
        return Several((Plain(0.5),) * len(keys), "dict", keys)
    if naming.is_flag(name):
        return Plain(False)
    number = naming.number(name)
    if number is not None and len(layout) != 1:
        return Plain(number)
    if use.called:
        return Thing("module")
    strange = [one for one in use.attributes if one not in _TENSOR_ATTRIBUTES]
    if strange:
        return Thing("config")
    return (tensor() if parameter.tensorlike() else Plain(2)) if len(layout) == 2 else tensor()


def _sizes(owner: object) -> dict[str, int]:
    """The sizes of dimensions that an object was built for, by the names of its attributes."""
    table = getattr(owner, "__dict__", {})
    for name in ("num_classes", "n_classes", "num_class", "embedding_size", "in_features", "n_features", "dim"):
        size = table.get(name)
        if isinstance(size, int) and not isinstance(size, bool) and 1 < size < 1000:
            return {C: size}
    return {}


def _first_shapes(module: nn.Module) -> tuple[Shape, ...]:
    """Shapes that the first layer of a module takes."""
    for part in module.modules():
        match part:
            case nn.Linear():
                return ((N, part.in_features), (part.in_features,))
            case nn.Conv2d():
                return ((N, part.in_channels, "H", "W"),)
            case nn.Conv1d():
                return ((N, part.in_channels, T),)
            case nn.LayerNorm():
                return ((N, *part.normalized_shape),)
            case nn.BatchNorm1d():
                return ((N, part.num_features),)
    return ()


def ranged(state: State, ranges: Mapping[str, Range]) -> State:
    """A state in which the values of tensors lie in the ranges that the user gave."""
    for name, found in ranges.items():
        guess = state.get(name)
        if isinstance(guess, Tensor) and not found.whole:
            low = found.low if math.isfinite(found.low) else None
            up = found.high if math.isfinite(found.high) else None
            state = state.put(name, replace(guess, low=low, up=up))
    return state
