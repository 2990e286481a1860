"""How bytes are stored: addresses, Parquet files with checksums, Delta logs and commits, compaction, vacuum and repair.

Nothing here knows what a bar is: every table is one `dataset.Dataset`, declared in `gb_pipeline.lake`.
"""
