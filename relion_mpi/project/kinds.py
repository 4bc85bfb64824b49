"""RELION's kinds of jobs and of files, as numbers (3.1) and as labels (4 and later)."""

from __future__ import annotations

from typing import NamedTuple


class ProcessKind(NamedTuple):
    """Number and label of a kind of job."""

    number: int
    label: str


class NodeKind(NamedTuple):
    """Number of a kind of file, and its labels, in which {job} is what `JOB_SUFFIX` says.

    None where that version's interface lists no such file.
    """

    number: int | None
    label_4: str | None
    label_5: str | None


PROCESSES = {
    "Import": ProcessKind(0, "relion.import"),
    "MotionCorr": ProcessKind(1, "relion.motioncorr"),
    "CtfFind": ProcessKind(2, "relion.ctffind"),
    "ManualPick": ProcessKind(3, "relion.manualpick"),
    "AutoPick": ProcessKind(4, "relion.autopick"),
    "Extract": ProcessKind(5, "relion.extract"),
    "Select": ProcessKind(7, "relion.select"),
    "Class2D": ProcessKind(8, "relion.class2d"),
    "Class3D": ProcessKind(9, "relion.class3d"),
    "Refine3D": ProcessKind(10, "relion.refine3d"),
    "MaskCreate": ProcessKind(12, "relion.maskcreate"),
    "JoinStar": ProcessKind(13, "relion.joinstar"),
    "Subtract": ProcessKind(14, "relion.subtract"),
    "PostProcess": ProcessKind(15, "relion.postprocess"),
    "LocalRes": ProcessKind(16, "relion.localres"),
    "InitialModel": ProcessKind(18, "relion.initialmodel"),
    "MultiBody": ProcessKind(19, "relion.multibody"),
    "Polish": ProcessKind(20, "relion.polish"),
    "CtfRefine": ProcessKind(21, "relion.ctfrefine"),
    "External": ProcessKind(99, "relion.external"),
}

JOB_SUFFIX = {
    kind: f".{kind.lower()}"
    for kind in (
        "AutoPick", "Class2D", "Class3D", "Refine3D", "InitialModel", "PostProcess", "CtfRefine",
    )
}  # fmt: skip
"""What labels of files say of the job that made them; of other jobs they say nothing."""

NODES = {
    "micrographs": NodeKind(
        1, "MicrographsData.star.relion{job}", "MicrographGroupMetadata.star.relion{job}"
    ),
    # 3.1 lists a file that tells the names' suffix, later versions the list of coordinate files.
    "coordinates' suffix": NodeKind(2, None, None),
    "coordinates": NodeKind(
        None, "MicrographsCoords.star.relion{job}", "MicrographCoordsGroup.star.relion{job}"
    ),
    "particles": NodeKind(
        3, "ParticlesData.star.relion{job}", "ParticleGroupMetadata.star.relion{job}"
    ),
    "class averages": NodeKind(
        5, "ImagesData.star.relion.classaverages", "Image2DGroupMetadata.star.relion.classaverages"
    ),
    "map": NodeKind(6, *2 * ("DensityMap.mrc.relion{job}",)),
    "mask": NodeKind(7, *2 * ("Mask3D.mrc.relion{job}",)),
    # 3.1 lists the model of a classification, later versions the optimiser.
    "model": NodeKind(8, None, None),
    "optimiser": NodeKind(
        None, "ProcessData.star.relion.optimiser{job}", "OptimiserData.star.relion{job}"
    ),
    "half map": NodeKind(10, *2 * ("DensityMap.mrc.relion.halfmap{job}",)),
    "final map": NodeKind(11, *2 * ("DensityMap.mrc.relion{job}",)),
    "final masked map": NodeKind(11, *2 * ("DensityMap.mrc.relion{job}.masked",)),
    "locally filtered map": NodeKind(11, *2 * ("DensityMap.mrc.relion.localresfiltered",)),
    "resolution map": NodeKind(12, *2 * ("Image3D.mrc.relion.localresmap",)),
    "logfile": NodeKind(13, *2 * ("LogFile.pdf.relion{job}",)),
    "postprocess": NodeKind(14, *2 * ("ProcessData.star.relion{job}",)),
}

RUNNING, SCHEDULED, SUCCEEDED, FAILED, ABORTED = range(5)
STATUSES = ("Running", "Scheduled", "Succeeded", "Failed", "Aborted")
"""Labels by number."""
