"""Trace: a live callable to its fx graph, and the terms and places of the graph's nodes."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import torch
from torch import fx, nn

from nanguard.arguments import Arguments, Unknown, taken_apart, unknown
from nanguard.finding import Span, Target
from nanguard.inputs import samples
from nanguard.nodes import Reader
from nanguard.places import Sources, is_user_file
from nanguard.replay import Snapshot, quiet
from nanguard.site import Site
from nanguard.term import Term
from nanguard.tracer import NAMES, SPAN, Recorder, TraceError
from nanguard.uses import UseTable

__all__ = ["Trace", "TraceError", "trace", "trace_target"]

_LOCK = threading.RLock()  # tracing patches torch.nn.Module and isinstance while it lasts
_TRIES = 24  # sets of inputs that are tried where tracing without inputs fails


@dataclass(frozen=True, slots=True)
class Watched:
    """A name outside of the callable that it read, and what it held."""

    table: Mapping[str, Any]
    name: str
    value: Any

    def holds(self) -> bool:
        """Whether the name still holds the same."""
        return self.table.get(self.name) is self.value


@dataclass(frozen=True, slots=True)
class Trace:
    """A captured callable.

    `module` runs `graph` on the tensors of `arguments`, in their order.  `extra` are tensors and modules that
    the graph refers to and that are no attributes of the traced module; `examples` are values of nodes.  What
    the capture depends on beside its other arguments: `reads`, properties of the inputs (dtype, device, dim,
    shape), and `watched`, names of the program.  `effects` is what the program does beside its result, which
    the graph does not do.
    """

    name: str
    graph: fx.Graph
    module: fx.GraphModule
    terms: Mapping[fx.Node, Term]
    sites: tuple[Site, ...]
    arguments: Arguments
    extra: Mapping[str, Any]
    examples: Mapping[fx.Node, Any]
    reads: frozenset[str]
    watched: tuple[Watched, ...]
    outside: tuple[nn.Module, ...]  # modules that it called and that are no part of the traced module
    effects: tuple[str, ...]
    home: str  # path:line of the callable


def trace(
    fn: Callable[..., Any] | nn.Module, *, arguments: Mapping[str, Any] | None = None,
    name: str | None = None, path: str | None = None, source: str | None = None, method: str = "forward",
) -> Trace:  # fmt: skip
    """Capture a function, a bound method, or the `method` of a module.

    `arguments` are values by the names of parameters: tensors are inputs of the graph with these as examples,
    all else is taken as it is.  Without them parameters with a default have it, and the others are inputs of
    which nothing is known.  `path` and `source` are for code that is not in a file.  Raises `TraceError`.
    """
    subject = _subject(fn, method, name)
    sources = Sources({} if path is None or source is None else {path: source})
    given = taken_apart(subject.signature, {**unknown(subject.signature), **(arguments or {})})
    missing = _unanswerable(given)
    if missing:
        raise TraceError(f"{subject.home}: needs a value for {missing!r}, which is no tensor", open=True)
    if not given.tensors:
        raise TraceError(f"{subject.home}: takes no tensor")
    recorder = Recorder(sources, subject.home, subject.method)
    recorder.call = functools.partial(_call, given)
    effects = _record(recorder, subject)
    return _made(recorder, subject, given, effects)


def trace_target(module: ModuleType, target: Target) -> Trace:
    """Capture a target of a loaded module; a class is built with its defaults.

    Where tracing needs to know shapes or dtypes, small inputs are tried.  Raises `TraceError`.
    """
    place = f"{target.path}:{target.span.line}"
    found, method = _resolve(module, target.name, place)
    function = getattr(found, method) if isinstance(found, nn.Module) else found
    tries = samples(inspect.signature(function), found if isinstance(found, nn.Module) else None)
    failed: list[TraceError] = []
    for arguments in (None, *itertools.islice(tries, _TRIES)):
        try:
            return trace(found, name=target.name, method=method, arguments=arguments)
        except TraceError as error:
            failed.append(error)
    raise next((error for error in failed if not error.open), failed[0])


# --- what is traced -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Subject:
    """A callable in the form that the tracer takes: a module and the name of a method, or a function."""

    root: Callable[..., Any] | nn.Module
    method: str
    name: str
    signature: inspect.Signature
    home: str
    cells: tuple[Watched, ...]


def _subject(fn: Any, method: str, name: str | None) -> _Subject:
    if isinstance(fn, MethodType) and isinstance(fn.__self__, nn.Module):
        fn, method = fn.__self__, fn.__name__
    if isinstance(fn, torch.jit.ScriptModule | torch.jit.ScriptFunction) or hasattr(fn, "_torchdynamo_orig_callable"):
        raise TraceError(f"{name or fn!r}: is compiled; give the callable that it was compiled from")
    if isinstance(fn, type):
        raise TraceError(f"{name or fn.__name__}: is a class; give an object of it")
    if not callable(fn):
        raise TraceError(f"{name or fn!r}: cannot be called")
    if isinstance(fn, nn.Module):
        function = getattr(type(fn), method, None)
        if not isinstance(function, FunctionType):
            raise TraceError(f"{type(fn).__name__}.{method}: is no method written in Python")
        signature = inspect.signature(MethodType(function, fn))
        label = name or f"{type(fn).__qualname__}.{method}"
        return _Subject(fn, method, label, signature, _home(function, label), _cells(function))
    label = name or str(getattr(fn, "__qualname__", type(fn).__qualname__))
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        raise TraceError(f"{label}: is not written in Python") from None
    root = fn if isinstance(fn, FunctionType) else lambda *args, **kwargs: fn(*args, **kwargs)
    return _Subject(root, method, label, signature, _home(fn, label), _cells(fn))


def _home(fn: Any, label: str) -> str:
    code = getattr(inspect.unwrap(getattr(fn, "__func__", fn)), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else label


def _cells(fn: Any) -> tuple[Watched, ...]:
    """The variables that a function closes over, as they are."""
    code, cells = getattr(fn, "__code__", None), getattr(fn, "__closure__", None)
    if code is None or not cells:
        return ()
    views = [_Cell(cell) for cell in cells]
    return tuple(Watched(view, name, view.get(name)) for name, view in zip(code.co_freevars, views, strict=True))


class _Cell(dict[str, Any]):
    """A cell of a closure as a table with one name."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self.cell.cell_contents
        except ValueError:  # not bound yet
            return default


