"""The Python API: what `import mmgan` offers, above the commands, whose code it shares."""
