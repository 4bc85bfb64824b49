"""What is subtracted: the maps of a refinement, and how they become images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from relion_mpi.core.errors import InputError
from relion_mpi.io.cube import read_cube
from relion_mpi.io.star import read_star
from relion_mpi.refine.reference import load_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from relion_mpi.io.star import Block
    from relion_mpi.subtract.options import SubtractOptions

log = logging.getLogger(__name__)

_OPTIMISER = "optimiser_general"
_DATA = "rlnExperimentalDataStarFile"
_MODELS = ("rlnModelStarFile", "rlnModelStarFile2")


@dataclass(frozen=True, slots=True)
class HalfSource:
    """Maps of one half-set, or of all particles.

    Attributes
    ----------
    maps : files, one a class
    avg_norm : mean norm correction, or None for that of the particles
    scale : intensity scale by the name of the group; empty where none is corrected for
    """

    maps: tuple[Path, ...]
    avg_norm: float | None
    scale: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Source:
    """A refinement from which a part is subtracted.

    Attributes
    ----------
    particles : STAR file of the particles
    halves : one, or two that are kept apart
    box_size, pixel_size_angst : of the maps
    r_max : last shell of the maps that is used
    padding : oversampling of their transforms
    norm : particles' norms are corrected for
    ctf : names of `relion_mpi.estep.plan.ImageOptions` that are on
    """

    particles: Path
    halves: tuple[HalfSource, ...]
    box_size: int
    pixel_size_angst: float
    r_max: int
    padding: int = 2
    norm: bool = True
    ctf: frozenset[str] = frozenset({"apply_ctf"})


def find_source(options: SubtractOptions) -> Source:
    """Read what the files of a refinement say, not yet the maps.

    Parameters
    ----------
    options
        --i, --data and --ref.

    Raises
    ------
    InputError
        A file is missing or says too little.
    """
    assert options.i is not None
    blocks = read_star(options.i)
    general = blocks.get(_OPTIMISER)
    if options.ref is not None:
        named = options.i if general is None else _file(options.i, general, _DATA)
        return _of_map(options, named)
    if isinstance(general, dict):
        models = [_file(options.i, general, name) for name in _MODELS if name in general]
        if not models:
            raise _missing(options.i, _MODELS[0])
        named = _file(options.i, general, _DATA)
    else:
        model = options.i.with_name(f"{options.i.stem.removesuffix('_data')}_model.star")
        if not model.exists():
            raise InputError(
                f"{options.i}: found neither an optimiser nor {model} beside it, expected one of "
                "them or --ref; give the optimiser of a refinement as --i, or a map as --ref"
            )
        models, named, general = [model], options.i, {}
    return _of_models(options.data or named, models, general)


def _of_models(particles: Path, models: list[Path], general: dict[str, Any]) -> Source:
    tables = [read_star(path) for path in models]
    first = tables[0].get("model_general")
    if not isinstance(first, dict):
        raise _missing(models[0], "table model_general")
    if _number(models[0], first, "rlnReferenceDimensionality", 3) != 3:
        raise InputError(f"{models[0]}: found 2D classes, expected maps; give a 3D refinement")
    box = int(_number(models[0], first, "rlnOriginalImageSize"))
    # RELION 3.1's projector ends where that of the refinement did.
    r_max = min(int(_number(models[0], first, "rlnCurrentImageSize", box)) // 2, box // 2)
    scaled = _is_on(general, "rlnDoCorrectScale", default=True)
    switches = {
        "apply_ctf": _is_on(general, "rlnDoCorrectCtf", default=True),
        "intact_until_first_peak": _is_on(general, "rlnDoIgnoreCtfUntilFirstPeak"),
        "phase_flipped": _is_on(general, "rlnCtfDataArePhaseFlipped"),
        "only_flip_phases": _is_on(general, "rlnDoOnlyFlipCtfPhases"),
    }
    return Source(
        particles,
        tuple(_half(path, one, scaled=scaled) for path, one in zip(models, tables, strict=True)),
        box,
        float(_number(models[0], first, "rlnPixelSize")),
        r_max,
        int(_number(models[0], first, "rlnPaddingFactor", 2)),
        _is_on(general, "rlnDoCorrectNorm", default=True),
        frozenset(name for name, on in switches.items() if on),
    )


def _half(path: Path, blocks: Mapping[str, Block], *, scaled: bool) -> HalfSource:
    general, classes = blocks.get("model_general"), blocks.get("model_classes")
    if not isinstance(general, dict) or not isinstance(classes, pl.DataFrame):
        raise _missing(path, "table model_classes")
    if "rlnReferenceImage" not in classes.columns:
        raise _missing(path, "rlnReferenceImage")
    maps = tuple(_beside(path, str(name)) for name in classes["rlnReferenceImage"])
    scale: dict[str, float] = {}
    groups = blocks.get("model_groups")
    if scaled and isinstance(groups, pl.DataFrame):
        needed = {"rlnGroupName", "rlnGroupScaleCorrection"}
        if not needed <= set(groups.columns):
            raise _missing(path, " and ".join(sorted(needed)))
        names = groups["rlnGroupName"].cast(pl.String).to_list()
        scale = dict(zip(names, groups["rlnGroupScaleCorrection"].cast(pl.Float64), strict=True))
    return HalfSource(maps, _number(path, general, "rlnNormCorrectionAverage", 1.0), scale)


def _of_map(options: SubtractOptions, particles: Path) -> Source:
    assert options.ref is not None
    volume, pixel_size = read_cube(options.ref)
    if pixel_size <= 0:
        raise InputError(
            f"--ref {options.ref}: found no pixel size in its header, expected one; write it with "
            "relion-mpi map --angpix"
        )
    box = volume.shape[0]
    half = HalfSource((options.ref,), None, {})
    return Source(options.data or particles, (half,), box, pixel_size, box // 2)


def read_maps(source: Source, options: SubtractOptions) -> NDArray[np.float32]:
    """Read the maps, less what the mask keeps.

    Parameters
    ----------
    source
        From `find_source`.
    options
        --mask and --ssnr, with which the mask is not used.

    Returns
    -------
    float32 (n_half * n_class, box, box, box)
        What is subtracted: class after class, half after half.

    Raises
    ------
    InputError
        A map or the mask cannot be read, or does not fit.
    """
    away = np.ones(1)
    if options.mask is not None and not options.ssnr:
        away = 1.0 - load_mask(options.mask, source.box_size, source.pixel_size_angst)
    found = []
    for path in (path for half in source.halves for path in half.maps):
        volume, _ = read_cube(path)
        if volume.shape[0] != source.box_size:
            raise InputError(
                f"{path}: found {volume.shape[0]} voxels a side, expected {source.box_size} as "
                "its model says; give the files of one run"
            )
        found.append((volume * away).astype(np.float32))
    return np.stack(found)


def _file(path: Path, block: Any, label: str) -> Path:
    name = block.get(label) if isinstance(block, dict) else None
    if name is None:
        raise _missing(path, label)
    return _beside(path, name)


def _beside(path: Path, name: str) -> Path:
    """Return a file that another one names, relative to this folder or else to its own."""
    named = Path(name)
    beside = path.parent / named.name
    return beside if not named.exists() and beside.exists() else named


def _number(path: Path, block: dict[str, Any], label: str, default: float | None = None) -> float:
    if label not in block:
        if default is None:
            raise _missing(path, label)
        return float(default)
    try:
        return float(block[label])
    except ValueError as error:
        raise InputError(
            f"{path}: {label} is '{block[label]}', expected a number; give the files of a 3D "
            "refinement"
        ) from error


def _is_on(block: dict[str, Any], label: str, *, default: bool = False) -> bool:
    return str(block.get(label, int(default))).strip() not in ("0", "False")


def _missing(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: found no {what}, expected the files of a 3D refinement or classification; choose "
        "another --i, or give a map as --ref"
    )
