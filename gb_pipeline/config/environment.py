"""What `${NAME}` in gb.yaml stands for.

This module reads the variables of the process and of the `.env` beside gb.yaml, and fills them into texts. It writes nothing to
the process's own environment.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gb_pipeline.config.private_files import readable_by_others
from gb_pipeline.config.variables import VARIABLE
from gb_pipeline.errors import ConfigError

ENV_FILE = ".env"


class ReadableByOthersWarning(UserWarning):
    """Credentials are in a file that others on this machine may read."""


class Environment:
    """Variables, as gb.yaml in one folder sees them; the process's own win over those of `.env`.

    Args:
        file: the gb.yaml.

    Attributes:
        who: needs the variables, for messages; the gb.yaml itself at first.

    Raises:
        ConfigError: `.env` cannot be read; the message names the line and never what it holds.
    """

    def __init__(self, file: Path) -> None:
        """Read `.env`, if there is one."""
        self._file = file
        self.who = str(file)
        self.file_variables = read_env(file.parent / ENV_FILE)

    def get(self, name: str) -> str | None:
        """The value of a variable; None where it is unset or empty."""
        return os.environ.get(name) or self.file_variables.get(name) or None

    def fill(self, value: Any) -> Any:
        """Put variables into every text below a value; after parsing, so that a variable cannot change the structure.

        Raises:
            ConfigError: a variable is unset and has no default.
        """
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        return VARIABLE.sub(self._require, value) if isinstance(value, str) else value

    def fill_sources(self, sources: Any) -> Any:
        """The same for the `sources` of gb.yaml: each gets its name, and its options are filled by `fill_options`."""
        if not isinstance(sources, dict):
            return sources
        return {name: self._fill_source(name, body) for name, body in sources.items()}

    def fill_collect(self, collect: Any) -> Any:
        """The same for the section `collect` of gb.yaml, whose streams have options with credentials as sources do."""
        if not isinstance(collect, dict) or not isinstance(collect.get("streams"), dict):
            return self.fill(collect)
        streams = {name: self._fill_body(body) for name, body in collect["streams"].items()}
        return {key: self.fill(value) for key, value in collect.items() if key != "streams"} | {"streams": streams}

    def fill_options(self, options: Any) -> Any:
        """The same for a source's options, whose credentials may be unset: they are needed when they are used.

        Returns:
            The options with credentials as `Credential`: empty where a variable of theirs is unset.

        Raises:
            ConfigError: the variable of another option is unset and has no default.
        """
        if isinstance(options, list):
            return [self.fill_options(item) for item in options]
        if not isinstance(options, dict):
            return self.fill(options)
        # With Pydantic, which whoever only reads a lake does not need.
        from gb_pipeline.config.credentials import is_credential

        return {
            key: self._seal(item) if is_credential(str(key)) else self.fill_options(item)
            for key, item in options.items()
        }

    def _fill_source(self, name: Any, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {"name": name, **self._fill_body(body)}

    def _fill_body(self, body: Any) -> Any:
        """Of a source or stream."""
        if not isinstance(body, dict):
            return body
        options = {"options": self.fill_options(body["options"])} if "options" in body else {}
        return {key: self.fill(value) for key, value in body.items() if key != "options"} | options

    def _seal(self, value: Any) -> Any:
        from gb_pipeline.config.credentials import Credential

        if isinstance(value, dict):
            return {key: self._seal(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._seal(item) for item in value]
        return Credential.of(value, self.get) if isinstance(value, str) else value

    def _require(self, match: re.Match[str]) -> str:
        value = self.get(match[1])
        if value is None and match[2] is None:
            raise ConfigError(
                f"{self.who} needs the environment variable {match[1]}, which is not set",
                fix=f"set it, write it into {self._file.parent / ENV_FILE}, or write ${{{match[1]}:-a default}}",
            )
        return value if value is not None else str(match[2])


def read_env(file: Path) -> Mapping[str, str]:
    """The variables of a `.env` file: `NAME=value` lines, comments, quotes and `export` as shells have them.

    Values stand as they are: `$` in a password is a `$`. No file, no variables. A file that the group or others may read is read
    all the same, with a `ReadableByOthersWarning`.

    Raises:
        ConfigError: it cannot be read, or a line is not an assignment; the message names the line, not what it holds.
    """
    if not file.is_file():
        return {}
    from dotenv.parser import parse_stream

    try:
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{file} cannot be read: {reason}", fix="write NAME=value lines as UTF-8 text") from None
    variables: dict[str, str] = {}
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            # What was read of a binding may begin with empty lines.
            blank = len(binding.original.string) - len(binding.original.string.lstrip())
            line = binding.original.line + binding.original.string[:blank].count("\n")
            raise ConfigError(f"{file}, line {line}: not a NAME=value line", fix="correct the line, or begin it with #")
        if binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    if variables and readable_by_others(file):
        warnings.warn(
            f"{file} can be read by others on this machine; close it: chmod 600 {file}",
            ReadableByOthersWarning,
            stacklevel=2,
        )
    return variables
