"""Kraken's spot streams: `kraken` is version 2 of its websockets, `kraken_v1` the frozen version 1.

Version 2 is the one to use: its books prove themselves from the first message on, and its trades are numbered.
"""

from gb_pipeline.collectors.venues.kraken.v1 import KrakenV1
from gb_pipeline.collectors.venues.kraken.v2 import Kraken

__all__ = ["Kraken", "KrakenV1"]
