"""Options that refinement and classification share: RELION's names, its interface's defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relion_mpi.core.options import option

if TYPE_CHECKING:
    from pathlib import Path

IN, REF, OPT = "Input and output", "Reference and masks", "Optimisation"
CTF, SAM, RUN = "Contrast transfer function", "Sampling", "Running"
GRAD = "Mini-batches"


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """Options of every program that works on particles and references; a program adds its own."""

    i: Path = option(help="Particle STAR file (RELION 3.0, 3.1 or later)", group=IN)
    o: Path = option(help="Root name of all output files; its folder is made", group=IN)
    ref: Path = option(help="Initial reference map", group=REF)
    continue_: Path | None = option(
        None, help="Go on after the iteration of this run_itNNN_optimiser.star; all other options "
        "are those of the run; auto: from the newest state of --o, or begin anew where there is "
        "none", flag="--continue", group=IN,
    )  # fmt: skip
    ini_high: float = option(
        60.0, help="Low-pass the initial reference to this", unit="angst", minimum=0, group=REF
    )
    ref_angpix: float = option(
        -1.0, help="Pixel size of the reference; by default from its header",
        unit="angst", group=REF,
    )  # fmt: skip
    firstiter_cc: bool = option(
        True, help="Cross-correlation in the first iteration: for references that are not on the "
        "particles' grey scale", negate="--no-firstiter_cc", group=REF,
    )  # fmt: skip
    sym: str = option("C1", help="Point group: Cn, Dn, T, O, I1, I2, I3, I4", group=REF)
    particle_diameter: float = option(
        -1.0, help="Diameter of the soft mask on particles; by default the box less its edge",
        unit="angst", group=REF,
    )  # fmt: skip
    maskedge: float = option(
        5.0, help="Width of the soft edge of masks", unit="pix", minimum=1, group=REF
    )
    zero_mask: bool = option(
        True, help="Fill outside the particle mask with zeros, not noise",
        negate="--no-zero_mask", group=REF,
    )  # fmt: skip
    flatten_solvent: bool = option(
        True, help="Mask the references after each iteration",
        negate="--no-flatten_solvent", group=REF,
    )  # fmt: skip
    solvent_mask: Path | None = option(
        None, help="Mask (0 to 1) for the references; by default a sphere", group=REF
    )
    solvent_mask2: Path | None = option(
        None, help="Region whose density is set to its mean", group=REF
    )
    ctf: bool = option(
        True, help="Correct for the contrast transfer function", negate="--no-ctf", group=CTF
    )
    ctf_intact_first_peak: bool = option(
        False, help="Leave the CTF at 1 up to its first peak",
        negate="--no-ctf_intact_first_peak", group=CTF,
    )  # fmt: skip
    ctf_phase_flipped: bool = option(
        False, help="Images are phase-flipped already", negate="--no-ctf_phase_flipped", group=CTF
    )
    only_flip_phases: bool = option(
        False, help="Flip phases only", negate="--no-only_flip_phases", group=CTF
    )
    healpix_order: int = option(
        2, help="HEALPix order of the first coarse grid (2: 15 degrees)",
        minimum=0, maximum=8, group=SAM,
    )  # fmt: skip
    oversampling: int = option(
        1, help="Adaptive oversampling order", minimum=0, maximum=3, group=SAM
    )
    offset_range: float = option(
        5.0, help="First search range of origin offsets", unit="pix", minimum=0, group=SAM
    )
    offset_step: float = option(
        2.0, help="First coarse step of origin offsets", unit="pix", minimum=0.01, group=SAM
    )
    perturb: float = option(
        0.5, help="Random perturbation of the grids, in coarse steps",
        minimum=0, maximum=1, group=SAM,
    )  # fmt: skip
    offset: float = option(
        10.0, help="Initial standard deviation of origin offsets",
        unit="angst", minimum=0, group=SAM,
    )  # fmt: skip
    tau2_fudge: float = option(1.0, help="Regularisation parameter T", minimum=0, group=OPT)
    norm: bool = option(
        True, help="Correct the norm of each particle", negate="--no-norm", group=OPT
    )
    scale: bool = option(
        True, help="Correct the intensity scale of each group", negate="--no-scale", group=OPT
    )
    skip_gridding: bool = option(
        True, help="Divide by the weights once in the reconstruction",
        negate="--dont_skip_gridding", group=OPT,
    )  # fmt: skip
    pad: int = option(2, help="Oversampling of transforms", minimum=1, maximum=3, group=OPT)
    adaptive_fraction: float = option(
        0.999, help="Share of the weights kept by the significance cut",
        minimum=0.5, maximum=1, group=OPT,
    )  # fmt: skip
    maxsig: int = option(
        -1, help="At most so many significant coarse samples a particle; -1 for no limit", group=OPT
    )
    incr_size: int = option(
        10, help="Shells used beyond the current resolution", minimum=1, group=OPT
    )
    random_seed: int = option(
        -1, help="Seed of everything random; -1 takes the clock", group=RUN
    )
    j: int = option(
        0, help="Threads per rank; 0 shares the node's cores between its workers",
        minimum=0, group=RUN,
    )  # fmt: skip
    precision: str = option(
        "float32", help="Arithmetic of the E-step; tf32 is for GPUs",
        choices=("float32", "float64", "tf32"), group=RUN,
    )
    gpu: str | None = option(
        None, help='Use GPUs: alone or "" for all, or as RELION 0:1:2 (one a worker); by default '
        "the CPU", bare="", group=RUN,
    )  # fmt: skip
    free_gpu_memory: float = option(
        0.0, help="Memory of each GPU to leave to others", unit="MB", minimum=0, group=RUN
    )
    preread_images: bool = option(
        True, help="Keep particle images in memory between iterations, one copy a node, as far as "
        "they fit", negate="--no-preread_images", group=RUN,
    )  # fmt: skip
    preread_half: bool = option(
        False, help="Keep particle images in memory in half precision",
        negate="--no-preread_half", group=RUN,
    )  # fmt: skip
    scratch_dir: Path | None = option(
        None, help="Copy the images that do not fit in memory to this folder of each node's own "
        "disk, and read them there", group=RUN,
    )  # fmt: skip
    keep_free_scratch: float = option(
        10.0, help="Room to leave free on the scratch disk", unit="GB", minimum=0, group=RUN
    )
    reuse_scratch: bool = option(
        False, help="Use the images that an earlier job has left there with --keep_scratch",
        negate="--no-reuse_scratch", group=RUN,
    )  # fmt: skip
    keep_scratch: bool = option(
        False, help="Copy all images, and leave them there for later jobs",
        negate="--no-keep_scratch", group=RUN,
    )  # fmt: skip
    checkpoint_minutes: float = option(
        10.0, help="Within a long iteration, save what was done every so often for --continue; 0 "
        "only when the run is asked to end", minimum=0, group=RUN,
    )  # fmt: skip
    deterministic: bool = option(
        False, help="The same bits on any number of ranks and GPUs of one kind, and after any "
        "interruption; without it the last digits vary on GPUs", negate="--no-deterministic",
        group=RUN,
    )  # fmt: skip
    batch: int = option(
        0, help="Particles per batch; 0 chooses from the box", minimum=0, group=RUN
    )
    report: bool = option(
        True, help="Keep a page beside the files that shows the run, ROOT_report.html",
        negate="--no-report", group=RUN,
    )  # fmt: skip
    pipeline_control: Path | None = option(
        None, help="Folder where RELION's interface looks for how the job ended, and asks for an "
        "end", group=RUN,
    )  # fmt: skip
    compat: str | None = option(
        None, help="Do as another program what is done otherwise on purpose, for comparisons: "
        "relion3 is RELION 3.1", choices=("relion3",), group=RUN,
    )  # fmt: skip

    @property
    def command(self) -> str:
        """Name of the program's command."""
        raise NotImplementedError

    @property
    def n_class(self) -> int:
        """Number of classes."""
        return 1

    @property
    def is_planar(self) -> bool:
        """Whether references are images, not volumes."""
        return False

    @property
    def n_half(self) -> int:
        """Number of half-sets that are kept apart; 1 where all particles are one set."""
        return 1

    @property
    def last_iteration(self) -> int:
        """Number of the iteration after which a run ends in any case."""
        raise NotImplementedError

    @property
    def exhaustive_orders(self) -> range:
        """HEALPix orders that are searched exhaustively."""
        raise NotImplementedError
