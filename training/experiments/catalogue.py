"""The tables that ``backbeat experiment`` knows, by the papers that they are of."""

from training.experiments.amae import AMAE_TABLES
from training.experiments.bgm import BGM_TABLES
from training.experiments.iris import IRIS_TABLES
from training.experiments.m3csr import M3CSR_TABLES
from training.experiments.mmm import MMM_TABLES
from training.experiments.tables import Table

__all__ = ["TABLES"]

TABLES: dict[str, Table] = {
    table.name: table for table in (*M3CSR_TABLES, *IRIS_TABLES, *MMM_TABLES, *AMAE_TABLES, *BGM_TABLES)
}
"""Name of the command → table."""
