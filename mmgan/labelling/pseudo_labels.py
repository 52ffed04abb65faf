"""Pseudo-labels: which unlabelled samples a generator learns from, with which label and weight, and what is said of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mmgan.data.files import write_csv
from mmgan.schema import DataSchema

SHARES_DIFFER = 0.15  # total variation between the class shares of labelled and unlabelled samples


def chosen(found: np.ndarray, share: float, *, by_class: bool) -> np.ndarray:
    """Say of each sample (n,), by its class probabilities (n, K), whether it is among the most confident `share`: of all, or of its predicted class."""
    confidence, labels = found.max(axis=1), found.argmax(axis=1)
    kept = np.zeros(len(found), bool)
    for members in (np.flatnonzero(labels == k) for k in np.unique(labels)) if by_class else [np.arange(len(found))]:
        order = members[np.argsort(-confidence[members], kind="stable")]
        kept[order[: int(np.ceil(share * len(order) - 1e-9))]] = True
    return kept


@dataclass(frozen=True)
class PseudoLabels:
    """The teacher's answers for n unlabelled samples.

    `probabilities` (n, K) of the classes; arrays (n,): `kept`, whether a generator learns from the sample; `refused`, whether it
    looks like none of the labelled samples. `next_to_label` are places of samples whose labels would teach most, `labelled` the classes (m,) of those, `labelled_weight` the weight of each in a
    training, where a pseudo-labelled sample has its confidence.
    """

    probabilities: np.ndarray
    kept: np.ndarray
    refused: np.ndarray
    labelled: np.ndarray
    next_to_label: np.ndarray
    labelled_weight: float = 3.0

    @classmethod
    def of(
        cls,
        found: np.ndarray,
        refused: np.ndarray,
        y: np.ndarray,
        drop: float,
        *,
        next_to_label: np.ndarray,
        labelled_weight: float,
        by_class: bool,
    ) -> "PseudoLabels":
        """Return the labels of class probabilities (n, K), of which the least confident share `drop` is not kept."""
        kept = np.zeros(len(found), bool)
        kept[np.flatnonzero(~refused)[chosen(found[~refused], 1 - drop, by_class=by_class)]] = True
        return cls(found, kept, refused, y, next_to_label, labelled_weight)

    @cached_property
    def labels(self) -> np.ndarray:
        """The most probable class of each sample (n,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def second(self) -> np.ndarray:
        """The second most probable class of each sample (n,)."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")
        return order[:, min(1, order.shape[1] - 1)]

    @cached_property
    def confidence(self) -> np.ndarray:
        """The probability of the most probable class of each sample (n,)."""
        return self.probabilities.max(axis=1)

    @property
    def share_dropped(self) -> float:
        """The share of the unlabelled samples that no generator learns from."""
        return float(1 - self.kept.mean())

    def write(self, folder: Path, schema: DataSchema, indices: np.ndarray) -> None:
        """Write a row for each sample, by its index in the source (n,), into pseudo_labels.csv, and which to label next into next_to_label.csv."""
        labels, second = np.array(schema.decode(self.labels)), np.array(schema.decode(self.second))
        sure = np.array([f"{value:.6f}" for value in self.confidence])
        columns = {
            "index": indices,
            "label": labels,
            "confidence": sure,
            "kept": self.kept.astype(int),
            "second_label": second,
        }
        for name, places in {"pseudo_labels": slice(None), "next_to_label": self.next_to_label}.items():
            shown = {key: column[places].tolist() for key, column in columns.items()}
            write_csv(folder / f"{name}.csv", [list(shown), *zip(*shown.values(), strict=True)])

    def summary(self, schema: DataSchema, source: str) -> list[str]:
        """Return the line that says what was learnt from, and a line for each warning."""
        own, theirs = (np.bincount(y, minlength=schema.n_classes) for y in (self.labelled, self.labels[~self.refused]))
        own, theirs = own / own.sum(), theirs / theirs.sum()
        shares = ", ".join(
            f"{name} {b:.0%} ({a:.0%})" for name, a, b in zip(schema.class_names, own, theirs, strict=True)
        )
        lines = [
            f"unlabelled: {len(self.kept)} samples ({source}), {self.kept.mean():.0%} kept; class shares (of labelled samples): {shares}"
        ]
        if self.refused.any():
            lines.append(
                f"warning: {self.refused.sum()} unlabelled samples look like none of the labelled ones and are not learnt from."
            )
        if np.abs(own - theirs).sum() / 2 > SHARES_DIFFER:
            lines.append(
                "warning: the unlabelled samples seem to have other class shares than the labelled ones; no shares are forced."
            )
        if empty := [name for name, share in zip(schema.class_names, theirs, strict=True) if share == 0]:
            lines.append(f"warning: no unlabelled sample was given the class {', '.join(empty)}.")
        return lines
