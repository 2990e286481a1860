"""`python -m gb_pipeline.cli` is the same as `gb`, for where the script is not on the path."""

from __future__ import annotations

from gb_pipeline.cli import main

main()
