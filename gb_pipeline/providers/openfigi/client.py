"""This module asks OpenFIGI, many questions at a time, as fast as its documented limits allow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.transport import Transport
from gb_pipeline.providers.openfigi.answers import RECORDS, WHO

URL = "https://api.openfigi.com/v3/mapping"
# https://www.openfigi.com/api/documentation#rate-limits
_JOBS, _RATE = 10, RateLimit(calls=25, seconds=60)
_JOBS_WITH_KEY, _RATE_WITH_KEY = 100, RateLimit(calls=25, seconds=6)


class OpenFigiClient:
    """The way to OpenFIGI.

    Args:
        key: raises its limits; it answers without one.
        base_url: a simulated one on loopback.
        state_dir: folder of the pace that all processes on this machine share.
        policy: patience and pace; the documented pace by default, none on loopback.

    Raises:
        ConfigError: base_url is not on loopback.
    """

    def __init__(
        self,
        key: str = "",
        *,
        base_url: str | None = None,
        state_dir: Path | None = None,
        policy: Policy | None = None,
    ) -> None:
        """Nothing is sent yet."""
        self.jobs_at_once = _JOBS_WITH_KEY if key else _JOBS
        rate = None if base_url else _RATE_WITH_KEY if key else _RATE
        chosen = policy or Policy(rate=rate, state_dir=state_dir)
        headers = {"X-OPENFIGI-APIKEY": key} if key else {}
        self._http = HttpClient(
            WHO, Transport("openfigi", chosen), base_url=base_url, headers=headers, secrets=[key] if key else []
        )

    async def map(self, jobs: Sequence[Mapping[str, Any]]) -> AsyncIterator[tuple[Mapping[str, Any], Any]]:
        """Each question with its answer, batch after batch, so that what has been answered is not lost with what comes later.

        Raises:
            VendorError: one of its kinds.
        """
        for first in range(0, len(jobs), self.jobs_at_once):
            batch = list(jobs[first : first + self.jobs_at_once])
            answers = await self._http.transport.call(lambda batch=batch: self._ask(batch))  # type: ignore[misc]
            for job, answer in zip(batch, answers, strict=True):
                yield job, answer

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def _ask(self, batch: Sequence[Mapping[str, Any]]) -> list[Any]:
        payload, _ = await self._http.post_json(URL, batch)
        if not isinstance(payload, list) or len(payload) != len(batch):
            raise RECORDS.broken(f"something else than {len(batch)} answers to as many questions")
        return payload
