"""`Answers`, answers about bars that are kept: which question is answered by which of them, at the state that the lake has now.

An answer that is made of nothing but rows of files is kept under the names of these files: no other file is ever called so, so a
commit that changes none of them leaves the answer where it is. One that was computed from more is kept in memory alone, under the
versions of all tables that it may depend on. What depends on the present as well is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from datetime import datetime
from functools import cache as remember
from itertools import count
from threading import Lock
from weakref import ref

import polars as pl
from cachetools import LRUCache

from gb_pipeline.caching.cache import Cache
from gb_pipeline.caching.key import Key, digest_of
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import removals
from gb_pipeline.lake.datasets import bars_dataset, parse_bar_table
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.reading.adjusted import today
from gb_pipeline.reading.plan import Plan, Question
from gb_pipeline.reading.request import Request
from gb_pipeline.reading.stored_rows import StoredRows
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

# So many questions are known with the key of their answer.
_QUESTIONS = 10_000
# Of every table that counts, a number that stands for its version; the days on which the question is asked.
_State = tuple[Hashable, ...]


class Answers:
    """The answers of one lake. Safe for threads.

    Attributes:
        cache: where they are kept.
    """

    def __init__(self, tables: Tables, cache: Cache, clock: Callable[[], datetime]) -> None:
        """Nothing is looked at before the first question.

        Args:
            clock: the present.
        """
        self._tables, self._clock, self.cache = tables, clock, cache
        self._questions: LRUCache[Hashable, tuple[_State, Key, Precision]] = LRUCache(_QUESTIONS)
        self._numbers: dict[str, tuple[ref[Snapshot], int]] = {}
        self._number = count()
        self._removed: dict[Resolution, tuple[list[int], str]] = {}
        self._lock = Lock()

    def get(
        self,
        request: Request,
        form: str,
        plan: Callable[[], tuple[Plan, list[str]]],
        collect: Callable[[Plan, list[str]], pl.DataFrame],
    ) -> tuple[pl.DataFrame, Precision]:
        """The answer to a question, and its precision: one that is kept, or a new one.

        Args:
            form: of the numbers, such as `floats`.
            plan: finds the files and the columns.
            collect: reads them; what it raises is raised, and is not kept.
        """
        question = request.question
        state = self._state(request)
        columns = None if request.columns is None else tuple(request.columns)
        asked = (replace(request, columns=columns), form)
        known = self._recall(asked, state)
        if known is not None:
            return known
        made, names = plan()
        key = self._content_key(question, made, names, form)
        if key is None and state is not None and question.source is not None:
            key = self._key(question, ("state", state, asked), lasting=False)
        if key is None:
            return collect(made, names), made.precision
        in_bucket = self._tables.storage.in_bucket
        # In a bucket looking takes requests, and memory is no place to stay.
        watched = self.cache.is_shared or not in_bucket
        if not in_bucket:
            self._forget_removed(question.resolution)
        frame = self.cache.get(key)
        if frame is None:
            if in_bucket and watched:
                self._forget_removed(question.resolution)
            frame = collect(made, names)
            if not key.lasting and self._state(request) != state:
                # What was read while somebody committed may be of either state.
                return frame, made.precision
            self.cache.put(key, frame)
            if watched:
                # Bars may have been removed while they were read.
                self._forget_removed(question.resolution)
        self._learn(asked, state, request, key, made.precision)
        return frame, made.precision

    def _recall(self, asked: Hashable, state: _State | None) -> tuple[pl.DataFrame, Precision] | None:
        if state is None:
            return None
        with self._lock:
            known = self._questions.get(asked)
        if known is None or known[0] != state:
            return None
        frame = self.cache.get(known[1])
        return None if frame is None else (frame, known[2])

    def _learn(self, asked: Hashable, state: _State | None, request: Request, key: Key, precision: Precision) -> None:
        """Remember which answer a question has, if the plan is of one state: nobody committed while it was made."""
        # What was lost of the past is known to no table's version.
        if state is not None and request.question.as_of is None and self._state(request) == state:
            with self._lock:
                self._questions[asked] = state, key, precision

    def _state(self, request: Request) -> _State | None:
        """Whatever an answer may depend on; None where that is more, or where looking takes a request for each table."""
        adjustment = request.adjustment
        moving = request.settled_only or (adjustment is not None and adjustment.as_known is not None)
        if moving or self._tables.storage.in_bucket:
            return None
        try:
            numbers = [self._version(name) for name in _relevant(self._tables, request.question.resolution)]
        except LakeError:
            # A damaged table is told by who needs it.
            return None
        # From their ex date on, splits and dividends count that were announced before.
        return (*numbers, today(), self._clock().date())

    def _version(self, name: str) -> int:
        """A number that stands for what a table is now: never two for one, and never one for two."""
        snapshot = self._tables.newest(name)
        with self._lock:
            seen = self._numbers.get(name)
            if seen is None or seen[0]() is not snapshot:
                seen = self._numbers[name] = ref(snapshot), next(self._number)
            return seen[1]

    def _content_key(self, question: Question, plan: Plan, names: list[str], form: str) -> Key | None:
        """The key of an answer that rows of files say alone; None for any other."""
        parts: list[object] = [plan.precision, names, form]
        for part in plan.parts:
            rows = part.content
            if not isinstance(rows, StoredRows):
                return None
            paths = rows.files["path"].to_list()
            window = rows.window
            parts += [part.source, part.symbol, rows.dataset.name, rows.symbols, rows.as_of, window.start, window.end]
            parts += [len(paths), *paths]
        return self._key(question, parts, lasting=True) if plan.parts else None

    def _key(self, question: Question, parts: object, *, lasting: bool) -> Key:
        values = parts if isinstance(parts, list | tuple) else (parts,)
        return Key(self.cache.lake, digest_of((pl.__version__, self.cache.lake, *values)), _label(question), lasting)

    def _forget_removed(self, resolution: Resolution) -> None:
        """Forget everything that is kept if bars were removed since somebody looked last, here or elsewhere."""
        names = bar_tables(resolution)
        try:
            numbers = [self._version(name) for name in names]
            with self._lock:
                seen = self._removed.get(resolution)
            if seen is not None and seen[0] == numbers:
                return
            newest = [self._tables.newest(name) for name in names]
        except LakeError:
            # A damaged table is told by who needs it.
            return
        text = " ".join(f"{snapshot.table_id}:{removals.count(snapshot)}" for snapshot in newest)
        with self._lock:
            self._removed[resolution] = numbers, text
        if seen is not None and seen[1] == text:
            return
        mark = f"removed-{resolution.value}"
        noted = self.cache.read_marks(mark)
        if seen is not None or any(other != text for other in noted):
            self.cache.clear()
        if seen is not None or set(noted) != {text}:
            self.cache.write_mark(mark, text)


def bar_tables(resolution: Resolution) -> list[str]:
    """The names of the tables that hold bars of a resolution."""
    return [bars_dataset(resolution, precision).name for precision in Precision]


def _relevant(tables: Tables, resolution: Resolution) -> tuple[str, ...]:
    """All tables but those of other resolutions' bars."""
    return _names(tuple(dataset.name for dataset in tables.datasets), resolution)


@remember
def _names(names: tuple[str, ...], resolution: Resolution) -> tuple[str, ...]:
    kinds = {name: parse_bar_table(name) if name.startswith("bars_") else None for name in names}
    return tuple(name for name, kind in kinds.items() if kind is None or kind[0] is resolution)


def _label(question: Question) -> str:
    """What an answer is about, for people."""
    symbols = question.symbols
    more = f"+{len(symbols) - 1}" if len(symbols) > 1 else ""
    window = question.window
    edges = ":".join(edge.strftime("%Y-%m-%dT%H:%M:%S") for edge in (window.start, window.end))
    return f"bars:{{{symbols[0] if symbols else '*'}{more}}}:{question.resolution.value}:{edges}"
