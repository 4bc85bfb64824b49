"""The RELION labels this program reads or writes, with their type and unit."""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """Type and unit of the values under one `rln` label."""

    dtype: type[str] | type[int] | type[float]
    unit: str


_ROWS: tuple[tuple[str, type[str] | type[int] | type[float], str], ...] = (
    # where a particle is
    ("rlnImageName", str, "index@stack"),
    ("rlnImageOriginalName", str, "index@stack"),
    ("rlnMicrographName", str, "path"),
    ("rlnCoordinateX", float, "pixel"),
    ("rlnCoordinateY", float, "pixel"),
    ("rlnGroupName", str, ""),
    ("rlnGroupNumber", int, "from 1"),
    ("rlnRandomSubset", int, "1 or 2"),
    # optics
    ("rlnOpticsGroup", int, "from 1"),
    ("rlnOpticsGroupName", str, ""),
    ("rlnMtfFileName", str, "path"),
    ("rlnMicrographOriginalPixelSize", float, "angstrom"),
    ("rlnMicrographPixelSize", float, "angstrom"),
    ("rlnImagePixelSize", float, "angstrom"),
    ("rlnImageSize", int, "pixel"),
    ("rlnImageDimensionality", int, ""),
    ("rlnVoltage", float, "kilovolt"),
    ("rlnSphericalAberration", float, "millimetre"),
    ("rlnAmplitudeContrast", float, ""),
    ("rlnBeamTiltX", float, "milliradian"),
    ("rlnBeamTiltY", float, "milliradian"),
    ("rlnOddZernike", str, "list of coefficients"),
    ("rlnEvenZernike", str, "list of coefficients"),
    ("rlnMagMat00", float, ""),
    ("rlnMagMat01", float, ""),
    ("rlnMagMat10", float, ""),
    ("rlnMagMat11", float, ""),
    ("rlnCtfDataAreCtfPremultiplied", int, "0 or 1"),
    ("rlnDetectorPixelSize", float, "micrometre"),
    ("rlnMagnification", float, ""),
    ("rlnPixelSize", float, "angstrom"),
    # contrast transfer function of a particle
    ("rlnDefocusU", float, "angstrom"),
    ("rlnDefocusV", float, "angstrom"),
    ("rlnDefocusAngle", float, "degree"),
    ("rlnPhaseShift", float, "degree"),
    ("rlnCtfBfactor", float, "square angstrom"),
    ("rlnCtfScalefactor", float, ""),
    # what refinement finds
    ("rlnAngleRot", float, "degree"),
    ("rlnAngleTilt", float, "degree"),
    ("rlnAnglePsi", float, "degree"),
    ("rlnAngleRotPrior", float, "degree"),
    ("rlnAngleTiltPrior", float, "degree"),
    ("rlnAnglePsiPrior", float, "degree"),
    ("rlnOriginX", float, "pixel"),
    ("rlnOriginY", float, "pixel"),
    ("rlnOriginXPrior", float, "pixel"),
    ("rlnOriginYPrior", float, "pixel"),
    ("rlnOriginXAngst", float, "angstrom"),
    ("rlnOriginYAngst", float, "angstrom"),
    ("rlnOriginXPriorAngst", float, "angstrom"),
    ("rlnOriginYPriorAngst", float, "angstrom"),
    ("rlnClassNumber", int, "from 1"),
    ("rlnNormCorrection", float, ""),
    ("rlnLogLikeliContribution", float, ""),
    ("rlnMaxValueProbDistribution", float, ""),
    ("rlnNrOfSignificantSamples", int, ""),
    # model, sampling and optimiser tables: only what must not be taken for a number
    ("rlnReferenceImage", str, "path"),
    ("rlnOutputRootName", str, "path"),
    ("rlnModelStarFile", str, "path"),
    ("rlnModelStarFile2", str, "path"),
    ("rlnExperimentalDataStarFile", str, "path"),
    ("rlnOrientSamplingStarFile", str, "path"),
    ("rlnSolventMaskName", str, "path"),
    ("rlnSymmetryGroup", str, ""),
)

LABELS: dict[str, Label] = {name: Label(dtype, unit) for name, dtype, unit in _ROWS}
TEXT_LABELS: frozenset[str] = frozenset(n for n, label in LABELS.items() if label.dtype is str)
FLOAT_LABELS: frozenset[str] = frozenset(n for n, label in LABELS.items() if label.dtype is float)
