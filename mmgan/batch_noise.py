"""Random numbers for the rows of a training batch.

Processes that train together (data-parallel) have one seed and draw the numbers of the whole batch, of which each takes those of its own rows: as many
processes as there may be, the batch goes through what it would go through in one.
"""

from collections.abc import Callable

import torch
from torch import Tensor, distributed


def process_of_all() -> tuple[int, int]:
    """Return the rank of this process, and how many train together: 0 and 1 where it trains alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def normal_like(x: Tensor) -> Tensor:
    """Return standard normal numbers of the shape of x, (B, ...)."""
    return _own(torch.randn, x.shape, x)


def normal(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return standard normal numbers of a shape (B, ...), on the device of `like`."""
    return _own(torch.randn, shape, like)


def uniform_like(x: Tensor, dim: int = 0) -> Tensor:
    """Return uniform numbers in [0, 1) of the shape of x, whose dimension `dim` runs over rows."""
    return _own(torch.rand, x.shape, x, dim)


def uniform(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return uniform numbers in [0, 1) of a shape (B, ...), on the device of `like`."""
    return _own(torch.rand, shape, like)


def _own(draw: Callable[..., Tensor], shape: tuple[int, ...], like: Tensor, dim: int = 0) -> Tensor:
    rank, together = process_of_all()
    whole = list(shape)
    whole[dim] *= together
    dtype = like.dtype if like.is_floating_point() else torch.float32  # `like` may be labels
    return draw(whole, device=like.device, dtype=dtype).narrow(dim, rank * shape[dim], shape[dim])
