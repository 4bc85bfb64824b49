"""What relion-mpi does on purpose unlike RELION, as switches that bring RELION's way back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Compat:
    """RELION 3.1's way, one switch for each difference; all off by default.

    Attributes
    ----------
    mixed_offset_prior : the prior adds the old offset in pixels to the shift in Angstrom and
        multiplies the sum by the pixel size
    local_psi_as_number : local searches compare psi as a number, with that of the old pose only
    cropped_last_shell : the pixels of the row k_y = -S/2 are missing in the last shell S/2
    initial_noise : power of all particles, over all stored pixels, less that of one average of all
        groups and both half-sets
    norm_over_kept_weight : the average norm is a sum over n particles divided by the kept weight
    free_sigma_offset : the variance of offsets has no lower limit
    median_of_all_groups : groups without particles count for the median of the scales
    """

    mixed_offset_prior: bool = False
    local_psi_as_number: bool = False
    cropped_last_shell: bool = False
    initial_noise: bool = False
    norm_over_kept_weight: bool = False
    free_sigma_offset: bool = False
    median_of_all_groups: bool = False


OWN = Compat()
"""All off."""
RELION3 = Compat(True, True, True, True, True, True, True)
"""What makes one iteration that of RELION 3.1.3."""
NAMES: dict[str | None, Compat] = {None: OWN, "relion3": RELION3}
"""Values of --compat."""
