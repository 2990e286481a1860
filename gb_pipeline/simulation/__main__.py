"""`python -m gb_pipeline.simulation --port 0 --ready-file PATH` runs the exchange as a process of its own, as `gb sim` does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gb_pipeline.errors import GbError
from gb_pipeline.simulation.server import LOOPBACK, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 2 where it cannot start."""
    parser = argparse.ArgumentParser(
        prog="python -m gb_pipeline.simulation", description="A simulated exchange on loopback."
    )
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--symbols", help="comma-separated codes, such as BTC-USDT,ETH-USD")
    parser.add_argument("--stocks", help="comma-separated tickers, such as AAPL,BRK.B")
    parser.add_argument("--ready-file", type=Path, help="the URL is written here as soon as it answers")
    chosen = parser.parse_args(arguments)
    symbols, stocks = (
        [code for code in text.split(",") if code] if text else None for text in (chosen.symbols, chosen.stocks)
    )
    try:
        run(chosen.host, chosen.port, seed=chosen.seed, symbols=symbols, stocks=stocks, ready_file=chosen.ready_file)
    except GbError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
