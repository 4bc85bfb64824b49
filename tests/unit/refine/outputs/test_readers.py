"""Other programs read what a run leaves in a RELION project."""

from __future__ import annotations

import dataclasses
import io
import warnings

import mrcfile
import numpy as np
import pytest
import starfile
from factories.projects import project_with_particles

from relion_mpi.io.mrc import write_map
from relion_mpi.io.mrc_stack import write_stack
from relion_mpi.project.job import job_of
from relion_mpi.refine.outputs.writer import write_iteration

REFINED, CLASSIFIED = "Refine3D/job002", "Class3D/job003"


@pytest.fixture
def project(tmp_path, make_record, make_class_record):
    """A project of RELION 5 with a refinement and a classification."""
    project_with_particles(tmp_path, "5")
    joined = np.random.default_rng(1).normal(size=(16, 16, 16))
    final = {"joined_map": joined, "unfiltered": (joined, joined), "last_iteration": 3}
    records = {
        REFINED: [make_record(), make_record(iteration=None, **final)],
        CLASSIFIED: [make_class_record()],
    }
    for folder, several in records.items():
        root = tmp_path / folder / "run"
        particles = tmp_path / "Extract/job001/particles.star"
        options = dataclasses.replace(several[0].options, i=particles, o=root)
        name = "refine3d" if folder == REFINED else "class3d"
        job = job_of(name, options, ["--o", str(root)], tmp_path)

        def write(root=root, several=several):
            for record in several:
                write_iteration(dataclasses.replace(record, root=root))
            return 0

        assert job.carried_out(write) == 0
        (tmp_path / folder / "RELION_JOB_EXIT_SUCCESS").touch()
    return tmp_path


@pytest.fixture
def himena():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = "himena-relion is not installed"
        pytest.importorskip("himena_relion", reason=reason, exc_type=ImportError)
        from himena_relion import _job_dir, _pipeline
    return _job_dir, _pipeline


def test_himena_relion_reads_the_graph(project, himena):
    _, pipeline = himena
    found = pipeline.RelionDefaultPipeline.from_pipeline_star(
        project / "default_pipeline.star", allow_empty=False
    )
    jobs = {job.path.as_posix(): job for job in found}
    assert jobs[REFINED].type_label == "relion.refine3d"
    assert jobs[REFINED].status.value == "succeeded"
    assert [parent.node.path.as_posix() for parent in jobs[REFINED].parents] == ["Extract/job001"]
    own = pipeline.RelionPipeline.from_star(project / REFINED / "job_pipeline.star")
    labels = {node.path_file.name: node.type_label for node in own.outputs}
    assert labels["run_half1_class001_unfil.mrc"] == "DensityMap.mrc.relion.halfmap.refine3d"
    assert labels["run_optimiser.star"] == "OptimiserData.star.relion.refine3d"


def test_himena_relion_reads_a_refinement(project, himena):
    folders, _ = himena
    job = folders.JobDirectory.from_job_star(project / REFINED / "job.star")
    assert type(job) is folders.Refine3DJobDirectory
    assert job.state().value == "exit_success"
    assert not job.is_tomo()
    assert job.get_job_param("sym_name") == "C1"
    assert job.num_iters() == 3
    last = job.get_final_result()
    assert list(last.model_groups().groups.num_particles) == [12, 8]
    assert len(last.angdist(1, 1.0)) > 0
    assert len(job.get_result(3).angdist(1, 1.0)) > 0


def test_himena_relion_reads_a_classification(project, himena):
    folders, _ = himena
    job = folders.JobDirectory.from_job_star(project / CLASSIFIED / "job.star")
    assert type(job) is folders.Class3DJobDirectory
    result = job.get_result(job.num_iters())
    assert list(result.model_groups().groups.num_particles) == [12, 8]
    volume, scale = result.class_map(1)
    assert volume.shape == (16, 16, 16)
    assert scale > 0


def test_starfile_reads_every_table(project):
    files = sorted(project.glob("*/*/*.star"))
    assert len(files) > 12
    for path in files:
        for name, table in starfile.read(path, always_dict=True).items():
            assert len(table) > 0, (path, name)
    particles = starfile.read(project / REFINED / "run_data.star")
    assert set(particles) == {"optics", "particles"}


def test_starfile_rs_reads_every_table(project):
    """Follow_Relion_gracefully reads with it, into polars."""
    reader = pytest.importorskip("starfile_rs", reason="starfile-rs is not installed")
    for path in project.glob("*/*/*.star"):
        for name, block in reader.read_star(path).items():
            assert block.to_polars().height > 0, (path, name)


@pytest.mark.parametrize(
    ("file", "labels"),
    [
        ("run_it003_optimiser.star", ("CurrentIteration", "ChangesOptimalOrientations",
         "ChangesOptimalOffsets", "ChangesOptimalClasses", "OverallAccuracyRotations",
         "OverallAccuracyTranslationsAngst", "ParticleDiameter", "SolventMaskName")),
        ("run_model.star", ("ClassDistribution", "ReferenceImage", "EstimatedResolution",
         "GoldStandardFsc", "AccuracyRotations", "AccuracyTranslationsAngst")),
    ],
)  # fmt: skip
def test_labels_that_readers_look_for_are_there(project, file, labels):
    text = (project / REFINED / file).read_text()
    assert [label for label in labels if f"_rln{label} " not in text] == []


def test_maps_have_the_headers_that_viewers_need(project):
    maps = sorted(project.glob("*/*/*.mrc"))
    assert len(maps) >= 7
    for path in maps:
        assert mrcfile.validate(path, print_file=io.StringIO()), path
        with mrcfile.open(path, header_only=True) as file:
            header = file.header
            assert file.voxel_size.x > 0
            assert header.cella.x == pytest.approx(16 * file.voxel_size.x)
            assert (header.mapc, header.mapr, header.maps) == (1, 2, 3)
            assert header.origin.item() == (0, 0, 0)
            assert (header.nxstart, header.nystart, header.nzstart) == (0, 0, 0)
            assert (header.ispg, header.mz) == (1, 16)


def test_stacks_have_the_headers_of_stacks(tmp_path):
    images = np.random.default_rng(1).normal(size=(5, 8, 8)).astype(np.float32)
    write_map(tmp_path / "classes.mrcs", images, 2.0, stack=True)
    write_stack(tmp_path / "particles.mrcs", iter(images), images.shape, np.dtype("f4"), 2.0)
    for path in tmp_path.iterdir():
        assert mrcfile.validate(path, print_file=io.StringIO()), path
        with mrcfile.open(path) as file:
            assert file.is_image_stack()
            assert (file.header.ispg, file.header.mz) == (0, 1)
            np.testing.assert_allclose([file.voxel_size.x, file.voxel_size.z], 2.0)
            np.testing.assert_array_equal(file.data, images)
