"""Figures as SVG: a part of a page, which colours it, or a file of its own."""

import re
import warnings
from copy import deepcopy
from io import StringIO
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib import rc_context
from matplotlib.figure import Figure

from mmgan.plots.drawings import STYLE
from mmgan.plots.samples import MUTED, REAL, SYNTHETIC

SVG = "http://www.w3.org/2000/svg"
# The page's variables are its own light and dark values of the figures' colours.
VARIABLES = {
    "#000000": "currentColor",
    REAL: "var(--real)",
    SYNTHETIC: "var(--synthetic)",
    MUTED: "var(--muted)",
}
COLOUR = re.compile("|".join(VARIABLES))
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # which XML has no way to write
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def drawn(figure: Figure) -> Element:
    """Return the figure's <svg>: no namespaces, text as text, no background, and no ids but those that are referred to."""
    stream = StringIO()
    style = {**STYLE, "svg.fonttype": "none", "svg.hashsalt": "mmgan", "font.family": "sans-serif"}
    with rc_context(style), warnings.catch_warnings():
        # The reader's own fonts show the text, and may well have what matplotlib's lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(CONTROL.sub("", stream.getvalue()))
    root.remove(root.find(f"{{{SVG}}}metadata"))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): value for key, value in element.attrib.items()}
    used = {name for element in root.iter() for name in _references(element)}
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
    return root


def inline(root: Element, prefix: str, label: str) -> str:
    """Return the <svg> for a page: as wide as its place, colours by the page's variables, every id after `prefix`."""
    root = deepcopy(root)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    for parent in list(root.iter()):
        for style in parent.findall("style"):  # it would be the whole page's
            parent.remove(style)
    for element in root.iter():
        _prefix(element, prefix)
        if "style" in element.attrib:
            style = re.sub(r"font-family: [^;]*;? ?", "", element.get("style"))
            element.set("style", COLOUR.sub(lambda found: VARIABLES[found[0]], style))
    root.attrib |= _label(label)
    return ElementTree.tostring(root, encoding="unicode")


def standalone(root: Element, label: str) -> str:
    """Return the <svg> as a file: on white, since whoever shows it may do so on any background."""
    root = deepcopy(root)
    root.insert(0, Element("rect", {"width": "100%", "height": "100%", "fill": "#ffffff"}))
    root.attrib |= {"xmlns": SVG, **_label(label)}
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _label(label: str) -> dict[str, str]:
    return {"role": "img", "aria-label": CONTROL.sub("", label)}


def _local(name: str) -> str:
    return name.rpartition("}")[2]  # {namespace}name -> name


def _references(element: Element) -> set[str]:
    found = {name for value in element.attrib.values() for name in REFERENCE.findall(value)}
    return found | {element.get("href")[1:]} if element.get("href", "").startswith("#") else found


def _prefix(element: Element, prefix: str) -> None:
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{prefix}{value}")
        elif key == "href" and value.startswith("#"):
            element.set(key, f"#{prefix}{value[1:]}")
        else:
            element.set(key, REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value))
