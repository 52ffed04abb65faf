"""The variational autoencoder: encoder E and generator G, a likelihood and a KL term."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from mmgan.errors import MmganError
from mmgan.losses.variational import kl_standard_normal
from mmgan.models.latent import VariationalSynthesizer
from mmgan.models.module import Batch, Phase
from mmgan.nets.fusion import ConcatFusion
from mmgan.nets.networks import Encoder, Generator
from mmgan.schema import DataSchema


class VAE(VariationalSynthesizer):
    """Class-conditional variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) over a set of modalities.

    `likelihood` is one of those of `mmgan.losses.variational`: the loss, and the noise around the mean of a sampled row. `training.free_bits` nats of each latent dimension cost nothing.
    """

    def __init__(
        self,
        schema: DataSchema,
        *,
        latent_dim: int,
        networks: Mapping[str, Mapping[str, Any]],
        likelihood: Any,
        training: Mapping[str, Any],
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
        **shared: Any,
    ):
        encoder = Encoder(schema, latent_dim, fusion=fusion, **networks["encoder"])
        generator = Generator(schema, latent_dim, **networks["generator"])
        super().__init__(schema, encoder, generator, latent_dim=latent_dim, training=training, **shared)
        self.likelihood = likelihood
        self.free_bits = training["free_bits"]
        if not isinstance(self.free_bits, int | float) or not self.free_bits >= 0:
            raise MmganError(f"model.training.free_bits={self.free_bits}: give a number from 0 on.")

    def phases(self) -> list[Phase]:
        return [Phase("vae", (self.encoder, self.generator), self.terms)]

    def terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms of the one phase: minus the likelihood's mean per value, and the KL divergence per row."""
        z, mu, logvar = self._latent(x)
        generated = self._generated(z, labels)
        return {
            "reconstruction": self.likelihood.nll(x, generated.mean, generated.log_std),
            "kl": kl_standard_normal(mu, logvar, self.free_bits),
        }

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the terms of held-out samples."""
        x, labels = self.rows(batch)
        terms = self.terms(x, labels)
        self.log_dict({f"vae/{name}_held_out": term for name, term in terms.items()}, batch_size=len(labels))

    def shaped(self, white: Tensor) -> Tensor:
        return self.likelihood.noise(white)
