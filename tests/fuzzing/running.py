"""Running: programs as live objects, and the points at which they are run."""

from __future__ import annotations

import linecache
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import torch

from fuzzing.layout import Program
from fuzzing.tree import LEAVES
from nanguard.floats import FORMATS

DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "float16", "bfloat16")}
_ORDINARY = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -2.0)
_EDGES = (
    0.0,
    -0.0,
    1e-3,
    1.1e-8,  # not what programs add as an epsilon: to that they are a pole by chance
    -1.1e-8,
    17.0,
    -17.0,
    89.0,
    -89.0,
    -104.0,
    100.0,
    30.0,
    -30.0,
    10.0,
    0.9999999,
    1.0,
    -1.0,
)


@contextmanager
def loaded(program: Program, folder: Path) -> Iterator[Any]:
    """The function or module object of a program; its files are written to a folder where there are several."""
    names = [Path(name).stem for name in program.files]
    try:
        for file, text in program.files.items():
            path = str(folder / file)
            module = ModuleType(Path(file).stem)
            module.__file__ = path
            sys.modules[module.__name__] = module
            linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
            if len(program.files) > 1:
                Path(path).write_text(text)
            exec(compile(text, path, "exec"), vars(module))
        entry = getattr(sys.modules[Path(program.main).stem], program.entry)
        yield entry() if program.is_class else entry
    finally:
        for name in names:
            sys.modules.pop(name, None)
        for file in program.files:
            linecache.cache.pop(str(folder / file), None)
            if len(program.files) > 1:
                (folder / file).unlink(missing_ok=True)


def points(
    program: Program, random: Random, dtype: str, count: int, subnormal: bool = True
) -> Iterator[dict[str, torch.Tensor]]:
    """Arguments by the names of leaves: ordinary ones first, then ones with edges among them."""
    form = FORMATS[dtype]
    tiny = (form.tiny, form.tiny / 4, -form.tiny / 4)
    for number in range(count):
        listed = _ORDINARY if number == 0 else (*_ORDINARY, *_EDGES, *(tiny if subnormal else ()))
        yield {name: _drawn(name, random, dtype, listed, smooth=number % 2 == 0) for name in program.leaves}


def _drawn(name: str, random: Random, dtype: str, listed: tuple[float, ...], smooth: bool) -> torch.Tensor:
    leaf = LEAVES[name]
    size = math.prod(leaf.shape)
    if leaf.kind == "mask":
        return torch.tensor([random.random() < 0.5 for _ in range(size)]).reshape(leaf.shape)
    if leaf.kind == "index":
        return torch.tensor([random.randrange(3) for _ in range(size)]).reshape(leaf.shape)
    signed = leaf.low != 0  # -0 lies in the ranges that begin at 0, and 1 / -0 does not
    allowed = [
        x
        for x in listed
        if (signed or math.copysign(1, x) > 0) and leaf.low <= x <= leaf.high and not (leaf.low_open and x == leaf.low)
    ]
    if leaf.high < math.inf and not smooth:
        allowed.append(min(leaf.high, FORMATS[dtype].max))
    values = []
    for _ in range(size):
        value = random.gauss(0, 1.5) if smooth and random.random() < 0.8 else random.choice(allowed)
        if not leaf.low <= value <= leaf.high or (leaf.low_open and value <= leaf.low):
            value = random.choice(allowed)
        values.append(value)
    found = torch.tensor(values, dtype=DTYPES[dtype]).reshape(leaf.shape)
    least = torch.tensor(FORMATS[dtype].tiny, dtype=DTYPES[dtype])
    return torch.maximum(found, least) if leaf.low_open else found


def called(entry: Any, program: Program, given: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What a program gives; raises what torch raises."""
    result = entry(**{program.names[name]: given[name].clone() for name in program.leaves})
    assert isinstance(result, torch.Tensor)
    return result


def gradients(
    entry: Any, program: Program, given: Mapping[str, torch.Tensor], times: float = 1.0
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The value, and the gradient of its sum, taken so many times, by each leaf of floats."""
    tensors = {name: tensor.clone().requires_grad_(tensor.is_floating_point()) for name, tensor in given.items()}
    result = entry(**{program.names[name]: tensors[name] for name in program.leaves})
    wanted = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    if not result.requires_grad:
        return result.detach(), {}
    found = torch.autograd.grad(result.sum() * times, list(wanted.values()), allow_unused=True)
    return result.detach(), {
        name: torch.zeros_like(tensor) if slope is None else slope
        for (name, tensor), slope in zip(wanted.items(), found, strict=True)
    }