def _unanswerable(given: Arguments) -> str | None:
    """A parameter without a value that a tensor cannot be, by its annotation."""
    for name, leaves, _ in given.parts:
        annotation = given.signature.parameters[name].annotation
        text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        if text in ("bool", "str", "dict", "Dict") and isinstance(leaves[0] if leaves else None, Unknown):
            return name
    return None


def _call(given: Arguments, recorder: Recorder, function: Callable[..., Any]) -> Callable[[], Any]:
    """The call to trace, with symbolic values for the tensors."""

    def call() -> Any:
        values = [
            recorder.placeholder(name, None if isinstance(tensor, Unknown) else tensor)
            for name, tensor in zip(given.names, given.tensors, strict=True)
        ]
        args, kwargs = given.rebuild(values)
        return function(*args, **kwargs)

    return call


def _record(recorder: Recorder, subject: _Subject) -> tuple[str, ...]:
    """Run the callable under the recorder; gives its effects, which are undone."""
    root = subject.root
    modules = list(root.modules()) if isinstance(root, nn.Module) else []
    tables = [] if isinstance(root, nn.Module) else [root.__globals__]
    with _LOCK, quiet() as output:
        snapshot = Snapshot(modules, tables)
        try:
            with recorder.answering():
                recorder.trace(root)
        except TraceError:
            raise
        except Exception as error:
            raise _failure(error, recorder, subject) from None
        finally:
            changed = snapshot.restore()
    printed = ("it prints",) if output.getvalue() else ()
    return (*printed, *(f"it assigns `{name}`" for name in changed))


def _failure(error: Exception, recorder: Recorder, subject: _Subject) -> TraceError:
    """An exception of the traced program, at the innermost line of the user's code."""
    place, inside, step = subject.home, False, error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        inside = inside or code is fx.Tracer.trace.__code__
        if inside and is_user_file(code.co_filename):
            place = f"{code.co_filename}:{step.tb_lineno}"
        step = step.tb_next
    words = str(error).splitlines() or [""]
    message = f"{place}: {type(error).__name__}{': ' if words[0] else ''}{words[0]}"
    return TraceError(message, open=True)


