"""A start from cold: `python cold.py MODULE SETTING`, in a process that has imported nothing yet.

Times the import of the library, before anything else is imported that it may need too, then the
making of its client and the first byte of an object. Prints one JSON object.
"""

import sys
import time

_begun = time.perf_counter()
__import__(sys.argv[1])
_imported = time.perf_counter()
_heavy = {"botocore", "numpy", "torch"} & set(sys.modules)

import json  # noqa: E402

from contenders import BY_NAME, Place  # noqa: E402
from objects import TINY  # noqa: E402
from trial import Usage  # noqa: E402


def main() -> None:
    """What is left of the run."""
    setting = json.loads(sys.argv[2])
    kind = BY_NAME[setting["contender"]]
    if _heavy and kind.peer == "s3reader":
        raise AssertionError(f"import s3reader imports {', '.join(sorted(_heavy))}")
    place = Place(**setting["place"])
    before = Usage()
    begun = time.perf_counter()
    contender = kind(place)
    made = time.perf_counter()
    contender.cold(TINY)
    received = time.perf_counter()
    parts = {
        "import": _imported - _begun,
        "client": made - begun,
        "first byte": received - made,
    }
    figures = {
        "wall": sum(parts.values()),
        **dict(Usage().since(before)),
        "extra_memory": 0,
        "parts": parts,
        "version": contender.version(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
