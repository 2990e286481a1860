"""`gb instruments figi` asks OpenFIGI for FIGIs. What is asked and kept is decided in `ingest.figi`."""

from __future__ import annotations

from typing import Annotated

import typer

from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.market.spelling import format_count

KEY, URL = "OPENFIGI_API_KEY", "OPENFIGI_URL"
_MOST = 20


def figi(
    source: Annotated[str | None, typer.Option(help="Only of what this source tells.", show_default=False)] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask also what has been answered before.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Ask OpenFIGI for FIGIs of shares.

    Shares without a composite FIGI are asked about by ISIN, else by the ticker that they have now. Every answer is kept, so asking
    again costs nothing. OPENFIGI_API_KEY, of the environment or of .env, raises the limits. Exits with 1 when the vendor refuses
    permanently, and with 3 after a temporary failure: what was answered by then is stored.
    """
    from gb_pipeline.config.environment import Environment
    from gb_pipeline.errors import TransientVendorError
    from gb_pipeline.ingest.figi import look_up_figis

    settings = load_settings(config)
    environment = Environment(settings.path)
    outcome = look_up_figis(
        open_store(settings),
        key=environment.get(KEY) or "",
        source=source,
        again=again,
        base_url=environment.get(URL),
    )
    if as_json:
        names = ("wanted", "asked", "found", "unknown", "ambiguous", "shared")
        print_json({name: getattr(outcome, name) for name in names})
    else:
        unclear = [(code, "nothing of that name", "") for code in outcome.unknown]
        unclear += [(code, "several", ", ".join(choices)) for code, choices in outcome.ambiguous.items()]
        unclear += [(code, "another instrument's", what) for code, what in outcome.shared.items()]
        if unclear:
            print_table(("symbol", "found", "which"), sorted(unclear)[:_MOST])
        note(
            f"{format_count(outcome.wanted, 'share')} without a FIGI: {len(outcome.found):,} found,"
            f" {format_count(outcome.asked, 'question')} asked"
        )
        if len(unclear) > _MOST:
            note(f"{len(unclear) - _MOST:,} more were not found (--json)")
    if outcome.error is not None:
        print_error(outcome.error.what, outcome.error.fix)
        return ExitCode.TRANSIENT if isinstance(outcome.error, TransientVendorError) else ExitCode.FAILED
    return ExitCode.OK
