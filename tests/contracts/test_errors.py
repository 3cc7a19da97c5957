import pytest

from contracts import errors
from contracts.errors import BackbeatError, BadInput, unknown_name


def test_an_error_says_object_found_expected_and_next_step() -> None:
    error = BadInput("image_feat.npy", found="6,709 rows", expected="6,710", next_step="export it again")
    assert str(error) == "image_feat.npy: found 6,709 rows; expected 6,710. Next: export it again"
    assert error.as_dict() == {
        "error": {
            "code": "bad_input",
            "subject": "image_feat.npy",
            "found": "6,709 rows",
            "expected": "6,710",
            "next": "export it again",
        }
    }


def test_every_class_has_its_own_code_and_a_status() -> None:
    classes = [getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert len({c.code for c in classes}) == len(classes)
    for cls in classes:
        assert issubclass(cls, BackbeatError)
        assert 1 <= cls.exit_code < 64
        assert 400 <= cls.http_status < 600


@pytest.mark.parametrize(
    ("name", "near"), [("lightgnc", "'lightgcn'"), ("m3scr", "'m3csr'"), ("zzz", "one of lightgcn, m3csr, mf")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, near: str) -> None:
    error = unknown_name("model", name, ["mf", "m3csr", "lightgcn"], next_step="backbeat train --help")
    assert near in error.expected
    assert error.exit_code == 2


def test_an_unknown_name_where_none_is_known() -> None:
    assert "none is known yet" in str(unknown_name("version", "3", [], next_step="backbeat train mf"))
