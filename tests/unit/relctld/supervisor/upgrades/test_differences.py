"""Two configurations side by side: what differs is told, secrets are not."""

from __future__ import annotations

import pytest
from hypothesis import given

from relctld.beam.term.written import written
from relctld.supervisor.upgrades.configuring import ConfiguringError
from relctld.supervisor.upgrades.differences import differences
from tests.terms import TERMS

HIDDEN = "hunter2"


def test_what_came_went_and_changed_by_application_and_key() -> None:
    before = b"[{web, [{limit, 10}, {same, x}, {gone, true}]}, {kernel, []}]."
    after = b'[{web, [{same, x}, {limit, 20}, {new, "text"}]}, {jobs, [{on, true}]}].'
    assert [tuple(each.values()) for each in differences(before, after)] == [
        ("jobs", "on", None, "true"),
        ("web", "gone", "true", None),
        ("web", "limit", "10", "20"),
        ("web", "new", None, '"text"'),
    ]
    assert differences(after, after) == []


@pytest.mark.parametrize(
    "value",
    [
        '[{password, "hunter2"}]',
        '[{"password", "hunter2"}]',
        '[{<<"PGPASSWORD">>, <<"hunter2">>}]',
        '#{user => "joe", api_token => <<"hunter2">>}',
        '#{"secret" => "hunter2"}',
        '[{pool, [{opts, #{ssl => [{keyfile_password, "hunter2"}]}}]}]',
        '{basic_auth, "joe", "hunter2"}',
        '[{a, 1} | {token, "hunter2"}]',
        '"ecto://joe:hunter2@db/web"',
        '<<"postgres://joe:hun/hunter2@db:5432/web?ssl=true">>',
        '[{url, <<"amqp://joe:hunter2@mq">>}]',
        '"host=db user=joe password=hunter2"',
        '{a, {b, {c, {d, {e, {f, {g, {h, {password, "hunter2"}}}}}}}}}',
        '"ecto://joe:' + 150 * "x" + 'hunter2@db"',
    ],
)
def test_no_secret_is_shown_at_any_depth(value: str) -> None:
    [found] = differences(b"[{web, []}].", f"[{{web, [{{repo, {value}}}]}}].".encode())
    assert HIDDEN not in str(found)
    assert "***" in str(found) or "..." in str(found)


def test_a_key_that_sounds_secret_hides_all_of_its_value() -> None:
    [found] = differences(b'[{web, [{secret_key_base, "a"}]}].', b'[{web, [{secret_key_base, "hunter2"}]}].')
    assert (found["before"], found["after"]) == ("***", "***")


def test_the_rest_of_a_value_with_a_secret_is_shown() -> None:
    [found] = differences(b"[{web, []}].", b'[{web, [{repo, [{url, "ecto://joe:x@db/web"}, {pool, 5}]}]}].')
    assert found["after"] == '[{url,"ecto://***@db/web"},{pool,5}]'


def test_a_long_value_is_cut() -> None:
    [found] = differences(b"[{web, []}].", f'[{{web, [{{text, "{"x" * 5000}"}}]}}].'.encode())
    assert found["after"] == '"' + "x" * 198 + "…"


def test_what_elixir_notes_for_its_own_boot_is_no_difference() -> None:
    after = b"[{elixir, [{config_provider_init, #{}}]}, {web, [{limit, 1}]}]."
    assert [each["key"] for each in differences(b"[].", after)] == ["limit"]


@pytest.mark.parametrize("text", [b"[", b"", b"a. b.", b"\xff\xff"])
def test_what_is_no_term_is_said(text: bytes) -> None:
    with pytest.raises(ConfiguringError, match="is no Erlang term"):
        differences(b"[].", text)


@given(TERMS)
def test_any_value_is_text_within_bounds(term: object) -> None:
    try:
        data = f"[{{web, [{{value, {written(term)}}}]}}].".encode()
    except ValueError:
        return  # a pid, a function: no file can hold it
    for found in differences(b"[].", data):
        assert len(str(found["after"])) <= 200
