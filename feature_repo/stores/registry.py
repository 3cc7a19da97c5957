"""Feast's registry of the local profile: one file, replaced in one step."""

from typing import Final
from uuid import uuid4

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto

from contracts.clock import utc_now
from contracts.errors import BadInput
from contracts.files import write_bytes_whole

__all__ = ["REGISTRY_STORE_TYPE", "WholeFileRegistryStore"]

REGISTRY_STORE_TYPE: Final = "feature_repo.stores.registry.WholeFileRegistryStore"
"""How Feast's configuration names the store below."""


class WholeFileRegistryStore(FileRegistryStore):  # type: ignore[misc]
    """Feast's store of a registry in a file, whose readers meet the file before a change or after it.

    Feast's own empties the file before it writes, so that a reader in that moment, or a process killed in it, finds
    a part of it or nothing; and nothing reads as a registry without definitions.
    """

    def get_registry_proto(self) -> RegistryProto:
        """The registry as it is in the file.

        Raises:
            FileNotFoundError: There is none; Feast begins one then.
            BadInput: The file is damaged.
        """
        data = self._filepath.read_bytes()
        try:
            registry: RegistryProto = RegistryProto.FromString(data)
        except Exception:  # noqa: BLE001 - protobuf's DecodeError, of a library that comes with Feast alone
            raise self._damaged(f"{len(data)} bytes that are no registry") from None
        if not registry.version_id:  # every registry that was written has one
            raise self._damaged(f"{len(data)} bytes without a version")
        return registry

    def _write_registry(self, registry_proto: RegistryProto) -> None:
        registry_proto.version_id = str(uuid4())
        registry_proto.last_updated.FromDatetime(utc_now())
        write_bytes_whole(self._filepath, registry_proto.SerializeToString())

    def _damaged(self, found: str) -> BadInput:
        return BadInput(
            f"Feast's registry {self._filepath}",
            found=found,
            expected="the definitions that `backbeat features apply` wrote",
            next_step=f"move it away (`mv {self._filepath} {self._filepath}.damaged`), then run "
            "`backbeat features apply` and `backbeat features materialize`; they write it again",
        )
