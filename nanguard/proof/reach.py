"""Reach: arguments of a whole function with which an expression inside of it goes wrong as its witness says.

The function is run on small arguments that are changed towards what is known to be hard: the values of the witness,
zeros, equal tensors, rows with one large entry.  A run reaches a finding when the value of the expression, or a
gradient that comes back through it, fails there while everything before it is finite.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from nanguard.finding import Finding, Number, Witness
from nanguard.stated import Range
from nanguard.tracing.arguments import Arguments
from nanguard.tracing.deadline import OutOfTime, importing, worked
from nanguard.tracing.places import Sources, caller
from nanguard.tracing.replay import Snapshot, quiet
from nanguard.tracing.subject import Subject
from nanguard.tracing.tape import call

_RUNS = 50  # of one function
_LOOPS = 8  # values of one place in one run that are looked at
_HALF = 2.0**-12  # of a float32: an error of this size has cost half of its bits
_LARGEST = 256  # entries of an argument that is still written down
_SIZES = (100.0, -100.0, 20.0, -20.0, 1000.0)


def reach(
    subject: Subject, given: Sequence[Arguments], findings: Sequence[Finding], sources: Sources, until: float
) -> dict[int, Mapping[str, Number]]:
    """The arguments that reach findings, by the indices of these; `given` are arguments on which the function runs.

    Ends at `until`, a time of `deadline.worked`, or after some fifty runs.
    """
    reached: dict[int, Mapping[str, Number]] = {}
    left = {index: finding for index, finding in enumerate(findings) if finding.witness is not None}
    for candidate in islice(_candidates(given, _hard(left.values())), _RUNS):
        arguments = _written(candidate)
        if not left or worked() > until:
            break
        if arguments is None or not _allowed(candidate, subject.ranges):
            continue
        watch = _watched(subject, candidate, left, sources, until)
        shown = [index for index in left if watch.shows(index)]
        if any(left[index].hazard == "accuracy-loss" for index in watch.seen):
            better = _watched(subject, _in_float64(candidate), left, sources, until)
            shown.extend(index for index in watch.seen if index not in shown and watch.loses(index, better))
        for index in shown:
            reached[index] = arguments
            del left[index]
    return reached


def _allowed(given: Arguments, ranges: Mapping[str, Range]) -> bool:
    """Whether the tensors of arguments lie in what the user says that the parameters take."""
    named = zip(given.names, given.tensors, strict=True)
    return all(_inside(tensor, ranges[name]) for name, tensor in named if name in ranges)


def _inside(tensor: Tensor, found: Range) -> bool:
    above = tensor > found.low if found.low_open else tensor >= found.low
    below = tensor < found.high if found.high_open else tensor <= found.high
    return bool((above & below).all())


def _watched(
    subject: Subject, given: Arguments, findings: Mapping[int, Finding], sources: Sources, until: float
) -> Watch:  # fmt: skip
    """A run of the function, watched at the places of some findings; it may raise after these."""
    watch = Watch(dict(findings), sources, until)
    checks = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    with quiet(), torch.enable_grad():
        snapshot = Snapshot(subject.modules, subject.tables)
        args, kwargs = given.rebuild([_leaf(tensor).clone() for tensor in given.tensors])
        try:
            with watch:
                call(subject, args, kwargs)
        except (Exception, OutOfTime):
            pass  # what was computed before that stands
        finally:
            snapshot.restore()
            Distribution.set_default_validate_args(checks)
    return watch


def _leaf(tensor: Tensor) -> Tensor:
    leaf = tensor.detach().clone()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


@dataclass(slots=True)
class Seen:
    """What was computed at the place of a finding.

    `values` are those of the expression, in their order, `named` what the inputs of the witness were, by their names,
    and `operands` all that came into the expression from outside.
    """

    values: list[Tensor] = field(default_factory=list)
    named: dict[str, Tensor] = field(default_factory=dict)
    operands: list[Tensor] = field(default_factory=list)

    def leaves(self, names: Collection[str]) -> list[Tensor]:
        """The inputs of a witness where all were seen, else the operands."""
        return [self.named[name] for name in names] if set(names) <= set(self.named) else self.operands


class Watch(TorchFunctionMode):
    """Keeps what a run computes at the places of some findings."""

    def __init__(self, findings: Mapping[int, Finding], sources: Sources, until: float) -> None:
        self.findings, self.sources, self.until = findings, sources, until
        self.seen: dict[int, Seen] = {}
        self.inside: set[int] = set()
        self.kept: list[Tensor] = []  # so that identities stay
        self.lines: dict[str, list[tuple[int, int]]] = {}
        for finding in findings.values():
            self.lines.setdefault(finding.span.path, []).append((finding.span.line, finding.span.end_line))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if worked() > self.until and not importing(sys._getframe(), call.__code__):
            raise OutOfTime
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            frame, _ = caller(sys._getframe(1), call.__code__)
            if frame is not None:
                lines = self.lines.get(frame.f_code.co_filename, ())
                if any(first <= frame.f_lineno <= last for first, last in lines):
                    self.note(frame, (args, kwargs), result)
        return result

    def note(self, frame: FrameType, operands: Any, result: Tensor) -> None:
        """Keep a value that was made at or inside of a place."""
        here = self.sources.span(frame)
        if here is None:
            return
        tensors = [part for part in pytree.tree_leaves(operands) if isinstance(part, Tensor)]
        for index, finding in self.findings.items():
            if not finding.span.covers(here) or finding.witness is None:
                continue
            seen = self.seen.setdefault(index, Seen())
            seen.operands.extend(part for part in tensors if id(part) not in self.inside and part.is_floating_point())
            for name in finding.witness.inputs:
                held = frame.f_locals.get(name)
                if isinstance(held, Tensor) and held.is_floating_point():
                    seen.named[name] = held
            if here == finding.span:
                seen.values.append(result)
            else:
                seen.named[self.sources.segment(here)] = result
        self.inside.add(id(result))
        self.kept.append(result)

    def shows(self, index: int) -> bool:
        """Whether the run failed at the place of a finding in the way that the finding says."""
        seen, finding = self.seen.get(index), self.findings[index]
        if seen is None or finding.witness is None:
            return False
        leaves = seen.leaves(finding.witness.inputs)
        return all(map(_finite, leaves)) and any(_fails(finding, value, leaves, seen) for value in seen.values[:_LOOPS])

    def loses(self, index: int, better: Watch) -> bool:
        """Whether over half of the bits of a value are lost, against a run in float64 from the same inputs."""
        mine, other = self.seen[index], better.seen.get(index)
        names = self.findings[index].witness.inputs  # type: ignore[union-attr]
        if self.findings[index].hazard != "accuracy-loss" or other is None or not other.values or not mine.values:
            return False
        pairs = list(zip(mine.leaves(names), other.leaves(names), strict=False))
        value, exact = mine.values[-1].detach().double(), other.values[-1].detach()
        if not pairs or exact.dtype != torch.float64 or exact.shape != value.shape:
            return False
        same = all(a.shape == b.shape and torch.allclose(a.double(), b.double(), 1e-6, 0) for a, b in pairs)
        lost = (value - exact).abs() > _HALF * exact.abs()
        return same and bool((lost & torch.isfinite(value) & torch.isfinite(exact)).any())


def _in_float64(given: Arguments) -> Arguments:
    return _changed(given, {i: part.double() for i, part in enumerate(given.tensors) if part.is_floating_point()})


def _fails(finding: Finding, value: Tensor, leaves: Sequence[Tensor], seen: Seen) -> bool:
    """Whether a value of the expression, or a gradient through it, fails like that of the witness."""
    witness = finding.witness
    assert witness is not None
    if _nonfinite(witness.computed) or not _finite(value):
        return _nonfinite(witness.computed) and not _finite(value)
    if finding.hazard == "gradient-nonfinite" or _nonfinite(witness.gradient):
        return any(not _finite(slope) for slope in _slopes(value, leaves) if slope is not None)
    if finding.hazard in ("dead-gradient", "ineffective-guard"):
        pairs = zip(leaves, _slopes(value, leaves), strict=True)
        return any(_dead(leaf, slope, witness) for leaf, slope in pairs if slope is not None)
    return (
        finding.hazard != "accuracy-loss"
        and _holds(value, [witness.computed])
        and all(name in seen.named and _holds(seen.named[name], [number]) for name, number in witness.inputs.items())
    )


def _slopes(value: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of a value for the leaves of its expression, None where there is none."""
    free = [leaf for leaf in leaves if leaf.requires_grad]
    if not value.requires_grad or not free:
        return [None] * len(leaves)
    try:
        found = iter(torch.autograd.grad(value.sum(), free, allow_unused=True, retain_graph=True))
    except RuntimeError:  # something was written in place since
        return [None] * len(leaves)
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.detach()).all())


