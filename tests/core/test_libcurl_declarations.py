"""The declarations of ``libcurl.pxd`` against the real header, where one is installed.

They are written by hand because building needs no curl headers. A small C program prints what the
header says of each number, size and offset that the declarations name.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DECLARATIONS = Path(__file__).parents[2] / "ext" / "s3reader" / "_ext" / "libcurl.pxd"
HEADER_PACKAGE = "libcurl4-openssl-dev"

# What older headers lack: the LIBCURL_VERSION_NUM that brought it.
NEWER = {"CURLE_TOO_LARGE": 0x080600}

STRUCTS = ("curl_slist", "CURLMsg", "curl_version_info_data")

# The declarations call these plain ints, as the ABI has it.
INTEGERS = ("CURLcode", "CURLMcode", "CURLoption", "CURLMoption", "CURLINFO", "CURLversion")


class MessageData(ctypes.Union):
    _fields_ = (("whatever", ctypes.c_void_p), ("result", ctypes.c_int))


FIELD_TYPES = {"int": ctypes.c_int, "unsigned int": ctypes.c_uint, "MessageData": MessageData}


def declared_numbers() -> dict[str, int]:
    """Every ``NAME = expression`` of the enums."""
    text = DECLARATIONS.read_text(encoding="utf-8")
    found = re.findall(r"^    (CURL\w*) = ([0-9a-fx+< ]+)$", text, re.MULTILINE)
    return {name: eval(expression) for name, expression in found}


def declared_struct(name: str) -> type[ctypes.Structure]:
    """A structure of the declarations, laid out by ctypes."""
    text = DECLARATIONS.read_text(encoding="utf-8")
    match = re.search(rf"^cdef struct {name}:\n((?:    .+\n)+)", text, re.MULTILINE)
    assert match is not None, f"{name} is not declared"
    fields = []
    for line in match.group(1).splitlines():
        kind, _, field = line.strip().rpartition(" ")
        pointer = field.startswith("*")
        fields.append((field.lstrip("*"), ctypes.c_void_p if pointer else FIELD_TYPES[kind]))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def program() -> str:
    """C source that prints ``what number`` for everything that is declared."""
    lines = ["#include <stddef.h>", "#include <stdio.h>", "#include <curl/curl.h>", "int main() {"]

    def show(what: str, expression: str) -> None:
        lines.append(f'  printf("%s %lld\\n", "{what}", (long long) ({expression}));')

    for name in declared_numbers():
        if name in NEWER:
            lines.append(f"#if LIBCURL_VERSION_NUM >= {NEWER[name]:#x}")
        show(name, name)
        if name in NEWER:
            lines.append("#endif")
    for name in STRUCTS:
        kind = f"struct {name}"
        for field, _ in declared_struct(name)._fields_:  # type: ignore[misc]
            show(f"{name}.{field}", f"offsetof({kind}, {field})")
    show("sizeof(struct CURLMsg)", "sizeof(struct CURLMsg)")
    show("sizeof(struct curl_slist)", "sizeof(struct curl_slist)")
    for name in INTEGERS:
        show(f"sizeof({name})", f"sizeof({name})")
    show("sizeof(curl_off_t)", "sizeof(curl_off_t)")
    return "\n".join([*lines, "  return 0;", "}", ""])


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the installed header says."""
    if not DECLARATIONS.is_file():
        pytest.skip("not in a checkout")
    compiler = shutil.which("gcc") or shutil.which("cc")
    folder = tmp_path_factory.mktemp("declarations")
    source = folder / "declared.c"
    source.write_text("#include <curl/curl.h>\nint main() { return 0; }\n", encoding="utf-8")
    build = [compiler or "cc", "-o", str(folder / "declared"), str(source)]
    if compiler is None or subprocess.run(build, capture_output=True, check=False).returncode:
        missing = f"no curl/curl.h: apt-get install {HEADER_PACKAGE}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    source.write_text(program(), encoding="utf-8")
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    printed = subprocess.run(build[2], capture_output=True, text=True, check=True).stdout
    pairs = (line.rpartition(" ") for line in printed.splitlines())
    return {what: int(number) for what, _, number in pairs}


def test_numbers_are_those_of_the_header(header: dict[str, int]) -> None:
    declared = declared_numbers()
    assert len(declared) > 60
    known = {name: number for name, number in declared.items() if name in header}
    assert known == {name: header[name] for name in known}
    assert set(declared) - set(known) <= set(NEWER)


@pytest.mark.parametrize("name", STRUCTS)
def test_fields_lie_where_the_header_puts_them(header: dict[str, int], name: str) -> None:
    struct = declared_struct(name)
    for field, _ in struct._fields_:  # type: ignore[misc]
        assert getattr(struct, field).offset == header[f"{name}.{field}"], field
    assert header.get(f"sizeof(struct {name})", ctypes.sizeof(struct)) == ctypes.sizeof(struct)


@pytest.mark.parametrize("name", INTEGERS)
def test_enums_are_passed_as_ints(header: dict[str, int], name: str) -> None:
    assert header[f"sizeof({name})"] == ctypes.sizeof(ctypes.c_int)


def test_offsets_have_64_bits(header: dict[str, int]) -> None:
    assert header["sizeof(curl_off_t)"] == ctypes.sizeof(ctypes.c_int64)
