"""The Delta tables: writing, revisions, quarantine, compaction, and the catalog projected from them."""
