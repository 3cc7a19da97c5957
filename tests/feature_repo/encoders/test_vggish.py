"""The mel bands are where VGGish and librosa have them, and the network is the published one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from feature_repo.encoders.encoding import EncoderOptions, MediaItem
from feature_repo.encoders.media import write_clip, write_wav
from feature_repo.encoders.vggish import BANDS, SAMPLE_RATE, Vggish, VggishEncoding, log_mel_patches, mel_filterbank

CHANNELS = (3, 4, 5, 6)


def _state() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    return {
        name: torch.randn(tensor.shape, generator=draw) * ((2 / tensor[0].numel()) ** 0.5 if tensor.dim() > 1 else 0.3)
        for name, tensor in Vggish(CHANNELS, 16).state_dict().items()
    }


@pytest.fixture
def encoding(tmp_path: Path) -> VggishEncoding:
    """A small network of seeded weights."""
    save_file(_state(), tmp_path / "vggish.safetensors")
    options = EncoderOptions(weights=str(tmp_path / "vggish.safetensors"), batch=4, threads=2)
    return VggishEncoding(options, Vggish(CHANNELS, 16))


def _edges() -> np.ndarray:
    mels = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), BANDS + 2)
    return 700 * np.expm1(mels / 1127)


def test_the_filterbank_is_librosas_but_straight_on_the_mel_scale() -> None:
    import librosa

    theirs = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None).T
    mine = mel_filterbank()
    assert mine.shape == theirs.shape == (257, 64)
    assert np.abs(mine - theirs).max() < 0.02  # a triangle over mels bends a little over hertz
    assert np.array_equal(mine.argmax(0), theirs.argmax(0))
    edges = _edges()
    for number, hertz in ((32, 1000.0), (64, 2000.0), (200, 6250.0)):
        band = int(np.searchsorted(edges, hertz)) - 1  # rises in this band, falls in the one before
        mel = 1127 * np.log(1 + hertz / 700)
        low, high = 1127 * np.log1p(edges[band : band + 2] / 700)
        assert mine[number, band] == pytest.approx((mel - low) / (high - low))
        assert mine[number, band - 1] == pytest.approx((high - mel) / (high - low))


@pytest.mark.parametrize("hertz", [200.0, 440.0, 1000.0, 3000.0, 7000.0])
def test_a_pure_tone_lights_its_band(hertz: float, sine: Callable) -> None:
    patches = log_mel_patches(sine(hertz, 2.5, SAMPLE_RATE))
    assert patches.shape == (2, 96, 64)
    edges = _edges()
    band = int(patches.mean((0, 1)).argmax())
    assert edges[band] - 16 <= hertz <= edges[band + 2] + 16  # within half a bin of the spectrum
    assert patches[..., band].min() > patches[..., np.abs(np.arange(64) - band) > 8].max()


def test_levels_of_a_tone_by_hand(sine: Callable) -> None:
    """A tone on bin 32 has magnitude level * sum(window) / 2 there and half of that on both neighbours."""
    frames = log_mel_patches(sine(1000, 1.2, SAMPLE_RATE))[0]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    wave = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(400) / 16_000) * window
    magnitude = [abs(np.sum(wave * np.exp(-2j * np.pi * k * np.arange(400) / 512))) for k in range(257)]
    expected = np.log(np.array(magnitude) @ mel_filterbank() + 0.01)
    assert np.allclose(frames[0].numpy(), expected, atol=1e-3)
    assert magnitude[32] == pytest.approx(0.5 * 200 / 2, rel=1e-6)


def test_short_sound_is_one_patch_and_an_incomplete_one_is_dropped(sine: Callable) -> None:
    assert len(log_mel_patches(sine(440, 0.01, SAMPLE_RATE))) == 1
    whole = 400 + 95 * 160
    assert len(log_mel_patches(np.zeros(whole + 95 * 160, np.float32))) == 1
    assert len(log_mel_patches(np.zeros(whole + 96 * 160, np.float32))) == 2
    assert torch.allclose(log_mel_patches(np.zeros(whole, np.float32)), torch.tensor(0.01).log())


def test_long_sound_is_worked_off_in_blocks(sine: Callable) -> None:
    sound = sine(440, 70, SAMPLE_RATE) * np.linspace(0, 1, 70 * SAMPLE_RATE, dtype=np.float32)
    patches = log_mel_patches(sound)
    assert len(patches) == 72  # 6,998 frames
    step = 96 * 160
    for number in (0, 31, 32, 63, 64, 71):
        alone = log_mel_patches(sound[number * step : number * step + 400 + 95 * 160])
        assert torch.allclose(patches[number], alone[0], atol=1e-5)


def test_the_network_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        network = Vggish()
    convolutions = {0: (64, 1), 3: (128, 64), 6: (256, 128), 8: (256, 256), 11: (512, 256), 13: (512, 512)}
    expected: dict[str, tuple[int, ...]] = {}
    for place, (outputs, inputs) in convolutions.items():
        expected |= {f"features.{place}.weight": (outputs, inputs, 3, 3), f"features.{place}.bias": (outputs,)}
    for place, (outputs, inputs) in {0: (4096, 12_288), 2: (4096, 4096), 4: (128, 4096)}.items():
        expected |= {f"embeddings.{place}.weight": (outputs, inputs), f"embeddings.{place}.bias": (outputs,)}
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected


def test_the_network_equals_its_layers_written_out() -> None:
    state = _state()
    network = Vggish(CHANNELS, 16)
    network.load_state_dict(state)
    patches = torch.randn(3, 96, 64, generator=torch.Generator().manual_seed(2))
    x = patches[:, None]
    for stage in ([0], [3], [6, 8], [11, 13]):
        for place in stage:
            x = functional.conv2d(x, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1)
            x = x.clamp_min(0)
        x = functional.max_pool2d(x, 2)
    # the published conversion swaps axes 1 and 3, then 1 and 2, before it flattens: height, width, channels
    x = x.transpose(1, 3).transpose(1, 2).reshape(3, -1)
    for place in (0, 2, 4):
        x = (x @ state[f"embeddings.{place}.weight"].T + state[f"embeddings.{place}.bias"]).clamp_min(0)
    with torch.inference_mode():
        mine = network(patches)
    assert (mine > 0).any()
    torch.testing.assert_close(mine, x, rtol=1e-4, atol=1e-5)


def test_music_and_clips_are_encoded_and_silent_clips_are_absent(
    encoding: VggishEncoding, tmp_path: Path, sine: Callable, picture: Callable
) -> None:
    write_wav(tmp_path / "low.wav", sine(200, 3, 16_000))
    write_wav(tmp_path / "high.wav", sine(3000, 2, 44_100), 44_100)
    write_clip(tmp_path / "mute.mp4", [picture(0, 0, 0)] * 3)
    items = [
        MediaItem("music", "low", clip=tmp_path / "low.wav"),
        MediaItem("video", "mute", clip=tmp_path / "mute.mp4"),
        MediaItem("music", "high", clip=tmp_path / "high.wav"),
        MediaItem("music", "gone", clip=tmp_path / "gone.wav"),
        MediaItem("music", "bare"),
    ]
    vectors, faults = encoding.encode(items)
    assert vectors.shape == (5, 128)
    assert [None if fault is None else fault.absent for fault in faults] == [None, True, None, False, True]
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3
    for row in (0, 2):
        assert np.array_equal(encoding.encode([items[row]])[0][0], vectors[row])
    by_hand = Vggish(CHANNELS, 16)
    by_hand.load_state_dict(_state())
    with torch.inference_mode():
        from feature_repo.encoders.frames import read_sound

        expected = by_hand(log_mel_patches(read_sound(tmp_path / "low.wav", 16_000))).mean(0)
    assert np.allclose(vectors[0], expected.numpy(), atol=1e-5)


def test_the_spec_is_acoustic(encoding: VggishEncoding) -> None:
    assert encoding.spec("music").name == "music_acoustic"
    assert encoding.spec("video").name == "acoustic"
    assert "64 HTK mel bands 125-7500 Hz" in encoding.spec("music").preprocessing
