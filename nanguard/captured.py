"""Captured: a callable that runs what was captured and rewritten of another, once it is proved the same.

A capture holds for what it depends on: the dtypes of the tensors, the values of all other arguments, the grad
mode and autocast, the state of the module, names outside that the code reads, and shapes where they decided
something.  For anything else there is another capture.  Where none can be proved the original runs.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import fx, nn

from nanguard import rules
from nanguard.arguments import Arguments, Binder, taken_apart, unknown
from nanguard.errors import NanguardError
from nanguard.finding import Span
from nanguard.inputs import ordinary, samples
from nanguard.match import Matcher, matcher
from nanguard.replay import Outcome, Run, difference, replay, tried
from nanguard.rewriting import Form, Plan, copied, dtype_of, rewritten
from nanguard.site import Site
from nanguard.source import Unprintable, Words, source_of
from nanguard.term import Term, show
from nanguard.trace import Trace, Watched, trace
from nanguard.tracer import SPAN, contexts, is_layer

_SAMPLES = 48  # sets of inputs that are tried to find some on which a callable runs
_PROOFS = 3  # sets of inputs of different shapes on which a capture is proved before its first use
_DRAWS = 2  # sets of ordinary values beside the given ones
_CAPTURES = 64  # captures that are kept of one callable


class NanguardWarning(UserWarning):
    """A call that runs as it was written, because what nanguard made of it could not be proved the same."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """An expression that was replaced: where it stands (line and column from 1), and by what."""

    code: str
    name: str
    path: str
    line: int
    column: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.name}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture: the graph as it was recorded, as it was rewritten, and what it depends on."""

    recorded: fx.GraphModule
    rewritten: fx.GraphModule
    replacements: tuple[Replacement, ...]
    extra: Mapping[str, Any]
    watched: tuple[Watched, ...]
    outside: tuple[tuple[nn.Module, object], ...]  # modules beside its own, and their states
    switches: bool  # it changes the grad mode on its way

    @property
    def graph(self) -> fx.Graph:
        """A copy of the rewritten graph that can be copied and pickled."""
        return copied(self.rewritten.graph)[0]

    def holds(self) -> bool:
        """Whether everything outside that it depends on is as it was."""
        return all(watched.holds() for watched in self.watched) and all(
            _state(module) == state for module, state in self.outside
        )

    def run(self, module: nn.Module | None, tensors: Sequence[Any]) -> Any:
        """The result of the rewritten graph; parameters are those that the module has now."""
        forward = type(self.rewritten).forward
        holder: Any = self.rewritten
        if module is not None:
            holder = _Holder(module, self.extra) if self.extra else module
        if not self.switches:
            return forward(holder, *tensors)
        with torch.set_grad_enabled(torch.is_grad_enabled()):  # which an exception would leave changed
            return forward(holder, *tensors)


@dataclass(frozen=True, slots=True)
class _Holder:
    """A module together with what its graph refers to beside it."""

    module: nn.Module
    extra: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.extra[name] if name in self.extra else getattr(self.module, name)


@dataclass(slots=True)
class _Captures:
    """The captures for one key, by what they read of the inputs; None for one that was not proved."""

    reads: set[str] = field(default_factory=set)
    known: dict[tuple[object, ...], Capture | None] = field(default_factory=dict)


