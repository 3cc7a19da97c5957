"""Real media files of a platform: clips, sound, pictures and texts that show what the rows say.

Hue, stripes and blobs of a picture come from content factors, brightness and saturation from the mood. Sound is a
melody about the row's pitch, a note and a drum on every beat of its tempo, in a timbre that comes from the style; it
is major or minor by valence, loud or soft by arousal.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.console import Advance
from contracts.errors import BadInput
from contracts.files import directory_written_whole
from feature_repo.simulator.draws import Floats
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.platform import Platform
from feature_repo.simulator.tastes import CONTENT, STYLE

__all__ = ["RATE", "MediaPlan", "media_of", "media_paths", "picture", "sound", "write_media"]

RATE = 16_000
"""Samples a second."""
_REVISION = "1"
"""Raise it when the files of equal settings change."""
_HEIGHT, _WIDTH, _FPS = 48, 64, 10
_CLIP_S, _MUSIC_S, _POST_S = 3, 8, 1
_DRUM_HZ = 70.0
_MOST_ITEMS = 100_000


@dataclass(frozen=True)
class MediaPlan:
    """Which files there are, and where."""

    directory: Path
    """What the paths in the tables are relative to."""
    videos: int
    """So many videos have a clip: the first ones."""
    music: int
    posts: int


def media_of(plan: Plan, root: Path, items: int) -> MediaPlan:
    """Files for the first ``items`` videos, pieces of music and posts, in a directory named by what they depend on.

    Raises:
        BadInput: The number is out of range.
    """
    if not 1 <= items <= _MOST_ITEMS:
        raise BadInput(
            "option --media-items", found=items, expected=f"1 to {_MOST_ITEMS:,}", next_step="choose a number in range"
        )
    name = hashlib.sha256(f"{_REVISION} items={items} {plan.describe()}".encode()).hexdigest()[:16]
    return MediaPlan(root / name, min(items, plan.videos), min(items, plan.music), min(items, plan.posts))


def media_paths(platform: Platform, media: MediaPlan) -> dict[str, dict[str, pa.Array]]:
    """Table → its media columns, with nulls where an item has no files."""
    posts = platform.posts
    images = [[_image(post, n) for n in range(posts.images[post])] or None for post in range(media.posts)]
    clips = [f"posts/p{post}.mp4" if posts.video[post] else None for post in range(media.posts)]
    return {
        "videos": {
            "media": _padded([_clip(video) for video in range(media.videos)], pa.string(), platform.plan.videos)
        },
        "music": {"media": _padded([_track(piece) for piece in range(media.music)], pa.string(), platform.plan.music)},
        "posts": {
            "images": _padded(images, pa.list_(pa.string()), len(posts)),
            "video": _padded(clips, pa.string(), len(posts)),
        },
    }


def _clip(video: int) -> str:
    return f"videos/v{video}.mp4"


def _track(piece: int) -> str:
    return f"music/m{piece}.wav"


def _image(post: int, number: int) -> str:
    return f"posts/p{post}-{number}.png"


def _padded(values: Sequence[object], kind: pa.DataType, count: int) -> pa.Array:
    return pa.concat_arrays([pa.array(values, kind), pa.nulls(count - len(values), kind)])


def write_media(platform: Platform, media: MediaPlan, texts: dict[str, pa.Array], advance: Advance) -> bool:
    """Write all files, or none; a directory that is there already is left as it is.

    Args:
        platform: What the files show.
        media: Which, and where.
        texts: Table → texts of its rows, ``[n]``: ``videos`` (titles) and ``posts``.
        advance: Told of each item done.

    Returns:
        Whether they were written now.

    Raises:
        StorageFull: The disk ran out of space.
    """
    if media.directory.is_dir():
        advance(media.videos + media.music + media.posts)
        return False
    with directory_written_whole(media.directory) as scratch:
        for folder in ("videos", "music", "posts"):
            (scratch / folder).mkdir()
        for _ in _write(platform, media, texts, scratch):
            advance()
    return True


def _write(platform: Platform, media: MediaPlan, texts: dict[str, pa.Array], scratch: Path) -> Iterator[None]:
    from feature_repo.encoders.media import write_clip, write_image, write_wav

    videos, posts = platform.videos, platform.posts
    for video in range(media.videos):
        heard = _sound_of(platform, int(platform.background[video]), _CLIP_S)
        frames = _frames(videos.factors[video, :CONTENT], videos.mood[video], _CLIP_S)
        write_clip(scratch / _clip(video), frames, heard, RATE, _FPS)
        _write_text(scratch / f"videos/v{video}.txt", texts["videos"][video].as_py())
        yield
    for piece in range(media.music):
        write_wav(scratch / _track(piece), _sound_of(platform, piece, _MUSIC_S), RATE)
        yield
    for post in range(media.posts):
        content, mood = posts.content[post], posts.mood[post]
        for number in range(posts.images[post]):
            write_image(scratch / _image(post, number), picture(content, mood, phase=number / 9))
        if posts.video[post]:
            write_clip(scratch / f"posts/p{post}.mp4", _frames(content, mood, _POST_S), fps=_FPS)
        _write_text(scratch / f"posts/p{post}.txt", texts["posts"][post].as_py())
        yield


def _write_text(path: Path, text: str | None) -> None:
    if text is not None:
        path.write_text(text + "\n", encoding="utf-8")


def _frames(content: Floats, mood: Floats, seconds: int) -> Iterator[npt.NDArray[np.uint8]]:
    speed = 0.3 + 0.3 * max(float(mood[1]) + 1, 0)  # excited clips move faster
    for frame in range(seconds * _FPS):
        yield picture(content, mood, phase=speed * frame / _FPS)


def picture(content: Floats, mood: Floats, phase: float = 0.0) -> npt.NDArray[np.uint8]:
    """An RGB picture, ``[48, 64, 3]``.

    Args:
        content: The 16 content factors: direction 0-1 is the hue, 2-3 direction and number of stripes, 4-9 blobs.
        mood: Valence, which is bright, and arousal, which is colourful and rich in contrast.
        phase: How far the stripes have moved, in stripes.
    """
    content = content / max(float(np.linalg.norm(content)), 1e-9)
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH] / _HEIGHT
    hue = np.arctan2(content[1], content[0]) / (2 * np.pi)
    angle, number = np.pi * content[2], 3 + 6 * abs(content[3])
    stripes = np.sin(2 * np.pi * (number * (x * np.cos(angle) + y * np.sin(angle)) + phase)) > 0
    blobs = np.zeros((_HEIGHT, _WIDTH))
    for across, down in content[4:10].reshape(3, 2):
        blobs += ((x - 0.67 - 0.6 * across) ** 2 + (y - 0.5 - 0.5 * down) ** 2) < 0.02
    valence, arousal = np.tanh(mood)
    hues = hue + 0.12 * stripes + 0.4 * np.minimum(blobs, 1)
    colour = 0.5 + 0.5 * np.cos(2 * np.pi * (hues[:, :, None] - np.array([0, 1 / 3, 2 / 3])))
    colourful = 0.55 + 0.4 * arousal
    light = (0.6 + 0.3 * valence) * (1 - (0.25 + 0.15 * arousal) * stripes)
    return np.asarray(np.round(255 * light[:, :, None] * (1 - colourful * (1 - colour))), np.uint8)


def _sound_of(platform: Platform, piece: int, seconds: float) -> Floats:
    music = platform.music
    style, mood = music.style[piece, :STYLE], music.mood[piece]
    return sound(float(music.pitch[piece]), float(music.tempo[piece]), style, mood, seconds)


def sound(pitch: float, tempo: float, style: Floats, mood: Floats, seconds: float) -> Floats:
    """Mono samples between -1 and 1 at ``RATE``, ``[n]``.

    Args:
        pitch: Hz, of most notes.
        tempo: Beats per minute.
        style: The 6 style factors: strengths of the harmonics.
        mood: Valence, which decides between major and minor, and arousal, which is loud.
        seconds: Length.
    """
    time = np.arange(int(seconds * RATE)) / RATE
    beat = time * tempo / 60
    into_beat = beat % 1.0 * 60 / tempo
    third = 5 / 4 if mood[0] > 0 else 6 / 5
    melody = np.array([1, 1, third, 1, 1, 3 / 2, third, 1])[beat.astype(int) % 8]
    harmonics = np.concatenate([[2.0], np.exp(style)]) / np.arange(1, 2 + len(style)) ** 1.5
    phase = 2 * np.pi * pitch * melody * into_beat
    tone = sum(strength * np.sin((n + 1) * phase) for n, strength in enumerate(harmonics))
    drum = 0.5 * np.sin(2 * np.pi * _DRUM_HZ * into_beat) * np.exp(-30 * into_beat)
    samples = tone / harmonics.sum() * (0.15 + np.exp(-4 * into_beat)) + drum
    loudness = 0.5 + 0.4 * np.tanh(mood[1])
    return np.asarray(loudness * samples / np.abs(samples).max(), np.float32)
