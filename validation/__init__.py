"""The gate between what encoders and users produce and everything downstream: suites, runs, reports, data docs."""
