"""Anomaly detection: streams that measure how a value differs, one calibration of how rare that is, ways to combine."""
