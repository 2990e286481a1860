"""Kalshi's contracts: `venue` has addresses and subscriptions, `decoder` reads messages, `rest` finds contracts and past trades."""

from gb_pipeline.collectors.venues.kalshi.venue import Kalshi

__all__ = ["Kalshi"]
