"""This module knows which tables a lake has: in a folder by looking, in an object store from a short list that only grows.

The list is `tables/<number>.json`, each naming all tables so far, made before the first entry of a new one. A reader that has the
newest asks for the next one, which is one request however many tables there could be.
"""

from __future__ import annotations

import json
import threading

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.files import Files


class TableNames:
    """The tables of a lake in an object store. Safe to share between threads."""

    def __init__(self, files: Files) -> None:
        """Nothing is asked before it is needed."""
        self._files = files
        self._names: frozenset[str] = frozenset()
        self._next = 0
        self._guard = threading.Lock()

    def newest(self) -> frozenset[str]:
        """All of them, as of now.

        Raises:
            LakeError: the list cannot be read.
        """
        with self._guard:
            return self._follow()

    def knows(self, name: str) -> bool:
        """Whether there is a table of this name; who is known is not asked for again."""
        return name in self._names or name in self.newest()

    def add(self, name: str) -> None:
        """Name a table that is about to be made.

        Raises:
            LakeError: the list cannot be read.
            OSError: it cannot be written.
        """
        while not self.knows(name):
            with self._guard:
                names = sorted({*self._names, name})
                self._files.put_if_absent(_file_name(self._next), json.dumps(names).encode())

    def _follow(self) -> frozenset[str]:
        while True:
            try:
                data = self._files.read(_file_name(self._next))
            except FileNotFoundError:
                return self._names
            except OSError as error:
                raise LakeError(
                    f"the tables of the lake are not known: {error.strerror or error}",
                    fix="check the network and the credentials (`gb doctor`), then run it again",
                ) from error
            try:
                self._names |= frozenset(map(str, json.loads(data)))
            except (ValueError, TypeError):
                raise LakeError(
                    f"the list of tables {_file_name(self._next)} is damaged",
                    fix="restore it from a backup of the lake",
                ) from None
            self._next += 1


def _file_name(number: int) -> str:
    return f"tables/{number:05}.json"
