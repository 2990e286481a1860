"""`WindowBatches`, bars as arrays to learn from: windows of several symbols with what came after them, and where they are from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from gb_pipeline.errors import ConfigError, NoDataInRange
from gb_pipeline.market.joins import align
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.portal.loading import known_until
from gb_pipeline.portal.market import find_market
from gb_pipeline.reading.arguments import Moment, Symbols, moment, named_symbols
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.pins import Replay

FIELDS = ("open", "high", "low", "close", "volume")
_POLICIES = ("skip", "ffill")
_DTYPES = ("float32", "float64")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """Some windows.

    Attributes:
        inputs: shape (batch, window, symbols, fields), the oldest bar of a window first.
        targets: shape (batch, symbols): the return of the target's price from the last bar of the window to that `horizon` bars
            later; 0.01 is one per cent.
        timestamps: datetime64[us] in UTC, shape (batch,): opens of the windows' last bars.
    """

    inputs: Array
    targets: Array
    timestamps: npt.NDArray[np.datetime64]


class WindowBatches:
    """Windows of bars and the returns that followed them, in batches; each pass over it gives the same ones.

    A window has consecutive bars of the calendar. Where one is missing of any symbol, in the window or up to the end of its target,
    the window is left out. No input is of a later bar than the window's last one, and no target ends outside of the range: two
    ranges that touch each other share no bar, so one can test what was learnt from the other.

    Attributes:
        symbols, fields: in the order of the axes.
        provenance: where the numbers are from, to be kept with a model: `pin` (None for a lake), `as_of`, `fingerprint`, `source`,
            `symbols`, `resolution`, `start`, `end`, `adjustment`.

    Example:
        >>> batches = WindowBatches(lake.replay("momentum"), ["BTC-USD", "ETH-USD"], "1h", window=48, horizon=4, seed=7)
        >>> for batch in batches:
        ...     model.fit(batch.inputs, batch.targets)
    """

    def __init__(
        self,
        reader: BarReader,
        symbols: Symbols,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        window: int,
        horizon: int = 1,
        fields: Sequence[str] = FIELDS,
        target: str = "close",
        batch_size: int = 256,
        seed: int | None = None,
        dtype: str = "float32",
        on_gap: str = "skip",
        source: str | None = None,
        calendar: str | None = None,
        adjustment: str | None = None,
        as_of: Moment | None = None,
    ) -> None:
        """Read the bars.

        Args:
            reader: what `Lake.replay` returns, for numbers that a pin names; or a lake, read as of its newest commit.
            symbols, resolution, start, end, source, adjustment, as_of: as in `Lake.bars`.
            window: bars of an input.
            horizon: bars from the last one of an input to the end of its target.
            fields: of the last axis.
            target: the price whose return is learnt.
            batch_size: windows of a batch; the last one has the rest.
            seed: of the order of the windows, another one in each epoch (`set_epoch`); None for the order of time.
            dtype: `float32` or `float64`.
            on_gap: `skip` leaves out windows that lack a bar; `ffill` takes the close of the bar before for its prices, and 0 for
                its volume, never a later bar.
            calendar: that says which bars are expected; by default that of the source.

        Raises:
            ConfigError: an argument that cannot be used.
            NoDataInRange: no window is whole.
        """
        names = named_symbols(symbols) or []
        _check(names, window, horizon, batch_size, fields, target, dtype, on_gap)
        kind = Resolution.parse(resolution)
        first, last = moment(start), moment(end)
        known_at = moment(as_of)
        if known_at is None and isinstance(reader, Lake):
            known_at = known_until(reader, kind)
        self.symbols, self.fields = tuple(names), tuple(fields)
        market = find_market(reader, names, source, calendar, known_at)
        read = list(dict.fromkeys((*fields, target, "close")))
        bars = reader.bars(
            names,
            kind,
            first,
            last,
            source=source,
            columns=["symbol", "timestamp", *read],
            as_of=known_at,
            as_float=True,
            adjustment=adjustment,
        )
        frame = align(bars, kind, market.calendar, fill=on_gap == "ffill", alignment=market.alignment)
        parts = {str(code): part for (code,), part in frame.partition_by("symbol", as_dict=True).items()}
        missing = [code for code in names if code not in parts]
        if missing:
            raise NoDataInRange(
                f"there is no bar of {', '.join(missing)} in this range", fix="leave it out: `gb status`"
            )
        self._opens = parts[names[0]]["timestamp"].to_numpy()
        cube = np.stack([parts[code].select(read).to_numpy() for code in names], axis=1)
        self._inputs = cube[:, :, [read.index(name) for name in fields]].astype(dtype)
        self._prices = cube[:, :, read.index(target)]
        self._window, self._horizon, self._size = window, horizon, batch_size
        self._seed, self._epoch = seed, 0
        self._drawn: tuple[int, npt.NDArray[np.int64]] | None = None
        self._lasts = _whole_windows(np.isfinite(cube).all(axis=(1, 2)), window, horizon)
        if not len(self._lasts):
            raise NoDataInRange(
                f"no {window + horizon} bars in a row are there of all symbols",
                fix="see `gb gaps`, or use on_gap='ffill'",
            )
        self.provenance = _provenance(reader, names, kind, first, last, source, known_at) | {"adjustment": adjustment}

    def __len__(self) -> int:
        """How many batches a pass has."""
        return math.ceil(len(self._lasts) / self._size)

    def set_epoch(self, number: int) -> None:
        """Choose the order of the next passes, where there is a seed; it depends on the seed and this number only."""
        self._epoch = number

    def __getitem__(self, number: int) -> Batch:
        """One batch of a pass, from 0 on; a negative number counts from the end, as in a list.

        Raises:
            IndexError: there is no such batch.
        """
        count = len(self)
        if not -count <= number < count:
            raise IndexError(f"there is no batch {number}: a pass has {count}")
        return self._batch(self._order(), number % count)

    def __iter__(self) -> Iterator[Batch]:
        """One pass over all windows, in the order of the epoch in which it began."""
        order = self._order()
        for number in range(len(self)):
            yield self._batch(order, number)

    def _batch(self, order: npt.NDArray[np.int64], number: int) -> Batch:
        chosen = order[number * self._size : (number + 1) * self._size]
        steps = np.arange(1 - self._window, 1)
        earned = self._prices[chosen + self._horizon] / self._prices[chosen] - 1
        return Batch(
            self._inputs[chosen[:, None] + steps], earned.astype(self._inputs.dtype), self._opens[chosen].copy()
        )

    def _order(self) -> npt.NDArray[np.int64]:
        """Last bars of the windows in the order of this epoch, which is drawn once."""
        if self._seed is None:
            return self._lasts
        if self._drawn is None or self._drawn[0] != self._epoch:
            drawn = np.random.default_rng([self._seed, self._epoch]).permutation(self._lasts)
            self._drawn = (self._epoch, drawn)
        return self._drawn[1]


def _whole_windows(is_there: npt.NDArray[np.bool_], window: int, horizon: int) -> npt.NDArray[np.int64]:
    """Places of the last bars of windows of which every bar is there, to the end of the target."""
    length = window + horizon
    if len(is_there) < length:
        return np.empty(0, np.int64)
    absent = np.concatenate([[0], np.cumsum(~is_there)])
    return np.flatnonzero(absent[length:] == absent[:-length]) + window - 1


def _provenance(
    reader: BarReader,
    names: Sequence[str],
    kind: Resolution,
    start: datetime | None,
    end: datetime | None,
    source: str | None,
    known_at: datetime | None,
) -> dict[str, Any]:
    said: dict[str, Any] = {"pin": None, "as_of": known_at, "fingerprint": None}
    if isinstance(reader, Replay):
        said = {"pin": reader.pin.name, "as_of": known_at or reader.pin.as_of, "fingerprint": reader.pin.fingerprint}
    elif isinstance(reader, Lake):
        said["fingerprint"] = reader.fingerprint(source, names, kind, start, end, as_of=known_at).whole
    edges = {name: None if value is None else value.isoformat() for name, value in (("start", start), ("end", end))}
    return said | {"source": source, "symbols": tuple(names), "resolution": kind.value, **edges}


def _check(
    names: Sequence[str],
    window: int,
    horizon: int,
    batch_size: int,
    fields: Sequence[str],
    target: str,
    dtype: str,
    on_gap: str,
) -> None:
    if not names:
        raise ConfigError("no symbol was named", fix="name at least one")
    for name, number in (("window", window), ("horizon", horizon), ("batch_size", batch_size)):
        if not isinstance(number, int | np.integer) or number < 1:
            raise ConfigError(f"{name} is {number!r:.40}", fix="use a whole number from 1 on")
    unknown = [name for name in (*fields, target) if name not in FIELDS]
    if unknown or not fields or target == "volume":
        raise ConfigError(
            f"{(unknown or ['volume' if fields else 'nothing'])[0]!r:.40} cannot be learnt from or for",
            fix=f"choose fields from {', '.join(FIELDS)}, and a price as target",
        )
    for name, value, known in (("dtype", dtype, _DTYPES), ("on_gap", on_gap, _POLICIES)):
        if value not in known:
            raise ConfigError(f"{name} is {value!r:.40}", fix=f"use {' or '.join(known)}")
