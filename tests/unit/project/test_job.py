"""Commands leave in a project what RELION's interface expects of a job."""

from __future__ import annotations

import threading
import time

import polars as pl
import pytest
from factories.micrographs import micrograph_project
from factories.projects import KINDS, WORDS, empty_project, project_with_particles
from PIL import Image

from relion_mpi.cli import main as command_line
from relion_mpi.core.option_parser import OptionParser
from relion_mpi.core.options import add_to_parser, from_namespace
from relion_mpi.io.star import read_star, write_star
from relion_mpi.postprocess.options import PostprocessOptions
from relion_mpi.project.commands import COMMANDS, output_nodes
from relion_mpi.project.external import own_words
from relion_mpi.project.job import job_of
from relion_mpi.project.lock import LOCK, locked
from relion_mpi.project.place import node_name, place_of
from relion_mpi.refine.relion_line import LineOptions
from relion_mpi.select.options import SelectOptions

LINE = ["select", "--i", "Extract/job001/particles.star", "--classes", "2"]
VERSIONS = list(WORDS)


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def project(tmp_path, monkeypatch, version):
    project_with_particles(tmp_path, version)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def column(version, name):
    return f"rlnPipeLine{name}{WORDS[version]['end']}"


def run(*words):
    try:
        return command_line.main(words)
    except SystemExit as leaving:
        return leaving.code


def done(version):
    return 2 if version == "3.1" else "Succeeded"


def test_a_job_is_in_the_graph_with_its_files(project, version):
    assert run(*LINE, "--o", "Select/job005/particles.star") == 0
    graph = read_star("default_pipeline.star")
    assert graph["pipeline_general"]["rlnPipeLineJobCounter"] == "6"
    kind, particles = KINDS[version]
    processes = graph["pipeline_processes"]
    assert processes["rlnPipeLineProcessName"].to_list() == ["Extract/job001/", "Select/job005/"]
    assert processes["rlnPipeLineProcessAlias"].to_list() == ["Extract/mine/", "None"]
    assert str(processes[column(version, "ProcessType")][1]) == kind
    assert processes[column(version, "ProcessStatus")][1] == done(version)
    nodes = graph["pipeline_nodes"]
    assert nodes["rlnPipeLineNodeName"].to_list() == [
        "Extract/job001/particles.star", "Select/job005/particles.star",
    ]  # fmt: skip
    assert str(nodes[column(version, "NodeType")][1]) == particles
    assert graph["pipeline_input_edges"].rows() == [
        ("Extract/job001/particles.star", "Select/job005/")
    ]
    assert graph["pipeline_output_edges"].rows()[1:] == [
        ("Select/job005/", "Select/job005/particles.star")
    ]
    text = (project / "default_pipeline.star").read_text()
    assert text.count(f"# version {WORDS[version]['version']}\n") == text.count("# version") == 5
    assert not (project / LOCK).exists()
    assert (project / ".pipeline_has_changed").exists()


def test_the_folder_of_a_job_tells_of_it(project, version):
    run(*LINE, "--o", "Select/job005/particles.star")
    folder = project / "Select" / "job005"
    assert (folder / "RELION_JOB_EXIT_SUCCESS").exists()
    job = read_star(folder / "job.star")
    label = "rlnJobType" if version == "3.1" else "rlnJobTypeLabel"
    assert job["job"][label] == KINDS[version][0]
    assert dict(job["joboptions_values"].rows())["fn_data"] == "Extract/job001/particles.star"
    own = read_star(folder / "job_pipeline.star")
    assert own["pipeline_processes"].height == 1
    assert own["pipeline_nodes"].height == 2
    note = (folder / "note.txt").read_text()
    assert f"relion-mpi {' '.join(LINE)} --o Select/job005/particles.star" in note


