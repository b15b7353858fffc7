"""Store: the cache as a run has it, which answers for files and takes the results of others."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from nanguard.cache import pack
from nanguard.cache.entries import Damaged, Entry, Seen, decode, encode
from nanguard.cache.folder import HALF, PACK, make, packs
from nanguard.cache.installed import installed
from nanguard.cache.key import general, hashed
from nanguard.cache.pack import Pack
from nanguard.cache.stamps import ABSENT, Stamps, recent, stamp
from nanguard.finding import FileResult
from nanguard.reading.discover import SourceFile
from nanguard.settings import Settings

_OPEN = 16  # packs that are kept in memory while files are looked up
_PENDING = 256  # results that wait to be written
_EVERY = 5.0  # seconds between two times of writing
_HURRIED = 3600.0  # seconds for which a result is good that might be another one on a machine that is less busy
_DAY = 86400.0  # seconds
_MANY = 4000  # packs beyond which those that nobody used are removed
_UNUSED = 30 * _DAY


class Cache:
    """The results of earlier runs; use it as a context manager, so that those of this one are written."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """The cache in `folder`, for runs with these settings; nothing is written before there is a result."""
        self._folder, self._settings = folder, settings
        self._stamps = Stamps()
        self._keys: dict[str, str] = {}  # of packs, by the folder that it is for
        self._open: OrderedDict[str, Pack] = OrderedDict()  # by key
        self._pending: dict[str, dict[str, Entry]] = {}  # by key
        self._waiting = 0
        self._next = time.monotonic() + _EVERY
        self._written = False
        self.trouble: str | None = None  # why results are not written

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *error: object) -> None:
        self.write()
        if self._written:
            self._tidy()

    def find(self, file: SourceFile) -> FileResult | None:
        """The result of a file if everything that it depends on is as it was."""
        if not _plain(file):
            return None
        key = self._key(file.path)
        try:
            entry = self._pack(key).get(_name(file))
            if entry is None or not self._current(entry):
                return None
            result = decode(file.path, entry.body)
        except Damaged:
            return None
        self._refresh(key, _name(file), entry)
        return result

    def keep(
        self, file: SourceFile, result: FileResult, seen: Mapping[str, str], proved: bool, hurried: bool = False
    ) -> None:  # fmt: skip
        """Take the result of a file: `seen` are the files that it depends on, with their stamps from before they were
        read, and `proved` is whether it depends on the packages that are installed, too.  A result that was `hurried`
        is good for an hour.  One is dropped where something has changed meanwhile.
        """
        strange = any(target.path != file.path or target.span.path != file.path for target in result.targets)
        if self.trouble or strange or not _plain(file):
            return
        own = os.path.abspath(file.path)
        rows = tuple(self._row(path, stamped) for path, stamped in {own: seen[own], **seen}.items())
        if any(stamp(path) != stamped for path, stamped in seen.items()):
            return
        until = time.time() + _HURRIED if hurried else None
        entry = Entry(rows, self._installed if proved else "", encode(result), until)
        self._take(self._key(file.path), _name(file), entry)

    def write(self) -> None:
        """Write what waits, beside what other runs have written meanwhile."""
        pending, self._pending, self._waiting = self._pending, {}, 0
        self._next = time.monotonic() + _EVERY
        if self.trouble or not pending:
            return
        try:
            make(self._folder)
            for key, entries in pending.items():
                path = self._path(key)
                pack.save(path, key, {**dict(_living(pack.load(path, key))), **entries})
                self._open.pop(key, None)
            self._written = True
        except OSError as error:
            self.trouble = (
                f"{self._folder}: results are not kept ({error.strerror or error}); use --cache-dir or --no-cache"
            )

    # --- packs

    def _key(self, path: str) -> str:
        """The key of the pack for the folder of a file: that, its name as it was given, and from where."""
        folder = os.path.dirname(path)
        if folder not in self._keys:
            here = "" if os.path.isabs(folder) else os.getcwd()
            self._keys[folder] = hashed("\n".join((self._general, os.path.realpath(folder), folder, here)))
        return self._keys[folder]

    @cached_property
    def _general(self) -> str:
        return general(self._settings)

    @cached_property
    def _installed(self) -> str:
        return installed()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{PACK}"

    def _pack(self, key: str) -> Pack:
        if key not in self._open:
            path = self._path(key)
            self._open[key] = pack.load(path, key)
            if self._open[key]:
                _used(path)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return self._open[key]

    # --- entries

    def _current(self, entry: Entry) -> bool:
        if entry.installed and entry.installed != self._installed:
            return False
        if entry.until is not None and not time.time() < entry.until <= time.time() + _HURRIED:
            return False
        return all(map(self._same, entry.seen))

    def _same(self, seen: Seen) -> bool:
        """Whether a file is as it was: by its stamp, else by what it holds."""
        now = self._stamps.stamp(seen.path)
        return now == seen.stamp or (bool(seen.digest) and self._stamps.digest(seen.path, now) == seen.digest)

    def _refresh(self, key: str, name: str, entry: Entry) -> None:
        """Keep the stamps of files that hold what they held, so that these need not be read the next time."""
        if all(self._stamps.stamp(seen.path) == seen.stamp for seen in entry.seen):
            return
        rows = (self._row(seen.path, self._stamps.stamp(seen.path)) for seen in entry.seen)
        fresh = replace(entry, seen=tuple(rows))
        if fresh != entry:
            self._take(key, name, fresh)

    def _row(self, path: str, stamped: str) -> Seen:
        return Seen(path, "?" if recent(stamped) else stamped, self._stamps.digest(path, stamped))

    def _take(self, key: str, name: str, entry: Entry) -> None:
        self._pending.setdefault(key, {})[name] = entry
        self._waiting += 1
        if self._waiting >= _PENDING or time.monotonic() >= self._next:
            self.write()

    # --- tidying

    def _tidy(self) -> None:
        """Remove what a run left half written, and, where there are many packs, those that nobody used for long."""
        now = time.time()
        with suppress(OSError):
            found = list(packs(self._folder))
            many = len(found) > _MANY
            for path in found:
                limit = _DAY if path.suffix == HALF else _UNUSED if many else None
                if limit is not None and path.stat().st_mtime < now - limit:
                    path.unlink(missing_ok=True)


def _used(path: Path) -> None:
    """Take down that a pack is in use."""
    with suppress(OSError):
        if path.stat().st_mtime < time.time() - _DAY:
            os.utime(path)


def _name(file: SourceFile) -> str:
    """The name of an entry in its pack: that of the file, and of what of it was asked for."""
    base = os.path.basename(file.path)
    return base if file.whole and not file.names else f"{base}::{','.join(file.names)}:{file.whole:d}"


def _plain(file: SourceFile) -> bool:
    """Whether a file is one of its folder: what a link leads to may change without it, and a text may be no file."""
    return file.data is None and not os.path.islink(file.path)


def _living(entries: Pack) -> Iterable[tuple[str, Entry]]:
    """The entries of files that are still there."""
    for name in entries:
        with suppress(Damaged):
            entry = entries[name]
            if entry.seen and stamp(entry.seen[0].path) != ABSENT:
                yield name, entry
