"""Habits of the product's code that no linter holds: where it asks for the time, and what it imports.

Everything is read from the source by its syntax tree. An exception is a line in a table here, with its reason, and a line that
excepts nothing any more has to go.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from gb_pipeline_tests.source import files_imported, imports, names_read, sources

# --- the clock ----------------------------------------------------------------------------------------------------------------

WALL_CLOCKS = {
    *(f"datetime.datetime.{name}" for name in ("now", "today", "utcnow")),
    "datetime.date.today",
    *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "strftime")),
    *(f"pandas.Timestamp.{name}" for name in ("now", "today", "utcnow")),
}
# Files, or folders with a slash at the end, that ask for the time themselves; everything else is given a moment or a clock.
ASK_FOR_THE_TIME = {
    "storage/commit.py": "the home of the lake's clock, `wall_clock`; Delta's own entries bear the machine's time",
    "collectors/clock.py": "the home of the clock that stamps what collectors hear",
    "collectors/venues/kalshi/venue.py": "a signature is of the machine's time, and good for some seconds",
    "simulation/streams/kalshi.py": "signatures are of the real time, whatever the simulated one is",
    "simulation/clock.py": "the home of the simulated clock, which may stand still",
    "simulation/failing.py": "a certificate is valid from now on",
    "simulation/server.py": "the log of requests says when they arrived in earnest",
    "cli/": "a command begins now; what it calls is given the moment",
    "catalog/projection.py": "how old left files are, as the file system counts",
    "catalog/state.py": "a catalog says when it was made",
    "dagster_runtime/supervision.py": "runs are news from its start on",
    "dagster_runtime/runs.py": "whether the clock was set back since the last look",
    "dagster_runtime/retries.py": "which runs failed lately",
    "dagster_runtime/daemon.py": "which runs have only just failed",
    "dagster_runtime/home.py": "since when somebody runs Dagster here",
    "health/completeness.py": "how far a series is behind now, unless a moment is given",
    "orchestration/alerts/sensor.py": "a sensor's tick happens now; Dagster gives it no moment",
    "orchestration/build.py": "how many partitions there are today, for a warning",
    "orchestration/deferred.py": "a sensor's tick happens now; Dagster gives it no moment",
    "orchestration/partitions.py": "partitions end today",
    "orchestration/sensors.py": "a sensor's tick happens now; Dagster gives it no moment",
    "providers/ccxt/pages.py": "whether a page reaches the present, at exchanges that only have the newest",
    "providers/http/quota.py": "a vendor counts by its own day, whatever the lake's clock says",
    "providers/http/rate_limit.py": "pauses end at a moment that processes share",
    "providers/http/responses.py": "Retry-After may name a moment",
    "providers/http/transport.py": "an error says until when a vendor wants to be left alone",
    "providers/yahoo/errors.py": "Yahoo says how many days back it answers",
    "providers/yahoo/provider.py": "Yahoo's history is so many days long, counted from now",
    "quality/bars.py": "the default of a public argument",
    "reading/adjusted.py": "splits that are announced for later do not count yet",
}
STOPWATCHES = {f"time.{name}{unit}" for name in ("monotonic", "perf_counter", "process_time") for unit in ("", "_ns")}
MEASURE = {
    "api/guard.py": "latency of a request, how long a body may take, and allowances that come back",
    "api/sql_pool.py": "how long a query may run, and how long one waits for its turn",
    "collectors/clock.py": "the home of the clock that stamps what collectors hear",
    "collectors/collector.py": "when to commit again",
    "research/results/artifacts.py": "how long an artifact that was put counts as new, which no vacuum removes",
    "simulation/streams/replay.py": "recordings are played at a multiple of the real pace",
    "caching/redis_store.py": "how long a Redis that did not answer is left alone",
    "catalog/projection.py": "how long a refresh took",
    "cli/bucket_checks.py": "latency of an object store",
    "dagster_runtime/celery_launcher.py": "how long a run may take to end once it is cancelled",
    "dagster_runtime/client.py": "how long to wait for a run",
    "dagster_runtime/container.py": "how long to wait for a code server",
    "dagster_runtime/guardian.py": "how long processes may take to end",
    "dagster_runtime/processes.py": "how long a process lived, and when it is started again",
    "dagster_runtime/retries.py": "when to try again",
    "dagster_runtime/supervision.py": "when to look again",
    "dagster_runtime/instance.py": "how long to wait for processes that start and end",
    "ingest/bars.py": "how long rows wait for company",
    "orchestration/events/waiting.py": "how long events wait for company",
    "ingest/conformance.py": "latency of a question",
    "ingest/recorder.py": "latency of a call",
    "providers/csv/provider.py": "latency of reading files",
    "providers/http/transport.py": "latency of a call",
    "providers/yahoo/client.py": "what is left of a call's time, and for how long no cookie is asked for",
}


def test_only_named_files_ask_for_the_time() -> None:
    check(readers(WALL_CLOCKS), ASK_FOR_THE_TIME, "be given a moment, or a clock such as the lake's")


def test_only_named_files_measure_time() -> None:
    check(readers(STOPWATCHES), MEASURE, "only latencies and limits are measured")


# --- sessions -----------------------------------------------------------------------------------------------------------------

HAVE_SESSION_TIMES = {
    "config/health.py": "the hour at which people look, and no session's",
    "simulation/": "it invents a market with sessions of its own",
    "market/exchange_sessions.py": "named constants for what exchange_calendars does not know, with their reasons",
}
_TIME_OF_DAY = re.compile(r"(?<![\d:T-])\d{1,2}:\d\d(:\d\d)?(?![\d:])")


def test_no_session_time_is_written_into_the_code() -> None:
    found = {}
    for file, tree in sources().items():
        lines = sorted(set(session_times(tree)))
        if lines:
            found[file] = lines
    check(found, HAVE_SESSION_TIMES, "ask the calendar when a session opens and closes")


def session_times(tree: ast.Module) -> Iterator[int]:
    """Lines with a time of day that is no end of a day: `time(9, 30)`, `"16:00"`, `timedelta(hours=9, minutes=30)`."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in prose:
                if any(found[0].strip("0:") not in {"", "24"} for found in _TIME_OF_DAY.finditer(text)):
                    yield node.lineno
            case ast.Call(func=ast.Name(id="time") | ast.Attribute(attr="time"), args=[ast.Constant(value=int()), *_]):
                if any(isinstance(item, ast.Constant) and item.value for item in node.args):
                    yield node.lineno
            case ast.Call(func=ast.Name(id="timedelta") | ast.Attribute(attr="timedelta")):
                given = {item.arg for item in node.keywords if isinstance(item.value, ast.Constant)}
                if given >= {"hours", "minutes"}:
                    yield node.lineno


