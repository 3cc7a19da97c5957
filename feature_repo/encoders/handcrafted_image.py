"""Handcrafted image features: colour, sharpness, lines and faces.

AMAE (Shen et al.), section III-C. Where its references leave the borders of a class open, they are set here:

- Hue is an angle: its mean is the mean direction, weighted by chroma (saturation times brightness), given as cosine and
  sine, so that vectors of several pictures can be averaged; its contrast is the circular variance (1 minus the length
  of the mean). A grey picture has zeros. Contrast of saturation and brightness is the standard deviation.
- Warm is a hue within 60 degrees of orange (30), cold one within 60 of azure (210), where saturation and brightness
  are at least 0.1. Levels of brightness are fifths of [0, 1], of saturation thirds. Areas are shares of the picture.
- Sharpness is Tenengrad: the mean of the squared Sobel gradient of the luma in [0, 1], without the outermost pixels.
- Lines are those of the probabilistic Hough transform on Canny's edges. Horizontal and vertical ones (within 15
  degrees) are static, slanted ones dynamic; each is a share of the lines' total length.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.embeddings import EmbeddingSpec
from feature_repo.encoders.encoding import EncoderOptions, Entity, Fault, MediaItem, Vectors, load_items
from feature_repo.encoders.faces import FaceDetector
from feature_repo.encoders.frames import POST_FRAMES, item_frames

__all__ = ["IMAGE_COMPONENTS", "HandcraftedImage", "image_vector"]

_BRIGHTNESS = ("very_dark", "dark", "middle", "light", "very_light")
_SATURATION = ("low", "middle", "high")
_LINES = ("horizontal", "vertical", "slanted")

IMAGE_COMPONENTS: tuple[str, ...] = (
    *("hue_cosine", "hue_sine", "hue_contrast"),
    *("saturation_mean", "saturation_contrast", "brightness_mean", "brightness_contrast"),
    *("area_warm", "area_cold"),
    *(f"area_brightness_{level}" for level in _BRIGHTNESS),
    *(f"area_saturation_{level}" for level in _SATURATION),
    "sharpness",
    *(f"lines_{direction}" for direction in _LINES),
    "lines_length",
    *("faces", "faces_largest"),
)
"""Names of the vector's components. ``lines_length`` is the total length of the lines, in diagonals of the picture;
``faces_largest`` the largest face's share of the picture's area."""

_LONGER_SIDE = 512
_FLAT = 0.1
_STATIC_DEGREES = 15.0

Picture = npt.NDArray[np.uint8]


def image_vector(picture: Picture, faces: npt.NDArray[np.float64]) -> Vectors:
    """Features of one picture, float32 ``[len(IMAGE_COMPONENTS)]``.

    Args:
        picture: RGB, ``[height, width, 3]``; one with a side above 512 pixels is scaled down, faces excepted.
        faces: Boxes of its faces in pixels, ``[n, 4]``: left, top, width, height.
    """
    import cv2

    height, width = picture.shape[:2]
    largest = float(np.max(faces[:, 2] * faces[:, 3], initial=0.0)) / (height * width)
    scale = min(1.0, _LONGER_SIDE / max(height, width))
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.array(
        [*_colour(picture), _tenengrad(picture), *_lines(picture), len(faces), min(largest, 1.0)], np.float32
    )


def _colour(picture: Picture) -> list[float]:
    import cv2

    hsv = np.asarray(cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2HSV), np.float64).reshape(-1, 3)
    hue, saturation, brightness = hsv.T
    chroma = saturation * brightness
    total = float(chroma.sum())
    angle = np.deg2rad(hue)
    cosine = float(chroma @ np.cos(angle)) / total if total else 0.0
    sine = float(chroma @ np.sin(angle)) / total if total else 0.0
    contrast = max(1 - float(np.hypot(cosine, sine)), 0.0) if total else 0.0
    coloured = (saturation >= _FLAT) & (brightness >= _FLAT)

    def area_near(middle: float) -> float:
        return float((coloured & (np.abs((hue - middle + 180) % 360 - 180) <= 60)).mean())

    def areas(values: npt.NDArray[np.float64], levels: int) -> list[float]:
        # The small addend keeps a value such as 51/255 in the level that begins with it.
        level = np.minimum((values * levels + 1e-6).astype(np.int64), levels - 1)
        return [float(share) for share in np.bincount(level, minlength=levels) / len(values)]

    return [
        *(cosine, sine, contrast),
        *(float(saturation.mean()), float(saturation.std()), float(brightness.mean()), float(brightness.std())),
        *(area_near(30), area_near(210)),
        *areas(brightness, len(_BRIGHTNESS)),
        *areas(saturation, len(_SATURATION)),
    ]


def _tenengrad(picture: Picture) -> float:
    import cv2

    if min(picture.shape[:2]) < 3:
        return 0.0
    luma = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2GRAY)
    across = np.asarray(cv2.Sobel(luma, cv2.CV_64F, 1, 0))[1:-1, 1:-1]
    down = np.asarray(cv2.Sobel(luma, cv2.CV_64F, 0, 1))[1:-1, 1:-1]
    return float(np.mean(across**2 + down**2))


def _lines(picture: Picture) -> list[float]:
    import cv2

    height, width = picture.shape[:2]
    diagonal = float(np.hypot(height, width))
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 50, 150)
    shortest = max(0.05 * min(height, width), 10.0)
    # OpenCV seeds the transform's random order itself: equal pictures, equal lines.
    found = cv2.HoughLinesP(edges, 1, np.pi / 180, threshold=30, minLineLength=shortest, maxLineGap=3)
    if found is None:
        return [0.0] * (len(_LINES) + 1)
    ends = np.asarray(found, np.float64).reshape(-1, 4)
    across, down = ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]
    lengths = np.hypot(across, down)
    slope = np.rad2deg(np.arctan2(np.abs(down), np.abs(across)))
    direction = np.where(slope <= _STATIC_DEGREES, 0, np.where(slope >= 90 - _STATIC_DEGREES, 1, 2))
    shares = np.bincount(direction, weights=lengths, minlength=len(_LINES)) / lengths.sum()
    return [*shares.tolist(), float(lengths.sum() / diagonal)]


class HandcraftedImage:
    """Encoder of posts' images and of videos' frames; the vector of several pictures is the mean of theirs.

    Args:
        options: ``weights`` is the path of YuNet's ONNX file; without it the built-in detector finds the faces.
            ``frames`` of a video: 3 if None.

    Raises:
        NotFound: There is no such file.
        BadInput: It is no YuNet.
    """

    def __init__(self, options: EncoderOptions) -> None:
        self._faces = FaceDetector(Path(options.weights) if options.weights else None)
        self._frames = options.frames or POST_FRAMES
        self._threads = options.threads
        self._available_from = options.available_from

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """The revision is that of the components; the preprocessing names the face detector."""
        frames = POST_FRAMES if entity == "post" else self._frames
        return EmbeddingSpec(
            entity=entity,
            modality="visual_handcrafted",
            encoder="handcrafted-image",
            revision="1",
            preprocessing=f"{frames} frames, side at most {_LONGER_SIDE}, faces by {self._faces.revision}, mean",
            width=len(IMAGE_COMPONENTS),
            dtype="float32",
            normalisation="none",
            available_from=self._available_from,
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Vectors ``[n, width]``; zeros at faults."""

        def load(item: MediaItem) -> list[Picture]:
            return item_frames(item, self._frames)

        loaded, faults = load_items(load, batch, self._threads)
        vectors = np.zeros((len(batch), len(IMAGE_COMPONENTS)), np.float32)
        for row, pictures in enumerate(loaded):
            if pictures is not None:
                vectors[row] = np.mean([image_vector(picture, self._faces(picture)) for picture in pictures], axis=0)
        return vectors, faults