def test_an_extraction_is_told_by_its_folder_of_particles(project, version):
    micrograph_project(1)
    folder = "Extract/job007"
    assert run(
        "extract", "--i", "micrographs.star", "--coord_dir", "Picks", "--coord_suffix",
        "_pick.star", "--part_dir", folder, "--part_star", f"{folder}/particles.star", "--extract",
        "--extract_size", "16",
    ) == 0  # fmt: skip
    graph = read_star("default_pipeline.star")
    assert graph["pipeline_processes"]["rlnPipeLineProcessName"][1] == f"{folder}/"
    assert graph["pipeline_processes"][column(version, "ProcessStatus")][1] == done(version)
    assert graph["pipeline_input_edges"].rows() == [("micrographs.star", f"{folder}/")]
    assert (f"{folder}/", f"{folder}/particles.star") in graph["pipeline_output_edges"].rows()


def test_an_extraction_by_a_list_of_picks_comes_after_the_picking(project, version):
    micrograph_project(1)
    picks = {"rlnMicrographName": ["Mics/mic0.mrc"],
             "rlnMicrographCoordinates": ["Picks/Mics/mic0_pick.star"]}  # fmt: skip
    write_star("Picks/autopick.star", {"coordinate_files": pl.DataFrame(picks)})
    folder = "Extract/job007"
    assert run(
        "extract", "--i", "micrographs.star", "--coord_list", "Picks/autopick.star", "--part_dir",
        folder, "--part_star", f"{folder}/particles.star", "--extract", "--extract_size", "16",
    ) == 0  # fmt: skip
    edges = read_star("default_pipeline.star")["pipeline_input_edges"].rows()
    # 3.1 knows lists of coordinates by their suffix alone
    assert (("Picks/autopick.star", f"{folder}/") in edges) == (version != "3.1")


def test_averages_of_chosen_classes_are_told(project, version):
    names = [f"00000{k}@classes.mrcs" for k in (1, 2)]
    classes = {
        "rlnReferenceImage": names, "rlnClassDistribution": [0.5, 0.5],
        "rlnEstimatedResolution": [9.0, 9.0],
    }  # fmt: skip
    write_star("Extract/job001/particles_model.star", {"model_classes": pl.DataFrame(classes)})
    folder = "Select/job005"
    averages = f"{folder}/class_averages.star"
    assert run(*LINE, "--o", f"{folder}/particles.star", "--fn_sel_classavgs", averages) == 0
    graph = read_star("default_pipeline.star")
    kind = {
        "3.1": 5, "4": "ImagesData.star.relion.classaverages",
        "5": "Image2DGroupMetadata.star.relion.classaverages",
    }[version]  # fmt: skip
    assert dict([row[:2] for row in graph["pipeline_nodes"].rows()])[averages] == kind
    assert (f"{folder}/", averages) in graph["pipeline_output_edges"].rows()


