"""Runs work in this process, or with Ray Data on the nodes of a Ray cluster.

RAY_ADDRESS names the cluster; without it Ray starts on this machine. Work is a function from a
list of inputs to a list of results, made once in each process by a `make` that can be pickled.
Both engines call it with the same lists, so the results are the same.
"""

import importlib.util
import os
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.config.engine import EngineConfig
from pipelines.errors import Unreachable, UserError

if TYPE_CHECKING:
    import ray

CONNECT_SECONDS = 20
LOCAL = EngineConfig(kind="local")
PACKAGE = Path(__file__).parents[1]  # the code that a cluster's workers import
Work = Callable[[list[Any]], list[Any]]
Make = Callable[[], Work]


def work(
    engine: EngineConfig, make: Make, inputs: Iterable[Any], inputs_a_call: int
) -> Iterator[Any]:
    """The results of all inputs, in any order. Without inputs, `make` is not called.

    Raises UserError or Unreachable if Ray cannot be used.
    """
    lists = _lists(inputs, inputs_a_call)
    first = next(lists, None)
    if first is None:
        return
    if engine.kind == "ray":
        yield from _work_on_ray(make, first, lists)
        return
    function = make()
    yield from function(first)
    for inputs_of_call in lists:
        yield from function(inputs_of_call)


def _lists(inputs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    queue = iter(inputs)
    while values := list(islice(queue, size)):
        yield values


def _work_on_ray(make: Make, first: list[Any], lists: Iterator[list[Any]]) -> Iterator[Any]:
    """One actor for each CPU works on a list at a time.

    Inputs wait in Ray's object store, which spills to disk if memory is short.
    """
    with _connect() as ray_module:
        blocks = [ray_module.put(_pack([first]))]
        for values in lists:
            blocks.append(ray_module.put(_pack([values])))
        num_cpus = int(ray_module.cluster_resources().get("CPU", 1))
        num_actors = max(1, min(len(blocks), num_cpus))
        results = ray_module.data.from_arrow_refs(blocks).map_batches(
            Worker,
            fn_constructor_args=[make],
            batch_size=None,
            batch_format="pyarrow",
            compute=ray_module.data.ActorPoolStrategy(size=num_actors),
            num_cpus=1,
        )
        for block in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            for values in _unpack(block):
                yield from values


def _pack(lists: list[list[Any]]) -> pa.Table:
    """A block with a row for each list."""
    contents = [pickle.dumps(values) for values in lists]
    return pa.table({"lists": pa.array(contents, pa.large_binary())})


def _unpack(block: pa.Table) -> list[list[Any]]:
    contents = block.column("lists").to_pylist()
    return [pickle.loads(content) for content in contents]  # noqa: S301 (made by _pack)


class Worker:
    """An actor of Ray Data. It holds the function that `make` returns, with its loaded model."""

    def __init__(self, make: Make):
        self._function = make()

    def __call__(self, block: pa.Table) -> pa.Table:
        return _pack([self._function(values) for values in _unpack(block)])


@contextmanager
def _connect() -> "Iterator[ray]":
    """Ray's module, connected to a cluster whose workers import this code.

    Raises UserError if Ray is not installed and Unreachable if it does not answer.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "params.yaml: engine.kind: ray needs the package ray, which is not installed: "
            "`make setup` installs it; or set it to local"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray reports usage statistics
    import ray
    import ray.data

    address = os.environ.get("RAY_ADDRESS")
    try:
        _start_ray(address)
    except (OSError, ValueError, RuntimeError) as error:
        raise Unreachable(
            f"Ray at {address or 'this machine'} cannot be used: {error}\n"
            "Remedy: check RAY_ADDRESS (host:port of `ray start --head`), "
            "or set engine.kind to local in params.yaml"
        ) from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        yield ray
    finally:
        ray.shutdown()


def _start_ray(address: str | None) -> None:
    """Connect to the cluster, or start one on this machine that only this machine reaches."""
    import ray

    options: dict[str, Any] = {}
    if not address:
        options = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    elif address.count(":") == 1:
        # Ray itself would try to connect for minutes.
        host, port = address.split(":")
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    ray.init(
        address=address or "local",
        runtime_env={"py_modules": [str(PACKAGE)]},
        log_to_driver=False,
        logging_level="ERROR",
        **options,
    )
