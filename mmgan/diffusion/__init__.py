"""Diffusion processes, their solver, and guidance."""
