"""The cache: what makes a result one to be used again, and that nothing in its folder can do harm."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from inprocess import in_process

from nanguard.cache import key as key_module
from nanguard.cache.folder import is_cache, place
from nanguard.cache.store import Cache
from nanguard.cli import main
from nanguard.cli.output import render
from nanguard.finding import FileResult, Report
from nanguard.reading.discover import SourceFile
from nanguard.running.checking import check_paths
from nanguard.running.wire import Answer, Failure
from nanguard.running.worker import Worker
from nanguard.settings import Settings

HELPER = "import torch\n\n\ndef activation(x):\n    return torch.sigmoid(x)\n"
LOSS = """import torch

from constants import EPS
from helper import activation
from later import scale


def loss(x):
    return -torch.log(activation(scale(x)))


def safe(x):
    return torch.log(activation(x) + EPS)
"""
LOG_SIGMOID = "import torch\n\n\ndef loss(x):\n    return -torch.log(torch.sigmoid(x))\n"
CLEAN = "import torch\n\n\ndef add(x, y):\n    return x + y\n"
RULE = """[[rule]]
code = "XX101"
name = "log-of-cosh"
hazard = "forward-nonfinite"
summary = "log(cosh(x)) overflows"
match = ["log(cosh(x))"]
stable = "abs(x) + softplus(-2 * abs(x)) - 0.6931471805599453"
"""
STATIC = Settings(static=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    texts = {"loss.py": LOSS, "helper.py": HELPER, "constants.py": "EPS = 1e-3\n", "clean.py": CLEAN, "ours.toml": ""}
    for name, text in texts.items():
        (folder / name).write_text(text)
    aged(folder)
    return folder


def aged(folder: Path) -> None:
    """Wait until what was written is no news: what is, is looked at again instead of being trusted."""
    newest = max(path.stat().st_ctime for path in folder.iterdir())
    time.sleep(max(0.0, newest + 0.11 - time.time()))


def check(folder: Path, worker: Worker, settings: Settings = STATIC, name: str = "") -> Report:
    """Check a folder, or a file of it, with a cache beside it."""
    return check_paths([str(folder / name)], settings, worker, cache_of(folder, settings))


def cache_of(folder: Path, settings: Settings = STATIC) -> Cache:
    return Cache(folder.parent / "cache", settings)


def known(folder: Path, name: str = "loss.py", settings: Settings = STATIC) -> FileResult | None:
    """What the cache answers for a file."""
    return cache_of(folder, settings).find(SourceFile(str(folder / name)))


# --- what changes


def touched(path: Path) -> None:
    os.utime(path, (1, 1))


def in_place(path: Path, old: str, new: str) -> None:
    """Change a text to one of the same length, and put the times of the file back."""
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "nothing": (True, lambda folder: None),
    "the time of the file": (True, lambda folder: touched(folder / "loss.py")),
    "the time of a helper": (True, lambda folder: touched(folder / "helper.py")),
    "the text": (False, lambda folder: (folder / "loss.py").write_text(LOSS + "\n")),
    "the text, with its size and time kept": (False, lambda folder: in_place(folder / "loss.py", "loss", "cost")),
    "a helper": (False, lambda folder: (folder / "helper.py").write_text(HELPER.replace("sigmoid", "tanh"))),
    "a helper goes": (False, lambda folder: (folder / "helper.py").unlink()),
    "a helper appears": (False, lambda folder: (folder / "later.py").write_text("def scale(x):\n    return x\n")),
    "a helper becomes a package": (False, lambda folder: (folder / "helper").mkdir()
                                   or (folder / "helper" / "__init__.py").write_text(HELPER)),
    "the folder becomes a package": (False, lambda folder: (folder / "__init__.py").write_text("")),
    "another file appears": (True, lambda folder: (folder / "other.py").write_text(CLEAN)),
    "another file": (True, lambda folder: (folder / "clean.py").write_text("")),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_result_is_used_until_something_that_it_depends_on_changes(what: str, project: Path, worker: Worker) -> None:
    used, change = CHANGES[what]
    assert known(project) is None
    fresh = check(project, worker)
    assert {finding.code for finding in fresh.findings} == {"NG101"}
    change(project)
    assert (known(project) is not None) == used
    again = check(project, worker)
    assert again == check_paths([str(project)], STATIC, worker)
    assert known(project) is not None


SETTINGS = {
    "select": (False, ("NG1",)),
    "ignore": (False, ("NG3",)),
    "pedantic": (False, True),
    "dtypes": (False, ("float64",)),
    "timeout": (False, 7.0),
    "prefer": (False, "clamp"),
    "eps": (False, 1e-3),
    "static": (False, False),
    "rules": (False, ("ours.toml",)),
    "ignore_suppressions": (False, True),
    "root": (False, "elsewhere"),
    "baseline": (True, "known.json"),
    "exclude": (True, ("other.py",)),
    "force_exclude": (True, True),
    "shard": (True, (1, 1)),
    "per_file_ignores": (True, {"*.py": ("NG1",)}),
    "fixable": (True, ("NG1",)),
    "unfixable": (True, ("NG1",)),
    "unsafe_fixes": (True, True),
    "strict": (True, True),
    "output_format": (True, "json"),
    "color": (True, "never"),
    "cache_dir": (True, "elsewhere"),
    "silent": (True, True),
    "inputs": (False, {"loss.py::loss": {"x": "0 <= x <= 1"}}),
    "jobs": (True, 3),
    "verbose": (True, True),
    "quiet": (True, True),
}


def test_every_setting_is_classified() -> None:
    names = {field.name for field in fields(Settings)}
    assert set(SETTINGS) >= names, "say whether results depend on it, in SETTINGS and in nanguard.cache.key"
    assert names >= key_module.WITHOUT_EFFECT


@pytest.mark.parametrize("name", SETTINGS)
def test_a_result_is_for_the_settings_that_it_depends_on(name: str, project: Path, worker: Worker) -> None:
    same, value = SETTINGS[name]
    check(project, worker, name="clean.py")
    assert (known(project, "clean.py", replace(STATIC, **{name: value})) is not None) == same


def test_a_file_of_rules_is_read_for_the_key(project: Path, worker: Worker) -> None:
    settings = replace(STATIC, rules=(str(project / "ours.toml"),))
    (project / "ours.toml").write_text(RULE)
    aged(project)
    check(project, worker, settings, "clean.py")
    touched(project / "ours.toml")
    assert known(project, "clean.py", settings) is not None
    (project / "ours.toml").write_text(RULE.replace("overflows", "overflows!"))
    assert known(project, "clean.py", settings) is None


def test_another_nanguard_has_other_results(project: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    check(project, worker, name="clean.py")
    with monkeypatch.context() as patch:
        patch.setattr(key_module, "__version__", "0.0.9")
        assert known(project, "clean.py") is None
    with monkeypatch.context() as patch:
        patch.setattr(key_module, "stamp", lambda path: "edited")
        assert known(project, "clean.py") is None
    assert known(project, "clean.py") is not None


def test_the_sources_of_every_folder_and_the_rules_tell_one_checkout_from_another() -> None:
    named = {Path(line.rpartition(".py:")[0] + ".py") for line in key_module.own() if ".py:" in line}
    package = Path(key_module.__file__).parent.parent
    assert named == set(package.rglob("*.py"))
    assert sum(".toml:" in line for line in key_module.own()) == len(list((package.parent / "rules").glob("*.toml")))


def test_what_was_proved_depends_on_the_packages_that_are_installed(
    project: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    (site / "torch-2.9.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(site))
    check(project, worker)
    assert known(project) is not None
    (site / "torch-2.9.0.dist-info").rename(site / "torch-2.9.1.dist-info")
    assert known(project) is None
    assert known(project, "clean.py") is not None  # nothing was proved of it


def test_a_trace_depends_on_what_the_file_imports(project: Path, worker: Worker) -> None:
    settings = Settings()
    check(project, worker, settings)
    assert known(project, settings=settings) is not None
    touched(project / "constants.py")
    assert known(project, settings=settings) is not None
    (project / "constants.py").write_text("EPS = 1e-2\n")
    assert known(project, settings=settings) is None
    check(project, worker, settings)
    assert known(project, settings=settings) is not None
    (project / "later").mkdir()  # where there was a stub, there is a package now, though an empty one
    assert known(project, settings=settings) is None


def test_a_file_of_a_package_depends_on_what_its_package_imports(tmp_path: Path, worker: Worker) -> None:
    folder, settings = tmp_path / "pkg", Settings()
    folder.mkdir()
    texts = {"__init__.py": "from pkg import config\n", "config.py": "EPS = 0\n"}
    losses = [f"loss{number}.py" for number in range(3)]
    for name, text in (texts | dict.fromkeys(losses, LOG_SIGMOID)).items():
        (folder / name).write_text(text)
    aged(folder)
    check(folder, worker, settings)
    assert all(known(folder, name, settings) is not None for name in losses)
    (folder / "config.py").write_text("EPS = 1\n")
    assert not any(known(folder, name, settings) is not None for name in losses)


SLOW = """

