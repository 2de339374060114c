"""Compiled mechanism: parallel fetching over libcurl, signing, range and buffer work."""
