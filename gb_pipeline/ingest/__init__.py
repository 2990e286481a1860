"""This package brings data from a provider into the lake, by the one way that Dagster's assets and `gb fetch` share."""
