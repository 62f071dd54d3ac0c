"""Knows where documents come from (sources.py) and how a file becomes text with sections (formats.py)."""
