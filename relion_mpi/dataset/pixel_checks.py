"""Which images cannot be used: NaN, constant, hot pixels; one pass over the pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOT_FINITE, CONSTANT, HOT = 1, 2, 4
HOT_DEVIATIONS = 50.0
"""A pixel so far off has the power of 2500 others, spread over all frequencies; noise of a billion
pixels stays below 7 standard deviations, gold and ice below 20."""
LARGEST = 1e15
"""Beyond it the squares of an image's pixels may not fit in single precision."""

REASONS = {
    NOT_FINITE: "NaN or infinite pixels",
    CONSTANT: "all pixels have the same value",
    HOT: f"a pixel is more than {HOT_DEVIATIONS:g} standard deviations off",
}

# Pixels further off are left out of the standard deviation they are measured by, as long as they
# are few: many such pixels are the image, not a defect.
_CLIP_DEVIATIONS = 6.0
_CLIP_SHARE = 0.01
_N_CLIPS = 20
_INFINITY_BITS = 0x7F800000
# fastmath flags that keep NaN and infinity honest
_FAST = {"reassoc", "contract", "arcp", "nsz"}


def check_pixels(images: NDArray[np.floating[Any]], n_threads: int = 1) -> NDArray[np.uint8]:
    """Flag the images that would spoil a refinement.

    Parameters
    ----------
    images : float32 or float16 (n, box, box)
        As read; C order.
    n_threads
        Among which the images are divided.

    Returns
    -------
    uint8 (n,)
        0, or NOT_FINITE, CONSTANT or HOT.

    Notes
    -----
    Runs without the GIL, at several GB/s on one core. The standard deviation leaves outliers out:
    within `box` x `box` pixels a single one is never more than `box` plain deviations off.
    """
    n_img = images.shape[0]
    flags = np.zeros(n_img, np.uint8)
    is_half = images.dtype == np.float16
    pixels = np.ascontiguousarray(images, None if is_half else np.float32).reshape(n_img, -1)
    if not is_half:
        table = None
        pixels = pixels.view(np.int32)
    else:
        table, pixels = _floats_of_halves(), pixels.view(np.uint16)
    parts = np.array_split(np.arange(n_img), max(min(n_threads, n_img), 1))

    def flag(rows: NDArray[np.int64]) -> None:
        if rows.size:
            _flag(pixels[rows[0] : rows[-1] + 1], table, flags[rows[0] : rows[-1] + 1])

    if len(parts) == 1:
        flag(parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as threads:
            list(threads.map(flag, parts))
    return flags


@cache
def _floats_of_halves() -> NDArray[np.int32]:
    """Return the bits of the float32 of every float16: numpy converts ten times as slowly."""
    found: NDArray[np.int32] = (
        np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32).view(np.int32)
    )
    return found


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _flag(
    words: NDArray[np.integer[Any]], table: NDArray[np.int32] | None, flags: NDArray[np.uint8]
) -> None:
    """Fill flags; `words` are the bits of the pixels, or with a table their places in it."""
    n_img, n_pix = words.shape
    ends = np.empty(2, np.int32)
    values = ends.view(np.float32)
    image_bits = np.empty(n_pix, np.int32)
    image = image_bits.view(np.float32)
    for i in range(n_img):
        if table is None:
            image_bits[:] = words[i]
        else:
            for p in range(n_pix):
                image_bits[p] = table[words[i, p]]
        total, square = 0.0, 0.0
        low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
        for p in range(n_pix):
            value = np.float64(image[p])
            total += value
            square += value * value
            # Integers in the order of the floats: their extremes are found in vector registers,
            # which NaN forbids for the floats themselves.
            word = image_bits[p]
            key = np.int32(word ^ ((word >> 31) & 0x7FFFFFFF))
            low = key if key < low else low
            high = key if key > high else high
        if high >= _INFINITY_BITS or low <= -_INFINITY_BITS - 1:
            flags[i] = NOT_FINITE
            continue
        ends[0], ends[1] = low ^ ((low >> 31) & 0x7FFFFFFF), high ^ ((high >> 31) & 0x7FFFFFFF)
        least, most = np.float64(values[0]), np.float64(values[1])
        if least == most:
            flags[i] = CONSTANT
            continue
        if least < -LARGEST or most > LARGEST:
            flags[i] = HOT
            continue
        mean = total / n_pix
        off = max(most - mean, mean - least)
        if off * off > _CLIP_DEVIATIONS**2 * (square / n_pix - mean * mean):
            flags[i] = HOT * _is_hot(image, least, most)


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _is_hot(image: NDArray[np.float32], least: float, most: float) -> bool:
    """Measure the extremes by the standard deviation of the pixels without outliers."""
    n_pix = image.size
    mean, deviation, n_before = 0.0, np.inf, -1
    for _ in range(_N_CLIPS):
        limit = _CLIP_DEVIATIONS * deviation
        count, total, square = 0, 0.0, 0.0
        for p in range(n_pix):
            difference = np.float64(image[p]) - mean
            if abs(difference) <= limit:
                count += 1
                total += difference
                square += difference * difference
        if count == n_before or n_pix - count > _CLIP_SHARE * n_pix:
            break
        step = total / count
        mean += step
        # The first mean is 0: the next round, about the true one, is exact.
        deviation = np.sqrt(max(square / count - step * step, 0.0))
        n_before = count if n_before >= 0 else 0
    return max(most - mean, mean - least) > HOT_DEVIATIONS * deviation
