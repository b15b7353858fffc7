"""Tracer: runs a callable on symbolic inputs and records every torch call in an fx graph.

Beside `torch.fx.Tracer` it keeps for each node its exact place, what the program calls its values there, and
the grad mode; an example value, where inputs have one; and it answers what symbols alone get wrong:
`isinstance`, dtypes, shapes.  What it cannot answer it refuses with a `TraceError`, never by a guess.
"""

from __future__ import annotations

import builtins
import math
import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import fx, nn
from torch.distributions import Distribution
from torch.fx.proxy import Attribute
from torch.overrides import TorchFunctionMode, is_tensor_method_or_property
from torch.utils._pytree import tree_leaves

from nanguard.errors import NanguardError
from nanguard.tracing.calls import pure
from nanguard.tracing.nodes import Passed
from nanguard.tracing.places import DIRECT, GRAD, NAMES, SPAN, Sources, caller, is_user_file, user_frame


class TraceError(NanguardError):
    """A callable that cannot be captured; the message is one line with the place and the reason.

    `open` says that it may be captured once more is known of its arguments; `helper` is a function that it calls and
    that stands in the way.
    """

    def __init__(self, message: str, open: bool = False, helper: Helper | None = None) -> None:
        super().__init__(message)
        self.open = open
        self.helper = helper


@dataclass(frozen=True, slots=True)
class Helper:
    """A function of the program under its name in the module that calls it."""

    table: dict[str, Any]
    name: str
    function: FunctionType


