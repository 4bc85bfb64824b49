import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import starfile

from relion_mpi.core.errors import InputError
from relion_mpi.io.star import read_star, write_star

SHARED = Path(os.environ.get("RELION_MPI_SHARED", Path(__file__).parents[4] / "shared"))
STAR_FILES = sorted((SHARED / "data" / "star").glob("*.star"))


def write_text(folder, text):
    path = folder / "in.star"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mixed_table(n=50):
    rng = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "rlnImageName": [
                f"{i:06d}@a b.mrcs" if i % 7 == 0 else f"{i}@c.mrcs" for i in range(n)
            ],
            "rlnDefocusU": rng.uniform(5000, 30000, n),
            "rlnAngleRot": rng.uniform(-180, 180, n) * 1e-7,
            "rlnGroupNumber": np.arange(n),
            "rlnOther": ["", "x"] * (n // 2),
        }
    )


def test_a_table_is_read_back_bit_for_bit(tmp_path):
    frame = mixed_table()
    write_star(tmp_path / "a.star", {"particles": frame})
    assert read_star(tmp_path / "a.star")["particles"].equals(frame)


def test_a_list_is_read_back_as_text(tmp_path):
    write_star(tmp_path / "a.star", {"g": {"rlnA": 1, "rlnB": 0.1, "rlnC": "x y", "rlnD": ""}})
    assert read_star(tmp_path / "a.star")["g"] == {
        "rlnA": "1",
        "rlnB": "0.1",
        "rlnC": "x y",
        "rlnD": "",
    }


def test_starfile_reads_what_is_written(tmp_path):
    frame = mixed_table()
    write_star(tmp_path / "a.star", {"optics": {"rlnX": 3}, "particles": frame}, ["made here"])
    blocks = starfile.read(tmp_path / "a.star")
    table = blocks["particles"]
    assert list(table.columns) == frame.columns
    np.testing.assert_array_equal(table["rlnDefocusU"], frame["rlnDefocusU"])
    assert table["rlnImageName"].tolist() == frame["rlnImageName"].to_list()
    assert blocks["optics"]["rlnX"] == 3


