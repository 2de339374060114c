"""Sources: their order, one refresh for all threads, forks, invalidation, pickles."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import s3reader
from s3reader.config import S3ClientConfig
from s3reader.credentials import (
    REFRESH_BEFORE,
    RETRY_REFRESH_AFTER,
    BotocoreSource,
    Credentials,
    RefreshingSource,
    resolve_credentials,
)
from s3reader.errors import NoCredentialsError

SECRET = "wJalrXUtnFEMI0K7MDENG0bPxRfiCYEXAMPLEKEY"
MAPPING = {"access_key_id": "AKIDMAPPING", "secret_access_key": SECRET}
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKIDENVIRON", "AWS_SECRET_ACCESS_KEY": SECRET}

# Longest a step of another thread or process may take before a test calls it stuck, in seconds.
PATIENCE = 30


def run_python(script: str, **environ: str) -> str:
    """What `script` prints in a fresh interpreter that sees `environ` beside ours."""
    root = str(Path(s3reader.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        env={**os.environ, "PYTHONPATH": root, **environ},
        # Not the source tree, which Python 3.10 would import from there.
        cwd=root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def module_level_provider() -> dict[str, str]:
    return {"access_key_id": "AKIDPROVIDER", "secret_access_key": SECRET}


class Provider:
    """Gives a new access key at each call, with an expiry on a clock that tests move."""

    def __init__(self, lifetime: float | None = 3600.0) -> None:
        self.now = 1_000_000.0
        self.lifetime = lifetime
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self) -> Credentials:
        self.calls += 1
        if self.error is not None:
            raise self.error
        expires_at = None if self.lifetime is None else self.now + self.lifetime
        return Credentials(f"AKID{self.calls}", SECRET, "TOKEN", expires_at)

    def source(self) -> RefreshingSource:
        return RefreshingSource(S3ClientConfig(), self, clock=lambda: self.now)


# Order


def test_unsigned_gives_none_before_all_else() -> None:
    source = resolve_credentials(S3ClientConfig(unsigned=True, credentials=MAPPING), ENVIRON)
    assert source.get() is None
    source.invalidate(Credentials("AKID", SECRET))


def test_mapping_comes_before_the_environment() -> None:
    source = resolve_credentials(S3ClientConfig(credentials=MAPPING), ENVIRON)
    assert source.get() == Credentials("AKIDMAPPING", SECRET)
    source.invalidate(Credentials("AKIDMAPPING", SECRET))
    assert source.get() == Credentials("AKIDMAPPING", SECRET)


def test_callable_comes_before_the_environment_and_is_not_called_early() -> None:
    calls: list[None] = []

    def provider() -> dict[str, str]:
        calls.append(None)
        return module_level_provider()

    source = resolve_credentials(S3ClientConfig(credentials=provider), ENVIRON)
    assert not calls
    assert source.get() == source.get() == Credentials("AKIDPROVIDER", SECRET)
    assert len(calls) == 1


def test_environment_is_used_without_a_profile() -> None:
    source = resolve_credentials(S3ClientConfig(), ENVIRON)
    assert source.get() == Credentials("AKIDENVIRON", SECRET)


def test_environment_yields_to_a_named_profile() -> None:
    assert isinstance(resolve_credentials(S3ClientConfig(profile="p"), ENVIRON), BotocoreSource)


def test_environment_and_import_do_without_botocore() -> None:
    script = (
        "import sys, s3reader.credentials as c; from s3reader.config import S3ClientConfig\n"
        "source = c.resolve_credentials(S3ClientConfig())\n"
        "c.shared_config(None)\n"
        "print(source.get(), [m for m in sys.modules if m.startswith(('boto', 'numpy'))])"
    )
    assert run_python(script, **ENVIRON) == "Credentials(access_key='…IRON') []"


def test_environment_with_half_a_pair_says_so() -> None:
    source = resolve_credentials(S3ClientConfig(), {"AWS_ACCESS_KEY_ID": "AKID"})
    with pytest.raises(NoCredentialsError, match="AWS_SECRET_ACCESS_KEY is not"):
        source.get()


def test_environment_is_read_again_after_invalidation() -> None:
    environ = dict(ENVIRON)
    source = resolve_credentials(S3ClientConfig(), environ)
    used = source.get()
    environ["AWS_ACCESS_KEY_ID"] = "AKIDRENEWED"
    assert source.get() is used
    assert used is not None
    source.invalidate(used)
    assert source.get() == Credentials("AKIDRENEWED", SECRET)
    environ.clear()
    source.invalidate(Credentials("AKIDRENEWED", SECRET))
    with pytest.raises(NoCredentialsError, match="removed"):
        source.get()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(None, TypeError), ({"access_key_id": "AKID"}, ValueError), ({"secret": SECRET}, ValueError)],
)
def test_callable_with_a_wrong_answer_is_named(answer: Any, kind: type) -> None:
    source = resolve_credentials(S3ClientConfig(credentials=lambda: answer), ENVIRON)
    with pytest.raises(kind, match="credentials callable's answer") as refusal:
        source.get()
    assert SECRET not in repr(refusal.value)


# Refreshing


def test_kept_until_shortly_before_expiry() -> None:
    provider = Provider(3600.0)
    source = provider.source()
    first = source.get()
    provider.now += 3600.0 - REFRESH_BEFORE - 1
    assert source.get() is first
    provider.now += 1
    assert source.get().access_key == "AKID2"


def test_without_expiry_kept_for_good() -> None:
    provider = Provider(None)
    source = provider.source()
    first = source.get()
    provider.now += 1e9
    assert source.get() is first


def test_short_lived_ones_are_used_for_half_their_life() -> None:
    provider = Provider(60.0)
    source = provider.source()
    for _ in range(100):
        source.get()
    assert provider.calls == 1
    provider.now += 30
    assert source.get().access_key == "AKID2"


def test_failed_early_refresh_goes_on_with_what_is_valid(caplog: pytest.LogCaptureFixture) -> None:
    provider = Provider(3600.0)
    source = provider.source()
    first = source.get()
    provider.now += 3600.0 - REFRESH_BEFORE
    provider.error = RuntimeError(f"secret: {SECRET}")
    with caplog.at_level(logging.WARNING):
        assert source.get() is first
        assert source.get() is first
    assert provider.calls == 2
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text
    provider.now += RETRY_REFRESH_AFTER
    provider.error = None
    assert source.get().access_key == "AKID3"


def test_failed_late_refresh_raises_what_the_callable_raised_and_recovers() -> None:
    provider = Provider(3600.0)
    source = provider.source()
    source.get()
    provider.now += 3600.0
    provider.error = error = RuntimeError("vault is sealed")
    with pytest.raises(RuntimeError) as raised:
        source.get()
    assert raised.value is error
    provider.error = None
    assert source.get().access_key == "AKID3"


def test_invalidation_drops_only_what_was_used() -> None:
    provider = Provider()
    source = provider.source()
    first = source.get()
    source.invalidate(first)
    second = source.get()
    assert second.access_key == "AKID2"
    source.invalidate(first)
    assert source.get() is second


def test_threads_share_one_refresh() -> None:
    provider = Provider(None)
    entered, release = threading.Event(), threading.Event()

    def load() -> Credentials:
        entered.set()
        assert release.wait(PATIENCE)
        return provider()

    source = RefreshingSource(S3ClientConfig(), load)
    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(source.get) for _ in range(16)]
        assert entered.wait(PATIENCE)
        assert not any(each.done() for each in waiting)
        release.set()
        assert len({id(each.result(PATIENCE)) for each in waiting}) == 1
    assert provider.calls == 1


def test_threads_go_on_with_valid_ones_during_a_refresh() -> None:
    provider = Provider(3600.0)
    entered, release = threading.Event(), threading.Event()

    def load() -> Credentials:
        if provider.calls:
            entered.set()
            assert release.wait(PATIENCE)
        return provider()

    source = RefreshingSource(S3ClientConfig(), load, clock=lambda: provider.now)
    first = source.get()
    provider.now += 3600.0 - REFRESH_BEFORE
    with ThreadPoolExecutor(2) as pool:
        refresh = pool.submit(source.get)
        assert entered.wait(PATIENCE)
        assert pool.submit(source.get).result(PATIENCE) is first
        release.set()
        assert refresh.result(PATIENCE).access_key == "AKID2"


def test_hammering_threads_refresh_once_a_generation() -> None:
    provider = Provider()
    source = provider.source()
    generations = 20
    barrier = threading.Barrier(8)

    def work() -> None:
        for _ in range(generations):
            barrier.wait(PATIENCE)
            used = source.get()
            barrier.wait(PATIENCE)
            source.invalidate(used)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result(PATIENCE)
    assert provider.calls == generations


FORK = """
import os, sys, threading
from s3reader.config import S3ClientConfig
from s3reader.credentials import Credentials, resolve_credentials

