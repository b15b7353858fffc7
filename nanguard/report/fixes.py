"""Fixes as a user reads them: a diff that git takes, what was fixed, and what could be."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Sequence

from nanguard.finding import Finding
from nanguard.repair.fixing import Fixed
from nanguard.report.concise import fixable


def diff(files: Sequence[Fixed]) -> bytes:
    """A unified diff of the files, in their own bytes."""
    return b"".join(map(_diff, files))


def _diff(file: Fixed) -> bytes:
    name = _name(file.path)
    lines = difflib.diff_bytes(
        difflib.unified_diff, _rows(file.before), _rows(file.after), _quoted(b"a/" + name), _quoted(b"b/" + name)
    )
    return b"".join(line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n" for line in lines)


def _rows(data: bytes) -> list[bytes]:
    """The lines as git counts them: a carriage return belongs to its line."""
    rows = data.split(b"\n")
    return [row + b"\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])


def _name(path: str) -> bytes:
    relative = os.path.relpath(path)
    inside = relative if not relative.startswith("..") else path.lstrip("/")
    return os.fsencode(inside)


def _quoted(name: bytes) -> bytes:
    """A name as git quotes it where it has to."""
    if not any(byte < 32 or byte in b'"\\' for byte in name):
        return name
    return b'"' + b"".join(b"\\%03o" % byte if byte < 32 or byte in b'"\\' else bytes([byte]) for byte in name) + b'"'


def fixed(files: Sequence[Fixed]) -> str:
    """What was fixed where: a line for each rule of each file."""
    total = sum(len(file.findings) for file in files)
    lines = [f"Fixed {total} problem{'' if total == 1 else 's'}:"]
    for file in files:
        lines.append(f"- {file.path}:")
        counts = Counter((finding.code, finding.name) for finding in file.findings)
        lines.extend(f"    {count} \u00d7 {code} ({name})" for (code, name), count in sorted(counts.items()))
    return "\n".join(lines)


def hint(findings: Sequence[Finding], unsafe: bool) -> str | None:
    """What of some findings can be fixed, and with which options; None where nothing can."""
    safe = sum(map(fixable, findings))
    proved = [finding.fix for finding in findings if finding.fix is not None and finding.severity != "info"]
    others = sum(not fix.safe and bool(fix.edits) for fix in proved)
    if unsafe:
        return f"[*] {safe + others} fixable with `--fix --unsafe-fixes`" if safe + others else None
    more = f"{others} unsafe fix{'' if others == 1 else 'es'}"
    if safe:
        return f"[*] {safe} fixable with `--fix`" + (f" ({more} available with `--unsafe-fixes`)" if others else "")
    return f"No safe fixes available ({more} can be made with `--fix --unsafe-fixes`)" if others else None
