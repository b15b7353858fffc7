"""Watch: what one run of a function computes at the places of some findings, and whether it goes wrong there."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from nanguard.finding import Finding, Number, Span, Witness
from nanguard.tracing.deadline import OutOfTime, importing, worked
from nanguard.tracing.places import Sources, is_user_file
from nanguard.tracing.tape import call

_VISITS = 8  # of one place in one run that are looked at
HALF = 2.0**-12  # of a float32: an error of this size has cost half of its bits
_NEAR = 1e-3  # relative: what is this near to an input of a witness is like it
_OWN = re.compile(r"self(\.\w+)+")


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A tensor of the run, and what was in it at the time: it may be written in place later."""

    tensor: Tensor
    content: Tensor

    @property
    def finite(self) -> bool:
        """Whether all of its entries were."""
        return bool(torch.isfinite(self.content).all())


def held(tensor: Tensor) -> Held:
    """A tensor as it is now."""
    return Held(tensor, tensor.detach().clone())


@dataclass(slots=True)
class Visit:
    """One computation of the expression of a finding.

    `value` is what it gave, `named` what the inputs of the witness were, by their names (where they are tensors),
    `numbers` those that are no tensors, and `operands` all that came into the expression from outside.
    """

    value: Held | None = None
    named: dict[str, Held] = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)
    operands: list[Held] = field(default_factory=list)
    inside: set[int] = field(default_factory=set)  # identities of what was made in it

    def leaves(self, names: Iterable[str]) -> Leaves:
        """The inputs of a witness; where not all were seen, the operands as well."""
        wanted = set(names)
        found = {name: part for name, part in self.named.items() if name in wanted}
        known = bool(found) and wanted <= self.named.keys() | self.numbers
        return Leaves(found, () if known else tuple(self.operands))


@dataclass(frozen=True, slots=True)
class Leaves:
    """What goes into an expression: the inputs of a witness by their names, and what else may be one of them."""

    named: Mapping[str, Held]
    others: Sequence[Held] = ()

    @property
    def all(self) -> list[Held]:
        """All of them."""
        return [*self.named.values(), *self.others]


