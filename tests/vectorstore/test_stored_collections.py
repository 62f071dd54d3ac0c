from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.vectorstore import open_client, stored_collections


def test_a_collection_that_another_build_took_meanwhile_is_not_called_finished(
    serving: Path,
) -> None:
    our_digest = "d" * 64
    their_digest = "e" * 64
    with open_client() as client:
        name = stored_collections.create(client, num_objects=3)
        our_mark = stored_collections.claim(client, name)
        their_mark = stored_collections.claim(client, name)
        with pytest.raises(UserError, match="another build writes to Weaviate at the same time"):
            stored_collections.finish(client, name, our_mark, our_digest)
        stored_collections.finish(client, name, their_mark, their_digest)
        newest = stored_collections.list_stored(client)[-1]
        assert stored_collections.find_content(client, our_digest) is None
        assert stored_collections.find_content(client, their_digest) == newest
        client.collections.delete(name)
