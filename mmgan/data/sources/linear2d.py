"""Points of a plane, a linear map of normal ones: the set that a first GAN is tried on."""

from typing import Annotated

import numpy as np

from mmgan.data.dataset import Dataset
from mmgan.errors import Range, Seed, checked
from mmgan.schema import DataSchema

MAP = np.array([[1.0, 2.0], [-0.1, 0.5]])
MEAN = np.array([1.0, 2.0])
COVARIANCE = MAP.T @ MAP


@checked
def linear2d(
    n_train: Annotated[int, Range(1, 10**7)] = 1000,
    n_test: Annotated[int, Range(0, 10**7)] = 1000,
    draw: Seed = 0,
) -> Dataset:
    """Return points xy = z A + b with z from N(0, I), modality `xy` of shape (2,), all of one class.

    A is `MAP`, b `MEAN`, so that xy is N(`MEAN`, `COVARIANCE`). Raises MmganError for numbers that are not possible.
    """
    points = (np.random.default_rng(draw).normal(size=(n_train + n_test, 2)) @ MAP + MEAN).astype(np.float32)
    schema = DataSchema({"xy": (2,)}, (0,), ("points",))
    return Dataset.divided(schema, {"xy": points}, np.zeros(len(points), np.int64), n_train, "linear2d")
