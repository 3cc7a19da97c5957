import re

from tests.registry.conftest import PRIMARY, SURFACE
from tests.registry.web.pages.conftest import HOSTILE, Stock

TABLE = f"/versions/{SURFACE}"


def _rows(text: str) -> list[str]:
    return re.findall(rf'<th scope="row"><a href="{TABLE}/(\d+)">', text)


def test_the_table_is_what_its_address_says(stock: Stock) -> None:
    viewer = stock.browser()
    assert _rows(viewer.get(TABLE).text) == ["3", "2", "1"]
    assert _rows(viewer.get(f"{TABLE}?sort=primary").text) == ["1", "2", "3"]
    assert _rows(viewer.get(f"{TABLE}?model=mf").text) == ["1"]
    assert _rows(viewer.get(f"{TABLE}?q=learning_rate%3D0.2").text) == ["2"]
    assert _rows(viewer.get(f"{TABLE}?least=0.15&stage=&model=").text) == ["3", "2"]
    assert _rows(viewer.get(f"{TABLE}?size=1&page=2").text) == ["2"]
    page = viewer.get(f"{TABLE}?model=mf&sort=-primary").text
    assert 'value="mf" selected' in page
    assert 'aria-sort="descending"' in page
    assert "model=mf&amp;sort=primary" in page, "the way back is a link that keeps the filter"


def test_the_json_is_the_page(stock: Stock) -> None:
    found = stock.browser().get(f"/api{TABLE}?sort=-primary").json()
    assert [version["version"] for version in found["versions"]] == ["3", "2", "1"]
    assert (found["total"], found["registered"], found["metric"], found["protocols"]) == (3, 3, PRIMARY, 2)
    assert found["choices"]["model"][0]["count"] == 1
    assert "not comparable" in stock.browser().get(TABLE).text


def test_names_from_outside_are_text(stock: Stock) -> None:
    viewer = stock.browser()
    for page in (TABLE, f"{TABLE}/3", f"/compare?surface={SURFACE}&version=1,3", "/", f"{TABLE}?q={HOSTILE}"):
        text = viewer.get(page).text
        assert "<script>alert" not in text, page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in viewer.get(TABLE).text


def test_what_is_not_there(stock: Stock) -> None:
    viewer = stock.browser()
    for path, found in (
        ("/versions/vidio-feed", "video-feed"),
        (f"{TABLE}?sort=-primari", "primary"),
        (f"{TABLE}?metric=nothing&least=1", PRIMARY),
    ):
        page, twin = viewer.get(path), viewer.get(f"/api{path}")
        assert page.status_code == twin.status_code == 404
        assert found in page.text
        assert twin.json()["error"]["code"] == "not_found"
    assert viewer.get(f"{TABLE}?page=0").status_code == 400
    assert viewer.get(f"{TABLE}?least=abc").status_code == 400
    assert viewer.get(f"{TABLE}?least=nan").status_code == 400
    assert "No version is like that" in viewer.get(f"{TABLE}?q=nobody").text
    assert "backbeat train" in viewer.get("/versions/music").text


def test_mlflow_may_be_away(stock: Stock) -> None:
    viewer = stock.browser()
    stock.shelf.home.mlflow_database.rename(stock.shelf.home.root / "elsewhere.db")
    stock.see()
    page = viewer.get(TABLE)
    assert page.status_code == 200
    assert _rows(page.text) == ["3", "2", "1"]
    assert "MLflow could not be read" in page.text
    assert viewer.get(f"/api{TABLE}").json()["mlflow"]["fault"]
