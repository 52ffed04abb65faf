"""Judging synthetic samples: metrics, baselines and the protocol, on arrays alone."""