def slow(x):
    while True:
        try:
            list(range(10**6))
        except BaseException:
            pass
"""


def test_what_has_run_out_of_time_is_kept_for_an_hour(
    project: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(timeout=2.0)
    (project / "loss.py").write_text(f"import constants\n\n{LOG_SIGMOID}{SLOW}")
    aged(project)
    report = check(project, worker, settings)
    assert any("took longer" in note.message for note in report.notes)
    kept = known(project, settings=settings)
    assert kept is not None
    assert kept.findings == tuple(one for one in report.findings if one.span.path.endswith("loss.py"))
    assert any("took longer" in note.message for note in kept.notes)
    assert known(project, settings=replace(settings, timeout=3.0)) is None
    (project / "constants.py").write_text("EPS = 1e-2\n")  # which it imports
    assert known(project, settings=settings) is None
    (project / "constants.py").write_text("EPS = 1e-3\n")
    assert known(project, settings=settings) is not None
    later = time.time() + 3601
    monkeypatch.setattr("nanguard.cache.store.time.time", lambda: later)
    assert known(project, settings=settings) is None
    assert known(project, "clean.py", settings) is not None


def test_what_hangs_while_it_is_loaded_is_kept_until_something_that_it_imports_changes(
    project: Path, worker: Worker
) -> None:
    settings = Settings(timeout=4.0)
    (project / "endless.py").write_text("import constants\n\nclass Hangs:\n    while True:\n        pass\n")
    (project / "loss.py").write_text(f"import endless\n\n{LOG_SIGMOID}")
    aged(project)
    report = check(project, worker, settings)
    assert any("took longer" in note.message for note in report.notes)
    kept = known(project, settings=settings)
    assert kept is not None
    assert [finding.code for finding in kept.findings] == ["NG101"]
    assert known(project, settings=replace(settings, timeout=5.0)) is None
    for name in ("endless.py", "constants.py", "loss.py"):
        text = (project / name).read_text()
        (project / name).write_text(f"{text}# changed\n")
        assert known(project, settings=settings) is None, name
        (project / name).write_text(text)
        assert known(project, settings=settings) is not None, name


def test_a_proof_that_takes_too_long_is_not_begun_again(
    project: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that proves is ended where it does not come to an end by itself, and what it knew goes with it."""
    settings = replace(STATIC, timeout=0.01)
    ended = Failure("took longer than 0.01 s (--timeout)", "time")
    with monkeypatch.context() as patch:
        patch.setattr(worker, "answer", lambda ticket, idle: Answer(ticket, failure=ended))
        report = check(project, worker, settings)
    assert any("took longer than 0.01 s" in note.message for note in report.notes)
    assert known(project, settings=settings) is not None
    later = time.time() + 3601
    monkeypatch.setattr("nanguard.cache.store.time.time", lambda: later)
    assert known(project, settings=settings) is None


