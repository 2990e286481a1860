"""Iceberg tables over the Parquet files of a lake's tables of bars, for engines that speak nothing else."""
