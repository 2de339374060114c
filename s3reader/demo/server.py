"""The embedded S3: moto in a child process, on a free loopback port.

The child (this module, run as a script) prints its port and serves until its standard input
ends, so it goes with its parent however that ends.
"""

from __future__ import annotations

import os
import subprocess
import sys

STOP_TIMEOUT = 10  # seconds for the child to end by itself


class EmbeddedS3:
    """A running S3 at `endpoint`. A context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "s3reader.demo.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().decode().strip()
        if not port:
            self.close()
            raise RuntimeError("the embedded S3 did not start; its own message stands above")
        self.endpoint = f"http://127.0.0.1:{port}"

    def __enter__(self) -> EmbeddedS3:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child, and with it everything that was put there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # To close its standard input is not enough: processes forked since then may have it, too.
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def main() -> None:
    import logging
    import signal

    from moto.server import ThreadedMotoServer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
