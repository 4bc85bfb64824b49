import importlib.util

import numpy as np
import pytest

from relion_mpi.simulate.options import SimulateOptions
from relion_mpi.simulate.project import make_projector, project
from relion_mpi.simulate.sources import true_maps
from relion_mpi.simulate.truth import draw_truth


@pytest.mark.gpu
def test_a_gpu_makes_the_images_that_the_cpu_makes(tmp_path):
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    from relion_mpi.backend.gpu.device import n_devices

    if n_devices() == 0:
        pytest.skip("there is no CUDA device")
    options = SimulateOptions(o=tmp_path, n=20, box=32, angpix=6.0, seed=5)
    maps, truth, rows = true_maps(options), draw_truth(options, 1), np.arange(20)
    made = [project(make_projector(maps, 6.0, name), truth, rows) for name in ("cpu", "gpu")]
    np.testing.assert_allclose(made[1], made[0], rtol=0, atol=1e-5 * np.abs(made[0]).max())
