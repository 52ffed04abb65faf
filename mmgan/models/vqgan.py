"""A vector-quantised autoencoder with a critic: the first stage of a two-stage model, which turns samples into few tokens and back."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.evaluation.reconstruction import perplexity
from mmgan.losses.reconstruction import feature_distance, l1
from mmgan.models.duel import Adversarial, Duel
from mmgan.models.module import Batch, Phase, PhasedModel
from mmgan.nets.coder import modality_coder
from mmgan.nets.pyramid import FeatureClassifier, PatchCritic
from mmgan.nets.quantize import Quantized, TokenQuantizers
from mmgan.schema import Arrays, DataSchema

LARGEST_ADAPTIVE_WEIGHT = 1e4
REBUILT_ROWS = 64  # that go through the networks together


class VQGAN(Adversarial, PhasedModel):
    """Vector-quantised generative adversarial network (Esser et al. 2021, arXiv:2012.09841) over a set of modalities.

    `quantizer` is (dim) -> one of `mmgan.nets.quantize`, of all tokens if `shared_codebook`, else one for each modality. The critic begins after
    `training.adversarial_start` epochs; its term then has the weight that gives its gradient at the decoders' last layers the length of the other terms' (`training.adaptive`).
    """

    monitor = "val/reconstruction"
    mode = "min"
    scored = "samples of val_indices, rebuilt"

    def __init__(
        self,
        schema: DataSchema,
        *,
        latent_channels: int,
        networks: Mapping[str, Any],
        quantizer: Callable[[int], nn.Module],
        shared_codebook: bool,
        adversarial: Any,
        augmentation: Callable[[Batch, Batch], tuple[Batch, Batch]],
        training: Mapping[str, Any],
        **shared: Any,
    ):
        super().__init__(schema, **shared)
        self.latent_channels = latent_channels
        self.critic_steps = int(training["critic_steps"])
        self.adversarial_start = int(training["adversarial_start"])
        self.adaptive = bool(training["adaptive"])
        shapes = schema.modalities
        self.names = tuple(shapes)  # a ModuleDict would refuse names such as "type"
        self.coders = nn.ModuleList(modality_coder(s, latent_channels, networks["coder"]) for s in shapes.values())
        self.quantizers = TokenQuantizers(self.names, latent_channels, quantizer, shared=shared_codebook)
        self.critic = PatchCritic(schema, **networks["critic"])
        self.classifier = FeatureClassifier(schema, **networks["classifier"])
        self.duel = Duel(self.critic, adversarial, augmentation)
        self._used: list[Tensor] = []  # codes of the epoch so far

    # -- training -------------------------------------------------------------------------------------------------
    def phases(self) -> list[Phase]:
        return [
            Phase("critic", (self.critic,), self.critic_terms, repeats=self.critic_steps if self._judged() else 0),
            Phase("classifier", (self.classifier,), self.classifier_terms),
            Phase("autoencoder", (self.coders, self.quantizers), self.autoencoder_terms),
        ]

    def classifier_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that C minimises, whose features the perceptual term compares samples in."""
        return {"classification": F.cross_entropy(self.classifier(x), labels)}

    def autoencoder_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that the coders and the codebook minimise."""
        quantized = self.quantizers(self._tokens(x), learn=True)
        self._used.append(torch.cat([q.codes.detach().flatten() for q in quantized.values()]))
        rebuilt = self._rows(quantized)
        with torch.no_grad():
            aimed = self.classifier.features(x)
        terms = {
            "reconstruction": l1(x, rebuilt),
            "perceptual": feature_distance(self.classifier.features(rebuilt), aimed),
            "commitment": torch.stack([q.commitment for q in quantized.values()]).mean(),
        }
        if not self._judged():
            return terms | {"adversarial": terms["reconstruction"].new_zeros(())}
        adversarial = self.duel.generator_side(x, rebuilt, labels)[0]
        return terms | {"adversarial": adversarial * self._adaptive_weight(terms, adversarial)}

    def fake(self, x: Batch, labels: Tensor) -> Batch:
        """Return the samples x as they are rebuilt."""
        return self._rows(self.quantizers(self._tokens(x)))

    def after_epoch(self) -> None:
        """Log which share of the codes the epoch used, and their perplexity."""
        if self._used and self.quantizers.size:
            codes = torch.cat(self._used).cpu().numpy()
            self._accumulate({"codebook/used": torch.tensor(len(np.unique(codes)) / self.quantizers.size)})
            self._accumulate({"codebook/perplexity": torch.tensor(perplexity(codes))})
        self._used.clear()

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Take the mean absolute error of held-out samples, in scaled units."""
        x, labels = self.rows(batch)
        self.held_out(l1(x, self.fake(x, labels)), len(labels))

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
        return self._rows(self.quantizers(dict(zip(self.names, parts, strict=True))))

    def reconstruct(self, x: Arrays) -> tuple[Arrays, np.ndarray]:
        """Return samples {name: (n, *shape)} rebuilt, in physical units, and the codes of each (n, tokens)."""
        rebuilt, codes = [], []
        with self.evaluating():
            for start in range(0, len(next(iter(x.values()))), REBUILT_ROWS):
                part = {name: self.tensor(value[start : start + REBUILT_ROWS]) for name, value in x.items()}
                quantized = self.quantizers(self._tokens(self.scaler(part)))
                rebuilt.append(self.scaler.inverse(self._rows(quantized)))
                codes.append(torch.cat([q.codes for q in quantized.values()], dim=1).cpu().numpy())
        rows = {name: torch.cat([part[name] for part in rebuilt]).cpu().numpy() for name in self.names}
        return rows, np.concatenate(codes)

    def _tokens(self, x: Batch) -> dict[str, Tensor]:
        return {name: coder.encode(x[name]) for name, coder in zip(self.names, self.coders, strict=True)}

    def _rows(self, quantized: dict[str, Quantized]) -> Batch:
        return {name: coder.decode(quantized[name].tokens) for name, coder in zip(self.names, self.coders, strict=True)}
