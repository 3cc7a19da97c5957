import torch

from training.visits import some_of_each_user


def test_the_first_of_each_user_in_their_order() -> None:
    users = torch.tensor([3, 0, 3, 3, 5, 0, 3])
    assert some_of_each_user(users, 2).tolist() == [0, 1, 2, 4, 5]
    assert some_of_each_user(users, 1).tolist() == [0, 1, 4]


def test_all_where_nobody_has_more() -> None:
    assert some_of_each_user(torch.tensor([1, 1, 0]), 9).tolist() == [0, 1, 2]


def test_no_pairs() -> None:
    assert some_of_each_user(torch.empty(0, dtype=torch.int64), 3).tolist() == []