entered, release = threading.Event(), threading.Event()
parent = os.getpid()

def provider():
    if os.getpid() == parent:
        entered.set()
        release.wait(20)
    return {"access_key_id": f"AKID{int(os.getpid() == parent)}", "secret_access_key": "x"}

source = resolve_credentials(S3ClientConfig(credentials=provider))
thread = threading.Thread(target=source.get)
thread.start()
entered.wait(20)
child = os.fork()
if child == 0:
    os._exit(0 if source.get().access_key == "AKID0" else 1)
status = os.waitpid(child, 0)[1]
release.set()
thread.join(20)
print(status, source.get().access_key)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_in_the_middle_of_a_refresh_leaves_both_sides_working() -> None:
    assert run_python(FORK) == "0 AKID1"


FORK_DURING_IMPORT = """
import importlib.abc, os, sys, threading
from s3reader.config import S3ClientConfig
from s3reader.credentials import resolve_credentials

importing = threading.Event()

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith("botocore"):
            importing.set()

sys.meta_path.insert(0, Finder())
source = resolve_credentials(S3ClientConfig(profile="given"))
thread = threading.Thread(target=source.get)
thread.start()
importing.wait(20)
child = os.fork()
if child == 0:
    os._exit(0 if source.get().access_key == "AKIDFILE" else 1)
print(os.waitpid(child, 0)[1])
thread.join(20)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_botocore_is_imported_leaves_the_child_working(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[given]\naws_access_key_id = AKIDFILE\naws_secret_access_key = x\n")
    assert run_python(FORK_DURING_IMPORT, AWS_SHARED_CREDENTIALS_FILE=str(file)) == "0"


# Pickles and what is shown


def test_pickle_keeps_the_recipe_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[Callable[[], Any]] = [
        lambda: resolve_credentials(S3ClientConfig(), ENVIRON),
        lambda: resolve_credentials(S3ClientConfig(credentials=module_level_provider)),
        lambda: resolve_credentials(S3ClientConfig(unsigned=True)),
    ]
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    for make in sources:
        source = make()
        held = source.get()
        data = pickle.dumps(source)
        assert SECRET.encode() not in data
        assert b"AKID" not in data
        assert pickle.loads(data).get() == held


def test_pickle_finds_the_other_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    source = resolve_credentials(S3ClientConfig(), ENVIRON)
    source.get()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    other = pickle.loads(pickle.dumps(source)).get()
    assert other.access_key == "AKIDOTHER"


def test_given_mapping_travels_along() -> None:
    source = resolve_credentials(S3ClientConfig(credentials=MAPPING))
    assert pickle.loads(pickle.dumps(source)).get() == source.get()


@pytest.mark.parametrize("config", [{"credentials": MAPPING}, {}, {"profile": "p"}])
def test_sources_show_nothing(config: dict[str, Any]) -> None:
    source = resolve_credentials(S3ClientConfig(**config), ENVIRON)
    if not config.get("profile"):
        source.get()
    assert SECRET not in f"{source!r} {source}"
    assert "AKID" not in f"{source!r} {source}"
