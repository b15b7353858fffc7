"""Trace: a live callable to its fx graph, and the terms and places of the graph's nodes.

A target of a file is traced on symbolic inputs where its code allows it, else on small concrete tensors: with symbols
that have these as examples, following the ways on which its tests can go, or by a tape of what it does.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType, ModuleType
from typing import Any

import torch
from torch import fx, nn

from nanguard.finding import Target
from nanguard.stated import Range
from nanguard.tracing.arguments import Arguments, Unknown, taken_apart, unknown
from nanguard.tracing.construct import resolve
from nanguard.tracing.deadline import worked
from nanguard.tracing.inputs import Samples
from nanguard.tracing.places import Sources
from nanguard.tracing.recording import Recording, read_nodes
from nanguard.tracing.replay import Snapshot, quiet
from nanguard.tracing.subject import Subject, Watched, failure, subject_of
from nanguard.tracing.tape import Trains, taped
from nanguard.tracing.tape import call as called_by_tape
from nanguard.tracing.tracer import Helper, Recorder, TraceError

__all__ = ["Recording", "Trace", "TraceError", "Watched", "trace", "trace_target"]

_LOCK = threading.RLock()  # tracing patches torch.nn.Module and isinstance while it lasts
_TRIES = 40  # sets of inputs that are tried where tracing without inputs fails
_ENOUGH = 3  # sets of inputs on which a target is traced
_PATHS = 6  # ways through the tests of a target that are followed
_RUNS = 16  # runs that this may take
_HELPERS = 3  # functions that a trace may leave out
_SECONDS = 2.0  # of work for one target
_SHAPES = (
    (4, 3),
    (4,),
    (2, 3, 4, 4),
    (2, 1, 8, 8),
    (2, 3, 4, 4, 2),
)  # of floats that stand for inputs of which nothing is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace(Recording):
    """A captured callable.

    `module` runs `graph` on the tensors of `arguments`, in their order.  `extra` are tensors and modules that
    the graph refers to and that are no attributes of the traced module.  What the capture depends on beside its
    other arguments: `reads`, properties of the inputs (dtype, device, dim, shape), and `watched`, names of the
    program.  `effects` is what the program does beside its result, which the graph does not do.
    """

    module: fx.GraphModule
    extra: Mapping[str, Any]
    reads: frozenset[str]
    watched: tuple[Watched, ...]
    outside: tuple[nn.Module, ...]  # modules that it called and that are no part of the traced module
    effects: tuple[str, ...]
    ranges: Mapping[str, Range]  # that the user states, by the names of parameters


def trace(
    fn: Callable[..., Any] | nn.Module, *, arguments: Mapping[str, Any] | None = None,
    name: str | None = None, path: str | None = None, source: str | None = None, method: str = "forward",
    ranges: Mapping[str, Range] | None = None,
) -> Trace:  # fmt: skip
    """Capture a function, a bound method, or the `method` of a module.

    `arguments` are values by the names of parameters: tensors are inputs of the graph with these as examples,
    all else is taken as it is.  Without them parameters with a default have it, and the others are inputs of
    which nothing is known.  `path` and `source` are for code that is not in a file.  `ranges` are those that the
    settings give for the parameters.  Raises `TraceError`.
    """
    subject = subject_of(fn, method, name, ranges)
    sources = Sources({} if path is None or source is None else {path: source})
    return _traced(subject, _given(subject, arguments), sources)


@dataclass(frozen=True, slots=True)
class Captures:
    """What was captured of a target: a recording for each way through it that was found."""

    subject: Subject
    samples: Callable[[], Samples]
    recordings: tuple[Recording, ...]

    def inputs(self, until: float) -> Iterator[Arguments]:
        """Arguments on which the target runs: those of the recordings, then small ones that are found now."""
        listed = [recording.arguments for recording in self.recordings]
        known = [given for given in listed if not any(isinstance(part, Unknown) for part in given.tensors)]
        yield from {id(given): given for given in known}.values()
        for samples in (self.samples(), self.floats()):
            for tape in _taped(self.subject, samples, Sources(), until, []):
                yield tape.arguments

    def floats(self) -> Iterator[dict[str, Any]]:
        """Floats for all that is not known, which is what a trace without inputs takes them for."""
        generator = torch.Generator().manual_seed(0)
        for shape in _SHAPES:
            values = self.recordings[0].arguments.values().items()
            yield {
                name: torch.randn(shape, generator=generator) if isinstance(value, Unknown) else value
                for name, value in values
            }


def trace_target(module: ModuleType, target: Target, seconds: float = _SECONDS) -> tuple[Recording, ...]:
    """Capture a target of a loaded module, once for each way through it that is found within some seconds.

    Raises `TraceError` where there is none, with what stands in the way.
    """
    return captures_of(module, target, seconds).recordings


def captures_of(
    module: ModuleType, target: Target, seconds: float = _SECONDS, ranges: Mapping[str, Range] | None = None
) -> Captures:
    """As `trace_target`, with what was captured; `ranges` are those that the settings give for the parameters."""
    resolved = resolve(module, target.name, f"{target.path}:{target.span.line}")
    found, method = resolved.found, resolved.method
    subject = replace(
        subject_of(found, method, target.name, ranges),
        owner=resolved.owner, callee=resolved.callee, built=resolved.built,
    )  # fmt: skip
    is_module = isinstance(found, nn.Module)
    owner, function = (found, getattr(found, method)) if is_module else (getattr(found, "__self__", None), found)
    samples = functools.partial(Samples, subject.signature, owner, function, subject.ranges)
    return Captures(subject, samples, _recordings(subject, samples, worked() + seconds))


def _recordings(subject: Subject, samples: Callable[[], Samples], until: float) -> tuple[Recording, ...]:
    """Symbolic traces without inputs, else what small inputs give, else ways on which the tests are guessed."""
    sources = Sources()
    try:
        return (_traced(subject, _given(subject), sources),)
    except TraceError as error:
        failed = [error]
    tapes = _taped(subject, samples(), sources, until, failed)
    recordings: list[Recording] = []
    for tape in itertools.islice(tapes, _ENOUGH):
        recordings.extend(list(_paths(subject, tape.arguments, sources, until)) or [tape])
    recordings = recordings or list(_paths(subject, None, sources, until))
    recordings = recordings or list(_around(subject, failed[0], sources))
    if not recordings:
        raise next((error for error in failed if not error.open), failed[-1])
    return tuple(recordings)


def _taped(
    subject: Subject, samples: Iterable[dict[str, Any]], sources: Sources, until: float, failed: list[TraceError]
) -> Iterator[Recording]:
    """Tapes of runs on small inputs; why others were none is added to `failed`."""
    for arguments in itertools.islice(samples, _TRIES):
        if worked() > until:
            return
        try:
            given = _given(subject, arguments)
            yield taped(subject, given, sources, until)
        except Exception as error:
            told = error if isinstance(error, TraceError) else failure(error, called_by_tape.__code__, subject)
            failed.append(told)
            if isinstance(error, Trains):
                return
            if isinstance(samples, Samples):
                samples.learn(error)


def _paths(subject: Subject, given: Arguments | None, sources: Sources, until: float) -> Iterator[Trace]:
    """Traces of the ways through a callable, the tests on tensors answered from scripts, depth first.

    A way that raises is none.
    """
    waiting: list[tuple[bool, ...]] = [()]
    found = 0
    for _ in range(_RUNS):
        if not waiting or found == _PATHS or worked() > until:
            return
        script = waiting.pop()
        answers: list[bool] = []
        try:
            yield _traced(subject, given or _given(subject), sources, script, answers)
            found += 1
        except TraceError:
            pass  # this way raises: nobody gets there
        for index in range(len(script), len(answers)):
            waiting.append((*answers[:index], not answers[index]))


def _around(subject: Subject, error: TraceError, sources: Sources) -> Iterator[Trace]:
    """A trace without inputs that leaves out the helpers that stand in its way."""
    helpers: list[Helper] = []
    while error.helper is not None and len(helpers) < _HELPERS:
        helpers.append(error.helper)
        try:
            yield _traced(subject, _given(subject), sources, helpers=helpers)
            return
        except TraceError as another:
            error = another


def _given(subject: Subject, arguments: Mapping[str, Any] | None = None) -> Arguments:
    return taken_apart(subject.signature, {**unknown(subject.signature), **(arguments or {})})


def _traced(
    subject: Subject, given: Arguments, sources: Sources,
    script: Sequence[bool] | None = None, answers: list[bool] | None = None, helpers: Sequence[Helper] = (),
) -> Trace:  # fmt: skip
    """The trace on symbolic inputs; with a `script` tests on tensors are answered from it, and noted in `answers`.

    The `helpers` are not entered.
    """
    missing = _unanswerable(given)
    if missing:
        raise TraceError(f"{subject.home}: needs a value for {missing!r}, which is no tensor", open=True)
    if not given.tensors:
        raise TraceError(f"{subject.home}: takes no tensor")
    recorder = Recorder(sources, subject.home, subject.method, script)
    recorder.call = functools.partial(_call, given)
    try:
        effects = _record(recorder, subject, helpers)
    finally:
        if answers is not None:
            answers.extend(recorder.answers)
    return _made(recorder, subject, given, effects)


# --- one run ------------------------------------------------------------------------------------------


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


def _record(recorder: Recorder, subject: Subject, helpers: Sequence[Helper]) -> tuple[str, ...]:
    """Run the callable under the recorder; gives its effects, which are undone."""
    with _LOCK, recorder.leaving_out(helpers), quiet() as output:
        snapshot = Snapshot(subject.modules, subject.tables)
        try:
            with recorder.answering():
                recorder.trace(subject.root)
        except Exception as error:
            raise failure(error, fx.Tracer.trace.__code__, subject) from None
        finally:
            changed = snapshot.restore()
            _forget(recorder.codes.values())
    printed = ("it prints",) if output.getvalue() else ()
    return (*printed, *(f"it assigns `{name}`" for name in changed))


def _forget(tables: Iterable[Mapping[str, Any]]) -> None:
    """Empty the caches of functions that a run may have filled with symbolic values."""
    for table in {id(table): table for table in tables}.values():
        for value in list(table.values()):
            if isinstance(value, functools._lru_cache_wrapper) and value.cache_info().currsize:
                value.cache_clear()


# --- what comes of it ---------------------------------------------------------------------------------


def _made(recorder: Recorder, subject: Subject, given: Arguments, effects: tuple[str, ...]) -> Trace:
    graph = recorder.graph
    graph._tracer_cls = None  # a recorder cannot be made again by those who copy or pickle the graph
    read = read_nodes(graph, recorder.examples, recorder.sources, subject, recorder.passed)
    return Trace(
        name=subject.name, graph=graph, terms=read.terms, sites=read.sites, uses=read.uses, arguments=given,
        examples=recorder.examples, home=subject.home,
        module=fx.GraphModule(dict(recorder.attributes), graph, subject.name.replace(".", "_")),
        extra=recorder.extra, reads=frozenset(recorder.reads),
        watched=(*subject.cells, *_watched(recorder.codes)), outside=_outside(recorder), effects=effects,
        ranges=subject.ranges,
    )  # fmt: skip


def _outside(recorder: Recorder) -> tuple[nn.Module, ...]:
    inside = {id(part) for part in recorder.root.modules()}
    return tuple(module for key, module in recorder.entered.items() if key not in inside)


def _watched(codes: Mapping[CodeType, dict[str, Any]]) -> tuple[Watched, ...]:
    """The names of modules that the code of a capture read."""
    return tuple(
        Watched(table, name, table[name])
        for code, table in codes.items()
        for name in dict.fromkeys(code.co_names)
        if name in table
    )
