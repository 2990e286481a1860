"""Compile the sessions of every calendar of exchange_calendars into the file that ships with the package.

    uv run --no-project --with "exchange-calendars==4.13.2" --with "pandas<3" --with pyarrow tools/compile_calendars.py

pandas before 3, because exchange_calendars 4.13 builds calendars wrong with pandas 3: those with weeks of their own (XBOM, XKRX,
XMOS, XTAE) lack sessions, and those with an Orthodox Easter cannot be built. Where the library contradicts what an exchange
published, `calendar_corrections.csv` beside this file says so, with the source: times are local, a session without any is none.
The same versions always make the same bytes. `gb_pipeline_tests/market/test_calendar_data.py` compares the file with the installed
library.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import exchange_calendars
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

TARGET = Path(__file__).resolve().parents[1] / "gb_pipeline" / "market" / "data" / "exchange_sessions.parquet"
CORRECTIONS = Path(__file__).resolve().with_name("calendar_corrections.csv")
# Narrowed by each calendar's own bounds. Its rules are extrapolated in both directions: long before 1950 and far in the
# future they are guesses.
FIRST, LAST = date(1950, 1, 1), date(2040, 12, 31)
# Minutes from midnight UTC of the session's date.
TIMES = ("open", "close", "break_start", "break_end")
SCHEMA = pa.schema([("session", pa.date32()), *((name, pa.int16()) for name in TIMES)])


Row = tuple[int | None, ...]


def compile_calendar(code: str, corrections: list[dict[str, str]]) -> tuple[pa.Table, dict[str, str]]:
    """The sessions of one calendar, and its zone, its bounds (the end is exclusive) and the version of its sessions."""
    kind = exchange_calendars.calendar_utils.global_calendar_dispatcher._calendar_factories[code]
    lowest, highest = kind.bound_min(), kind.bound_max()
    first = FIRST if lowest is None else max(FIRST, lowest.date())
    last = LAST if highest is None else min(LAST, highest.date())
    calendar = exchange_calendars.get_calendar(code, start=first, end=last)
    schedule = calendar.schedule
    midnight = schedule.index.tz_localize("UTC")
    columns = []
    for name in TIMES:
        seconds = (schedule[name] - midnight).dt.total_seconds()
        if (seconds.dropna() % 60).any():
            raise SystemExit(f"{code}: {name} is not a whole minute")
        columns.append([None if pd.isna(value) else int(value) // 60 for value in seconds])
    sessions: dict[date, Row] = dict(zip(schedule.index.date, zip(*columns, strict=True), strict=True))
    for correction in corrections:
        apply_correction(sessions, correction, ZoneInfo(str(calendar.tz)))
    days = sorted(sessions)
    arrays = [pa.array(days, pa.date32())]
    arrays += [pa.array([sessions[day][at] for day in days], pa.int16()) for at in range(len(TIMES))]
    table = pa.table(arrays, schema=SCHEMA)
    facts = json.dumps([[str(day), *sessions[day]] for day in days]).encode()
    end = date.fromordinal(last.toordinal() + 1)
    version = hashlib.sha256(facts).hexdigest()[:8]
    return table, {"zone": str(calendar.tz), "first": str(first), "end": str(end), "version": version}


def apply_correction(sessions: dict[date, Row], correction: dict[str, str], zone: ZoneInfo) -> None:
    """Add, change or take away a session."""
    day = date.fromisoformat(correction["session"])
    if not correction["open"]:
        del sessions[day]
        return
    times = [time.fromisoformat(correction[name]) if correction[name] else None for name in TIMES]
    moments = [moment and datetime.combine(day, moment, zone) for moment in times]
    if moments[0] > moments[1]:
        # It opens the evening before.
        moments[0] = datetime.combine(day - timedelta(days=1), times[0], zone)
    midnight = datetime.combine(day, time(), ZoneInfo("UTC"))
    sessions[day] = tuple(moment and int((moment - midnight).total_seconds()) // 60 for moment in moments)


def main() -> None:
    """Write the file: a row group per calendar, and what is true of all of it in the footer."""
    if int(pd.__version__.split(".", 1)[0]) >= 3:
        raise SystemExit(f"pandas {pd.__version__} makes wrong calendars: use one before 3")
    every = exchange_calendars.get_calendar_names()
    codes = sorted({exchange_calendars.resolve_alias(name) for name in every} - {"24/7", "24/5"})
    with CORRECTIONS.open(encoding="utf-8", newline="") as file:
        corrections = list(csv.DictReader(file))
    compiled = {code: compile_calendar(code, [row for row in corrections if row["calendar"] == code]) for code in codes}
    aliases = {name: exchange_calendars.resolve_alias(name) for name in sorted(every) if name not in codes}
    facts = {
        "made_from": f"exchange_calendars {exchange_calendars.__version__}",
        "corrections": len(corrections),
        "calendars": {code: {"row_group": at, **compiled[code][1]} for at, code in enumerate(codes)},
        "aliases": {name: code for name, code in aliases.items() if code in compiled},
    }
    TARGET.parent.mkdir(exist_ok=True)
    schema = SCHEMA.with_metadata({"gb_calendars": json.dumps(facts)})
    with pq.ParquetWriter(TARGET, schema, compression="zstd", compression_level=19, use_dictionary=list(TIMES),
                          column_encoding={"session": "DELTA_BINARY_PACKED"}) as writer:  # fmt: skip
        for table, _ in compiled.values():
            writer.write_table(table, row_group_size=table.num_rows)
    print(
        f"{len(codes)} calendars, {TARGET.stat().st_size:,} bytes, {facts['made_from']}, {len(corrections)} corrections",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
