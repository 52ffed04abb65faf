"""What all figures have in common: colours, sizes, fonts, and names that are shown as they are."""

import contextlib
import functools
import logging
from collections.abc import Sequence

from matplotlib import font_manager

REAL, SYNTHETIC, MUTED = "#1f5a94", "#c8553d", "#6b7480"
WIDTH = 4.4  # inches: a telephone's screen
FONTS = (  # in turn, until one has the letter
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "SimHei", "Microsoft YaHei", "PingFang SC", "PingFang HK", "Hiragino Sans GB", "Heiti TC", "Arial Unicode MS",
    "Malgun Gothic", "Yu Gothic", "Droid Sans Fallback", "Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari",
    "Noto Sans Thai", "FreeSans",
)  # fmt: skip
# That a font of the list has one weight alone is nothing that a user could mend.
logging.getLogger("matplotlib.font_manager").addFilter(lambda record: "font weight" not in record.getMessage())


def _installed() -> list[str]:
    known = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in FONTS if name in known] or ["sans-serif"]


STYLE = {
    "font.family": _installed(),
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "text.parse_math": False,  # a class may be called $x
}


def shortened(name: object, most: int) -> str:
    """Return the name, its end cut off where it is longer than `most` characters."""
    text = " ".join(str(name).split())
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def legible(names: Sequence[str], noun: str = "class") -> tuple[str, ...]:
    """Return the names where the installed fonts have all their letters, otherwise `noun` with a number, from 1 on, for all of them."""
    letters = {ord(letter) for name in names for letter in str(name) if not letter.isspace()}
    if letters <= _glyphs() or (_found_more() and letters <= _glyphs()):
        return tuple(names)
    return tuple(f"{noun} {number}" for number in range(1, len(names) + 1))


@functools.cache
def _glyphs() -> set[int]:
    """Return the letters that some font of STYLE has."""
    paths = {font.fname for font in font_manager.fontManager.ttflist if font.name in STYLE["font.family"]}
    return {letter for path in paths for letter in font_manager.get_font(path).get_charmap()}


@functools.cache
def _found_more() -> bool:
    """Take in the fonts that were installed since matplotlib made its list; say whether there are any."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    more = [path for path in font_manager.findSystemFonts() if path not in known]
    for path in more:
        with contextlib.suppress(RuntimeError, OSError, ValueError):  # a file that is no font
            font_manager.fontManager.addfont(path)
    STYLE["font.family"] = _installed()
    _glyphs.cache_clear()
    return bool(more)
