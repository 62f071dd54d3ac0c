"""`python -m pipelines serve`: start Weaviate and hold it until Ctrl-C."""

import signal
from types import FrameType

from pipelines.vectorstore import server


def run() -> None:
    """Print how to reach it. SIGTERM ends it as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    with server.held() as connection:
        print(f"Weaviate: http://127.0.0.1:{connection['http_port']} (gRPC {connection['grpc_port']}); the API key is in .state/weaviate/connection.json")
        print("Ctrl-C stops it", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("\nstopping")
