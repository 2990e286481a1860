"""What a lake stores, one module per dataset: bars, sessions, corporate actions, quarantine and fetches.

Writing, verifying and repairing happen here; how bytes are stored is the business of `gb_pipeline.storage`.
"""