class Watch(TorchFunctionMode):
    """Keeps what a run computes at the places of some findings.

    `findings` are known by numbers; the run is broken off at `until`, a time of `deadline.worked`.  `arguments` are the
    tensors that the run is given, by their names.
    """

    def __init__(
        self, findings: Mapping[int, Finding], sources: Sources, until: float, arguments: Mapping[str, Tensor]
    ) -> None:
        self.findings, self.sources, self.until = findings, sources, until
        self.arguments = {name: held(tensor) for name, tensor in arguments.items()}
        self.visits: dict[int, list[Visit]] = {}
        self.raised: BaseException | None = None
        self.kept: list[Any] = []  # so that identities stay
        self.files = {os.path.abspath(finding.span.path): finding.span.path for finding in findings.values()}
        self.lines: dict[str, list[tuple[int, int]]] = {}
        self.texts: set[str] = (
            set()
        )  # inputs of witnesses that are expressions, and may be computed in other statements
        self.latest: dict[str, Held] = {}
        for finding in findings.values():
            self.lines.setdefault(finding.span.path, []).append((finding.span.line, finding.span.end_line))
            self.texts.update(name for name in _inputs(finding) if not name.isidentifier())

    # --- the run ---------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if worked() > self.until and not importing(sys._getframe(), call.__code__):
            raise OutOfTime
        frame, path = self.place(sys._getframe(1))
        near = path is not None and frame is not None and self.near(path, frame.f_lineno)
        before = [held(part) for part in _tensors((args, kwargs))] if near else []
        result = func(*args, **(kwargs or {}))
        made = args[0] if func.__name__ == "__setitem__" else result
        if path is not None and frame is not None and isinstance(made, Tensor) and made.is_floating_point():
            here = self.sources.span(frame) if near or self.texts else None
            if here is not None:
                self.note(replace(here, path=path), frame, before, made)
        return result

    def place(self, frame: FrameType | None) -> tuple[FrameType | None, str | None]:
        """The innermost frame of a program, with its file as the findings name it, None for one of no finding."""
        while frame is not None and frame.f_code is not call.__code__:
            name = frame.f_code.co_filename
            path = self.files.get(name) or self.files.get(os.path.abspath(name))
            if path is not None or is_user_file(name):
                return frame, path
            frame = frame.f_back
        return None, None

    def near(self, path: str, line: int) -> bool:
        """Whether a line is one of a place of a finding."""
        return any(first <= line <= last for first, last in self.lines[path])

    # --- what it sees ----------------------------------------------------------------------------------

    def note(self, here: Span, frame: FrameType, before: Sequence[Held], made: Tensor) -> None:
        """Take note of a value that was made, by operands as they were `before`."""
        now = held(made)
        self.kept.append(now)
        if self.texts:
            text = self.sources.segment(here)
            if text in self.texts:
                self.latest[text] = now
        for index, finding in self.findings.items():
            if finding.span.covers(here):
                visit = self.visit(index, before)
                visit.operands.extend(part for part in before if id(part.tensor) not in visit.inside)
                visit.inside.add(id(made))
                self.name(visit, finding, frame)
                if here == finding.span:
                    visit.value = now
                else:
                    visit.named[self.sources.segment(here)] = now

    def visit(self, index: int, before: Sequence[Held]) -> Visit:
        """The visit that a value belongs to: the last one, unless that is over and nothing of it goes in."""
        listed = self.visits.setdefault(index, [])
        last = listed[-1] if listed else None
        over = last is None or (last.value is not None and all(part.tensor is not last.value.tensor for part in before))
        if last is None or over:
            listed.append(last := Visit())
        return last

    def name(self, visit: Visit, finding: Finding, frame: FrameType) -> None:
        """Look up the inputs of the witness among what the program has."""
        for name in _inputs(finding):
            value = frame.f_locals.get(name, self.latest.get(name))
            if _OWN.fullmatch(name) and "self" in frame.f_locals:
                with suppress(Exception):  # an attribute that is none
                    value = _attribute(frame.f_locals["self"], name)
            if isinstance(value, Held):
                visit.named.setdefault(name, value)
            elif isinstance(value, Tensor) and value.is_floating_point():
                known = visit.named.get(name)
                if known is None or known.tensor is not value:
                    visit.named[name] = held(value)
            elif isinstance(value, int | float):
                visit.numbers.add(name)

    # --- what it means ---------------------------------------------------------------------------------

    def seen(self, index: int) -> bool:
        """Whether the run came by the place of a finding."""
        return any(visit.value is not None for visit in self.visits.get(index, ()))

    def shows(self, index: int) -> bool:
        """Whether the run failed at the place of a finding in the way that the finding says."""
        finding = self.findings[index]
        complete = [visit for visit in self.visits.get(index, ()) if visit.value is not None][:_VISITS]
        if any(_shown(finding, visit, visit.leaves(_inputs(finding))) for visit in complete):
            return True
        given = {name: part for name, part in self.arguments.items() if name in _inputs(finding)}
        whole = bool(given) and given.keys() == _inputs(finding).keys()
        if whole and any(_shown(finding, visit, Leaves(given)) for visit in complete):
            return True  # though other values go by these names at the place
        return any(self.hides(finding, visit) for visit in complete) or self.divides(finding)

    def hides(self, finding: Finding, visit: Visit) -> bool:
        """Whether the expression leaves out what is not finite, and spoils the gradient of the arguments by it."""
        if finding.hazard != "gradient-nonfinite" or visit.value is None or not visit.value.finite:
            return False
        if all(part.finite for part in visit.operands):
            return False
        return any(
            not bool(torch.isfinite(s).all())
            for s in _slopes(visit.value, list(self.arguments.values()))
            if s is not None
        )

    def divides(self, finding: Finding) -> bool:
        """Whether the run ended in a division of numbers by zero at the place: Python raises where a tensor has inf."""
        if finding.witness is None or not nonfinite(finding.witness.computed):
            return False
        step = self.raised.__traceback__ if isinstance(self.raised, ZeroDivisionError) else None
        while step is not None:
            code = step.tb_frame.f_code
            path = self.files.get(code.co_filename) or self.files.get(os.path.abspath(code.co_filename))
            here = self.sources.span_at(code, step.tb_lasti) if path is not None else None
            if here is not None and path is not None and finding.span.covers(replace(here, path=path)):
                return True
            step = step.tb_next
        return False

    def loses(self, index: int, better: Watch) -> bool:
        """Whether over half of the bits of a value are lost, against a run in float64 from the same inputs."""
        names = list(_inputs(self.findings[index]))
        pairs = zip(self.visits.get(index, ()), better.visits.get(index, ()), strict=False)
        return any(_lost(mine, other, names) for mine, other in list(pairs)[:_VISITS])


def _shown(finding: Finding, visit: Visit, leaves: Leaves) -> bool:
    return all(part.finite for part in leaves.all) and _fails(finding, visit, leaves)


def _lost(mine: Visit, other: Visit, names: Sequence[str]) -> bool:
    if mine.value is None or other.value is None:
        return False
    pairs = list(zip(mine.leaves(names).all, other.leaves(names).all, strict=False))
    value, exact = mine.value.content.double(), other.value.content
    if not pairs or exact.dtype != torch.float64 or exact.shape != value.shape or not mine.value.finite:
        return False
    same = all(
        a.content.shape == b.content.shape and torch.allclose(a.content.double(), b.content.double(), 1e-6, 0)
        for a, b in pairs
    )
    lost = (value - exact).abs() > HALF * exact.abs()
    return same and bool((lost & torch.isfinite(exact)).any())


def _inputs(finding: Finding) -> Mapping[str, Number]:
    return finding.witness.inputs if finding.witness is not None else {}


