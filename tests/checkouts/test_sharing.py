import pytest

from pipelines.checkouts.sharing import merged
from pipelines.errors import UserError


def test_each_stage_of_dvc_lock_comes_from_the_machine_that_ran_it() -> None:
    ancestor, ours, theirs = {"ingest": 1, "chunk": 1}, {"ingest": 1, "chunk": 2, "embed": 3}, {"ingest": 1, "chunk": 1, "base": 4}

    assert merged(ancestor, ours, theirs) == {"ingest": 1, "chunk": 2, "embed": 3, "base": 4}


def test_the_same_result_on_both_sides_is_no_conflict() -> None:
    assert merged({}, {"ingest": 1}, {"ingest": 1}) == {"ingest": 1}


def test_two_results_of_one_stage_are_refused() -> None:
    with pytest.raises(UserError, match=r"dvc.lock: stage ingest was run on two machines with different results"):
        merged({"ingest": 1}, {"ingest": 2}, {"ingest": 3})
