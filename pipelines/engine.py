"""Knows where work is done: in this process, or by Ray Data on the nodes of a Ray cluster (RAY_ADDRESS; without it Ray starts on this machine).

Work is a function from a list of inputs to a list of results, made once in each process by a `make` that can be pickled. Both
engines call it with the same lists, so that the results are the same.
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
Work = Callable[[list[Any]], list[Any]]
Make = Callable[[], Work]


def work(engine: EngineConfig, make: Make, inputs: Iterable[Any], inputs_a_call: int) -> Iterator[Any]:
    """The results of all inputs, in no order. Nothing is made or started where there is no input."""
    lists = _lists(inputs, inputs_a_call)
    first = next(lists, None)
    if first is None:
        return
    if engine.kind == "ray":
        yield from _by_ray(make, first, lists)
        return
    function = make()
    yield from function(first)
    for some in lists:
        yield from function(some)


def _lists(inputs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    waiting = iter(inputs)
    while some := list(islice(waiting, size)):
        yield some


def _by_ray(make: Make, first: list[Any], lists: Iterator[list[Any]]) -> Iterator[Any]:
    """Inputs wait in Ray's object store, which goes to disk where memory is short; one actor a CPU works on a list at a time."""
    with _connected() as connected:
        blocks = [connected.put(_packed([first])), *(connected.put(_packed([some])) for some in lists)]
        num_actors = max(1, min(len(blocks), int(connected.cluster_resources().get("CPU", 1))))
        pool = connected.data.ActorPoolStrategy(size=num_actors)
        results = connected.data.from_arrow_refs(blocks).map_batches(Worker, fn_constructor_args=[make], batch_size=None, batch_format="pyarrow", compute=pool, num_cpus=1)
        for block in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            for packed in block.column("packed"):
                yield from pickle.loads(packed.as_py())  # noqa: S301 (made by our own workers)


def _packed(lists: list[list[Any]]) -> pa.Table:
    return pa.table({"packed": pa.array([pickle.dumps(some) for some in lists], pa.large_binary())})


class Worker:
    """An actor of Ray Data: holds the function that `make` gives, a loaded model for example."""

    def __init__(self, make: Make):
        self._function = make()

    def __call__(self, block: pa.Table) -> pa.Table:
        return _packed([self._function(pickle.loads(packed.as_py())) for packed in block.column("packed")])  # noqa: S301 (made by _packed)


@contextmanager
def _connected() -> "Iterator[ray]":
    """Ray's module, connected to a cluster whose workers import this code; disconnected at the end. Raises UserError with the remedy."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("params.yaml: engine.kind: ray needs the package ray, which is not installed: `make setup` installs it; or set it to local")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray calls home
    import ray
    import ray.data

    address = os.environ.get("RAY_ADDRESS")
    alone: dict[str, Any] = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    code = {"py_modules": [str(Path(__file__).parent)]}
    try:
        if address and address.count(":") == 1:
            host, port = address.split(":")
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()  # else Ray asks for minutes
        ray.init(address=address or "local", runtime_env=code, log_to_driver=False, logging_level="ERROR", **alone)
    except (OSError, ValueError, RuntimeError) as error:
        raise Unreachable(
            f"Ray at {address or 'this machine'} cannot be used: {error}\nRemedy: check RAY_ADDRESS (host:port of `ray start --head`), or set engine.kind to local in params.yaml"
        ) from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        yield ray
    finally:
        ray.shutdown()
