"""The core's C functions and structs, called and laid out from Python.

The functions are C only; they are called by the pointers that Cython leaves in a module for other
modules, on structs whose fields are read from their declaration.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

DECLARATIONS = Path(__file__).resolve().parents[1] / "ext" / "s3reader" / "_ext"
CTYPES = {
    "bint": ctypes.c_int,
    "int": ctypes.c_int,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
}


def struct(module: ModuleType, name: str) -> type[ctypes.Structure]:
    """The struct ``name``, whose fields are plain numbers, of the module's ``.pxd``."""
    text = (DECLARATIONS / f"{module.__name__.rpartition('.')[2]}.pxd").read_text()
    body = text[text.index(f"cdef struct {name}:") :].partition("\n\n")[0]
    fields = re.findall(rf"^    ({'|'.join(CTYPES)}) (\w+)", body, re.M)
    assert len(fields) == len(body.splitlines()) - 1
    return type(name, (ctypes.Structure,), {"_fields_": [(f, CTYPES[kind]) for kind, f in fields]})


def function(module: ModuleType, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """The C function ``name`` of a compiled module."""
    capsule = ctypes.py_object(module.__pyx_capi__[name])
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype = ctypes.c_char_p
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = get_pointer(capsule, get_name(capsule))
    return ctypes.CFUNCTYPE(result, *arguments)(address)
