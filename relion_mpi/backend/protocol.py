"""The whole interface between the algorithm and the hardware.

Everything above this line sees host arrays in the records below and opaque handles (`Images`,
`References`, `Candidates`, `Posterior`, `SumsHandle`) that only the backend that made them
understands. An operation takes a whole batch of images: nothing here is called per particle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from relion_mpi.backend.results import BestHypotheses, HostSums, Moments

Metric = Literal["gauss", "cc"]
"""Gaussian likelihood, or normalised cross-correlation (RELION's --firstiter_cc)."""

type_handle = Any


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """Pixels of the images of one optics group that an iteration uses.

    Attributes
    ----------
    box_size : pixels of the images of this group
    x, y : int32 (n_pix,) logical indices in the half transform, those of the first pass first
    slice_x, slice_y : float64 (n_pix,) the same positions in pixels of the model's transform,
        with the group's magnification applied
    shell : int32 (n_pix,) shell of the model's spectra
    n_coarse : leading pixels used by the first pass
    n_shell : length of the model's spectra
    power_shell : int32 (box_size, box_size // 2 + 1) model shell of each pixel of the
        full-size half transform, -1 where it does not count
    freq_x, freq_y : float64 (n_pix,) 1/Angstrom, for the contrast transfer function
    """

    box_size: int
    x: NDArray[np.int32]
    y: NDArray[np.int32]
    slice_x: NDArray[np.float64]
    slice_y: NDArray[np.float64]
    shell: NDArray[np.int32]
    n_coarse: int
    n_shell: int
    power_shell: NDArray[np.int32]
    freq_x: NDArray[np.float64]
    freq_y: NDArray[np.float64]

    @property
    def n_pix(self) -> int:
        """Number of pixels of the second pass."""
        return int(self.x.size)


@dataclass(frozen=True, slots=True)
class OpticsArrays:
    """What the optics of one batch do to a projection.

    Attributes
    ----------
    ctf_coefficients : float64 (n_img, 8) of `relion_mpi.optics.ctf.ctf_coefficients`, or None
        when the contrast transfer function is not applied
    scale : float64 (n_img,) intensity scale of each image's group
    gamma_offset : float64 (n_pix,) symmetric aberrations, radians, or None
    phase : complex128 (n_pix,) factor that removes antisymmetric aberrations, or None
    premultiplied : images are already multiplied by their CTF
    intact_until_first_peak, phase_flipped, only_flip_phases : as RELION's options
    """

    ctf_coefficients: NDArray[np.float64] | None
    scale: NDArray[np.float64]
    gamma_offset: NDArray[np.float64] | None = None
    phase: NDArray[np.complex128] | None = None
    premultiplied: bool = False
    intact_until_first_peak: bool = False
    phase_flipped: bool = False
    only_flip_phases: bool = False


@dataclass(frozen=True, slots=True)
class ImageMask:
    """Soft circular mask of the particles.

    Attributes
    ----------
    radius_pix, edge_pix : the image is kept within radius_pix and replaced beyond the edge
    fill : float (n_img, box, box) what replaces it (noise), or None for the mean of the outside
    """

    radius_pix: float
    edge_pix: float
    fill: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True, slots=True)
