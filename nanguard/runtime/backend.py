"""Backend: ``torch.compile(loss, backend="nanguard")`` rewrites what Dynamo captures and hands it on."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx

from nanguard.errors import NanguardError, NanguardWarning
from nanguard.runtime.graphs import rewritten_module
from nanguard.runtime.options import Options

_OPTIONS = ("inner", "prefer", "eps", "select", "ignore")


def nanguard(graph: fx.GraphModule, example_inputs: Sequence[Any], **kwargs: Any) -> Callable[..., Any]:
    """Compile a graph after its unstable expressions are replaced.

    `options` of `torch.compile` are those of `nanguard.rewrite`, and `inner`, the name of the backend that gets the
    rewritten graph: inductor if nothing is said, eager where there is no C++ compiler for it.
    """
    given: Mapping[str, Any] = kwargs.get("options") or {}
    unknown = [name for name in given if name not in _OPTIONS]
    if unknown:
        raise NanguardError(f"the nanguard backend has no option {unknown[0]!r}; it has {', '.join(_OPTIONS)}")
    options = Options(
        given.get("prefer", "stable"), given.get("eps"), tuple(given.get("select", ("ALL",))),
        tuple(given.get("ignore", ())),
    )  # fmt: skip
    options.check()
    try:
        graph = rewritten_module(graph, options, example_inputs)[0]
    except Exception as error:  # what cannot be rewritten is compiled as it is
        warnings.warn(
            f"a graph stays as it was written: {type(error).__name__}: {error}", NanguardWarning, stacklevel=2
        )
    return inner(given.get("inner"))(graph, example_inputs)


def inner(name: str | None) -> Callable[..., Callable[..., Any]]:
    """The backend of a name, the default one without it; raises `NanguardError` for one that there is not."""
    from torch._dynamo.backends.registry import list_backends, lookup_backend
    from torch._dynamo.exc import InvalidBackend

    if name is None:
        name = "inductor" if _has_compiler() else "eager"
    try:
        found: Callable[..., Callable[..., Any]] = lookup_backend(name)
    except InvalidBackend:
        known = ", ".join(sorted(list_backends()))
        raise NanguardError(f"there is no backend {name!r} to hand the graph to; there are {known}") from None
    return found


_warned = False


def _has_compiler() -> bool:
    """Whether inductor can compile for the CPU; says once where it cannot."""
    global _warned
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++", "cl"]
    if any(name and shutil.which(name.split()[0]) for name in names):
        return True
    if not _warned:
        _warned = True
        warnings.warn("no C++ compiler was found for inductor: the graph runs eagerly", NanguardWarning, stacklevel=3)
    return False
