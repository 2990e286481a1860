"""gb.yaml and GB_* variables, read into one validated object.

This module has what stands at the top of the file and reads all of it; what is said of a source is in `source_settings`. It builds
nothing: lakes, providers and calendars are made from these settings elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gb_pipeline.config import places
from gb_pipeline.config.alerts import AlertSettings
from gb_pipeline.config.bucket import Address
from gb_pipeline.config.environment import Environment
from gb_pipeline.config.healing import HealingSettings
from gb_pipeline.config.health import HealthSettings
from gb_pipeline.config.incidents import read_incidents
from gb_pipeline.config.owners import Owners
from gb_pipeline.config.source_settings import DailyQuota, Grain, RateLimit, SourceSettings
from gb_pipeline.config.suggestions import describe_problems, suggest
from gb_pipeline.config.symbols.discovered import universe_home
from gb_pipeline.config.symbols.spec import SymbolSettings, SymbolsSpec
from gb_pipeline.errors import ConfigError, GbError

__all__ = ["DailyQuota", "Grain", "RateLimit", "Settings", "SourceSettings", "SymbolSettings"]


class Settings(BaseModel):
    """Everything that gb.yaml says."""

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
    owners: Owners = Field(default=(), description="who looks after the data: e-mail addresses, and teams as team:data")
    sources: dict[str, SourceSettings] = Field(description="what to fetch, by the name under which it is stored")

    @classmethod
    def load(cls, path: Path | str | None = None) -> Settings:
        """Read gb.yaml.

        Args:
            path: the file or its folder; `GB_CONFIG` or the working directory's gb.yaml by default. `GB_LAKE` overrides
                the lake's root, `GB_STATE` the folder of its state, both relative to the file. `${NAME}` and
                `${NAME:-default}` in any text stand for environment variables, or for those of a `.env` beside gb.yaml. An
                unset variable of a credential is an error when the credential is used, not here.

        Raises:
            ConfigError: no such file, broken YAML, an unknown name, an unusable value, a lake whose address cannot be used, the
                unset variable of anything else than a credential, or a broken `.env`; the message says where.
        """
        file = places.find_config(path)
        document = places.read_config(file)
        variables = Environment(file)
        # How an object store is reached is part of the lake's address.
        filled = {
            key: variables.fill(value) for key, value in document.items() if key not in {"sources", "s3", "alerts"}
        }
        filled |= {
            "sources": variables.fill_sources(document.get("sources") or {}),
            # What is secret in them is looked up when it is used.
            "alerts": document.get("alerts") or {},
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

    def backup_address(self) -> Address | None:
        """Where the lake is copied to, a folder relative to gb.yaml or a bucket; None where there is no backup.

        Raises:
            ConfigError: an address that cannot be used.
        """
        if self.backup is None:
            return None
        place = places.other_address(self.backup, self.path)
        return self.path.parent / place if isinstance(place, Path) else place

    def source(self, name: str) -> SourceSettings:
        """One source by name.

        Raises:
            ConfigError: gb.yaml has no such source; the message lists what it has.
        """
        if name not in self.sources:
            raise ConfigError(
                f"{self.path} has no source {name!r}", fix=suggest(name, list(self.sources), "its sources are")
            )
        return self.sources[name]
