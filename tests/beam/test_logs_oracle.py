"""What a real node prints by io:format and by logger at once is in its log, each line whole, once and in order."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests import otps
from tests.asked import LONG
from tests.host.line_oracle import STAMP, numbers
from tests.running import Relctld, plain_root
from tests.waiting import wait_until

pytestmark = pytest.mark.beam

LINES = 300_000 if LONG else 15_000
KILLS = 50 if LONG else 4
START = """#!/bin/sh
exec {erl} -noinput -boot start_clean -eval '
    Line = fun(Number) ->
        Filling = binary:copy(<<"x">>, Number * 7919 rem 300),
        Checksum = erlang:crc32([integer_to_binary(Number), " ", Filling]),
        io_lib:format("~b ~8.16.0b ~s", [Number, Checksum, Filling])
    end,
    ok = logger:update_formatter_config(default, #{{template => [msg, "\\n"], single_line => false}}),
    ok = logger:update_handler_config(default, config,
        #{{burst_limit_enable => false, sync_mode_qlen => 1, drop_mode_qlen => 1000000, flush_qlen => 1000000}}),
    Count = fun Count(_, {lines}) -> ok; Count(Print, Number) -> Print(Line(Number)), Count(Print, Number + 1) end,
    spawn(fun() -> Count(fun(Text) -> io:format("io ~s~n", [Text]) end, 0) end),
    spawn(fun() -> Count(fun(Text) -> logger:notice("logger ~s", [Text]) end, 0) end),
    timer:sleep(infinity)'
"""


@pytest.mark.timeout(1200 if LONG else 240)
@pytest.mark.parametrize("timestamps", [False, True], ids=["as-it-came", "timestamps"])
def test_io_and_logger_of_a_node_through_kills_of_the_logger(tmp_path: Path, timestamps: bool) -> None:
    root = plain_root(tmp_path / "root")
    start = root / "start"
    start.write_text(START.format(erl=otps.erl("28" if timestamps else "25"), lines=LINES))
    start.chmod(0o755)
    log = {"max_size": "300kB", "keep": 1000, "markers": False, "timestamps": timestamps}
    release = {"root": root, "command": [start], "ready": "process", "health": {"probe": "process"}, "log": log}
    with Relctld(tmp_path, {"web": release}) as daemon:
        pid = daemon.wait_for("web", state="running")["pid"]
        folder = daemon.log_dir / "web"

        def log_now() -> bytes:
            return daemon.relctl("logs", "web", "-n", "10000000").stdout.encode(errors="surrogateescape")

        for _ in range(KILLS):
            logger, size = wait_until(lambda: daemon.logger_pid), written(folder)
            quiet = time.monotonic() + 5.0  # to read all of it takes long

            def more(size: int = size, quiet: float = quiet) -> bool:
                return written(folder) != size or (time.monotonic() > quiet and ended(log_now()))

            wait_until(more, 120, what="more")
            os.kill(logger, signal.SIGKILL)
            wait_until(lambda logger=logger: daemon.logger_pid not in (None, logger), what="another logger")
        wait_until(lambda: ended(log_now()), 120, interval=0.5, what="the last lines")
        assert daemon.wait_for("web", state="running")["pid"] == pid
        assert daemon.status("web")["log"]["bytes_dropped"] == 0
        printed: dict[bytes, list[bytes]] = {b"io": [], b"logger": []}
        for text in log_now().splitlines():
            stamp = STAMP.match(text)
            assert (stamp is not None) is timestamps
            source, _, line = text[stamp.end() if stamp else 0 :].partition(b" ")
            printed[source].append(line + b"\n")
        for lines in printed.values():
            assert list(numbers(b"".join(lines))) == list(range(LINES))


def written(folder: Path) -> int:
    size = 0
    for file in [*folder.glob("*.log"), folder / "current"]:
        with suppress(FileNotFoundError):  # it is being rotated, or compressed
            size += file.stat().st_size
    return size


def ended(log: bytes) -> bool:
    return all(b"%s %d " % (source, LINES - 1) in log for source in (b"io", b"logger"))
