"""Generative data augmentation for small, labelled, multimodal signal data."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"
__all__ = ["load", "load_augmented"]

_HOMES = {"load": "mmgan.training.checkpoint", "load_augmented": "mmgan.data.synthetic_file"}


def __getattr__(name: str) -> Any:
    # On first use only: `import mmgan` and every script's --help stay free of torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mmgan' has no attribute '{name}'")
