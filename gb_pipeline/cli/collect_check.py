"""What a collector would hear, before it hears anything: symbols, connections, and credentials that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.collectors.planned import PlannedStream
    from gb_pipeline.config.settings import Settings

_MOST_SYMBOLS = 6


def check_streams(settings: Settings, *, as_json: bool) -> ExitCode:
    """Print what gb.yaml asks a collector to hear; `FAILED` where a credential is missing. No request is sent.

    Raises:
        ConfigError, InvalidSymbol: it cannot be heard as it is written.
    """
    from gb_pipeline.collectors.planned import find_credentials, plan_streams

    streams = plan_streams(settings.collect)
    missing = {
        stream.source: [name for name, is_set in find_credentials(stream).items() if not is_set] for stream in streams
    }
    if as_json:
        print_json([_to_dict(stream, find_credentials(stream)) for stream in streams])
    else:
        headings = ("stream", "venue", "connection", "subscriptions", "datasets", "symbols", "address")
        print_table(headings, [row for stream in streams for row in _rows(stream)])
        for stream in streams:
            for line in _remarks(stream, missing[stream.source]):
                note(f"{stream.source}: {line}")
        note(f"collector {settings.collect.collector}, spool {settings.spool}, lake {settings.lake}")
    return ExitCode.FAILED if any(missing.values()) else ExitCode.OK


def _rows(stream: PlannedStream) -> list[tuple[object, ...]]:
    return [
        (
            stream.source,
            stream.settings.venue,
            connection.name,
            len(connection.subscriptions),
            ", ".join(dict.fromkeys(item.dataset.value for item in connection.subscriptions)),
            _shorten(list(dict.fromkeys(item.symbol for item in connection.subscriptions))),
            connection.url,
        )
        for connection in stream.connections
    ]


def _remarks(stream: PlannedStream, missing: list[str]) -> list[str]:
    lines = [f"the credential {name} is not set" for name in missing]
    if stream.settings.series:
        lines.append(
            f"contracts of {', '.join(stream.settings.series)} are asked for when it starts, and while it runs"
        )
    if stream.venue.best_effort:
        lines.append(
            "best effort: messages may be missing without anybody knowing, and nothing of it counts as covered"
        )
    used = len(stream.connections)
    return [*lines, f"{format_count(used, 'connection')} to {stream.settings.venue}"]


def _shorten(symbols: list[str]) -> str:
    more = f", and {len(symbols) - _MOST_SYMBOLS:,} more" if len(symbols) > _MOST_SYMBOLS else ""
    return ", ".join(symbols[:_MOST_SYMBOLS]) + more


def _to_dict(stream: PlannedStream, credentials: dict[str, bool]) -> dict[str, Any]:
    return {
        "stream": stream.source,
        "venue": stream.settings.venue,
        "series": stream.settings.series,
        "best_effort": stream.venue.best_effort,
        "credentials": credentials,
        "connections": [
            {
                "name": connection.name,
                "url": connection.url,
                "subscriptions": [
                    {
                        "dataset": item.dataset,
                        "symbol": item.symbol,
                        "venue_symbol": item.venue_symbol,
                        "depth": item.depth,
                    }
                    for item in connection.subscriptions
                ],
            }
            for connection in stream.connections
        ],
    }
