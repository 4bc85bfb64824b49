"""Projects of RELION as its versions leave them, with one job done."""

from __future__ import annotations

GENERAL = "\n# version {version}\n\ndata_pipeline_general\n\n_rlnPipeLineJobCounter {counter}\n\n"
TABLES = """
# version {version}

data_pipeline_processes

loop_
_rlnPipeLineProcessName #1
_rlnPipeLineProcessAlias #2
_rlnPipeLineProcessType{end} #3
_rlnPipeLineProcessStatus{end} #4
Extract/job001/ Extract/mine/ {extract}

# version {version}

data_pipeline_nodes

loop_
_rlnPipeLineNodeName #1
_rlnPipeLineNodeType{end} #2
{depth_column}Extract/job001/particles.star {particles}

# version {version}

data_pipeline_output_edges

loop_
_rlnPipeLineEdgeProcess #1
_rlnPipeLineEdgeToNode #2
Extract/job001/ Extract/job001/particles.star

"""
WORDS = {
    "3.1": {
        "version": 30001, "end": "", "extract": "5 2", "particles": "3", "depth_column": "",
    },
    "4": {
        "version": 30001, "end": "Label", "extract": "relion.extract Succeeded",
        "particles": "ParticlesData.star.relion", "depth_column": "",
    },
    "5": {
        "version": 50001, "end": "Label", "extract": "relion.extract Succeeded",
        "particles": "ParticleGroupMetadata.star.relion 1",
        "depth_column": "_rlnPipeLineNodeTypeLabelDepth #3\n",
    },
}  # fmt: skip
KINDS = {
    "3.1": ("7", "3"),
    "4": ("relion.select", "ParticlesData.star.relion"),
    "5": ("relion.select", "ParticleGroupMetadata.star.relion"),
}
"""What a version calls a job of selection, and its particles."""


def empty_project(folder):
    (folder / "default_pipeline.star").write_text(GENERAL.format(version=30001, counter=1))


def project_with_particles(folder, version, n=6):
    """Write a project whose job 1 has extracted particles of two classes."""
    text = (GENERAL + TABLES).format(counter=2, **WORDS[version])
    (folder / "default_pipeline.star").write_text(text)
    (folder / "Extract" / "job001").mkdir(parents=True)
    rows = "".join(f"{i:06d}@a.mrcs {1 + i % 2} 1\n" for i in range(1, n + 1))
    (folder / "Extract" / "job001" / "particles.star").write_text(
        "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n1 a\n\n"
        "data_particles\n\nloop_\n_rlnImageName #1\n_rlnClassNumber #2\n_rlnOpticsGroup #3\n" + rows
    )
