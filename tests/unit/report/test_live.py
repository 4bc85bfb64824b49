"""A run that is under way has its page drawn beside it, and never comes to harm by it."""

from __future__ import annotations

import sys
import time

from relion_mpi.report.live import SHARE, LiveReport

NOTE = "import sys; open(sys.argv[1] + '.drawn', 'a').write(sys.argv[2] + '\\n')"


def drawing(text):
    return (sys.executable, "-S", "-c", text)


def drawn(root):
    path = root.with_name(f"{root.name}.drawn")
    return path.read_text().split() if path.exists() else []


def settled(live):
    deadline = time.monotonic() + 120
    while live._is_drawing() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_the_page_is_drawn_with_its_state(folder):
    made = folder(iterations=(0, 1), final=False).write()
    live = LiveReport(made.root)
    live.refresh()
    settled(live)
    page = made.folder / "run_report.html"
    assert 'data-state="running"' in page.read_text()
    live.end()
    assert 'data-state="finished"' in page.read_text()


def test_the_end_may_be_early(tmp_path):
    live = LiveReport(tmp_path / "run", drawing(NOTE))
    live.end(early=True)
    live.end()
    assert drawn(tmp_path / "run") == ["stopped", "finished"]


def test_drawing_takes_a_small_share_of_the_time(tmp_path):
    now = [0.0]
    live = LiveReport(tmp_path / "run", drawing(NOTE), clock=lambda: now[0])
    live.refresh()
    live._process.wait()
    now[0] = 10.0  # it took ten seconds
    live.refresh()
    assert drawn(tmp_path / "run") == ["running"]
    now[0] = 10.0 / SHARE - 1.0
    live.refresh()
    assert live._process is None
    now[0] = 10.0 / SHARE + 1.0
    live.refresh()
    live.end()
    assert drawn(tmp_path / "run") == ["running", "running", "finished"]


def test_a_page_is_not_begun_while_another_is_drawn(tmp_path):
    live = LiveReport(tmp_path / "run", drawing(f"import time; time.sleep(0.5); {NOTE}"))
    began = time.monotonic()
    for _ in range(5):
        live.refresh()
    assert time.monotonic() - began < 0.5
    live.end()
    assert drawn(tmp_path / "run") == ["running", "finished"]


def test_the_log_says_where_the_page_is_and_what_it_took(tmp_path, caplog):
    caplog.set_level("INFO")
    live = LiveReport(tmp_path / "run", drawing(NOTE))
    live.refresh()
    live.end()
    assert f"Report: {tmp_path / 'run'}_report.html, drawn 2 times" in caplog.text


def test_what_goes_wrong_is_told_once_and_the_run_goes_on(tmp_path, caplog):
    live = LiveReport(tmp_path / "run", drawing("raise SystemExit('no ink')"))
    live.refresh()
    settled(live)
    live.end()
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"{tmp_path / 'run'}: its report could not be drawn (no ink); the run goes on"]


def test_a_program_that_is_not_there_is_told(tmp_path, caplog):
    LiveReport(tmp_path / "run", ("/no/such/program",)).end()
    assert "its report could not be drawn" in caplog.text


def test_a_page_that_takes_for_ever_is_given_up(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("relion_mpi.report.live.PATIENCE_SECONDS", 0.2)
    LiveReport(tmp_path / "run", drawing("import time; time.sleep(60)")).end()
    assert "its report could not be drawn" in caplog.text


def test_what_draws_is_no_rank(tmp_path, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    told = "import os, sys; open(sys.argv[1] + '.drawn', 'w').write(str('PMI_RANK' in os.environ))"
    LiveReport(tmp_path / "run", drawing(told)).end()
    assert drawn(tmp_path / "run") == ["False"]
