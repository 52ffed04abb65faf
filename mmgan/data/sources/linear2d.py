"""Points of a plane, a linear map of normal ones: the set that a first GAN is tried on."""

import numpy as np

from mmgan.data.dataset import Dataset
from mmgan.errors import MmganError
from mmgan.schema import DataSchema

MAP = np.array([[1.0, 2.0], [-0.1, 0.5]])
MEAN = np.array([1.0, 2.0])
COVARIANCE = MAP.T @ MAP


def linear2d(n_train: int = 1000, n_test: int = 1000, draw: int = 0) -> Dataset:
    """Return points xy = z A + b with z from N(0, I), modality `xy` of shape (2,), all of one class.

    A is `MAP`, b `MEAN`, so that xy is N(`MEAN`, `COVARIANCE`). Raises MmganError for numbers that are not possible.
    """
    if n_train < 1 or n_test < 0:
        raise MmganError(
            f"data=linear2d cannot make n_train={n_train}, n_test={n_test}; give data.n_train from 1, data.n_test from 0."
        )
    points = (np.random.default_rng(draw).normal(size=(n_train + n_test, 2)) @ MAP + MEAN).astype(np.float32)
    return Dataset(
        schema=DataSchema({"xy": (2,)}, (0,), ("points",)),
        x_train={"xy": points[:n_train]},
        y_train=np.zeros(n_train, np.int64),
        x_test={"xy": points[n_train:]} if n_test else None,
        y_test=np.zeros(n_test, np.int64) if n_test else None,
        source="linear2d",
    )
