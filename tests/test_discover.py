"""From paths to files, text and targets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nanguard.reading.discover import SourceError, SourceFile, check_names, load_source, parse, targets, wanted
from nanguard.reading.files import Files, find, split
from nanguard.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def paths(*given: str) -> list[str]:
    files, notes = find(given)
    assert notes == []
    return [file.path for file in files]


# --- paths -----------------------------------------------------------------------------------------------


def test_a_folder_is_searched_in_order_and_paths_stay_as_given(folder: Path) -> None:
    for name in ("src/b.py", "src/a.py", "src/sub/c.py", "src/notes.txt"):
        write(folder / name)
    assert paths("src") == ["src/a.py", "src/b.py", "src/sub/c.py"]
    assert paths(".") == ["src/a.py", "src/b.py", "src/sub/c.py"]
    assert paths("./src/a.py") == ["./src/a.py"]
    assert paths(str(folder / "src")) == [str(folder / f"src/{name}") for name in ("a.py", "b.py", "sub/c.py")]


@pytest.mark.parametrize(
    "skipped",
    [
        ".hidden",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        "build",
        "dist",
        "x.egg-info",
        "site-packages",
    ],
)
def test_other_peoples_folders_are_skipped_unless_named(folder: Path, skipped: str) -> None:
    write(folder / "src/a.py")
    write(folder / "src" / skipped / "b.py")
    assert paths("src") == ["src/a.py"]
    assert paths(f"src/{skipped}") == [f"src/{skipped}/b.py"]
    assert paths(f"src/{skipped}/b.py") == [f"src/{skipped}/b.py"]


def test_a_virtual_environment_of_any_name_is_skipped(folder: Path) -> None:
    write(folder / "a.py")
    write(folder / "env/pyvenv.cfg")
    write(folder / "env/b.py")
    assert paths(".") == ["a.py"]


def test_a_file_is_checked_once(folder: Path) -> None:
    write(folder / "src/a.py")
    (folder / "src/loop").symlink_to(folder / "src")
    (folder / "src/z.py").symlink_to(folder / "src/a.py")
    (folder / "src/broken.py").symlink_to(folder / "nowhere.py")
    assert paths("src", "src/a.py", "./src", "src/z.py") == ["src/a.py"]


def test_names_of_one_file_add_up_and_the_whole_file_covers_them(folder: Path) -> None:
    write(folder / "m.py")
    assert find(["m.py::f", "m.py::C::g", "m.py::f"])[0] == [SourceFile("m.py", ("f", "C.g"), whole=False)]
    assert find(["m.py::f", "m.py"])[0] == [SourceFile("m.py", ("f",), whole=True)]
    assert find(["m.py", "m.py::f"])[0] == [SourceFile("m.py", ("f",), whole=True)]
    assert find(["m.py::f", "."])[0] == [SourceFile("m.py", ("f",), whole=True)]
    assert find([".", "m.py::f"])[0] == [SourceFile("m.py", ("f",), whole=True)]


def test_folders_are_searched_as_their_files_are_asked_for(folder: Path) -> None:
    write(folder / "a" / "one.py")
    write(folder / "b" / "two.py")
    found = iter(Files(["a", "b"], Settings()))
    assert next(found).path == os.path.join("a", "one.py")
    write(folder / "b" / "three.py")  # nobody has looked there so far
    assert [file.path for file in found] == [os.path.join("b", "three.py"), os.path.join("b", "two.py")]


def test_files_know_what_they_handed_out(folder: Path) -> None:
    write(folder / "a" / "one.py")
    write(folder / "b" / "two.py")
    (folder / "link.py").symlink_to(folder / "a" / "one.py")
    files = Files(["a"], Settings())
    assert [file.path for file in files] == [os.path.join("a", "one.py")]
    assert files.shown(os.path.join("a", "one.py"))
    assert not files.shown("link.py")
    assert files.has("link.py")
    assert not files.has(os.path.join("b", "two.py"))


def test_a_file_with_colons_in_its_name_is_a_file(folder: Path) -> None:
    write(folder / "odd::name.py")
    assert split("odd::name.py") == ("odd::name.py", None)


def test_a_pipe_below_a_folder_does_not_block(folder: Path) -> None:
    write(folder / "a.py")
    os.mkfifo(folder / "pipe.py")
    assert paths(".") == ["a.py"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.py", "no such file or folder"),
        ("missing.py::f", "no such file or folder"),
        ("empty::f", "asks for a name in a folder"),
        ("m.py::", "no name after '::'"),
        ("::f", "names no file"),
        ("pipe", "not a regular file"),
    ],
)
def test_a_path_that_means_no_file_is_a_failure_and_the_others_go_on(folder: Path, given: str, message: str) -> None:
    write(folder / "m.py")
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    files, notes = find([given, "m.py"])
    assert [file.path for file in files] == ["m.py"]
    assert [note.failed for note in notes] == [True]
    assert message in notes[0].message


# --- text ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"x = 1\r\ny = 2\rz = 3\n", "x = 1\ny = 2\nz = 3\n"),
        (b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
        (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", "# -*- coding: latin-1 -*-\nx = '\xe9'\n"),
        (b"#!/bin/sh\n# vim: set fileencoding=cp1252 :\nx = '\x80'\n", None),
        (b"x = 1\n\x0cy = 2\n", "x = 1\n\x0cy = 2\n"),
    ],
)
def test_text_is_decoded_as_python_does(folder: Path, data: bytes, text: str | None) -> None:
    (folder / "m.py").write_bytes(data)
    source = load_source("m.py")
    assert "€" in source if text is None else source == text
    parse("m.py", source)


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"x = 1\ny = '\xe9'\n", 2, "is not UTF-8"),
        (b"x = 1\n" * 500 + b"y = '\xe9'\n", 501, "is not UTF-8"),
        (b"# coding: ascii\n\nx = '\xe9'\n", 3, "is not ASCII"),
        ("x = 1\n".encode("utf-16"), 1, "is not UTF-8"),
        (b"# coding: klingon\n", 1, "cannot be used"),
        (b"# coding: rot13\n", 1, "cannot be used"),
        (b"\xef\xbb\xbf# coding: latin-1\n", 1, "cannot be used"),
        (b"x = 1\ny = '\0'\n", 2, "null byte"),
        (b"x = 1\ndef f(:\n", 2, "does not parse"),
        (b"if x:\n" + b"pass\n", 2, "does not parse"),
        (b"x = " + b"(" * 100_000, 1, "does not parse"),
        (b"x = " + b"-" * 200_000 + b"1\n", 1, "too deeply"),
        (b"x = " + b"a." * 100_000 + b"b\n", 1, "too deeply"),
    ],
)
def test_a_file_that_is_no_python_says_where(folder: Path, data: bytes, line: int, message: str) -> None:
    (folder / "m.py").write_bytes(data)
    with pytest.raises(SourceError) as caught:
        parse("m.py", load_source("m.py"))
    assert caught.value.note.failed
    assert (caught.value.note.path, caught.value.note.line) == ("m.py", line)
    assert message in caught.value.note.message
    assert str(caught.value).startswith(f"m.py:{line}: ")


def test_a_file_that_vanished_or_is_locked_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"^gone\.py: cannot be read"):
        load_source("gone.py")


def test_odd_escapes_in_strings_are_nobodys_business(folder: Path, recwarn: pytest.WarningsRecorder) -> None:
    parse("m.py", "x = '\\d'\n")
    assert not recwarn.list


# --- targets ---------------------------------------------------------------------------------------------

SOURCE = """
import torch
from torch import nn

