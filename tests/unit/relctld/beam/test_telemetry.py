"""What the answers of a node mean, whatever they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relctld.beam.kept import packed, unpacked
from relctld.beam.running import Listed
from relctld.beam.slowlane import (
    MOST_ALARMS,
    MOST_APPLICATIONS,
    MOST_RELEASES,
    SLOW,
    Application,
    Installed,
    Slow,
    decode_slow,
)
from relctld.beam.telemetry import MOST_NODES, Sample, batch, beam_object, decode_batch, reading
from relctld.beam.term.etf import decode, encode
from relctld.beam.term.terms import Atom, Export, Pid, Term
from relctld.core.thresholds import Reading, Use
from tests.terms import TERMS

BOOT = Pid(Atom("n@h"), 44, 0, 7)
TOLD: dict[str, Any] = {
    "memory": [(Atom(kind), size) for kind, size in zip(
        ["total", "processes", "processes_used", "system", "atom", "atom_used", "binary", "code", "ets"],
        [100, 40, 39, 60, 5, 4, 6, 30, 7], strict=True,
    )],
    "run_queue": 3,
    "process_count": 50,
    "process_limit": 1000,
    "port_count": 4,
    "port_limit": 65536,
    "atom_count": 9000,
    "atom_limit": 1048576,
    "ets_count": 20,
    "ets_limit": 8192,
    "schedulers": 2,
    "otp": [50, 53],
    "erts": [49, 51, 46, 49],
    "creation": 17,
    "os_pid": [49, 50, 51],
    "boot": BOOT,
    "reductions": (5000, 12),
    "runtime": (2000, 13),
    "wall_clock": (10_000, 14),
    "io": ((Atom("input"), 26), (Atom("output"), 129)),
    "nodes": [Atom("b@h")],
    "hidden_nodes": [Atom("relctld@h"), Atom("rem@h")],
}  # fmt: skip


def answer(**changed: Any) -> list[Any]:
    return list((TOLD | changed).values())


def sample(before: Sample | None = None, at: float = 1.0, **changed: Any) -> Sample:
    return decode_batch(answer(**changed), before, at)


def test_the_batch_is_one_isolated_call_that_can_be_sent() -> None:
    module, function, args = batch("web@127.0.0.1")
    assert (module, function) == ("lists", "zipwith3")
    assert decode(encode(args)) == args
    apply, rpc, call, calls = args
    assert apply == Export(Atom("erlang"), Atom("apply"), 3)
    assert set(rpc) == {Atom("rpc")}  # type: ignore[arg-type]
    assert set(call) == {Atom("call")}  # type: ignore[arg-type]
    assert isinstance(calls, list)
    assert len(calls) == len(TOLD)
    assert calls[0] == [Atom("web@127.0.0.1"), Atom("erlang"), Atom("memory"), []]


def test_all_values() -> None:
    assert sample() == Sample(
        at=1.0, otp="25", erts="13.1", creation=17, os_pid=123, boot=BOOT, schedulers=2, run_queue=3,
        memory={"total": 100, "processes": 40, "atom": 5, "binary": 6, "code": 30, "ets": 7, "system": 60},
        processes=Use(50, 1000), ports=Use(4, 65536), atoms=Use(9000, 1048576), ets=Use(20, 8192),
        reductions=5000, runtime_ms=2000, wall_ms=10_000, io_in=26, io_out=129, nodes=("b@h",),
        hidden_nodes=("relctld@h", "rem@h"), reductions_per_s=None, scheduler_use=None,
    )  # fmt: skip


def test_rates_are_by_the_clock_of_the_node() -> None:
    later = sample(sample(), 99.0, reductions=(15_000, 0), runtime=(5000, 0), wall_clock=(15_000, 0))
    assert later.reductions_per_s == 2000.0
    assert later.scheduler_use == 0.3


@pytest.mark.parametrize(
    "changed",
    [
        {"os_pid": [49]},
        {"wall_clock": (10_000, 0)},
        {"wall_clock": (9_000, 0)},
        {"wall_clock": Atom("undefined")},
        {"wall_clock": (15_000, 0), "reductions": (1, 0), "runtime": (1, 0)},
        {"wall_clock": (15_000, 0), "reductions": Atom("no"), "runtime": Atom("no")},
    ],
)
def test_there_are_no_rates_across_two_vms_or_without_two_numbers(changed: dict[str, Any]) -> None:
    later = sample(sample(), **changed)
    assert (later.reductions_per_s, later.scheduler_use) == (None, None)


def test_without_schedulers_there_is_no_use_of_them() -> None:
    later = sample(sample(), wall_clock=(15_000, 0), schedulers=0)
    assert (later.reductions_per_s, later.scheduler_use) == (0.0, None)


@pytest.mark.parametrize("key", TOLD)
def test_an_item_that_failed_costs_itself_only(key: str) -> None:
    failed: Any = (Atom("badrpc"), (Atom("EXIT"), (Atom("badarg"), [])))
    changed: dict[str, Any] = {key: failed}
    whole, broken = beam_object(sample(), None, 0), beam_object(sample(**changed), None, 0)
    fields = {"process": "processes", "port": "ports", "atom": "atoms", "ets": "ets"}
    field = fields.get(key.partition("_")[0], {"wall_clock": "uptime_s"}.get(key, key))
    assert {name for name in whole if whole[name] != broken[name]} <= {field}
    if key not in ("os_pid", "boot", "runtime"):
        assert whole[field] != broken[field]


@pytest.mark.parametrize("term", [[], (Atom("badrpc"), Atom("nodedown")), Atom("ok"), [1], answer()[1:]])
def test_an_answer_that_is_none_is_a_sample_that_knows_nothing(term: Term) -> None:
    assert decode_batch(term, None, 5.0) == Sample(at=5.0)


def test_a_sample_is_kept_as_a_few_bytes() -> None:
    later = sample(sample(), 99.0, reductions=(1 << 60, 0), wall_clock=(15_000, 0))
    assert unpacked(packed(later)) == later
    assert len(packed(later)) < 300


@given(TERMS, TERMS)
def test_any_answer_is_a_sample(first: Term, second: Term) -> None:
    json.dumps(beam_object(decode_batch(second, decode_batch(first, None, 0.0), 1.0), None, 1.0))


@settings(suppress_health_check=[HealthCheck.too_slow])  # two dozen terms each
@given(st.lists(st.one_of(TERMS, st.sampled_from(answer())), min_size=len(TOLD), max_size=len(TOLD)))
def test_any_items_are_a_sample(items: list[Term]) -> None:
    later = decode_batch(items, sample(), 2.0)
    json.dumps(beam_object(later, None, 1.0)).encode()
    reading(later)
    assert unpacked(packed(later)) == later


@given(st.dictionaries(st.sampled_from(list(SLOW)), TERMS), st.lists(TERMS))
def test_any_slow_answers_can_be_shown(answers: dict[str, Term], items: list[Term]) -> None:
    decode_slow(answers).version(None)
    decode_slow(dict.fromkeys(SLOW, items)).version("1")
    json.dumps(beam_object(sample(), decode_slow(answers), 1.0), ensure_ascii=False).encode()
    json.dumps(beam_object(sample(), decode_slow(dict.fromkeys(SLOW, items)), 1.0), ensure_ascii=False).encode()


def test_slow_answers() -> None:
    slow = decode_slow({
        "applications": [(Atom("kernel"), [69], [56, 46, 53]), 7, (Atom("app"), b"x", b"1")],
        "alarms": [(Atom("disk"), [b"/"]), Atom("odd")],
        "releases": [([119], [49], [[107]], Atom("permanent")), ([], b"2", [], Atom("old")), (1, 2), ([], [], [], 1)],
        "booted": ([119], [49]),
    })  # fmt: skip
    assert slow == Slow(
        (Application("kernel", "8.5"), Application("app", "1")),
        ('{disk,[<<"/">>]}', "odd"),
        (Installed("w", "1", "permanent"), Installed(None, "2", "old")),
        "1",
        (Listed("1", "permanent", frozenset({"k"})), Listed("2", "old", frozenset())),
    )
    assert slow.version("2") == "1"


def test_an_alarm_handler_of_its_own_is_not_known() -> None:
    assert decode_slow({"alarms": (Atom("error"), Atom("bad_module"))}) == Slow()


def test_the_object() -> None:
    slow = Slow((Application("kernel", "8.5"),), (), (Installed("web", "1.2", "permanent"),))
    later = sample(sample(), reductions=(15_000, 0), runtime=(5000, 0), wall_clock=(15_000, 0))
    assert beam_object(later, slow, 2.345, ["atoms"]) == {
        "otp": "25", "erts": "13.1", "creation": 17, "uptime_s": 15.0,
        "memory": {"total": 100, "processes": 40, "atom": 5, "binary": 6, "code": 30, "ets": 7, "system": 60},
        "run_queue": 3, "schedulers": 2, "scheduler_use": 0.3, "reductions": 15_000, "reductions_per_s": 2000.0,
        "processes": {"count": 50, "limit": 1000}, "ports": {"count": 4, "limit": 65536},
        "atoms": {"count": 9000, "limit": 1048576}, "ets": {"count": 20, "limit": 8192},
        "io": {"in": 26, "out": 129}, "nodes": ["b@h"], "hidden_nodes": ["relctld@h", "rem@h"],
        "applications": [{"name": "kernel", "version": "8.5"}], "alarms": [],
        "releases": [{"name": "web", "version": "1.2", "status": "permanent"}],
        "thresholds": ["atoms"], "age_s": 2.3,
    }  # fmt: skip


def test_a_node_cannot_fill_the_object() -> None:
    many = [Atom("n" * 255)] * 100_000
    huge = sample(nodes=many, hidden_nodes=many, erts=[97] * 100_000, run_queue=1 << 9999)
    slow = decode_slow({
        "applications": [(Atom("a" * 255), [], [97] * 9999)] * 9999,
        "alarms": [(Atom("a"), [[97] * 9999])] * 9999,
        "releases": [([97] * 9999, [97] * 9999, [], Atom("a" * 255))] * 9999,
    })  # fmt: skip
    shown = beam_object(huge, slow, 0)
    sizes = [len(shown[key]) for key in ("nodes", "hidden_nodes", "applications", "alarms", "releases")]
    assert sizes == [MOST_NODES, MOST_NODES, MOST_APPLICATIONS, MOST_ALARMS, MOST_RELEASES]
    assert shown["run_queue"] is None
    assert len(json.dumps(shown)) < 350_000


def test_the_reading() -> None:
    use = Use(50, 1000), Use(4, 65536), Use(9000, 1048576), Use(20, 8192)
    assert reading(sample()) == Reading(*use, run_queue=3, schedulers=2, memory=100)
    assert reading(Sample(at=0.0)) == Reading()
