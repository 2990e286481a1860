"""What failed or has gaps is requested again by itself: a sensor per source and resolution turns open work into few runs.

What is open, and when it is due, is said by `ingest.open_work`.
"""
