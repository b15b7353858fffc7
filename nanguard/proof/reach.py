"""Reach: arguments of a whole function with which an expression inside of it goes wrong as its witness says.

The function is run on small arguments that are changed towards what is known to be hard: the values of the witness,
zeros, equal tensors, empty masks, rows with one large entry, and along the gradients of what goes into the expression.
A run reaches a finding when the value of the expression, or a gradient that comes back through it, fails there while
everything before it is finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils import _pytree as pytree

from nanguard.finding import Finding, Number
from nanguard.proof import moves
from nanguard.proof.watch import HALF, Watch, nonfinite, slopes
from nanguard.proof.written import OWN, call_text, line, numbers, writable
from nanguard.stated import Range
from nanguard.tracing.arguments import Arguments, taken_apart
from nanguard.tracing.construct import options
from nanguard.tracing.deadline import OutOfTime, worked
from nanguard.tracing.places import Sources
from nanguard.tracing.replay import Snapshot, quiet
from nanguard.tracing.subject import Subject
from nanguard.tracing.tape import call

_RUNS = 300  # of one function
_FROM_ONE = 120  # of these, from one set of arguments
_OPTIONS = 6  # of an object that are tried otherwise
_TINY = 1e-300
_NONE = 1e-9  # a gradient of at most that size is none
_OWN_TENSORS = 8  # of an object that are taken for arguments


@dataclass(frozen=True, slots=True)
class Reached:
    """How a finding was reached: the arguments as a report has them, the call as Python, and what comes of it.

    `call` is None where an argument cannot be written; `outcome` is empty where nothing of the failure shows in what
    the function returns, or in the gradients of that.
    """

    arguments: Mapping[str, Number]
    call: str | None
    outcome: str


def reach(
    subject: Subject, given: Iterable[Arguments], findings: Sequence[Finding], sources: Sources, until: float
) -> Iterator[tuple[int, Reached]]:
    """The findings that are reached, by their indices, and how; `given` are arguments on which the function runs.

    Ends at `until`, a time of `deadline.worked`, or after some hundred runs.
    """
    left = {index: finding for index, finding in enumerate(findings) if finding.witness is not None}
    search = _Search(subject, sources, until, left)
    with torch.autograd.set_detect_anomaly(False):  # under which a gradient that is nan raises
        for base in chain(given, search.others()):
            if search.over:
                break
            search.start_from(base)
            while search.reached:
                yield search.reached.popitem()
        yield from search.lesser.items()


@dataclass(slots=True)
class _Search:
    """The search for the findings of one function that are `left`."""

    subject: Subject
    sources: Sources
    until: float
    left: dict[int, Finding]
    reached: dict[int, Reached] = field(default_factory=dict)
    lesser: dict[int, Reached] = field(default_factory=dict)  # of those left: the run ended before it returned
    bases: list[Arguments] = field(default_factory=list)
    tried: set[tuple[object, ...]] = field(default_factory=set)  # findings, and for what kinds of arguments
    runs: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, or no time to do it."""
        return not self.left or self.runs >= _RUNS or worked() > self.until

    def others(self) -> Iterator[Arguments]:
        """More arguments to start from, made from those on which the function runs."""
        found = list(self.bases)
        names = {name for finding in self.left.values() if finding.witness for name in finding.witness.inputs}
        for base in found[:1]:
            yield from _with_options(base, self.subject.owner)
            yield from _with_masks(base, names)
        for base in found:
            yield from _of_other_kinds(base)
        for base in found[:2]:
            yield from _with_own(base, self.subject.owner)

    def start_from(self, base: Arguments) -> None:
        """Search from some arguments."""
        for form in _forms(base):
            watch, leaves = self.run(form)
            if watch.raised is None or any(map(watch.seen, watch.visits)):
                break
        else:
            return
        if all(base is not other for other in self.bases):
            self.bases.append(base)
        kinds = tuple(tensor.dtype for tensor in form.tensors)
        fresh = {index: finding for index, finding in self.left.items() if (index, *kinds) not in self.tried}
        here = {index for index in self.left if watch.seen(index)}
        concerned = [finding for index, finding in fresh.items() if index in here]
        if not here and len(self.bases) > 1:
            return
        candidates = chain(
            moves.named(form, tuple(self.left.values())), moves.plain(form), moves.valued(form, concerned),
            moves.pulled(form, watch, leaves) if concerned else (),
        )  # fmt: skip
        for candidate in islice(candidates, _FROM_ONE):
            if self.over or (here and self.left.keys().isdisjoint(here)):
                break
            self.run(candidate)
        self.tried.update((index, *kinds) for index in here)

    def run(self, given: Arguments) -> tuple[Watch, list[Tensor]]:
        """Run the function and take note of the findings that this reaches; gives the tensors it was run with."""
        self.runs += 1
        watch, leaves = _watched(self.subject, given, self.left, self.sources, self.until)
        if not writable(given) or not _allowed(given, self.subject.ranges):
            return watch, leaves
        shown = [index for index in self.left if watch.shows(index)]
        lossy = [i for i in watch.visits if i not in shown and self.left[i].hazard == "accuracy-loss"]
        if lossy:
            some = {index: self.left[index] for index in lossy}
            better, _ = _watched(self.subject, _in_float64(given), some, self.sources, self.until)
            shown.extend(index for index in lossy if watch.loses(index, better))
        for index in shown:
            self.take(index, given)
        return watch, leaves

    def take(self, index: int, given: Arguments) -> None:
        """Take note of arguments that reach a finding, unless something else goes wrong with them."""
        finding = self.left[index]
        hazard, witness = finding.hazard, finding.witness
        outcome = _outcome(self.subject, given, hazard)
        text = call_text(self.subject.callee, self.subject.built, given) if self.subject.callee else None
        way = Reached(numbers(given), text, outcome.words)
        if outcome.raised:
            self.lesser.setdefault(index, way)
        elif outcome.finite or hazard == "forward-nonfinite" or (witness and nonfinite(witness.computed)):
            del self.left[index]
            self.lesser.pop(index, None)
            self.reached[index] = way


