"""Which ports a process listens on, as the kernel tells it."""

from __future__ import annotations

import os
import socket

from relctld.host.listening import Listener, listeners


def test_listening_sockets_of_both_families() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.create_connection(four.getsockname()) as connected,
    ):
        port, found = four.getsockname()[1], listeners(os.getpid())
        assert Listener(socket.AF_INET, "127.0.0.1", port) in found
        assert Listener(socket.AF_INET6, "::1", six.getsockname()[1]) in found
        assert connected.getsockname()[1] not in [listener.port for listener in found]
    assert port not in [listener.port for listener in listeners(os.getpid())]


def test_a_process_that_is_gone_listens_nowhere() -> None:
    assert listeners(2**22 + 1) == []
