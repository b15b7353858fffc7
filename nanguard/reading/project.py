"""Project: which file of the same project a dotted name lies in, found without importing anything."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from nanguard.cache.stamps import is_file, stamp

_MAX_FILES = 60  # files that are followed for one file that is checked
_INSTALLED = ("site-packages", "dist-packages")
_NEVER = ("torch", "numpy", "math", "typing", "functools", "builtins")


@dataclass(slots=True)
class Project:
    """The files around the one that is checked.

    The root is the folder that holds the outermost package of the file, or the folder of the file itself.
    """

    path: Path
    root: Path = field(init=False)
    only: str | None = field(init=False)  # the package beside which others are other people's
    followed: set[Path] = field(default_factory=set)
    found: dict[str, tuple[Path, list[str]] | None] = field(default_factory=dict)
    packages: dict[str, list[str] | None] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)  # the stamps of all files that were looked for

    def __post_init__(self) -> None:
        folder, package = self.path.resolve().parent, None
        while self.is_file(str(folder / "__init__.py")) and folder.parent != folder:
            folder, package = folder.parent, folder.name
        self.root = folder
        self.only = package if folder.name in _INSTALLED else None

    def shown(self, path: Path) -> str:
        """A file of the project as messages name it: relative where the checked file was given so."""
        return str(path) if self.path.is_absolute() else os.path.relpath(path)

    def absolute(self, name: str, path: str) -> str:
        """A dotted name as written in the file `path`, without the dots of a relative import."""
        level = len(name) - len(name.lstrip("."))
        if level == 0:
            return name
        if path not in self.packages:
            self.packages[path] = self.package(Path(path))
        package = self.packages[path]
        return name.lstrip(".") if package is None else ".".join([*package[: 1 - level or None], name.lstrip(".")])

    def package(self, path: Path) -> list[str] | None:
        """The package that a file lies in, by its names from the root on; None for a file that lies elsewhere."""
        try:
            return list(path.resolve().relative_to(self.root).parent.parts)
        except ValueError:
            return None

    def find(self, name: str) -> tuple[Path, list[str]] | None:
        """The file that a dotted name leads into, and the names that are left to look up in it."""
        if name not in self.found:
            self.found[name] = self.look_up(name)
        return self.found[name]

    def look_up(self, name: str) -> tuple[Path, list[str]] | None:
        """The same, looked up on the disk."""
        parts = name.split(".")
        if parts[0] in _NEVER or self.only not in (None, parts[0]):
            return None
        folder, found = str(self.root), None  # `Path` takes longer than all else here
        for index, part in enumerate(parts):
            folder = os.path.join(folder, part)
            package, module = os.path.join(folder, "__init__.py"), f"{folder}.py"
            if self.is_file(package):
                found = Path(package), parts[index + 1 :]
            elif self.is_file(module):
                return Path(module), parts[index + 1 :]
            else:
                break
        return found

    def is_file(self, name: str) -> bool:
        """Whether there is such a file; what this reading depends on is taken down."""
        if name not in self.seen:
            self.seen[name] = stamp(name)
        return is_file(self.seen[name])

    def may_follow(self, path: Path) -> bool:
        """Whether another file is one of those that are followed, which are not too many."""
        if path not in self.followed and len(self.followed) < _MAX_FILES:
            self.followed.add(path)
        return path in self.followed
