"""`RemoteReplay`, what a pin names on another machine: the server has compared every bar before anything is read of it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.client.arguments import to_document
from gb_pipeline.client.bars_asked import BarsAsked
from gb_pipeline.client.transport import Transport
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError, PinRefused
from gb_pipeline.lake.pins import Pin
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.pins import refusal

_BARS = inspect.signature(BarReader.bars)


class RemoteReplay(BarsAsked):
    """What a pin names, read like a lake; see `Replay`.

    Attributes:
        pin: what is read.
    """

    def __init__(self, transport: Transport, pin: Pin) -> None:
        """Use `RemoteLake.replay`."""
        self._transport, self.pin = transport, pin

    def __repr__(self) -> str:
        """Its name and moment."""
        return f"RemoteReplay({self.pin.name!r}, as_of={self.pin.as_of.isoformat()})"

    @property
    def source_facts(self) -> tuple[SourceFacts, ...]:
        """What was known of the sources when the pin was made."""
        return self.pin.sources

    def bars(self, *args: Any, **options: Any) -> pl.DataFrame:
        """Bars of the pin as a frame; see `BarReader.bars`."""
        asked = dict(_BARS.bind(self, *args, **options).arguments)
        asked.pop("self")
        return self._transport.table("/pinned-bars", {**to_document(asked), "pin": self.pin.name})


def open_replay(transport: Transport, pin: Pin | Path | str, *, verify: bool) -> RemoteReplay:
    """A reader of what a pin names.

    Raises:
        PinRefused, ConfigError: as `RemoteLake.replay`.
    """
    if isinstance(pin, Path):
        try:
            pin = Pin.from_json(pin.read_bytes(), str(pin))
        except FileNotFoundError:
            raise ConfigError(f"there is no file {pin}", fix="name a pin, or the file of one") from None
    name = pin if isinstance(pin, str) else pin.name
    [text] = transport.table("/pins", {"name": name})["pin"]
    there = Pin.from_json(text)
    if isinstance(pin, Pin) and (there.fingerprint, there.as_of) != (pin.fingerprint, pin.as_of):
        raise PinRefused(
            f"the lake names other bars {name!r}", fix="pin them in that lake under another name: `lake.pin(...)` there"
        )
    if verify:
        differences = transport.table("/pin-differences", {"pin": name})
        if "same" not in differences.columns:
            raise refusal(there, differences)
    return RemoteReplay(transport, there)
