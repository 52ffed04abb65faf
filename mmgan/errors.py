"""What the user can mend, in one sentence: the error for it, declared ranges of arguments, and packages that only some options need."""

import functools
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

MOST = 10**9  # of an integer without a limit of its own: more would end in an overflow, not in a sentence

CallableT = TypeVar("CallableT", bound=Callable[..., Any])


class MmganError(ValueError):
    """One sentence that names the file, key, sample or option at fault, and the remedy; scripts end with it and status 1."""


@dataclass(frozen=True)
class Range:
    """The numbers that an argument may be: from `low` to `high`, without the one that is `open`."""

    low: float = -math.inf
    high: float = math.inf
    open: Literal["", "low", "high"] = ""

    def holds(self, value: float) -> bool:
        """Say whether a number lies within; NaN never does."""
        is_open = value == {"low": self.low, "high": self.high}.get(self.open)
        return self.low <= value <= self.high and not is_open and math.isfinite(value)

    def __str__(self) -> str:
        low = f"{'>' if self.open == 'low' else '>='} {self.low:g}" if self.low > -math.inf else ""
        high = f"{'<' if self.open == 'high' else '<='} {self.high:.10g}" if self.high < math.inf else ""
        return " and ".join(filter(None, (low, high)))


class Part:
    """Stands for an object as a configuration gives it: a mapping with a `_target_`."""


@dataclass(frozen=True)
class OptionsOf:
    """Marks a mapping whose entries are keyword arguments of `function`, which declares and checks them."""

    function: Callable[..., Any]


@dataclass(frozen=True)
class EachOf:
    """Marks a mapping, or a list, each of whose values is what the annotation `declared` says."""

    declared: Any
    empty: bool = False


