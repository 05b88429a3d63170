"""The .nic file: bytes to sections and back, by the standard library alone. FORMAT.md beside this is normative."""
