"""Vector store: the encoder, Weaviate, and the knowledge index that they make of chunks.

The door is what this file exports; nobody imports the modules behind it. Another vector store
needs its own building.py, search.py, aliases.py and weaviate_client.py here, and inside Triton
runtime/passage_search.py. Encoding and retrieval stay; what else is here serves those four alone.
The room may import runtime, system, files, contracts and errors. Only it imports `weaviate`.
"""

from pipelines.vectorstore.aliases import (
    AliasReader,
    AliasState,
    alias_state,
    move_alias_back,
    point_alias,
    remove_alias,
    withhold_alias,
)
from pipelines.vectorstore.building import build_index, index_problem, open_index
from pipelines.vectorstore.encoding import (
    Encoder,
    Vectors,
    engine_files,
    load_encoder,
    load_tokenizer,
    locate_encoder,
    max_encoder_tokens,
    resolve_engine,
    resolve_precision,
)
from pipelines.vectorstore.retrieval import Retriever, open_retriever
from pipelines.vectorstore.search import (
    Index,
    Passage,
    Passages,
    find_passages,
    published_pages,
    remove_passages,
)
from pipelines.vectorstore.weaviate_client import open_client, revive_server, server_address
from pipelines.vectorstore.weaviate_server import hold_server

__all__ = [
    "AliasReader",
    "AliasState",
    "Encoder",
    "Index",
    "Passage",
    "Passages",
    "Retriever",
    "Vectors",
    "alias_state",
    "build_index",
    "engine_files",
    "find_passages",
    "hold_server",
    "index_problem",
    "load_encoder",
    "load_tokenizer",
    "locate_encoder",
    "max_encoder_tokens",
    "move_alias_back",
    "open_client",
    "open_index",
    "open_retriever",
    "point_alias",
    "published_pages",
    "remove_alias",
    "remove_passages",
    "resolve_engine",
    "resolve_precision",
    "revive_server",
    "server_address",
    "withhold_alias",
]
