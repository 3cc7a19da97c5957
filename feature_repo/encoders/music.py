"""Mood, pitch and tempo of music from its sound: the M, P and T of the content features of background music.

Tempo and pitch are estimates by published methods (librosa). **Mood is a heuristic**, good for a default where no
labels exist: the two axes of the circumplex model of affect (Russell 1980) are replaced by what correlates with them in
studies of music: *valence* by the mode (major or minor, by the key profiles of Krumhansl and Kessler 1982), *arousal*
by loudness and tempo. The four quadrants have names.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from feature_repo.encoders.encoding import EncoderOptions, Entity, Fault, MediaItem, Vectors, load_items
from feature_repo.encoders.frames import read_sound

__all__ = ["MOODS", "MusicContent", "mode_of", "mood_of", "pitch_of", "tempo_of"]

MOODS = ("calm", "happy", "sad", "tense")
"""Low arousal and positive valence, high and positive, low and negative, high and negative."""

_RATE = 22_050
_SECONDS = 30.0
_HOP = 512
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 2093.0  # C2 to C7
_QUIET_DB = -45.0  # below the full scale: nothing is played
_AROUSED_DB, _AROUSED_BPM = -18.0, 110.0
_REVISION = "1"

_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

Samples = npt.NDArray[np.float32]


class MusicContent:
    """``[mood, pitch, tempo]`` of each piece: the number of the mood in ``MOODS``, Hz, beats per minute.

    NaN where there is none: no pitch in noise, no tempo without a beat. Of long pieces the middle 30 s are heard.
    """

    def __init__(self, options: EncoderOptions) -> None:
        self._threads = options.threads

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """What the three numbers are; they go to the columns of the music table, not to an embedding table."""
        return EmbeddingSpec(
            entity=entity,
            modality="acoustic",
            encoder="music-content",
            revision=f"{_REVISION}, librosa {version('librosa')}",
            preprocessing=f"mono {_RATE} Hz, middle {_SECONDS:g} s; mood by Krumhansl mode and loudness "
            f"{_AROUSED_DB:g} dB or tempo {_AROUSED_BPM:g}; median YIN pitch {_LOWEST_HZ:g}-{_HIGHEST_HZ:g} Hz; "
            "beat tracking",
            width=3,
            dtype="float32",
            normalisation="none",
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Numbers ``[n, 3]`` and faults ``[n]``."""
        loaded, faults = load_items(_content, batch, self._threads)
        nothing = (np.nan,) * 3
        return np.array([nothing if row is None else row for row in loaded], np.float32).reshape(-1, 3), faults

    def columns(self, vectors: Vectors) -> dict[str, pa.Array]:
        """``[n, 3]`` as ``mood``, ``pitch`` and ``tempo``; null where there is none."""
        mood = np.nan_to_num(vectors[:, 0]).astype(np.int32)
        missing = np.isnan(vectors)
        return {
            "mood": pa.array(MOODS).take(pa.array(mood, mask=missing[:, 0])),
            "pitch": pa.array(vectors[:, 1], mask=missing[:, 1]),
            "tempo": pa.array(vectors[:, 2], mask=missing[:, 2]),
        }


def _content(item: MediaItem) -> tuple[float, float, float]:
    sound = read_sound(item.sound, _RATE)
    spare = max(len(sound) - int(_SECONDS * _RATE), 0)
    sound = sound[spare // 2 : len(sound) - (spare - spare // 2)]
    tempo = tempo_of(sound)
    mood = mood_of(sound, tempo)
    return (np.nan if mood is None else float(MOODS.index(mood))), pitch_of(sound), tempo


def tempo_of(sound: Samples, rate: int = _RATE) -> float:
    """Beats per minute of mono sound ``[samples]`` by beat tracking (Ellis 2007); NaN where there is no beat."""
    from librosa.beat import beat_track
    from librosa.onset import onset_strength

    envelope = onset_strength(y=sound, sr=rate, hop_length=_HOP)
    if not envelope.size or float(envelope.max()) < 1e-3:
        return float("nan")
    tempo, beats = beat_track(onset_envelope=envelope, sr=rate, hop_length=_HOP)
    return float(np.ravel(tempo)[0]) if len(beats) > 1 else float("nan")


def pitch_of(sound: Samples, rate: int = _RATE) -> float:
    """Median fundamental frequency in Hz of the sounding frames (YIN, de Cheveigné and Kawahara 2002); NaN if none."""
    import librosa

    frame = 2048
    if len(sound) < frame:
        return float("nan")
    f0 = librosa.yin(sound, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ, sr=rate, frame_length=frame, hop_length=_HOP)
    loudness = _decibel(librosa.feature.rms(y=sound, frame_length=frame, hop_length=_HOP)[0])
    flatness = librosa.feature.spectral_flatness(y=sound, n_fft=frame, hop_length=_HOP)[0]
    count = min(len(f0), len(loudness), len(flatness))
    inside = (f0[:count] > _LOWEST_HZ * 1.01) & (f0[:count] < _HIGHEST_HZ * 0.99)
    sounding = (loudness[:count] > _QUIET_DB) & (flatness[:count] < 0.1) & inside
    return float(np.median(f0[:count][sounding])) if sounding.any() else float("nan")


def mode_of(sound: Samples, rate: int = _RATE) -> float:
    """How major rather than minor: best correlation of the chroma with the 12 major key profiles less that with the
    minor ones, -2 to 2; NaN where no tone stands out."""
    import librosa

    chroma = librosa.feature.chroma_stft(y=sound, sr=rate, n_fft=4096, hop_length=_HOP, tuning=0.0).mean(1)
    if not chroma.max() > 0 or chroma.std() < 0.02 * chroma.mean():
        return float("nan")
    return _best_key(chroma, _MAJOR) - _best_key(chroma, _MINOR)


def mood_of(sound: Samples, tempo: float, rate: int = _RATE) -> str | None:
    """One of ``MOODS``; None for silence and for sound without tones. A heuristic, see the module."""
    sound = sound - np.mean(sound, dtype=np.float64).astype(np.float32)  # a constant is not heard
    loudness = float(_decibel(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))))
    if loudness < _QUIET_DB or len(sound) < rate:
        return None
    aroused = loudness > _AROUSED_DB and (np.isnan(tempo) or tempo > _AROUSED_BPM)
    mode = mode_of(sound, rate)
    if np.isnan(mode):
        return None
    return MOODS[{(False, True): 0, (True, True): 1, (False, False): 2, (True, False): 3}[bool(aroused), mode >= 0]]


def _best_key(chroma: npt.NDArray[Any], profile: tuple[float, ...]) -> float:
    return max(float(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]) for tonic in range(12))


def _decibel(amplitude: npt.NDArray[Any] | np.floating[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(20 * np.log10(np.maximum(amplitude, 1e-10)))
