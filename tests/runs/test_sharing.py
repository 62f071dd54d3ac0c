import pytest

from pipelines.errors import UserError
from pipelines.runs.sharing import merge_stages


def test_each_stage_of_dvc_lock_comes_from_the_machine_that_ran_it() -> None:
    ancestor = {"ingest": 1, "chunk": 1}
    ours = {"ingest": 1, "chunk": 2, "embed": 3}
    theirs = {"ingest": 1, "chunk": 1, "base": 4}

    stages = merge_stages(ancestor, ours, theirs)

    assert stages == {"ingest": 1, "chunk": 2, "embed": 3, "base": 4}


def test_the_same_result_on_both_sides_is_no_conflict() -> None:
    assert merge_stages({}, {"ingest": 1}, {"ingest": 1}) == {"ingest": 1}


def test_two_results_of_one_stage_are_refused() -> None:
    message = r"dvc.lock: stage ingest was run on two machines with different results"

    with pytest.raises(UserError, match=message):
        merge_stages({"ingest": 1}, {"ingest": 2}, {"ingest": 3})