def _nonfinite(number: Number | None) -> bool:
    """Whether a number of a witness, or an entry of it, is not finite."""
    if isinstance(number, list):
        return any(map(_nonfinite, number))
    return isinstance(number, str) and number != "undefined"


def _entries(numbers: Iterable[Number]) -> list[float]:
    """All entries that are numbers."""
    found: list[float] = []
    for number in numbers:
        if isinstance(number, list):
            found.extend(_entries(number))
        elif not isinstance(number, str):
            found.append(float(number))
    return found


def _dead(leaf: Tensor, slope: Tensor, witness: Witness) -> bool:
    """Whether no gradient comes back for an entry that is at least as extreme as that of the witness."""
    hard = max(_entries(witness.inputs.values()), key=abs, default=0.0)
    entries = leaf.detach()
    beyond = entries == 0 if hard == 0 else entries >= hard if hard > 0 else entries <= hard
    limit = abs(witness.gradient) if isinstance(witness.gradient, float) else 0.0
    return bool(((slope.abs() <= limit) & beyond).any())


def _holds(tensor: Tensor, numbers: Sequence[Number]) -> bool:
    """Whether a tensor has the entries of a number."""
    entries = tensor.detach().flatten()
    return all(bool(torch.isclose(entries, entries.new_tensor(entry), 1e-6, 0).any()) for entry in _entries(numbers))


