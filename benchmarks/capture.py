"""How much of the losses of installed packages is traced, beside what plain `torch.fx.symbolic_trace` captures."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import os
import re
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from tabulate import tabulate

from nanguard.errors import NanguardError
from nanguard.finding import Target
from nanguard.lazy import load_torch
from nanguard.reading.discover import SourceError, definitions, load_source, parse, span_of

SKIPPED = {"test", "tests", "testing", "examples", "benchmarks", "docs", "__pycache__"}
CALLED = ("forward", "__call__", "loss")
SECONDS = 8.0  # for one loss: whether it can be traced is asked here, not whether a loaded machine is in time
NO_LOSS = "has no method that it is called by"  # the reason of a class that has none of them, nor its bases


@dataclass(frozen=True, slots=True)
class Result:
    """One loss: whether it was traced, whether plain fx captures it, why not, and the seconds it took."""

    package: str
    path: str
    name: str
    traced: bool
    plain: bool
    reason: str
    seconds: float


def files(folder: Path) -> list[Path]:
    """The Python files of a package, without its tests and examples."""
    found = [folder] if folder.is_file() else sorted(folder.rglob("*.py"))
    return [path for path in found if not SKIPPED.intersection(path.relative_to(folder.parent).parts[1:])]


def losses(path: Path, root: Path) -> list[Target]:
    """The top-level functions and classes of a file that are losses by their name or by that of their module."""
    try:
        tree = parse(str(path), load_source(str(path)))
    except SourceError:
        return []
    if not any(name.split(".")[0] == "torch" for name in imports(tree)):
        return []
    inside = "loss" in "/".join(path.relative_to(root).parts).lower()
    found = []
    for one in definitions(tree):
        if "." in one.name or not (inside or "loss" in one.name.lower()) or not is_loss(one.node):
            continue
        kind = "module" if isinstance(one.node, ast.ClassDef) else "function"
        found.append(Target(str(path), one.name, span_of(str(path), one.node), kind))
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, by their full names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def is_loss(node: ast.AST) -> bool:
    """Whether a definition can be a loss: a class that is called or has a base that is, a function with arguments."""
    if isinstance(node, ast.ClassDef):
        own = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
        return bool(own.intersection(CALLED)) or any("loss" in ast.unparse(base).lower() for base in node.bases)
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return bool(node.args.args or node.args.posonlyargs or node.args.vararg or node.args.kwonlyargs)


# --- one file, in a process of its own -----------------------------------------------------------------


def measured(package: str, path: Path, targets: Sequence[Target], answer: Callable[[Result], None]) -> None:
    """Trace the losses of a file and answer for each as soon as it is known."""
    from nanguard.tracing.load import load_module

    start = time.perf_counter()
    try:
        module = load_module(str(path), load_source(str(path)))
    except NanguardError as error:
        reason = f"file not loaded: {said(str(error))}"
        for target in targets:
            answer(Result(package, str(path), target.name, False, False, reason, time.perf_counter() - start))
        return
    for target in targets:
        answer(one(package, path, module, target))


def one(package: str, path: Path, module: ModuleType, target: Target) -> Result:
    """Trace one loss."""
    from nanguard.tracing.trace import trace_target

    start, reason = time.perf_counter(), ""
    try:
        trace_target(module, target, seconds=SECONDS)
    except NanguardError as error:
        reason = said(str(error))
    except Exception as error:
        reason = f"internal {type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    return Result(package, str(path), target.name, not reason, plain(module, target.name), reason, seconds)


def plain(module: ModuleType, name: str) -> bool:
    """Whether plain `symbolic_trace` captures a function, or an object of a class built with its defaults."""
    from torch import fx, nn

    try:
        found = inspect.getattr_static(module, name)
        found = found() if isinstance(found, type) else found
        graph = fx.symbolic_trace(found).graph
        return isinstance(found, nn.Module) or any(node.op.startswith("call") for node in graph.nodes)
    except BaseException:
        return False


def said(message: str) -> str:
    """A reason without its place."""
    return re.sub(r"^\S*?:\d+: ", "", message)


def kind(reason: str) -> str:
    """A reason without the names and numbers in it, so that equal ones can be counted."""
    return re.sub(r"\d+", "N", re.sub(r"'[^']*'|`[^`]*`", "'…'", reason))[:110]


# --- the processes -------------------------------------------------------------------------------------


def run(package: str, path: Path, targets: Sequence[Target], timeout: float) -> Iterator[Result]:
    """The results of a file, from a child that may crash or hang."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        quietly(package, path, targets, writer)
    os.close(writer)
    data, end = b"", time.monotonic() + timeout * (1 + len(targets) / 20)
    while (left := end - time.monotonic()) > 0 and select.select([reader], [], [], left)[0]:
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            break
        data += chunk
    os.close(reader)
    os.killpg(child, signal.SIGKILL) if os.getpgid(child) == child else os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    results = [Result(**json.loads(line)) for line in data.decode().splitlines() if line.endswith("}")]
    yield from results
    known = {result.name for result in results}
    for target in targets:
        if target.name not in known:
            yield Result(package, str(path), target.name, False, False, "crashed or took too long", timeout)


