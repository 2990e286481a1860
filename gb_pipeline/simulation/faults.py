"""What can be wrong with a request. How one finds its fault is in `fault_queue`; wrong data is in `defects`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from gb_pipeline.simulation.fault_queue import PlannedFault
from gb_pipeline.simulation.response import TROUBLES

ACTIONS = ("answer", "reset", "cut", "truncate", "slow", "hang", "redirect", "flood", *TROUBLES)


@dataclass(slots=True, kw_only=True)
class Fault(PlannedFault):
    """What happens to the next requests that match, `/host/path?query`.

    Attributes:
        action: `answer` with status, headers and body (only delays, if none is given), `reset` the connection, `cut`
            the real body in half as if it were whole, `truncate` it after half although its length was announced,
            `slow` send it in ten pieces over `delay` seconds, `hang` never answer, `redirect` to another host
            (headers' Location, or one that does not exist), `flood` with a list of `size` bytes that is made on the way
            (compressed, where headers say Content-Encoding gzip), or a trouble of the rows (`answer.TROUBLES`), which the
            vendor's dialect makes; an answer that a trouble of the rows leaves as it is does not count as a hit.
        status: HTTP status of the answer.
        headers: its headers, such as Retry-After.
        body: its body; the status' own text by default.
        delay: seconds before the answer.
        size: bytes of a flood, before compression.
    """

    ACTIONS: ClassVar[tuple[str, ...]] = ACTIONS

    action: str = "answer"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    size: int = 2 * 2**30

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """See `PlannedFault.of`; values of headers become text."""
        headers = {name: str(value) for name, value in body.get("headers", {}).items()}
        # A class with slots is made anew by its decorator, of which `super()` without arguments knows nothing.
        return super(Fault, cls).of({**body, "headers": headers})
