"""The language server, as an editor meets it: over standard input and output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from editor import Editor, edited

from nanguard.errors import NanguardError
from nanguard.finding import Edit, Span
from nanguard.server.positions import Positions
from nanguard.server.session import OPTIONS, options

LOSS = "import torch\n\n\ndef loss(x):\n    return '𝒳é', -torch.log(torch.sigmoid(x))\n"
STABLE = LOSS.replace("torch.log(torch.sigmoid(x))", "torch.nn.functional.logsigmoid(x)")
TWO = "import torch\n\n\ndef loss(x, y):\n    return torch.log(torch.sigmoid(x)) + torch.log(1 - torch.sigmoid(y))\n"
CLEAN = "import torch\n\n\ndef loss(x):\n    return x.mean()\n"
EVERYWHERE = {"start": {"line": 0, "character": 0}, "end": {"line": 99, "character": 0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def editor(folder: Path) -> Iterator[Editor]:
    """An editor whose server has torch, which takes seconds to load; at the end it goes without a word.

    It takes edits for one version of a document.
    """
    capabilities = {"workspace": {"workspaceEdit": {"documentChanges": True}}}
    with Editor(folder, {"ignore": ["NG103", "NG2"]}, capabilities) as editor:
        yield editor
        assert ended(editor, editor.vanish) == 0


@pytest.fixture
def file(folder: Path, request: pytest.FixtureRequest) -> Path:
    """The path of a file of the test's own."""
    return folder / f"{request.node.originalname}.py"


def ended(editor: Editor, end: Callable[[], int]) -> int:
    """The exit status of the server, which leaves no process behind."""
    family = descendants(editor.pid)
    assert family, "torch is loaded in a process of its own"
    status = end()
    limit = time.monotonic() + 10
    while (left := [pid for pid in family if os.path.exists(f"/proc/{pid}")]) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not left
    return status


