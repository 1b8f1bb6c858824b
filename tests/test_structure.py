"""Who may import whom, and that every README example runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "envs": {"envs"},
    "world_model": {"world_model"},
    "agents": {"agents", "world_model"},
    "experiments": {"experiments", "agents", "world_model", "envs"},
}
MODULES = [path for package in ALLOWED for path in sorted((ROOT / package).glob("*.py"))]


def imports(path):
    """Yield (package within the project or None, top-level name) of every import in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((None, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield None, (node.module or "").split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            yield path.parent.name, path.parent.name
        elif isinstance(node, ast.ImportFrom):
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            yield from ((name, name) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_data_flows_one_way(path):
    package = path.parent.name
    for sibling, name in imports(path):
        assert sibling is None or sibling in ALLOWED[package], f"{package} imports {sibling}"
        assert name != "glimpseworld", "use relative imports inside the packages"
        assert not (package == "envs" and name == "torch"), "envs never imports torch"


def test_no_module_imports_in_a_circle():
    graph = {}
    for path in MODULES:
        module = f"{path.parent.name}.{path.stem}"
        tree = ast.parse(path.read_text())
        top = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
        graph[module] = set()
        for node in top:
            parts = (node.module or "").split(".")
            prefix = [path.parent.name] if node.level == 1 else []
            target = ".".join([*prefix, *[p for p in parts if p]])
            graph[module] |= {target} | {f"{target}.{alias.name}" for alias in node.names}

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        for target in graph.get(module, ()):
            if target in graph:
                visit(target, [*trail, module])

    for module in graph:
        visit(module, [])


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_every_python_block_of_the_readme_runs(tmp_path):
    assert blocks("python")
    for block in blocks("python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_readme_maps_every_module():
    text = (ROOT / "README.md").read_text()
    for path in MODULES:
        if path.stem != "__init__":
            assert f"`{path.stem}`" in text, f"README's map lacks {path.parent.name}/{path.stem}"


def test_nothing_unfinished_is_left():
    for path in MODULES:
        for word in ("TODO", "FIXME", "NotImplementedError"):
            assert word not in path.read_text(), f"{word} in {path}"