def test_a_file_that_changes_while_it_is_checked_has_no_result(project: Path, worker: Worker) -> None:
    check(project, worker, name="clean.py")
    result = known(project, "clean.py")
    assert result is not None
    cache = cache_of(project, replace(STATIC, pedantic=True))
    with cache:
        cache.keep(SourceFile(str(project / "clean.py")), result, {str(project / "clean.py"): "1:1:1"}, proved=False)
    assert cache.find(SourceFile(str(project / "clean.py"))) is None


def test_a_file_that_was_just_written_is_looked_at_again(tmp_path: Path, worker: Worker) -> None:
    path = tmp_path / "clean.py"
    path.write_text(CLEAN)
    seen = {str(path): key_module.stamp(str(path))}
    with cache_of(path) as cache:
        cache.keep(SourceFile(str(path)), FileResult(str(path), (), (), ()), seen, proved=False)
    (pack,) = (tmp_path / "cache").glob("*.json")
    assert json.loads(pack.read_text())["files"][0][1] == "?"
    assert cache_of(path).find(SourceFile(str(path))) is not None


def test_a_link_is_checked_each_time(project: Path, worker: Worker) -> None:
    (project / "link.py").symlink_to(project / "clean.py")
    check(project, worker, name="link.py")
    assert known(project, "link.py") is None