def descendants(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task")
    listed = [child for task in path.glob("*/children") for child in map(int, task.read_text().split())]
    return [*listed, *(below for child in listed for below in descendants(child))]


def codes(diagnostics: list[Any]) -> list[str]:
    return [diagnostic["code"] for diagnostic in diagnostics]


def made(action: Any) -> list[Any]:
    """The edits of an action, which are for the first version of the document."""
    (change,) = action["edit"]["documentChanges"]
    assert change["textDocument"]["version"] == 1
    edits: list[Any] = change["edits"]
    return edits


def saved(editor: Editor, file: Path, text: str) -> list[Any]:
    """The diagnostics after a file has been saved."""
    before = editor.published
    editor.save(file, text)
    editor.until(lambda: editor.published > before)
    return editor.diagnostics[file.as_uri()]


def test_a_finding_is_shown_explained_and_fixed(editor: Editor, file: Path) -> None:
    file.write_text(LOSS)
    uri = editor.open(file)
    (found,) = editor.found(uri)
    assert (found["code"], found["severity"], found["source"]) == ("NG101", 1, "nanguard")
    assert found["codeDescription"]["href"] == (Path(__file__).parent.parent / "docs/rules/NG101.md").as_uri()
    assert "logsigmoid(x)" in found["message"]
    assert found["range"]["start"] == {"line": 4, "character": 19}  # 𝒳 counts as two, é as one
    assert found["range"]["end"] == {"line": 4, "character": 46}

    hover = editor.hover(uri, 4, 30)
    assert hover["range"] == found["range"]
    assert hover["contents"]["kind"] == "markdown"
    assert "| value | -inf | -89 |" in hover["contents"]["value"]
    assert "## Why is this bad?" in hover["contents"]["value"]
    assert editor.hover(uri, 0, 3) is None

    stable, clamped, ignored, every = editor.actions(uri, found["range"])
    assert [action["kind"] for action in (stable, clamped, ignored)] == ["quickfix"] * 3
    assert every["kind"] == "source.fixAll.nanguard"
    assert (stable["isPreferred"], clamped["isPreferred"]) == (True, False)
    assert "unsafe" in clamped["title"]
    assert "unsafe" not in stable["title"]
    edits = made(stable)
    assert edited(LOSS, edits) == STABLE
    assert found["data"]["fixes"][0]["edits"] == edits

    assert saved(editor, file, edited(LOSS, edits)) == []
    assert editor.hover(uri, 4, 30) is None
    assert editor.actions(uri, EVERYWHERE) == []


def test_text_that_is_not_saved_is_not_checked(editor: Editor, file: Path) -> None:
    file.write_text(CLEAN)
    uri = editor.open(file)
    assert editor.found(uri) == []
    before = editor.published
    editor.change(uri, LOSS)
    assert editor.hover(uri, 4, 30) is None
    assert editor.actions(uri, EVERYWHERE) == []
    assert editor.published == before
    assert codes(saved(editor, file, LOSS)) == ["NG101"]


def test_nothing_is_offered_for_text_that_has_changed(editor: Editor, file: Path) -> None:
    file.write_text(LOSS)
    uri = editor.open(file)
    (found,) = editor.found(uri)
    editor.change(uri, "# a line more\n" + LOSS)
    assert editor.actions(uri, EVERYWHERE) == []
    assert editor.hover(uri, 5, 30) is None
    editor.change(uri, LOSS)  # taken back
    assert len(editor.actions(uri, found["range"])) == 4


def test_a_result_waits_for_the_text_it_is_about(editor: Editor, file: Path) -> None:
    file.write_text(LOSS)
    uri = editor.open(file, text="# not saved\n" + LOSS)  # as after a crash of the editor
    other = file.with_name("other.py")
    other.write_text(LOSS)
    editor.found(editor.open(other))  # the latest comes first; the other one soon
    assert uri not in editor.diagnostics or editor.diagnostics[uri] == []
    editor.change(uri, LOSS)
    assert codes(editor.found(uri)) == ["NG101"]


def test_closing_takes_the_diagnostics_away(editor: Editor, file: Path) -> None:
    file.write_text(LOSS)
    uri = editor.open(file)
    assert editor.found(uri)
    editor.close(uri)
    editor.until(lambda: editor.diagnostics[uri] == [])


def test_all_safe_fixes_at_once(editor: Editor, file: Path) -> None:
    text = TWO.replace("\n", "\r\n")
    file.write_bytes(text.encode())
    uri = editor.open(file)
    assert codes(editor.found(uri)) == ["NG101", "NG102"]
    (every,) = editor.actions(uri, EVERYWHERE, only=["source.fixAll"])
    fixed = edited(text, made(every))
    assert fixed.count("logsigmoid") == 2
    assert fixed.count("\r\n") == fixed.count("\n") == text.count("\n")
    assert {action["kind"] for action in editor.actions(uri, EVERYWHERE, only=["quickfix"])} == {"quickfix"}
    assert editor.actions(uri, EVERYWHERE, only=["refactor"]) == []
    assert saved(editor, file, fixed) == []


def test_a_newer_save_ends_an_older_check(editor: Editor, file: Path) -> None:
    """The first text never ends, so its process would run until the time limit of 20 seconds."""
    file.write_text(CLEAN)
    uri = editor.open(file)
    assert editor.found(uri) == []
    endless = "MANY = [0 for _ in iter(int, 1)]\n" + LOSS
    editor.save(file, endless)
    time.sleep(1.0)  # it runs now
    began = time.monotonic()
    assert editor.hover(uri, 0, 0) is None  # the editor gets its answers meanwhile
    assert time.monotonic() - began < 2
    assert codes(saved(editor, file, LOSS)) == ["NG101"]
    assert time.monotonic() - began < 15


def test_files_around_are_imported_anew(editor: Editor, folder: Path) -> None:
    """The second file of a package is run where the package has been imported once; here it would be stale."""
    package = folder / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    other, file = package / "squash.py", package / "loss.py"
    text = (
        "import torch\nfrom .squash import SQUASH\n\n\n"
        "def loss(x):\n    return torch.log(torch.sigmoid(x)) + torch.log(SQUASH(x + 1))\n"
    )
    file.write_text(text)
    other.write_text("import torch\nSQUASH = getattr(torch, 'sigmoid')\n")
    uri = editor.open(file)
    assert codes(editor.found(uri)) == ["NG101", "NG101"]
    assert codes(saved(editor, file, text)) == ["NG101", "NG101"]
    other.write_text("import torch\nSQUASH = getattr(torch, 'cosh')\n")
    assert codes(saved(editor, file, text)) == ["NG101", "NG116"]


def test_files_around_are_read_anew(editor: Editor, folder: Path) -> None:
    other, file = folder / "helper.py", folder / "uses_helper.py"
    text = "import torch\nfrom helper import squash\n\n\ndef loss(x):\n    return torch.log(squash(x))\n"
    file.write_text(text)
    other.write_text("import torch\n\n\ndef squash(x):\n    return torch.sigmoid(x)\n")
    uri = editor.open(file)
    assert codes(editor.found(uri)) == ["NG101"]
    other.write_text("import torch\n\n\ndef squash(x):\n    return 2 + torch.sigmoid(x)\n")
    assert saved(editor, file, text) == []


def test_a_file_that_does_not_parse_loses_its_diagnostics(editor: Editor, file: Path) -> None:
    file.write_text(LOSS)
    uri = editor.open(file)
    assert editor.found(uri)
    assert saved(editor, file, "def loss(x:\n") == []
    assert codes(saved(editor, file, LOSS)) == ["NG101"]


def test_the_configuration_of_the_project(editor: Editor, folder: Path) -> None:
    """It is read with each check; the editor's own options win over it, and what it excludes is not checked."""
    project = folder / "project"
    (project / "old").mkdir(parents=True)
    configuration, file, excluded = project / "pyproject.toml", project / "loss.py", project / "old" / "loss.py"
    (project / "squash.py").write_text("import torch\nSQUASH = getattr(torch, ''.join(['sig', 'moid']))\n")
    text = TWO.replace("import torch\n", "import torch\nfrom squash import SQUASH\n").rstrip()
    text += " + torch.log(torch.softmax(x, 0)) + torch.log(SQUASH(x + 1))\n"
    file.write_text(text)
    excluded.write_text(text)
    configuration.write_text('[tool.nanguard]\nstatic = true\nignore = ["NG102"]\nexclude = ["old"]\n')
    uri = editor.open(file)
    assert codes(editor.found(uri)) == ["NG101", "NG102"]  # what to ignore the editor says
    configuration.write_text('[tool.nanguard]\nselect = ["NG101", "NG103"]\nexclude = ["old"]\n')
    assert codes(saved(editor, file, text)) == ["NG101", "NG101"]  # what SQUASH is shows when it is run
    assert editor.found(editor.open(excluded)) == []
    configuration.write_text('[tool.nanguard]\nselct = ["NG101"]\n')
    assert saved(editor, file, text) == []
    assert "tool.nanguard.selct is no key of nanguard's; did you mean 'select'?" in editor.messages[-1]


def test_comments_suppress_findings_or_are_wrong(editor: Editor, file: Path) -> None:
    file.write_text(LOSS.rstrip() + "  # nanguard: ignore[NG101] known\n\n\nX = 1  # nanguard: ignore\n")
    (wrong,) = editor.found(editor.open(file))
    assert (wrong["code"], wrong["severity"]) == ("NG003", 2)
    assert wrong["range"] == {"start": {"line": 7, "character": 0}, "end": {"line": 7, "character": 25}}


def test_a_comment_suppresses_a_finding(editor: Editor, file: Path) -> None:
    file.write_text(LOSS)
    uri = editor.open(file)
    (found,) = editor.found(uri)
    (action,) = [action for action in editor.actions(uri, found["range"]) if "ignore" in action["title"]]
    text = edited(LOSS, made(action))
    assert text == LOSS.rstrip("\n") + "  # nanguard: ignore[NG101]\n"
    assert saved(editor, file, text) == []


def test_without_torch_what_is_possible_is_shown(folder: Path, file: Path) -> None:
    """And options that are wrong are told, and not used."""
    file.write_text(LOSS)
    command = ("-c", "import sys; sys.modules['torch'] = None; from nanguard.cli import main; main(['server'])")
    with Editor(folder, {"statc": True}, command=command) as editor:
        found = editor.found(editor.open(file))
        assert "NG101" in codes(found)
        assert {diagnostic["severity"] for diagnostic in found} == {3}  # information
        uri = file.as_uri()
        action = editor.actions(uri, EVERYWHERE, only=["quickfix"])[0]
        assert edited(LOSS, action["edit"]["changes"][uri]) == STABLE
        wrong, missing = editor.messages
        assert "unknown 'statc'; did you mean 'static'?" in wrong
        assert "torch is not installed" in missing
        assert editor.leave() == 0


def test_without_pygls_one_line_says_what_brings_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['pygls'] = None; from nanguard.cli import main; main(['server'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nanguard: error: the language server needs pygls; install it: pip install 'nanguard[lsp]'\n"


# --- the parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, wanted",
    [
        (None, {}),
        ({}, {}),
        ({"select": ["NG1"], "ignore": ["NG101"]}, {"select": ("NG1",), "ignore": ("NG101",)}),
        ({"static": True}, {"static": True}),
    ],
)
def test_options(given: object, wanted: dict[str, object]) -> None:
    assert {name: said.value for name, said in options(given).items()} == wanted


@pytest.mark.parametrize(
    "given, message",
    [
        ({"selct": ["NG1"]}, "initialization options: unknown 'selct'; did you mean 'select'?"),
        ({"fixable": ["NG1"]}, "initialization options: unknown 'fixable'; known are select, ignore, static"),
        ({"static": "yes"}, "initialization options: static is the text 'yes'; give true or false"),
        ({"ignore": "NG1"}, "initialization options: ignore is the text 'NG1'; give a list of rules"),
        ([], "initialization options: [] is no object"),
    ],
)
def test_options_that_cannot_be_followed(given: object, message: str) -> None:
    with pytest.raises(NanguardError, match=re.escape(message)):
        options(given)


def test_the_documentation_names_the_options() -> None:
    text = (Path(__file__).parent.parent / "docs" / "editor.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == OPTIONS


@pytest.mark.parametrize("encoding, columns", [("utf-8", (7, 8)), ("utf-16", (4, 5)), ("utf-32", (3, 4))])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_columns_in_the_units_of_the_editor(encoding: str, columns: tuple[int, int], end: str) -> None:
    positions = Positions(f"a{end}é𝒳 b\x0c{end}", encoding)
    found = positions.range(Span("x.py", 2, 7, 2, 8))
    assert (found.start.line, found.end.line) == (1, 1)
    assert (found.start.character, found.end.character) == columns


def test_edits_that_overlap_are_not_made_together() -> None:
    positions = Positions("import torch\nfirst(second(x))\n")
    outer, inner = Edit(Span("x.py", 2, 0, 2, 16), "a"), Edit(Span("x.py", 2, 6, 2, 15), "b")
    shared = Edit(Span("x.py", 1, 0, 1, 0), "import math\n")
    assert positions.apart([(shared, outer), (shared, inner)]) == [shared, outer]
