"""Loops of particle picking on CPUs."""

from __future__ import annotations

import numba
import numpy as np

from relion_mpi.backend.cpu.project import FAST
from relion_mpi.optics.ctf import SMALLEST_VALUE


@numba.njit(cache=True, parallel=True)
def moments(image):  # type: ignore[no-untyped-def]
    """Return the sum and the sum of squares of an image, added in float64 row by row."""
    n_y = image.shape[0]
    rows = np.empty((n_y, 2))
    for y in numba.prange(n_y):
        total = 0.0
        squares = 0.0
        for value in image[y]:
            total += np.float64(value)
            squares += np.float64(value) * np.float64(value)
        rows[y, 0] = total
        rows[y, 1] = squares
    total = 0.0
    squares = 0.0
    for y in range(n_y):
        total += rows[y, 0]
        squares += rows[y, 1]
    return total, squares


@numba.njit(cache=True)
def mirror(k, n):  # type: ignore[no-untyped-def]
    """Return the pixel that stands for pixel k of a line of n; k < 2 n - 1."""
    return k if k < n else 2 * (n - 1) - k


@numba.njit(cache=True, parallel=True)
def mirrored(image, mean, factor, outlier_z, out):  # type: ignore[no-untyped-def]
    """Write (image - mean) * factor, outliers as 0, and mirror the end of rows and columns."""
    n_y, n_x = image.shape
    for y in numba.prange(out.shape[0]):
        row = image[mirror(np.int64(y), n_y)]
        for x in range(out.shape[1]):
            value = (row[mirror(x, n_x)] - mean) * factor
            out[y, x] = value if abs(value) <= outlier_z else np.float32(0)


@numba.njit(cache=True, parallel=True)
def cropped(transform, rows, n_x):  # type: ignore[no-untyped-def]
    """Return the listed rows and the first columns of a half transform."""
    out = np.empty((rows.size, n_x), np.complex64)
    for y in numba.prange(rows.size):
        out[y] = transform[rows[y], :n_x]
    return out


@numba.njit(cache=True)
def ctf_value(c, x, y, intact):  # type: ignore[no-untyped-def]
    """Evaluate `relion_mpi.optics.ctf.ctf` of coefficients (8,) at a frequency in 1/Angstrom."""
    u2 = x * x + y * y
    gamma = c[0] * x * x + c[1] * x * y + c[2] * y * y + c[3] * u2 * u2 + c[4]
    value = 1.0 if intact and abs(gamma) < np.pi / 2 else -np.sin(gamma)
    value *= np.exp(c[6] * u2) * c[5]
    if abs(value) < SMALLEST_VALUE:
        value = -SMALLEST_VALUE if value < 0 else SMALLEST_VALUE
    return value


@numba.njit(cache=True)
def passed(radius, limit, highpass, edge):  # type: ignore[no-untyped-def]
    """Return the factor of both filters at a radius in cycles per pixel."""
    if radius > limit:
        return 0.0
    if highpass <= 0.0 or radius >= highpass + edge:
        return 1.0
    if radius <= highpass - edge:
        return 0.0
    return 0.5 - 0.5 * np.cos(np.pi * (radius - highpass + edge) / (2.0 * edge))


@numba.njit(cache=True, parallel=True)
def weighed(  # type: ignore[no-untyped-def]
    transform, fy, fx, limit, highpass, edge, pixel_size, c, with_ctf, intact, scale
):
    """Multiply a transform in place by filters, CTF and scale."""
    for y in numba.prange(fy.size):
        for x in range(fx.size):
            v, u = np.float64(fy[y]), np.float64(fx[x])
            factor = scale * passed(np.sqrt(v * v + u * u), limit, highpass, edge)
            if with_ctf and factor != 0.0:
                factor *= ctf_value(c, u / pixel_size, v / pixel_size, intact)
            transform[y, x] *= np.float32(factor)


