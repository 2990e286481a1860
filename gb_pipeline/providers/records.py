"""This module reads texts and dates out of the records of a parsed JSON answer, and refuses what is none.

Which fields there are is each vendor's own to know; candles are read by `candles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from gb_pipeline.errors import TransientVendorError

Row = dict[str, Any]


class RecordReader:
    """Reads the records of one vendor.

    Args:
        who: the vendor, for messages.

    Example:
        >>> acme = RecordReader("Acme")
        >>> acme.text({"ticker": "AAPL"}, "ticker"), acme.day({"ex_date": "2024-06-10T00:00:00Z"}, "ex_date")
        ('AAPL', datetime.date(2024, 6, 10))
    """

    def __init__(self, who: str) -> None:
        """Nothing is read yet."""
        self._who = who

    def broken(self, what: str) -> TransientVendorError:
        """The error for an answer that is not what the vendor's protocol promises."""
        return TransientVendorError(
            f"{self._who} answered {what}",
            fix="the vendor's protocol promises otherwise; the same call may succeed later",
        )

    def objects(self, rows: Any, name: str) -> list[Row]:
        """A list of objects; `name` says of what, for messages.

        Raises:
            TransientVendorError: it is none, or something else is in it.
        """
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.broken(f"no list of {name}")
        return rows

    def text(self, row: Mapping[str, Any], name: str) -> str | None:
        """A text or whole number, as text; None where it is absent, null or empty.

        Raises:
            TransientVendorError: it is something else.
        """
        value = row.get(name)
        return None if value is None or value == "" else self.required_text(row, name)

    def required_text(self, row: Mapping[str, Any], name: str) -> str:
        """A text or whole number, as text.

        Raises:
            TransientVendorError: it is absent, empty or something else.
        """
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.broken(f"a record whose {name} is {str(value)[:30]!r}")
        return str(value)

    def day(self, row: Mapping[str, Any], name: str) -> date | None:
        """A date, or the date of an instant; None where it is absent, null or empty.

        Raises:
            TransientVendorError: it is none.
        """
        return None if self.text(row, name) is None else self.required_day(row, name)

    def required_day(self, row: Mapping[str, Any], name: str) -> date:
        """A date, or the date of an instant.

        Raises:
            TransientVendorError: it is absent or none.
        """
        text = self.required_text(row, name)
        try:
            return date.fromisoformat(text[:10])
        except ValueError:
            raise self.broken(f"{text[:30]!r} as {name}") from None
