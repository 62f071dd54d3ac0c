"""Which instructions the libraries of a process may use."""

import os

import pytest

from pipelines.runtime import unit_vectors

NAME = "ONEDNN_MAX_CPU_ISA"


def test_what_is_loaded_in_the_block_is_not_limited_and_what_comes_after_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(NAME)
    unit_vectors.fix_instructions()
    limit = os.environ[NAME]
    with unit_vectors.all_instructions():
        assert NAME not in os.environ
    assert os.environ[NAME] == limit


def test_a_limit_that_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "AVX2")
    unit_vectors.fix_instructions()
    with unit_vectors.all_instructions():
        assert os.environ[NAME] == "AVX2"
    assert os.environ[NAME] == "AVX2"
