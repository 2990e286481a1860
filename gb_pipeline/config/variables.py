"""How texts of gb.yaml name variables of the environment; `environment` says what their values are."""

from __future__ import annotations

import re

# `${NAME}` or `${NAME:-a default for where NAME is unset or empty}`, as shells write it.
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
