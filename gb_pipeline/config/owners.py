"""This module holds who looks after data: `owners` of gb.yaml, at the top of the file or of one source."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

_OWNER = re.compile(r"team:[\w.-]+|[^@\s]+@[^@\s]+\.[^@\s]+")


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _owner(text: str) -> str:
    if not _OWNER.fullmatch(text):
        raise ValueError(f"{text!r} is no owner, write an e-mail address, or a team as team:data")
    return text


# E-mail addresses, and teams as `team:data`; one may be written without a list.
Owners = Annotated[tuple[Annotated[str, AfterValidator(_owner)], ...], BeforeValidator(_one_or_many)]
