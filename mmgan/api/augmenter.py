"""Synthetic samples as a step of a pipeline, by the conventions of scikit-learn and imbalanced-learn."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from imblearn.base import BaseSampler
from imblearn.utils import check_target_type
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from mmgan.api.fitting import fit
from mmgan.api.inputs import ONLY, check_masked, is_frame, modalities
from mmgan.data.arrays import check_memory
from mmgan.errors import MmganError, shown_value

SEEDS = 2**31 - 1


class Augmenter(BaseSampler):
    """Add synthetic samples to a training set: `fit_resample(X, y)` trains a generator on it and returns it with them behind.

    A sampler of imbalanced-learn: it takes part in its `Pipeline`, where it augments what the pipeline is fitted on and nothing else.
    X is a matrix or DataFrame (n, F), signals (n, channels, time), images (n, channels, height, width), or {name: array} of such;
    y are labels of any kind. Raises MmganError for samples or options that cannot be used.

    Parameters
    ----------
    model
        One of conf/model/, as for `mmgan.fit`.
    sampling_strategy
        Which classes get how many samples, as over-samplers of imbalanced-learn have it: "auto" fills every class up
        to the largest; {label: number of samples afterwards}, a function of y that returns such a dict, or of two classes their ratio.
    overrides
        Options as on the command line, as for `mmgan.fit`.
    shapes
        {name: shape} of the modalities that stand side by side in the columns of a matrix X, in this order; None: X is one modality.
    random_state
        Seed of the training and of the samples, as scikit-learn has it.
    progress
        Whether a bar is shown.

    Attributes
    ----------
    generator_
        The trained `Synthesizer`; None where no class asks for samples.
    sampling_strategy_
        {label: number of synthetic samples}.
    """

    _sampling_type = "over-sampling"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "model": [str],
        "sampling_strategy": [Real, str, Mapping, callable],
        "overrides": [str, "array-like"],
        "shapes": [Mapping, None],
        "random_state": ["random_state"],
        "progress": ["boolean"],
    }

    def __init__(
        self,
        model: str = "vacwgan",
        *,
        sampling_strategy: str | float | Mapping[Any, int] | Callable[[Any], Mapping[Any, int]] = "auto",
        overrides: str | Sequence[str] = (),
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        random_state: int | np.random.RandomState | None = None,
        progress: bool = False,
    ):
        super().__init__(sampling_strategy=sampling_strategy)
        self.model = model
        self.overrides = overrides
        self.shapes = shapes
        self.random_state = random_state
        self.progress = progress

    def _check_X_y(self, X: Any, y: Any, accept_sparse: Any = None) -> tuple[Any, np.ndarray, bool]:
        y, one_hot = check_target_type(y, indicate_one_vs_all=True)
        self._types = list(X.dtypes) if is_frame(X) else []
        if other := [str(X.columns[k]) for k, each in enumerate(self._types) if each.name == "category"]:
            raise MmganError(f"X: the columns {other} are categories; leave them out, or encode them as numbers.")
        if isinstance(X, Mapping):
            return modalities(X, "X"), np.asarray(y), one_hot
        check_masked(X, "X")
        X, y = validate_data(self, X=X, y=y, reset=True, allow_nd=True)
        return X, y, one_hot

    def _fit_resample(self, X: Any, y: np.ndarray, **params: Any) -> tuple[Any, np.ndarray]:
        x, self.generator_ = self._cut(X), None
        classes, codes = np.unique(y, return_inverse=True)
        wanted = np.zeros(len(classes), int)
        for label, n in self.sampling_strategy_.items():
            wanted[classes == label] = n
        check_memory(int(wanted.sum()), {name: values.shape[1:] for name, values in x.items()})
        more = np.repeat(np.arange(len(classes)), wanted)
        if not len(more):
            return _copied(X), y.copy()
        seed = self._seed()
        self.generator_ = fit(
            x,
            codes,
            self.model,
            overrides=self.overrides,
            seed=seed,
            progress=self.progress,
            class_names=[*map(str, classes)],
        )
        drawn = self.generator_.sample(more, seed=seed)
        return self._joined(X, drawn), np.concatenate([y, classes[more]])

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(SEEDS))

    def _cut(self, X: Any) -> dict[str, np.ndarray]:
        """Return samples by the name of their modality."""
        if self.shapes is None or isinstance(X, Mapping):
            return dict(X) if isinstance(X, Mapping) else {ONLY: X}
        for name, shape in self.shapes.items():
            if not isinstance(shape, list | tuple) or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
                raise MmganError(f"shapes: {name!r} has {shown_value(shape)}; give its lengths, as (64,) or (3, 64).")
        widths = [math.prod(shape) for shape in self.shapes.values()]
        if X.ndim != 2 or X.shape[1] != sum(widths):
            raise MmganError(
                f"shapes: they take {sum(widths)} columns, but X has shape {X.shape}; correct one of them."
            )
        parts = np.split(X, np.cumsum(widths)[:-1], axis=1)
        return {name: part.reshape(-1, *self.shapes[name]) for name, part in zip(self.shapes, parts, strict=True)}

    def _joined(self, X: Any, drawn: dict[str, np.ndarray]) -> Any:
        """Return samples with synthetic ones behind, of the types that they have."""
        if isinstance(X, Mapping):
            return {name: _behind(values, drawn[name]) for name, values in X.items()}
        columns = np.concatenate([part.reshape(len(part), -1) for part in drawn.values()], axis=1)
        for k, kind in enumerate(self._types):  # of a DataFrame's columns, to which they go back
            columns[:, k] = _as_type(columns[:, k], getattr(kind, "numpy_dtype", kind))
        return _behind(X, columns)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.three_d_array = True
        return tags


def _copied(X: Any) -> Any:
    return {name: values.copy() for name, values in X.items()} if isinstance(X, Mapping) else X.copy()


def _behind(values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    drawn = _as_type(drawn, values.dtype).astype(values.dtype)
    return np.concatenate([values, drawn.reshape(-1, *values.shape[1:])])


def _as_type(drawn: np.ndarray, kind: Any) -> np.ndarray:
    """Return samples as values that a type can hold: whole numbers within its limits, or 0 and 1."""
    if kind.kind == "b":
        return drawn >= 0.5
    if kind.kind not in "iu":
        return drawn
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    highest = float(high) if float(high) <= high else np.nextafter(float(high), 0)
    return np.rint(drawn.astype(np.float64)).clip(low, highest)
