"""Replay: run a callable on given inputs, with gradients, and compare what two of them give."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from nanguard.tracing.inputs import differentiable

Run = Callable[[Sequence[Any]], Any]

_EXACT = 1e-6  # the same operations in the same order: what is left is the order of threads


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave: results, gradients, the inputs and buffers after it, and what it printed."""

    results: tuple[Any, ...]
    structure: object
    gradients: tuple[torch.Tensor | None, ...]
    after: tuple[torch.Tensor, ...]
    printed: str

    @property
    def finite(self) -> bool:
        """Whether there is a result and all results and gradients are finite."""
        tensors = [value for value in (*self.results, *self.gradients) if isinstance(value, torch.Tensor)]
        return bool(tensors) and all(bool(torch.isfinite(tensor.detach()).all()) for tensor in tensors)


class Snapshot:
    """The state of modules and of tables of names, to be put back after a run."""

    def __init__(self, modules: Iterable[nn.Module], tables: Iterable[dict[str, Any]] = ()) -> None:
        listed = list(modules)
        inner = [table for m in listed for table in (m.__dict__, m._parameters, m._buffers)]
        self.tables = [(table, dict(table)) for table in (*inner, *tables)]
        buffers = {id(buffer): buffer for module in listed for buffer in module.buffers()}
        self.buffers = [(buffer, buffer.detach().clone()) for buffer in buffers.values()]

    def restore(self) -> list[str]:
        """Put everything back; gives the names that had been bound anew."""
        changed: list[str] = []
        for table, before in self.tables:
            names = [name for name in {**table, **before} if table.get(name) is not before.get(name)]
            if names:
                changed.extend(names)
                table.clear()
                table.update(before)
        with torch.no_grad():
            for buffer, content in self.buffers:
                if not same(buffer, content, 0, 0):
                    buffer.copy_(content)
        return changed

    def content(self) -> tuple[torch.Tensor, ...]:
        """What is in the buffers now."""
        return tuple(buffer.detach().clone() for buffer, _ in self.buffers)


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Without effect on the random numbers of the program, without warnings; what is printed is kept."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grad = torch.is_grad_enabled()
        try:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                yield output
        finally:
            torch.set_grad_enabled(grad)  # a run that was broken off may leave it changed


@contextlib.contextmanager
def saving_apart() -> Iterator[None]:
    """Runs inside are out of sight of those who count the tensors that are saved for gradients: checkpoints."""

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(RuntimeError):  # an older torch refuses it inside of transforms, where nobody counts
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(kept, kept))
        yield


def replay(run: Run, inputs: Sequence[torch.Tensor], modules: Sequence[nn.Module] = (), seed: int = 0) -> Outcome:
    """Run on copies of the inputs; modules have their state again afterwards.  Raises what the run raises."""
    leaves = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in inputs]
    snapshot = Snapshot(part for module in modules for part in module.modules())
    with quiet() as output:
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which formats a stack trace each time
        try:
            given = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
            results, structure = pytree.tree_flatten(run(given))
            parameters = [p for module in modules for p in module.parameters()]
            free = [leaf for leaf in (*leaves, *parameters) if isinstance(leaf, torch.Tensor) and leaf.requires_grad]
            gradients = _gradients(results, free)
            kept = [value.detach() for value in given if isinstance(value, torch.Tensor)]
            after = (*kept, *snapshot.content())
        finally:
            snapshot.restore()
    return Outcome(tuple(results), structure, gradients, after, output.getvalue())


def tried(run: Run, values: Mapping[str, Any], modules: Sequence[nn.Module] = ()) -> tuple[tuple[Any, ...], Outcome]:
    """The outcome with as many gradients as the run takes; raises what it raises without any."""
    *most, none = differentiable(values)
    for inputs in most:
        try:
            return inputs, replay(run, inputs, modules)
        except Exception:
            continue  # something in it has no derivative
    return none, replay(run, none, modules)


def _gradients(results: Sequence[Any], leaves: Sequence[torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
    """The gradients of a sum of the results, each entry with another weight."""
    total: torch.Tensor | None = None
    for result in results:
        if isinstance(result, torch.Tensor) and result.requires_grad:
            weights = torch.arange(1, result.numel() + 1, device=result.device).reshape(result.shape)
            part = (result * weights.cos().to(result.dtype)).sum()
            total = part if total is None else total + part
    if total is None or not leaves:
        return ()
    return torch.autograd.grad(total.real if total.is_complex() else total, list(leaves), allow_unused=True)


def difference(
    a: Outcome, b: Outcome, relative: float = _EXACT, absolute: float = 1e-12, missing_is_zero: bool = False
) -> str | None:
    """How two outcomes differ, in words; None where they agree."""
    if a.structure != b.structure or len(a.results) != len(b.results):
        return "the results have another structure"
    if a.printed or b.printed:
        return "it prints, which a capture would not"
    for first, second in zip(a.results, b.results, strict=True):
        found = _differ(first, second, relative, absolute)
        if found:
            return found
    if len(a.gradients) != len(b.gradients):
        return "one has a gradient, the other has none"
    for one, other in zip(a.gradients, b.gradients, strict=True):
        if one is None and other is None:
            continue
        if missing_is_zero:
            one = torch.zeros_like(other) if one is None and other is not None else one
            other = torch.zeros_like(one) if other is None and one is not None else other
        if one is None or not same(one, other, relative, absolute):
            return "the gradients differ"
    if not all(same(one, other, relative, absolute) for one, other in zip(a.after, b.after, strict=True)):
        return "an argument or a buffer is changed in another way"
    return None


def _differ(first: Any, second: Any, relative: float, absolute: float) -> str | None:
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        equal = type(first) is type(second) and (first is second or first == second or first != first)
        return None if equal else "the results differ"
    if first.dtype != second.dtype:
        return f"the result is {second.dtype} instead of {first.dtype}".replace("torch.", "")
    if first.requires_grad != second.requires_grad:
        return "one has a gradient, the other has none"
    if first.shape != second.shape or first.device != second.device:
        return "the results have another shape or device"
    return None if same(first, second, relative, absolute) else "the values differ"


def same(a: torch.Tensor, b: torch.Tensor | None, relative: float, absolute: float) -> bool:
    """Whether two tensors agree, nan with nan."""
    if b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = a.detach(), b.detach()
    if relative == absolute == 0 or not (a.is_floating_point() or a.is_complex()):
        return bool(torch.equal(a, b)) or bool(((a == b) | ((a != a) & (b != b))).all())
    return bool(torch.allclose(a, b, relative, absolute, equal_nan=True))