@numba.njit(cache=True, parallel=True, fastmath=FAST)
def multiplied(plane, turn, image, fy, fx, limit, out):  # type: ignore[no-untyped-def]
    """Multiply a micrograph's transform by the conjugates of turned templates.

    Parameters
    ----------
    plane : complex64 (size, size // 2 + 1) of `load_templates`
    turn : float32 (n, 2) cosine and sine of each angle, times padded pixels per cycle
    image : complex64 (n_y, n_x)
    fy, fx : float32 cycles per pixel
    limit : frequencies above do not count
    out : complex64 (n, n_y, n_x), or (2 n, n_y, n_x) with the opposite angles behind
    """
    n, n_y, n_x = turn.shape[0], fy.size, fx.size
    origin = np.float32(plane.shape[0] // 2)
    one = np.float32(1)
    opposite = out.shape[0] == 2 * n
    flat = plane.reshape(-1)
    width = plane.shape[1]
    for t in numba.prange(n * n_y):
        i, y = np.int64(t) // n_y, np.int64(t) % n_y
        cosine, sine = turn[i, 0], turn[i, 1]
        v = fy[y]
        inside = 0
        while inside < n_x and fx[inside] * fx[inside] + v * v <= limit * limit:
            inside += 1
        for x in range(inside):
            u = fx[x]
            px = u * cosine - v * sine
            py = u * sine + v * cosine
            sign = one if px >= 0 else -one
            px *= sign
            py = py * sign + origin
            x0, y0 = np.int32(px), np.int32(py)
            ax, ay = px - np.float32(x0), py - np.float32(y0)
            at = np.uint64(y0 * width + x0)
            below = at + np.uint64(width)
            first = (one - ax) * flat[at] + ax * flat[at + np.uint64(1)]
            second = (one - ax) * flat[below] + ax * flat[below + np.uint64(1)]
            value = (one - ay) * first + ay * second
            re, im = value.real, value.imag * sign
            a, b = image[y, x].real, image[y, x].imag
            out[i, y, x] = np.complex64(complex(re * a + im * b, re * b - im * a))
            if opposite:
                out[n + i, y, x] = np.complex64(complex(re * a - im * b, re * b + im * a))
        out[i, y, inside:] = 0
        if opposite:
            out[n + i, y, inside:] = 0


@numba.njit(cache=True, parallel=True)
def keep_best(maps, weight, first, n, n_slice, score, index):  # type: ignore[no-untyped-def]
    """Keep where correlations times weight are above what is there, and their index.

    Maps are (n, y, x), or (2 n, y, x) with those of the opposite angles, n_slice further.
    """
    for y in numba.prange(score.shape[0]):
        best, which = score[y], index[y]
        for i in range(maps.shape[0]):
            row = maps[i, y]
            number = np.int32(first + (i if i < n else i - n + n_slice))
            for x in range(best.size):
                value = row[x] * weight
                better = value > best[x]
                best[x] = value if better else best[x]
                which[x] = number if better else which[x]


@numba.njit(cache=True, parallel=True)
def over_deviation(score, deviation):  # type: ignore[no-untyped-def]
    """Divide scores in place by the local deviation."""
    for y in numba.prange(score.shape[0]):
        for x in range(score.shape[1]):
            score[y, x] /= deviation[y, x]


@numba.njit(cache=True)
def is_highest(score, y, x, reach):  # type: ignore[no-untyped-def]
    """Tell whether a pixel is above all within `reach` rows and columns."""
    value = score[y, x]
    for j in range(max(y - reach, 0), min(y + reach + 1, score.shape[0])):
        for i in range(max(x - reach, 0), min(x + reach + 1, score.shape[1])):
            other = score[j, i]
            before = j < y or (j == y and i < x)
            if other > value or (before and other == value):
                return False
    return value > -np.inf  # NaN is above nothing


@numba.njit(cache=True)
def local_maxima(score, y0, y1, x0, x1, reach):  # type: ignore[no-untyped-def]
    """Return rows and columns, int32, of local maxima; see `PickingBackend.peaks`."""
    found_y = numba.typed.List.empty_list(numba.int32)
    found_x = numba.typed.List.empty_list(numba.int32)
    for y in range(y0, y1):
        for x in range(x0, x1):
            # Most pixels have a neighbour that is higher.
            if is_highest(score, y, x, 1) and is_highest(score, y, x, reach):
                found_y.append(np.int32(y))
                found_x.append(np.int32(x))
    n = len(found_y)
    ys, xs = np.empty(n, np.int32), np.empty(n, np.int32)
    for k in range(n):
        ys[k] = found_y[k]
        xs[k] = found_x[k]
    return ys, xs