class SearchGrid:
    """Orientations and shifts of both passes, perturbation applied.

    Coarse orientation index: direction * n_psi + psi; hypothesis index: class * n_orient + that.
    Children of direction d are fine directions d * n_child_direction + j; of psi likewise, of
    shift likewise.

    Attributes
    ----------
    coarse_direction : float64 (n_dir, 3, 3), psi = 0
    coarse_psi_rad : float64 (n_psi,)
    fine_direction : float64 (n_dir * n_child_direction, 3, 3)
    fine_psi_rad : float64 (n_psi * n_child_psi,)
    coarse_shift_pix : float64 (n_shift, 2) as (x, y), pixels of the batch's images
    fine_shift_pix : float64 (n_shift * n_child_shift, 2)
    one_batch : made for one batch: backends keep nothing of it
    """

    coarse_direction: NDArray[np.float64]
    coarse_psi_rad: NDArray[np.float64]
    fine_direction: NDArray[np.float64]
    fine_psi_rad: NDArray[np.float64]
    coarse_shift_pix: NDArray[np.float64]
    fine_shift_pix: NDArray[np.float64]
    one_batch: bool = False

    @property
    def n_dir(self) -> int:
        """Number of coarse directions."""
        return int(self.coarse_direction.shape[0])

    @property
    def n_psi(self) -> int:
        """Number of coarse in-plane angles."""
        return int(self.coarse_psi_rad.size)

    @property
    def n_orient(self) -> int:
        """Number of coarse orientations."""
        return self.n_dir * self.n_psi

    @property
    def n_shift(self) -> int:
        """Number of coarse shifts."""
        return int(self.coarse_shift_pix.shape[0])


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How squared differences become weights.

    Attributes
    ----------
    metric : "gauss" or "cc"
    sigma2_noise : float64 (n_shell,) noise power per component of the batch's optics group
    adaptive_fraction : share of the weight kept by the significance cut
    max_significants : at most so many coarse samples an image, 0 for no limit
    """

    metric: Metric
    sigma2_noise: NDArray[np.float64]
    adaptive_fraction: float
    max_significants: int = 0


@dataclass(frozen=True, slots=True)
class GlobalPrior:
    """Log priors of an exhaustive search.

    Attributes
    ----------
    direction : float64 (n_class, n_dir), -inf to skip whatever the metric
    shift : float64 (n_img, n_shift)
    """

    direction: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LocalPrior:
    """Hypotheses listed for each particle, such as those near its last orientation.

    Attributes
    ----------
    offsets : int64 (n_img + 1,)
    hypothesis : int64 (total,) class * n_orient + coarse orientation
    log_prior : float64 (total,)
    shift : float64 (n_img, n_shift)
    """

    offsets: NDArray[np.int64]
    hypothesis: NDArray[np.int64]
    log_prior: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quanta:
    """Steps that what is added to sums is rounded to, each a power of two.

    Sums of multiples of a step are exact in float64, so they do not depend on the order of batches
    or on which rank did them; the steps are far below float32's own rounding.

    Attributes
    ----------
    data, weight : of the real and imaginary parts and of the weights of the volume
    share : of posterior weights
    """

    data: float
    weight: float
    share: float


class Backend(Protocol):
    """Operations of the E-step on batches of images of one optics group.

    Batches may be worked on by several threads at once, each after `attach`; references, grids and
    sums are shared, what one batch made is not.
    """

    name: str
    precision: str

    def host_buffer(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Make an uninitialised host array from which copies to the device are fast."""

    def attach(self) -> None:
        """Make the calling thread ready to work; cheap when it is already."""

    def synchronise(self) -> None:
        """Wait for everything that was begun on the device."""

    def forget(self, room_bytes: int = 0, most_bytes: int = 0) -> None:
        """Drop what was kept for an iteration, and memory that is not in use where it is too much.

        Parameters
        ----------
        room_bytes
            To leave others of the device, where that can be.
        most_bytes
            To hold of the device; 0 for any.
        """

    def memory_used(self) -> int:
        """Return the most bytes of the device that were held so far; 0 where there is none.

        What is held is looked at here and when references are loaded.
        """

    def load_references(
        self, maps: NDArray[np.floating[Any]], r_max: int, padding: int
    ) -> type_handle:
        """Transform maps for slicing out to shell r_max.

        Maps are (n_class, box, box, box), or (n_class, box, box) for 2D references, whose slices
        are themselves turned in the plane: directions must then be rotations in the plane, too.
        """

    def no_references(self, r_max: int, padding: int) -> type_handle:
        """Make references of one class that are zero, for sums out to shell r_max.

        What is back-projected at known poses is compared with nothing.
        """

    def project(
        self,
        references: type_handle,
        matrices: NDArray[np.float64],
        geometry: ImageGeometry,
        class_index: int = 0,
    ) -> NDArray[Any]:
        """Return slices as host complex (n, n_pix) for rotations (n, 3, 3)."""

    def slice_distances(
        self,
        references: type_handle,
        first: NDArray[np.float64],
        second: NDArray[np.float64],
        weight: NDArray[np.float64],
        geometry: ImageGeometry,
        class_index: int = 0,
    ) -> NDArray[np.float64]:
        """Compare slices: sums of weight * |P(first) - P(second)|^2 per shell.

        Parameters
        ----------
        first : float64 (n, 3, 3)
        second : float64 (n, n_trial, 3, 3)
        weight : float64 (n, n_pix)

        Returns
        -------
        float64 (n, n_trial, n_shell)
        """

    def prepare(
        self,
        images: NDArray[np.floating[Any]],
        recentre_pix: NDArray[np.int64],
        factor: NDArray[np.float64],
        mask: ImageMask,
        geometry: ImageGeometry,
        optics: OpticsArrays,
        remainder_pix: NDArray[np.float64] | None = None,
    ) -> type_handle:
        """Recentre, scale, mask and transform images, float32 or float16 (n_img, box, box).

        They may be read-only. float16 gives what the same values in float32 give. What recentring
        by whole pixels leaves over is applied to the transforms if given, (n_img, 2) as (x, y).
        """

    def power_spectra(self, images: type_handle) -> NDArray[np.float64]:
        """Return the sum of |masked transform|^2 per model shell, (n_img, n_shell), full size."""

    def search_global(
        self,
        images: type_handle,
        references: type_handle,
        grid: SearchGrid,
        prior: GlobalPrior,
        likelihood: Likelihood,
    ) -> type_handle:
        """Score every coarse hypothesis and keep the significant ones."""

    def search_local(
        self,
        images: type_handle,
        references: type_handle,
        grid: SearchGrid,
        prior: LocalPrior,
        likelihood: Likelihood,
    ) -> type_handle:
        """Score the listed coarse hypotheses and keep the significant ones."""

    def search_fine(
        self,
        images: type_handle,
        references: type_handle,
        grid: SearchGrid,
        candidates: type_handle,
        likelihood: Likelihood,
    ) -> tuple[type_handle, BestHypotheses]:
        """Score the children of the candidates; return the posterior and its best samples."""

    def new_sums(
        self, n_class: int, n_dir: int, r_max: int, padding: int, quanta: Quanta, *,
        planar: bool = False,
    ) -> type_handle:  # fmt: skip
        """Make empty sums for one half-set; with n_dir = 0 directions are not counted.

        Sums are planar if references are 2D.
        """

    def accumulate(
        self,
        images: type_handle,
        references: type_handle,
        grid: SearchGrid,
        posterior: type_handle,
        likelihood: Likelihood,
        sums: type_handle,
    ) -> Moments:
        """Back-project the batch into the sums and return its moments."""

    def fetch_sums(self, sums: type_handle) -> HostSums:
        """Bring sums to the host."""
