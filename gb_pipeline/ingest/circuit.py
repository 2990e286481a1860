"""This module stops asking a vendor that is down: what failed for the first symbols is not tried with hundreds of others.

One circuit lasts as long as one run. Waiting and repeating a single request is up to `providers.http.transport`; what was not
asked is asked by a later run.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from gb_pipeline.errors import GbError, QuotaExhausted, TransientVendorError, VendorError, VendorUnreachable

# A vendor that answers can be in trouble with one symbol, or with a few, and serve all others.
MOST_IN_A_ROW = 10


@dataclass
class Circuit:
    """Whether a vendor is worth asking, by what it answered so far.

    It opens with the first request that finds no connection, after its repeats, and with the tenth question in a row that fails
    in passing, each about something else.

    Example:
        >>> circuit = Circuit()
        >>> circuit.note("AAPL", VendorUnreachable("api.example.com cannot be reached"))
        >>> circuit.refusal().what
        'api.example.com cannot be reached'
    """

    _error: VendorError | None = None
    _failing: set[str] = field(default_factory=set)

    def refusal(self) -> VendorError | None:
        """What a question is told instead of being asked: the error that opened the circuit; None while it is closed."""
        if self._error is None:
            return None
        error = copy.copy(self._error)
        # Nothing was sent for it.
        error.calls = 0
        return error

    def note(self, about: str, answer: object) -> None:
        """Take in an answer, or the error that came instead of it.

        Args:
            about: what was asked for, such as a symbol.
            answer: of the vendor.
        """
        if isinstance(answer, QuotaExhausted):
            return
        if isinstance(answer, TransientVendorError):
            self._failing.add(about)
            if isinstance(answer, VendorUnreachable) or len(self._failing) >= MOST_IN_A_ROW:
                self._error = self._error or answer
        elif isinstance(answer, VendorError) or not isinstance(answer, GbError):
            # A vendor that refuses is there.
            self._failing.clear()
