"""A VM that is asked what it makes of our bytes: frames of four bytes' length and content over its stdin and stdout.

    E source    evaluates an Erlang expression, remembers the term, answers its external format
    C options   the same, compressed
    S bytes     decodes them, answers whether they are =:= to the remembered term
    R bytes     decodes them, answers their re-encoding

An answer is 1 and what was asked for, or 0 and why not. The fd port keeps standard_io's encodings out of it.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
from collections.abc import Iterator

from tests import otps

LOOP = r"""
    Port = open_port({fd, 0, 1}, [{packet, 4}, binary, eof]),
    Value = fun(Source) ->
        {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Source) ++ "."),
        {ok, Forms} = erl_parse:parse_exprs(Tokens),
        {value, Term, _} = erl_eval:exprs(Forms, []),
        put(remembered, Term),
        Term
    end,
    Answer = fun
        (<<"E", Source/binary>>) -> term_to_binary(Value(Source));
        (<<"C", Source/binary>>) -> term_to_binary(Value(Source), [compressed]);
        (<<"S", Bytes/binary>>) -> atom_to_binary(binary_to_term(Bytes) =:= get(remembered));
        (<<"R", Bytes/binary>>) -> term_to_binary(binary_to_term(Bytes))
    end,
    Loop = fun Loop() ->
        receive
            {Port, {data, Question}} ->
                Reply = try [1, Answer(Question)] catch Class:Why -> [0, io_lib:format("~tw ~tw", [Class, Why])] end,
                port_command(Port, Reply),
                Loop();
            {Port, eof} -> halt()
        end
    end,
    Loop().
"""


class OracleError(Exception):
    """The VM could not answer; says why."""


class Oracle:
    """Questions to one VM, one at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def value(self, source: str, *, compressed: bool = False) -> bytes:
        """The external format of what `source` evaluates to."""
        return self._ask((b"C" if compressed else b"E") + source.encode())

    def same(self, data: bytes) -> bool:
        """Whether `data` is the term of the last `value`, by =:=."""
        return self._ask(b"S" + data) == b"true"

    def again(self, data: bytes) -> bytes:
        """`data`, decoded and encoded by the VM."""
        return self._ask(b"R" + data)

    def _ask(self, question: bytes) -> bytes:
        assert self._process.stdin
        self._process.stdin.write(struct.pack(">I", len(question)) + question)
        self._process.stdin.flush()
        answer = self._read(struct.unpack(">I", self._read(4))[0])
        if answer[:1] != b"\x01":
            raise OracleError(answer[1:].decode(errors="replace"))
        return answer[1:]

    def _read(self, size: int) -> bytes:
        assert self._process.stdout
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise OracleError(f"the VM ended: {data.decode(errors='replace')}")
        return data


@contextlib.contextmanager
def oracle(otp: str) -> Iterator[Oracle]:
    """An oracle of that OTP until the end of the block."""
    with otps.started(otp, "-eval", LOOP) as process:
        yield Oracle(process)
