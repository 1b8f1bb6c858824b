"""Who may import whom, and that what README shows can be run."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glimpseworld import envs

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "envs": {"envs"},
    "world_model": {"world_model"},
    "agents": {"agents", "world_model"},
    "experiments": {"experiments", "agents", "world_model", "envs"},
}
MODULES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def target_of(path, node):
    """Return the dotted name, within the project, that an `ImportFrom` of a module takes from; None for outside."""
    if not node.level:
        return None
    folder = path.relative_to(ROOT).parts[:-1]
    return ".".join([*folder[: len(folder) - node.level + 1], *(node.module or "").split(".")]).strip(".")


def imports(path):
    """Yield (package within the project or None, top-level name) of every import in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((None, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield None, (node.module or "").split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            target = target_of(path, node)
            names = [target.split(".")[0]] if target else [alias.name for alias in node.names]
            yield from ((name, name) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_data_flows_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    for sibling, name in imports(path):
        assert sibling is None or sibling in ALLOWED[package], f"{package} imports {sibling}"
        assert name != "glimpseworld", "use relative imports inside the packages"
        assert not (package == "envs" and name == "torch"), "envs never imports torch"


def test_no_module_imports_in_a_circle():
    graph = {}
    for path in MODULES:
        graph[name_of(path)] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                target = target_of(path, node)
                graph[name_of(path)] |= {target} | {f"{target}.{alias.name}".strip(".") for alias in node.names}

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        for target in graph.get(module, ()):
            if target in graph:
                visit(target, [*trail, module])

    assert len(graph["envs.saccade"]) > 5
    for module in graph:
        visit(module, [])


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_every_python_block_of_the_readme_runs(tmp_path):
    assert blocks("python")
    for block in blocks("python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_ids_in_the_readme_can_be_made_as_they_stand():
    ids = set(re.findall(r"`([^`\s]+-v0)`", (ROOT / "README.md").read_text()))
    assert ids == {*envs.ENV_IDS, *envs.DATA_ENV_IDS}


def test_the_readme_maps_every_module():
    text = (ROOT / "README.md").read_text()
    for path in MODULES:
        if path.stem != "__init__":
            assert f"`{path.stem}`" in text, f"README's map lacks {name_of(path)}"


def test_nothing_unfinished_is_left():
    for path in MODULES:
        for word in ("TODO", "FIXME", "NotImplementedError"):
            assert word not in path.read_text(), f"{word} in {path}"
