"""The moving average of a network's weights, which samples and answers in its place."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """The exponential moving average of a network's weights and buffers.

    It looks back over at most a quarter of the updates so far: a short training would otherwise average its beginning. It counts on
    the host, too, where torch's own looks at the counter on the device.
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__(network, use_buffers=True)
        self.decay, self.updates = float(decay), 0
        self.register_load_state_dict_post_hook(_count_anew)

    def update_parameters(self, model: nn.Module) -> None:
        """Move on to the present weights of the network."""
        reached = min(self.decay, (1 + self.updates) / (5 + self.updates)) if self.updates else 0.0
        pairs = [*zip(self.module.parameters(), model.parameters(), strict=True)]
        pairs += zip(self.module.buffers(), model.buffers(), strict=True)
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        for own, current in pairs:
            if not own.is_floating_point():
                own.copy_(current)
        if floating:
            own, current = ([each.detach() for each in side] for side in zip(*floating, strict=True))
            get_ema_multi_avg_fn(reached)(own, current, None)
        self.updates += 1
        self.n_averaged += 1


def _count_anew(average: MovingAverage, _: object) -> None:
    average.updates = int(average.n_averaged)
