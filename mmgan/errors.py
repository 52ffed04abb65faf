"""The one error that is meant for the user's eyes."""


class MmganError(Exception):
    """One sentence that names the file, key, row or option at fault, and the remedy; scripts end with it and status 1."""
