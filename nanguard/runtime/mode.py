"""Mode: unstable expressions replaced while a program runs, where no graph of it can be proved.

A `TorchFunctionMode` sees the torch calls of one call of a function.  It keeps them as a tape, an fx graph with the
tensors of its nodes; where a call completes an expression that a rule replaces, the replacement is computed from the
operands on the tape.  A tensor that was written into since (its version says so) is not read again, and what decides a
branch is what the program computes as it is written.
"""

from __future__ import annotations

import contextlib
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property
from torch.utils import checkpoint

from nanguard.finding import Span
from nanguard.matching import rules
from nanguard.matching.match import Matcher, matcher
from nanguard.repair.source import Unprintable, Words, source_of
from nanguard.runtime.emit import Executor, Movement, NotEmittable
from nanguard.runtime.rewriting import CLOSE, GUARDED, Plan, Planner, dtype_of
from nanguard.term import Term
from nanguard.tracing.calls import pure, writes
from nanguard.tracing.nodes import Reader
from nanguard.tracing.places import GRAD, NAMES, SPAN, Sources, user_frame
from nanguard.tracing.replay import same, saving_apart

if TYPE_CHECKING:
    from nanguard.runtime.captured import Captured
    from nanguard.runtime.options import Options

_LONGEST = 4000  # calls on one tape; a program that makes more is left alone from there on
_CHAIN = 200  # calls that are made again to check a replacement
_DRAWS, _TESTS = 3, 2  # kinds of values that are tried, and how many must fit
# How a tensor becomes something that Python can decide on.
_DECIDING = frozenset({
    "__bool__", "__float__", "__int__", "__index__", "__contains__", "item", "tolist", "is_nonzero", "equal",
    "allclose",
})  # fmt: skip
# By which a checkpoint ends its second run.
_STOP: tuple[type[Exception], ...] = tuple(filter(None, [getattr(checkpoint, "_StopRecomputationError", None)]))
_REFLECTED = {
    "__radd__": operator.add, "__rsub__": operator.sub, "__rmul__": operator.mul, "__rpow__": operator.pow,
    "__rtruediv__": operator.truediv, "__rdiv__": operator.truediv, "__rmatmul__": operator.matmul,
}  # fmt: skip


