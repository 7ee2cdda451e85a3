"""Seconds on a device."""
