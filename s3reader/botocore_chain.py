"""What is taken from botocore: the shared configuration files and the chain of credential sources.

botocore knows profiles, assumed roles, web identity, SSO, processes, container and instance
metadata, and is what users have debugged their set-up with. It takes long to import, so this module
does so only inside functions that cannot do without. Its exceptions become `NoCredentialsError`s
here; they are not chained, because what an external process printed may be in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .error_body import clean_text, printable
from .errors import NoCredentialsError
from .forks import whole

if TYPE_CHECKING:
    from botocore.credentials import Credentials as Provider
    from botocore.session import Session

_CONFIG_FILE = "~/.aws/config"
_CREDENTIALS_FILE = "~/.aws/credentials"
_SECRETS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})


def profile_name(profile: str | None, environ: Mapping[str, str]) -> str | None:
    """The profile in force: the argument, ``AWS_PROFILE``, ``AWS_DEFAULT_PROFILE``, or None."""
    return profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or None


def shared_config(profile: str | None, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The settings of a profile (None: the one in force) in the shared configuration files.

    Names and values are as in the file; nested sections are mappings. ``services``, which in the
    file names another section, is that section: ``{"s3": {"endpoint_url": …}}``. Keys and tokens
    are left out. Without a configuration file and a named profile the answer is empty and botocore
    is not imported.

    Raises:
        ValueError: the named profile does not exist, or a file cannot be parsed.
    """
    name = profile_name(profile, environ)
    config_file = environ.get("AWS_CONFIG_FILE") or _CONFIG_FILE
    if name is None and not os.path.exists(os.path.expanduser(config_file)):
        return {}
    with whole:
        from botocore.exceptions import BotoCoreError

        try:
            session = _session(profile, environ)
            settings = dict(session.get_scoped_config())
            everything = session.full_config
        except BotoCoreError as exception:
            raise ValueError(_explain(exception, name)) from None
    services = settings.pop("services", None)
    if isinstance(services, str):
        settings["services"] = dict(everything.get("services", {}).get(services, {}))
    return {name: value for name, value in settings.items() if name not in _SECRETS}


def find_provider(profile: str | None, environ: Mapping[str, str]) -> Provider:
    """botocore's object that gives and refreshes credentials.

    Raises:
        NoCredentialsError: no source has any, or one failed; says where it looked.
    """
    name = profile_name(profile, environ)
    with whole:
        provider = _guarded(name, lambda: _session(profile, environ).get_credentials())
    if provider is None:
        raise NoCredentialsError(
            "No AWS credentials found. Looked at: the configuration's `credentials`, the "
            f"environment (AWS_ACCESS_KEY_ID), {_files(environ)} (profile "
            f"{printable(name or 'default')!r}), web identity, container and instance metadata. "
            "Provide one of these, or set unsigned=True for a public bucket."
        )
    found: Provider = provider
    return found


def current_credentials(provider: Provider, profile: str | None) -> tuple[str, str, str | None]:
    """Access key, secret key and token of `provider`, which refreshes them itself when due.

    Raises:
        NoCredentialsError: they are due and could not be refreshed.
    """
    frozen = _guarded(profile, provider.get_frozen_credentials)
    return frozen.access_key, frozen.secret_key, frozen.token


def _session(profile: str | None, environ: Mapping[str, str]) -> Session:
    from botocore.session import Session

    session = Session(profile=profile_name(profile, environ))
    for variable, name in (
        ("config_file", "AWS_CONFIG_FILE"),
        ("credentials_file", "AWS_SHARED_CREDENTIALS_FILE"),
    ):
        if environ.get(name):
            session.set_config_variable(variable, environ[name])
    return session


def _guarded(profile: str | None, load: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return load()
    except (
        BotoCoreError,
        ClientError,
        OSError,
        ValueError,
        LookupError,
        RuntimeError,
    ) as exception:
        # Beside botocore's own: a process that cannot be started or whose output is not its JSON,
        # and refreshed credentials that have expired already.
        raise NoCredentialsError(
            f"{_explain(exception, profile)} Check it with `aws sts get-caller-identity`, or set "
            "unsigned=True for a public bucket."
        ) from None


def _explain(exception: Exception, profile: str | None) -> str:
    words = clean_text(str(exception)).rstrip(". ")
    where = f" of profile {printable(profile)!r}" if profile else ""
    return f"The AWS set-up{where} failed: {type(exception).__name__}: {words}."


def _files(environ: Mapping[str, str]) -> str:
    files = (
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or _CREDENTIALS_FILE,
        environ.get("AWS_CONFIG_FILE") or _CONFIG_FILE,
    )
    return " and ".join(printable(file) for file in files)
