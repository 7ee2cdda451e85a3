"""Reports present, and compute nothing: no arithmetic beyond shares, no imports of readings that count."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import transformer_calc

REPORTS = Path(transformer_calc.__file__).parent / "report"
FILES = sorted(path.relative_to(REPORTS).as_posix() for path in REPORTS.rglob("*.py"))

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
FUNCTIONS = set("sum min max round abs pow divmod mean prod ceil floor sqrt log log2 log10".split())
# What is still computed where it is shown, for each file: these numbers only become smaller, and then go.
ARITHMETIC: dict[str, int] = {}
READINGS: dict[str, int] = {"hardware.py": 2}


def words(node: ast.expr) -> bool:
    """Whether an expression is text or a list, which + and * put together."""
    if isinstance(node, ast.BinOp):
        return words(node.left) or words(node.right)
    if isinstance(node, ast.IfExp):
        return words(node.body) or words(node.orelse)
    texts = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return texts or isinstance(node, ast.JoinedStr | ast.List | ast.ListComp | ast.Tuple | ast.Set)


def number(node: ast.expr) -> bool:
    """Whether an expression is a number that stands there: 3, -1, 2**20."""
    if isinstance(node, ast.BinOp):
        return number(node.left) and number(node.right)
    return number(node.operand) if isinstance(node, ast.UnaryOp) else isinstance(node, ast.Constant)


def computes(node: ast.AST) -> bool:
    """Whether a node of the syntax is arithmetic; the share that one value is of another is not."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, OPERATORS):
        share = isinstance(node.op, ast.Div) and not any(
            computes(inner) for side in (node.left, node.right) for inner in ast.walk(side)
        )
        return not (share or words(node) or number(node))
    if isinstance(node, ast.AugAssign) and isinstance(node.op, OPERATORS):
        lists = isinstance(node.op, ast.Add) and isinstance(node.value, ast.Name | ast.Call)
        return not (lists or words(node.value))
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        return name in FUNCTIONS and not any(keyword.arg == "key" for keyword in node.keywords)
    return False


def arithmetic(source: str) -> list[str]:
    """Every expression of a module that computes."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if computes(node)]


def readings(source: str) -> list[str]:
    """Every name that a module takes from the readings, but for those of types alone."""
    tree = ast.parse(source)
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in typed]
    return [
        f"{node.module}.{alias.name}"
        for node in froms
        for alias in node.names
        if (node.module or "").startswith("transformer_calc.readings")
    ]


@pytest.mark.parametrize("file", FILES)
def test_a_report_computes_nothing(file: str) -> None:
    found = arithmetic((REPORTS / file).read_text(encoding="utf-8"))
    assert len(found) <= ARITHMETIC.get(file, 0), found


@pytest.mark.parametrize("file", FILES)
def test_a_report_imports_no_reading(file: str) -> None:
    found = readings((REPORTS / file).read_text(encoding="utf-8"))
    assert len(found) <= READINGS.get(file, 0), found


def test_what_is_excepted_is_there() -> None:
    assert {*ARITHMETIC, *READINGS} <= {*FILES}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = part / whole", 0),  # a share
        ("x = 10**9 + 2**20", 0),  # a number
        ("x = 'a' + b + f'{c}'", 0),
        ("rows += [row]; rows += shown; rows += lines(of)", 0),
        ("x = max(parts, key=len)", 0),  # which of them, not how many
        ("x = (a - b) / b", 2),
        ("x = a * b", 1),
        ("x = sum(a)", 1),
        ("x += 1", 1),
        ("x = lambda n: n // 2 if n else max(n, 3)", 2),
    ],
)
def test_what_is_arithmetic(source: str, found: int) -> None:
    assert len(arithmetic(source)) == found
