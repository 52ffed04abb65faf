"""The features of signals, against computations of another kind."""

import numpy as np
import pytest
import scipy.stats
from scipy.signal import hilbert

from mmgan.data.features import FEATURES, HIGHEST, LOWEST, STATS, env, raw, spec, stats, stft
from mmgan.data.sources.bearing import band_power, envelope_spectrum
from mmgan.errors import MmganError

RATE = 20_480.0


@pytest.fixture(scope="module")
def signal():
    """Windows (6, 2, 4096): noise, with impacts at 104 Hz that ring at 4400 Hz."""
    rng = np.random.default_rng(0)
    time = np.arange(4096) / RATE
    since = time % (1 / 104)
    return 0.3 * rng.standard_normal((6, 2, 4096)) + np.exp(-900 * since) * np.sin(2 * np.pi * 4400 * since)


def test_band_power_is_that_of_a_slow_transform(signal):
    window = signal[1, 0, :700]
    k, n = np.arange(1, 351), np.arange(700)
    power = np.abs(np.exp(-2j * np.pi * np.outer(k, n) / 700) @ window) ** 2 / 700  # (350,), without 0 Hz
    found = spec(window, RATE, bands=5, points=10, gain=3)
    np.testing.assert_allclose(found, np.log1p(3 * power.reshape(5, 10, 7).mean(-1)), rtol=1e-5)


def test_white_noise_has_its_variance_in_every_cell():
    noise = 2 * np.random.default_rng(1).standard_normal((400, 4096))
    for found in (spec(noise, RATE), stft(noise, RATE)):
        np.testing.assert_allclose(np.expm1(found.astype(float)).mean(0) / 50, 4, rtol=0.3)


def test_the_envelope_spectrum_is_that_of_a_filtered_analytic_signal(signal):
    window, length = signal[0, 1], 4096
    lines = 40  # 5, 10, ..., 200 Hz
    for band, found in enumerate(env(window, RATE, points=lines)):
        spectrum = np.fft.rfft(window)
        start = int(np.linspace(LOWEST, HIGHEST, 6)[band] * length / 2)
        width = int((HIGHEST - LOWEST) / 5 * length / 2)
        outside = (np.arange(2049) < start) | (np.arange(2049) >= start + width)
        spectrum[outside] = 0
        squared = np.abs(hilbert(np.fft.irfft(spectrum))) ** 2 / 4
        expected = np.abs(np.fft.rfft(squared))[1 : lines + 1] / length
        np.testing.assert_allclose(found, np.log1p(1000 * expected), rtol=1e-4, atol=1e-6)


def test_impacts_stand_out_at_their_frequency_in_the_band_where_they_ring(signal):
    found = env(signal, RATE, points=40).mean((0, 1))  # (5, 40)
    assert found.max(1).argmax() == 2  # 4.2 to 6.1 kHz hold the ring, as 2.3 to 4.2 kHz hold its edge
    assert abs(5 * (1 + found[2].argmax()) - 104) <= 5


def test_the_envelope_goes_as_far_as_a_band_is_wide():
    slow = np.random.default_rng(0).standard_normal(4096)
    assert env(slow, 50.0).shape == (5, 32)  # bands 4.6 Hz wide, of 25
    np.testing.assert_array_equal(env(slow, 50.0), env(slow, 50.0, max_hz=5.0))


def test_stats_are_those_of_scipy(signal):
    found = dict(zip(STATS, np.moveaxis(stats(signal + 7, RATE), -1, 0), strict=True))
    x = signal - signal.mean(-1, keepdims=True)
    peak, mean = np.abs(x).max(-1), np.abs(x).mean(-1)
    expected = {
        "rms": x.std(-1),
        "peak": peak,
        "crest": peak / x.std(-1),
        "shape": x.std(-1) / mean,
        "impulse": peak / mean,
        "clearance": peak / scipy.stats.pmean(np.abs(x), 0.5, axis=-1),
        "skewness": scipy.stats.skew(x, axis=-1),
        "kurtosis": scipy.stats.kurtosis(x, axis=-1, fisher=False),
    }
    for name in STATS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert not stats(np.full(50, 3.0), RATE).any()  # constant: no division by nothing


def test_a_spectrogram_shows_a_tone_at_its_frequency_and_time():
    time = np.arange(4096) / RATE
    tone = np.where(time < 0.1, np.sin(2 * np.pi * 1600 * time), np.sin(2 * np.pi * 6400 * time))
    image = stft(tone, RATE)  # (64, 63): 160 Hz a line, the first at 160 Hz
    assert image.shape == (64, 63)
    assert set(image[:, :30].argmax(0)) == {9} and set(image[:, 33:].argmax(0)) == {39}


def test_no_feature_depends_on_the_other_windows(signal):
    for feature in FEATURES.values():
        whole = feature(signal, RATE)
        assert whole.dtype == np.float32 and np.isfinite(whole).all() and whole.shape[:2] == signal.shape[:2]
        np.testing.assert_array_equal(whole, np.stack([feature(window, RATE) for window in signal]))
    np.testing.assert_array_equal(raw(signal, RATE), signal.astype(np.float32))


def test_the_simulated_bearing_has_the_same_recipe(signal):
    spectra = np.fft.rfft(signal[:, 0])
    np.testing.assert_allclose(band_power(spectra), spec(signal[:, 0], RATE), rtol=1e-6)
    np.testing.assert_allclose(envelope_spectrum(spectra)[:, 0], env(signal[:, 0], RATE)[:, 0], rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("feature", "length", "rate", "said"),
    [
        (spec, 600, RATE, "fewer than spec's 7 bands of 48 points; give data.window=672 or more"),
        (env, 100, RATE, "too short for env, whose lines are 205 Hz apart"),
        (stft, 100, RATE, "shorter than a frame of stft, 128"),
    ],
)
def test_short_windows_are_refused(feature, length, rate, said):
    with pytest.raises(MmganError, match=r"^data\.window: ") as refused:
        feature(np.zeros(length), rate)
    assert said in str(refused.value)
