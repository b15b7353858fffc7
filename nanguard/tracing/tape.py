"""Tape: run a callable on small concrete tensors and record every torch call in an fx graph.

Python gets true answers to all it asks, so that any code that runs can be recorded.  What it asks about the entries
of tensors is noted: a test on the way narrows what was tested, and numbers that were taken out of tensors are true of
this run only.  Two runs on different entries tell which numbers these are.
"""

from __future__ import annotations

import builtins
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import CodeType
from typing import Any

import torch
import torch.functional
import torch.nn.functional
from torch import fx, nn
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property

from nanguard.tracing.arguments import Arguments, Unknown
from nanguard.tracing.calls import is_known
from nanguard.tracing.deadline import OutOfTime, importing, worked
from nanguard.tracing.nodes import Passed
from nanguard.tracing.places import DIRECT, GRAD, NAMES, SPAN, Sources, caller
from nanguard.tracing.recording import Recording, read_nodes
from nanguard.tracing.replay import Snapshot, quiet
from nanguard.tracing.subject import Subject
from nanguard.tracing.tracer import TraceError, path_in

_MOST = 3000  # calls of one run that are recorded
_ASKS = (torch.nn.functional, torch.functional, torch._tensor, torch.nn.init)  # modules that ask has_torch_function
# What a tensor says about itself whatever its entries are.
_QUESTIONS = frozenset({
    "size", "dim", "ndimension", "numel", "nelement", "stride", "__len__", "is_floating_point", "is_complex", "type",
    "element_size", "is_contiguous", "storage_offset", "get_device", "is_signed", "__hash__", "__repr__", "__format__",
    "is_same_size", "result_type", "is_inference", "is_pinned", "requires_grad_", "backward", "register_hook",
    "retain_grad", "is_conj", "is_neg", "has_names", "is_set_to", "is_shared", "__reduce_ex__", "__dir__",
})  # fmt: skip
_OPERATORS = {
    "__getitem__": operator.getitem, "__setitem__": operator.setitem,
    "__iadd__": operator.iadd, "__isub__": operator.isub, "__imul__": operator.imul, "__itruediv__": operator.itruediv,
}  # fmt: skip
_NUMBERS = frozenset({"item", "__float__"})


class Trains(TraceError):
    """What runs builds an optimizer or goes backward: it trains a model, and computes no loss for others."""


def taped(subject: Subject, given: Arguments, sources: Sources, until: float) -> Recording:
    """Record the run of a callable on some arguments; raises what the run raises, and `TraceError`.

    The run is broken off at `until`, a time of `deadline.worked`.
    """
    if any(isinstance(leaf, Unknown) for _, leaves, _ in given.parts for leaf in leaves):
        raise TraceError(f"{subject.home}: needs a value for every parameter")
    tape = _played(subject, given, given.tensors, sources, until)
    if tape.calls == 0:
        raise TraceError(f"{subject.home}: takes no tensor and computes none")
    unsure = set(tape.unknown)
    if any(test.outcome is None for test in tape.passed):
        try:
            other = _played(subject, given, [_varied(tensor) for tensor in given.tensors], sources, until)
            unsure |= _differing(tape.graph, other.graph)
        except Exception:
            unsure |= _differing(tape.graph, fx.Graph())
    read = read_nodes(tape.graph, tape.examples, sources, subject, tape.passed, unsure)
    return Recording(
        name=subject.name, graph=tape.graph, terms=read.terms, sites=read.sites, uses=read.uses, arguments=given,
        examples=tape.examples, home=subject.home,
    )  # fmt: skip


def _played(subject: Subject, given: Arguments, tensors: Sequence[Any], sources: Sources, until: float) -> Tape:
    """The tape of one run; the state of modules and names is put back."""
    tape = Tape(sources, subject.root, until)
    with quiet():
        snapshot = Snapshot(subject.modules, subject.tables)
        inputs = [tape.input(name, tensor) for name, tensor in zip(given.names, tensors, strict=True)]
        args, kwargs = given.rebuild(inputs)
        try:
            with tape.recording():
                call(subject, args, kwargs)
        except OutOfTime:
            raise TraceError(f"{subject.home}: takes too long on small inputs") from None
        finally:
            snapshot.restore()
    return tape


def _trains(*args: Any, **kwargs: Any) -> None:
    raise Trains("trains a model; only what it trains with is traced")


