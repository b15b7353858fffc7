"""Files, folders, settings and disks that nobody would want: one line of error at worst, and nothing is lost."""

from __future__ import annotations

import encodings.aliases
import io
import json
import os
import random
import resource
import signal
import socket
import sys
import threading
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest
from inprocess import in_process

from nanguard.cli import main
from nanguard.errors import NanguardError
from nanguard.matching import rules
from nanguard.reading.discover import SourceFile
from nanguard.reading.files import Files
from nanguard.repair import sourcetext
from nanguard.running import checking, wire
from nanguard.settings import Settings

LOSS = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
FIXED = "import torch\n\n\ndef loss(x):\n    return -torch.nn.functional.logsigmoid(x)\n"
HAZARD = "torch.log(torch.sigmoid(x))"
RETURNS = "import torch\ndef f(x):\n    return "
LIMIT = 30.0  # seconds that any run here may take, on a slow machine


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("nanguard: error: ")]


@contextmanager
def limited(seconds: float = LIMIT) -> Iterator[None]:
    """Fail, rather than wait for ever."""

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"took more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """nanguard in this process, which has torch loaded, on what can be read; nothing of the files is run."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *arguments: str) -> Outcome:
        checks = ("--static", "--jobs", "1") if command == "check" else ()
        checks += ("--no-cache",) if checks and not any("--cache-dir" in argument for argument in arguments) else ()
        with limited(), pytest.raises(SystemExit) as caught:
            main([command, *checks, *arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert "internal error" not in printed.err
        return Outcome(int(caught.value.code or 0), printed.out, printed.err)

    with in_process():
        yield run


def tree(folder: Path) -> dict[str, bytes]:
    """What all files below a folder hold, by their names."""
    return {os.fsdecode(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what a file holds -----------------------------------------------------------------------------------

# Files that are checked: the line at which the hazard is found, None for a file without one.
READ: dict[str, tuple[str | bytes, int | None]] = {
    "empty": ("", None),
    "blanks": (" " * 1_000_000, None),
    "long": ("import torch\n" + "# a\ny = 1\n# b\n\n\n\n\n\n\n\n" * 9_900 + LOSS[14:], 99_004),
    "one-function": ("import torch\ndef f(x):\n" + "    x = x + 1\n" * 1_000 + f"    return {HAZARD}\n", 1_003),
    "functions": ("".join(f"def f{n}(x):\n    return x\n" for n in range(1_000)) + LOSS, 2_005),
    "parentheses": (f"{RETURNS}{'(' * 150}{HAZARD}{')' * 150}\n", 3),
    "terms": (f"{RETURNS}{' + '.join([HAZARD] + ['x'] * 300)}\n", 3),
    "powers": (f"N = 9**9**9\nM = 10**10\nK = M**M\nS = 1 << 10**10\n{LOSS}", 9),
    "texts": (f"T = 'a' * 10**10\nL = [0] * 10**10\n{LOSS}", 7),
    "squares": ("n = 3\n" + "n = n * n\n" * 60 + LOSS, 66),
    "big-integer": (f"N = 1{'0' * 4000}\nM = 0x{'f' * 10_000}\n{LOSS}def g(x):\n    return torch.log(x * N + M)\n", 7),
    "doubling": (RETURNS.replace("return ", "y = x\n") + "    y = y + y\n" * 60 + f"    return {HAZARD} + y\n", 64),
    "doubling-lists": ("s = [0]\n" + "s = s + s\n" * 60 + LOSS, 66),
    "doubling-texts": ("s = 'a'\n" + "s = s + s\n" * 60 + LOSS, 66),
    "range": (f"{RETURNS}sum({HAZARD} for i in range(10**12))\n", 3),
    "repeated": (f"import torch\ndef f(x):\n    a, b = [x] * 10**9\n    return {HAZARD}\n", 4),
    "strings": ("".join(f"s{n} = '{'a' * 10_000}'\n" for n in range(1_000)) + LOSS, 1_005),
    "one-string": (f"s = '{'a' * 2_000_000}'\n{LOSS}", 6),
    "comment": (f"#{'#' * 2_000_000}\n{LOSS}", 6),
    "table": (f"d = {{{''.join(f'{n}: {n},' for n in range(5_000))}}}\n{LOSS}", 6),
    "tuple": (f"d = ({'1,' * 10_000})\n{LOSS}", 6),
    "parameters": (f"import torch\ndef f(x, {','.join(f'a{n}' for n in range(5_000))}):\n    return {HAZARD}\n", 3),
    "no-tensor": (f"import torch\ndef f(x):\n    d = {{}}\n    return x if d.requires_grad else {HAZARD}\n", 4),
    "recursion": (f"{RETURNS}f(f(f(f(x)))) + {HAZARD}\n", 3),
    "own-base": (f"class A(A): pass\nclass B(C): pass\nclass C(B): pass\n{LOSS}", 8),
    "diamonds": (
        "class A0: pass\nclass B0: pass\n"
        + "".join(f"class A{n + 1}(A{n}, B{n}): pass\nclass B{n + 1}(A{n}, B{n}): pass\n" for n in range(25))
        + f"import torch\nclass M(A25, B25):\n    def forward(self, x):\n        self.no()\n        return {HAZARD}\n",
        57,
    ),
    "decorators": ("import torch\n" + "@d\n" * 2_000 + f"def f(x):\n    return {HAZARD}\n", 2_003),
    "nested-functions": (
        "import torch\n" + "".join(" " * n + f"def f{n}(x):\n" for n in range(95)) + " " * 95 + f"return {HAZARD}\n",
        97,
    ),
    "directives": ("x = 1  # nanguard: ignore[NG101]\n" * 500 + LOSS, 505),
    "broken-directive": (f"# nanguard: ignore[{'A,' * 50_000}\n{LOSS}", 6),
    "codes": (f"# noqa: {'A1 ' * 1_000}!\n{LOSS}", 6),
    "marks": (f"#{' # nanguard:' * 5_000}\n{LOSS}", 6),
    "crlf": (LOSS.replace("\n", "\r\n"), 5),
    "cr": (LOSS.replace("\n", "\r"), 5),
    "line-ends": (LOSS.replace("\n", "\r", 1).replace("\n", "\r\n", 1), 5),
    "form-feeds": (LOSS.replace("\n\n", "\n\f\n\f").replace("return", "y = '\f'; return"), 5),
    "separators": (f"s = '\x85\u2028\u2029'\n{LOSS}", 6),
    "mark": (b"\xef\xbb\xbf" + LOSS.encode(), 5),
    "no-end": (LOSS.rstrip(), 5),
    "surrogate": (f"s = '\\ud800'\n{LOSS}", 6),
    "tabs": (LOSS.replace("    ", "\t"), 5),
}  # fmt: skip

# Files that are not: the line that the error names, and a word of what it says.
REFUSED: dict[str, tuple[str | bytes, int, str]] = {
    "parentheses": (f"{RETURNS}{'(' * 5_000}x{')' * 5_000}\n", 3, "nested"),
    "terms": (f"{RETURNS}{' + '.join(['x'] * 10_000)}\n", 1, "nested too deeply"),
    "signs": (f"{RETURNS}{'-' * 20_000}x\n", 1, "nested too deeply"),
    "attributes": (f"{RETURNS}x{'.a' * 20_000}\n", 1, "nested too deeply"),
    "subscripts": (f"{RETURNS}x{'[0]' * 20_000}\n", 1, "nested too deeply"),
    "lambdas": (f"{RETURNS}{'lambda: ' * 20_000}x\n", 1, "nested"),
    "brackets": ("[" * 5_000, 1, "nested"),
    "blocks": ("".join(" " * n + "if a:\n" for n in range(150)), 101, "indentation"),
    "digits": (f"N = {'9' * 10_000}\n", 1, "digits"),
    "null": ("x = 1\n\0\n", 2, "null byte"),
    "nulls": ("\0" * 10_000, 1, "null byte"),
    "utf-16": (b"\xff\xfe" + "x = 1\n".encode("utf-16-le"), 1, "not UTF-8"),
    "utf-16-be": (b"\xfe\xff" + "x = 1\n".encode("utf-16-be"), 1, "not UTF-8"),
    "utf-32": (b"\xff\xfe\0\0" + "x = 1\n".encode("utf-32-le"), 1, "not UTF-8"),
    "two-marks": (b"\xef\xbb\xbf\xef\xbb\xbfx = 1\n", 1, "U+FEFF"),
    "mark-and-cookie": (b"\xef\xbb\xbf# coding: latin-1\nx = 1\n", 1, "encoding"),
    "latin-1": ("x = 1\ns = 'é'\n".encode("latin-1"), 2, "not UTF-8"),
    "binary": (bytes(range(1, 256)) * 100, 2, "not UTF-8"),
    "mixed-tabs": ("def f(x):\n\tif x:\n        return 1\n", 3, "tabs"),
    "vertical-tab": ("x = 1\n\vy = 2\n", 2, "U+000B"),
    "end-of-file": (f"{LOSS}\x1a", 6, "U+001A"),
    "backslash": (f"{LOSS}\\", 6, "unexpected EOF"),
    "text": ("s = '''abc", 1, "unterminated"),
    "escape": ("s = '\\N{nonsense}'\n", 1, "unicode"),
}


@pytest.mark.parametrize("name", READ)
def test_odd_files_are_checked(name: str, run: Run, tmp_path: Path) -> None:
    text, line = READ[name]
    Path("odd.py").write_bytes(text.encode() if isinstance(text, str) else text)
    before = tree(tmp_path)
    outcome = run("check", "-q", "--format", "concise", "odd.py")
    assert outcome.errors == []
    assert [int(found.split(":")[1]) for found in outcome.out.splitlines()] == ([line] if line else [])
    assert outcome.status == (1 if line else 0)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_python_are_named(name: str, run: Run, tmp_path: Path) -> None:
    """...and the others of the run are checked all the same."""
    text, line, word = REFUSED[name]
    Path("odd.py").write_bytes(text.encode() if isinstance(text, str) else text)
    Path("loss.py").write_text(LOSS)
    before = tree(tmp_path)
    outcome = run("check", "--fix", "--format", "concise", "odd.py")
    assert outcome.status == 2
    assert [error.startswith(f"nanguard: error: odd.py:{line}: ") and word in error for error in outcome.errors] == [
        True
    ]
    assert tree(tmp_path) == before


def test_a_file_that_is_no_python_leaves_the_others_alone(run: Run) -> None:
    for number, (text, _, _) in enumerate(REFUSED.values()):
        Path(f"odd{number:02}.py").write_bytes(text.encode() if isinstance(text, str) else text)
    Path("loss.py").write_text(LOSS)
    outcome = run("check", "--fix", "--format", "concise", ".")
    assert outcome.status == 2
    assert len(outcome.errors) == len(REFUSED)
    assert Path("loss.py").read_text() == FIXED


def python_reads(data: bytes) -> bool:
    """Whether Python takes the bytes for a module."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        compile(data.decode(encoding), "odd.py", "exec")
    except (SyntaxError, ValueError, LookupError):
        return False
    return True


def test_every_encoding_that_can_be_declared(run: Run) -> None:
    """Known and unknown ones, those of text and those that are none, declared rightly and wrongly."""
    names = sorted({*encodings.aliases.aliases.values(), "utf8", "utf-8-sig", "idna", "unicode_escape", "no-such", "-"})
    texts = {}
    for name in names:
        for number, letter in enumerate("eé€"):
            source = f"# -*- coding: {name} -*-\ns = '{letter}'\n"
            texts[f"{name}{number}.py"] = source.encode("latin-1", "replace") if number else source.encode()
            try:
                texts[f"{name}{number}-own.py"] = source.encode(name)
            except (LookupError, ValueError, TypeError):
                continue
    for path, data in texts.items():
        Path(path).write_bytes(data)
    outcome = run("check", "-q", ".")
    refused = {error.removeprefix("nanguard: error: ").partition(":")[0] for error in outcome.errors}
    assert refused == {path for path, data in texts.items() if not python_reads(data)}
    assert len(outcome.errors) == len(refused) == len(outcome.err.splitlines())
    assert 20 < len(refused) < len(texts) - 100


# --- what stands in a folder -----------------------------------------------------------------------------


def test_links_that_lead_in_circles(run: Run) -> None:
    Path("loss.py").write_text(LOSS)
    Path("inner").mkdir()
    os.symlink("..", "inner/up")
    os.symlink(".", "here")
    os.symlink("loop.py", "loop.py")
    os.symlink("nowhere.py", "dead.py")
    outcome = run("check", "--format", "concise", ".")
    assert outcome.status == 1
    assert [line.split(":")[0] for line in outcome.out.splitlines()] == ["loss.py"]
    assert run("check", "loop.py").errors != []


def special(name: str) -> None:
    """A pipe, a socket, or a device of that name."""
    match name.split(".")[0]:
        case "pipe":
            os.mkfifo(name)
        case "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(name)
        case "device":
            os.symlink("/dev/zero", name)
        case "folder":
            Path(name).mkdir()


@pytest.mark.parametrize("name", ["pipe.py", "socket.py", "device.py"])
def test_what_is_no_file_is_not_waited_for(name: str, run: Run) -> None:
    special(name)
    Path("loss.py").write_text(LOSS)
    outcome = run("check", "--format", "concise", ".")
    assert (outcome.status, outcome.errors) == (1, [])
    assert outcome.out.startswith("loss.py:5:13: NG101 ")
    outcome = run("check", name, "loss.py")
    assert outcome.status == 2
    assert outcome.errors == [f"nanguard: error: {name}: not a regular file; name a .py file or a folder"]


@pytest.mark.parametrize("name", ["pyproject.toml", "nanguard.toml", ".gitignore"])
def test_settings_that_are_no_file_are_not_waited_for(name: str, run: Run) -> None:
    os.mkfifo(name)
    Path("loss.py").write_text(LOSS)
    assert run("check", ".").status == 1


@pytest.mark.skipif(not os.path.isfile("/proc/self/mem"), reason="has no file that even root cannot read")
def test_an_unreadable_file(run: Run) -> None:
    Path("loss.py").write_text(LOSS)
    os.symlink("/proc/self/mem", "odd.py")
    for paths in (["odd.py", "loss.py"], ["."]):
        outcome = run("check", "--format", "concise", *paths)
        assert outcome.status == 2
        assert [error.startswith("nanguard: error: odd.py: cannot be read (") for error in outcome.errors] == [True]
        assert outcome.out.startswith("loss.py:5:13: NG101 ")


def gone(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("happens", [gone, folder, pipe])
def test_a_file_that_vanishes_before_it_is_read(
    happens: Callable[[Path], None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("odd.py").write_text(LOSS)
    Path("loss.py").write_text(LOSS)

    def found(self: Files) -> Iterator[SourceFile]:
        listed = list(iterate(self))
        happens(Path("odd.py"))
        return iter(listed)

    iterate = Files.__iter__
    monkeypatch.setattr(Files, "__iter__", found)
    outcome = run("check", "--format", "concise", ".")
    assert outcome.status == 2
    assert [error.startswith("nanguard: error: odd.py: cannot be read (") for error in outcome.errors] == [True]
    assert outcome.out.startswith("loss.py:5:13: NG101 ")


@pytest.mark.parametrize("happens", ["vanishes", "changes", "breaks", "becomes a folder"])
def test_a_file_that_changes_between_check_and_fix(
    happens: str, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = Path("odd.py")
    odd.write_text(LOSS)
    Path("loss.py").write_text(LOSS)

    def check(*arguments: object, **given: object) -> object:
        report = checking.check_paths(*arguments, **given)  # type: ignore[arg-type]
        match happens:
            case "vanishes":
                odd.unlink()
            case "changes":
                odd.write_text("# mine\n" + LOSS)
            case "breaks":
                odd.write_text("(")
            case "becomes a folder":
                folder(odd)
        return report

    monkeypatch.setattr("nanguard.repair.fixing.check_paths", check)
    outcome = run("check", "--fix", "odd.py", "loss.py")
    assert outcome.status == 2
    assert [error.startswith("nanguard: error: odd.py: not fixed, since it ") for error in outcome.errors] == [True]
    assert Path("loss.py").read_text() == FIXED
    assert not odd.is_file() or odd.read_text() in ("# mine\n" + LOSS, "(")
    assert {entry.name for entry in tmp_path.iterdir()} <= {"odd.py", "loss.py"}


NAMES = [b"a b.py", b"it's.py", b'"q".py', b"a\nb.py", b"-fix.py", b"--.py", b"\xff\xfe.py", b"\x1b[31mred.py",
         b"$(x);.py", b"a:1.py", b"a::b.py",
         b"*.py", b"[a].py", "é\u202e.py".encode(), b"\t.py", b"%s{}.py", b"\\n.py"]  # fmt: skip


def test_odd_names(run: Run) -> None:
    """Found in a folder and named alone; the machine's report gives them as they are, the others in one line."""
    for name in NAMES:
        Path(os.fsdecode(name)).write_text(LOSS)
    outcome = run("check", "--format", "json", ".")
    assert outcome.status == 1
    found = {finding["path"] for finding in json.loads(outcome.out)["findings"]}
    assert found == {os.fsdecode(name).encode("utf-8", "backslashreplace").decode() for name in NAMES}
    outcome = run("check", "-q", "--format", "concise", ".")
    assert len(outcome.out.splitlines()) == len(NAMES)
    assert "\x1b" not in outcome.out
    alone = [f"{os.fsdecode(name)}::loss" for name in NAMES]
    outcome = run("check", "-q", "--format", "concise", "--select", "NG101", "--", *alone)
    assert (outcome.status, outcome.err, outcome.out.count("NG101")) == (1, "", len(NAMES))
    assert run("check", "--fix", ".").status == 0
    assert {Path(os.fsdecode(name)).read_text() for name in NAMES} == {FIXED}


def test_an_odd_name_in_an_error(run: Run) -> None:
    for name in NAMES:
        Path(os.fsdecode(name)).write_text("(")
    outcome = run("check", "-q", ".")
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == len(outcome.errors) == len(NAMES)
    assert "\x1b" not in outcome.err


def test_a_name_that_is_no_text_reaches_the_worker() -> None:
    request = wire.Request(1, os.fsdecode(b"\xff.py"), LOSS, Settings(), None, False)
    assert wire.loads(wire.Request, wire.dumps(request)) == request


# --- settings --------------------------------------------------------------------------------------------

CONFIGURATIONS = {
    "[tool.nanguard\n": ":1: ",
    "[tool.nanguard]\nselect = [\n": ":2: ",
    "[tool.nanguard]\nselect = 'NG1'\nselect = 'NG2'\n": ":3: ",
    "[tool]\nnanguard = 1\n": "no table",
    "[[tool.nanguard]]\n": "no table",
    "tool = 'nanguard'\n[tool.nanguard]\n": ":2: ",
    "[tool.nanguard]\nselect = {a = 1}\n": "select",
    "[tool.nanguard]\nselect = [[['NG1']]]\n": "select",
    "[tool.nanguard]\njobs = -1\n": "jobs",
    "[tool.nanguard]\njobs = 1e400\n": "jobs",
    "[tool.nanguard]\ntimeout = nan\n": "timeout",
    "[tool.nanguard]\ntimeout = 1979-05-27\n": "timeout",
    "[tool.nanguard]\ndtype = ['float31']\n": "dtype",
    "[tool.nanguard]\nexclude = [1, true]\n": "exclude",
    "[tool.nanguard]\nbaseline = ['a']\n": "baseline",
    "[tool.nanguard]\n__class__ = 1\n": "__class__",
    "[tool.nanguard]\n'a\\u001b[31m\\nb' = 1\n": "no key",
    f"[tool.nanguard]\njobs = {'9' * 10_000}\n": "too long",
    f"[tool.nanguard]\nselect = {'[' * 10_000}{']' * 10_000}\n": "nested too deeply",
    "[tool.nanguard]\n# \ufffe\0\n": ":2: ",
}


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
def test_broken_configurations(text: str, run: Run) -> None:
    Path("pyproject.toml").write_text(text)
    Path("loss.py").write_text(LOSS)
    outcome = run("check", "--fix", "loss.py")
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("nanguard: error: pyproject.toml:")
    assert CONFIGURATIONS[text] in outcome.err
    assert "\x1b" not in outcome.err
    assert Path("loss.py").read_text() == LOSS


def test_a_configuration_of_ten_megabytes(run: Run) -> None:
    Path("pyproject.toml").write_text(f"[tool.other]\ntext = '{'a' * 2_000_000}'\n[tool.nanguard]\nignore = ['ALL']\n")
    Path("loss.py").write_text(LOSS)
    assert run("check", "loss.py").status == 0


# --- rules -----------------------------------------------------------------------------------------------

RULE = 'code = "XX001"\nname = "x"\nhazard = "forward-nonfinite"\nsummary = "s"\nmatch = [{}]\n'
EXPRESSIONS = [
    "x.__class__", "().__class__.__bases__", "log.__globals__", "__import__('os').system('true')", "eval('1')",
    "exec('1')", "open('f')", "(lambda: 1)()", "[log(x) for x in y]", "{log(x)}", "log(*x)", "log(**x)", "x[0]",
    "x if y else z", "(y := log(x))", "log(f'{x}')", "log(b'x')", "log(1j)", "log(...)", "await x", "yield x",
    "log(x); log(y)", "log(x)\nimport os", "log('a' * 10**9)", "log(x) and y", "x @ y", "x << 10**9", "~x",
    "x ** 9**9**9", "log(9**9**9)", "log(x, 10**400)", "log(x) ** 10**9", f"log({'9' * 1990})",
    f"{'(' * 900}x{')' * 900}", f"{'log(' * 300}x{')' * 300}", f"{'-' * 1_900}x", " + ".join(["x"] * 450),
    f"log({'x' * 500_000})", "log(x, __class__=1)", "log(nothing(x))", "", "x", "1", "log(", "\0", "log(x)\\",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_rules_cannot_leave_their_language(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(RULE.format(json.dumps(text)))
    with limited(5), pytest.raises(NanguardError) as caught:
        rules.read([path])
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert len(message) < len(str(path)) + 400
    assert "\n" not in message


@pytest.mark.parametrize(
    "text", [f"a = {'9' * 10_000}", f"a = {'[' * 10_000}", "a = '\0'", "code = 'XX001'", "\xff", "[[rule]]\ncode = 1"]
)
def test_broken_rule_files(text: str, run: Run) -> None:
    Path("ours.toml").write_bytes(text.encode("latin-1"))
    outcome = run("check", "--rules", "ours.toml", ".")
    assert outcome.status == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("nanguard: error: ours.toml")


def test_a_rule_of_many_operands_that_match_in_any_order(run: Run) -> None:
    """Twelve factors have 479 million orders."""
    letters = "abcdefghijkl"
    Path("ours.toml").write_text(RULE.format(json.dumps(f"log({' * '.join(letters)})")))
    source = f"import torch\ndef f({', '.join(letters)}, x):\n    return "
    source += f"torch.log({' * '.join(reversed(letters))} * x) + torch.log({' * '.join(reversed(letters))} + x)\n"
    Path("many.py").write_text(source)
    assert run("check", "-q", "--rules", "ours.toml", "--select", "XX001", "many.py").errors == []


# --- the cache -------------------------------------------------------------------------------------------

CACHED = ("check", "-q", "--format", "concise", "--cache-dir", "kept", "loss.py")
GARBAGE = [b"", b"\0" * 1_000, b"{", b"[" * 100_000, b"{}", b"null", b"9" * 10_000, b"\xff\xfe", b'{"format": 1e999}']


@pytest.fixture
def pack(run: Run) -> Path:
    """The file of a cache that holds the results of a run."""
    Path("loss.py").write_text(LOSS)
    os.utime("loss.py", (1e9, 1e9))  # what was just written is not trusted to stay
    assert run(*CACHED).status == 1
    (found,) = Path("kept").glob("*.json")
    return found


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_the_cache(data: bytes, run: Run, pack: Path) -> None:
    pack.write_bytes(data)
    outcome = run(*CACHED)
    assert (outcome.status, outcome.err, outcome.out[:20]) == (1, "", "loss.py:5:13: NG101 ")


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket"])
def test_a_cache_of_what_is_no_file(kind: str, run: Run, pack: Path) -> None:
    pack.unlink()
    special(f"{kind}.x")
    os.rename(f"{kind}.x", pack)
    outcome = run(*CACHED)
    assert (outcome.status, outcome.out[:20]) == (1, "loss.py:5:13: NG101 ")
    assert outcome.errors == []


def changed(value: object, turn: random.Random) -> object:
    """Data with one part of it, at any depth, of another kind or gone."""
    if isinstance(value, dict | list) and value and turn.random() < 0.9:
        parts: list[tuple[object, object]] = list(value.items() if isinstance(value, dict) else enumerate(value))
        at = turn.randrange(len(parts))
        parts[at] = (parts[at][0], changed(parts[at][1], turn))
        return dict(parts) if isinstance(value, dict) else [part for _, part in parts]
    return turn.choice([None, True, -1, 10**400, 1e300, "", "NG101", "\ud800", [], {}, [[]], {"": None}])


def test_a_cache_that_was_tampered_with(run: Run, pack: Path) -> None:
    """Wrong data may give a wrong report, as any report that somebody has edited; it never breaks a run."""
    kept = json.loads(pack.read_text())
    turn = random.Random(20)
    for _ in range(25):
        pack.write_text(json.dumps(changed(kept, turn)))
        outcome = run(*CACHED)
        assert outcome.status in (0, 1, 2)
        assert len(outcome.errors) == (outcome.status == 2)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="has no folder that even root cannot write to")
def test_a_cache_that_cannot_be_written(run: Run) -> None:
    Path("loss.py").write_text(LOSS)
    outcome = run("check", "-v", "--format", "concise", "--cache-dir", "/proc/nowhere", "loss.py")
    assert outcome.status == 1
    assert outcome.errors == []
    assert "/proc/nowhere: results are not kept" in outcome.err


# --- the disk --------------------------------------------------------------------------------------------


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may have more than a few bytes: writing one stops half way, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fix"], "loss.py: not fixed, since it cannot be written ("),
        (["--add-ignores"], "loss.py: not fixed, since it cannot be written ("),
        (["--write-baseline=kept.json"], "kept.json: the baseline cannot be written ("),
        (["--format", "json", "-o", "kept.json"], "kept.json: cannot be written ("),
        (["--diff", "-o", "kept.json"], "kept.json: cannot be written ("),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, list) else "",
)
def test_a_full_disk(arguments: list[str], said: str, run: Run, tmp_path: Path) -> None:
    Path("loss.py").write_text(LOSS)
    Path("kept.json").write_text('{"version": 1, "findings": []}' + " " * 100)
    before = tree(tmp_path)
    with full_disk():
        outcome = run("check", *arguments, "loss.py")
    assert outcome.status == 2
    assert [error.startswith(f"nanguard: error: {said}") for error in outcome.errors] == [True]
    assert tree(tmp_path) == before


def test_a_disk_too_full_for_the_cache(run: Run, tmp_path: Path) -> None:
    Path("loss.py").write_text(LOSS)
    os.utime("loss.py", (1e9, 1e9))
    with full_disk():
        outcome = run(*CACHED)
    assert (outcome.status, outcome.errors) == (1, [])
    assert not [name for name in tree(tmp_path) if name.endswith((".json", ".tmp"))]


def test_two_fixes_at_once(tmp_path: Path) -> None:
    """One of them wins, and the other one says that the file has been changed meanwhile."""
    path = tmp_path / "loss.py"
    texts = [(f"# {number}\n" * 1_000 + FIXED).encode() for number in range(8)]
    for _ in range(10):
        path.write_text(LOSS)
        said: list[str] = []
        begin = threading.Barrier(len(texts))

        def write(after: bytes) -> None:
            begin.wait()  # noqa: B023
            try:
                sourcetext.write(str(path), LOSS.encode(), after)
            except NanguardError as error:
                said.append(str(error))  # noqa: B023

        threads = [threading.Thread(target=write, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert path.read_bytes() in texts
        assert len(said) == len(texts) - 1
        assert all("has been changed meanwhile" in message for message in said)
        assert os.listdir(tmp_path) == ["loss.py"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["fsync", "fchmod"])
def test_a_signal_in_the_middle_of_a_fix(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    """What is half written is removed, the file is as it was, and the status says which signal it was."""
    path = tmp_path / "loss.py"
    path.write_text(LOSS)
    pid = os.fork()
    if pid == 0:  # what is left of the test is the parent's
        try:
            os.chdir(tmp_path)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            setattr(os, moment, lambda *given: os.kill(os.getpid(), number))
            sys.stdout = sys.stderr = io.StringIO()
            with in_process():
                main(["check", "--static", "--no-cache", "--fix", "loss.py"])
        except SystemExit as done:
            os._exit(int(done.code or 0))
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == (130 if number == signal.SIGINT else -number)
    assert tree(tmp_path) == {str(path): LOSS.encode()}
