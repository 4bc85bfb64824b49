"""Windows of a micrograph, and of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cut(
    micrograph: NDArray[np.number[Any]], centre: NDArray[np.int64], side: int
) -> NDArray[np.float32]:
    """Cut windows out of a micrograph; beyond its edge the nearest pixel is repeated.

    Parameters
    ----------
    micrograph : any number (ny, nx)
        In either byte order.
    centre : int64 (n, 2)
        (x, y) of the pixel that becomes index side // 2.
    side
        Pixels.

    Returns
    -------
    float32 (n, side, side)

    Source
    ------
    RELION extractParticlesFromOneMicrograph, by its output.
    """
    ny, nx = micrograph.shape
    out = np.empty((centre.shape[0], side, side), np.float32)
    for image, (x, y) in zip(out, (centre - side // 2).tolist(), strict=True):
        if 0 <= x <= nx - side and 0 <= y <= ny - side:
            image[:] = micrograph[y : y + side, x : x + side]
        else:
            rows, columns = (
                np.arange(first, first + side).clip(0, last - 1)
                for first, last in ((y, ny), (x, nx))
            )
            image[:] = micrograph[rows[:, None], columns]
    return out


def is_outside(
    centre: NDArray[np.int64], side: int, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Tell which windows hold no pixel of the micrograph.

    Parameters
    ----------
    centre : int64 (n, 2)
        (x, y) of the centre pixel.
    side
        Pixels.
    shape
        (ny, nx) of the micrograph.

    Returns
    -------
    bool (n,)
    """
    first = centre - side // 2
    beyond = (first >= np.array(shape[::-1])) | (first + side <= 0)
    return np.asarray(beyond.any(axis=1), np.bool_)


def rewindow(
    images: NDArray[np.float32], side: int, fill: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Crop images or pad them, their centre pixel staying the centre.

    Parameters
    ----------
    images : float32 (n, m, m)
    side
        New side.
    fill : float32 (n,)
        What each image is padded with.

    Returns
    -------
    float32 (n, side, side)
    """
    n, old = images.shape[:2]
    if side == old:
        return images
    kept = min(old, side)
    source = slice(old // 2 - kept // 2, old // 2 - kept // 2 + kept)
    if side <= old:
        return np.ascontiguousarray(images[:, source, source])
    out = np.empty((n, side, side), np.float32)
    out[:] = fill[:, None, None]
    target = slice(side // 2 - kept // 2, side // 2 - kept // 2 + kept)
    out[:, target, target] = images
    return out
