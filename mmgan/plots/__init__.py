"""Arrays to matplotlib figures, for training, sweeps and reports alike; no state, no files.

Each function returns a figure in `STYLE`, legible on a telephone and side by side on a wide screen.
"""