def quietly(package: str, path: Path, targets: Sequence[Target], writer: int) -> None:
    """The child: nothing is printed; never returns."""
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        measured(package, path, targets, lambda result: write(writer, result))
    finally:
        os._exit(0)


def write(pipe: int, result: Result) -> None:
    """One result as one line."""
    os.write(pipe, json.dumps(asdict(result)).encode() + b"\n")


def whole(folder: Path, found: Sequence[Path], timeout: float) -> list[Result]:
    """The results of a package, from a child that has it imported before it forks for each file."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        warm(folder, timeout)
        for path in found:
            if targets := losses(path, folder):
                for result in run(folder.name, path, targets, timeout):
                    write(writer, result)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        results = [Result(**json.loads(line)) for line in stream]
    os.waitpid(child, 0)
    return results


def warm(folder: Path, timeout: float) -> None:
    """Import a package, if that is possible, so that not every file does it again."""
    sys.path.insert(0, str(folder.parent))
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(int(timeout))
    try:
        with suppress(BaseException):  # it may even exit; its files are then tried without it, and say why they fail
            importlib.import_module(folder.stem)
    finally:
        signal.alarm(0)
        sys.path.pop(0)


def _late(*_: object) -> None:
    raise TimeoutError


# --- the table -----------------------------------------------------------------------------------------


def table(results: Sequence[Result], counts: dict[str, int]) -> str:
    """One line a package, and one for all."""
    lines = [line(package, counts[package], [r for r in results if r.package == package]) for package in counts]
    total = line("all", sum(counts.values()), results)
    head = ["package", "files", "losses", "traced", "%", "plain fx", "%"]
    return str(tabulate([*lines, total], headers=head, floatfmt=".0f"))


def line(package: str, count: int, results: Sequence[Result]) -> list[Any]:
    """The figures of some results."""
    traced, whole = sum(r.traced for r in results), sum(r.plain for r in results)
    share = 100 / len(results) if results else 0.0
    return [package, count, len(results), traced, traced * share, whole, whole * share]


def main() -> None:
    """Measure the folders of packages that are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of packages")
    parser.add_argument("--timeout", type=float, default=30, help="seconds a file, and a twentieth more for each loss")
    parser.add_argument("--reasons", type=int, default=15, help="how many reasons to list (default: 15)")
    parser.add_argument("--json", type=Path, help="write every result to this file")
    given = parser.parse_args()
    torch = load_torch()
    torch.set_num_threads(1)
    import nanguard.tracing.trace  # noqa: F401  (once here, instead of in every child)

    results: list[Result] = []
    counts: dict[str, int] = {}
    for folder in given.folders:
        found = files(folder)
        counts[folder.name] = len(found)
        start = time.perf_counter()
        results.extend(r for r in whole(folder, found, given.timeout) if NO_LOSS not in r.reason)
        print(f"{folder.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(table(results, counts))
    times = [result.seconds for result in results if result.traced]
    if times:
        print(f"\nmedian of a trace: {median(times) * 1000:.0f} ms")
    reasons = Counter(kind(result.reason) for result in results if not result.traced)
    print(f"\n{tabulate(reasons.most_common(given.reasons), headers=['reason', 'losses'])}")
    if given.json:
        given.json.write_text(json.dumps([asdict(result) for result in results], indent=1))


if __name__ == "__main__":
    main()