def call(subject: Subject, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run the subject; frames above this one are the caller's, not the program's."""
    return subject.run(args, kwargs)


def _varied(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor with other entries in the same range; labels and masks stay."""
    whole = not tensor.is_floating_point() or bool((tensor == tensor.round()).all())
    return tensor if whole else tensor * 0.97 + 0.013


def _differing(first: fx.Graph, second: fx.Graph) -> set[fx.Node]:
    """The nodes of a graph whose numbers another run has not got."""
    found: set[fx.Node] = set()
    others = iter(second.nodes)
    aligned = True
    for node in first.nodes:
        other = next(others, None) if aligned else None
        aligned = other is not None and (node.op, node.target) == (other.op, other.target)
        mine = list(_numbers((node.args, node.kwargs)))
        if other is None or not aligned:
            if any(isinstance(number, float) for number in mine):
                found.add(node)
        elif mine != list(_numbers((other.args, other.kwargs))):
            found.add(node)
    return found


def _numbers(value: Any) -> Iterator[float | int]:
    match value:
        case bool():
            return
        case int() | float():
            yield value
        case tuple() | list():
            for part in value:
                yield from _numbers(part)
        case dict():
            yield from _numbers(list(value.values()))
        case slice():
            yield from _numbers((value.start, value.stop, value.step))


class Tape(TorchFunctionMode):
    """Records the torch calls of one run.

    `examples` are the values of the nodes, `passed` is what the program asked about entries.
    """

    def __init__(self, sources: Sources, root: Callable[..., Any] | nn.Module, until: float) -> None:
        self.sources, self.root, self.until = sources, root, until
        self.graph = fx.Graph()
        self.examples: dict[fx.Node, Any] = {}
        self.passed: list[Passed] = []
        self.nodes: dict[int, fx.Node] = {}  # of tensors and of numbers that were taken out of tensors
        self.parts: dict[int, tuple[fx.Node, int]] = {}  # of the tensors in what a call gave
        self.kept: list[Any] = []  # so that no other object gets the identity of one of these
        self.last: fx.Node | None = None
        self.unknown: set[fx.Node] = set()  # values that come from where this does not see
        self.entered: list[CodeType] = []  # the code of functions of torch that are entered, and these themselves
        self.entering: list[Any] = []
        self.count = self.calls = 0  # of all calls, of those recorded

    # --- the run ---------------------------------------------------------------------------------------

    def input(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of an argument, as an input of the graph."""
        copy = tensor.detach().clone()
        self.bind(self.add("placeholder", name, (), {}, copy), copy)
        return copy

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While this lasts, the torch calls of this thread are recorded; distributions do not check arguments."""
        checks = Distribution._validate_args
        Distribution.set_default_validate_args(False)
        optimizer: Any = torch.optim.Optimizer
        built = optimizer.__init__
        optimizer.__init__ = _trains
        try:
            with self.letting_in(), self:
                yield
        finally:
            optimizer.__init__ = built
            Distribution.set_default_validate_args(checks)

    @contextmanager
    def letting_in(self) -> Iterator[None]:
        """Functions of torch in Python that are entered do not ask this mode about themselves again."""
        with ExitStack() as stack:
            for module in _ASKS:
                for name in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
                    original = vars(module).get(name)
                    if original is not None:
                        setattr(module, name, self.asking(original))
                        stack.callback(setattr, module, name, original)
            yield

    def asking(self, original: Callable[..., bool]) -> Callable[..., bool]:
        """`has_torch_function`, for all but the functions that are entered."""

        def asked(*args: Any) -> bool:
            return sys._getframe(1).f_code not in self.entered and original(*args)

        return asked

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = dict(kwargs or {})
        if worked() > self.until and not importing(sys._getframe(), call.__code__):
            raise OutOfTime
        method = is_tensor_method_or_property(func)
        if method and func is torch.Tensor.backward:
            _trains()
        code = getattr(func, "__code__", None)
        again = code in self.entered or any(func is other for other in self.entering)
        if code is not None and not again and func.__name__ not in _QUESTIONS and not is_known(func, method):
            return self.enter(func, code, args, keywords)
        self.count += 1
        operands = (self.held(args), self.held(keywords)) if self.count <= _MOST else None
        result = func(*args, **keywords)
        if operands is not None:
            self.note(func, method, operands, result)
        return result

    def enter(self, func: Any, code: CodeType, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run a function of torch that is written in Python, and record what it calls."""
        self.entered.append(code)
        self.entering.append(func)
        try:
            with self:
                return func(*args, **kwargs)
        finally:
            self.entered.pop()
            self.entering.pop()

    # --- the graph -------------------------------------------------------------------------------------

    def note(self, func: Any, method: bool, operands: tuple[Any, Any], result: Any) -> None:
        """Record a call that was made."""
        args, kwargs = operands
        name = func.__name__
        if name == "__get__":
            target = getattr(func.__self__, "__name__", "")
            if isinstance(result, torch.Tensor):
                self.made(self.add("call_function", getattr, (*args[:1], target), {}, result, func), result)
            return
        asked = _nodes((args, kwargs))
        if name == "__bool__":
            self.pass_by(asked, bool(result))
        elif name in _NUMBERS and isinstance(result, float):
            self.pass_by(asked, None)
            self.made(self.add("call_method", "item", args, {}, result, func), result)
        elif name == "__setitem__" or any(isinstance(part, torch.Tensor) for part in _flat(result)):
            kind, target = ("call_method", name) if method else ("call_function", func)
            if name in _OPERATORS:
                kind, target = "call_function", _OPERATORS[name]
            self.made(self.add(kind, target, args, kwargs, result, func), result)
            self.calls += 1
        elif asked and name not in _QUESTIONS:
            self.pass_by(asked, None)

    def pass_by(self, nodes: Sequence[fx.Node], outcome: bool | None) -> None:
        """Note that the program asked about the entries of some tensors."""
        for node in nodes:
            if self.last is not None:
                self.passed.append(Passed(self.last, node, outcome if len(nodes) == 1 else None))

    def add(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any, func: Any = None
    ) -> fx.Node:
        """A node with its value, its place and its context."""
        node = self.graph.create_node(kind, target, tuple(args), dict(kwargs))
        self.examples[node], self.last = value, node
        if kind.startswith("call"):
            node.meta[GRAD] = torch.is_grad_enabled()
            self.locate(node, func)
        return node

    def locate(self, node: fx.Node, func: Any) -> None:
        """Note where the program is, and what it calls its values there."""
        frame, node.meta[DIRECT] = caller(sys._getframe(1), call.__code__, getattr(func, "__code__", None))
        if frame is None:
            return
        span = self.sources.span(frame)
        if span is not None and not torch.is_autocast_enabled("cpu"):  # under which it computes in another dtype
            node.meta[SPAN] = span
        names = {name: self.nodes.get(id(held)) for name, held in frame.f_locals.items()}
        node.meta[NAMES] = {name: held for name, held in names.items() if held is not None}

    def made(self, node: fx.Node, result: Any) -> None:
        """Take what a call gave."""
        if isinstance(result, torch.Tensor | float):
            self.bind(node, result)
        elif isinstance(result, tuple | list):
            for index, part in enumerate(result):
                if isinstance(part, torch.Tensor):
                    self.kept.append(part)
                    self.nodes.pop(id(part), None)
                    self.parts[id(part)] = (node, index)

    def bind(self, node: fx.Node, value: Any) -> None:
        """The value of a node; one that was written in place has a new node."""
        self.kept.append(value)
        self.parts.pop(id(value), None)
        self.nodes[id(value)] = node

    def held(self, value: Any) -> Any:
        """An argument of a call with the nodes of its tensors in their place."""
        match value:
            case torch.Tensor():
                return self.node_of(value)
            case float():
                return self.nodes.get(id(value), value)
            case builtins.bool() | int() | str() | None | torch.dtype() | torch.device() | torch.Size():
                return value
            case tuple() | list():
                parts = [*map(self.held, value)]
                return tuple(parts) if isinstance(value, tuple) else parts
            case dict():
                return {str(name): self.held(part) for name, part in value.items()}
            case slice():
                return slice(self.held(value.start), self.held(value.stop), self.held(value.step))
        return value if value is ... else self.leaf(value, "_value")

    def node_of(self, tensor: torch.Tensor) -> fx.Node:
        """The node of a tensor: one there is, a part of what a call gave, or a leaf of which nothing is known."""
        if id(tensor) in self.nodes:
            return self.nodes[id(tensor)]
        if id(tensor) not in self.parts:
            return self.leaf(tensor, "_tensor")
        whole, index = self.parts[id(tensor)]
        node = self.add("call_function", operator.getitem, (whole, index), {}, tensor)
        node.meta.pop(SPAN, None)  # the place of the call that gave it, or of none
        self.bind(node, tensor)
        return node

    def leaf(self, value: Any, prefix: str) -> fx.Node:
        """A value that the program has before it runs, or that no torch call made."""
        known = path_in(self.root, value) if isinstance(self.root, nn.Module) and prefix == "_tensor" else None
        node = self.nodes.get(id(value))
        if node is None:
            node = self.add("get_attr", known or f"{prefix}_{len(self.kept)}", (), {}, value)
            self.bind(node, value)
            if known is None:
                self.unknown.add(node)
        return node


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def _nodes(value: Any) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.map_arg(value, lambda node: found.append(node) or node)  # type: ignore[func-returns-value]
    return found