# --- candidates ---------------------------------------------------------------------------------------


def _hard(findings: Iterable[Finding]) -> list[tuple[float, ...]]:
    """The inputs of witnesses and the values in them, then some that are large."""
    numbers = [number for finding in findings if finding.witness for number in finding.witness.inputs.values()]
    whole = [tuple(_entries([number])) for number in numbers]
    each = [(entry,) for entry in _entries(numbers)]
    return [vector for vector in dict.fromkeys(((0.0,), *whole, *each, *((size,) for size in _SIZES))) if vector]


def _candidates(given: Sequence[Arguments], values: Sequence[tuple[float, ...]]) -> Iterator[Arguments]:
    """Arguments to try: as they are, equal, then with each value in one or all, in one entry or in all."""
    yield from given
    for base in given:
        floats = [index for index, tensor in enumerate(base.tensors) if tensor.is_floating_point()]
        if not floats:
            continue
        yield _changed(base, dict.fromkeys(floats, base.tensors[floats[0]]))
        for value in values:
            for places in dict.fromkeys((tuple(floats), *((index,) for index in floats))):
                yield _changed(base, {index: _filled(base.tensors[index], value) for index in places})
                if len(places) == 1 and len(value) == 1 and base.tensors[places[0]].dim() > 0:
                    yield _changed(base, {places[0]: _one_entry(base.tensors[places[0]], value[0])})


def _filled(tensor: Tensor, values: tuple[float, ...]) -> Tensor:
    """Some values over and over."""
    repeated = tensor.new_tensor(values).repeat(tensor.numel() // len(values) + 1)
    return repeated[: tensor.numel()].reshape(tensor.shape)


def _one_entry(tensor: Tensor, value: float) -> Tensor:
    """Zeros, with one entry of each row set."""
    result = torch.zeros_like(tensor)
    result[..., 0] = value
    return result


def _changed(base: Arguments, tensors: Mapping[int, Tensor]) -> Arguments:
    """Arguments with other tensors of the same shape."""
    new = [
        tensors[index] if index in tensors and tensors[index].shape == tensor.shape else tensor
        for index, tensor in enumerate(base.tensors)
    ]
    fresh = iter(new)
    parts = tuple(
        (name, tuple(next(fresh) if isinstance(leaf, Tensor) else leaf for leaf in leaves), spec)
        for name, leaves, spec in base.parts
    )
    return replace(base, tensors=tuple(new), parts=parts)


def _written(given: Arguments) -> dict[str, Number] | None:
    """Arguments as numbers and texts by the names of the parameters; None for some that are too large."""
    found: dict[str, Number] = {}
    for name, tensor in zip(given.names, given.tensors, strict=True):
        if tensor.numel() > _LARGEST:
            return None
        found[name] = _number(tensor.tolist())
    for name, leaves, spec in given.parts:
        default = given.signature.parameters[name].default
        plain = spec is None and isinstance(leaves[0], bool | int | float | str)
        if plain and (type(leaves[0]) is not type(default) or leaves[0] != default):
            found[name] = leaves[0]
    return found


def _number(value: Any) -> Number:
    if isinstance(value, list):
        return [_number(part) for part in value]
    if isinstance(value, complex):
        return str(value)
    return float(value) if math.isfinite(value) else str(value)