def _tensors(value: object) -> list[Tensor]:
    """The tensors of floats in the arguments of a call."""
    return [part for part in pytree.tree_leaves(value) if isinstance(part, Tensor) and part.is_floating_point()]


def _attribute(holder: Any, name: str) -> Any:
    for part in name.split(".")[1:]:
        holder = getattr(holder, part)
    return holder


# --- failures -------------------------------------------------------------------------------------------


def _fails(finding: Finding, visit: Visit, leaves: Leaves) -> bool:
    """Whether a value of the expression, or a gradient through it, fails like that of the witness."""
    witness, value = finding.witness, visit.value
    if witness is None or value is None:
        return False
    if not all(_alike(part, witness.inputs[name]) for name, part in leaves.named.items()):
        return False
    if nonfinite(witness.computed) or not value.finite:
        kinds = _kinds(witness.computed)
        return bool(kinds & _kinds(value.content.flatten().tolist()) if leaves.others else kinds and not value.finite)
    if finding.hazard == "gradient-nonfinite" or nonfinite(witness.gradient):
        return _spoiled(value, leaves.all)
    if finding.hazard in ("dead-gradient", "ineffective-guard"):
        pairs = zip(leaves.all, _slopes(value, leaves.all), strict=True)
        return any(_dead(leaf, slope, witness) for leaf, slope in pairs if slope is not None)
    return (
        finding.hazard != "accuracy-loss"
        and _holds(value, [witness.computed])
        and all(name in leaves.named and _holds(leaves.named[name], [part]) for name, part in witness.inputs.items())
    )


def _spoiled(value: Held, leaves: Sequence[Held]) -> bool:
    """Whether a gradient of a value for some leaves is not finite."""
    return any(not bool(torch.isfinite(slope).all()) for slope in _slopes(value, leaves) if slope is not None)


def _slopes(value: Held, leaves: Sequence[Held]) -> list[Tensor | None]:
    """The gradients of a value for the leaves of its expression, None where there is none."""
    weights = torch.arange(1, value.tensor.numel() + 1).reshape(value.tensor.shape).cos().to(value.tensor)
    return slopes((value.tensor * weights).sum(), [leaf.tensor for leaf in leaves])


def slopes(total: Tensor, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient of one number for each leaf, None where there is none or it cannot be had any more."""
    free = [leaf for leaf in leaves if leaf.requires_grad]
    if not total.requires_grad or not free:
        return [None] * len(leaves)
    try:
        found = iter(torch.autograd.grad(total, free, allow_unused=True, retain_graph=True))
    except RuntimeError:  # something was written in place since
        return [None] * len(leaves)
    return [next(found) if leaf.requires_grad else None for leaf in leaves]


def nonfinite(number: Number | None) -> bool:
    """Whether a number of a witness, or an entry of it, is not finite."""
    if isinstance(number, list):
        return any(map(nonfinite, number))
    return isinstance(number, str) and number != "undefined"


def entries(numbers: Iterable[Number]) -> list[float]:
    """All entries that are numbers."""
    found: list[float] = []
    for number in numbers:
        if isinstance(number, list):
            found.extend(entries(number))
        elif not isinstance(number, str):
            found.append(float(number))
    return found


def _kinds(number: Any) -> set[str]:
    """The kinds of numbers that are not finite, among the entries of a value."""
    if isinstance(number, list):
        return {kind for part in number for kind in _kinds(part)}
    text = str(number).removeprefix("-")
    return {text} & {"inf", "nan"}


def _alike(part: Held, number: Number) -> bool:
    """Whether a tensor has an entry like each of a number of a witness, or more extreme: what else fails is another."""
    return all(bool(_beyond(part.content, entry, _NEAR).any()) for entry in set(entries([number])))


def _beyond(part: Tensor, value: float, near: float = 0.0) -> Tensor:
    """Where entries are at least as extreme as a value, but for a part: further from 0; nearer to it below 1."""
    part = part if part.is_floating_point() else part.float()
    limit = part.new_tensor(value)
    same = (part * torch.sign(limit) >= 0) & ((part == 0) == (limit == 0))
    size = limit.abs()
    return same & (part.abs() <= size * (1 + near) if abs(value) < 1 else part.abs() >= size * (1 - near))


def _dead(leaf: Held, slope: Tensor, witness: Witness) -> bool:
    """Whether no gradient comes back for an entry that is at least as extreme as that of the witness."""
    hard = max(entries(witness.inputs.values()), key=abs, default=0.0)
    limit = abs(witness.gradient) if isinstance(witness.gradient, float) else 0.0
    return bool(((slope.abs() <= limit) & _beyond(leaf.content, hard)).any())


def _holds(part: Held, numbers: Sequence[Number]) -> bool:
    """Whether a tensor has the entries of a number."""
    flat = part.content.flatten()
    return all(bool(torch.isclose(flat, flat.new_tensor(entry), 1e-6, 0).any()) for entry in entries(numbers))
