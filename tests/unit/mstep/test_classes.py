import gc
import weakref

import numpy as np
import pytest
from factories.sums import interleaved, packed, projected_sums, random_sums

from relion_mpi.backend import select_volumes
from relion_mpi.core.errors import NumericalError
from relion_mpi.mstep.classes import maximised_classes, symmetrised_or_none
from relion_mpi.mstep.maximise import MaximisationOptions
from relion_mpi.mstep.reconstruct import reconstruct
from relion_mpi.mstep.spectra import reference_tau2

CPU = select_volumes("cpu")
ONLY_ITSELF = np.eye(3)[None]


def true_sums():
    """Sums of noisy projections: (map, sums as an E-step leaves them made symmetric)."""
    volume, sums = projected_sums(n=150, noise=0.5)
    CPU.enforce_friedel(sums)
    return volume, sums


def maximise_classes(sums, prior, options):
    """Return all maps and all spectra."""
    return tuple(zip(*maximised_classes(sums, prior, options), strict=True))


def of_map(volume):
    return reference_tau2(volume)[None]


def test_a_class_is_its_regularised_reconstruction():
    volume, sums = true_sums()
    options = MaximisationOptions(tau2_fudge=4.0)
    found = maximise_classes([sums], of_map(volume), options)
    expected = reconstruct(sums, 4.0 * reference_tau2(volume))
    np.testing.assert_array_equal(found[0][0], expected)
    assert np.corrcoef(found[0][0].ravel(), volume.ravel())[0, 1] > 0.95


def test_the_prior_keeps_its_power_and_noise_does_not_depend_on_it():
    volume, sums = true_sums()
    prior = reference_tau2(volume)
    once, four = (
        maximise_classes([sums], prior[None], MaximisationOptions(tau2_fudge=T))[1][0]
        for T in (1.0, 4.0)
    )
    np.testing.assert_array_equal(four.tau2, prior)
    np.testing.assert_array_equal(four.sigma2, once.sigma2)
    np.testing.assert_allclose(four.data_vs_prior, 4.0 * once.data_vs_prior)
    assert (four.coverage >= once.coverage).all()
    assert four.coverage.sum() > once.coverage.sum()


def test_a_prior_as_strong_as_the_noise_halves_a_map():
    sums = random_sums(box=32, r_max=16, seed=5)
    sums.weight[...] = np.where(sums.radius2() <= sums.reach**2, 5.0, 0.0)
    # 8 voxels of the padded grid make one of the map: noise 1 / 40, here also T tau2.
    prior = np.full((1, 17), 1 / 160)
    found = maximise_classes([sums], prior, MaximisationOptions(tau2_fudge=4.0))
    np.testing.assert_allclose(found[1][0].data_vs_prior, 1.0)
    ratio = reference_tau2(found[0][0]) / reference_tau2(reconstruct(sums, None))
    np.testing.assert_allclose(ratio[7:15], 0.25, rtol=0.05)
    np.testing.assert_allclose(ratio[1:4], 1.0, rtol=0.1)  # shells below 5 have no prior


def test_an_empty_class_has_a_map_of_zeros_and_the_others_stay():
    volume, sums = true_sums()
    prior = np.repeat(of_map(volume), 3, axis=0)
    found = maximise_classes([None, sums, None], prior, MaximisationOptions())
    alone = maximise_classes([sums], prior[:1], MaximisationOptions())
    np.testing.assert_array_equal(found[0][1], alone[0][0])
    for k in (0, 2):
        assert found[0][k].shape == volume.shape
        assert not found[0][k].any()
        assert not found[1][k].data_vs_prior.any()
        np.testing.assert_array_equal(found[1][k].tau2, prior[k])


def test_a_map_of_zeros_as_prior_is_no_error():
    _, sums = true_sums()
    found = maximise_classes([sums], np.zeros((1, 13)), MaximisationOptions())
    assert np.isfinite(found[0][0]).all()
    assert not found[1][0].data_vs_prior.any()


def test_classes_that_come_one_by_one_are_not_kept():
    alive = []

    def one_by_one():
        for seed in range(3):
            gc.collect()
            alive.append(sum(ref() is not None for ref in seen))
            sums = random_sums(seed=seed)
            seen.append(weakref.ref(sums.data))
            yield sums
            del sums

    seen: list = []
    for _ in maximised_classes(one_by_one(), np.ones((3, 7)), MaximisationOptions()):
        pass
    assert alive == [0, 0, 0]


def test_a_class_without_weight_is_none():
    nothing = np.zeros_like(packed(interleaved(random_sums())))
    assert symmetrised_or_none(nothing, ONLY_ITSELF, 12, 6, 2, CPU) is None


def test_a_class_that_is_not_finite_is_refused():
    rows = packed(interleaved(random_sums()))
    rows[5, 2] = np.inf
    with pytest.raises(NumericalError, match="infinite"):
        symmetrised_or_none(rows, ONLY_ITSELF, 12, 6, 2, CPU)
