"""A vector-quantised autoencoder with a critic: the first stage of a two-stage model, which turns samples into few tokens and back."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.data.arrays import n_samples_of, take
from mmgan.errors import Betas, Clip, NonNegativeInt, PositiveInt, Rates, Weights, Width, checked
from mmgan.evaluation.reconstruction import perplexity
from mmgan.losses.adversarial import GANLoss, of_labels
from mmgan.losses.reconstruction import feature_distance, l1
from mmgan.models.module import Phase, PhasedModel
from mmgan.nets.quantize import Quantized, TokenQuantizers
from mmgan.schema import Arrays, Batch, DataSchema

LARGEST_ADAPTIVE_WEIGHT = 1e4
REBUILT_SAMPLES = 64  # that go through the networks together


class VQGAN(PhasedModel):
    """Vector-quantised generative adversarial network (Esser et al. 2021, arXiv:2012.09841) over a set of modalities.

    Parameters
    ----------
    coder : (shape, latent_channels) -> a network that turns a modality into tokens and back, of `mmgan.nets.coder`.
    quantizer : dim -> one of `mmgan.nets.quantize`.
    critic : schema -> D, which scores stretches of a sample.
    classifier : schema -> C, in whose features the perceptual term compares.
    gan_loss : the adversarial loss of D and the coders, of `mmgan.losses.adversarial`.
    augment : what all that D sees goes through, real and rebuilt samples alike.
    latent_channels : dimensions of a token.
    shared_codebook : one codebook for the tokens of all modalities; otherwise one for each.
    critic_steps : updates of D per batch.
    adversarial_start : epochs before the critic begins.
    adaptive : the adversarial term has the weight that gives its gradient at the decoders' last layers the length of the other terms'.
    """

    monitor, mode = "val/reconstruction", "min"

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        coder: Callable[..., nn.Module],
        quantizer: Callable[[int], nn.Module],
        critic: Callable[..., nn.Module],
        classifier: Callable[..., nn.Module],
        gan_loss: GANLoss,
        augment: nn.Module,
        latent_channels: Width,
        shared_codebook: bool,
        critic_steps: PositiveInt,
        adversarial_start: NonNegativeInt,
        adaptive: bool,
        scaler: Callable[..., nn.Module],
        weights: Weights,
        lr: Rates,
        betas: Betas,
        clip: Clip,
    ):
        super().__init__(schema, scaler=scaler, weights=weights, lr=lr, betas=betas, clip=clip)
        self.latent_channels = latent_channels
        self.adversarial_start, self.adaptive = adversarial_start, adaptive
        self.names = tuple(schema.modalities)  # a ModuleDict would refuse names such as "type"
        self.coders = nn.ModuleList(coder(shape, latent_channels) for shape in schema.modalities.values())
        self.quantizers = TokenQuantizers(self.names, latent_channels, quantizer, shared=shared_codebook)
        self.critic = critic(schema)
        self.classifier = classifier(schema)
        self.gan_loss, self.augment = gan_loss, augment
        self.phases = [
            Phase("critic", (self.critic,), self.critic_terms, repeats=critic_steps, active=self._judged),
            Phase("classifier", (self.classifier,), self.classifier_terms),
            Phase("autoencoder", (self.coders, self.quantizers), self.autoencoder_terms),
        ]
        self._used: list[Tensor] = []  # codes of the epoch so far

    # -- training -------------------------------------------------------------------------------------------------
    def critic_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that D minimises."""
        with torch.no_grad():
            rebuilt = self.rebuilt(x)
        return self.gan_loss.critic_terms(of_labels(self.critic, labels), *self.augment(x, rebuilt), torch.rand)

    def classifier_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that C minimises, whose features the perceptual term compares samples in."""
        return {"classification": F.cross_entropy(self.classifier(x), labels)}

    def autoencoder_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that the coders and the codebook minimise."""
        quantized = self.quantizers(self._tokens(x), learn=True)
        self._used.append(torch.cat([q.codes.detach().flatten() for q in quantized.values()]))
        rebuilt = self._samples(quantized)
        with torch.no_grad():
            aimed = self.classifier.features(x)
        terms = {
            "reconstruction": l1(x, rebuilt),
            "perceptual": feature_distance(self.classifier.features(rebuilt), aimed),
            "commitment": torch.stack([q.commitment for q in quantized.values()]).mean(),
        }
        if not self._judged():
            return terms | {"adversarial": terms["reconstruction"].new_zeros(())}
        adversarial = self.gan_loss.generator_terms(self.critic, *self.augment(x, rebuilt), labels)[0]
        return terms | {"adversarial": adversarial * self._adaptive_weight(terms, adversarial)}

    def rebuilt(self, x: Batch) -> Batch:
        """Return the scaled samples x as they are rebuilt."""
        return self._samples(self.quantizers(self._tokens(x)))

    def after_epoch(self) -> None:
        """Log which share of the codes the epoch used, and their perplexity."""
        if self._used and self.quantizers.size:
            codes = torch.cat(self._used).cpu().numpy()
            self.accumulate({"codebook/used": torch.tensor(len(np.unique(codes)) / self.quantizers.size)})
            self.accumulate({"codebook/perplexity": torch.tensor(perplexity(codes))})
        self._used.clear()

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Take the mean absolute error of held-out samples, in scaled units."""
        x, labels = self.scaled(batch)
        self.held_out.update(l1(x, self.rebuilt(x)), len(labels))

    def _judged(self) -> bool:
        return self.current_epoch >= self.adversarial_start

    def _adaptive_weight(self, terms: dict[str, Tensor], adversarial: Tensor) -> Tensor:
        """Return |gradient of the reconstruction's terms| / |gradient of the adversarial term| at the last layers (paper: eq. 7)."""
        if not self.adaptive:
            return adversarial.new_ones(())
        last = [coder.last.weight for coder in self.coders]
        rebuilding = sum(self.weight("autoencoder", name) * terms[name] for name in ("reconstruction", "perceptual"))
        lengths = [
            torch.cat([g.flatten() for g in torch.autograd.grad(term, last, retain_graph=True)]).norm()
            for term in (rebuilding, adversarial)
        ]
        return (lengths[0] / (lengths[1] + 1e-4)).clamp(max=LARGEST_ADAPTIVE_WEIGHT).detach()

    # -- samples to latents and back ---------------------------------------------------------------------------------
    def latent_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return {"latent": (channels, tokens)}, all modalities' one after another, or of images alone (channels, h, w)."""
        grids = [coder.grid for coder in self.coders]
        grid = grids[0] if len(grids) == 1 else (sum(int(np.prod(grid)) for grid in grids),)
        return {"latent": (self.latent_channels, *grid)}

    def to_latents(self, x: Batch) -> Batch:
        """Return the tokens of scaled samples before they are quantised, in the shape of `latent_shapes`."""
        joint = torch.cat(list(self._tokens(x).values()), dim=1).transpose(1, 2)  # (B, channels, tokens)
        return {name: joint.reshape(len(joint), *shape) for name, shape in self.latent_shapes().items()}

    def from_latents(self, z: Batch) -> Batch:
        """Return the scaled samples of such tokens, which are quantised first."""
        joint = z["latent"].flatten(2).transpose(1, 2)
        parts = joint.split([int(np.prod(coder.grid)) for coder in self.coders], dim=1)
        return self._samples(self.quantizers(dict(zip(self.names, parts, strict=True))))

    def reconstruct(self, x: Arrays) -> tuple[Arrays, np.ndarray]:
        """Return samples {name: (n, *shape)} rebuilt, in physical units, and the codes of each (n, tokens)."""
        n, rebuilt, codes = n_samples_of(x), [], []
        with self.evaluating():
            for part in np.split(np.arange(n), range(REBUILT_SAMPLES, n, REBUILT_SAMPLES)):
                quantized = self.quantizers(self._tokens(self.from_arrays(take(x, part))))
                rebuilt.append(self.to_arrays(self._samples(quantized)))
                codes.append(torch.cat([q.codes for q in quantized.values()], dim=1).cpu().numpy())
        return {name: np.concatenate([part[name] for part in rebuilt]) for name in self.names}, np.concatenate(codes)

    def _tokens(self, x: Batch) -> dict[str, Tensor]:
        return {name: coder.encode(x[name]) for name, coder in zip(self.names, self.coders, strict=True)}

    def _samples(self, quantized: dict[str, Quantized]) -> Batch:
        return {name: coder.decode(quantized[name].tokens) for name, coder in zip(self.names, self.coders, strict=True)}
