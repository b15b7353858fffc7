"""Captured: a callable that runs what was captured and rewritten of another, once it is proved the same.

A capture holds for what it depends on: the dtypes of the tensors, the values of all other arguments, the grad
mode and autocast, the state of the module, names outside that the code reads, and shapes where they decided
something.  For anything else there is another capture.  Where none can be proved the original runs, under a mode that
replaces unstable expressions as they complete if that is asked for.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MethodType, ModuleType
from typing import Any

import torch
from torch import fx, nn

from nanguard import collector
from nanguard.errors import NanguardError, NanguardWarning
from nanguard.matching import rules
from nanguard.matching.match import Matcher, matcher
from nanguard.runtime.capture import Capture, attributes, is_plain, plain_key, properties, state_of
from nanguard.runtime.options import Options
from nanguard.runtime.replacement import Replacement, replacement_at, replacement_of
from nanguard.runtime.rewriting import dtype_of, rewritten
from nanguard.tracing.arguments import Arguments, Binder, taken_apart, unknown
from nanguard.tracing.calls import pure
from nanguard.tracing.contents import Contents
from nanguard.tracing.inputs import Samples, ordinary, samples
from nanguard.tracing.replay import Outcome, Run, difference, replay, saving_apart, tried
from nanguard.tracing.trace import Trace, trace
from nanguard.tracing.tracer import contexts, is_layer

_SAMPLES = 48  # sets of inputs that are tried to find some on which a callable runs
_PROOFS = 3  # sets of inputs of different shapes on which a capture is proved before its first use
_DRAWS = 2  # sets of ordinary values beside the given ones
# What torch raises for operands that do not fit; others, such as a checkpoint's to stop, go through.
_USUAL = (RuntimeError, TypeError, ValueError, IndexError)
_CAPTURES = 16  # captures of one callable: an argument with another value in each call would have one for each


@dataclass(slots=True)
class _Captures:
    """The captures for one key, by what they read of the inputs; None for one that was not proved."""

    reads: set[str] = field(default_factory=set)
    known: dict[tuple[object, ...], Capture | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Whole:
    """A rewritten graph that stands for a method, called with so many tensors while its object has these settings."""

    forward: Callable[..., Any]
    inputs: int
    settings: tuple[tuple[str, Any], ...]


_SETTINGS = (bool, int, float, str, type(None))


class Captured:
    """Runs the rewritten form of a function, or of a method of an object."""

    def __init__(
        self, fn: Callable[..., Any], owner: object = None, options: Options | None = None,
        otherwise: Callable[..., Any] | None = None, weak: bool = False,
    ) -> None:  # fmt: skip
        """`fn` is a function, of which `owner` is the first argument unless it is None.

        `otherwise` is called with this object and the arguments where nothing can be proved; without it the
        original runs, and a warning says so.  With `weak` the owner is not kept alive.
        """
        self.fn, self.options, self.otherwise = fn, options or Options(), otherwise
        self._owner: Callable[[], Any] = weakref.ref(owner) if weak and owner is not None else lambda: owner
        self._reset()

    @property
    def owner(self) -> Any:
        """The object whose method is captured, or that of a bound method."""
        return self._owner()

    @property
    def module(self) -> nn.Module | None:
        """The owner, if it is a module."""
        owner = self._owner()
        return owner if isinstance(owner, nn.Module) else None

    def _reset(self) -> None:
        try:
            self.signature = inspect.signature(self.original)
        except (TypeError, ValueError):
            raise NanguardError(f"{self.fn!r} is not written in Python; give a function that is") from None
        self.__signature__, self.__doc__ = self.signature, self.fn.__doc__
        self.bind = Binder(self.signature)
        self.captures: dict[tuple[object, ...], _Captures] = {}
        self.matchers: dict[str, Matcher] = {}
        self.quick: dict[object, Capture] = {}  # captures by what is quickly told
        self.warned = self.busy = False
        self.tape: Any = None  # of the mode, where it runs under one
        self.whole: _Whole | None = None

    @property
    def original(self) -> Callable[..., Any]:
        """What is captured."""
        owner = self._owner()
        return self.fn if owner is None else MethodType(self.fn, owner)

    def __getstate__(self) -> dict[str, Any]:
        return {"fn": self.fn, "owner": self.owner, "options": self.options, "otherwise": self.otherwise}

    def __setstate__(self, state: dict[str, Any]) -> None:
        owner = state["owner"]
        self.fn, self.options, self.otherwise = state["fn"], state["options"], state["otherwise"]
        self._owner = lambda: owner
        self._reset()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.compiled(args, kwargs) if torch.compiler.is_compiling() else self.call(args, kwargs)

    def compiled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `torch.compile` sees: the rewritten graph where it holds whatever comes in, else the original."""
        owner, whole = self._owner(), self.whole
        if owner is None:
            return self.fn(*args, **kwargs)
        if whole is None or kwargs or len(args) != whole.inputs:
            return self.fn(owner, *args, **kwargs)
        for name, value in whole.settings:
            if getattr(owner, name) != value:
                return self.fn(owner, *args, **kwargs)
        return whole.forward(owner, *args)

    def keep_whole(self, capture: Capture) -> None:
        """Let `torch.compile` see the graph of a capture, where it depends on no more than numbers of its module."""
        module = self.module
        if module is None or not capture.general or capture.extra or capture.outside:
            return
        if not all(isinstance(watched.value, ModuleType) or callable(watched.value) for watched in capture.watched):
            return
        settings = tuple(attributes(module))
        inner = [part for part in module.modules() if part is not module and not is_layer(part)]
        if not inner and all(type(value) in _SETTINGS for _, value in settings):
            inputs = sum(node.op == "placeholder" for node in capture.rewritten.graph.nodes)
            self.whole = _Whole(type(capture.rewritten).forward, inputs, settings)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result for some arguments."""
        if self.quick and not kwargs:
            capture = self.quick.get(plain_key(args))
            if capture is not None and not self.busy and capture.holds():
                return self.result(capture, args, args, kwargs)
        if self.busy:  # it is being captured right now, and calls itself
            return self.original(*args, **kwargs)
        try:
            given = self.bind(args, kwargs)
        except TypeError:
            return self.original(*args, **kwargs)  # which raises the same, in its own words
        capture = self.find(given)
        if capture is None:
            if any(isinstance(leaf, fx.Proxy) for _, leaves, _ in given.parts for leaf in leaves):
                return self.original(*args, **kwargs)  # it is being captured by another
            return self.fall_back(args, kwargs)
        if not capture.replacements:
            return self.original(*args, **kwargs)
        if not kwargs and self.is_quick(given, args):
            self.quick[plain_key(args)] = capture
        return self.result(capture, given.tensors, args, kwargs)

    def is_quick(self, given: Arguments, args: tuple[Any, ...]) -> bool:
        """Whether the capture for some arguments follows from the dtypes of plain tensors."""
        if self._owner() is not None or getattr(self.fn, "__self__", None) is not None:
            return False
        if plain_key(args) is None or len(args) != len(given.tensors):
            return False
        known = self.captures.get(self.key(given))
        return known is not None and not known.reads & {"shape", "dim", "device"}

    def result(
        self, capture: Capture, tensors: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # fmt: skip
        """The result of a capture; what it raises is raised by the original, at the user's line."""
        try:
            return capture.run(self.module, tensors)
        except Exception as error:
            if not capture.repeatable or type(error) not in _USUAL:
                raise
        return self.original(*args, **kwargs)

    def fall_back(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result without a capture."""
        if self.otherwise is None:
            return self.original(*args, **kwargs)
        return self.otherwise(self, args, kwargs)

    def report(self) -> tuple[Replacement, ...]:
        """What has been replaced so far."""
        found = [replacement for capture in self.proved() for replacement in capture.replacements]
        if self.tape is not None:
            found += [
                replacement_at(span, plan, before, after) for span, (plan, before, after) in self.tape.replaced.items()
            ]
        return tuple(dict.fromkeys(found))

    def proved(self) -> Iterator[Capture]:
        """The captures there are."""
        for captures in self.captures.values():
            yield from filter(None, captures.known.values())

    # --- captures --------------------------------------------------------------------------------------

    def find(self, given: Arguments) -> Capture | None:
        """The capture for some arguments, made now if there is none yet; None where none can be proved."""
        key = self.key(given)
        captures = self.captures.get(key)
        if captures is not None:
            meta = properties(captures.reads, given.tensors)
            if meta in captures.known:
                capture = captures.known[meta]
                if capture is None or capture.holds():
                    return capture
        if not is_plain(given) or self.count >= _CAPTURES:
            return None
        reason: Exception
        try:
            return self.capture(given, key)
        except NanguardError as error:
            reason = error
        except Exception as error:  # never the user's affair
            reason = NanguardError(f"{self.home}: {type(error).__name__} while it was captured: {error}")
        captures = self.captures.setdefault(key, _Captures())
        captures.known[properties(captures.reads, given.tensors)] = None
        if not self.warned and self.otherwise is None:
            self.warned = True
            warnings.warn(f"{reason}; it runs as it was written", NanguardWarning, stacklevel=4)
        return None

    @property
    def count(self) -> int:
        """How many captures there are, also those that were not proved."""
        return sum(len(captures.known) for captures in self.captures.values())

    def key(self, given: Arguments) -> tuple[object, ...]:
        """What a capture depends on that can be told beforehand."""
        owner = self._owner()
        state = state_of(owner if owner is not None else getattr(self.fn, "__self__", None))
        return given.key(), contexts(), state

    def capture(self, given: Arguments, key: tuple[object, ...] | None = None) -> Capture:
        """Capture for some arguments, prove it, rewrite it and keep it; raises `NanguardError`."""
        key = key if key is not None else self.key(given)
        module = self.module
        with collector.paused(), self.alone():
            traced = trace(
                self.original if module is None else module, arguments=given.values(),
                method=getattr(self.fn, "__name__", "forward"),
            )  # fmt: skip
            if traced.effects:
                raise NanguardError(f"{traced.home}: {traced.effects[0]}, which a captured graph would not do")
            self.prove(traced, given)
            made = self.made(traced)
        captures = self.captures.setdefault(key, _Captures())
        if not traced.reads <= captures.reads:
            captures.reads |= traced.reads
            captures.known.clear()
        captures.known[properties(captures.reads, given.tensors)] = made
        self.quick.clear()
        return made

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Run the original for its own sake: what it changes is put back, and that it does so is an error."""
        contents = Contents(self.fn, self.owner)
        before, self.busy = self.busy, True
        try:
            with saving_apart():
                yield
        finally:
            self.busy = before
            changed = contents.restore()
        if changed:
            raise NanguardError(f"{self.home}: it changes `{changed[0]}`, which a captured graph would not do")

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
        module, done = rewritten(traced, self.matchers[dtype], self.options.form(dtype))
        switches = any(node.target is torch._C._set_grad_enabled for node in traced.graph.nodes)
        places = {(site.term, site.span): site for site in traced.sites}
        replacements = tuple(replacement_of(plan, places) for plan in done)
        outside = tuple((part, state_of(part)) for part in traced.outside)
        calls = [node for node in traced.graph.nodes if node.op.startswith("call")]
        repeatable = all(pure(node) for node in calls) and not switches
        general = repeatable and not traced.reads and bool(replacements)
        return Capture(
            traced.module, module, replacements, traced.extra, traced.watched, outside, switches, repeatable, general
        )

    # --- before the first use --------------------------------------------------------------------------

    def start(self, examples: Any = None) -> Capture:
        """Prove captures on given inputs, or on made-up ones on which the callable runs; raises `NanguardError`.

        `examples` are the arguments of one call: a tuple of positional ones, or a dict of keyword arguments.
        """
        first: Capture | None = None
        proved, last = 0, "its parameters need more than tensors and numbers"
        made_up = Samples(self.signature, self.owner, self.fn)
        for given in self.samples(examples, made_up):
            values = dict(zip(given.names, given.tensors, strict=True))
            try:
                with self.alone():
                    inputs, expected = tried(self.running(given), values, self.modules)
            except NanguardError:
                raise
            except Exception as error:
                made_up.learn(error)
                last = f"the last raised {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                continue
            try:
                capture = self.known(given) or self.capture(given)
            except NanguardError:
                if first is None:
                    raise
                continue  # with other options it may not be captured
            with self.alone():
                self.agree(capture.recorded, inputs, expected, self.home)
            first = first or capture
            proved += 1
            if proved >= _PROOFS:
                break
        if first is None and examples is not None:
            raise NanguardError(f"{self.home}: does not run on the example_inputs; {last}")
        if first is None:
            raise NanguardError(
                f"{self.home}: no inputs were found on which it runs; {last}; give it some as example_inputs"
            )
        return first

    def samples(self, examples: Any, made_up: Samples) -> Iterator[Arguments]:
        """The arguments to prove captures on: those given, or some that run and others of other shapes."""
        if examples is not None:
            args, kwargs = _call(examples)
            try:
                yield self.bind(args, kwargs)
            except TypeError as error:
                raise NanguardError(f"{self.home}: the example_inputs do not fit its signature: {error}") from None
            return
        first = itertools.islice(made_up, _SAMPLES)
        for sample in itertools.chain(first, samples(self.signature, self.module)):
            yield taken_apart(self.signature, {**unknown(self.signature), **sample})

    def known(self, given: Arguments) -> Capture | None:
        """The capture there is for some arguments."""
        captures = self.captures.get(self.key(given))
        return captures.known.get(properties(captures.reads, given.tensors)) if captures is not None else None

    @property
    def home(self) -> str:
        """Where the original stands."""
        code = getattr(inspect.unwrap(self.fn), "__code__", None)
        name = getattr(self.fn, "__qualname__", repr(self.fn))
        return f"{code.co_filename}:{code.co_firstlineno}: {name}" if code is not None else name


def _call(examples: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call: positional ones, or a dict of keyword arguments."""
    if isinstance(examples, Mapping):
        return (), dict(examples)
    return (tuple(examples) if isinstance(examples, tuple | list) else (examples,)), {}
