"""Fixes put into other people's code: do the files still import, and does a second run change nothing?

    python benchmarks/fixes.py [--root FOLDER] FILE_OR_FOLDER...

The tree below FOLDER (by default that of the paths) is copied, `nanguard check --fix --unsafe-fixes` is run on the
copy, every file that changed is imported in a process of its own before and after, and the fixes are made a second
time.  Prints how many files were changed and fixes made, which files stopped importing, and what the second run
changed; exits with 1 if there are any of these two.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

_SECONDS = 300  # for one import
_IMPORT = """
import importlib, os, sys
root, path = sys.argv[1:]
sys.path.insert(0, root)
name = os.path.relpath(path, root).removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
importlib.import_module(name)
"""


def main() -> None:
    """Copy, fix, import, fix again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, help="the folder that the modules are imported from")
    parser.add_argument("--keep", type=Path, help="where to leave the copy")
    parser.add_argument("--option", action="append", default=[], help="a further option of nanguard check")
    given = parser.parse_args()
    paths = [path.resolve() for path in given.paths]
    root = given.root.resolve() if given.root else Path(os.path.commonpath(paths))
    root = root if root.is_dir() else root.parent
    with tempfile.TemporaryDirectory() as temporary:
        copy = given.keep or Path(temporary) / "tree"
        tops = dict.fromkeys(root / path.relative_to(root).parts[0] if path != root else root for path in paths)
        for top in tops:
            target = copy / top.relative_to(root)
            if top.is_dir():
                shutil.copytree(top, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(top, target)
        sys.exit(measure(copy, [copy / path.relative_to(root) for path in paths], given.option))


def measure(copy: Path, paths: list[Path], options: list[str]) -> int:
    """Fix a tree twice, and import what has changed."""
    files = sorted({file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))})
    before = {file: file.read_bytes() for file in files}
    left = fixed(copy, paths, options)
    changed = [file for file in files if file.read_bytes() != before[file]]
    broken = [file for file in changed if not imports(copy, file) and imported_before(copy, file, before[file])]
    after = {file: file.read_bytes() for file in files}
    fixed(copy, paths, options)
    again = [file for file in files if file.read_bytes() != after[file]]
    kinds = Counter(finding["fix"]["kind"] if finding["fix"] else "none" for finding in left)
    print(f"{len(files)} files, {len(changed)} changed; {len(left)} findings left ({dict(kinds)} offered for them)")
    for name, listed in (("no longer imports", broken), ("changed by a second run", again)):
        print(f"{name}: {len(listed)}", *(file.relative_to(copy) for file in listed), sep="\n    ")
    return 1 if broken or again else 0


def fixed(copy: Path, paths: list[Path], options: list[str]) -> list[dict[str, Any]]:
    """Fix the files; what is found in them then."""
    command = [sys.executable, "-m", "nanguard", "check", "--fix", "--unsafe-fixes", "--show-fixes", "--format", "json"]
    done = subprocess.run([*command, *options, *map(str, paths)], cwd=copy, capture_output=True, text=True)
    print(done.stderr, end="")
    if not done.stdout:
        sys.exit(f"nanguard failed with {done.returncode}")
    return list(json.loads(done.stdout)["findings"])


def imports(copy: Path, file: Path) -> bool:
    """Whether a file imports, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT, str(copy), str(file)]
    try:
        return subprocess.run(command, capture_output=True, timeout=_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def imported_before(copy: Path, file: Path, text: bytes) -> bool:
    """Whether a file imported as it was."""
    now = file.read_bytes()
    file.write_bytes(text)
    try:
        return imports(copy, file)
    finally:
        file.write_bytes(now)


if __name__ == "__main__":
    main()
