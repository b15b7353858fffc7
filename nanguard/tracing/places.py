"""Places: which piece of the user's source a running frame is at, exact to the column."""

from __future__ import annotations

import ast
import linecache
import os
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType

from nanguard.finding import Span

_STDLIB = sysconfig.get_path("stdlib")

# Keys of the `meta` of a node: where it was made, what the program called its values there, whether gradients were
# recorded, and whether the user's code made it itself, not through Python code of torch.
SPAN, NAMES, GRAD, DIRECT = "nanguard_span", "nanguard_names", "nanguard_grad", "nanguard_direct"


@dataclass(slots=True)
class Sources:
    """The texts of the files that frames stand in; `texts` are known beforehand, others are read."""

    texts: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[bytes]] = field(default_factory=dict)

    def text(self, path: str) -> str:
        """The text of a file, empty if there is none."""
        if path not in self.texts:
            self.texts[path] = "".join(linecache.getlines(path))
        return self.texts[path]

    def segment(self, span: Span) -> str:
        """The text of a span, on one line; without the comments in it, where it is an expression."""
        if span.path not in self.lines:
            self.lines[span.path] = self.text(span.path).encode().split(b"\n")
        lines = self.lines[span.path][span.line - 1 : span.end_line]
        if not lines:
            return ""
        lines[-1] = lines[-1][: span.end_column]
        lines[0] = lines[0][span.column :]
        text = b"\n".join(lines).decode(errors="replace")
        if len(lines) > 1 and "#" in text:
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                return ast.unparse(ast.parse(text))
        return " ".join(text.split())

    def span(self, frame: FrameType) -> Span | None:
        """Where a frame is, None where its code has no positions."""
        return self.span_at(frame.f_code, frame.f_lasti)

    def span_at(self, code: CodeType, instruction: int) -> Span | None:
        """Where an instruction of some code is, by its offset; None where the code has no positions."""
        line, end_line, column, end_column = positions(code)[instruction // 2]
        if line is None or end_line is None or column is None or end_column is None:
            return None
        found = Span(code.co_filename, line, column, end_line, end_column)
        return self.whole(found)

    def whole(self, span: Span) -> Span:
        """The whole expression: of a chain over several lines Python gives what follows the last dot."""
        chained = [
            node
            for node in self.ending(span.path).get((span.end_line, span.end_column), ())
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        ]
        for node in chained:
            func = node.func
            assert isinstance(func, ast.Attribute)
            name = (func.end_lineno, (func.end_col_offset or 0) - len(func.attr.encode()))
            if name == (span.line, span.column):
                return Span(span.path, node.lineno, node.col_offset, span.end_line, span.end_column)
        return span

    def ending(self, path: str) -> dict[tuple[int, int], list[ast.expr]]:
        """The expressions of a file by where they end."""
        return _ending(self.text(path))


@lru_cache(maxsize=64)
def _ending(text: str) -> dict[tuple[int, int], list[ast.expr]]:
    found: dict[tuple[int, int], list[ast.expr]] = {}
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.expr):
            found.setdefault((node.end_lineno or 0, node.end_col_offset or 0), []).append(node)
    return found


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


@lru_cache(maxsize=4096)
def positions(code: CodeType) -> list[tuple[int | None, int | None, int | None, int | None]]:
    """The positions of the instructions of some code."""
    return list(code.co_positions())


@lru_cache(maxsize=4096)
def is_user_file(path: str) -> bool:
    """Whether a file is the user's: not torch's, not Python's, not ours."""
    if "eval_with_key" in path or path.startswith("<frozen"):
        return False
    if path.startswith(_STDLIB):
        return "site-packages" in path[len(_STDLIB) :] and not path.startswith(_packages())
    return not path.startswith(_packages())


@lru_cache(maxsize=1)
def _packages() -> tuple[str, ...]:
    """The folders of nanguard and of torch."""
    torch = sys.modules.get("torch")
    roots = [Path(__file__).parent.parent, *(Path(root) for root in getattr(torch, "__path__", ()))]
    return tuple(f"{root}{os.sep}" for root in roots)


def caller(
    frame: FrameType | None, boundary: CodeType | None = None, function: CodeType | None = None
) -> tuple[FrameType | None, bool]:
    """The innermost frame of the user's code from `frame` outwards, and whether it called `function` itself.

    None past one that runs `boundary`.  What passes calls on, torch.fx and the overrides of torch, does not count.
    """
    direct = True
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        code = frame.f_code
        direct = direct and (code is function or _passes_on(code.co_filename))
        frame = None if code is boundary else frame.f_back
    return frame, direct


@lru_cache(maxsize=4096)
def _passes_on(path: str) -> bool:
    ours, *torchs = _packages()
    inside = tuple(f"{root}{part}" for root in torchs for part in (f"fx{os.sep}", "overrides.py", "_tensor.py"))
    return path.startswith((ours, *inside)) or "eval_with_key" in path


def user_frame(frame: FrameType | None, boundary: CodeType | None = None) -> FrameType | None:
    """The innermost frame of the user's code from `frame` outwards, None past one that runs `boundary`."""
    while frame is not None and not is_user_file(frame.f_code.co_filename):
        frame = None if frame.f_code is boundary else frame.f_back
    return frame