def under_mode(captured: Captured, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of the original, with unstable expressions replaced as they complete."""
    tape = captured.tape
    if tape is None:
        tape = captured.tape = Tape(captured.options)
    if tape.busy:  # the function calls itself, or runs in several threads
        return captured.original(*args, **kwargs)
    tape.busy = True
    try:
        with Peephole(tape):
            return captured.original(*args, **kwargs)
    finally:
        tape.busy = False


@dataclass(slots=True)
class Step:
    """A node of the tape: the call it stands for, what may take its place, and whether that was tried."""

    call: object
    node: fx.Node
    plan: Plan | None = None
    trusted: bool | None = None
    writes: bool = False  # into one of its operands


@dataclass(slots=True)
class Tape:
    """The calls of the last run: a run that makes the same calls in the same order finds its plans there."""

    options: Options
    steps: list[Step] = field(default_factory=list)
    dtype: str = ""
    busy: bool = False
    replaced: dict[Span | None, tuple[Plan, str, str]] = field(default_factory=dict)
    graph: fx.Graph = field(default_factory=fx.Graph)
    examples: dict[fx.Node, Any] = field(default_factory=dict)
    sources: Sources = field(default_factory=Sources)
    planner: Planner | None = None
    known: Matcher | None = None

    def start(self, dtype: str) -> None:
        """Begin a run whose first floating input has this dtype."""
        if dtype != self.dtype:
            self.dtype, self.known = dtype, matcher(rules.load(), dtype)
            self.cut(0)

    def cut(self, length: int) -> None:
        """Keep the first steps only."""
        assert self.known is not None
        for step in reversed(self.steps[length:]):
            self.examples.pop(step.node, None)
            self.graph.erase_node(step.node)
        del self.steps[length:]
        self.planner = Planner(Reader(self.examples), self.known, self.options.form(self.dtype))
        for step in self.steps:
            self.planner.read(step.node)

    def add(self, step: Step) -> None:
        """Put a node at the end."""
        assert self.planner is not None
        self.steps.append(step)
        step.plan, step.writes = self.planner.read(step.node), writes(step.node) is not None

    @property
    def reader(self) -> Reader:
        """What reads the nodes."""
        assert self.planner is not None
        return self.planner.reader


class Peephole(TorchFunctionMode):
    """Sees the calls of one run."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self.place = 0  # in the steps of the tape
        self.nodes: dict[int, fx.Node] = {}
        self.values: dict[fx.Node, Any] = {}
        self.versions: dict[fx.Node, int] = {}
        self.naive: dict[fx.Node, Any] = {}  # what the program as written has in the place of a replacement
        self.affected: set[fx.Node] = set()
        self.working = True

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self.working or torch.compiler.is_compiling():
            return func(*args, **kwargs)
        if self.affected and func.__name__ in _DECIDING:
            args, kwargs = self.written(args), self.written(kwargs)
        result = func(*args, **kwargs)
        if not isinstance(result, torch.Tensor | tuple | list):
            return result
        try:
            return self.seen(func, args, kwargs, result)
        except _STOP:
            raise
        except Exception:  # never the user's affair
            self.working = False
            return result

    # --- the tape --------------------------------------------------------------------------------------

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Any:
        """Put a call on the tape; gives its result, or what takes its place."""
        if isinstance(result, tuple | list) and not any(isinstance(part, torch.Tensor) for part in result):
            return result
        if not self.tape.dtype or self.place == 0:
            tensors = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.Tensor)]
            self.tape.start(dtype_of([*tensors, result]))
        grad = torch.is_grad_enabled()
        call = (func, self.coded(args), self.coded(kwargs), grad)
        step = self.step(call) or self.added(call, func, args, kwargs, grad)
        self.hold(step.node, result, step.writes)
        if isinstance(result, tuple | list):
            for index, part in enumerate(result):
                if isinstance(part, torch.Tensor):
                    self.part(step.node, index, part)
            return result
        if step.plan is not None and step.trusted is not False:
            return self.replaced(step, step.plan, result)
        return result

    def step(self, call: object) -> Step | None:
        """The step that the tape has here, None if it has another one."""
        steps = self.tape.steps
        if self.place < len(steps) and steps[self.place].call == call:
            self.place += 1
            return steps[self.place - 1]
        return None

    def new(self, call: object, kind: str, target: Any, args: tuple[Any, ...], kwargs: Any, grad: bool) -> Step:
        """A new step here, in the place of all that came after."""
        tape = self.tape
        if self.place < len(tape.steps):
            tape.cut(self.place)
        if self.place >= _LONGEST:
            raise OverflowError("too many calls for a tape")
        node = tape.graph.create_node(kind, target, args, kwargs)
        node.meta[GRAD] = grad
        self.place += 1
        return Step(call, node)

    def added(self, call: object, func: Any, args: Any, kwargs: Any, grad: bool) -> Step:
        """The step of a call that is new here."""
        inputs, named = self.as_nodes(args), self.as_nodes(kwargs)
        if func.__name__ == "__get__":
            step = self.new(call, "call_function", getattr, (inputs[0], func.__self__.__name__), {}, grad)
        elif func.__name__ in _REFLECTED:
            step = self.new(call, "call_function", _REFLECTED[func.__name__], inputs[::-1], {}, grad)
        elif is_tensor_method_or_property(func):
            step = self.new(call, "call_method", func.__name__, inputs, named, grad)
        else:
            step = self.new(call, "call_function", func, inputs, named, grad)
        self.locate(step.node)
        self.tape.add(step)
        return step

    def locate(self, node: fx.Node) -> None:
        """Note where the program is, and what it calls its values there."""
        frame = user_frame(sys._getframe(1))
        span = self.tape.sources.span(frame) if frame is not None else None
        if frame is not None and span is not None:
            node.meta[SPAN] = span
            held = ((name, self.nodes.get(id(value))) for name, value in frame.f_locals.items())
            node.meta[NAMES] = {name: known for name, known in held if known is not None}

    def part(self, node: fx.Node, index: int, value: Any) -> None:
        """An entry of a tuple."""
        call = ("part", node, index)
        step = self.step(call)
        if step is None:
            step = self.new(call, "call_function", operator.getitem, (node, index), {}, torch.is_grad_enabled())
            self.tape.examples[step.node] = _like(value)
            self.tape.add(step)
        self.hold(step.node, value)

    def node(self, tensor: torch.Tensor) -> fx.Node:
        """The node of a tensor, a new input if it was not made here."""
        known = self.nodes.get(id(tensor))
        if known is not None:
            return known
        call = ("input", type(tensor), tensor.dtype, tensor.device)
        step = self.step(call)
        if step is None:
            step = self.new(call, "placeholder", f"input_{self.place}", (), {}, True)
            self.tape.examples[step.node] = _like(tensor)
            self.tape.add(step)
        self.hold(step.node, tensor)
        return step.node

    def hold(self, node: fx.Node, value: Any, writing: bool = False) -> None:
        """Remember the value of a node, and keep it alive, so that its id stays its own."""
        self.values[node] = value
        if self.affected and any(operand in self.affected for operand in node.all_input_nodes):
            self.affected.add(node)
        if not isinstance(value, torch.Tensor):
            return
        self.nodes[id(value)] = node
        if node not in self.tape.examples:
            self.tape.examples[node] = _like(value)
        self.versions[node] = _version(value)
        if writing:
            for other, held in self.values.items():  # a write that the tape has seen
                if isinstance(held, torch.Tensor):
                    self.versions[other] = _version(held)

    def coded(self, value: Any) -> object:
        """An argument in a form that tells calls apart."""
        if isinstance(value, torch.Tensor):
            return self.node(value)
        if isinstance(value, tuple | list):
            return (tuple, *map(self.coded, value))
        if isinstance(value, Mapping):
            return tuple((key, self.coded(item)) for key, item in value.items())
        if isinstance(value, slice):
            return (slice, self.coded(value.start), self.coded(value.stop), self.coded(value.step))
        return (type(value), value) if isinstance(value, _PLAIN) else (type(value), id(value))

    def as_nodes(self, value: Any) -> Any:
        """Arguments with nodes in the place of tensors."""
        if isinstance(value, torch.Tensor):
            return self.node(value)
        if isinstance(value, Mapping):
            return {key: self.as_nodes(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(map(self.as_nodes, value)) if type(value) in (tuple, list) else tuple(value)
        if isinstance(value, slice):
            return slice(self.as_nodes(value.start), self.as_nodes(value.stop), self.as_nodes(value.step))
        return value if isinstance(value, _PLAIN) or value is None or value is ... else str(value)

    # --- replacing -------------------------------------------------------------------------------------

    def replaced(self, step: Step, plan: Plan, result: torch.Tensor) -> torch.Tensor:
        """The replacement of a result, or the result where it cannot be made."""
        if any(not self.is_fresh(node) for node in plan.inside):
            return result
        leaves = {term: [node for node in nodes if self.is_fresh(node)] for term, nodes in plan.leaves.items()}
        if any(nodes and not leaves[term] for term, nodes in plan.leaves.items()):
            return result
        held = {term: nodes[0] for term, nodes in leaves.items() if nodes}
        if step.trusted is None:
            step.trusted = self.agrees(step.node, plan, held)
        if not step.trusted:
            return result
        try:
            made = self.made(plan, held, self.values)
        except NotEmittable:
            step.trusted = False
            return result
        if made.shape != result.shape:
            return result
        made = made.to(result.dtype)
        self.naive[step.node] = result
        self.affected.add(step.node)
        self.hold(step.node, made)
        self.report(step.node, plan)
        return made

    def is_fresh(self, node: fx.Node) -> bool:
        """Whether the tensor of a node is as it was when the tape last saw it."""
        value = self.values.get(node)
        return not isinstance(value, torch.Tensor) or self.versions[node] == _version(value)

    def made(self, plan: Plan, leaves: Mapping[Term, fx.Node], values: Mapping[fx.Node, Any]) -> torch.Tensor:
        """The replacement, computed; raises `NotEmittable`."""

        def moves(term: Term) -> Movement | None:
            model = plan.movements.get((term.op, term.attrs))
            if model is None:
                return None
            args = fx.map_arg(model.args[1:], self.values.__getitem__)
            return Movement(model.op, model.target, tuple(args), fx.map_arg(model.kwargs, self.values.__getitem__))

        def find(term: Term) -> Any:
            return values[leaves[term]] if term in leaves else None

        result = Executor(find, moves).emit(plan.term)
        if not isinstance(result, torch.Tensor):
            raise NotEmittable("a number")
        return result

    def agrees(self, root: fx.Node, plan: Plan, leaves: Mapping[Term, fx.Node]) -> bool:
        """Whether the replacement gives the same as the program on ordinary values, and the same gradients.

        The values are drawn for its leaves or, where these are not free (a normalised vector), for the inputs that
        they are computed from.
        """
        wanted = {root, *leaves.values()}
        free = _independent(set(leaves.values()))
        inputs = [node for node in self.tape.graph.nodes if node.op == "placeholder"]
        dtype = self.values[root].dtype
        raised = (torch.float32, None) if dtype in (torch.float16, torch.bfloat16) else (None,)  # see `rewriting`
        return any(
            self.agrees_from(drawn, self.between(drawn, wanted), root, plan, leaves, least)
            for least in raised
            for drawn in (free, inputs)
        )

    def between(self, drawn: Sequence[fx.Node], wanted: set[fx.Node]) -> list[fx.Node]:
        """The nodes of the tape, in their order, through which the wanted ones depend on the drawn ones."""
        needed = wanted.union(*(_above(node, set(drawn)) for node in wanted))
        found: set[fx.Node] = set(drawn)
        listed: list[fx.Node] = []
        for step in self.tape.steps:
            node = step.node
            if node in needed and node not in found and not found.isdisjoint(node.all_input_nodes):
                found.add(node)
                listed.append(node)
        return listed

    def agrees_from(
        self, drawn: Sequence[fx.Node], chain: Sequence[fx.Node], root: fx.Node, plan: Plan,
        leaves: Mapping[Term, fx.Node], least: torch.dtype | None,
    ) -> bool:  # fmt: skip
        """Whether it agrees for values of some nodes, of a dtype at least, from which a chain is computed again."""
        if len(chain) > _CHAIN or not all(map(pure, chain)):
            return False
        relative = GUARDED if plan.match.guards else CLOSE
        tried = 0
        alone = (
            temporarily_clear_interpreter_stack(),
            saving_apart(),
            torch.inference_mode(False),
            torch.enable_grad(),
        )
        with contextlib.ExitStack() as stack:
            for context in alone:
                stack.enter_context(context)
            for draw in range(_DRAWS):
                values = {**self.values, **_drawn(drawn, self.values, draw, least)}
                free = [values[node] for node in drawn if values[node].is_floating_point()]
                try:
                    again = _again(chain, values)
                    expected = _with_gradients(again[root], free)
                except Exception:
                    continue  # the program does not take these
                if not all(bool(part.isfinite().all()) for part in expected):
                    continue
                try:
                    found = _with_gradients(self.made(plan, leaves, again), free)
                except Exception:
                    return False
                tried += 1
                precision = max(relative, 16 * torch.finfo(expected[0].dtype).eps)
                pairs = zip(found, expected, strict=True)
                if not all(same(one, other, precision, precision / 10) for one, other in pairs):
                    return False
                if tried == _TESTS:
                    break
        return tried > 0

    def report(self, node: fx.Node, plan: Plan) -> None:
        """Note a replacement, with its place."""
        span = node.meta.get(SPAN)
        if span in self.tape.replaced:
            return
        before, after = plan.pattern, plan.form
        if span is not None:
            before = self.tape.sources.segment(span) or before
            current = self.tape.reader.current
            names = {current[held]: name for name, held in node.meta[NAMES].items() if held is not node}
            with contextlib.suppress(Unprintable):
                after = source_of(plan.term, Words(names, {"torch": "torch", "torch.nn.functional": "F"}))
        self.tape.replaced[span] = (plan, before, after)

    # --- decisions -------------------------------------------------------------------------------------

    def written(self, value: Any) -> Any:
        """Arguments with what the program as written has in the place of replacements and what follows from them."""
        if isinstance(value, Mapping):
            return {key: self.written(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return tuple(map(self.written, value))
        node = self.nodes.get(id(value)) if isinstance(value, torch.Tensor) else None
        if node is None or node not in self.affected:
            return value
        try:
            with torch.no_grad():
                return self.as_written(node)
        except Exception:
            return value

    def as_written(self, node: fx.Node) -> Any:
        """The value of a node in the program as it is written."""
        if node not in self.naive:
            if node not in self.affected or not pure(node):
                return self.values[node]
            args, kwargs = fx.map_arg((node.args, node.kwargs), self.as_written)
            self.naive[node] = _run(node, args, kwargs)
        return self.naive[node]


_PLAIN = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None))


def _like(value: Any) -> Any:
    """What is remembered of a tensor after a run."""
    if not isinstance(value, torch.Tensor):
        return value
    with torch._C.DisableTorchFunction(), temporarily_clear_interpreter_stack():
        return torch.empty(0, dtype=value.dtype, device=value.device)


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _run(node: fx.Node, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    function: Callable[..., Any] = node.target  # type: ignore[assignment]
    if node.op == "call_method":
        function, args = getattr(args[0], str(node.target)), args[1:]
    return function(*args, **kwargs)


def _independent(leaves: set[fx.Node]) -> list[fx.Node]:
    """The leaves that are not computed from others of them."""
    return sorted((leaf for leaf in leaves if not leaves & _above(leaf, leaves)), key=lambda node: node.name)


def _above(node: fx.Node, ends: set[fx.Node]) -> set[fx.Node]:
    """The nodes that a node is computed from, down to some."""
    found: set[fx.Node] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        other = waiting.pop()
        if other not in found:
            found.add(other)
            waiting.extend(() if other in ends else other.all_input_nodes)
    return found


def _again(chain: Sequence[fx.Node], values: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    """The values with those of a chain of nodes computed again."""
    done = dict(values)
    for node in chain:
        args, kwargs = fx.map_arg((node.args, node.kwargs), done.__getitem__)
        done[node] = _run(node, args, kwargs)
    return done


def _drawn(
    nodes: Sequence[fx.Node], values: Mapping[fx.Node, Any], draw: int, least: torch.dtype | None
) -> dict[fx.Node, Any]:  # fmt: skip
    """Harmless values in the place of floating tensors: between 0 and 1, around 0, or between -1 and 0."""
    found: dict[fx.Node, Any] = {}
    generator = torch.Generator().manual_seed(draw)
    for node in nodes:
        value = values[node]
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            shape = tuple(value.shape)
            unit = 0.05 + 0.9 * torch.rand(shape, generator=generator)
            drawn = (unit, 4 * unit - 2, -unit)[draw]
            dtype = value.dtype if least is None else torch.promote_types(value.dtype, least)
            found[node] = drawn.to(value.device, dtype).requires_grad_()
    return found


def _with_gradients(result: torch.Tensor, free: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """A result, and the gradients of a sum of it, each entry with another weight."""
    if not result.requires_grad or not free:
        return [result]
    weights = torch.arange(1, result.numel() + 1, device=result.device).reshape(result.shape).cos()
    total = (result * weights.to(result.dtype)).sum()
    gradients = torch.autograd.grad(total, list(free), allow_unused=True, retain_graph=True)
    return [
        result.detach(),
        *(torch.zeros_like(leaf) if part is None else part for leaf, part in zip(free, gradients, strict=True)),
    ]
