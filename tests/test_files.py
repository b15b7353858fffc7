"""Which files are checked: what is left out, what is named, and how they are split."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from nanguard.config.values import rebased
from nanguard.reading.discover import SourceFile
from nanguard.reading.files import find
from nanguard.reading.globs import globs
from nanguard.settings import EXCLUDED, Settings

GIT = shutil.which("git")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str, text: str = "") -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def found(*paths: str, **options: object) -> list[str]:
    files, notes = find(paths, Settings(**options))  # type: ignore[arg-type]
    assert notes == []
    return [file.path for file in files]


# --- patterns --------------------------------------------------------------------------------------------

TREE = (
    "a.py", "b/a.py", "b/c.py", "b/c/d.py", "doc/x/a.py", "x/doc/a.py", "foo.txt/a.py", "[b]/a.py", "a b.py", "#a.py",
    "!a.py", "b/[x].py", "ab.py", "abc/abc.py", "x/y/z/a.py", "x/y/abc.py", "és.py", "a\\b.py", "-.py", "].py", "a^.py",
)  # fmt: skip
PATTERNS = (
    "a.py", "/a.py", "b/", "b", "b/*", "b/**", "**/a.py", "x/**/a.py", "x/**", "**/doc/", "doc/", "doc/*", "/b/c",
    "*.py", "?.py", "[ab].py", "[!a].py", "[^a].py", "[a-c]*.py", "\\#a.py", "#a.py", "\\!a.py", "a b.py", "a.py ",
    "a\\ b.py", "abc", "**", "*", "a**.py", "x/*/a.py", "x/**/z/", "/**/a.py", "/x/y/", "[[]b]/", "b/[[]x].py",
    "[", "[a", "a\\",
    "[[:alpha:]].py", "[![:alpha:]]*.py", "[]].py", "[]-]*", "[a-]*.py", "[z-a].py", "[\\]].py", "a\\\\b.py",
    "**/y/**/a.py", "**/", "/", "//", "x//y", "a.py/", "foo.*", "[a\\-c]*.py", "a[^]^]py", "***", "x/***/a.py", "é*",
)  # fmt: skip


def ignored_by_git(names: tuple[str, ...]) -> set[str]:
    asked = "\0".join(names).encode()
    done = subprocess.run(["git", "check-ignore", "-z", "--no-index", "--stdin"], input=asked, capture_output=True)
    assert done.returncode in (0, 1), done.stderr
    return set(filter(None, done.stdout.decode().split("\0")))


def repository() -> None:
    subprocess.run(["git", "-c", "init.defaultBranch=main", "init", "-q"], check=True)
    write(*TREE)


@pytest.mark.skipif(GIT is None, reason="needs git")
def test_patterns_mean_what_they_mean_to_git(folder: Path) -> None:
    repository()
    for number, pattern in enumerate(PATTERNS):
        write(f"p{number}/.gitignore", text=pattern + "\n")
    ignored = ignored_by_git(tuple(f"p{number}/{name}" for number in range(len(PATTERNS)) for name in TREE))
    for number, pattern in enumerate(PATTERNS):
        mine = {name for name in TREE if globs([pattern]).meets(name)}
        assert mine == {name for name in TREE if f"p{number}/{name}" in ignored}, pattern


@pytest.mark.skipif(GIT is None, reason="needs git")
def test_walks_leave_out_what_git_ignores(folder: Path) -> None:
    repository()
    draw = random.Random(0)
    places = (".gitignore", "b/.gitignore", "x/.gitignore", "x/y/.gitignore", ".git/info/exclude")
    for _ in range(20):
        for place in places:
            lines = draw.sample(PATTERNS, draw.randrange(3))
            lines += ["!" + line for line in draw.sample(PATTERNS, draw.randrange(2)) if line[0] not in "!#"]
            Path(place).write_text("".join(f"{line}\n" for line in lines))
        ignored = ignored_by_git(TREE)
        assert set(found(".", exclude=())) == set(TREE) - ignored, [Path(place).read_text() for place in places]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["*.py"], []),
        (["*.py", "!a.py"], ["a.py", "src/a.py"]),
        (["/a.py"], ["src/a.py", "src/b.py"]),
        (["src/", "!src/a.py"], ["a.py"]),  # nothing comes back out of a folder that is left out
        (["src/*", "!src/a.py"], ["a.py", "src/a.py"]),
        (["**/b.py"], ["a.py", "src/a.py"]),
        (["a.py/"], ["a.py", "src/a.py", "src/b.py"]),  # folders only
        (["# a.py", ""], ["a.py", "src/a.py", "src/b.py"]),
    ],
)
def test_a_gitignore_is_honoured_without_a_repository(folder: Path, lines: list[str], expected: list[str]) -> None:
    write("a.py", "src/a.py", "src/b.py")
    Path(".gitignore").write_text("\n".join(lines))
    assert found(".") == expected


def test_an_inner_gitignore_has_the_last_word(folder: Path) -> None:
    write("a.py", "src/a.py", "src/b.py", "src/deep/a.py")
    write(".gitignore", text="a.py\n")
    write("src/.gitignore", text="!a.py\n/b.py\n")
    assert found(".") == ["src/a.py", "src/deep/a.py"]
    assert found("src") == ["src/a.py", "src/deep/a.py"]


def test_gitignores_count_up_to_the_root_of_the_repository(folder: Path) -> None:
    write("repository/.git/HEAD", "repository/src/a.py", "repository/src/b.py")
    write(".gitignore", text="a.py\n")
    write("repository/.gitignore", text="b.py\n")
    assert found("repository/src") == ["repository/src/a.py"]


def test_a_worktree_finds_what_its_repository_ignores(folder: Path) -> None:
    write("main/.git/worktrees/side/commondir", text="../..\n")
    write("main/.git/info/exclude", text="b.py\n")
    write("side/a.py", "side/b.py")
    write("side/.git", text=f"gitdir: {folder}/main/.git/worktrees/side\n")
    assert found("side") == ["side/a.py"]


# --- what is named ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", ["third/", "third/**", "third/*", "*/pack", "pack/", "a.py"])
@pytest.mark.parametrize("by", ["gitignore", "exclude"])
def test_what_is_named_is_checked_all_the_same_unless_forced(folder: Path, by: str, ignored: str) -> None:
    write("a.py", "third/pack/a.py", "third/pack/b.py", "third/pack/__pycache__/c.py")
    if by == "gitignore":
        write(".gitignore", text=ignored)
    exclude = EXCLUDED if by == "gitignore" else (*EXCLUDED, rebased(ignored, str(folder)))
    everything = ["third/pack/b.py"] if ignored == "a.py" else ["third/pack/a.py", "third/pack/b.py"]
    assert found("third/pack", exclude=exclude) == everything
    assert found("third/pack/a.py", exclude=exclude) == ["third/pack/a.py"]
    assert found("third/pack/a.py", exclude=exclude, force_exclude=True) == []
    assert found("third/pack", exclude=exclude, force_exclude=True) == (everything if ignored == "a.py" else [])
    assert found(".", exclude=exclude) == (everything if ignored == "a.py" else ["a.py"])


def test_an_installed_package_is_checked_where_it_lies(folder: Path) -> None:
    pack = "env/lib/python3.11/site-packages/pack"
    write("a.py", "env/pyvenv.cfg", "env/bin/tool.py", f"{pack}/loss.py", f"{pack}/build/made.py")
    assert found(".") == ["a.py"]
    assert found(pack) == [f"{pack}/loss.py"]
    assert found(f"{pack}/loss.py") == [f"{pack}/loss.py"]
    assert found(f"{pack}/build") == [f"{pack}/build/made.py"]
    assert found(str(Path(pack).parent)) == [f"{pack}/loss.py"]
    write("env/.gitignore", text="*\n")
    assert found("env") == ["env/bin/tool.py", f"{pack}/loss.py"]
    assert found("env/lib") == [f"{pack}/loss.py"]
    assert found(".") == ["a.py"]
    assert found(pack, force_exclude=True) == []
    assert found("env", "a.py", force_exclude=True) == ["a.py"]


def test_patterns_are_relative_to_the_root(folder: Path) -> None:
    write("project/src/gen/a.py", "project/gen/a.py", "project/src/b.py", "outside/src/gen/a.py")
    options = {"root": str(folder / "project"), "exclude": (rebased("/src/gen", str(folder / "project")),)}
    assert found("project", **options) == ["project/gen/a.py", "project/src/b.py"]
    assert found("outside", force_exclude=True, **options) == ["outside/src/gen/a.py"]
    assert found("project/src/gen/a.py", force_exclude=True, **options) == []


# --- the walk --------------------------------------------------------------------------------------------


def test_files_come_in_the_order_of_their_paths(folder: Path) -> None:
    names = ["a/b.py", "a.py", "a-b.py", "a/c/d.py", "a/c.py", "b.py", "a_b/x.py"]
    write(*names)
    assert found(".") == sorted(names)


def test_links_that_go_round_are_survived(folder: Path) -> None:
    write("src/a.py", "other/b.py")
    Path("src/round").symlink_to(folder / "src")
    Path("src/up").symlink_to(folder)
    Path("src/self").symlink_to("self")
    Path("src/self.py").symlink_to("self.py")
    assert sorted(map(os.path.realpath, found("src"))) == [str(folder / "other/b.py"), str(folder / "src/a.py")]


def test_arguments_that_overlap_check_a_file_once(folder: Path) -> None:
    write("src/a.py", "src/b.py")
    assert found("src", ".", "src/b.py", str(folder / "src")) == ["src/a.py", "src/b.py"]
    files, _ = find(["src/b.py::f", "src"])
    assert files == [SourceFile("src/a.py"), SourceFile("src/b.py", ("f",))]


def test_a_notebook_is_skipped_in_a_folder_and_refused_by_name(folder: Path) -> None:
    write("a.py", "n.ipynb", "b.pyi")
    assert found(".") == ["a.py"]
    files, (note,) = find(["n.ipynb", "a.py"])
    assert [file.path for file in files] == ["a.py"]
    assert note.failed
    assert "is a notebook" in note.message


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_together_the_whole(folder: Path, count: int) -> None:
    names = [f"pack{number % 3}/m{number}.py" for number in range(40)]
    write(*names)
    shards = [found(".", shard=(index, count)) for index in range(1, count + 1)]
    assert sorted(name for shard in shards for name in shard) == sorted(names)
    assert all(shards)
    for index, shard in enumerate(shards, 1):
        assert found(str(folder), shard=(index, count)) == [str(folder / name) for name in shard]
        assert set(found("pack0", *names, shard=(index, count))) == set(shard)  # whatever is named
    Path("pack0/added.py").write_text("")
    for index, shard in enumerate(shards, 1):
        assert set(shard) <= set(found(".", shard=(index, count)))
