"""Sweeps: a study for each fold, the processes that work on them, and what they found."""