# --- names, fixes and places


def test_what_is_asked_of_a_file_is_a_part_of_the_key(project: Path, worker: Worker) -> None:
    one, both = (check(project, worker, name=name) for name in ("loss.py::safe", "loss.py"))
    assert [target.name for target in one.targets] == ["safe"]
    assert [target.name for target in both.targets] == ["loss", "safe"]
    again = [check(project, worker, name=name) for name in ("loss.py::safe", "loss.py::nothing", "loss.py")]
    assert again[0] == one
    assert again[2] == both
    assert [note.failed for note in again[1].notes] == [True]


def test_comments_work_on_what_is_known_already(project: Path, worker: Worker) -> None:
    (project / "loss.py").write_text(LOG_SIGMOID.replace("(x))", "(x))  # nanguard: ignore[NG101] a reason"))
    (project / "clean.py").write_text("x = 1  # nanguard: ignore[NG101]\n")
    aged(project)
    fresh = check(project, worker)
    assert [item.reason for item in fresh.suppressed] == ["a reason"]
    assert [finding.code for finding in fresh.findings] == ["NG002"]  # nothing to suppress in clean.py
    assert check(project, worker) == fresh
    assert known(project) is not None
    assert known(project, "clean.py") is not None


def test_a_path_is_reported_as_it_was_given(project: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    check(project, worker, name="clean.py")
    monkeypatch.chdir(project)
    report = check_paths(["clean.py"], STATIC, worker, cache_of(project))
    assert report.targets[0].path == "clean.py"
    monkeypatch.chdir(project.parent)
    report = check_paths([f"project{os.sep}clean.py"], STATIC, worker, cache_of(project))
    assert report.targets[0].path == f"project{os.sep}clean.py"


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nanguard", *arguments],
        cwd=folder, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


SECOND = """
import sys
started = []
sys.addaudithook(lambda event, given: started.append(event) if event in ("os.fork", "subprocess.Popen") else None)
from nanguard.cli import main
try:
    main(sys.argv[1:])
finally:
    heavy = {"torch", "numpy", "flint", "nanguard.analyse"}
    print(*sorted(heavy & set(sys.modules)), *started, file=sys.stderr)
"""


def test_a_second_run_says_the_same_without_torch_and_without_reading(project: Path) -> None:
    (project / "bad.py").write_text("def f(:\n")
    for number in range(20):
        (project / f"clean{number}.py").write_text(CLEAN)
    aged(project)
    arguments = ("check", ".", "-v", "--static")
    first = command(project, *arguments)
    second = subprocess.run(
        [sys.executable, "-c", SECOND, *arguments], cwd=project, capture_output=True, text=True
    )  # fmt: skip
    assert second.stdout == first.stdout
    assert second.stderr == first.stderr + "\n"  # nothing heavy is loaded, no process started
    assert second.returncode == first.returncode == 2  # since bad.py does not parse
    assert is_cache(project / ".nanguard_cache")


@pytest.mark.parametrize("form", ["text", "concise", "json"])
def test_every_format_says_the_same_of_a_cached_run(form: str, project: Path, worker: Worker) -> None:
    fresh = check_paths([str(project)], STATIC, worker)
    check(project, worker)
    again = check(project, worker)
    assert render(again, again.findings, form, False) == render(fresh, fresh.findings, form, False)


def test_fixes_are_made_of_what_is_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    Path("loss.py").write_text(LOG_SIGMOID)
    with in_process():
        for options, status in (((), 1), (("--fix",), 0), ((), 0)):
            with pytest.raises(SystemExit) as caught:
                main(["check", "loss.py", "--static", *options])
            assert caught.value.code == status
    assert "logsigmoid" in Path("loss.py").read_text()


def test_the_cache_lies_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    (tmp_path / "a" / ".git").mkdir()
    assert place() == tmp_path / "a" / ".nanguard_cache"
    (inner / "nanguard.toml").write_text("")
    assert place() == inner / ".nanguard_cache"
    assert place("elsewhere") == Path("elsewhere")


# --- damage


def packs(folder: Path) -> list[Path]:
    return sorted((folder.parent / "cache").glob("*.json"))


def rewritten(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "deep": lambda path: path.write_text("[" * 100_000),
    "a list": lambda path: path.write_text("[]"),
    "a folder": a_folder,
    "not readable": lambda path: (path.unlink(), path.symlink_to(path)),
    "another version": rewritten(lambda data: data.update(format=0)),
    "another key": rewritten(lambda data: data.update(key="0")),
    "no table": rewritten(lambda data: data.update(files=None)),
    "a short table": rewritten(lambda data: data.update(files=[])),
    "a wrong table": rewritten(lambda data: data.update(files=[1] * 99)),
    "wrong rows": rewritten(lambda data: data.update(files=[["a", "b"]] * 99)),
    "no entries": rewritten(lambda data: data.update(entries=[])),
    "wrong entries": rewritten(
        lambda data: data["entries"].update({"loss.py": 1, "clean.py": [[], "", [1, 2, 3, 4, 5, 6]]})
    ),
    "a wrong number": rewritten(lambda data: data["entries"]["clean.py"].__setitem__(0, [True, -1, "x"])),
    "wrong targets": rewritten(lambda data: data["entries"]["clean.py"][2].__setitem__(0, [["add", "1", 0]])),
    "a wrong target": rewritten(lambda data: data["entries"]["clean.py"][2][0][0].__setitem__(1, True)),
    "wrong findings": rewritten(lambda data: data["entries"]["loss.py"][2].__setitem__(1, [{"code": "NG101"}])),
    "wrong notes": rewritten(lambda data: data["entries"]["loss.py"][2].__setitem__(2, {"a": 1})),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_cache_is_rebuilt(what: str, project: Path, worker: Worker) -> None:
    fresh = check(project, worker)
    for path in packs(project):
        DAMAGES[what](path)
    assert check(project, worker) == fresh
    if what != "a folder":  # that stays: it is nobody's
        assert known(project) is not None
        assert known(project, "clean.py") is not None


def failing(*arguments: object, **keywords: object) -> None:
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("what", ["os.replace", "pathlib.Path.mkdir"])
def test_a_cache_that_cannot_be_written_is_a_remark(
    what: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(what, failing)
    for options, said in (((), False), (("-v",), True)):
        with pytest.raises(SystemExit) as caught:
            main(["check", "clean.py", *options, "--cache-dir", "kept"])
        assert caught.value.code == 0
        errors = capsys.readouterr().err
        assert ("kept: results are not kept (Read-only file system)" in errors) == said
    assert not list(project.glob("kept/*.tmp"))


def test_a_folder_of_others_is_no_cache(project: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit):
        main(["check", "clean.py", "-v", "--cache-dir", "."])
    assert "other things" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["clean", "--cache-dir", "."])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("nanguard: error: .: not a cache of nanguard")
    assert (project / "clean.py").exists()


def keep_many(folder: str, names: list[str]) -> None:
    for _ in range(20):
        cache = Cache(Path(folder).parent / "cache", STATIC)
        with cache:
            for name in names:
                path = os.path.join(folder, name)
                cache.keep(SourceFile(path), FileResult(path, (), (), ()), {path: key_module.stamp(path)}, proved=False)
        assert cache.trouble is None


def test_two_runs_may_write_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    names = [f"m{number}.py" for number in range(40)]
    for name in names:
        (folder / name).write_text(CLEAN)
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=keep_many, args=(str(folder), names[first::2])) for first in (0, 1)]
    for process in running:
        process.start()
    while any(process.is_alive() for process in running):
        for path in packs(folder):
            json.loads(path.read_text())  # always whole
    assert [process.exitcode for process in running] == [0, 0]
    assert sum(known(folder, name) is not None for name in names) >= 20  # those of whoever came last, at least
    assert not list((tmp_path / "cache").glob("*.tmp"))


