"""Moves: from arguments on which a function runs to others on which an expression inside of it may fail."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nanguard.finding import Finding
from nanguard.proof.watch import Visit, Watch, entries, slopes
from nanguard.tracing.arguments import Arguments

_SIZES = (100.0, -100.0, 20.0, -20.0, 1000.0)
_STEPS = (1.0, 1.02, 3.0, 10.0, 100.0)  # of the way to what a witness has, as the gradient tells it
_PULLED = 6  # inputs of witnesses towards which is gone


def plain(base: Arguments) -> Iterator[Arguments]:
    """Arguments that are hard for many: zeros, equal tensors, no label but one, masks of one kind."""
    floats, whole = _kinds(base)
    if floats:
        yield filled(base, floats, 0.0)
        yield changed(base, dict.fromkeys(floats, base.tensors[floats[0]]))
    for value in (0, 1) if whole else ():
        yield filled(base, whole, value)
        yield filled(base, floats, 0.0, {index: _full(base.tensors[index], value) for index in whole})
        if len(whole) > 1:
            yield from (filled(base, [index], value) for index in whole)
    if floats:
        yield filled(base, floats, 1.0)
    if whole and floats:
        yield changed(base, {i: _full(base.tensors[i], 1) for i in whole} | {i: _ones(base.tensors[i]) for i in floats})


def named(base: Arguments, findings: Iterable[Finding]) -> Iterator[Arguments]:
    """The inputs of a witness that have the names of parameters in their place; the others as they are, 0 and 1."""
    places = {name.rpartition(".")[2]: index for index, name in enumerate(base.names)}
    floats, _ = _kinds(base)
    for finding in findings:
        inputs = finding.witness.inputs if finding.witness is not None else {}
        plain = ((name.rpartition(".")[2], entries([number])) for name, number in inputs.items())
        given = {places[name]: vector for name, vector in plain if name in places}
        tensors = {i: _repeated(base.tensors[i], vector) for i, vector in given.items() if vector and i in floats}
        if tensors:
            yield changed(base, tensors)
            if len(tensors) < len(floats):
                yield from (filled(base, floats, value, tensors) for value in (0.0, 1.0))


def valued(base: Arguments, findings: Iterable[Finding]) -> Iterator[Arguments]:
    """Each of some hard values in one argument or all, in all their entries or one, beside zeros, and opposed."""
    floats, _ = _kinds(base)
    for vector in _hard(findings):
        for index in floats:
            tensor = base.tensors[index]
            yield changed(base, {index: _repeated(tensor, vector)})
            if len(floats) > 1:
                yield filled(base, floats, 0.0, {index: _repeated(tensor, vector)})
            if len(vector) == 1 and tensor.dim() > 0:
                yield changed(base, {index: _one_entry(tensor, vector[0])})
        if len(floats) > 1:
            yield changed(base, {index: _repeated(base.tensors[index], vector) for index in floats})
        if len(floats) > 1 and len(vector) == 1 and vector != (0.0,):
            opposed = {index: _full(base.tensors[index], vector[0] * (-1) ** n) for n, index in enumerate(floats)}
            yield changed(base, opposed)


def pulled(base: Arguments, watch: Watch, leaves: Sequence[Tensor]) -> Iterator[Arguments]:
    """Along the gradients of what a run had for the inputs of witnesses, towards what these have.

    `leaves` are the tensors with which the run was made, None for those without a gradient, in the order of `base`.
    """
    count = 0
    for index, finding in watch.findings.items():
        visit = next((part for part in watch.visits.get(index, ()) if part.value is not None), None)
        if visit is None or finding.witness is None:
            continue
        for part, goal in _goals(visit, finding):
            steep = _gradients(part, leaves)
            if steep and count < _PULLED:
                count += 1
                yield from _along(base, part, goal, steep)


def _goals(visit: Visit, finding: Finding) -> Iterator[tuple[Tensor, float]]:
    """What should have which value: the inputs of the witness that were seen, else the operands, small and large."""
    assert finding.witness is not None
    found = False
    for name, number in finding.witness.inputs.items():
        values = entries([number])
        if name in visit.named and values:
            found = True
            yield visit.named[name].tensor, max(values, key=abs)
    if found:
        return
    for part in visit.operands:
        yield part.tensor, 0.0
        yield from ((part.tensor, size) for size in (-100.0, 100.0))


def _gradients(part: Tensor, leaves: Sequence[Tensor]) -> dict[int, Tensor]:
    """The gradients of the sum of a tensor that are not zero, by the numbers of the arguments."""
    pairs = enumerate(slopes(part.sum(), leaves))
    return {i: slope for i, slope in pairs if slope is not None and bool(torch.isfinite(slope).all() & slope.any())}


def _along(base: Arguments, part: Tensor, goal: float, steep: Mapping[int, Tensor]) -> Iterator[Arguments]:
    """Steps towards a goal: as far as a linear function had to go, and further."""
    rise = sum(float((slope * slope).sum()) for slope in steep.values())
    distance = float((goal - part.detach()).sum())
    if not math.isfinite(rise * distance) or rise == 0 or distance == 0:
        return
    for step in _STEPS:
        moved = {i: base.tensors[i].detach() + step * distance / rise * slope for i, slope in steep.items()}
        yield changed(base, {index: tensor.to(base.tensors[index].dtype) for index, tensor in moved.items()})


# --- tensors --------------------------------------------------------------------------------------------


def _kinds(base: Arguments) -> tuple[list[int], list[int]]:
    """The numbers of the tensors of floats, and of those of whole numbers and masks."""
    floats = [index for index, tensor in enumerate(base.tensors) if tensor.is_floating_point()]
    return floats, [i for i, tensor in enumerate(base.tensors) if i not in floats and not tensor.is_complex()]


def _hard(findings: Iterable[Finding]) -> list[tuple[float, ...]]:
    """The inputs of witnesses and the values in them, then some that are large."""
    numbers = [number for finding in findings if finding.witness for number in finding.witness.inputs.values()]
    whole = [tuple(entries([number])) for number in numbers]
    each = [(entry,) for entry in entries(numbers)]
    listed = dict.fromkeys(((0.0,), *each, *whole, *((size,) for size in _SIZES)))
    return [vector for vector in listed if vector and not (len(vector) > 1 and len(set(vector)) == 1)]


def _full(tensor: Tensor, value: float) -> Tensor:
    return torch.full_like(tensor, value)


def _ones(tensor: Tensor) -> Tensor:
    return _full(tensor, 1.0)


def _repeated(tensor: Tensor, values: Sequence[float]) -> Tensor:
    """Some values over and over."""
    repeated = tensor.new_tensor(values).repeat(tensor.numel() // len(values) + 1)
    return repeated[: tensor.numel()].reshape(tensor.shape)


def _one_entry(tensor: Tensor, value: float) -> Tensor:
    """Zeros, with one entry of each row set."""
    result = torch.zeros_like(tensor)
    result[..., :1] = value
    return result


def filled(
    base: Arguments, places: Iterable[int], value: float, others: Mapping[int, Tensor] | None = None
) -> Arguments:  # fmt: skip
    """Arguments with one value in all entries of some tensors, and `others` as they are given."""
    return changed(base, {index: _full(base.tensors[index], value) for index in places} | dict(others or {}))


def changed(base: Arguments, tensors: Mapping[int, Tensor]) -> Arguments:
    """Arguments with other tensors; one of another shape than before is left as it was."""
    new = [
        tensors[index] if index in tensors and tensors[index].shape == tensor.shape else tensor
        for index, tensor in enumerate(base.tensors)
    ]
    return with_tensors(base, new)


def each(base: Arguments, change: Callable[[Tensor], Tensor]) -> Arguments:
    """Arguments with each tensor changed, in its shape too."""
    return with_tensors(base, [change(tensor) for tensor in base.tensors])


def with_tensors(base: Arguments, tensors: Sequence[Tensor]) -> Arguments:
    """Arguments with all tensors replaced."""
    fresh = iter(tensors)
    parts = tuple(
        (name, tuple(next(fresh) if isinstance(leaf, Tensor) else leaf for leaf in leaves), spec)
        for name, leaves, spec in base.parts
    )
    return replace(base, tensors=tuple(tensors), parts=parts)
