"""What a successor knows of requests."""

from typing import Any

import pytest

from relctld.control.operations import REMEMBER, Key, Operation, Operations

ANN = Key(1000, "a" * 32)


def began(table: Operations, op: str, args: dict[str, Any], id: str = ANN.id) -> Key:
    key = Key(ANN.uid, id)
    table.begin(key, Operation(op, args, 10.0))
    return key


def successor(table: Operations) -> tuple[Operations, list[tuple[Key, Operation]]]:
    new = Operations()
    return new, list(new.take_over(table.to_keep()))


def test_what_was_answered_is_answered_alike() -> None:
    table = Operations()
    key = began(table, "restart", {"names": ["web"]})
    table.end(key, b'{"ok": true}', 11.0, remember=True)
    new, under_way = successor(table)
    found = new.get(key)
    assert found is not None
    assert (found.reply, found.since, under_way) == (b'{"ok": true}', 11.0, [])


def test_what_is_under_way_goes_on() -> None:
    table = Operations()
    key = began(table, "restart", {"names": ["web"]})
    new, [(found, operation)] = successor(table)
    assert (found, operation.op, operation.args) == (key, "restart", {"names": ["web"]})
    assert new.get(key) is operation


@pytest.mark.parametrize("op", ["status", "logs", "reload", "remote"])
def test_what_a_repeat_does_no_harm_to_is_not_kept(op: str) -> None:
    table = Operations()
    began(table, op, {})
    assert table.to_keep() == []


def test_the_text_of_an_eval_is_not_written_down() -> None:
    table = Operations()
    began(table, "eval", {"text": "secret()."})
    [(_, operation)] = successor(table)[1]
    assert (operation.op, operation.args) == ("eval", {})


@pytest.mark.parametrize(
    "body", [None, 3, {}, {"uid": "x"}, {"uid": 1, "id": "a", "op": "stop", "since": "now", "args": {}}]
)
def test_what_is_damaged_counts_as_absent(body: object) -> None:
    assert list(Operations().take_over([body])) == []


def test_replies_are_forgotten_in_time_and_what_is_under_way_never() -> None:
    table = Operations()
    waiting = began(table, "stop", {}, "w" * 32)
    old = began(table, "start", {}, "o" * 32)
    table.end(old, b"{}", 20.0, remember=True)
    new = began(table, "start", {}, "n" * 32)
    table.end(new, b"{}", 20.0 + REMEMBER + 1, remember=True)
    assert table.get(old) is None
    assert table.get(new) is not None
    assert table.get(waiting) is not None
