import pytest
import torch

from contracts.errors import BadInput
from contracts.settings import load_settings
from feature_repo.encoders.device import prepare_torch, resolve_device


def test_auto_takes_cuda_where_there_is_one() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.device_count() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"device '{name}': found no such device on this machine; expected auto or one"):
        resolve_device(name)


def test_settings_name_threads_and_device() -> None:
    before = torch.get_num_threads()
    try:
        assert prepare_torch(load_settings(device="cpu", threads=1)) == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
