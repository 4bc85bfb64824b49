"""Every option of relion_refine (3.1 to 5), and what becomes of it here: one row each.

A line is one of a command, which decides what becomes of an option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relion_mpi.refine.relion_row import CLASS2D, CLASS3D, INITIAL, REFINE3D, Case, Fate, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLASSES = "it is for classification: leave it out"
_2D = "it is for 2D classification: leave it out"
_3D = "it is for 3D classification: leave it out"
_AUTO = "it is for auto-refine"
_MADE_UP = "the first volumes are made up"
_ALL = "auto-refine has no mini-batches: leave it out"
_FADING = "mini-batches are expectation-maximisation on fading sums here, not steps of a gradient"
_MASKED = "averages are masked to --particle_diameter: leave it out"
_HELIX = "helices are not refined: run this line with relion_refine"
_TOMO = "tomograms and subtomograms are not refined: run this line with relion_refine"
_BODIES = "multi-body refinement is not there: run this line with relion_refine"
_BLUSH = "Blush regularisation is not there: leave it out for the ordinary prior"
_FORCE = "a run ends by itself: leave it out, or end it by --auto_iter_max"
_PRIOR = "there is no prior on orientations but that of local searches: leave it out"
_SPLIT = "half-sets are always split by particle and kept apart: leave it out"
_DEBUG = "it is for RELION's developers: leave it out"
_NOT_THERE = "not implemented: leave it out, or run this line with relion_refine"
_PSI = "the in-plane step is that of --healpix_order: leave it out"
_PRINTS = "it prints and ends: ask relion_refine for it"
_BATCHES = "batches are chosen from the data; see --batch"
_MPI = "sums always travel by MPI"
_DISC = "every rank reads its own particles, ahead of its work; see --preread_images"


def _in(fate: Fate, note: str, *commands: str) -> dict[str, Case]:
    """Give an option another fate in lines of some commands."""
    return dict.fromkeys(commands, (fate, note))


def _of_auto_refine(flag: str, default: float | bool) -> Row:
    """Make the row of an option that changes nothing in classification."""
    idle = _in(Fate.NO_EFFECT, _AUTO, CLASS3D, CLASS2D, INITIAL)
    return Row(flag, Fate.HONOURED, default, elsewhere=idle)


def _of_classes(
    flag: str, default: float | bool | None, note: str = "",
    automatic: Mapping[str, float] | None = None, reason: str = _CLASSES,
) -> Row:  # fmt: skip
    """Make the row of an option that auto-refine does not have."""
    refused = _in(Fate.REFUSED, reason, REFINE3D)
    return Row(flag, Fate.HONOURED, default, note, refused, automatic)


def _of_mini_batches(
    flag: str, default: float | bool, note: str = "", *, automatic: bool = False
) -> Row:
    """Make the row of an option of mini-batches."""
    return _of_classes(flag, default, note, {} if automatic else None, _ALL)


_MINI_BATCHES = (
    _of_mini_batches("--grad", False),
    _of_mini_batches("--grad_ini_frac", 0.3),
    _of_mini_batches("--grad_fin_frac", 0.2),
    _of_mini_batches("--grad_ini_subset", -1),
    _of_mini_batches("--grad_fin_subset", -1),
    _of_mini_batches("--grad_ini_resol", -1.0, automatic=True),
    _of_mini_batches("--grad_fin_resol", -1.0, automatic=True),
    _of_mini_batches("--grad_write_iter", 10),
    _of_mini_batches("--class_inactivity_threshold", 0.0),
    _of_mini_batches("--sgd", False, "Mini-batches, in the words of RELION 3.1"),
    _of_mini_batches(
        "--sgd_ini_iter", 50, "With --sgd: first iterations; --iter is the sum of the three, and "
        "--grad_ini_frac their share",
    ),
    _of_mini_batches("--sgd_inbetween_iter", 200, "With --sgd: iterations between these"),
    _of_mini_batches(
        "--sgd_fin_iter", 50, "With --sgd: last iterations; --grad_fin_frac is their share"
    ),
    _of_mini_batches("--sgd_ini_resol", 35.0, "With --sgd: --grad_ini_resol"),
    _of_mini_batches("--sgd_fin_resol", 15.0, "With --sgd: --grad_fin_resol"),
    _of_mini_batches("--sgd_ini_subset", 100, "With --sgd: --grad_ini_subset"),
    _of_mini_batches("--sgd_fin_subset", 500, "With --sgd: --grad_fin_subset"),
    _of_mini_batches("--sgd_write_iter", 1, "With --sgd: --grad_write_iter"),
)  # fmt: skip

_HONOURED = (
    Row("--i", Fate.HONOURED, None),
    Row("--continue", Fate.HONOURED, None),
    Row("--o", Fate.HONOURED, None),
    Row(
        "--ref", Fate.HONOURED, None, "Initial references: a map or several; in 2D classification "
        "images, or none",
        _in(Fate.REFUSED, "an initial model begins without a reference: leave it out", INITIAL),
    ),
    Row("--auto_refine", Fate.HONOURED, False, "Auto-refine; without it classification"),
    Row(
        "--split_random_halves", Fate.HONOURED, False,
        "Needed by auto-refine: half-sets are always kept apart",
        _in(Fate.REFUSED, "classes are made of all particles together: leave it out",
            CLASS3D, CLASS2D, INITIAL),
    ),
    Row(
        "--denovo_3dref", Fate.HONOURED, False, "An initial model; needs --grad or --sgd",
        _in(Fate.REFUSED, "an initial model is no auto-refine: leave one of the two out", REFINE3D),
    ),
    _of_classes("--K", 1),
    Row(
        "--iter", Fate.HONOURED, None,
        "Number of iterations; 50 without it, with --grad or for an initial model 200",
        _in(Fate.NO_EFFECT, "auto-refine ends by itself, or at --auto_iter_max", REFINE3D),
    ),
    Row("--sigma_ang", Fate.REFUSED, -1.0, _3D, _in(Fate.HONOURED, "", CLASS3D)),
    Row(
        "--skip_align", Fate.HONOURED, False, "",
        _in(Fate.REFUSED, _CLASSES, REFINE3D)
        | _in(Fate.REFUSED, "an initial model has no poses to keep: leave it out", INITIAL),
    ),
    Row("--fast_subsets", Fate.REFUSED, False, _3D, _in(Fate.HONOURED, "", CLASS3D)),
    _of_classes("--strict_highres_exp", -1.0),
    Row("--center_classes", Fate.REFUSED, False, _2D, _in(Fate.HONOURED, "", CLASS2D)),
    Row(
        "--psi_step", Fate.REFUSED, -1.0, _PSI,
        _in(Fate.HONOURED, "Coarse in-plane step; not positive: 10", CLASS2D), {CLASS2D: 10.0},
    ),
    Row(
        "--ini_high", Fate.HONOURED, -1.0,
        "Low-pass the initial references to this; not positive: not at all, an initial model to 35",
        automatic={REFINE3D: 0.0, CLASS3D: 0.0},
    ),
    Row(
        "--ref_angpix", Fate.HONOURED, -1.0, "",
        _in(Fate.NO_EFFECT, "there is no reference", INITIAL),
    ),
    Row("--firstiter_cc", Fate.HONOURED, False, "", _in(Fate.NO_EFFECT, _MADE_UP, INITIAL)),
    Row(
        "--sym", Fate.HONOURED, "c1", "",
        _in(Fate.NO_EFFECT, "there is no symmetry in the plane", CLASS2D),
    ),
    Row("--particle_diameter", Fate.HONOURED, -1.0),
    Row("--maskedge", Fate.HONOURED, 5.0),
    Row("--zero_mask", Fate.HONOURED, False),
    Row("--flatten_solvent", Fate.HONOURED, False),
    Row("--solvent_mask", Fate.HONOURED, None, "", _in(Fate.REFUSED, _MASKED, CLASS2D)),
    Row("--solvent_mask2", Fate.HONOURED, None, "", _in(Fate.REFUSED, _MASKED, CLASS2D)),
    _of_auto_refine("--solvent_correct_fsc", False),
    Row("--ctf", Fate.HONOURED, False),
    Row("--ctf_intact_first_peak", Fate.HONOURED, False),
    Row("--ctf_phase_flipped", Fate.HONOURED, False),
    Row("--only_flip_phases", Fate.HONOURED, False),
    Row(
        "--healpix_order", Fate.HONOURED, 2, "",
        _in(Fate.NO_EFFECT, "--psi_step is the step in the plane", CLASS2D),
    ),
    _of_auto_refine("--auto_local_healpix_order", 4),
    Row("--oversampling", Fate.HONOURED, 1),
    Row("--offset_range", Fate.HONOURED, 6.0),
    Row("--offset_step", Fate.HONOURED, 2.0),
    Row("--perturb", Fate.HONOURED, 0.5),
    Row("--offset", Fate.HONOURED, 10.0),
    _of_auto_refine("--auto_ignore_angles", False),
    _of_auto_refine("--auto_resol_angles", False),
    Row(
        "--tau2_fudge", Fate.HONOURED, None,
        "Regularisation parameter T; not positive, or not there: 1, in 2D classification 2, in 3D "
        "and for an initial model 4", automatic={},
    ),
    Row("--norm", Fate.HONOURED, False),
    Row("--no_norm", Fate.HONOURED, False, "Turns --norm off", instead="--norm"),
    Row("--scale", Fate.HONOURED, False),
    Row("--no_scale", Fate.HONOURED, False, "Turns --scale off", instead="--scale"),
    _of_auto_refine("--low_resol_join_halves", -1.0),
    Row(
        "--skip_gridding", Fate.HONOURED, True,
        "Divide by the weights once; on without it too, as in RELION 5 and in the lines of 3.1's "
        "interface",
    ),
    Row(
        "--dont_skip_gridding", Fate.HONOURED, False, "Iterate in the reconstruction",
        instead="--skip_gridding",
    ),
    Row("--pad", Fate.HONOURED, 2),
    Row("--adaptive_fraction", Fate.HONOURED, 0.999),
    Row("--maxsig", Fate.HONOURED, -1),
    Row("--incr_size", Fate.HONOURED, 10),
    _of_auto_refine("--auto_iter_max", 999),
    Row("--random_seed", Fate.HONOURED, -1),
    Row("--j", Fate.HONOURED, 1),
    Row("--gpu", Fate.HONOURED, None),
    Row("--free_gpu_memory", Fate.HONOURED, 0.0),
    Row(
        "--preread_images", Fate.HONOURED, True,
        "Keep particle images in memory, one copy a node; on without it too, as far as they fit; "
        "--no-preread_images turns it off",
    ),
    Row(
        "--scratch_dir", Fate.HONOURED, None,
        "Copies what does not fit in memory, and all with --no-preread_images or --keep_scratch",
    ),
    Row("--keep_free_scratch", Fate.HONOURED, 10.0),
    Row("--reuse_scratch", Fate.HONOURED, False),
    Row("--keep_scratch", Fate.HONOURED, False),
    Row("--pipeline_control", Fate.HONOURED, None),
)  # fmt: skip


def _idle_in_mini_batches(note: str, **defaults: bool | str) -> tuple[Row, ...]:
    """Make rows of options of mini-batches without effect, all with one reason."""
    refused = _in(Fate.REFUSED, _ALL, REFINE3D)
    return tuple(
        Row(f"--{name}", Fate.NO_EFFECT, default, note, refused)
        for name, default in defaults.items()
    )


_NO_EFFECT = (
    Row("--pool", Fate.NO_EFFECT, "1", _BATCHES),
    Row("--dont_combine_weights_via_disc", Fate.NO_EFFECT, False, _MPI),
    Row("--no_parallel_disc_io", Fate.NO_EFFECT, False, _DISC),
    Row("--onthefly_shifts", Fate.NO_EFFECT, False, "shifts are always made as they are needed"),
    Row("--cpu", Fate.NO_EFFECT, False, "without --gpu the CPU is used"),
    Row(
        "--trust_ref_size", Fate.NO_EFFECT, False,
        "the reference is always brought to the pixel and box size of the particles",
    ),
    Row(
        "--ctf_corrected_ref", Fate.NO_EFFECT, False,
        "references are always taken to be CTF-corrected, as in RELION 5",
    ),
    Row(
        "--dont_check_norm", Fate.NO_EFFECT, False,
        "particles that are not normalised give a warning, no error",
    ),
    Row(
        "--failsafe_threshold", Fate.NO_EFFECT, "40",
        "weights are sums of logarithms and do not vanish",
    ),
    Row("--verb", Fate.NO_EFFECT, "1", "the log is short; send standard output elsewhere"),
    Row("--r_min_nn", Fate.NO_EFFECT, "10", "it belongs to --NN"),
    Row("--lowpass", Fate.NO_EFFECT, "0", "it belongs to --lowpass_mask"),
    Row(
        "--allow_coarser_sampling", Fate.NO_EFFECT, False,
        "grids stay as fine as asked for: it saves time at the cost of accuracy",
    ),
    Row(
        "--accuracy_current_size", Fate.NO_EFFECT, False,
        "expected accuracies are always those of the image size that is used",
    ),
    Row("--sequential_halves_recons", Fate.NO_EFFECT, False, "it only saves memory in RELION"),
    *_idle_in_mini_batches(
        _FADING, grad_stepsize="-1", grad_stepsize_scheme="", mu="0.9", sgd_stepsize="0.5",
        stochastic_em=False,
    ),
    *_idle_in_mini_batches("the last iteration always takes all particles", grad_em_iters="0"),
    *_idle_in_mini_batches("signal powers are taken as they are found", grad_min_resol="20"),
    *_idle_in_mini_batches("T is --tau2_fudge in all iterations", tau2_fudge_scheme=""),
    *_idle_in_mini_batches(
        "the noise is taken as it is found", sgd_sigma2fudge_initial="8",
        sgd_sigma2fudge_halflife="-1",
    ),
    *_idle_in_mini_batches("classes are not annealed", sgd_skip_anneal=False),
    *_idle_in_mini_batches(f"{_MADE_UP} in any case", no_init_blobs=False),
    Row(
        "--auto_sampling", Fate.REFUSED, False,
        "it is for initial models: leave it out",
        _in(Fate.NO_EFFECT, "grids always follow the resolution", INITIAL),
    ),
)  # fmt: skip


def _refused(note: str, **defaults: bool | str | None) -> tuple[Row, ...]:
    """Make rows with one reason; an option without its default in RELION is None."""
    return tuple(
        Row(f"--{name.rstrip('_')}", Fate.REFUSED, default, note)
        for name, default in defaults.items()
    )


_REFUSED = (
    *_refused(_FORCE, force_converge=False),
    *_refused(
        _HELIX, helix=False, ignore_helical_symmetry=False, helical_nr_asu="1",
        helical_offset_step="-1", helical_twist_initial="0", helical_twist_min="0",
        helical_twist_max="0", helical_twist_inistep="0", helical_rise_initial="0",
        helical_rise_min="0", helical_rise_max="0", helical_rise_inistep="0",
        helical_nstart="1", helical_z_percentage="0.3", helical_inner_diameter="-1",
        helical_outer_diameter="-1", helical_symmetry_search=False, helical_sigma_distance="-1",
        helical_keep_tilt_prior_fixed=False, helical_exclude_resols="", bimodal_psi=False,
        skip_realspace_helical_sym=False,
    ),
    *_refused(
        _TOMO, ios="", tomograms="", trajectories="", normalised_subtomo=False,
        skip_subtomo_multi=False, ctf3d_not_squared=False, subtomo_multi_thr="0.01",
        offset_range_x="-1", offset_range_y="-1", offset_range_z="-1",
    ),
    *_refused(
        _BODIES, multibody_masks=None, reconstruct_subtracted_bodies=False,
        multibody_norm_overlap=False,
    ),
    *_refused(_BLUSH, blush=False, blush_skip_spectral_trailing=False),
    *_refused(
        _NOT_THERE, som=False, som_ini_nodes="2", som_connectivity="5",
        som_inactivity_threshold="0.01", som_neighbour_pull="0.2",
    ),
    *_refused(
        _PRIOR, sigma_rot="-1", sigma_tilt="-1", sigma_psi="-1", sigma_off="-1",
        relax_sym="", limit_tilt="-91", only_sample_tilt=False,
    ),
    *_refused(
        _SPLIT, join_random_halves=False, always_join_random_halves=False, use_all_data=False
    ),
    *_refused(
        "references are always taken to be CTF-corrected, RELION 5's default: leave it out",
        ctf_uncorrected_ref=False,
    ),
    *_refused(
        "pixel sizes are those of the optics groups: set rlnImagePixelSize in the STAR file",
        angpix=None,
    ),
    *_refused(
        "only NVIDIA's GPUs are used: give --gpu, or leave it out for the CPU", sycl=False
    ),
    *_refused(
        _NOT_THERE, NN=False, always_cc=False, asymmetric_padding=False, bfactor=False,
        coarse_size="-1", external_reconstruct=False, fix_sigma_noise=False,
        fix_sigma_offset=False, fix_tau=False, fourier_mask=None, gridding_iter="10",
        local_symmetry=None, lowpass_mask=None, maximum_angular_sampling="0",
        min_sigma2_offset="2", minimum_angular_sampling="0", minres_map="5", model=None,
        no_map=False, nr_parts_sigma2noise="1000", pad_ctf=False, sampling=None, sigma="",
        sigma2_fudge="1", skip_maximize=False, skip_rotate=False,
        strict_lowres_exp="-1", tau=None, abort_at_resolution="-1",
    ),
    *_refused(
        _DEBUG, debug1="0", debug2="0", debug3="0", debug_split_random_half="0", do_red=False
    ),
    *_refused(_PRINTS, print_metadata_labels=False, print_symmetry_ops=False, version=False),
)  # fmt: skip

ROWS: dict[str, Row] = {
    row.flag: row for row in (*_HONOURED, *_MINI_BATCHES, *_NO_EFFECT, *_REFUSED)
}
