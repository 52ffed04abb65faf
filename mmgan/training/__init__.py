"""A model trained into the folder of a run."""