class Value(fx.Proxy):
    """A symbolic value that knows what its example knows."""

    tracer: Recorder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "node":
            raise AttributeError(name)
        return self.tracer.member(self, name)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})

    def __len__(self) -> int:
        return self.tracer.length(self)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        return self.tracer.numpy(function.__name__, inputs, keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        return self.tracer.numpy(function.__name__, args, keywords)

    def __index__(self) -> int:
        return int(self.tracer.number(self))

    def __int__(self) -> int:
        return int(self.tracer.number(self))

    def __float__(self) -> float:
        return float(self.tracer.number(self))


def _in_place(name: str) -> Any:
    def method(self: Value, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", getattr(operator, name), (self, other), {})

    return method


for _name in (
    "iadd",
    "isub",
    "imul",
    "itruediv",
    "ifloordiv",
    "imod",
    "ipow",
    "iand",
    "ior",
    "ixor",
    "imatmul",
):
    setattr(Value, f"__{_name}__", _in_place(_name))


# What a tensor says about itself without having been computed.
_STATIC = frozenset({
    "is_cuda", "is_cpu", "is_sparse", "is_quantized", "is_mps", "is_meta", "is_nested", "layout", "itemsize",
})  # fmt: skip
_STATIC_METHODS = frozenset({"is_floating_point", "is_complex", "is_sparse", "element_size"})
_SIZES = frozenset({"size", "numel", "nelement", "dim", "ndimension", "stride"})
_AUTOGRAD = frozenset({"requires_grad", "is_leaf", "grad", "grad_fn", "_version", "register_hook", "backward"})
_VALUES = frozenset({"tolist", "numpy", "data_ptr", "__array__"})
_PAIRS = frozenset({"values", "indices", "mode", "hist", "Q", "R", "U", "S", "V", "Vh", "L", "LU", "eigenvalues"})
_NUMPY = {
    "power": "pow",
    "absolute": "abs",
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    "max": "amax",
    "min": "amin",
}
_MISSING = object()
_MOST_TESTS = 12  # on tensors, on one way
_BOUNDARY = fx.Tracer.trace.__code__  # frames above this one are the caller's, not the program's


class Recorder(fx.Tracer):
    """Records one call of a callable with given arguments."""

    proxy_buffer_attributes = True

    def __init__(
        self, sources: Sources, home: str, method: str = "forward", script: Sequence[bool] | None = None
    ) -> None:  # fmt: skip
        super().__init__(autowrap_modules=(math,))
        self.script = script  # how tests on tensors go; None refuses them
        self.answers: list[bool] = []  # how they went
        self.passed: list[Passed] = []
        self.last: fx.Node | None = None
        self.traced_func_name = method
        self.home = home  # the place that is named where no better one is known
        self.sources = sources
        self.examples: dict[fx.Node, Any] = {}
        self.static: set[fx.Node] = set()  # numbers that follow from shapes alone
        self.reads: set[str] = set()  # what of the inputs the capture depends on: dtype, device, dim, shape
        self.attributes: dict[str, Any] = {}  # the targets of get_attr and call_module nodes
        self.extra: dict[str, Any] = {}  # those of them that the root has no name for
        self.constants: dict[int, fx.Node] = {}
        self.entered: dict[int, nn.Module] = {}
        self.codes: dict[CodeType, dict[str, Any]] = {}
        self.running = False
        self.call: Callable[[fx.Tracer, Callable[..., Any]], Callable[[], Any]] | None = None
        self.initial = contexts()
        self.grad = torch.is_grad_enabled()

    # --- refusing --------------------------------------------------------------------------------------

    def refuse(self, reason: str, open: bool = False) -> TraceError:
        """The error that says `reason` at the user's line that is running."""
        frame = user_frame(sys._getframe(1), _BOUNDARY)
        if frame is None:
            return TraceError(f"{self.home}: {reason}", open)
        return TraceError(f"{frame.f_code.co_filename}:{frame.f_lineno}: {reason}", open)

    # --- nodes -----------------------------------------------------------------------------------------

    def proxy(self, node: fx.Node) -> Value:
        """A node as a value of the program."""
        return Value(node, self)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The call to trace: `call` has bound the arguments."""
        assert self.call is not None
        function = self.call(self, (lambda *a, **k: root_fn(self.root, *a, **k)) if is_module else root_fn)
        return function, []

    def placeholder(self, name: str, tensor: torch.Tensor | None = None) -> Value:
        """An input of the graph, with a tensor that it may be."""
        value = self.proxy(self.create_node("placeholder", name, (), {}))
        if tensor is not None:
            self.examples[value.node] = _copied(tensor)
        return value

    def create_node(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None,
        type_expr: Any = None,
    ) -> fx.Node:  # fmt: skip
        """A node with its place, its context and its example."""
        if kind.startswith("call"):
            self.context(torch.is_grad_enabled())
        elif kind == "output":
            self.context(self.initial[0])
        node = super().create_node(kind, target, args, kwargs, name, None)
        node.meta[GRAD] = self.grad
        self.locate(node)
        if kind.startswith("call"):
            self.evaluate(node)
        return node

    def context(self, grad: bool) -> None:
        """Record a change of the grad mode; refuse other changes of context."""
        if contexts()[1:] != self.initial[1:]:
            raise self.refuse("autocast or inference mode is switched inside; move the `with` to the caller")
        if grad != self.grad:
            self.graph.create_node("call_function", torch._C._set_grad_enabled, (grad,), {})
            self.grad = grad

    def locate(self, node: fx.Node) -> None:
        """Note where the program is, and what it calls its values there."""
        self.last = node
        frame, node.meta[DIRECT] = caller(sys._getframe(1), _BOUNDARY, getattr(node.target, "__code__", None))
        if frame is None:
            return
        self.codes.setdefault(frame.f_code, frame.f_globals)
        span = self.sources.span(frame)
        if span is not None:
            node.meta[SPAN] = span
        node.meta[NAMES] = {name: held.node for name, held in frame.f_locals.items() if type(held) is Value}

    def evaluate(self, node: fx.Node) -> None:
        """Give a node the example that follows from those of its operands."""
        if any(operand not in self.examples for operand in node.all_input_nodes):
            return
        args, kwargs = fx.map_arg((node.args, node.kwargs), self.examples.__getitem__)
        self.running = True
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                self.examples[node] = self.run(node, args, kwargs)
        except Exception:
            return  # the examples do not fit this operation; the program goes on without one
        finally:
            self.running = False
        if self.follows_from_shapes(node):
            self.static.add(node)

    def run(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        match node.op:
            case "call_function":
                return node.target(*args, **kwargs)  # type: ignore[operator]
            case "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return self.attributes[str(node.target)].forward(*args, **kwargs)

    def follows_from_shapes(self, node: fx.Node) -> bool:
        """Whether a value is known from the shapes of the inputs, and not from their entries."""
        if node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim"):
            return True
        if node.op == "call_method" and node.target in _SIZES:
            return True
        return pure(node) and all(operand in self.static for operand in node.all_input_nodes)

    # --- modules and constants -------------------------------------------------------------------------

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A parameter or buffer of a module as a symbolic value."""
        if self.running or not isinstance(attr_val, torch.Tensor):
            return attr_val
        return self.proxy(self.constant(attr_val))

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Enter a module, or record its call where it is a layer of torch with a state of its own."""
        if self.running:
            return forward(*args, **kwargs)
        if not is_layer(m):
            self.entered[id(m)] = m
            return forward(*args, **kwargs)
        return self.create_proxy("call_module", self.target(m, "_module"), args, kwargs)

    def create_arg(self, a: Any) -> Any:
        """An argument of a node; tensors of the program become attributes of the graph."""
        if isinstance(a, torch.Tensor):
            return self.constant(a)
        if type(a) is Value:
            return a.node
        try:
            return super().create_arg(a)
        except NotImplementedError:
            raise self.refuse(f"passes a {type(a).__name__} to a torch call") from None

    def constant(self, tensor: torch.Tensor) -> fx.Node:
        """The node of a tensor that the program has before it runs."""
        if id(tensor) not in self.constants:
            node = self.create_node("get_attr", self.target(tensor, "_tensor"), (), {})
            self.examples[node] = _copied(tensor)
            self.constants[id(tensor)] = node
        return self.constants[id(tensor)]

    def target(self, thing: Any, prefix: str) -> str:
        """The name by which the graph refers to a module or a tensor."""
        known = next((name for name, held in self.attributes.items() if held is thing), None)
        if known is None:
            known = path_in(self.root, thing)
            if known is None:
                known = f"{prefix}_{len(self.extra)}"
                self.extra[known] = thing
            self.attributes[known] = thing
        return known

    # --- answers ---------------------------------------------------------------------------------------

    def member(self, value: fx.Proxy, name: str) -> Any:
        """An attribute of a symbolic value."""
        example = self.examples.get(value.node, _MISSING)
        if example is not _MISSING and not isinstance(example, torch.Tensor):
            found = getattr(example, name)  # which raises what the program would see
            return Attribute(value, name) if callable(found) else self.record(getattr, (value, name), {})
        tensor = example if isinstance(example, torch.Tensor) else None
        if tensor is not None and value.node in self.static and (name in _VALUES or name == "item"):
            self.reads.add("shape")
            return getattr(tensor, name)
        if name in _AUTOGRAD:
            raise self.refuse(f"reads `.{name}` of a tensor")
        if name in _VALUES:
            raise self.refuse(f"`.{name}` takes the entries of a tensor out of torch")
        if name in ("dtype", "device"):
            self.reads.add(name)
            return getattr(_standard() if tensor is None else tensor, name)
        if name in _STATIC:
            self.reads.update(("dtype", "device"))
            return getattr(_standard() if tensor is None else tensor, name)
        if name in _STATIC_METHODS:
            self.reads.add("dtype")
            return getattr(_standard() if tensor is None else tensor, name)
        if name in ("ndim", "dim", "ndimension") and tensor is not None:
            self.reads.add("dim")
            return tensor.ndim if name == "ndim" else tensor.dim
        if not hasattr(torch.Tensor, name) and (tensor is not None or name not in _PAIRS):
            raise AttributeError(f"'Tensor' object has no attribute {name!r}")
        if callable(getattr(torch.Tensor, name, None)) and name not in _PAIRS:
            return Attribute(value, name)
        return self.record(getattr, (value, name), {})

    def record(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        """The node of a call."""
        if is_tensor_method_or_property(function):
            return self.create_proxy("call_method", function.__name__, args, kwargs)  # type: ignore[return-value]
        return self.create_proxy("call_function", function, args, kwargs)  # type: ignore[return-value]

    def numpy(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Value:
        """A call of numpy, as the function of torch that has its name."""
        function = getattr(torch, _NUMPY.get(name, name), None)
        if function is None:
            raise self.refuse(f"passes a tensor to numpy's {name}")
        return self.record(function, args, kwargs)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The truth of a value, where shapes decide it."""
        if obj.node in self.static:
            self.reads.add("shape")
            return bool(self.examples[obj.node])
        if self.script is not None and len(self.answers) < _MOST_TESTS:
            return self.decide(obj.node, self.script)
        if _is_shape(obj.node):
            raise self.refuse("control flow on the shape of a tensor, which is not known here", open=True)
        raise self.refuse("control flow on the value of a tensor")

    def decide(self, node: fx.Node, script: Sequence[bool]) -> bool:
        """How a test goes: as the script says, past its end as for the example, or not at all."""
        index = len(self.answers)
        if index < len(script):
            answer = script[index]
        else:
            example = self.examples.get(node, False)
            answer = bool(example) if not isinstance(example, torch.Tensor) or example.numel() == 1 else False
        self.answers.append(answer)
        if self.last is not None:
            self.passed.append(Passed(self.last, node, answer))
        return answer

    def number(self, value: fx.Proxy) -> Any:
        """A value as a Python number, where shapes decide it."""
        if value.node in self.static:
            self.reads.add("shape")
            return self.examples[value.node]
        if _is_shape(value.node):
            raise self.refuse("needs the shape of a tensor as a number, which is not known here", open=True)
        raise self.refuse("takes the value of a tensor as a Python number")

    def length(self, value: fx.Proxy) -> int:
        """The length of a shape, a tuple or a tensor."""
        example = self.examples.get(value.node, _MISSING)
        if example is _MISSING:
            raise self.refuse("needs the length of a tensor or a shape, which is not known here", open=True)
        self.reads.add("dim" if isinstance(example, torch.Size) else "shape")
        return len(example)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The items of a shape, a tuple or a tensor."""
        return iter([obj[index] for index in range(self.length(obj))])  # type: ignore[index]

    def keys(self, obj: fx.Proxy) -> Any:
        """Only dicts have keys."""
        raise self.refuse("unpacks a tensor as a dict")

    def is_instance(self, value: fx.Proxy, classes: Any) -> bool:
        """What `isinstance` says of the value that a symbolic one stands for."""
        example = self.examples.get(value.node, _MISSING)
        if example is _MISSING:
            example = 1 if _is_shape(value.node) else _standard()
        return isinstance(example, classes)

    def intercept(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of torch that torch function modes see: recorded if its result is a tensor."""
        operands = tree_leaves((args, kwargs))
        if any(isinstance(operand, fx.Proxy) for operand in operands):
            if function in (torch.is_floating_point, torch.is_complex):
                return getattr(args[0], function.__name__)()
            if _writes(function) and args and isinstance(args[0], torch.Tensor):
                raise self.refuse("writes into a tensor that is neither an argument nor made here")
            return self.record(function, args, kwargs)
        if function.__name__ == "__get__":
            return function(*args, **kwargs)
        if _writes(function):
            raise self.refuse("writes into a tensor that is neither an argument nor made here")
        result = function(*args, **kwargs)
        if not any(isinstance(part, torch.Tensor) for part in tree_leaves(result)):
            return result
        return self.record(function, args, kwargs)

    @contextmanager
    def leaving_out(self, helpers: Sequence[Helper]) -> Iterator[None]:
        """While this lasts, some helpers are not entered: their results are values of which nothing is known."""
        for helper in helpers:
            helper.table[helper.name] = self.left_out(helper.function)
        try:
            yield
        finally:
            for helper in helpers:
                helper.table[helper.name] = helper.function

    def left_out(self, function: FunctionType) -> Callable[..., Any]:
        """What takes the place of a helper."""

        def call(*args: Any, **kwargs: Any) -> Any:
            return self.create_proxy("call_function", function, args, kwargs)

        return call

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While this lasts, `isinstance` and `torch.is_tensor` see symbolic values as what they stand for.

        Distributions do not check their arguments, which would be control flow on values.  `torch.arange` takes
        symbolic sizes, which up to torch 2.5 it refuses before anything could step in.
        """
        instance, tensor, checks = builtins.isinstance, torch.is_tensor, Distribution._validate_args
        counting = torch.arange

        def is_instance(value: Any, classes: Any) -> bool:
            if type(value) is Value and _asks(sys._getframe(1).f_code.co_filename):
                return self.is_instance(value, classes)
            return instance(value, classes)

        def is_tensor(value: Any) -> bool:
            return self.is_instance(value, torch.Tensor) if type(value) is Value else tensor(value)

        def arange(*args: Any, **kwargs: Any) -> Any:
            if any(type(value) is Value for value in (*args, *kwargs.values())):
                return self.intercept(counting, args, kwargs)
            return counting(*args, **kwargs)

        builtins.isinstance, torch.is_tensor = is_instance, is_tensor  # type: ignore[assignment]
        torch.arange = arange
        Distribution.set_default_validate_args(False)
        try:
            with _Mode(self):
                yield
        finally:
            builtins.isinstance, torch.is_tensor, torch.arange = instance, tensor, counting
            Distribution.set_default_validate_args(checks)


_MODULE = nn.Module.__setattr__.__code__.co_filename


class _Mode(TorchFunctionMode):
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self.recorder.intercept(func, args, dict(kwargs or {}))


def _asks(path: str) -> bool:
    """Whether `isinstance` in a file is the program's: in its own files, and in the distributions of torch.

    So it is where a module asks whether what becomes a buffer is a tensor.
    """
    return is_user_file(path) or "distributions" in path or path == _MODULE


def contexts() -> tuple[Any, ...]:
    """The grad mode, then the contexts that must not change inside a capture."""
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"),
        torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"),
    )  # fmt: skip


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """The entries of a tensor, out of sight of whoever records torch calls."""
    with torch._C.DisableTorchFunction():
        return tensor.detach().clone()


def _standard() -> torch.Tensor:
    """What a tensor is taken for of which nothing is known: float32 on the CPU."""
    with torch._C.DisableTorchFunction():
        return torch.zeros(0)


def _is_shape(node: fx.Node) -> bool:
    """Whether a node without an example holds sizes: it comes from a shape, not from the entries."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("shape", "ndim")
    if node.op == "call_method":
        return node.target in _SIZES
    operands = node.all_input_nodes
    return node.op == "call_function" and bool(operands) and all(map(_is_shape, operands))


def is_layer(module: nn.Module) -> bool:
    """Whether a module of torch is kept as one call: it has a state, or behaves otherwise in training."""
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.") or issubclass(kind, nn.Sequential) or _is_list(kind):
        return False
    if kind.__name__.endswith("Loss"):
        return False
    has_state = any(True for _ in module.parameters()) or any(True for _ in module.buffers())
    return has_state or "Dropout" in kind.__name__


def _is_list(kind: type) -> bool:
    return issubclass(kind, nn.ModuleList | nn.ModuleDict | nn.ParameterList)


def path_in(root: nn.Module, thing: Any) -> str | None:
    """The dotted name that the root has for a module, a parameter, a buffer or another tensor."""
    if isinstance(thing, nn.Module):
        return next((name for name, held in root.named_modules() if held is thing and name), None)
    for prefix, module in root.named_modules():
        tables = (module._parameters, module._buffers, module.__dict__)
        for table in tables:
            for name, held in table.items():
                if held is thing:
                    return f"{prefix}.{name}" if prefix else name
    return None


def _writes(function: Callable[..., Any]) -> bool:
    """Whether a function of torch writes into its first argument."""
    name = function.__name__
    if name.startswith("__"):
        return name in (
            "__setitem__",
            "__iadd__",
            "__isub__",
            "__imul__",
            "__itruediv__",
            "__ipow__",
            "__set__",
        )
    return name.endswith("_")
