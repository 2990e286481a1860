"""Reading the lake: frames, Arrow and SQL, now or as it was known at a moment. Nothing here writes."""
