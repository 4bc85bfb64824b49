"""Operations on the images of a stack."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from relion_mpi.core.errors import InputError
from relion_mpi.core.progress import Progress
from relion_mpi.extract.dust import key
from relion_mpi.extract.operations import Recipe, check_half, make_recipe, operate
from relion_mpi.extract.outputs import make_folder
from relion_mpi.io.mrc import MrcHeader, read_header
from relion_mpi.io.mrc_stack import write_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from relion_mpi.extract.options import ExtractOptions

log = logging.getLogger(__name__)


def operate_on_stack(options: ExtractOptions) -> None:
    """Operate on --operate_on and write --operate_out.

    Parameters
    ----------
    options
        What was asked for.

    Raises
    ------
    InputError
        The stack cannot be used or would be replaced.
    """
    assert options.operate_on is not None
    if options.operate_on.suffix == ".star":
        raise InputError(
            f"--operate_on {options.operate_on}: found a STAR file, expected a stack of images; "
            "name an .mrcs file"
        )
    header = read_header(options.operate_on)
    if options.operate_out.resolve() == options.operate_on.resolve():
        raise InputError(
            f"--operate_out {options.operate_out}: found the stack that is read, expected another "
            "name; choose one"
        )
    if header.nx != header.ny or header.nx % 2:
        raise InputError(
            f"{header.path}: found images of {header.nx} x {header.ny} pixels, expected square "
            "ones of an even side; extract the particles again"
        )
    recipe = make_recipe(options, header.nx)
    pixel_size = options.set_angpix if options.set_angpix > 0 else header.pixel_size_angst
    pixel_size *= recipe.side / recipe.scaled_side
    make_folder(options.operate_out.parent)
    shape = (header.nz, recipe.final_side, recipe.final_side)
    try:
        write_stack(options.operate_out, _images(header, recipe), shape, recipe.dtype, pixel_size)
    except OSError as error:
        raise InputError(
            f"{options.operate_out}: could not be written ({error.strerror or error}), expected a "
            "folder with enough space that may be written to; choose another --operate_out"
        ) from error
    log.info("%s: %d images of %d pixels", options.operate_out, header.nz, recipe.final_side)


def _images(header: MrcHeader, recipe: Recipe) -> Iterator[NDArray[np.float32]]:
    """Read chunk by chunk."""
    side, n_flat = recipe.side, 0
    with Progress(header.nz, "Operating") as progress, header.path.open("rb") as handle:
        handle.seek(header.data_offset)
        for start in range(0, header.nz, recipe.n_chunk):
            n = min(recipe.n_chunk, header.nz - start)
            values = np.fromfile(handle, header.dtype, n * side**2).reshape(n, side, side)
            keys = [key(header.path.name, row) for row in range(start, start + n)]
            images, flat = operate(values.astype(np.float32), recipe, keys)
            n_flat += int(np.count_nonzero(flat))
            if recipe.half:
                check_half(images, str(header.path))
            yield from images
            progress.update(n)
    if n_flat:
        log.warning("%s: %d image(s) of constant background: not normalised", header.path, n_flat)
