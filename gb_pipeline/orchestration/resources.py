"""Resources are what assets are given to work with: documented settings that hand out plain objects of the domain.

No work is done here.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from gb_pipeline.config.bucket import Address, is_bucket
from gb_pipeline.config.environment import ENV_FILE, read_env
from gb_pipeline.config.places import lake_address
from gb_pipeline.config.project_incidents import ProjectIncidents
from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.config.source_facts import SourceFacts, read_facts
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.store import LakeStore

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The lake, for reading and for writing."""

    root: str = Field(description="folder or s3:// address of the lake; `lake` of gb.yaml, or GB_LAKE")
    state: str = Field(
        default="",
        description="local folder of locks and rate limits; `state` of gb.yaml, or GB_STATE; by default beside the lake's tables",
    )
    config: str = Field(
        default="",
        description="gb.yaml that says how the object store of `root` is reached, and which incidents explain gaps; the usual "
        "AWS variables and none if empty",
    )

    @classmethod
    def of(cls, settings: Settings) -> "LakeResource":
        """The lake that gb.yaml names."""
        return cls(root=str(settings.lake), state=str(settings.state), config=str(settings.path))

    def open_store(self) -> LakeStore:
        """The write side, opened anew: for whoever looks again and again, while the folder may be replaced meanwhile."""
        incidents = ProjectIncidents(Path(self.config)) if self.config else None
        return LakeStore.at(self._address(), state=self.state or None, incidents=incidents)

    def _address(self) -> Address | str:
        """The lake's address; credentials of an object store are looked up here, so that Dagster never has them."""
        if not (self.config and is_bucket(self.root)):
            return self.root
        named = lake_address(self.config)
        return named if str(named) == self.root else self.root

    @cached_property
    def store(self) -> LakeStore:
        """The write side: ingestion and compaction."""
        return self.open_store()

    @cached_property
    def reader(self) -> "Lake":
        """The read side: everything downstream.

        Raises:
            ConfigError: there is no lake yet.
        """
        from gb_pipeline.reading.lake import Lake
        from gb_pipeline.reading.opening import refuse_no_lake

        refuse_no_lake(self.store.storage)
        return Lake(self.store, facts=self._given_facts)

    @property
    def source_facts(self) -> Sequence[SourceFacts]:
        """Calendars and priorities of the sources: of gb.yaml, and of what the catalog remembers."""
        from gb_pipeline.catalog.state import known_sources

        return known_sources(self.store.storage, self._given_facts)

    @cached_property
    def _given_facts(self) -> Sequence[SourceFacts] | None:
        return read_facts(Path(self.config)) if self.config else None


class VendorCredentials(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the credentials of one source are found: names of variables, never values.

    Dagster's page lists the variables under Deployment > Environment variables, whether they are set or not. They are looked
    up when a run asks for them: an unset one fails the runs of its source, with a message, and nothing else.

    Example:
        >>> resources = {"alpaca_credentials": VendorCredentials(variables={"ALPACA_KEY": dg.EnvVar("PROD_ALPACA_KEY")})}
    """

    # Not `str`: Dagster would look such variables up before a run starts, and refuse to start it where one is in `.env`.
    variables: dict[str, Any] = Field(description="variable that gb.yaml names to the EnvVar that holds its value")
    folder: str = Field(
        default="", description="folder of gb.yaml: variables that are not set are looked for in its .env"
    )

    @classmethod
    def of(cls, source: SourceSettings, folder: Path) -> "VendorCredentials":
        """The variables that a source of gb.yaml names."""
        names = sorted({name for found in source.variables.values() for name in found})
        return cls(variables={name: dg.EnvVar(name) for name in names}, folder=str(folder))

    def apply_to(self, source: SourceSettings) -> SourceSettings:
        """The settings of a source with the values that its variables have now.

        Raises:
            ConfigError: a value was given instead of the name of a variable, or `.env` is broken.
        """
        env_file = read_env(Path(self.folder) / ENV_FILE) if self.folder else {}

        def get(name: str) -> str | None:
            reference = self.variables.get(name, {"env": name})
            # In a run it is what Dagster stores of an EnvVar; in code it still is one.
            variable = reference.env_var_name if isinstance(reference, dg.EnvVar) else None
            variable = reference.get("env") if isinstance(reference, dict) else variable
            if not isinstance(variable, str):
                raise ConfigError(
                    f"the credentials of source {source.name} have a value for {name}, which Dagster would keep and show",
                    fix=f'write the name of a variable: {{"env": "{name}"}}, or dg.EnvVar("{name}") in code',
                )
            return os.environ.get(variable) or env_file.get(variable) or None

        return source.with_variables(get)


def name_of_credentials(source: SourceSettings) -> str:
    """The name of a source's resource, `alpaca_credentials`."""
    return f"{source.name}_credentials"


def build_vendor_resources(settings: Settings) -> dict[str, VendorCredentials]:
    """One resource per source whose credentials come from variables."""
    resources = {
        name_of_credentials(source): VendorCredentials.of(source, settings.path.parent)
        for source in settings.sources.values()
    }
    return {key: resource for key, resource in resources.items() if resource.variables}


def list_required_resources(source: SourceSettings) -> set[str]:
    """Resources of an asset that asks this source's vendor."""
    return {"lake", *([name_of_credentials(source)] if any(source.variables.values()) else [])}


def with_run_credentials(context: dg.AssetExecutionContext, source: SourceSettings) -> SourceSettings:
    """A source's settings with the credentials that this run was given."""
    if not any(source.variables.values()):
        return source
    credentials: VendorCredentials = getattr(context.resources, name_of_credentials(source))
    return credentials.apply_to(source)
