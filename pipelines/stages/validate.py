"""validate: Great Expectations over documents -> a report that chunk and base obey, and HTML data docs.

A bad result does not fail this stage: its evidence must be recorded. The stages that it would harm refuse to start.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import champions, files
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.champion import Champion
from pipelines.contracts.documents import DOCUMENTS
from pipelines.quality import Promise, examine


def run(config: ValidateConfig, documents: Path, champion: Path, validation: Path, validation_docs: Path) -> None:
    """Check every promise of params.yaml's `validate` section over all documents."""
    table = pd.DataFrame(_described(documents))
    report = examine(table, promises(config, champions.read(champion)), "documents", docs=validation_docs)
    files.write_json(validation, report)
    print(f"{len(table)} documents: {report.reason}")


def _described(documents: Path) -> Iterator[dict[str, Any]]:
    from py3langid.langid import classify

    for row in files.read(documents, DOCUMENTS):
        described = {key: row[key] for key in ("doc_id", "uri", "title", "digest", "media_type")}
        # The first 4,000 characters decide the language: more changes nothing and costs time.
        yield described | {"characters": len(row["text"].strip()), "language": classify(row["text"][:4000])[0]}


def promises(config: ValidateConfig, champion: Champion | None) -> list[Promise]:
    """What documents must be like; the number of documents is held against the champion, once there is one."""
    fewest, most = config.min_documents, None
    if champion:
        before, change = champion.num_documents, config.max_volume_change_share
        fewest, most = max(fewest, round(before * (1 - change))), round(before * (1 + change))
    unique, filled, between, member = "ExpectColumnValuesToBeUnique", "ExpectColumnValuesToNotBeNull", "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"
    return [
        Promise("number of documents", "ExpectTableRowCountToBeBetween", {"min_value": fewest, "max_value": most}),
        Promise("ids are unique", unique, {"column": "doc_id"}),
        Promise("uris are unique", unique, {"column": "uri"}),
        Promise("text is not empty", "ExpectColumnMinToBeBetween", {"column": "characters", "min_value": 1}),
        Promise("length in characters", between, {"column": "characters", "min_value": config.min_characters, "max_value": config.max_characters}),
        Promise("language", member, {"column": "language", "value_set": config.languages}, config.min_language_share),
        Promise("no duplicate text", unique, {"column": "digest"}, 1 - config.max_duplicate_share),
        Promise("has a title", filled, {"column": "title"}, 1 - config.max_untitled_share),
        Promise("media type", member, {"column": "media_type", "value_set": config.media_types}),
    ]
