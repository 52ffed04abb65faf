"""A small cheat battery: no cheat passes as faithful and new, and honest samples do."""

import numpy as np
import pytest

from benchmarks.cheats import CHEAP, COSTLY, KINDS, Cheats, taken
from mmgan.data.arrays import LabelledSamples
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.verdict import verdict

N = 150


def recordings(n: int, seed: int) -> LabelledSamples:
    """Return signals of 2 channels, 32 points, and a vector of 8 features that their latents explain, of 3 classes."""
    rng, y = np.random.default_rng(seed), np.arange(n) % 3
    latent = rng.standard_normal((n, 4)) * [1, 0.6, 0.8, 0.4] + 0.7 * np.eye(4)[y]
    t = np.arange(32)
    phase = 0.4 * rng.standard_normal((n, 1, 1)) + [[0], [0.8]]
    amplitude = np.exp(0.6 * latent[:, :2, None])
    noise = rng.standard_normal((n, 2, 33))
    wave = amplitude * np.sin((0.35 + 0.15 * y[:, None, None]) * t + phase) + 0.3 * (noise[..., 1:] + noise[..., :-1])
    wave += 1.5 * latent[:, 2:, None] * np.hanning(32)
    mixing = np.random.default_rng(7).standard_normal((4, 8))
    vector = np.exp(0.4 * latent @ mixing + 0.15 * rng.standard_normal((n, 8)))
    return {"wave": wave.astype(np.float32), "vector": vector.astype(np.float32)}, y


TRAIN, HELDOUT, OTHER = recordings(240, 1000), recordings(2 * N, 2000), recordings(3 * N, 3000)


@pytest.fixture(scope="module")
def cheats():
    return Cheats(TRAIN, HELDOUT, OTHER, N, np.random.default_rng(0))


@pytest.fixture(scope="module")
def told(cheats):
    judges = {}

    def answers(name):
        samples, false = cheats.make(name), name == "false_train_indices"
        if false not in judges:
            listed = taken(TRAIN, np.arange(0, 240, 2)) if false else TRAIN
            fold = FoldSamples(1, listed, HELDOUT, cheats.honest, others=cheats.hidden if false else None)
            judge = Evaluator([fold], draws=1)
            judges[false] = judge, judge.real([*CHEAP, *COSTLY])
        judge, real = judges[false]
        for metrics in (CHEAP, [*CHEAP, *COSTLY]):  # classifiers are only fitted where nothing else tells
            ours = judge([samples], metrics)
            found = verdict(ours["metrics"], real["metrics"], real["deviation"], None, judge.n, (), ["a", "b", "c"])
            if "no" in (found.answer("faithful"), found.answer("new")):
                break
        return found

    return answers


@pytest.fixture(autouse=True)
def powerful(monkeypatch):
    monkeypatch.setattr("mmgan.evaluation.power.table", lambda: {1: {}})


@pytest.mark.parametrize("name", [name for names in KINDS.values() for name in names])
def test_no_cheat_passes(name, told):
    found = told(name)
    assert "no" in (found.answer("faithful"), found.answer("new")), name
    if name == "false_train_indices":
        assert any("Its train_indices are not what the generator saw." in sentence for sentence in found.findings)


def test_honest_samples_pass(told):
    found = told("honest_samples")
    assert (found.answer("faithful"), found.answer("new")) == ("yes", "yes"), [each.reason for each in found.answers]
