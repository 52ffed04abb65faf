"""Judging synthetic rows: metrics, controls and the protocol, on arrays alone."""
