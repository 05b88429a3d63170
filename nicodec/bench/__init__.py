"""Figures: measured on files, bytes on disk."""
