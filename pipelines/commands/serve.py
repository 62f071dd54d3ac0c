"""Serve the current release with Weaviate and Triton until Ctrl-C, and repair what breaks.

Starts both servers, waits until an answer comes, prints how to ask, and watches. SIGTERM ends it as
Ctrl-C does.
"""

import signal
from types import FrameType

from pipelines.config import params
from pipelines.config.serve import ServeConfig
from pipelines.serving import serving_loop


def run() -> None:
    config = params.load().section(ServeConfig)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        serving_loop.serve_until_interrupted(config)
    except KeyboardInterrupt:
        print("\nstopped")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
