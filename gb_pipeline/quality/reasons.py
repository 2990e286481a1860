"""This module names why a row is refused: the codes that stand in `quarantine`, and which of them discredit nothing else."""

from __future__ import annotations

# Of stamps.
UNREADABLE_TIMESTAMP = "unreadable_timestamp"
AMBIGUOUS_TIMESTAMP = "ambiguous_timestamp"
IMPLAUSIBLE_TIMESTAMP = "implausible_timestamp"
SKIPPED_TIMESTAMP, NO_ZONE = "skipped_timestamp", "time_without_timezone"
NOT_INCREASING = "not_increasing"
# Of where a row belongs.
OUTSIDE_WINDOW, STILL_OPEN = "outside_window", "bar_still_open"
OUTSIDE_SESSION, OUTSIDE_HOURS = "outside_session", "outside_hours"
OUTSIDE = frozenset({OUTSIDE_SESSION, OUTSIDE_HOURS})
# A day's bar of the evening with which the next session begins, where a vendor's days are those of a clock.
PART_OF_SESSION = "part_of_next_session"
# Of numbers.
MISSING, UNREADABLE = "missing_value", "unreadable_number"
TOO_PRECISE, TOO_LARGE = "too_precise", "too_large"
PRICE_NOT_POSITIVE = "price_not_positive"
# Of trades, quotes and books.
SIZE_NOT_POSITIVE, SIZE_NEGATIVE, UNKNOWN_SIDE = "size_not_positive", "size_negative", "unknown_side"
BROKEN_LINE = "broken_line"
# Of whose they are.
UNNAMED_LINE, NOT_REQUESTED = "unnamed_line", "symbol_not_asked_for"
# Of rows as a whole.
NO_BAR, CROSSED, CONFLICT = "no_bar", "crossed_quote", "conflicting_duplicate"
# Of good rows that came later than newer ones.
FETCHED_BEFORE_STORED = "fetched_before_stored"
# Of good rows of sessions that were removed on purpose while they were fetched.
REMOVED_MEANWHILE = "removed_meanwhile"
# Of good rows in bad company.
REFUSED_WITH_SESSION, REFUSED_WITH_ANSWER = "refused_with_session", "refused_with_answer"
REFUSED_TOGETHER = frozenset({REFUSED_WITH_SESSION, REFUSED_WITH_ANSWER})

# What a vendor sends as a matter of course does not discredit the rest of its answer: the bar in progress, the hour that
# local time has twice on one day of the year, and Sunday's evening as a bar of its own.
HARMLESS = frozenset({STILL_OPEN, AMBIGUOUS_TIMESTAMP, PART_OF_SESSION})
