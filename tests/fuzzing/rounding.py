"""Rounding: how far it moves the gradients of a program, by rounding every operation at random once more.

That is Monte Carlo arithmetic: D. S. Parker, "Monte Carlo Arithmetic", UCLA 1997.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fuzzing.layout import Program
from fuzzing.running import gradients
from nanguard.floats import FORMATS

_RUNS = 6
# What is exact, or chooses among entries: an amax must find the entry that it has given.
_EXACT = frozenset({
    "neg", "abs", "where", "max", "min", "amax", "amin", "maximum", "minimum", "clamp", "clamp_min", "clamp_max",
    "relu", "sort", "gather", "index", "index_select", "cat", "stack", "clone", "copy", "fill", "zero", "sign", "sgn",
    "threshold", "threshold_backward", "masked_fill", "masked_select", "scatter", "scatter_add", "select_backward",
    "value_selecting_reduction_backward", "_to_copy", "flip", "roll", "tril", "triu", "diagonal_backward", "hardtanh",
    "hardtanh_backward", "nan_to_num", "ones_like", "zeros_like", "full_like", "new_zeros", "zeros", "ones", "full",
    "empty_like", "new_empty_strided", "scalar_tensor", "lift_fresh", "cummax", "cummin", "median", "topk", "trunc",
    "floor", "ceil", "round", "eq", "ne", "index_put", "repeat", "slice_backward", "unfold_backward", "trace_backward",
    "constant_pad_nd", "heaviside", "fmax", "fmin", "arange", "bernoulli", "detach", "_unsafe_view", "index_fill",
})  # fmt: skip


class Rounded(TorchDispatchMode):
    """Every result of floats that is rounded is moved by up to one unit of its dtype, forward and backward."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """What torch calls for each operation, with what it gives."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        views = any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)
        if not views and name.rstrip("_") not in _EXACT and name not in _EXACT:
            for value in result if isinstance(result, tuple | list) else (result,):
                self.moved(value)
        return result

    def moved(self, value: Any) -> None:
        """Move the entries of a tensor of floats where it is."""
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            name = str(value.dtype).removeprefix("torch.")
            by = FORMATS[name].eps * (2 * torch.rand(value.shape, generator=self.generator, dtype=torch.float64) - 1)
            value.mul_((1 + by).to(value.dtype))


def shakiness(
    run: Callable[..., Any], program: Program, given: Mapping[str, torch.Tensor], slopes: Mapping[str, torch.Tensor]
) -> dict[str, float]:  # fmt: skip
    """The most that the gradients of a program are moved by in a few runs."""
    found = dict.fromkeys(slopes, 0.0)
    for seed in range(_RUNS):
        with Rounded(seed):
            _, again = gradients(run, program, given)
        for name, slope in slopes.items():
            moved = (again[name].double() - slope.double()).abs()
            found[name] = max(found[name], moved[moved.isfinite()].max().item() if moved.isfinite().any() else 0.0)
    return found
