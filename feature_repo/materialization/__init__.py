"""Materialization: copying the newest feature values to the online store, as a job."""
