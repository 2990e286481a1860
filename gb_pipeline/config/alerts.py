"""This module holds who is told when something fails: the section `alerts` of gb.yaml.

Addresses are Apprise's, and most of them hold a token: they are opened when they are used, and shown nowhere.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from gb_pipeline.config.credentials import Credential
from gb_pipeline.config.durations import parse_duration
from gb_pipeline.errors import ConfigError

# How often the sensor looks.
_TICK = timedelta(seconds=30)


class AlertSettings(BaseModel):
    """Addresses, a link, and a heartbeat; nobody is told where there is no address.

    Example:
        >>> AlertSettings(to=["json://127.0.0.1:9000/hook"]).open_addresses({}.get)
        ['json://127.0.0.1:9000/hook']
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[SecretStr, ...] = Field(
        default=(),
        description="addresses as https://appriseit.com/services lists them, with ${NAME} for what is secret",
    )
    page: str = Field(
        default="http://127.0.0.1:3000", description="where Dagster's page is reached, for the links in a message"
    )
    heartbeat: SecretStr | None = Field(
        default=None,
        description="address that is called again and again while Dagster works: whoever watches it tells when the calls end",
    )
    heartbeat_every: timedelta = Field(
        default=timedelta(minutes=5), description="how often it is called, such as 5m or 1h; half a minute at least"
    )
    warnings: bool = Field(default=True, description="whether a check that warns is told as well as one that fails")

    @field_validator("to", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("heartbeat_every", mode="before")
    @classmethod
    def _length(cls, value: object) -> object:
        return value if isinstance(value, timedelta) else parse_duration(str(value))

    @field_validator("heartbeat_every")
    @classmethod
    def _often_enough(cls, value: timedelta) -> timedelta:
        if not _TICK <= value <= timedelta(days=1):
            raise ValueError("the heartbeat is called every half minute at most, and every day at least")
        return value

    @field_validator("page")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("the page's address begins with http:// or https://")
        return value.rstrip("/")

    def open_addresses(self, get: Callable[[str], str | None]) -> list[str]:
        """The addresses, with their variables filled in.

        Args:
            get: the value of a variable; None where it is unset.

        Raises:
            ConfigError: a variable is not set; the message names it.
        """
        return [_open("alerts.to", address, get) for address in self.to]

    def open_heartbeat(self, get: Callable[[str], str | None]) -> str | None:
        """The address of the heartbeat, filled in; None without one.

        Raises:
            ConfigError: a variable is not set; the message names it.
        """
        return None if self.heartbeat is None else _open("alerts.heartbeat", self.heartbeat, get)


def _open(name: str, address: SecretStr, get: Callable[[str], str | None]) -> str:
    filled = Credential.of(address.get_secret_value(), get)
    if not (value := filled.get_secret_value()):
        variables = " and ".join(filled.variables)
        raise ConfigError(
            f"{name} cannot be used: the environment variable {variables} is not set"
            if variables
            else f"{name} is empty",
            fix=f"set it, or write it into .env beside gb.yaml: {variables}" if variables else "name an address",
        )
    return value