def test_a_local_resolution_lists_its_maps(project):
    for name in ("relion_locres.mrc", "relion_locres_filtered.mrc", "relion_locres_fscs.star"):
        (project / name).touch()
    found = output_nodes(COMMANDS["postprocess"], project / "relion")
    assert [(path.name, kind) for path, kind in found] == [
        ("relion_locres_filtered.mrc", "locally filtered map"),
        ("relion_locres.mrc", "resolution map"),
    ]


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
def test_a_job_that_fails_is_told_to_have_failed(project):
    line = ["select", "--i", "Extract/job001/particles.star", "--classes", "7"]
    assert run(*line, "--o", "Select/job005/particles.star") == 1
    table = read_star("default_pipeline.star")["pipeline_processes"]
    assert table["rlnPipeLineProcessStatus"][1] == 3
    assert (project / "Select" / "job005" / "RELION_JOB_EXIT_FAILURE").exists()
    # Mended and run again it is the same job.
    assert run(*LINE, "--o", "Select/job005/particles.star") == 0
    table = read_star("default_pipeline.star")["pipeline_processes"]
    assert table["rlnPipeLineProcessStatus"].to_list() == [2, 2]
    assert not (project / "Select" / "job005" / "RELION_JOB_EXIT_FAILURE").exists()


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
@pytest.mark.parametrize(
    "words",
    [
        ("--o", "Select/job005/particles.star", "--no_pipeline"),
        ("--o", "elsewhere/particles.star"),
        ("--o", "Select/particles.star"),
        ("--o", "Mine/job005/particles.star"),
    ],
)
def test_nothing_is_told_of_other_outputs_or_with_the_switch(project, words):
    before = (project / "default_pipeline.star").read_bytes()
    assert run(*LINE, *words) == 0
    assert (project / words[1]).exists()
    assert (project / "default_pipeline.star").read_bytes() == before
    assert [path.name for path in (project / words[1]).parent.iterdir()] == ["particles.star"]


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
def test_without_a_project_nothing_is_told(project):
    (project / "default_pipeline.star").unlink()
    assert run(*LINE, "--o", "Select/job005/particles.star") == 0
    assert [path.name for path in (project / "Select" / "job005").iterdir()] == ["particles.star"]


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
def test_a_file_that_is_not_there_is_no_input(project):
    words = ("--i", "Extract/no.star", "--classes", "2", "--o", "Select/job005/p.star")
    assert run("select", *words) == 1
    graph = read_star("default_pipeline.star")
    assert graph["pipeline_nodes"]["rlnPipeLineNodeName"].to_list() == [
        "Extract/job001/particles.star"
    ]
    assert "pipeline_input_edges" not in graph


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
def test_a_line_that_cannot_be_read_makes_no_job(project):
    assert run(*LINE, "--o", "Select/job005/particles.star", "--clases", "1") == 1
    assert not (project / "Select").exists()
    assert "Select" not in (project / "default_pipeline.star").read_text()


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
@pytest.mark.parametrize(
    "text",
    [
        "data_something\n\n_a 1\n",
        "",
        "data_pipeline_general\n\n_rlnPipeLineJobCounter 3\n\ndata_pipeline_processes\n\nloop_\n"
        "_rlnPipeLineProcessName #1\nClass2D/job001/\n",
    ],
)
def test_a_project_that_cannot_be_told_does_not_end_the_job(project, capsys, text):
    (project / "default_pipeline.star").write_text(text)
    assert run(*LINE, "--o", "Select/job005/particles.star") == 0
    assert "RELION's interface could not be told" in capsys.readouterr().err


def test_an_external_job_of_relion_lists_its_outputs(project, version):
    # As the interface leaves it when it starts a program.
    folder = project / "External" / "job002"
    folder.mkdir(parents=True)
    words = ["--o", "External/job002/", "--in_parts", "Extract/job001/particles.star"]
    assert run("select", *words, "--classes", "2", "--j", "1") == 0
    nodes = read_star(folder / "RELION_OUTPUT_NODES.star")["output_nodes"]
    assert nodes["rlnPipeLineNodeName"].to_list() == ["External/job002/particles.star"]
    assert str(nodes[column(version, "NodeType")][0]) == KINDS[version][1]
    assert (folder / "RELION_JOB_EXIT_SUCCESS").exists()
    values = dict(read_star(folder / "job.star")["joboptions_values"].rows())
    assert values["fn_exe"] == "relion-mpi select"
    assert values["in_part"] == "Extract/job001/particles.star"
    assert (values["param1_label"], str(values["param1_value"])) == ("classes", "2")


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
def test_an_external_job_whose_line_cannot_be_read_is_told_to_have_failed(project):
    folder = project / "External" / "job002"
    folder.mkdir(parents=True)
    assert run("select", "--o", "External/job002/", "--in_mask", "m.mrc", "--j", "1") == 1
    assert (folder / "RELION_JOB_EXIT_FAILURE").exists()


