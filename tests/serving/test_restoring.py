"""Going back to an index in which pages were everyone's that are restricted by now."""

from pathlib import Path

import pytest

from pipelines import files
from pipelines.contracts.documents import DOCUMENTS
from pipelines.errors import UserError
from pipelines.serving import restoring
from pipelines.vectorstore import build_index
from tests.corpus.test_catalogue import document
from tests.vectorstore.conftest import write_source


def test_pages_are_not_published_again_by_going_back(serving: Path, tmp_path: Path) -> None:
    source = write_source(tmp_path, {"pay": [1.0, 0.0, 0.0], "gate": [0.0, 1.0, 0.0]})
    collection = build_index(*source, keep=1, sample=2, hybrid_alpha=0.7).collection
    restoring.demand_unpublished(collection)
    rows = [document("book/gate.md", []), document("book/pay.md", [], ["hr"])]
    files.write(restoring.DOCUMENTS, DOCUMENTS, rows)
    with pytest.raises(UserError, match=r"restricted by now \(1, such as book/pay\.md\)"):
        restoring.demand_unpublished(collection)
    files.write(restoring.DOCUMENTS, DOCUMENTS, rows[:1])
    restoring.demand_unpublished(collection)
