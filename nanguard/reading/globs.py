"""Globs: patterns for files and folders, with the meaning that they have in a .gitignore."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NEVER = "(?!)"  # what git takes for no pattern: it matches nothing
_NAMED = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \\t", "digit": "0-9", "lower": "a-z", "space": "\\s",
    "upper": "A-Z", "xdigit": "0-9a-fA-F",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern: one with a slash before its end is matched with the whole path, any other with the last name."""

    text: str
    negated: bool  # takes back what an earlier pattern has matched
    folders: bool  # matches folders only
    anchored: bool
    regex: re.Pattern[str] | None  # None for a plain name or path

    def matches(self, path: str, name: str, folder: bool) -> bool:
        """Whether the pattern means a path, relative to where the pattern stands; `name` is the last of its names."""
        if self.folders and not folder:
            return False
        subject = path if self.anchored else name
        return subject == self.text if self.regex is None else self.regex.fullmatch(subject) is not None


@dataclass(frozen=True, slots=True)
class Globs:
    """Patterns in their order, of which the last that matches decides."""

    listed: tuple[Glob, ...] = ()

    def match(self, path: str | None, name: str, folder: bool) -> bool | None:
        """Whether the patterns say that a path is meant, None where none of them says anything.

        `path` is relative to where the patterns stand, None for one that lies elsewhere.
        """
        for glob in reversed(self.listed):
            if (path is not None or not glob.anchored) and glob.matches(path or "", name, folder):
                return not glob.negated
        return None

    def meets(self, path: str, root: str = "") -> bool:
        """Whether a file is meant, by itself or by a folder around it; `path` is relative to `root`, and that to where
        the patterns stand.
        """
        step, names = root.strip("/"), path.split("/")
        for number, name in enumerate(names, 1):
            step = f"{step}/{name}" if step else name
            if self.match(step, name, number < len(names)):
                return True
        return False


def globs(lines: Iterable[str]) -> Globs:
    """The patterns of the lines of a .gitignore."""
    return Globs(tuple(glob for line in lines if (glob := _glob(line)) is not None))


def _glob(line: str) -> Glob | None:
    """The pattern of a line; None for an empty one or a comment."""
    text = line.rstrip("\r\n")
    while text.endswith(" ") and not text.endswith("\\ "):
        text = text[:-1]
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[negated:]
    folders = text.endswith("/")
    text = text[:-1] if folders else text
    anchored = "/" in text
    text = text.removeprefix("/")
    if not text:
        return None
    plain = not any(sign in text for sign in "*?[\\")
    return Glob(text, negated, folders, anchored, None if plain else re.compile(_regex(text, anchored), re.DOTALL))


def _regex(text: str, anchored: bool) -> str:
    """A regular expression for a pattern."""
    parts: list[str] = []
    index = 0
    while index < len(text):
        sign = text[index]
        if sign == "*":
            part, index = _stars(text, index, anchored)
        elif sign == "?":
            part, index = "[^/]", index + 1
        elif sign == "[":
            part, index = _class(text, index)
        elif sign == "\\":
            part, index = (re.escape(text[index + 1]) if index + 1 < len(text) else _NEVER), index + 2
        else:
            part, index = re.escape(sign), index + 1
        parts.append(part)
    return "".join(parts)


def _stars(text: str, start: int, anchored: bool) -> tuple[str, int]:
    """One or more stars: two between slashes, or at an end, stand for any folders."""
    end = start
    while text[end : end + 1] == "*":
        end += 1
    alone = (start == 0 or text[start - 1] == "/") and text[end : end + 1] in ("", "/")
    if end - start == 1 or not alone or not anchored:
        return "[^/]*", end
    return ("(?:.*/)?", end + 1) if end < len(text) else (".*" if start == 0 else ".+", end)


def _class(text: str, start: int) -> tuple[str, int]:
    """A set of characters in brackets; one without an end matches nothing."""
    index = start + 1
    negated = text[index : index + 1] in ("!", "^")
    index += negated
    inside, first = "", True
    while index < len(text) and (text[index] != "]" or first):
        first = False
        if text.startswith("[:", index) and (end := text.find(":]", index)) > 0:
            inside += _NAMED.get(text[index + 2 : end], "")
            index = end + 2
            continue
        low, index = _sign(text, index)
        if text[index : index + 1] == "-" and text[index + 1 : index + 2] not in ("", "]"):
            high, index = _sign(text, index + 1)
            inside += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
        else:
            inside += re.escape(low)
    if index >= len(text):
        return _NEVER, len(text)
    if not inside:
        return "[^/]" if negated else _NEVER, index + 1
    return f"(?!/)[{'^' if negated else ''}{inside}]", index + 1


def _sign(text: str, index: int) -> tuple[str, int]:
    """A character of a set, and where the next one starts."""
    if text[index] == "\\" and index + 1 < len(text):
        index += 1
    return text[index], index + 1
