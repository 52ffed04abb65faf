"""Generative data augmentation for small, labelled, multimodal signal data."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmgan.api.augmented import load_augmented
    from mmgan.api.augmenter import Augmenter
    from mmgan.api.fitting import fit, load
    from mmgan.api.judging import Report, evaluate
    from mmgan.api.torch_dataset import AugmentedDataset
    from mmgan.errors import MmganError
    from mmgan.models.synthesizer import Synthesizer

__version__ = "0.2.0"
__all__ = [
    "AugmentedDataset",
    "Augmenter",
    "MmganError",
    "Report",
    "Synthesizer",
    "evaluate",
    "fit",
    "load",
    "load_augmented",
]

_HOMES = {
    "AugmentedDataset": "mmgan.api.torch_dataset",
    "Augmenter": "mmgan.api.augmenter",
    "MmganError": "mmgan.errors",
    "Report": "mmgan.api.judging",
    "Synthesizer": "mmgan.models.synthesizer",
    "evaluate": "mmgan.api.judging",
    "fit": "mmgan.api.fitting",
    "load": "mmgan.api.fitting",
    "load_augmented": "mmgan.api.augmented",
}


def __getattr__(name: str) -> Any:
    # On first use only: `import mmgan` and every script's --help stay free of torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mmgan' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
