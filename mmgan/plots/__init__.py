"""Arrays to matplotlib figures; no state, no files."""
