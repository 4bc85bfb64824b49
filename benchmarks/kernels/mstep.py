"""Time the M-step stage by stage, beside cuFFT alone, and compare its memory with the prediction.

    python benchmarks/kernels/mstep.py [--box 128 256 384] [--backend cpu gpu] [--sym D2]
        [--padding 2] [--repeats 3] [--dont_skip_gridding]

Two half-sets of made-up sums to Nyquist go through the steps of `relion_mpi.mstep.maximise`. One
JSON line a box and backend: median seconds of each stage; `iteration` is what an iteration waits
for, `last` what the last one does. `cufft` is one inverse transform of the whole padded cube by
cupy.fft in the same run. Bytes are those of CuPy's pool (gpu).
"""

import argparse
import json
import time
from contextlib import nullcontext

import numpy as np

from relion_mpi.backend import select_volumes
from relion_mpi.fourier.half_ball import is_kept
from relion_mpi.fourier.shells import padded_size
from relion_mpi.geometry.symmetry import point_group
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.mstep.spectra import half_set_fsc, spectra_from_fsc

JOINED_SHELL = 6


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--box", type=int, nargs="+", default=[128, 256, 384])
    parser.add_argument("--backend", nargs="+", default=["cpu", "gpu"], choices=["cpu", "gpu"])
    parser.add_argument("--sym", default="D2")
    parser.add_argument("--padding", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dont_skip_gridding", action="store_true")
    return parser.parse_args()


def made_up_sums(box, padding, seed):
    """Reduced sums of a half-set: weights that fall with the radius, as many data as noise."""
    size = padded_size(box // 2, padding)
    axis = np.arange(size) - size // 2
    rng = np.random.default_rng(seed)
    volume = np.zeros((size, size, size // 2 + 1, 3))
    for z in range(size):  # a plane at a time: the whole has as many numbers as fit
        radius2 = axis[z] ** 2 + axis[:, None] ** 2 + np.arange(size // 2 + 1) ** 2
        weight = np.where(radius2 <= (padding * box // 2) ** 2, 1000.0 / (10 + np.sqrt(radius2)), 0)
        volume[z, ..., :2] = rng.standard_normal((*weight.shape, 2)) * np.sqrt(weight)[..., None]
        volume[z, ..., 2] = weight
    return volume[is_kept(size)]


class Clock:
    """Seconds of each stage, the device waited for."""

    def __init__(self, wait):
        self.seconds, self._wait = {}, wait

    def __call__(self, name, call):
        """Call, and add its seconds to a stage's."""
        self._wait()
        start = time.perf_counter()
        result = call()
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return result


def symmetrised_half(clock, backend, volume, operators, box, padding):
    sums = clock("upload", lambda: backend.upload(volume, box, box // 2, padding).sums)
    clock("friedel", lambda: backend.enforce_friedel(sums))
    clock("symmetry", lambda: backend.apply_point_group(sums, operators))
    return sums


def one_run(backend, volumes, operators, options, box, wait):
    clock, skip = Clock(wait), not options.dont_skip_gridding
    halves = [
        symmetrised_half(clock, backend, volume, operators, box, options.padding)
        for volume in volumes
    ]
    clock("join", lambda: backend.join_low_resolution(*halves, JOINED_SHELL))
    fsc = clock("fsc", lambda: half_set_fsc(*halves))
    for k in range(2):
        spectra = clock("spectra", lambda: spectra_from_fsc(halves[k], fsc, 1.0, joined=False))
        clock("maps", lambda: reconstruct(halves[k], spectra.tau2, skip_gridding=skip))
    seconds = clock.seconds
    seconds["iteration"] = sum(seconds.values())
    for k in range(2):
        clock("unfiltered", lambda: reconstruct(halves[k], None, skip_gridding=skip))
    clock("add", lambda: backend.add(*halves))
    spectra = clock("joined_spectra", lambda: spectra_from_fsc(halves[0], fsc, 1.0, joined=True))
    clock("joined_map", lambda: reconstruct(halves[0], spectra.tau2, skip_gridding=skip))
    more = ("unfiltered", "add", "joined_spectra", "joined_map")
    seconds["last"] = seconds["iteration"] - seconds["maps"] + sum(seconds[name] for name in more)
    halves.clear()
    clock("release", backend.release)
    return seconds


def cufft_seconds(box, padding, repeats):
    """Inverse real transform of the whole padded cube, in float64."""
    import cupy as cp

    big = padding * box
    times = []
    for _ in range(repeats + 1):  # the first one plans
        cube = cp.zeros((big, big, big // 2 + 1), np.complex128)
        cp.cuda.Device().synchronize()
        start = time.perf_counter()
        cp.fft.irfftn(cube, s=(big,) * 3)
        cp.cuda.Device().synchronize()
        times.append(time.perf_counter() - start)
        del cube
    cp.fft.config.get_plan_cache().clear()
    cp.get_default_memory_pool().free_all_blocks()
    return float(np.median(times[1:]))


def peak_of_pool():
    """Watch CuPy's pool: a memory hook with the attributes used and held, in bytes."""
    import cupy as cp

    pool = cp.get_default_memory_pool()

    class Peak(cp.cuda.MemoryHook):
        name, used, held = "peak", 0, 0

        def malloc_postprocess(self, **_):
            self.used = max(self.used, pool.used_bytes())
            self.held = max(self.held, pool.total_bytes())

    return Peak()


def measure(name, box, options):
    backend, wait, peak = select_volumes(name), lambda: None, nullcontext()
    operators = point_group(options.sym).operators
    result = {
        "box": box, "backend": name, "sym": options.sym, "padding": options.padding,
        "skip_gridding": not options.dont_skip_gridding,
    }  # fmt: skip
    if name == "gpu":
        import cupy as cp

        from relion_mpi.backend.gpu.volume_memory import peak_bytes

        wait, peak = cp.cuda.Device().synchronize, peak_of_pool()
        result["device"] = cp.cuda.runtime.getDeviceProperties(0)["name"].decode()
        result["predicted_bytes"] = peak_bytes(
            box, box // 2, options.padding, skip_gridding=not options.dont_skip_gridding,
            n_operators=operators.shape[0],
        )  # fmt: skip
    volumes = [made_up_sums(box, options.padding, seed) for seed in (1, 2)]
    runs = []
    with peak:
        for _ in range(options.repeats + 1):  # the first one compiles
            runs.append(one_run(backend, volumes, operators, options, box, wait))
    result["seconds"] = {
        stage: round(float(np.median([run[stage] for run in runs[1:]])), 5) for stage in runs[0]
    }
    if name == "gpu":
        result["peak_used_bytes"], result["peak_held_bytes"] = peak.used, peak.held
        result["seconds"]["cufft"] = round(cufft_seconds(box, options.padding, options.repeats), 5)
    return result


def main():
    options = arguments()
    for box in options.box:
        for name in options.backend:
            print(json.dumps(measure(name, box, options)), flush=True)


if __name__ == "__main__":
    main()
