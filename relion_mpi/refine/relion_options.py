"""Every option of relion_refine (3.1 to 5), and what becomes of it here: one row each.

Lines of auto-refine and of 3D classification are taken; an option may be of one of them only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of an option."""

    HONOURED = "honoured"
    NO_EFFECT = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Row:
    """One option of relion_refine.

    Attributes
    ----------
    flag
        Its name.
    fate
        What becomes of it.
    default
        What holds without it: a bool for an option that takes no value; None: nothing. A refused
        option is let pass with its default.
    note
        The reason; for an honoured option only what its own help does not say.
    automatic
        Value in place of one that is not positive, by which RELION says "choose".
    instead
        Row of which this is another spelling.
    classes, class_note
        Fate and reason in a line of 3D classification, where they are others.
    """

    flag: str
    fate: Fate
    default: bool | float | str | None
    note: str = ""
    automatic: float | None = None
    instead: str = ""
    classes: Fate | None = None
    class_note: str = ""

    def in_line(self, command: str) -> tuple[Fate, str]:
        """Return fate and reason in a line of a command, "refine3d" or "class3d"."""
        if command == "class3d" and self.classes is not None:
            return self.classes, self.class_note
        return self.fate, self.note

    @property
    def is_honoured(self) -> bool:
        """Whether lines of either kind take its value."""
        return Fate.HONOURED in (self.fate, self.classes)


_CLASSES = "it is for classification: leave it out"
_2D = "it is for 2D classification, see relion-mpi class2d: leave it out"
_AUTO = "it is for auto-refine"
_GRADIENT = "gradient descent and initial models are not there: run this line with relion_refine"
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
_SCRATCH = "particles are read where they are, and kept in memory as far as they fit"


def _of_auto_refine(flag: str, default: float | bool) -> Row:
    """Make the row of an option that changes nothing in classification."""
    return Row(flag, Fate.HONOURED, default, classes=Fate.NO_EFFECT, class_note=_AUTO)


_HONOURED = (
    Row("--i", Fate.HONOURED, None),
    Row("--continue", Fate.HONOURED, None),
    Row("--o", Fate.HONOURED, None),
    Row("--ref", Fate.HONOURED, None),
    Row("--auto_refine", Fate.HONOURED, False, "Auto-refine; without it 3D classification"),
    Row(
        "--split_random_halves", Fate.HONOURED, False,
        "Needed by auto-refine: half-sets are always kept apart", classes=Fate.REFUSED,
        class_note="classes are made of all particles together: leave it out",
    ),
    Row(
        "--K", Fate.REFUSED, 1, _CLASSES, classes=Fate.HONOURED,
    ),
    Row("--iter", Fate.NO_EFFECT, 50, "auto-refine ends by itself, or at --auto_iter_max",
        classes=Fate.HONOURED),
    Row("--sigma_ang", Fate.REFUSED, -1.0, _CLASSES, classes=Fate.HONOURED),
    Row("--skip_align", Fate.REFUSED, False, _CLASSES, classes=Fate.HONOURED),
    Row("--fast_subsets", Fate.REFUSED, False, _CLASSES, classes=Fate.HONOURED),
    Row("--strict_highres_exp", Fate.REFUSED, -1.0, _CLASSES, classes=Fate.HONOURED),
    Row(
        "--ini_high", Fate.HONOURED, -1.0,
        "Low-pass the initial reference to this; not positive: not at all", automatic=0.0,
    ),
    Row("--ref_angpix", Fate.HONOURED, -1.0),
    Row("--firstiter_cc", Fate.HONOURED, False),
    Row("--sym", Fate.HONOURED, "c1"),
    Row("--particle_diameter", Fate.HONOURED, -1.0),
    Row("--maskedge", Fate.HONOURED, 5.0),
    Row("--zero_mask", Fate.HONOURED, False),
    Row("--flatten_solvent", Fate.HONOURED, False),
    Row("--solvent_mask", Fate.HONOURED, None),
    Row("--solvent_mask2", Fate.HONOURED, None),
    _of_auto_refine("--solvent_correct_fsc", False),
    Row("--ctf", Fate.HONOURED, False),
    Row("--ctf_intact_first_peak", Fate.HONOURED, False),
    Row("--ctf_phase_flipped", Fate.HONOURED, False),
    Row("--only_flip_phases", Fate.HONOURED, False),
    Row("--healpix_order", Fate.HONOURED, 2),
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
        "Regularisation parameter T; not positive, or not there: 1, in classification 4",
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
    Row("--pipeline_control", Fate.HONOURED, None),
)  # fmt: skip

_NO_EFFECT = (
    Row("--pool", Fate.NO_EFFECT, "1", _BATCHES),
    Row("--dont_combine_weights_via_disc", Fate.NO_EFFECT, False, _MPI),
    Row("--no_parallel_disc_io", Fate.NO_EFFECT, False, _DISC),
    Row("--onthefly_shifts", Fate.NO_EFFECT, False, "shifts are always made as they are needed"),
    Row("--scratch_dir", Fate.NO_EFFECT, "", _SCRATCH),
    Row("--keep_free_scratch", Fate.NO_EFFECT, "10", _SCRATCH),
    Row("--reuse_scratch", Fate.NO_EFFECT, False, _SCRATCH),
    Row("--keep_scratch", Fate.NO_EFFECT, False, _SCRATCH),
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
        _2D, center_classes=False, auto_sampling=False, class_inactivity_threshold="0",
    ),
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
        _GRADIENT, denovo_3dref=False, sgd=False, stochastic_em=False, sgd_ini_iter="50",
        sgd_fin_iter="50", sgd_inbetween_iter="200", sgd_ini_resol="35", sgd_fin_resol="15",
        sgd_ini_subset="100", sgd_fin_subset="500", mu="0.9", sgd_stepsize="0.5",
        sgd_sigma2fudge_initial="8", sgd_sigma2fudge_halflife="-1", sgd_skip_anneal=False,
        sgd_write_iter="1", grad=False, grad_em_iters="0", grad_ini_frac="0.3",
        grad_fin_frac="0.2", grad_min_resol="20", grad_ini_resol="-1", grad_fin_resol="-1",
        grad_ini_subset="-1", grad_fin_subset="-1", grad_stepsize="-1",
        grad_stepsize_scheme="", grad_write_iter="10", tau2_fudge_scheme="",
        no_init_blobs=False, som=False, som_ini_nodes="2", som_connectivity="5",
        som_inactivity_threshold="0.01", som_neighbour_pull="0.2",
    ),
    *_refused(
        _PRIOR, sigma_rot="-1", sigma_tilt="-1", sigma_psi="-1", sigma_off="-1",
        relax_sym="", limit_tilt="-91", only_sample_tilt=False,
    ),
    *_refused(_PSI, psi_step="-1"),
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

ROWS: dict[str, Row] = {row.flag: row for row in (*_HONOURED, *_NO_EFFECT, *_REFUSED)}
