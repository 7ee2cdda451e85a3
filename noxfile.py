"""Sessions for every Python that is found: `nox` runs all, `nox -s tests-3.11 style` some, `nox --list` names them."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
GROUPS = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str) -> None:
    """The package from this checkout, and what its dependency groups name."""
    wanted = [one for group in groups for one in nox.project.dependency_groups(GROUPS, group)]
    session.install("-e", ".", *wanted)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests; what stands behind -- is for pytest."""
    install(session, "test", "docs")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def style(session: nox.Session) -> None:
    """Lint, format, and who imports whom."""
    install(session, "style")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    install(session, "dev")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The pages, warnings as errors."""
    install(session, "docs")
    session.run("sphinx-build", "-W", "docs", "build/docs")


@nox.session(default=False)
def oracle(session: nox.Session) -> None:
    """What compares with PyTorch and transformers directly."""
    session.env["PIP_EXTRA_INDEX_URL"] = "https://download.pytorch.org/whl/cpu"
    install(session, "oracle")
    session.run("pytest", "-m", "oracle", *session.posargs)
