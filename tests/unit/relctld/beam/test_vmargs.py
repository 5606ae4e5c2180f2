from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relctld.beam.vmargs import Distribution, assignment, distribution, expand, full_name, read_flags, split_flags

HOST = os.uname().nodename.split(".")[0]


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain", "plain"), ("$A-${A}", "a-a"), ("${B:-b}", "b"), ("${A:-b}", "a"), ("${B:-${C:-c}}", "c"),
        ("${B}", ""), ("$(hostname -f)", "$(hostname -f)"), ("x@${B:-127.0.0.1}", "x@127.0.0.1"), ("${B:-}", ""),
    ],
)  # fmt: skip
def test_expand(text: str, expanded: str) -> None:
    assert expand(text, {"A": "a"}) == expanded


def test_a_variable_that_names_itself_ends() -> None:
    assert "$" in expand("${A}", {"A": "${A}"})


@given(st.text(alphabet="${}:-AB ()`\"'#\n"))
def test_no_text_surprises(text: str) -> None:
    expand(text, {"A": "$B"})
    distribution(split_flags(text, {}))
    assignment(f"export N={text}", "N", {}, "n")


@pytest.mark.parametrize(
    ("flags", "node", "needed"),
    [
        ("-name web@10.0.0.1 -setcookie x", "web@10.0.0.1", True),
        ("-sname web", f"web@{HOST}", True),
        ("-name web", None, True),
        ("-sname undefined", None, True),
        ("-name web@$(hostname -f)", None, True),
        ("+P 1000000", None, False),
        ("-name web@h -start_epmd false", "web@h", False),
        ("-name web@h -dist_listen false", "web@h", False),
        ("-name web@h -epmd_module my_epmd", "web@h", False),
        ("-name web@h -kernel start_epmd false", "web@h", True),
    ],
)
def test_distribution(flags: str, node: str | None, needed: bool) -> None:
    assert distribution(split_flags(flags, {})) == Distribution(node, needed)


def test_comments_quotes_and_files_within_files(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("-start_epmd false\n-args_file vm.args\n")
    (tmp_path / "vm.args").write_text(
        "## -name no@no\n-name 'web@h' # yes\r\n-args_file more\n-env A \"b c\"\n-x a#b\n"
    )
    flags = read_flags(tmp_path / "vm.args", {})
    assert flags[:7] == ["-name", "web@h", "-args_file", "more", "-env", "A", "b c"]
    assert "a#b" in flags
    assert distribution(flags) == Distribution("web@h", epmd_needed=False)
    assert read_flags(tmp_path / "none", {}) == []


@pytest.mark.parametrize(
    ("script", "value"),
    [
        ("#!/bin/sh\n# export NODE=x\n", "default"),
        ("NODE=web@h\n", "web@h"),
        ('export NODE="web@${IP:-10.0.0.1}"  # here\n', "web@10.0.0.1"),
        ("export NODE=web@$HOST\n", "web@box"),
        ("export NODE=web@$(hostname -f)\n", None),
        ("if true; then\n  export NODE=a\nfi\n", None),
        ("NODE=a\nNODE=b\n", None),
        ("NODE=a; export NODE\n", None),
        ("NODE='a\n", None),
    ],
)
def test_assignment(script: str, value: str | None) -> None:
    assert assignment(script, "NODE", {"HOST": "box"}, "default") == value


def test_env_wins_over_the_default_only() -> None:
    assert assignment("", "NODE", {"NODE": "mine"}, "default") == "mine"
    assert assignment("NODE=theirs", "NODE", {"NODE": "mine"}, "default") == "theirs"
    assert assignment('NODE="${NODE:-theirs}"', "NODE", {"NODE": "mine"}, "default") == "mine"


@pytest.mark.parametrize("name", ["", "a@b@c", "a b", "$X", "`id`", "@h"])
def test_no_name(name: str) -> None:
    assert full_name(name, short=True) is None
