"""The equation of a diffusion process, solved backwards."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmgan.diffusion.process import LAST, Process
from mmgan.schema import Batch


def solve(
    process: Process,
    predict: Callable[[Batch, Tensor], Batch],
    x: Batch,
    steps: int,
    start: float = LAST,
    *,
    eta: float = 0.0,
    fresh: Callable[[], Batch] = dict,
) -> Batch:
    """Return samples {name: (B, *shape)} of x at time `start`, by DPM-Solver++(2M) in `steps` calls of `predict` (x_t, t (B,)).

    The times divide the logarithm of the signal-to-noise ratio evenly. With `eta` above 0 each step removes more noise than it has to and adds
    some of `fresh`, normal noise like x: at 1 the stochastic equation is solved, at 0 the deterministic one.
    Paper: Lu et al. 2022, arXiv:2211.01095, algorithm 2 and appendix on SDE-DPM-Solver++.
    """
    n, device = len(next(iter(x.values()))), next(iter(x.values())).device
    times = _times(process, steps, start).to(device)
    ratios = process.log_ratio(times)
    before: tuple[Batch, Tensor] | None = None  # the samples that the last step saw, and its width
    for step in range(steps):
        t, following = times[step], times[step + 1]
        predicted = predict(x, t.expand(n))
        clean = {name: process.clean(x[name], predicted[name], t.expand(n)) for name in x}
        if step + 1 == steps:
            return clean
        width = ratios[step + 1] - ratios[step]
        aimed = clean
        if before is not None:
            share = 0.5 * width / before[1]
            aimed = {name: clean[name] + share * (clean[name] - before[0][name]) for name in x}
        kept = process.sigma(following) / process.sigma(t) * torch.exp(-eta * width)
        gained = -process.alpha(following) * torch.expm1(-(1 + eta) * width)
        x = {name: kept * x[name] + gained * aimed[name] for name in x}
        if eta:
            added = process.sigma(following) * torch.sqrt(-torch.expm1(-2 * eta * width))
            x = {name: x[name] + added * noise for name, noise in fresh().items()}
        before = clean, width
    raise ValueError(f"steps={steps}: expected an integer >= 1")


def _times(process: Process, steps: int, start: float) -> Tensor:
    """Return steps + 1 falling times from `start` on, even in the log ratio; the last is next to 0."""
    grid = torch.linspace(1 - LAST, start, 4096, dtype=torch.float64)
    ratio = process.log_ratio(grid)  # falls
    wanted = torch.linspace(float(ratio[-1]), float(ratio[0]), steps + 1, dtype=torch.float64)
    place = torch.searchsorted(-ratio, -wanted).clamp(1, len(grid) - 1)
    low, high = ratio[place], ratio[place - 1]
    times = grid[place] - (wanted - low) / (high - low) * (grid[place] - grid[place - 1])
    return times.float()
