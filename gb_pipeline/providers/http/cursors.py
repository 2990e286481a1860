"""This module follows a vendor from page to page, but not for ever, and refuses pages that do not go on.

How a vendor names its next page is the vendor's own to know.
"""

from __future__ import annotations

from collections.abc import Sequence

from gb_pipeline.errors import TransientVendorError

# Vendors may send smaller pages than they were asked for, hardly ever as small as this.
_SMALLEST_PAGE = 1000
_SPARE_PAGES = 10


class Cursors:
    """The pages of one list.

    Args:
        who: the vendor, for messages.
        rows: most rows that the list can have.

    Example:
        >>> cursors = Cursors("acme", rows=390)
        >>> cursors.follow("page 2")
    """

    def __init__(self, who: str, rows: int) -> None:
        """Begin at the first page."""
        self._who = who
        self._most = _SPARE_PAGES + rows // _SMALLEST_PAGE
        self._seen: set[str] = set()

    def follow(self, cursor: str) -> None:
        """Go to the next page.

        Raises:
            TransientVendorError: it was there before, or there are more pages than so many rows can need.
        """
        if cursor in self._seen:
            raise TransientVendorError(
                f"{self._who} names a page as the next one that was there before, after {len(self._seen)} pages",
                fix="the vendor's pages go in circles; the same call may succeed later",
            )
        self._seen.add(cursor)
        if len(self._seen) >= self._most:
            raise TransientVendorError(
                f"{self._who} names ever more pages: {len(self._seen)} so far",
                fix="no list of this kind is so long; the same call may succeed later",
            )


class Ascending:
    """Pages of bars that go on in time.

    A page may begin with bars of the one before, but a page of nothing else stands in the place of bars that never came.

    Args:
        who: the vendor, for messages.
    """

    def __init__(self, who: str) -> None:
        """Begin before all bars."""
        self._who = who
        self._newest: int | None = None

    @property
    def newest(self) -> int | None:
        """The newest stamp of all pages so far."""
        return self._newest

    def admit(self, stamps: Sequence[int]) -> None:
        """Take note of the bars of the next page, in any order; none is fine.

        Raises:
            TransientVendorError: none of them is newer than those of the pages before.
        """
        if not stamps:
            return
        newest = max(stamps)
        if self._newest is not None and newest <= self._newest:
            raise TransientVendorError(
                f"{self._who} sent a page of bars that were there before",
                fix="bars are missing in their place; the same call may succeed later",
            )
        self._newest = newest
