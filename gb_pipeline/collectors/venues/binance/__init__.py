"""Binance's streams: spot pairs, and perpetuals that settle in their quote currency (USD-M), such as BTC-USDT-PERP."""

from gb_pipeline.collectors.venues.binance.streams import Binance

__all__ = ["Binance"]
