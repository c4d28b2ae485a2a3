"""Part of system2."""
