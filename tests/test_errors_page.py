"""Every bad input of docs/errors.md, run as a user would run it, gets the message that the page shows."""

import re
from collections.abc import Iterator

import pytest

from docs.error_cases import CASES
from docs.errors_page import HEAD, PAGE, run_case
from docs.workshop import Case, Workshop

SECTIONS = dict(zip([c.title for c in CASES], re.split(r"(?=^## )", PAGE.read_text(), flags=re.M)[1:], strict=False))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    return Workshop(tmp_path_factory.mktemp("workshop").resolve())


def test_the_page_has_a_section_for_every_case() -> None:
    assert PAGE.read_text().startswith(HEAD)
    assert re.findall(r"^## (.*)$", PAGE.read_text(), flags=re.M) == [case.title for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_the_message_is_the_one_on_the_page(case: Case, workshop: Workshop) -> None:
    assert run_case(case, workshop).strip() == SECTIONS[case.title].strip(), "run `make docs` and read the difference"
