"""How often the verdict tells a cheat from honest samples, by the number of samples compared.

Measured on `watch` by `benchmarks/cheats.py`, whose result lines are `power.json`: {n: {question: {kind: share told}, "honest": share of honest sets that pass}}.
Other data may be easier or harder to tell.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

POWERFUL = 0.8  # share of a kind of cheats that has to be told before an answer is "yes"


@cache
def table() -> dict[int, dict[str, Any]]:
    """Return {n: {question: {kind of cheat: share that is told}, "honest": share that passes}}, n ascending."""
    text = files("mmgan.evaluation").joinpath("power.json").read_text(encoding="utf-8")
    return {int(n): found for n, found in sorted(json.loads(text).items(), key=lambda item: int(item[0]))}


def power(question: str, n: int) -> dict[str, float]:
    """Return by kind of cheat the share told with n samples: that of the next smaller number measured, 0 below all of them."""
    known = [size for size in table() if size <= n]
    if known:
        return table()[max(known)].get(question, {})
    return dict.fromkeys(next(iter(table().values())).get(question, {}), 0.0)
