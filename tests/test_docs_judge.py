"""The page on the judge states how often each kind of cheat is told, as the verdict does."""

from pathlib import Path

from mmgan.evaluation.power import table

PAGE = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")


def power_rows() -> list[str]:
    """Return the lines of the page's table: kinds of cheats by the number of samples."""
    sizes = list(table())
    lines = ["| | " + " | ".join(f"n = {n}" for n in sizes) + " |", "|---|" + "---:|" * len(sizes)]
    for question in ("faithful", "new"):
        for kind in table()[sizes[0]][question]:
            shares = " | ".join(f"{table()[n][question][kind]:.0%}" for n in sizes)
            lines.append(f"| not {question}: {kind} | {shares} |")
    passed = " | ".join(f"{table()[n]['honest']:.0%}" for n in sizes)
    return [*lines, f"| honest samples that pass | {passed} |"]


def test_the_page_states_the_power_that_the_verdict_uses():
    assert "\n".join(power_rows()) in PAGE
