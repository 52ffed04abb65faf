import os
import signal
import subprocess
import sys
import time

import pytest

from mmgan.data.files import write_pickle
from mmgan.data.presence import may_be_alive, worker_id
from mmgan.data.writing import UNCHANGED, check_writable, remove_left, replacing, whole_file, whole_folder
from mmgan.errors import MmganError

WRITING = """
import sys, time
from mmgan.data.writing import folder_beside, whole_file, whole_folder
from pathlib import Path
place = Path(sys.argv[1])
with whole_file(place / "o[1].pkl", lasting=True) as stream, folder_beside(place / "report") as beside, whole_folder(place / "waves") as new:
    for file in (beside / "page.html", new / "a.wav"):
        file.write_text("half")
    stream.write(b"half")
    print("writes", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing a file and two folders."""
    with subprocess.Popen([sys.executable, "-c", WRITING, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writes\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_is_removed_at_once_and_nothing_of_a_living_one(tmp_path, writer):
    (tmp_path / ".notes.tmp").touch()  # the user's own
    (tmp_path / "waves").mkdir()
    for kept in (5, 2):  # while the writer runs, and when it is gone
        remove_left(tmp_path)
        assert len(os.listdir(tmp_path)) == kept
        os.kill(writer.pid, signal.SIGKILL)  # of which nobody has taken note: it stays a zombie
        os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
    assert sorted(os.listdir(tmp_path)) == [".notes.tmp", "waves"]


def test_what_another_machine_writes_is_left_alone_until_it_has_not_changed_for_long(tmp_path):
    names = [f".o.pkl.{'0' * 12}_{os.getpid()}_7.tmp", f".waves.{'f' * 12}_1_-0.tmp"]
    (tmp_path / names[0]).touch()
    (tmp_path / names[1]).mkdir()
    (tmp_path / names[1] / "a.wav").touch()
    remove_left(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    long_ago = time.time() - UNCHANGED - 60
    for path in [tmp_path / names[0], tmp_path / names[1]]:
        os.utime(path, (long_ago, long_ago))
    write_pickle(tmp_path / "o.pkl", {})
    assert sorted(os.listdir(tmp_path)) == sorted([names[1], "o.pkl"])  # a file in the folder is new


def test_a_process_is_told_from_an_earlier_one_of_its_number():
    machine, pid, begun = worker_id().split("_")
    assert may_be_alive(worker_id()) and may_be_alive(f"{'0' * 12}_1_1")
    assert not may_be_alive(f"{machine}_{pid}_{int(begun) - 60}") and not may_be_alive(None)


def test_check_writable(tmp_path):
    check_writable(tmp_path / "a" / "b" / "out.pkl")
    assert not os.listdir(tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "out.pkl", tmp_path / "file" / "deeper" / "out.pkl"):
        with pytest.raises(MmganError, match="cannot be written"):
            check_writable(path)
        with pytest.raises(MmganError, match="cannot be written"):
            write_pickle(path, {})
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_and_a_folder_that_fail_leave_the_old_ones(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").touch()
    (tmp_path / "file").write_text("old")
    with (
        pytest.raises(MmganError, match=r"file cannot be written: No space left on device; choose"),
        replacing(tmp_path / "file") as stream,
    ):
        stream.write(b"new")
        raise OSError(28, "No space left on device")
    with pytest.raises(OSError) as failed, whole_file(tmp_path / "file", lasting=False):
        raise OSError(28, "No space left on device")
    assert failed.value.filename == str(tmp_path / "file")
    with pytest.raises(OSError), whole_folder(tmp_path / "old") as new:
        (new / "b").touch()
        raise OSError(28, "No space left on device")
    assert sorted(os.listdir(tmp_path)) == ["file", "old"] and os.listdir(tmp_path / "old") == ["a"]
    with whole_folder(tmp_path / "old") as new:
        (new / "b").touch()
    assert sorted(os.listdir(tmp_path)) == ["file", "old"] and os.listdir(tmp_path / "old") == ["b"]


@pytest.mark.parametrize("name", ["pipe", "a" * 240, "a\0b"])
def test_no_file_takes_the_place_of_a_pipe_or_has_an_impossible_name(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir(tmp_path)
    with pytest.raises(MmganError, match=r"cannot be written: .*(pipe or a device; name a file|choose another place)"):
        write_pickle(tmp_path / name, {})
    assert os.listdir(tmp_path) == before


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "link.pkl").symlink_to(tmp_path / "large" / "o.pkl")
    write_pickle(tmp_path / "link.pkl", {})
    assert (tmp_path / "link.pkl").is_symlink() and (tmp_path / "large" / "o.pkl").is_file()
