from docs.reference_page import PAGE, render


def test_the_reference_says_what_the_code_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs`"
