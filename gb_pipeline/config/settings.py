"""gb.yaml, the datasets of components beside it, and GB_* variables, read into one validated object.

This module has what stands at the top of the file and reads all of it; what is said of a source is in `source_settings`, and where
else sources may stand in `datasets`. It builds nothing: lakes, providers and calendars are made from these settings elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from gb_pipeline.config import places
from gb_pipeline.config.alerts import AlertSettings
from gb_pipeline.config.bucket import Address
from gb_pipeline.config.cache import CacheOptions, with_variables
from gb_pipeline.config.cache_settings import CacheSettings
from gb_pipeline.config.collect import CollectSettings
from gb_pipeline.config.datasets import Dataset, read_datasets
from gb_pipeline.config.environment import Environment
from gb_pipeline.config.factors import FactorSetName, FactorSetSettings
from gb_pipeline.config.healing import HealingSettings
from gb_pipeline.config.health import HealthSettings
from gb_pipeline.config.incidents import read_incidents
from gb_pipeline.config.owners import Owners
from gb_pipeline.config.source_settings import DailyQuota, Grain, RateLimit, SourceSettings
from gb_pipeline.config.suggestions import describe_problems, suggest
from gb_pipeline.config.symbols.discovered import universe_home
from gb_pipeline.config.symbols.spec import SymbolSettings, SymbolsSpec
from gb_pipeline.errors import ConfigError, GbError

__all__ = ["DailyQuota", "Grain", "RateLimit", "Settings", "SourcePlace", "SourceSettings", "SymbolSettings"]


class SourcePlace(NamedTuple):
    """A file, and the keys that lead to a source in it."""

    file: Path
    keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """For messages: `gb.yaml`, `coinbase/defs.yaml`."""
        return self.file.name if self.keys[0] == "sources" else f"{self.file.parent.name}/{self.file.name}"


# A quarter: what ran last month is still looked up now and then.
DEFAULT_HISTORY_DAYS = 90


class Settings(BaseModel):
    """Everything that gb.yaml says, and the sources that components of its project describe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="the file it was read from")
    lake: Address = Field(description="root of the lake: a local folder, or s3://bucket/prefix")
    state: Path = Field(
        description="local folder of what this machine keeps for the lake: locks, and how fast and how often vendors were "
        "asked; <lake>/state by default, ~/.local/state/gb_pipeline/... for a lake in an object store"
    )
    iceberg: bool = Field(
        default=False,
        description="Iceberg tables of the bars, as `gb export --iceberg` makes them, are refreshed with the catalog",
    )
    incidents: Path | None = Field(default=None, description="what explains gaps; incidents.yaml beside gb.yaml")
    alerts: AlertSettings = Field(
        default=AlertSettings(), description="who is told of failed runs and checks, and of their end"
    )
    health: HealthSettings = Field(
        default=HealthSettings(), description="when the standing checks look, and what they put up with"
    )
    backup: str | None = Field(
        default=None,
        description="a folder, or s3://bucket/prefix, to which Dagster copies the lake every night, and which it restores every "
        "week to see whether it can be; also where `gb backup` copies to if no place is named",
    )
    healing: HealingSettings = Field(
        default=HealingSettings(), description="how what failed or has gaps is asked for again by itself"
    )
    cache: CacheSettings = Field(default=CacheSettings(), description="which answers of the lake are kept, and where")
    history_days: int | None = Field(
        default=DEFAULT_HISTORY_DAYS,
        ge=7,
        description="Dagster's own events that no page is made of are removed once they are so many days old; null: never",
    )
    owners: Owners = Field(default=(), description="who looks after the data: e-mail addresses, and teams as team:data")
    collect: CollectSettings = Field(
        default_factory=CollectSettings, description="which trades and order books `gb collect` hears around the clock"
    )
    factors: dict[FactorSetName, FactorSetSettings] = Field(
        default_factory=dict, description="sets of factors that are computed and stored, month by month"
    )
    sources: dict[str, SourceSettings] = Field(description="what to fetch, by the name under which it is stored")
    _datasets: tuple[Dataset, ...] = PrivateAttr(default=())

    @classmethod
    def load(cls, path: Path | str | None = None) -> Settings:
        """Read gb.yaml, and the `MarketDataset`s in the `defs.yaml` files of its project where it has some.

        Args:
            path: the file or its folder; `GB_CONFIG` or the working directory's gb.yaml by default. `GB_LAKE` overrides
                the lake's root, `GB_STATE` the folder of its state, both relative to the file. `${NAME}` and
                `${NAME:-default}` in any text stand for environment variables, or for those of a `.env` beside gb.yaml. An
                unset variable of a credential is an error when the credential is used, not here.

        Raises:
            ConfigError: no such file, broken YAML, an unknown name, an unusable value, a lake whose address cannot be used, the
                unset variable of anything else than a credential, a broken `.env`, or two sources of one name; the message says
                where.
        """
        settings = cls.load_file(path)
        return settings.with_datasets(read_datasets(settings.path))

    @classmethod
    def load_file(cls, path: Path | str | None = None) -> Settings:
        """Read gb.yaml alone; see `load`."""
        file = places.find_config(path)
        document = places.read_config(file)
        variables = Environment(file)
        # How an object store is reached is part of the lake's address.
        filled = {
            key: variables.fill(value)
            for key, value in document.items()
            if key not in {"sources", "s3", "alerts", "cache", "collect"}
        }
        filled |= {
            "sources": variables.fill_sources(document.get("sources") or {}),
            "collect": variables.fill_collect(document.get("collect") or {}),
            # What is secret in them is looked up when it is used.
            "alerts": document.get("alerts") or {},
            "cache": document.get("cache") or {},
            "path": file,
            "lake": places.lake_of(document, file, variables),
            "state": places.state_of(document, file, variables),
            "incidents": (incidents := places.incidents_of(document, file, variables)),
        }
        if incidents is not None:
            read_incidents(incidents)
        try:
            home = universe_home(filled["lake"], file.parent)
            return cls.model_validate(filled, context={"folder": file.parent, "home": home})
        except ValidationError as error:
            problems = describe_problems(error, cls, hidden=("name", "path"), mappings={"symbols": SymbolsSpec})
            raise ConfigError(f"{file}: {problems}", fix="correct gb.yaml; the README lists every setting") from None
        except GbError as error:
            raise ConfigError(f"{file}: {error.what}", fix=error.fix) from None

    def with_datasets(self, datasets: Iterable[Dataset]) -> Settings:
        """The same settings with more sources, behind those of gb.yaml.

        Raises:
            ConfigError: a setting of theirs that cannot be used, or a name that there is already; the message names file and line.
        """
        given = tuple(datasets)
        home = universe_home(self.lake, self.path.parent)
        sources, written = dict(self.sources), dict.fromkeys(self.sources, str(self.path))
        for dataset in given:
            source = dataset.build_source(self.path, home)
            if source.name in written:
                raise dataset.wrong(
                    ["name"],
                    f"there is a source {source.name} already, in {written[source.name]}",
                    "give one of them another `name`: a name stands for one source of the lake",
                )
            written[source.name] = dataset.at(["name"])
            sources[source.name] = source
        settings = self.model_copy(update={"sources": sources})
        settings._datasets = (*self._datasets, *given)
        return settings

    def reload(self) -> Settings:
        """The same files as they are now, with the datasets that these settings have: symbols may have joined.

        Raises:
            ConfigError: as `load`.
        """
        return self.load_file(self.path).with_datasets(self._datasets)

    @property
    def written_in(self) -> str:
        """What the sources stand in, for messages: `gb.yaml`, or `gb.yaml with 2 components`."""
        count = len(self._datasets)
        return f"{self.path.name} with {count} component{'s' if count > 1 else ''}" if count else self.path.name

    def place_of(self, source: str) -> SourcePlace:
        """Where a source is written: in gb.yaml, or in the `defs.yaml` of its component.

        Raises:
            ConfigError: there is no such source, or it was made in code.
        """
        name = self.source(source).name
        dataset = next((dataset for dataset in self._datasets if dataset.name == name), None)
        if dataset is None:
            return SourcePlace(self.path, ("sources", name))
        if dataset.file is None:
            raise ConfigError(f"the source {name} is written in {dataset.at([])}", fix="edit it by hand")
        return SourcePlace(dataset.file, ("attributes",))

    def backup_address(self) -> Address | None:
        """Where the lake is copied to, a folder relative to gb.yaml or a bucket; None where there is no backup.

        Raises:
            ConfigError: an address that cannot be used.
        """
        if self.backup is None:
            return None
        place = places.other_address(self.backup, self.path)
        return self.path.parent / place if isinstance(place, Path) else place

    @property
    def spool(self) -> Path:
        """The local folder of this machine's collector: what waits until it is committed, and what the collector says of itself."""
        named = self.collect.spool
        return (self.state / "spool" if named is None else self.path.parent / named) / self.collect.collector

    def cache_options(self) -> CacheOptions:
        """Where answers of the lake are kept, as gb.yaml and GB_CACHE* variables say.

        Raises:
            ConfigError: a variable that cannot be used, or that is not set.
        """
        get = Environment(self.path).get
        return with_variables(self.cache.options(self.path.parent, get), get)

    def source(self, name: str) -> SourceSettings:
        """One source by name.

        Raises:
            ConfigError: there is no such source; the message lists what there is.
        """
        if name not in self.sources:
            raise ConfigError(
                f"{self.path.parent / self.written_in} has no source {name!r}",
                fix=suggest(name, list(self.sources), "its sources are"),
            )
        return self.sources[name]
