"""The pages made from the core are what the core does."""

from __future__ import annotations

import pytest

from tests.states_doc import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_does(name: str) -> None:
    written = (DOCS / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), f"docs/{name} is old: run `python -m tests.states_doc`"
