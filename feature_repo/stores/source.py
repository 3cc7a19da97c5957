"""The Parquet file behind a Feast source."""

from pathlib import Path

from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from contracts.errors import BadInput, NotFound

__all__ = ["source_file"]


def source_file(source: DataSource | None, repo_path: str | Path | None, must_exist: bool = True) -> Path:
    """The Parquet file, or directory of such files, behind a source.

    Raises:
        BadInput: It is no Parquet source, or not on a local disk.
        NotFound: There is no such file.
    """
    readable = isinstance(source, FileSource) and isinstance(source.file_format, ParquetFormat | None)
    if source is None or not readable or "://" in source.path:
        raise BadInput(
            f"source {getattr(source, 'name', source)}",
            found=getattr(source, "path", type(source).__name__),
            expected="a FileSource of a Parquet file on a local or mounted disk",
            next_step="use Feast's store for that source in its configuration",
        )
    path = Path(FileSource.get_uri_for_file_path(repo_path, source.path).removeprefix("file://"))
    if must_exist and not path.exists():
        raise NotFound(
            f"source {source.name}",
            found=f"no file {path}",
            expected="the Parquet file that the view reads",
            next_step="run `backbeat features apply` to compute it again",
        )
    return path