def _forms(base: Arguments) -> Iterator[Arguments]:
    """Arguments in a form that is short to write: rounded, with fewer rows, and large tensors evenly spaced."""
    short = moves.each(base, _rounded)
    if writable(short):
        yield short
    else:
        rows = {tensor.shape[0] for tensor in base.tensors if tensor.dim() > 0}
        fewer = moves.each(short, lambda tensor: tensor[:1] if tensor.dim() > 0 else tensor)
        if len(rows) == 1 and writable(fewer):
            yield fewer
        yield moves.each(short, lambda tensor: tensor if tensor.numel() <= 16 else _spaced(tensor))
    if all(tensor.numel() < 64 for tensor in base.tensors):
        yield base


def _rounded(tensor: Tensor) -> Tensor:
    """A tensor of floats with two decimals; what is not 0 or 1 is not made that."""
    if not tensor.is_floating_point():
        return tensor
    plain = tensor.detach()
    short = (plain * 100).round() / 100
    for edge in (0.0, 1.0):
        beside = (edge + 0.01 * torch.sign(plain - edge)).to(plain.dtype)
        short = torch.where(short == edge, beside, short)
    return short.to(plain.dtype)


def _spaced(tensor: Tensor) -> Tensor:
    if tensor.dtype is not torch.float32:
        return torch.full_like(tensor, bool(tensor.any()) if tensor.dtype is torch.bool else 0)
    return line(tensor.numel()).reshape(tensor.shape)


