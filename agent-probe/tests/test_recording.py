from __future__ import annotations

from pathlib import Path

import pytest

from agent_probe.simulator.cli import main
from agent_probe.simulator.output import Record
from agent_probe.simulator.recording import frame
from conftest import FLAGS, Run
from recorded import read, record


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_and_start_give_the_same_bytes(run: Run, tmp_path: Path) -> None:
    record(tmp_path, *FLAGS)
    assert _files(tmp_path / "recording") == _files(run.folder / "recording")


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    record(tmp_path / "a", "--spans", "100", "--seed", "1")
    record(tmp_path / "b", "--spans", "100", "--seed", "2")
    assert _files(tmp_path / "a" / "recording") != _files(tmp_path / "b" / "recording")


def test_offsets_ascend_from_zero_and_times_never_fall(run: Run) -> None:
    for topic in ("otlp_spans", "agent.conversations"):
        for partition in range(6):
            mine = [one for one in run.records if (one.topic, one.partition) == (topic, partition)]
            assert [one.offset for one in mine] == list(range(len(mine)))
            times = [one.timestamp_ms for one in mine]
            assert times == sorted(times)
            assert mine or topic == "agent.conversations", f"{topic}/{partition} is empty"


def test_keyed_records_of_one_key_share_a_partition(run: Run) -> None:
    partitions: dict[bytes, set[int]] = {}
    for one in run.records:
        if one.key is not None:
            partitions.setdefault(one.key, set()).add(one.partition)
    assert len(partitions) > 50
    assert all(len(found) == 1 for found in partitions.values())


def test_frame_is_laid_out_as_documented() -> None:
    made = frame(3, Record("otlp_spans", None, (("h", b"v"),), b"abc", 5))
    body = (
        (3).to_bytes(8, "little")
        + (5).to_bytes(8, "little")
        + b"\xff\xff\xff\xff"
        + b"\x01\0\0\0"
        + b"\x01\0\0\0h"
        + b"\x01\0\0\0v"
        + b"\x03\0\0\0abc"
    )
    assert made[:4] == len(body).to_bytes(4, "little")
    assert made[8:] == body


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept.txt").write_text("mine", encoding="utf-8")
    assert main(["--recording", str(tmp_path), "--start", "2026-11-22T08:00:00Z", "--spans", "10"]) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert read_names(tmp_path) == ["kept.txt"]


def read_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "nothing to write to"),
        (["--recording", "r"], "needs --start"),
        (["--recording", "r", "--start", "2026-01-01"], "needs an end"),
        (["--recording", "r", "--start", "yesterday", "--spans", "1"], "not an ISO time"),
        (["--recording", "r", "--start", "2026-01-01", "--spans", "1", "--workers", "2"], "--kafka only"),
        (["--kafka", "h:1", "--error-rate", "3"], "probability"),
        (["--kafka", "h:1", "--conventions", "genai,otel"], "'otel' is none of"),
        (["--kafka", "h:1", "--sessions", "1", "--workers", "2"], "cannot be shared"),
    ],
)
def test_wrong_flags_are_refused_with_what_to_do(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(flags)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_recording_can_be_read_whole(run: Run) -> None:
    assert len(read(run.folder / "recording")) == run.report["records"]["total"]