class Captured:
    """Runs the rewritten form of a function, or of the forward of a module."""

    def __init__(
        self, fn: Callable[..., Any], module: nn.Module | None = None, prefer: str = "stable", eps: float | None = None
    ) -> None:  # fmt: skip
        Form(prefer, eps, "float32")  # which complains about what is out of range
        self.fn, self.module, self.prefer, self.eps = fn, module, prefer, eps
        self._reset()

    @property
    def owner(self) -> object:
        """The object whose attributes the callable may read: the module, or that of a bound method."""
        return self.module if self.module is not None else getattr(self.fn, "__self__", None)

    def _reset(self) -> None:
        try:
            self.signature = inspect.signature(self.original)
        except ValueError:
            raise NanguardError(f"{self.fn!r} is not written in Python; give a function that is") from None
        self.__signature__, self.__doc__ = self.signature, self.fn.__doc__
        self.bind = Binder(self.signature)
        self.captures: dict[tuple[object, ...], _Captures] = {}
        self.matchers: dict[str, Matcher] = {}
        self.warned = False

    @property
    def original(self) -> Callable[..., Any]:
        """What is captured."""
        return self.fn if self.module is None else MethodType(self.fn, self.module)

    def __getstate__(self) -> dict[str, Any]:
        return {"fn": self.fn, "module": self.module, "prefer": self.prefer, "eps": self.eps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return self.original(*args, **kwargs)
        try:
            given = self.bind(args, kwargs)
        except TypeError:
            return self.original(*args, **kwargs)  # which raises the same, in its own words
        capture = self.find(given)
        if capture is None or not capture.replacements:
            return self.original(*args, **kwargs)
        return capture.run(self.module, given.tensors)

    def report(self) -> tuple[Replacement, ...]:
        """What has been replaced, in all captures so far."""
        found = {
            replacement: None
            for captures in self.captures.values()
            for capture in captures.known.values()
            if capture is not None
            for replacement in capture.replacements
        }
        return tuple(found)

    # --- captures --------------------------------------------------------------------------------------

    def find(self, given: Arguments) -> Capture | None:
        """The capture for some arguments, made now if there is none yet; None where none can be proved."""
        key = (given.key(), contexts(), _state(self.owner))
        captures = self.captures.get(key)
        if captures is not None:
            meta = _properties(captures.reads, given.tensors)
            if meta in captures.known:
                capture = captures.known[meta]
                if capture is None or capture.holds():
                    return capture
        if not _plain(given):
            return None
        try:
            return self.capture(given, key)
        except NanguardError as error:
            captures = self.captures.setdefault(key, _Captures())
            captures.known[_properties(captures.reads, given.tensors)] = None
            if not self.warned:
                self.warned = True
                warnings.warn(f"{error}; it runs as it was written", NanguardWarning, stacklevel=3)
            return None

    def capture(self, given: Arguments, key: tuple[object, ...] | None = None) -> Capture:
        """Capture for some arguments, prove it, rewrite it and keep it; raises `NanguardError`."""
        key = key if key is not None else (given.key(), contexts(), _state(self.owner))
        subject = self.module if self.module is not None else self.fn
        method = getattr(self.fn, "__name__", "forward")
        traced = trace(subject, arguments=given.values(), method=method)
        if traced.effects:
            raise NanguardError(f"{traced.home}: {traced.effects[0]}, which a captured graph would not do")
        self.prove(traced, given)
        made = self.made(traced)
        captures = self.captures.setdefault(key, _Captures())
        if not traced.reads <= captures.reads:
            captures.reads |= traced.reads
            captures.known.clear()
        captures.known[_properties(captures.reads, given.tensors)] = made
        while len(self.captures) > _CAPTURES:
            del self.captures[next(iter(self.captures))]
        return made

    def prove(self, traced: Trace, given: Arguments) -> None:
        """Raise `NanguardError` unless the graph gives what the callable does, here and on ordinary inputs."""
        values = dict(zip(given.names, given.tensors, strict=True))
        for number, draw in enumerate((values, *ordinary(values, _DRAWS))):
            try:
                inputs, expected = tried(self.running(given), draw, self.modules)
            except Exception as error:
                if number == 0:
                    raise NanguardError(f"{traced.home}: raises {type(error).__name__} on these inputs") from None
                continue
            self.agree(traced.module, inputs, expected, traced.home)

    def agree(self, module: fx.GraphModule, inputs: Sequence[Any], expected: Outcome, home: str) -> None:
        """Raise `NanguardError` unless a graph gives the expected outcome."""
        try:
            found = difference(expected, replay(lambda tensors: module.forward(*tensors), inputs, self.modules))
        except Exception as error:
            found = f"the graph raises {type(error).__name__}: {str(error).splitlines()[:1]}"
        if found:
            raise NanguardError(f"{home}: cannot be captured: {found}")

    def running(self, given: Arguments) -> Run:
        """The original on other tensors."""

        def run(tensors: Sequence[Any]) -> Any:
            args, kwargs = given.rebuild(tensors)
            return self.original(*args, **kwargs)

        return run

    @property
    def modules(self) -> list[nn.Module]:
        """The modules whose state a replay must leave as it is."""
        return [] if self.module is None else [self.module]

    def made(self, traced: Trace) -> Capture:
        """The capture of a proved trace."""
        dtype = dtype_of(traced.arguments.tensors)
        if dtype not in self.matchers:
            self.matchers[dtype] = matcher(rules.load(), dtype)
        module, done = rewritten(traced, self.matchers[dtype], self.prefer, self.eps)
        switches = any(node.target is torch._C._set_grad_enabled for node in traced.graph.nodes)
        places = {(site.term, site.span): site for site in traced.sites}
        replacements = tuple(_replacement(plan, places) for plan in done)
        outside = tuple((part, _state(part)) for part in traced.outside)
        return Capture(traced.module, module, replacements, traced.extra, traced.watched, outside, switches)

    # --- before the first use --------------------------------------------------------------------------

    def start(self) -> Capture:
        """Find inputs on which the callable runs, and prove captures on them; raises `NanguardError`."""
        first: Capture | None = None
        proved, last = 0, "its parameters need more than tensors and numbers"
        for sample in itertools.islice(samples(self.signature, self.module), _SAMPLES):
            given = taken_apart(self.signature, {**unknown(self.signature), **sample})
            values = dict(zip(given.names, given.tensors, strict=True))
            try:
                inputs, expected = tried(self.running(given), values, self.modules)
            except Exception as error:
                last = f"the last raised {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                continue
            capture = self.known(given) or self.capture(given)
            self.agree(capture.recorded, inputs, expected, self.home)
            first = first or capture
            proved += 1
            if proved >= _PROOFS:
                break
        if first is None:
            raise NanguardError(f"{self.home}: no inputs were found on which it runs; {last}")
        return first

    def known(self, given: Arguments) -> Capture | None:
        """The capture there is for some arguments."""
        captures = self.captures.get((given.key(), contexts(), _state(self.owner)))
        return captures.known.get(_properties(captures.reads, given.tensors)) if captures is not None else None

    @property
    def home(self) -> str:
        """Where the original stands."""
        code = getattr(inspect.unwrap(self.fn), "__code__", None)
        name = getattr(self.fn, "__qualname__", repr(self.fn))
        return f"{code.co_filename}:{code.co_firstlineno}: {name}" if code is not None else name


def _replacement(plan: Plan, places: Mapping[tuple[Term, Span], Site]) -> Replacement:
    """A replacement in the words of the program, where it has some."""
    rule, span = plan.match.rule, plan.root.meta.get(SPAN)
    site = places.get((plan.match.root, span)) if span is not None else None
    if site is None or span is None:
        return Replacement(rule.code, rule.name, "", 0, 0, show(plan.match.root), show(plan.term))
    try:
        after = source_of(plan.term, Words(site.names, {"torch": "torch", "torch.nn.functional": "F"}))
    except Unprintable:
        after = show(plan.term)
    return Replacement(rule.code, rule.name, span.path, span.line, span.column + 1, site.text, after)


def _plain(given: Arguments) -> bool:
    """Whether a capture can be made here: of real tensors, outside of transforms and other traces."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    if any(type(tensor) not in (torch.Tensor, nn.Parameter) for tensor in given.tensors):
        return False
    return not any(isinstance(leaf, fx.Proxy) for _, leaves, _ in given.parts for leaf in leaves)


def _properties(reads: set[str], tensors: Sequence[Any]) -> tuple[object, ...]:
    """The properties of inputs that a capture has read."""
    found: list[object] = []
    for tensor in tensors:
        if "shape" in reads:
            found.append(tuple(tensor.shape))
        elif "dim" in reads:
            found.append(tensor.dim())
        if "device" in reads:
            found.append(tensor.device)
    return tuple(found)


_INTERNAL = frozenset(nn.Module().__dict__) - {"training"}
_OURS = frozenset({"forward", "report", "graph", "code"})


def _state(owner: object) -> tuple[object, ...]:
    """What a capture depends on of an object: attributes, also of the modules inside, but for layers."""
    parts = [owner]
    if isinstance(owner, nn.Module):
        parts = [part for part in owner.modules() if part is owner or not is_layer(part)]
    return tuple(
        (name, _frozen(value))
        for part in parts
        for name, value in getattr(part, "__dict__", {}).items()
        if name not in _INTERNAL and name not in _OURS
    )


def _frozen(value: Any) -> object:
    """A value in a key: numbers and texts by value, tensors by version, other objects by identity."""
    match value:
        case bool() | int() | float() | str() | None:
            return (type(value), value)
        case torch.Tensor():
            return (id(value), value._version)
        case tuple() | list():
            return tuple(map(_frozen, value))
        case dict():
            return tuple((repr(key), _frozen(item)) for key, item in value.items())
    return id(value)
