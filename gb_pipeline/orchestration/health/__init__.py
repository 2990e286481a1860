"""The standing checks as Dagster has them: `checks` looks at Dagster itself, `assets` and `schedules` let it run all of them."""
