"""The version of the library, read from its metadata nowhere else than here."""

__version__ = "0.1.0"
