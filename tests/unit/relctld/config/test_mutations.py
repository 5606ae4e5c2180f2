"""Whatever becomes of a good config, it is a Config or a ConfigError, and soon."""

import time
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relctld.config import ConfigError
from relctld.config.load import assemble
from relctld.config.settings import Config, Source
from tests.unit.relctld.config.building import ENVIRON
from tests.unit.relctld.config.test_schema import DEFAULTS, OPTIONAL

TEXTS = st.sampled_from([DEFAULTS, OPTIONAL])
JUNK = st.text(st.sampled_from("[]{}\"'=,.#\\\n 0aexr_-") | st.characters(exclude_categories=["Cs"]), max_size=12)
KNOWN = [key for text in (DEFAULTS, OPTIONAL) for key in tomli.loads(text)["release"]["web"]]
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(["off", "5s", "/a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=4,
)


def judged(text: str) -> Config | ConfigError:
    problems: tuple[str, ...] = ()
    result: Config | ConfigError
    try:
        result = assemble((Source(Path("/etc/relctld.toml"), text),), uid=0, environ=ENVIRON)
    except ConfigError as error:
        result, problems = error, error.problems
    assert isinstance(result, Config) or problems
    assert all(problem.isprintable() for problem in problems)
    assert all(problem.startswith("cannot use /etc/relctld.toml: ") for problem in problems)
    return result


def shown(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
        case list():
            return f"[{', '.join(map(shown, value))}]"
        case dict():
            return f"{{ {', '.join(f'{shown(key)} = {shown(item)}' for key, item in value.items())} }}"
    return str(value)


@given(TEXTS, st.data())
@settings(deadline=5000, suppress_health_check=[HealthCheck.too_slow])
def test_junk_in_a_good_config(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 9))
        text = text[:at] + data.draw(JUNK) + text[at + gone :]
    judged(text)


@given(st.sampled_from(KNOWN), VALUES)
@settings(deadline=5000)
def test_any_value_under_any_key(key: str, value: Any) -> None:
    root = "" if key == "root" else 'root = "/opt"\n'
    judged(f"[release.web]\n{root}{key} = {shown(value)}")


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"key{n} = 1\n" for n in range(60_000)),
        "[release.web]\n" + "".join(f"intervaI{n} = 1\n" for n in range(50_000)),
        "".join(f"[release.r{n}]\n" for n in range(40_000)),
        "x" * (1 << 20),
        f'[release.web]\n"{"x" * 1_000_000}" = 1',
        f'[release.web]\nready = "exec:{"x " * 400_000}"',
        f'[release.web]\nperiod = "{"9" * 1_000_000}s"',
        f"[release.web]\nintensity = {'9' * 1_000_000}",
        f"[release.web]\nintensity = 0x{'f' * 1_000_000}",
        f"a = {'[' * 500_000}",
        f"{'a.' * 300_000}b = 1",
    ],
    ids=["keys", "near", "releases", "word", "key", "exec", "digits", "integer", "hex", "deep", "dotted"],
)
def test_a_large_file_of_nonsense_is_refused_soon(text: str) -> None:
    start = time.process_time()
    assert isinstance(judged(text), ConfigError)
    assert time.process_time() - start < 20
