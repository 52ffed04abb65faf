"""Real data sets of other shapes than `watch`, of those that scikit-learn carries, as files for `data=pkl data.path=`.

python -m benchmarks.sets digits OUT.pkl   1797 digits in two views, left and right half: two vectors of 32 integers
python -m benchmarks.sets images OUT.pkl   the same as images, 8 x 8
python -m benchmarks.sets cancer OUT.pkl   569 tumours (Wisconsin): a vector of 30 measurements, two classes
"""

import sys

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits

from mmgan.data.files import write_pickle


def digits(path: str) -> None:
    """Write the digits as a file of two modalities."""
    x, labels = load_digits(return_X_y=True)
    left, right = (half.reshape(len(x), 32).astype(np.float32) for half in np.split(x.reshape(-1, 8, 8), 2, 2))
    write_pickle(path, {"x_train": {"left": left, "right": right}, "y_train": labels})


def images(path: str) -> None:
    """Write the digits as images."""
    x, labels = load_digits(return_X_y=True)
    write_pickle(path, {"x_train": {"image": x.reshape(-1, 8, 8).astype(np.float32)}, "y_train": labels})


def cancer(path: str) -> None:
    """Write the tumours as vectors."""
    x, labels = load_breast_cancer(return_X_y=True)
    write_pickle(path, {"x_train": {"measures": x.astype(np.float32)}, "y_train": labels})


if __name__ == "__main__":
    {"digits": digits, "images": images, "cancer": cancer}[sys.argv[1]](sys.argv[2])
