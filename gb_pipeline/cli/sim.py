"""`gb sim` runs the simulated exchange of `simulation` on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gb_pipeline.cli.output import ExitCode


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sim")(sim)


def sim(
    symbols: Annotated[
        list[str] | None,
        typer.Argument(metavar="SYMBOL", help="Crypto pairs to list; two dozen by default.", show_default=False),
    ] = None,
    stocks: Annotated[
        str | None, typer.Option(help="Stock tickers to list, comma-separated; a dozen by default.", show_default=False)
    ] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 picks a free one.", min=0, max=65535)] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the market; the same seed gives the same prices.")] = 7,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write the URL to this file as soon as it answers.", show_default=False)
    ] = None,
) -> int:
    """Run the simulated exchange until Ctrl-C.

    Prints its URL. It speaks the REST dialects of Binance, Coinbase and Kraken, and of Yahoo, Alpaca, Massive and Alpha Vantage,
    under http://127.0.0.1:PORT/<the vendor's host>/, and never leaves this machine. Use it as a source with the option `base_url`:
    `options: {exchange: binance, base_url: <the URL>}`. Any credentials will do.
    """
    from gb_pipeline.simulation import run

    tickers = [code for code in stocks.split(",") if code] if stocks else None
    run(port=port, seed=seed, symbols=symbols or None, stocks=tickers, ready_file=ready_file)
    # The server catches Ctrl-C itself; the caller still has to learn of it.
    return ExitCode.INTERRUPTED