def _of_other_kinds(base: Arguments) -> Iterator[Arguments]:
    """Arguments with floats or masks for whole numbers, of fewer dimensions, and with a flag the other way."""
    whole = [i for i, part in enumerate(base.tensors) if not part.is_floating_point() and not part.is_complex()]
    flags = [name for name, leaves, _ in base.parts if len(leaves) == 1 and isinstance(leaves[0], bool)]
    for places in dict.fromkeys((tuple(whole), *((index,) for index in whole))):
        if places:
            yield _at(base, places, _between)
    for other in (base, *(_flipped(base, name) for name in flags)):
        column = moves.each(other, lambda tensor: tensor[..., 0] if tensor.dim() > 1 else tensor)
        yield from (other, column) if other is not base else (column,)
        if whole:
            yield from (_at(kind, whole, lambda tensor: tensor % 2 == 1) for kind in (other, column))


def _at(base: Arguments, places: Sequence[int], change: Callable[[Tensor], Tensor]) -> Arguments:
    tensors = [change(tensor) if index in places else tensor for index, tensor in enumerate(base.tensors)]
    return moves.with_tensors(base, tensors)


def _flipped(base: Arguments, name: str) -> Arguments:
    return _put(base, {name: not base.values()[name]})


def _put(base: Arguments, values: Mapping[str, Any]) -> Arguments:
    return taken_apart(base.signature, {**base.values(), **values})


def _with_masks(base: Arguments, names: Collection[str]) -> Iterator[Arguments]:
    """Arguments with ones for what is left out, if it is an input of a witness: in the shapes that others have."""
    shapes = dict.fromkeys(tuple(tensor.shape) for tensor in base.tensors)
    for name, value in base.values().items():
        if value is None and name in names:
            yield from (_put(base, {name: torch.ones(shape)}) for shape in shapes)


def _with_options(base: Arguments, owner: object) -> Iterator[Arguments]:
    """Arguments with other options of the object."""
    for name, text in islice(options(owner) if owner is not None else (), _OPTIONS):
        yield _put(base, {f"{OWN}{name}": text})


def _with_own(base: Arguments, owner: object) -> Iterator[Arguments]:
    """Arguments with the tensors of the object among them."""
    own = {name: part for name, part in _attributes(owner).items() if isinstance(part, Tensor)}
    if 0 < len(own) <= _OWN_TENSORS and any(part.is_floating_point() for part in own.values()):
        yield _put(base, {f"{OWN}{name}": part.detach() for name, part in own.items()})


def _attributes(owner: object) -> dict[str, Any]:
    table = getattr(owner, "__dict__", {})
    return {**table, **table.get("_parameters", {}), **table.get("_buffers", {})}


def _between(tensor: Tensor) -> Tensor:
    return (0.1 + 0.8 * line(tensor.numel())).reshape(tensor.shape)


def _allowed(given: Arguments, ranges: Mapping[str, Range]) -> bool:
    """Whether the tensors of arguments lie in what the user says that the parameters take."""
    named = zip(given.names, given.tensors, strict=True)
    return all(_inside(tensor, ranges[name]) for name, tensor in named if name in ranges)


def _inside(tensor: Tensor, found: Range) -> bool:
    above = tensor > found.low if found.low_open else tensor >= found.low
    below = tensor < found.high if found.high_open else tensor <= found.high
    return bool((above & below).all())


def _in_float64(given: Arguments) -> Arguments:
    return moves.each(given, lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)


# --- runs -----------------------------------------------------------------------------------------------


def _watched(
    subject: Subject, given: Arguments, findings: Mapping[int, Finding], sources: Sources, until: float
) -> tuple[Watch, list[Tensor]]:
    """A run of the function, watched at the places of some findings; it may raise after these."""
    leaves = [_leaf(tensor) for tensor in given.tensors]
    watch = Watch(dict(findings), sources, until, dict(zip(given.names, leaves, strict=True)))
    try:
        _run(subject, given, leaves, watch)
    except (Exception, OutOfTime) as error:
        watch.raised = error  # what was computed before that stands
    return watch, leaves


