"""From a provider into the lake: the one code path that Dagster's assets and `gb fetch` share."""