# --- tidying


def test_entries_of_files_that_are_gone_go(project: Path, worker: Worker) -> None:
    check(project, worker)
    (project / "clean.py").rename(project / "renamed.py")
    check(project, worker)
    (path,) = packs(project)
    assert sorted(json.loads(path.read_text())["entries"]) == ["constants.py", "helper.py", "loss.py", "renamed.py"]


def test_what_nobody_used_for_long_is_removed_where_there_is_much(
    project: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(project, worker, name="clean.py")
    (used,) = packs(project)
    old, half, late = (used.with_name(name) for name in ("0.json", "1.7.tmp", "2.9.tmp"))
    for path in (old, half, late):
        path.write_text("")
    for path in (old, half, used):
        os.utime(path, (time.time() - 40 * 86400,) * 2)
    check(project, worker, name="helper.py")
    assert old.exists()
    assert not half.exists()
    assert late.exists()
    os.utime(used, (time.time() - 40 * 86400,) * 2)
    monkeypatch.setattr("nanguard.cache.store._MANY", 1)
    assert known(project, "clean.py") is not None
    check(project, worker, name="constants.py")
    assert not old.exists()
    assert used.exists()


def test_clean_removes_the_cache_and_says_so(
    project: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check(project, worker, name="clean.py")
    folder = project.parent / "cache"
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".json") == [".gitignore", "CACHEDIR.TAG"]
    assert "*" in (folder / ".gitignore").read_text().splitlines()
    for status, said in ((0, f"Removed {folder} (1 file of results, 0.0 MB)\n"), (0, f"No cache at {folder}\n")):
        with pytest.raises(SystemExit) as caught:
            main(["clean", "--cache-dir", str(folder)])
        assert (caught.value.code, capsys.readouterr().out) == (status, said)
    assert not folder.exists()


def test_clean_keeps_what_is_not_its_own(project: Path, worker: Worker, capsys: pytest.CaptureFixture[str]) -> None:
    check(project, worker, name="clean.py")
    folder = project.parent / "cache"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as caught:
        main(["clean", "--cache-dir", str(folder)])
    assert caught.value.code == 2
    assert "'notes.txt'" in capsys.readouterr().err
    assert (folder / "notes.txt").read_text() == "mine"