@pytest.mark.skipif(
    shutil.which("relion_star_printtable") is None, reason="RELION is not installed"
)
@pytest.mark.parametrize("n_columns", [1, 2])
def test_relion_prints_what_is_written(tmp_path, n_columns):
    numbers = pl.DataFrame({"rlnGroupNumber": [1, 2, 3], "rlnDefocusU": [1.5, 2.5, 1e-7]})
    write_star(tmp_path / "a.star", {"particles": numbers[:, :n_columns], "b": numbers})
    out = subprocess.run(
        ["relion_star_printtable", str(tmp_path / "a.star"), "data_particles", "_rlnGroupNumber"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split() == ["1", "2", "3"]


def assert_same_table(ours, theirs):
    assert ours.columns == [str(name).lstrip("_") for name in theirs.columns]
    for mine, other in zip(ours.columns, theirs.columns, strict=True):
        if ours[mine].dtype == pl.String:
            assert ours[mine].to_list() == [str(value) for value in theirs[other]]
        else:
            np.testing.assert_array_equal(ours[mine].to_numpy(), theirs[other].to_numpy())


@pytest.mark.skipif(not STAR_FILES, reason="the shared data folder is absent")
@pytest.mark.parametrize("path", STAR_FILES, ids=lambda path: path.stem)
def test_real_files_are_read_as_starfile_reads_them(path):
    theirs = starfile.read(path, always_dict=True)
    ours = read_star(path)
    assert list(ours) == list(theirs)
    for name, block in ours.items():
        if isinstance(block, pl.DataFrame):
            assert_same_table(block, theirs[name])
        else:
            assert list(block) == list(theirs[name])


@pytest.mark.skipif(not STAR_FILES, reason="the shared data folder is absent")
@pytest.mark.parametrize("path", STAR_FILES, ids=lambda path: path.stem)
def test_real_files_survive_a_round_trip(path, tmp_path):
    blocks = read_star(path)
    write_star(tmp_path / "b.star", blocks)
    again = read_star(tmp_path / "b.star")
    assert list(again) == list(blocks)
    for name, block in blocks.items():
        same = (
            again[name].equals(block) if isinstance(block, pl.DataFrame) else block == again[name]
        )
        assert same, name


ODD_LAYOUTS = {
    "crlf": "data_a\r\n\r\nloop_\r\n_rlnX #1\r\n_rlnY #2\r\n1 u\r\n2 v\r\n",
    "byte order mark": "\ufeffdata_a\nloop_\n_rlnX\n_rlnY\n1 u\n2 v\n",
    "no last newline": "data_a\nloop_\n_rlnX\n_rlnY\n1 u\n2 v",
    "comments": "# c\ndata_a # c\nloop_\n# c\n_rlnX #1\n_rlnY #2 [text]\n1 u\n # c\n2 v\n# c\n",
    "tabs and blanks": "data_a\nloop_ \n_rlnX #1 \n_rlnY #2 \n\t  1 \t u  \n2\tv   \n \n",
    "empty lines": "data_a\n\n\nloop_\n\n_rlnX\n_rlnY\n\n1 u\n\n \n2 v\n\n",
    "quotes": "data_a\nloop_\n_rlnX\n_rlnY\n1 \"u\"\n'2' v\n",
}


@pytest.mark.parametrize("layout", ODD_LAYOUTS)
def test_layouts_in_the_wild_give_the_same_table(layout, tmp_path):
    table = read_star(write_text(tmp_path, ODD_LAYOUTS[layout]))["a"]
    assert table.to_dict(as_series=False) == {"rlnX": [1, 2], "rlnY": ["u", "v"]}


def test_quoted_values_keep_their_blanks(tmp_path):
    text = "data_\nloop_\n_a\n_b\n_c\n\"x  y\" '' 1\n' z ' \"it's\" 2\n"
    assert read_star(write_text(tmp_path, text))[""].rows() == [("x  y", "", 1), (" z ", "it's", 2)]


def test_an_empty_loop_keeps_its_labels(tmp_path):
    table = read_star(write_text(tmp_path, "data_\nloop_\n_rlnX #1\n_rlnDefocusU #2\n"))[""]
    assert table.height == 0
    assert table.columns == ["rlnX", "rlnDefocusU"]


def test_text_labels_stay_text_and_words_are_not_flags(tmp_path):
    text = "data_\nloop_\n_rlnMicrographName\n_rlnZ\n0012 true\n13 false\n"
    assert read_star(write_text(tmp_path, text))[""].rows() == [("0012", "true"), ("13", "false")]


def test_a_float_far_below_integers_makes_the_column_float(tmp_path):
    rows = ["1"] * 5000 + ["2.5"]
    text = "data_\nloop_\n_rlnNew #1\n_rlnB #2\n" + "".join(f"{x} 7\n" for x in rows)
    table = read_star(write_text(tmp_path, text))[""]
    assert table["rlnNew"].sum() == pytest.approx(5002.5)


def test_nan_and_exponents_are_numbers(tmp_path):
    text = "data_\nloop_\n_rlnDefocusU\n_rlnX\nnan 1.5e+05\ninf -2E-3\n"
    table = read_star(write_text(tmp_path, text))[""]
    assert np.isnan(table["rlnDefocusU"][0])
    assert table["rlnX"].to_list() == [1.5e5, -2e-3]


def test_rows_across_chunks_are_whole(tmp_path):
    n = 60_000  # several chunks of 256 KiB
    lines = "".join(f"  {i:9d}   {i * 0.5:14.6f}    {i % 10}@s.mrcs  \n" for i in range(n))
    path = write_text(tmp_path, "data_p\nloop_ \n_rlnA #1 \n_rlnB #2 \n_rlnImageName #3 \n" + lines)
    table = read_star(path)["p"]
    np.testing.assert_array_equal(table["rlnA"].to_numpy(), np.arange(n))
    np.testing.assert_array_equal(table["rlnB"].to_numpy(), np.arange(n) * 0.5)


BROKEN = {
    "": "empty",
    "\n \n": "empty",
    "hello\n": "no line 'data_",
    "data_\nloop_\n_a\n_b\n1 2\n3\n": "line 6: found 1 values in a row; expected 2",
    "data_\nloop_\n_a\n_b\n1 2\n\n3 4 5\n6 7\n": "line 7: found 3 values in a row; expected 2",
    "data_\nloop_\n_a\n_b\n1\n1 2 3\n": "line 5: found 1 values",
    "data_\nloop_\n_a\n_b\n_a\n1 2 3\n": "line 5: label '_a' occurs twice",
    "data_\n_a 1\n_a 2\n": "line 3: label '_a' occurs twice",
    "data_x\n_a 1\ndata_x\n_b 2\n": "line 3: block 'data_x' occurs a second time",
    "data_\n_a 1\nloop_\n_b\n2\n": "line 3: found 'loop_'",
    "data_\nloop_\n_a\n_b\n1 2\nloop_\n_c\n3\n": "line 6: found a second loop",
    "data_\nloop_\n1 2\n": "not followed by labels",
}


@pytest.mark.parametrize("text", BROKEN)
def test_broken_files_are_refused_with_file_and_line(text, tmp_path):
    path = write_text(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_star(path)
    assert str(path) in str(caught.value)
    assert BROKEN[text] in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_star(tmp_path / "none.star")


def test_a_binary_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="binary"):
        read_star(write_text(tmp_path, b"data_\0\1\2"))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.star"
    write_star(path, {"g": {"rlnA": 1}})
    with pytest.raises(ValueError, match="nulls"):
        write_star(path, {"p": pl.DataFrame({"rlnA": [1, None]})})
    assert read_star(path) == {"g": {"rlnA": "1"}}
    assert os.listdir(tmp_path) == ["a.star"]
