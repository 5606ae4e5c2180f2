"""Ask an epmd for a node's port. What starts an epmd is host/epmd.

Rule 1: requests and answers are bytes; only `port_of` and `names` at the end do I/O.
Rule 2: an answer may be anybody's: it is bounded, and is what it must be or a LinkRefused.

Source: ERTS User's Guide, "Distribution Protocol": PORT_PLEASE2_REQ, PORT2_RESP, NAMES_REQ, NAMES_RESP.
"""

import asyncio
import os
import re
import struct

from relctld.beam.dist.refusals import LinkRefused, Refusal

MAX_ANSWER = 1 << 18  # bytes; a host with thousands of names has less

_PORT_PLEASE2_REQ, _PORT2_RESP, _NAMES_REQ = 122, 119, 110
_PORT2 = struct.Struct(">HBBHHH")  # port, node type, protocol, highest and lowest version, length of the name
_TCP = 0
_VERSION = 6  # of the distribution protocol, since OTP 23


def port_request(short_name: str) -> bytes:
    """PORT_PLEASE2_REQ for the part of the node's name before the @."""
    name = short_name.encode()
    return struct.pack(">HB", 1 + len(name), _PORT_PLEASE2_REQ) + name


def port_answer(data: bytes, short_name: str) -> int:
    """The port in a whole PORT2_RESP. LinkRefused (not-registered, protocol)."""
    if data[:1] != bytes([_PORT2_RESP]) or len(data) < 2:
        raise _garbage(short_name)
    if data[1] != 0:
        raise LinkRefused(Refusal.NOT_REGISTERED, f"cannot find node {short_name}: epmd does not know it")
    try:
        port, _, protocol, highest, _, size = _PORT2.unpack_from(data, 2)
    except struct.error as error:
        raise _garbage(short_name) from error
    start = 2 + _PORT2.size
    if data[start : start + size] != short_name.encode() or port == 0 or protocol != _TCP:
        raise _garbage(short_name)
    if highest < _VERSION:
        text = f"cannot speak to {short_name}: its protocol is version {highest}; OTP 23 and later speak {_VERSION}"
        raise LinkRefused(Refusal.PROTOCOL, text)
    return int(port)


def names_request() -> bytes:
    """NAMES_REQ."""
    return struct.pack(">HB", 1, _NAMES_REQ)


def names_answer(data: bytes) -> dict[str, int]:
    """The ports by short name in a whole NAMES_RESP. LinkRefused (protocol)."""
    lines = data[4:].decode(errors="replace").splitlines()
    found = [re.fullmatch(r"name (\S+) at port (\d{1,5})", line) for line in lines]
    if len(data) < 4 or not all(found):
        raise LinkRefused(Refusal.PROTOCOL, "cannot list nodes: what answers is not an epmd")
    return {match[1]: int(match[2]) for match in found if match}


async def port_of(short_name: str, host: str, port: int, timeout: float) -> int:
    """The port of a node, asked of the epmd at host:port within `timeout` seconds. LinkRefused."""
    return port_answer(await _ask(port_request(short_name), host, port, timeout), short_name)


async def names(host: str, port: int, timeout: float) -> dict[str, int]:
    """The ports of all nodes that the epmd at host:port knows. LinkRefused."""
    return names_answer(await _ask(names_request(), host, port, timeout))


async def _ask(request: bytes, host: str, port: int, timeout: float) -> bytes:
    """All that epmd answers: it closes after each answer."""
    where = f"epmd at {host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                return await _read_all(reader, where)
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise LinkRefused(Refusal.NO_ANSWER, f"cannot ask {where}: no answer within {timeout:g} s") from error
    except ConnectionRefusedError as error:
        raise LinkRefused(Refusal.EPMD_DOWN, f"cannot ask {where}: nobody listens there") from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise LinkRefused(Refusal.NO_ANSWER, f"cannot ask {where}: {why.lower()}") from error


async def _read_all(reader: asyncio.StreamReader, where: str) -> bytes:
    data = b""
    while chunk := await reader.read(1 << 16):
        data += chunk
        if len(data) > MAX_ANSWER:
            raise LinkRefused(Refusal.PROTOCOL, f"cannot ask {where}: its answer is longer than {MAX_ANSWER} bytes")
    return data


def _garbage(short_name: str) -> LinkRefused:
    return LinkRefused(Refusal.PROTOCOL, f"cannot find node {short_name}: what answers is not an epmd")
