"""The order of the package's stages: each imports only from those before it, and heavy libraries have one home."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import transformer_calc

PACKAGE = Path(transformer_calc.__file__).parent

# stage -> the stages that it may import from
MAY_IMPORT = {
    "errors": set(),
    "units": {"errors"},
    "expr": set(),
    "storage": {"errors"},
    "record": {"errors"},
    "strict": {"errors"},
    "answer": {"units"},
    "facts": {"errors", "record"},
    "spec": {"errors", "record"},
    "consistency": {"errors", "spec"},
    "sources": {"errors", "strict", "units", "record", "facts", "spec"},
    "plan": {"errors", "record", "storage"},
    "ops": {"errors", "expr"},
    "graph": {"errors", "expr", "spec", "ops"},
    "readings": {"errors", "answer", "strict", "expr", "storage", "facts", "spec", "graph", "ops", "plan"},
    "api": {
        "errors",
        "answer",
        "consistency",
        "expr",
        "storage",
        "facts",
        "spec",
        "sources",
        "graph",
        "readings",
        "plan",
    },
    "report": {
        "errors",
        "answer",
        "units",
        "expr",
        "storage",
        "facts",
        "spec",
        "sources",
        "graph",
        "readings",
        "plan",
        "api",
    },
    "output": {"errors", "units", "report"},
    "streams": {"output"},
    "cli": {"errors", "units", "storage", "plan", "sources", "api", "report", "output", "streams"},
    "__init__": {"api", "errors", "spec"},
    "__main__": {"cli", "streams"},
}
NUMPY = {
    "expr",
    *(f"readings.run.{m}" for m in ("kernels", "rotary", "machine", "verify", "weights", "walk")),
    "sources.values",
    "report.verify",
    "report.walk",
}
HOMES: dict[str, set[str]] = {"rich": {"output.table", "output.progress"}, "numpy": NUMPY, "typer": {"cli", "__main__"}}


def imports() -> list[tuple[str, str]]:
    """(module of the package, what it imports), with relative imports resolved."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        parents = ["transformer_calc", *path.relative_to(PACKAGE).parent.parts]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found += [(module, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = parents[: len(parents) - node.level + 1] if node.level else []
                name = ".".join([*base, *([node.module] if node.module else [])])
                found += [
                    (module, f"{name}.{alias.name}" if name == "transformer_calc" else name) for alias in node.names
                ]
    return found


IMPORTS = imports()


@pytest.mark.parametrize(("module", "imported"), sorted({i for i in IMPORTS if i[1].startswith("transformer_calc.")}))
def test_a_stage_imports_only_from_stages_before_it(module: str, imported: str) -> None:
    stage, target = module.split(".")[0], imported.split(".")[1]
    if target.startswith("__version__"):
        return
    assert target == stage or target in MAY_IMPORT[stage]


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_in_its_home_only(library: str) -> None:
    homes = {module for module, imported in IMPORTS if imported.split(".")[0] == library}
    assert homes <= HOMES[library]


def test_every_module_belongs_to_a_stage() -> None:
    assert {module.split(".")[0] for module, _ in IMPORTS} <= MAY_IMPORT.keys()
