"""The demo: what a training script does with this library, on an S3 of its own.

``storage``     starts the embedded S3 and remembers what was put there
``checks``      compares what was read with its source, and counts
``digits``      batches into tensors through worker processes; a classifier learns from them
``photographs`` JPEG through the sequential reader into PIL
``checkpoints`` what was learned, saved and loaded again
``sharded``     training on several processes, and saving and loading what is spread over them
``restarts``    a run that goes on from its checkpoint on other numbers of processes
``ranks``       those processes
``processes``   what all processes have in common
``report``      the table at the end
``run``         the order of all that

Importing this package imports none of what the demo needs beyond the library itself.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

# Module to import → package to install.
REQUIREMENTS = {
    "boto3": "boto3",
    "flask": "moto[s3,server]",
    "moto": "moto[s3,server]",
    "numpy": "numpy",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "tqdm": "tqdm",
}
CANNOT_START = 2
INTERRUPTED = 130  # as a shell says of a command that Ctrl-C ended


def run_demo() -> int:
    """Run the demo; returns the exit status: 0 if every byte read was the one put there."""
    missing = sorted({package for module, package in REQUIREMENTS.items() if not find_spec(module)})
    if missing:
        print(
            f"The demo needs {', '.join(missing)}. Install everything it needs with\n\n"
            '    pip install "s3reader[demo]"\n',
            file=sys.stderr,
        )
        return CANNOT_START
    try:
        from s3reader.demo.run import run

        return run()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
