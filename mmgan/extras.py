"""Packages that only some options need."""

from importlib.util import find_spec

from mmgan.errors import MmganError


def require(package: str, what: str, *, extra: str) -> None:
    """Raise MmganError, with the command that installs it, if `package` is missing, which `what` needs."""
    if find_spec(package) is None:
        raise MmganError(
            f'{what} needs the package {package}: python -m pip install -c constraints.txt -e ".[{extra}]".'
        )