# --- what comes of it ---------------------------------------------------------------------------------


def _made(recorder: Recorder, subject: _Subject, given: Arguments, effects: tuple[str, ...]) -> Trace:
    graph = recorder.graph
    graph._tracer_cls = None  # a recorder cannot be made again by those who copy or pickle the graph
    module = fx.GraphModule(dict(recorder.attributes), graph, subject.name.replace(".", "_"))
    reader = Reader(recorder.examples)
    sites: list[Site] = []
    for node in graph.nodes:
        term = reader.read(node)
        if SPAN in node.meta and node.op.startswith("call") and node.target is not torch._C._set_grad_enabled:
            sites.append(_site(node, term, reader, recorder.sources, subject.name))
    uses = UseTable(list(reader.terms.values()))
    listed = tuple(replace(site, masked=uses.of(site.term).masked) for site in sites)
    return Trace(
        subject.name, graph, module, MappingProxyType(reader.terms), listed, given, recorder.extra,
        MappingProxyType(recorder.examples), frozenset(recorder.reads),
        (*subject.cells, *_watched(recorder.codes)), _outside(recorder), effects, subject.home,
    )  # fmt: skip


def _outside(recorder: Recorder) -> tuple[nn.Module, ...]:
    inside = {id(part) for part in recorder.root.modules()}
    return tuple(module for key, module in recorder.entered.items() if key not in inside)


def _site(node: fx.Node, term: Term, reader: Reader, sources: Sources, target: str) -> Site:
    span: Span = node.meta[SPAN]
    names: dict[Term, str] = {}
    for name, held in node.meta.get(NAMES, {}).items():
        if held is not node and held in reader.current:
            names[reader.current[held]] = min(names.get(reader.current[held], name), name, key=len)
    waiting, seen = list(node.all_input_nodes), set()
    while waiting:  # the expressions inside this one
        operand = waiting.pop()
        inner = operand.meta.get(SPAN)
        if operand in seen or inner is None or not span.covers(inner) or inner == span:
            continue
        seen.add(operand)
        names.setdefault(reader.current[operand], sources.segment(inner))
        waiting.extend(operand.all_input_nodes)
    kept = {held: name for held, name in names.items() if held.op != "const"}
    return Site(term, span, target, sources.segment(span), kept)


def _watched(codes: Mapping[CodeType, dict[str, Any]]) -> tuple[Watched, ...]:
    """The names of modules that the code of a capture read."""
    return tuple(
        Watched(table, name, table[name])
        for code, table in codes.items()
        for name in dict.fromkeys(code.co_names)
        if name in table
    )


# --- targets of a file --------------------------------------------------------------------------------


def _resolve(module: ModuleType, name: str, place: str) -> tuple[Any, str]:
    """The callable of a dotted name, and the method to trace where it is a module."""
    owner: Any = None
    found: Any = module
    for part in name.split("."):
        owner = found
        try:
            found = inspect.getattr_static(owner, part)
        except AttributeError:
            what = "is not defined once the module is loaded" if owner is module else "is defined inside a function"
            raise TraceError(f"{place}: {name} {what}") from None
    if isinstance(found, type):
        owner, found = found, getattr(found, "forward", None) or inspect.getattr_static(found, "__call__", None)
    if not isinstance(owner, type):
        return found, "forward"
    if isinstance(found, staticmethod):
        return found.__func__, "forward"
    if isinstance(found, classmethod):
        return MethodType(found.__func__, owner), "forward"
    built = _build(owner, place)
    method = getattr(found, "__name__", name.split(".")[-1])
    return (built, method) if isinstance(built, nn.Module) else (getattr(built, method), "forward")


def _build(cls: type, place: str) -> Any:
    """An object of a class, built with its defaults."""
    try:
        required = [
            name
            for name, parameter in inspect.signature(cls).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        required = []
    if required:
        raise TraceError(f"{place}: {cls.__name__} cannot be built without {', '.join(required)}")
    try:
        with quiet():
            return cls()
    except Exception as error:
        words = (str(error).splitlines() or [""])[0]
        raise TraceError(f"{place}: building {cls.__name__} raises {type(error).__name__}: {words}") from None