def plain(x):
    def inner(y):
        class Local:
            def method(self): ...
        return y
    return inner(x)

async def waits(): ...

class Focal(nn.Module):
    def __init__(self): ...
    def forward(self, x):
        def helper(z): ...
    if True:
        @property
        def late(self): ...

class Below(Focal):
    def forward(self, x): ...

class Dice(_Loss, Generic[T]):
    def forward(self, x): ...

class Typed(Module[int]):
    def forward(self, x): ...

class Other(dict):
    def forward(self, x): ...

try:
    def tried(): ...
except ImportError:
    def tried(): ...
match 1:
    case 1:
        def matched(): ...
"""


def test_every_function_and_method_is_a_target() -> None:
    found = targets("m.py", parse("m.py", SOURCE))
    assert [(target.name, target.kind) for target in found] == [
        ("plain", "function"),
        ("plain.inner", "function"),
        ("plain.inner.Local.method", "method"),
        ("waits", "function"),
        ("Focal.__init__", "method"),
        ("Focal.forward", "module"),
        ("Focal.forward.helper", "function"),
        ("Focal.late", "method"),
        ("Below.forward", "module"),
        ("Dice.forward", "module"),
        ("Typed.forward", "module"),
        ("Other.forward", "method"),
        ("tried", "function"),
        ("tried", "function"),
        ("matched", "function"),
    ]
    assert {target.capture for target in found} == {"read"}
    assert (found[0].span.line, found[0].span.column, found[0].span.end_line) == (5, 0, 10)


def test_a_deep_tree_is_walked_without_recursion() -> None:
    depth = 90  # Python itself allows 100 levels of indentation
    lines = [f"{' ' * level}def f{level}():" for level in range(depth)] + [" " * depth + "pass"]
    assert len(targets("m.py", parse("m.py", "\n".join(lines)))) == depth
    chain = "if x: pass\n" + "elif x: pass\n" * 2000
    assert targets("m.py", parse("m.py", chain)) == ()


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("Focal.forward", None, True),
        ("Focal.forward", ("Focal",), True),
        ("Focal.forward", ("Focal.forward",), True),
        ("plain.inner", ("plain",), True),
        ("plain", ("plain.inner",), False),
        ("FocalLoss.forward", ("Focal",), False),
    ],
)
def test_a_name_asks_for_what_is_inside_it(name: str, names: tuple[str, ...] | None, expected: bool) -> None:
    assert wanted(name, names) is expected


def test_a_name_that_is_not_there_names_the_nearest() -> None:
    tree = parse("m.py", SOURCE)
    assert check_names("m.py", tree, ("Focal", "Focal.forward", "plain.inner", "plain.inner.Local")) == []
    (note,) = check_names("m.py", tree, ("Focall",))
    assert note.failed
    assert note.path == "m.py::Focall"
    assert "did you mean 'Focal'" in note.message
    (note,) = check_names("m.py", parse("m.py", ""), ("f",))
    assert "no function or class" in note.message
