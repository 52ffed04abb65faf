"""The commands: the only rooms that know the configuration."""