def _run(subject: Subject, given: Arguments, leaves: Sequence[Tensor], watch: Watch | None = None) -> Any:
    """Call the function with gradients; its modules and the names that it knows have their state again afterwards."""
    checks = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    with quiet(), torch.enable_grad():
        own = getattr(subject.owner, "__dict__", {})
        snapshot = Snapshot(subject.modules, [*subject.tables, own])
        inner = moves.with_tensors(given, [leaf.clone() for leaf in leaves])
        args, kwargs = inner.rebuild(inner.tensors)
        try:
            for name, value in inner.values().items():
                if name.startswith(OWN):
                    _set(subject.owner, name.removeprefix(OWN), value)
            if watch is None:
                return call(subject, args, kwargs)
            with watch:
                return call(subject, args, kwargs)
        finally:
            snapshot.restore()
            Distribution.set_default_validate_args(checks)


def _set(owner: Any, name: str, value: Any) -> None:
    """Put a value in the place of an attribute, whatever kind of parameter it is."""
    tables = [owner.__dict__.get(kind, {}) for kind in ("_parameters", "_buffers")]
    next((table for table in tables if name in table), owner.__dict__)[name] = value


def _leaf(tensor: Tensor) -> Tensor:
    leaf = tensor.detach().clone()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a caller sees of a run: in words, empty where there is nothing to see of the failure."""

    words: str
    finite: bool = True  # what it returned
    raised: bool = False


def _outcome(subject: Subject, given: Arguments, hazard: str) -> _Outcome:
    """What a caller sees of a failure: a result, its gradient, or an exception."""
    leaves = [_leaf(tensor) for tensor in given.tensors]
    try:
        results = _floats(_run(subject, given, leaves))
    except (Exception, OutOfTime) as error:
        return _Outcome(f"raises {type(error).__name__}", raised=True)
    for value in (part for result in results for part in result.detach().flatten().tolist()):
        if not math.isfinite(value):
            return _Outcome(f"returns {value}", finite=False)
    if hazard == "accuracy-loss":
        return _Outcome(_difference(subject, given, results))
    named = {name: leaf for name, leaf in zip(given.names, leaves, strict=True) if leaf.requires_grad}
    return _Outcome(_slope(results, named, hazard == "dead-gradient"))


def _floats(value: object) -> list[Tensor]:
    return [part for part in pytree.tree_leaves(value) if isinstance(part, Tensor) and part.is_floating_point()]


def _difference(subject: Subject, given: Arguments, results: Sequence[Tensor]) -> str:
    """The result that differs most from what the function returns in float64, where that is over half of its bits."""
    better = _in_float64(given)
    try:
        others = _floats(_run(subject, better, better.tensors))
    except (Exception, OutOfTime):
        return ""
    for mine, other in zip(results, others, strict=False):
        if mine.shape == other.shape and mine.numel() > 0:
            error = ((mine.double() - other).abs() / other.abs().clamp(min=_TINY)).detach().flatten()
            worst = int(error.argmax())
            if error[worst] > HALF:
                first, second = float(mine.detach().flatten()[worst]), float(other.detach().flatten()[worst])
                return f"returns {first:.6g}, and {second:.6g} in float64"
    return ""


def _slope(results: Sequence[Tensor], leaves: Mapping[str, Tensor], dead: bool) -> str:
    """Which gradient of the sum of the results is not finite, or, if that is asked, next to 0 all over, in words."""
    free = [result.sum() for result in results if result.requires_grad]
    if not free:
        return ""
    pairs = zip(leaves, slopes(sum(free[1:], free[0]), list(leaves.values())), strict=True)
    found = {name: slope for name, slope in pairs if slope is not None}
    for name, slope in found.items():
        for value in slope.flatten().tolist():
            if not math.isfinite(value):
                return f"has the gradient {value} for {name}"
    for name, slope in found.items():
        largest = float(slope.abs().max()) if dead and slope.numel() else math.inf
        if largest <= _NONE:
            return f"has a gradient of at most {largest:.2g} for {name}"
    return ""