@pytest.mark.parametrize("version", ["5"], indirect=True)
def test_postprocessing_lists_its_pages_before_its_table(project):
    """Follow_Relion_gracefully takes the fourth output for postprocess.star."""

    root = project / "PostProcess" / "job002" / "postprocess"
    options = PostprocessOptions(i=project / "run_half1_class001_unfil.mrc", o=root)
    job = job_of("postprocess", options, [], project)

    def work():
        for end in (".mrc", "_masked.mrc", ".star"):
            root.with_name(root.name + end).touch()
        for end in ("_fsc", "_guinier"):
            Image.new("RGB", (60, 40), "white").save(root.with_name(f"{root.name}{end}.png"))
        return 0

    job.carried_out(work)
    edges = read_star("default_pipeline.star")["pipeline_output_edges"]["rlnPipeLineEdgeToNode"]
    assert [name.rpartition("/")[2] for name in edges[1:]] == [
        "postprocess.mrc", "postprocess_masked.mrc", "logfile.pdf", "postprocess.star",
    ]  # fmt: skip
    pages = (root.parent / "logfile.pdf").read_bytes()
    assert pages.startswith(b"%PDF")
    assert pages.count(b"/Type /Page\n") == 2


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
def test_a_line_of_relion_refine_is_told_of_as_its_folder_says(project):
    words = ["--i", "Extract/job001/particles.star", "--o", "Class2D/job002/run", "--K", "5"]
    parser = OptionParser("refine")
    add_to_parser(parser, LineOptions)
    options = from_namespace(LineOptions, parser.read(words))
    job = job_of("refine", options, words, project)

    def work():
        for end in ("_it025_data.star", "_it024_data.star", "_it025_model.star"):
            (project / "Class2D" / "job002" / f"run{end}").touch()
        return 0

    job.carried_out(work)
    values = dict(read_star("Class2D/job002/job.star")["joboptions_values"].rows())
    assert values["fn_img"] == "Extract/job001/particles.star"
    assert str(values["nr_classes"]) == "5"
    edges = read_star("default_pipeline.star")["pipeline_output_edges"]["rlnPipeLineEdgeToNode"]
    assert edges.to_list()[1:] == [
        "Class2D/job002/run_it025_data.star", "Class2D/job002/run_it025_model.star",
    ]  # fmt: skip


def test_words_of_an_external_job_become_those_of_the_command():
    words = ["--o", "External/job002/", "--in_parts", "p.star", "--in_3dref", "r.mrc",
             "--in_mask", "m.mrc", "--sym", "D2", "--j", "4"]  # fmt: skip
    assert own_words("refine3d", words, {"--j"}) == [
        "--o", "External/job002/run", "--i", "p.star", "--ref", "r.mrc", "--solvent_mask", "m.mrc",
        "--sym", "D2", "--j", "4",
    ]  # fmt: skip
    assert own_words("mask", ["--in_3dref", "r.mrc"], set()) == ["--i", "r.mrc"]
    others = ["--o", "Refine3D/job002/run", "--j", "4"]
    assert own_words("refine3d", others, set()) == others


def test_an_alias_stands_for_the_job(tmp_path):
    empty_project(tmp_path)
    (tmp_path / "Refine3D" / "job012").mkdir(parents=True)
    (tmp_path / "Refine3D" / "best").symlink_to("job012")
    place = place_of(tmp_path / "Refine3D" / "best" / "run", tmp_path)
    assert (place.name, place.kind, place.number) == ("Refine3D/job012/", "Refine3D", 12)
    given = tmp_path / "Refine3D" / "best" / "run_data.star"
    assert node_name(given, tmp_path) == "Refine3D/job012/run_data.star"


def test_whoever_holds_the_lock_is_waited_for(tmp_path):
    (tmp_path / LOCK).mkdir()
    free = threading.Timer(0.3, (tmp_path / LOCK).rmdir)
    free.start()
    start = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - start > 0.25
        assert (tmp_path / LOCK / "lock_default_pipeline.star").exists()
    free.join()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_stays_is_named(tmp_path):
    (tmp_path / LOCK).mkdir()
    with pytest.raises(TimeoutError, match=r"\.relion_lock/lock_default_pipeline\.star"):
        with locked(tmp_path, patience_seconds=0.2):
            pass
    assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("version", ["3.1"], indirect=True)
def test_jobs_at_once_do_not_lose_each_other(project):
    def one(number):
        output = project / f"Select/job{number:03d}/particles.star"
        options = SelectOptions(i=project / "Extract/job001/particles.star", o=output)
        job = job_of("select", options, [], project)

        def work():
            write_star(output, {"": {"rlnA": "1"}})
            return 0

        job.carried_out(work)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    graph = read_star(project / "default_pipeline.star")
    assert graph["pipeline_processes"].height == 11
    assert set(graph["pipeline_processes"]["rlnPipeLineProcessStatus"]) == {2}
    assert graph["pipeline_output_edges"].height == 11
    assert graph["pipeline_general"]["rlnPipeLineJobCounter"] == "12"
