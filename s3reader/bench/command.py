"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from s3reader import S3Client, S3ClientConfig, S3Exception, __version__

from .advice import advise
from .candidates import Candidate
from .loads import Load, Memory
from .objects import FEWEST_SMALL, Found, NothingToRead, find_objects, parse_place
from .report import Bar, as_json, legend, recommendation, table
from .search import Search
from .trial import Outcome, Silent, measure

SECONDS = 60.0
GIGABYTES = 100.0
FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what the command takes."""
    parser.add_argument("uri", help="s3://bucket/prefix, or one object: s3://bucket/key")
    parser.add_argument("--region", help="of the bucket; by default where AWS users have it")
    parser.add_argument("--endpoint", help="URL of another S3")
    parser.add_argument("--profile", help="in the shared AWS configuration")
    parser.add_argument("--unsigned", action="store_true", help="for public buckets")
    parser.add_argument(
        "--seconds", type=_positive, default=SECONDS, help="time it may take (%(default)g)"
    )
    parser.add_argument(
        "--gigabytes", type=_positive, default=GIGABYTES, help="most to read (%(default)g)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run_bench(arguments: argparse.Namespace) -> int:
    """Run the benchmark; returns the exit status."""
    given: dict[str, Any] = {}
    if arguments.profile:
        given["profile"] = arguments.profile
    if arguments.unsigned:
        given["unsigned"] = True
    try:
        bucket, prefix = parse_place(arguments.uri)
        bench = Bench(arguments, given)
        with bench.client() as client:
            found = find_objects(client, bucket, prefix)
    except (ValueError, TypeError) as error:
        return _fail(error, WRONG_USE)
    except (NothingToRead, S3Exception) as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted, before anything was measured", INTERRUPTED)
    return bench.run(found)


class Bench:
    """A run of the benchmark.

    Args:
        arguments: of the command.
        given: settings of every client.
    """

    def __init__(self, arguments: argparse.Namespace, given: dict[str, Any]) -> None:
        self._arguments = arguments
        self._given = given
        self._bar = Bar(arguments.seconds, sys.stderr)

    def client(self, **settings: Any) -> S3Client:
        config = S3ClientConfig(**self._given, **settings)
        return S3Client(
            self._arguments.region, endpoint=self._arguments.endpoint, s3client_config=config
        )

    def run(self, found: Found) -> int:
        """Measure and report; what was measured is reported however it ends."""
        self._tell(_described(found))
        small = len(found.small) >= FEWEST_SMALL or not found.large
        kinds = [kind for kind in (found.large, found.small if small else []) if kind]
        searches: list[Search] = []
        status, problem = 0, ""
        try:
            memory = Memory(max(info.size for objects in kinds for info in objects))
            for objects in kinds:
                load = Load(found.bucket, objects, objects is found.small, memory)
                search = self._search(load, int(self._arguments.gigabytes * 1e9 / len(kinds)))
                searches.append(search)
                search.run(self._arguments.seconds / len(kinds))
        except KeyboardInterrupt:
            status, problem = INTERRUPTED, "interrupted: these are the results so far"
        except (S3Exception, Silent) as error:
            status, problem = FAILED, str(error)
        self._bar.clear()
        self._report(found, [search for search in searches if search.outcomes], problem)
        return status

    def _search(self, load: Load, most_bytes: int) -> Search:
        def trial(candidate: Candidate, seconds: float, most_bytes: int) -> Outcome:
            self._bar.show(str(candidate))
            client = self.client(
                part_size=candidate.part_size, max_connections=candidate.connections
            )
            return measure(client, load, candidate, seconds, most_bytes)

        largest = max(info.size for info in load.objects)
        return Search(load.small, trial, largest, most_bytes, load.readers)

    def _report(self, found: Found, searches: list[Search], problem: str) -> None:
        advices = [advise(search, self._given) for search in searches]
        spent = sum(search.spent for search in searches)
        if self._arguments.json:
            document = {
                "uri": f"s3://{found.bucket}/{found.prefix}",
                "version": __version__,
                "bytes": spent,
                "problem": problem or None,
                "searches": [as_json(*pair) for pair in zip(searches, advices, strict=True)],
            }
            print(json.dumps(document, indent=2))
        else:
            for search, advice in zip(searches, advices, strict=True):
                print(f"{table(search)}\n\n{legend(search)}\n\n{recommendation(search, advice)}\n")
            print(f"{spent / 1e9:.2f} GB were read.")
        if problem:
            print(f"s3reader bench: {problem}", file=sys.stderr)

    def _tell(self, text: str) -> None:
        if not self._arguments.json:
            print(f"{text}\n", flush=True)


def _described(found: Found) -> str:
    parts = [f"{len(found.large):,} large", f"{len(found.small):,} small"]
    if found.left_out:
        parts.append(f"{found.left_out:,} empty or archived")
    more = "" if found.whole else "; there are more, which are not used"
    return (
        f"s3://{found.bucket}/{found.prefix}: {', '.join(parts)} objects, "
        f"{found.size / 1e9:.3g} GB{more}"
    )


def _fail(problem: object, status: int) -> int:
    print(f"s3reader bench: {problem}", file=sys.stderr)
    return status


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"takes a number above 0, not {text}")
    return number
