"""A market-data lake that a quant can trust.

    >>> from gb_pipeline import Lake
    >>> bars = Lake.open("data").bars("BTC-USD", "1m", "2024-01-01", "2024-02-01")

This module has the public names and nothing else. Each is imported when it is first used, so that `import gb_pipeline` costs
nothing: Polars, Delta Lake and DuckDB load with the first name that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gb_pipeline.client.remote import RemoteLake
    from gb_pipeline.client.results import RemoteResults
    from gb_pipeline.config.cache import CacheOptions, RedisOptions
    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.errors import (
        CompactionRefused,
        ConfigError,
        ExportRefused,
        FormatRefused,
        GapInWindow,
        GbError,
        HistoryNotAvailable,
        InvalidResolution,
        InvalidSymbol,
        LakeError,
        LookAhead,
        NaiveTimestamp,
        NoDataInRange,
        NotEntitled,
        PermanentVendorError,
        PinRefused,
        QuotaExhausted,
        RateLimited,
        ReadError,
        RunRefused,
        ServerUnavailable,
        TransientVendorError,
        UniverseRefused,
        UnknownSeries,
        UnknownSymbol,
        VendorError,
        VendorUnreachable,
        WindowRefused,
    )
    from gb_pipeline.formats.export_report import ExportedSeries, ExportReport
    from gb_pipeline.formats.exporting import export_bars
    from gb_pipeline.formats.import_report import ImportedSeries, ImportReport
    from gb_pipeline.formats.importing import import_bars
    from gb_pipeline.formats.streams.exporting import ExportedStream, StreamExportReport, export_streams
    from gb_pipeline.formats.streams.importing import import_streams
    from gb_pipeline.formats.streams.report import ImportedStream, StreamImportReport
    from gb_pipeline.lake.instruments import InstrumentsReport
    from gb_pipeline.lake.report import SessionReport, SessionStatus, WriteReport
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.market.calendar import Calendar, get_calendar
    from gb_pipeline.market.joins import align, join_asof
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.market.rolls import make_rolls
    from gb_pipeline.market.schema import Adjustment, Precision
    from gb_pipeline.market.symbol import AssetClass, Symbol
    from gb_pipeline.market.window import Window
    from gb_pipeline.orchestration.build import build_definitions
    from gb_pipeline.orchestration.lake_io_manager import LakeIOManager
    from gb_pipeline.orchestration.resources import LakeResource
    from gb_pipeline.orchestration.series_group import SeriesGroup
    from gb_pipeline.portal.batches import Batch, WindowBatches
    from gb_pipeline.portal.bundles import Bundles
    from gb_pipeline.portal.clock import SimulationClock
    from gb_pipeline.portal.data_manager import Bar, DataManager
    from gb_pipeline.portal.portal import DataPortal
    from gb_pipeline.quality.gaps import GapReason
    from gb_pipeline.quality.rules import Alignment, BarRules, GapPolicy
    from gb_pipeline.reading.lake import Lake
    from gb_pipeline.reading.listed_instrument import ListedInstrument, StoredSeries
    from gb_pipeline.reading.pieces import BarsPiece
    from gb_pipeline.reading.price_adjustment import PriceAdjustment
    from gb_pipeline.research.factors.alpha158 import alpha158
    from gb_pipeline.research.factors.attached import AttachedPipeline
    from gb_pipeline.research.factors.custom import CustomFactor, expression_factor, window_factor
    from gb_pipeline.research.factors.datasets import Dataset, Loader, LoadRequest
    from gb_pipeline.research.factors.expressions import parse_expression
    from gb_pipeline.research.factors.pipeline import Pipeline
    from gb_pipeline.research.factors.prices import EquityPricing, Prices
    from gb_pipeline.research.factors.run import iter_pipeline, run_pipeline
    from gb_pipeline.research.factors.terms import Classifier, Factor, Filter
    from gb_pipeline.research.results.comparison import RunComparison
    from gb_pipeline.research.results.conditions import RunQuery
    from gb_pipeline.research.results.results import Results
    from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunName, RunState
    from gb_pipeline.research.results.writing import SaveReport
    from gb_pipeline.storage.log import DamagedLog
    from gb_pipeline.storage.parquet import DamagedFile

    __version__: str

__all__ = [
    "Adjustment",
    "Alignment",
    "AssetClass",
    "AttachedPipeline",
    "BacktestRun",
    "Bar",
    "BarRules",
    "BarsPiece",
    "Batch",
    "Bundles",
    "CacheOptions",
    "Calendar",
    "Classifier",
    "CompactionRefused",
    "ConfigError",
    "CustomFactor",
    "DamagedFile",
    "DamagedLog",
    "DataManager",
    "DataPortal",
    "Dataset",
    "EquityPricing",
    "ExportRefused",
    "ExportReport",
    "ExportedSeries",
    "ExportedStream",
    "Factor",
    "Filter",
    "FormatRefused",
    "GapInWindow",
    "GapPolicy",
    "GapReason",
    "GbError",
    "HistoryNotAvailable",
    "ImportReport",
    "ImportedSeries",
    "ImportedStream",
    "InstrumentsReport",
    "InvalidResolution",
    "InvalidSymbol",
    "Lake",
    "LakeError",
    "LakeIOManager",
    "LakeResource",
    "LakeStore",
    "ListedInstrument",
    "LoadRequest",
    "Loader",
    "LookAhead",
    "NaiveTimestamp",
    "NoDataInRange",
    "NotEntitled",
    "PermanentVendorError",
    "PinRefused",
    "PinnedData",
    "Pipeline",
    "Precision",
    "PriceAdjustment",
    "Prices",
    "QuotaExhausted",
    "RateLimited",
    "ReadError",
    "RedisOptions",
    "RemoteLake",
    "RemoteResults",
    "Resolution",
    "Results",
    "RunComparison",
    "RunName",
    "RunQuery",
    "RunRefused",
    "RunState",
    "SaveReport",
    "SeriesGroup",
    "ServerUnavailable",
    "SessionReport",
    "SessionStatus",
    "Settings",
    "SimulationClock",
    "SourceSettings",
    "StoredSeries",
    "StreamExportReport",
    "StreamImportReport",
    "Symbol",
    "TransientVendorError",
    "UniverseRefused",
    "UnknownSeries",
    "UnknownSymbol",
    "VendorError",
    "VendorUnreachable",
    "Window",
    "WindowBatches",
    "WindowRefused",
    "WriteReport",
    "__version__",
    "align",
    "alpha158",
    "build_definitions",
    "export_bars",
    "export_streams",
    "expression_factor",
    "get_calendar",
    "import_bars",
    "import_streams",
    "iter_pipeline",
    "join_asof",
    "make_rolls",
    "parse_expression",
    "run_pipeline",
    "window_factor",
]

_HOMES = {
    "Pipeline": "research.factors.pipeline",
    "Factor": "research.factors.terms",
    "Filter": "research.factors.terms",
    "Classifier": "research.factors.terms",
    "CustomFactor": "research.factors.custom",
    "Dataset": "research.factors.datasets",
    "LoadRequest": "research.factors.datasets",
    "Loader": "research.factors.datasets",
    "EquityPricing": "research.factors.prices",
    "Prices": "research.factors.prices",
    "AttachedPipeline": "research.factors.attached",
    "run_pipeline": "research.factors.run",
    "iter_pipeline": "research.factors.run",
    "parse_expression": "research.factors.expressions",
    "alpha158": "research.factors.alpha158",
    "expression_factor": "research.factors.custom",
    "window_factor": "research.factors.custom",
    "RemoteLake": "client.remote",
    "RemoteResults": "client.results",
    "BacktestRun": "research.results.run",
    "PinnedData": "research.results.run",
    "Results": "research.results.results",
    "RunComparison": "research.results.comparison",
    "RunName": "research.results.run",
    "RunQuery": "research.results.conditions",
    "RunState": "research.results.run",
    "SaveReport": "research.results.writing",
    "Adjustment": "market.schema",
    "Alignment": "quality.rules",
    "AssetClass": "market.symbol",
    "Bar": "portal.data_manager",
    "BarRules": "quality.rules",
    "BarsPiece": "reading.pieces",
    "Batch": "portal.batches",
    "Bundles": "portal.bundles",
    "CacheOptions": "config.cache",
    "Calendar": "market.calendar",
    "DamagedFile": "storage.parquet",
    "DamagedLog": "storage.log",
    "DataManager": "portal.data_manager",
    "DataPortal": "portal.portal",
    "GapPolicy": "quality.rules",
    "GapReason": "quality.gaps",
    "ExportReport": "formats.export_report",
    "ExportedSeries": "formats.export_report",
    "ImportReport": "formats.import_report",
    "ImportedSeries": "formats.import_report",
    "InstrumentsReport": "lake.instruments",
    "Lake": "reading.lake",
    "LakeIOManager": "orchestration.lake_io_manager",
    "LakeResource": "orchestration.resources",
    "LakeStore": "lake.store",
    "ListedInstrument": "reading.listed_instrument",
    "Precision": "market.schema",
    "PriceAdjustment": "reading.price_adjustment",
    "RedisOptions": "config.cache",
    "Resolution": "market.resolution",
    "SeriesGroup": "orchestration.series_group",
    "SessionReport": "lake.report",
    "SessionStatus": "lake.report",
    "Settings": "config.settings",
    "SimulationClock": "portal.clock",
    "SourceSettings": "config.settings",
    "StoredSeries": "reading.listed_instrument",
    "Symbol": "market.symbol",
    "Window": "market.window",
    "WindowBatches": "portal.batches",
    "WriteReport": "lake.report",
    "align": "market.joins",
    "build_definitions": "orchestration.build",
    "get_calendar": "market.calendar",
    "export_bars": "formats.exporting",
    "ExportedStream": "formats.streams.exporting",
    "StreamExportReport": "formats.streams.exporting",
    "export_streams": "formats.streams.exporting",
    "import_streams": "formats.streams.importing",
    "ImportedStream": "formats.streams.report",
    "StreamImportReport": "formats.streams.report",
    "import_bars": "formats.importing",
    "join_asof": "market.joins",
    "make_rolls": "market.rolls",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home at first use; every name without a home of its own is an error class of `errors`."""
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import version

    return version(__name__)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
