"""Project: which file of the same project a dotted name lies in, found without importing anything."""

from __future__ import annotations

import ast
import os
import tokenize
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_MAX_FILES = 60  # files that are followed for one file that is checked
_MAX_BYTES = 400_000
_NEVER = ("torch", "numpy", "math", "typing", "functools", "builtins")


@dataclass(slots=True)
class Project:
    """The files around the one that is checked.

    The root is the folder that holds the outermost package of the file, or the folder of the file itself.
    """

    path: Path
    root: Path = field(init=False)
    trees: dict[Path, ast.Module | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = self.path.resolve().parent
        while (folder / "__init__.py").is_file() and folder.parent != folder:
            folder = folder.parent
        self.root = folder

    def dotted(self, path: Path) -> str:
        """The dotted name of a file of the project."""
        parts = list(path.resolve().relative_to(self.root).with_suffix("").parts)
        return ".".join(parts[:-1] if parts and parts[-1] == "__init__" else parts)

    def shown(self, path: Path) -> str:
        """A file of the project as messages name it: relative where the checked file was given so."""
        return str(path) if self.path.is_absolute() else os.path.relpath(path)

    def absolute(self, name: str, path: Path) -> str:
        """A dotted name as written in the file `path`, without the dots of a relative import."""
        level = len(name) - len(name.lstrip("."))
        if level == 0:
            return name
        try:
            package = self.dotted(path).split(".")
        except ValueError:
            return name.lstrip(".")
        keep = len(package) - level + (path.name == "__init__.py")
        return ".".join([*package[: max(keep, 0)], name.lstrip(".")])

    def find(self, name: str) -> tuple[Path, list[str]] | None:
        """The file that a dotted name leads into, and the names that are left to look up in it."""
        parts = name.split(".")
        if parts[0] in _NEVER:
            return None
        folder, found = self.root, None
        for index, part in enumerate(parts):
            package, module = folder / part / "__init__.py", folder / f"{part}.py"
            if package.is_file():
                found, folder = (package, parts[index + 1 :]), folder / part
            elif module.is_file():
                return module, parts[index + 1 :]
            else:
                break
        return found

    def tree(self, path: Path) -> ast.Module | None:
        """The parsed file, None if it cannot be read or is one too many."""
        if path not in self.trees:
            self.trees[path] = _parse(path) if len(self.trees) < _MAX_FILES else None
        return self.trees[path]


@lru_cache(maxsize=512)  # files of one project share most of the files they use
def _parse(path: Path) -> ast.Module | None:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        with tokenize.open(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
