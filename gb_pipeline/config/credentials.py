"""Which settings are credentials, and a value type that no repr, log or traceback shows.

An option's name alone makes it a credential. This module seals such options and opens one when it is used. `environment` says
where the values come from; `providers.http.redaction` keeps them out of messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from gb_pipeline.config.variables import VARIABLE
from gb_pipeline.errors import ConfigError

_CREDENTIAL_WORDS = frozenset(
    {"key", "apikey", "secret", "token", "password", "passwd", "passphrase", "credential", "authorization"}
)
# api_key, api-key, apiKey and APIKey are the same two words.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def is_credential(name: str) -> bool:
    """Whether an option of this name is a credential: one of its words says so.

    Example:
        >>> [name for name in ("key", "secretKey", "X-Api-Key", "monkey", "feed") if is_credential(name)]
        ['key', 'secretKey', 'X-Api-Key']
    """
    return not _CREDENTIAL_WORDS.isdisjoint(word.lower().removesuffix("s") for word in _WORD.findall(name))


class Credential(SecretStr):
    """A text that shows as `**********`; `get_secret_value()` opens it.

    Attributes:
        variables: names of the environment variables that it was made of; empty for one that was written out.
        text: what gb.yaml says, where that names variables; empty for one that was written out.
    """

    def __init__(self, value: str, text: str = "") -> None:
        """White space around a value is never meant: it comes from files with a line break at their end."""
        super().__init__(value.strip())
        self.variables = tuple(dict.fromkeys(match[1] for match in VARIABLE.finditer(text)))
        self.text = text if self.variables else ""

    @classmethod
    def of(cls, text: str, get: Callable[[str], str | None]) -> Credential:
        """From a text with variables; empty where one of them is unset and has no default.

        Args:
            text: with `${NAME}` in it, or without.
            get: the value of a variable; None where it is unset.
        """
        values = [get(match[1]) or match[2] for match in VARIABLE.finditer(text)]
        if None in values:
            return cls("", text)
        filled = iter(values)
        return cls(VARIABLE.sub(lambda _: next(filled) or "", text), text)


def seal(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options with every credential among them, on all levels, as a `Credential`.

    Anything with an `env_var_name`, such as Dagster's `EnvVar`, stands for that variable; one that is not set is empty.
    """
    return {
        name: _seal_value(value) if is_credential(str(name)) else _seal_nested(value) for name, value in options.items()
    }


def refill(options: Mapping[str, Any], get: Callable[[str], str | None]) -> dict[str, Any]:
    """Sealed options with the variables of their credentials looked up again."""

    def refill_value(value: Any) -> Any:
        if isinstance(value, Credential):
            return Credential.of(value.text, get) if value.variables else value
        if isinstance(value, Mapping):
            return {name: refill_value(item) for name, item in value.items()}
        return [refill_value(item) for item in value] if isinstance(value, list | tuple) else value

    return {name: refill_value(value) for name, value in options.items()}


def credentials(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Credential]]:
    """Credentials of sealed options with their names; `headers.token` is `token` of the mapping `headers`."""
    for name, value in options.items():
        if isinstance(value, Credential):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from credentials(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield from credentials({str(position): item for position, item in enumerate(value)}, f"{prefix}{name}.")


def open_credential(source: str, option: str, credential: Credential | None) -> str:
    """The value of a credential that is about to be used.

    Args:
        source: for the message.
        option: its name, for the message.
        credential: None where the option is not there at all.

    Raises:
        ConfigError: it is absent or empty, or cannot be sent in a header; the message names source, option and variables.
    """
    if credential is None:
        variable = re.sub(r"\W", "_", f"{source}_{option}").upper()
        raise ConfigError(
            f"source {source} has no credential: its option {option!r} is missing",
            fix=f'write options: {{{option}: "${{{variable}}}"}} in gb.yaml, and set {variable}',
        )
    value = credential.get_secret_value()
    names = " and ".join(credential.variables)
    if not value:
        missing = f"the environment variable {names} is not set" if names else "it is empty"
        raise ConfigError(
            f"source {source} has no credential for its option {option!r}: {missing}",
            fix=f"set {names or 'it'}, or write it into the .env beside gb.yaml",
        )
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"source {source}: its option {option!r}{f' ({names})' if names else ''} has characters that no key has",
            fix="copy it again, without line breaks, quotes of a text processor and the like",
        )
    return value


def _seal_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | Credential):
        return value
    if isinstance(value, Mapping):
        return {name: _seal_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_seal_value(item) for item in value]
    if isinstance(value, SecretStr):
        return Credential(value.get_secret_value())
    # Dagster is not imported here, and its EnvVar refuses to be read as the text that it is.
    name = getattr(value, "env_var_name", None)
    return Credential.of(f"${{{name}}}", os.environ.get) if isinstance(name, str) else Credential(str(value))


def _seal_nested(value: Any) -> Any:
    if isinstance(value, Mapping):
        return seal(value)
    return [_seal_nested(item) for item in value] if isinstance(value, list | tuple) else value