def test_session_times_are_found_however_they_are_written() -> None:
    code = """
'''Opens at 09:30.'''
from datetime import time
import datetime as dt
a = time(9, 30)
b = dt.time(16)
c = "16:00"
d = f"closes at 9:30 {a}"
e = dt.timedelta(hours=9, minutes=30)
f = time(0), time(), "00:00", "2024-01-02T09:30Z", "1:100"
"""
    assert sorted(set(session_times(ast.parse(code)))) == [5, 6, 7, 8, 9]


# --- imports ------------------------------------------------------------------------------------------------------------------


def test_the_product_does_not_know_whether_it_is_tested() -> None:
    found = {}
    for file, tree in sources().items():
        words = [(name, line) for name, line in imports(tree)]
        words += [
            (node.value, node.lineno)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        lines = sorted({line for word, line in words if re.search(r"\b_?pytest\b|PYTEST_|\bunittest\b", word)})
        if lines:
            found[file] = lines
    check(found, {}, "nothing of the product asks for pytest")


def test_no_files_import_each_other_in_circles() -> None:
    """Also not for the sake of a type, and not inside of functions: who reads one file of a circle has to read them all."""
    graph = {file: {to for to, _ in files_imported(file, tree)} for file, tree in sources().items()}
    found = "; ".join(", ".join(sorted(circle)) for circle in circles(graph))
    assert not found, f"these import each other in a circle: {found}"


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert set(circles(graph)) == {frozenset("abc"), frozenset("de")}
    assert not list(circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}))


def circles(graph: Mapping[str, set[str]]) -> Iterator[frozenset[str]]:
    """Groups of files that all reach each other."""
    reached = {file: _reached(graph, file) for file in graph}
    seen: set[str] = set()
    for file in graph:
        if file not in seen and file in reached[file]:
            circle = frozenset({file} | {other for other in reached[file] if file in reached[other]})
            seen |= circle
            yield circle


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def readers(names: set[str]) -> dict[str, list[int]]:
    """The files that read one of these names, called or not, with the lines."""
    found = {}
    for file, tree in sources().items():
        lines = sorted({line for name, line in names_read(tree) if name in names})
        if lines:
            found[file] = lines
    return found


def test_names_are_read_in_full_however_they_were_imported() -> None:
    code = """
import time
import time as t
import datetime
import datetime as dt
from datetime import datetime as moment, date
from time import time as seconds
time.time(), t.time(), seconds()
datetime.datetime.now(), dt.datetime.now(), moment.now, date.today()
"""
    read = [name for name, _ in names_read(ast.parse(code))]
    assert read.count("time.time") == 3
    assert read.count("datetime.datetime.now") == 3
    assert read.count("datetime.date.today") == 1


def check(found: Mapping[str, list[int]], allowed: Mapping[str, str], habit: str) -> None:
    """That only allowed files were found, and all of them."""
    places = [
        f"{file}:{line}"
        for file, lines in found.items()
        for line in lines
        if file not in allowed and not any(name.endswith("/") and file.startswith(name) for name in allowed)
    ]
    assert not places, f"{habit}: {', '.join(places)}"
    idle = [name for name in allowed if not any(file.startswith(name) for file in found)]
    assert not idle, f"nothing is left to allow in {', '.join(idle)}: take it off the list"
