"""Keys: everything that a configuration file may say, and the setting that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanguard.finding import DTYPES
from nanguard.report.formats import FORMATS

COLORS = ("auto", "always", "never")
PREFERENCES = ("stable", "clamp")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the configuration."""

    name: str
    kind: str  # of its value, see KINDS
    field: str  # of Settings
    default: str  # as a user writes it
    help: str
    choices: tuple[str, ...] = ()
    adds: bool = False  # to what the field has already
    variable: str | None = None  # of the environment


# What a value has to be, in the words of the messages and the documentation.
KINDS: Mapping[str, str] = {
    "selectors": 'a list of rules: codes, prefixes of codes, names or "ALL"',
    "patterns": "a list of patterns, as in a .gitignore",
    "files": "a list of files",
    "file": "a file",
    "folder": "a folder",
    "switch": "true or false",
    "count": "a whole number of 1 or more",
    "seconds": "a number above 0",
    "eps": "a number above 0 and below 0.5",
    "choice": "one of its choices",
    "choices": "one of its choices, or a list of them",
    "selectors by pattern": "a table of patterns of files, each with a list of rules",
    "ranges": 'a table of losses ("losses.py::focal"), each with a table of parameters and their ranges',
}

KEYS = (
    Key("select", "selectors", "select", '["ALL"]', "Rules to check."),
    Key("extend-select", "selectors", "select", "[]", "Rules to check beside those of `select`.", adds=True),
    Key("ignore", "selectors", "ignore", "[]", "Rules to leave out."),
    Key("per-file-ignores", "selectors by pattern", "per_file_ignores", "{}", "Rules to leave out in some files."),
    Key("fixable", "selectors", "fixable", '["ALL"]', "Rules whose fixes may be made."),
    Key("unfixable", "selectors", "unfixable", "[]", "Rules whose fixes are only shown."),
    Key("unsafe-fixes", "switch", "unsafe_fixes", "false", "Whether `--fix` takes unsafe fixes too."),
    Key("prefer", "choice", "prefer", '"stable"', "Fix by the exact stable form, or by a clamp.", PREFERENCES),
    Key("eps", "eps", "eps", "the smallest that works", "What to clamp with."),
    Key("exclude", "patterns", "exclude", "what is not the project's own code", "Files and folders to leave out."),
    Key("extend-exclude", "patterns", "exclude", "[]", "Files to leave out beside those of `exclude`.", adds=True),
    Key("force-exclude", "switch", "force_exclude", "false", "Whether to leave out what is named on the command line."),
    Key("dtype", "choices", "dtypes", '"float32"', "The dtypes to prove findings in.", DTYPES),
    Key("inputs", "ranges", "inputs", "{}", "The values that arguments of losses take."),
    Key("rules", "files", "rules", "[]", "Files of rules of your own."),
    Key("static", "switch", "static", "false", "Whether never to run the files."),
    Key("pedantic", "switch", "pedantic", "false", "Whether to show what is possible but not proved, too."),
    Key("baseline", "file", "baseline", "none", "The file of findings that are known and not reported."),
    Key(
        "output-format",
        "choice",
        "output_format",
        '"text"',
        "How to print findings.",
        tuple(FORMATS),
        variable="NANGUARD_OUTPUT_FORMAT",
    ),
    Key("color", "choice", "color", '"auto"', "When to print in colour.", COLORS),
    Key("cache-dir", "folder", "cache_dir", "`.nanguard_cache` in the project", "Where the cache is."),
    Key("jobs", "count", "jobs", "one for each processor", "Files to run at a time."),
    Key("timeout", "seconds", "timeout", "20", "Seconds that running one file may take."),
)
BY_NAME = {key.name: key for key in KEYS}


def option_of(key: Key) -> str:
    """The name of the option of the command line for a key."""
    return f"extend_{key.field}" if key.adds else key.field
