"""Draw slices through a map.

python benchmarks/end_to_end/slices.py MAP.mrc OUT.png [B]      (B: sharpening in square Angstrom)
"""

import sys

import matplotlib as mpl
import numpy as np

from relion_mpi.fourier.shells import half_transform_radius
from relion_mpi.io.mrc import read_map

mpl.use("Agg")
import matplotlib.pyplot as plt


def main():
    volume, pixel_size = read_map(sys.argv[1])
    if len(sys.argv) > 3:
        frequency = half_transform_radius(volume.shape[0], 3) / (volume.shape[0] * pixel_size)
        gain = np.exp(float(sys.argv[3]) / 4 * frequency**2)
        volume = np.fft.irfftn(np.fft.rfftn(volume) * gain, volume.shape, (0, 1, 2))
    centre = volume.shape[0] // 2
    offsets = np.linspace(-0.33, 0.33, 9) * volume.shape[0]
    figure, axes = plt.subplots(3, 3, figsize=(9, 9.3))
    low, high = np.percentile(volume, (1, 99.8))
    for panel, offset in zip(axes.ravel(), offsets, strict=True):
        z = centre + int(offset)
        panel.imshow(volume[z], cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
        panel.set_title(f"z = {(z - centre) * pixel_size:+.0f} Å", fontsize=9)
        panel.axis("off")
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=80)


if __name__ == "__main__":
    main()
