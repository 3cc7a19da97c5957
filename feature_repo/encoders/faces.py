"""Faces in a picture: how many, and how large the largest is.

AMAE (Shen et al., section III-C) counts with libfacedetection, whose network YuNet OpenCV runs from an ONNX file; the
file ships in no library, so its path is the user's. Without it, scikit-image's multi-block LBP cascade is used, which
ships its trained stages and finds upright frontal faces only.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput, NotFound
from contracts.files import file_sha256

__all__ = ["FaceDetector", "distinct_boxes"]

Boxes = npt.NDArray[np.float64]
"""Left, top, width, height in pixels, ``[n, 4]``."""

_LONGER_SIDE = 640
_SMALLEST_FACE = 0.08  # of the shorter side
_SCORE = 0.7
_OVERLAP = 0.3


def distinct_boxes(boxes: Boxes, scores: npt.NDArray[np.float64]) -> Boxes:
    """Best boxes first, each that overlaps a better one by more than 0.3 of the smaller of the two left out."""
    order = np.argsort(-scores, kind="stable")
    kept: list[npt.NDArray[np.float64]] = []
    for left, top, width, height in boxes[order]:
        for other in kept:
            across = min(left + width, other[0] + other[2]) - max(left, other[0])
            down = min(top + height, other[1] + other[3]) - max(top, other[1])
            if max(across, 0.0) * max(down, 0.0) > _OVERLAP * min(width * height, other[2] * other[3]):
                break
        else:
            kept.append(np.array([left, top, width, height]))
    return np.array(kept).reshape(-1, 4)


class FaceDetector:
    """Finds faces.

    Args:
        yunet: ONNX file of YuNet (``face_detection_yunet_*.onnx``); None for the cascade.

    Raises:
        NotFound: There is no such file.
        BadInput: It is no YuNet.
    """

    def __init__(self, yunet: Path | None = None) -> None:
        self.revision: str
        """Of the detector, for a spec: its name and the first 12 hexadecimal digits of its file's SHA-256."""
        self._find: Callable[[npt.NDArray[np.uint8]], Boxes]
        if yunet is None:
            self.revision, self._find = _cascade()
        else:
            self.revision, self._find = _yunet(yunet)

    def __call__(self, picture: npt.NDArray[np.uint8]) -> Boxes:
        """Boxes of the faces, in pixels of the picture, ``[n, 4]``: left, top, width, height.

        Args:
            picture: RGB, ``[height, width, 3]``; it is scaled so that its longer side has at most 640 pixels.
        """
        import cv2

        scale = min(1.0, _LONGER_SIDE / max(picture.shape[:2]))
        if scale < 1:
            size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        return np.asarray(self._find(picture) / scale, np.float64)


def _cascade() -> tuple[str, Callable[[npt.NDArray[np.uint8]], Boxes]]:
    import skimage
    from skimage.feature import Cascade

    locate: Callable[[], str] = skimage.data.lbp_frontal_face_cascade_filename
    path = Path(locate())
    cascade = Cascade(str(path))

    def find(picture: npt.NDArray[np.uint8]) -> Boxes:
        shorter = min(picture.shape[:2])
        smallest = max(24, round(_SMALLEST_FACE * shorter))  # the cascade was trained on 24 x 24
        if shorter < smallest:
            return np.zeros((0, 4))
        found = cascade.detect_multi_scale(
            img=picture,
            scale_factor=1.1,
            step_ratio=1.5,
            min_size=(smallest, smallest),
            max_size=(shorter, shorter),
            min_neighbor_number=6,
        )
        boxes = np.array([(f["c"], f["r"], f["width"], f["height"]) for f in found], np.float64).reshape(-1, 4)
        return distinct_boxes(boxes, boxes[:, 2] * boxes[:, 3])

    return f"lbp-cascade {file_sha256(path)[:12]}", find


def _yunet(path: Path) -> tuple[str, Callable[[npt.NDArray[np.uint8]], Boxes]]:
    import cv2

    if not path.is_file():
        raise NotFound(path, found="no such file", expected="YuNet as ONNX", next_step="give the path of the file")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns of each network it reads
    try:
        detector = cv2.FaceDetectorYN.create(str(path), "", (_LONGER_SIDE, _LONGER_SIDE), _SCORE)
        detector.detect(np.zeros((_LONGER_SIDE, _LONGER_SIDE, 3), np.uint8))
    except cv2.error as error:
        raise BadInput(
            path,
            found=f"a network that OpenCV cannot run as YuNet ({str(error).strip().splitlines()[-1]})",
            expected="face_detection_yunet_*.onnx",
            next_step="give that file, or none for the built-in detector",
        ) from error

    def find(picture: npt.NDArray[np.uint8]) -> Boxes:
        detector.setInputSize((picture.shape[1], picture.shape[0]))
        _, faces = detector.detect(np.ascontiguousarray(picture[:, :, ::-1]))
        if faces is None:
            return np.zeros((0, 4))
        return distinct_boxes(faces[:, :4].astype(np.float64), faces[:, 14].astype(np.float64))

    return f"yunet {file_sha256(path)[:12]}", find