PositiveInt = Annotated[int, Range(1, MOST)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
NonNegativeInt = Annotated[int, Range(0, MOST)]
Width = Annotated[int, Range(1, 65_536)]  # units, channels, layers, tokens: what memory is made of
Widths = Annotated[Sequence[int], EachOf(Width)]
Hidden = Annotated[Sequence[int], EachOf(Width, empty=True)]
Depth = Annotated[int, Range(0, 1000)]  # layers, blocks, halvings
Positive = Annotated[float, Range(0, open="low")]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
PositiveShare = Annotated[float, Range(0, 1, open="low")]
Weights = Annotated[Mapping[str, Mapping[str, float]], EachOf(Annotated[Mapping, EachOf(NonNegative)])]
Rates = Annotated[Mapping[str, float], EachOf(Positive)]
CalibrationSamples = Annotated[int, Range(100, 10**6)] | Literal[0]
ShareBelowOne = Annotated[float, Range(0, 1, open="high")]
Betas = Annotated[Sequence[float], EachOf(ShareBelowOne)]
Clip = Positive | None


def check_value(name: str, value: Any, declared: Any) -> None:
    """Raise MmganError unless `value` is what the annotation `declared` says: `name=value: expected an integer >= 1.`

    Annotations that declare nothing (a network, Any) let everything pass. `OptionsOf` and `EachOf` look into a mapping or a list.
    """
    for each in alternatives(declared):
        for mark in get_args(each)[1:] if get_origin(each) is Annotated else ():
            if isinstance(mark, OptionsOf):
                return _check_options_of(name, value, mark)
            if isinstance(mark, EachOf):
                return None if value is None and each is not declared else _check_each(name, value, mark, each)
    if (wanted := expected(declared)) and not any(_fits(value, each) for each in alternatives(declared)):
        if not isinstance(value, int) or abs(value) <= MOST:
            wanted = wanted.replace(f" and <= {MOST}", "")  # which only a larger number has to be told
        raise MmganError(f"{name}={shown_value(value)}: expected {wanted}.")


def _check_options_of(name: str, value: Any, mark: OptionsOf) -> None:
    if value is None:
        return
    parameters = inspect.signature(mark.function).parameters
    known = ", ".join(key for key, each in parameters.items() if each.kind is inspect.Parameter.KEYWORD_ONLY)
    if not isinstance(value, Mapping):
        raise MmganError(f"{name}={shown_value(value)}: expected its own keys: {known}.")
    for key, item in value.items():
        if key not in parameters:
            raise MmganError(f"there is no option '{name}.{key}'; expected one of {known}.")
        check_value(f"{name}.{key}", item, parameters[key].annotation)


def _check_each(name: str, values: Any, mark: EachOf, declared: Any) -> None:
    kind = get_args(declared)[0]
    mapping = issubclass(get_origin(kind) or kind, Mapping)
    fits = isinstance(values, Mapping if mapping else Sequence) and not isinstance(values, str)
    if not fits or not (values or mark.empty):
        form = "its own keys, the value of each" if mapping else "a list, each of it"
        raise MmganError(f"{name}={shown_value(values)}: expected {form} {expected(mark.declared) or 'a mapping'}.")
    names = [f"{name}.{key}" for key in values] if mapping else [name] * len(values)
    for each, value in zip(names, values.values() if mapping else values, strict=True):
        check_value(each, value, mark.declared)


def checked(function: CallableT) -> CallableT:
    """Check the arguments of a function, or of a class's constructor, against its annotations before it runs."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            check_value(name, value, signature.parameters[name].annotation)
        return function(*args, **kwargs)

    wrapped.is_checked = True
    return wrapped


def is_checked(found: Any) -> bool:
    """Say whether a function, or a class by its constructor, checks its arguments."""
    return hasattr(found.__init__ if isinstance(found, type) else found, "is_checked")


def require(package: str, what: str, *, extra: str) -> None:
    """Raise MmganError, with the command that installs it, if `package` is missing, which `what` needs."""
    if find_spec(package) is None:
        raise MmganError(
            f'{what} needs the package {package}: python -m pip install -c constraints.txt -e ".[{extra}]".'
        )


def alternatives(declared: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone."""
    return get_args(declared) if get_origin(declared) in (Union, types.UnionType) else (declared,)


def expected(declared: Any) -> str:
    """Return what an annotation expects, in words; nothing where the annotation declares nothing that could be checked."""
    words = [_expected(each) for each in alternatives(declared)]
    return " or ".join(words) if all(words) else ""


WORDS = {
    int: "an integer", float: "a number", bool: "true or false", str: "a text", list: "a list", Path: "a path", Mapping: "its own keys",
    Part: "its own keys with _target_", type(None): "null",
}  # fmt: skip


def _expected(declared: Any) -> str:
    kind, limits = _parts(declared)
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    within = f" {limits}" if limits and str(limits) else ""
    return WORDS[kind] + within if kind in WORDS else ""


def _fits(value: Any, declared: Any) -> bool:
    kind, limits = _parts(declared)
    if isinstance(value, bool):
        return kind is bool  # to Python, it is an integer
    if get_origin(kind) is Literal:
        return isinstance(value, str | int) and value in get_args(kind)
    if kind is Part:
        return isinstance(value, Mapping) and "_target_" in value
    if kind in (int, float):
        limits = limits or (Range(-MOST, MOST) if kind is int else Range())
        kind = int if kind is int else int | float
    return isinstance(value, kind) and (not limits or limits.holds(value))


def _parts(declared: Any) -> tuple[Any, Range | None]:
    """Return the type of an annotation, and its limits if it has any."""
    if get_origin(declared) is not Annotated:
        return declared, None
    kind, *more = get_args(declared)
    return kind, next((each for each in more if isinstance(each, Range)), None)


def shown_value(value: Any) -> str:
    """Return a value as a configuration spells it, of a long one the beginning."""
    text = printable("null" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
    return text if len(text) <= 60 else f"{text[:59]}\N{HORIZONTAL ELLIPSIS}"


def printable(text: str) -> str:
    """Return the text with what would move a terminal's cursor, or colour it, spelt out: names may be anybody's."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
