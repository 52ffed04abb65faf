"""The one error that is meant for the user's eyes, and packages that only some options need."""

from importlib.util import find_spec


class MmganError(Exception):
    """One sentence that names the file, key, row or option at fault, and the remedy; scripts end with it and status 1."""


def require(package: str, what: str, *, extra: str) -> None:
    """Raise MmganError, with the command that installs it, if `package` is missing, which `what` needs."""
    if find_spec(package) is None:
        raise MmganError(
            f'{what} needs the package {package}: python -m pip install -c constraints.txt -e ".[{extra}]".'
        )
