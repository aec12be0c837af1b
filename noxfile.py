"""What can be checked, one session each: ``nox -l`` lists them, ``nox`` runs what must pass before a commit.

The tests run against the built wheel as it installs, never against ``src``.
"""

import shutil
import tomllib
from pathlib import Path

import nox

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = [
    line.rpartition(" ")[2]
    for line in PROJECT["project"]["classifiers"]
    if line.startswith("Programming Language :: Python :: 3.")
]

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests", "lint", "typing", "imports", "docs", "no_extras"]
# Sessions run on the interpreter that runs nox, which cannot be missing; of `matrix`, what is not there is skipped and named.
nox.options.error_on_missing_interpreters = False


def group(name: str) -> list[str]:
    """The requirements of a dependency group (PEP 735)."""
    return nox.project.dependency_groups(PROJECT, name)


def install(session: nox.Session, *groups: str, extras: str = "[all]") -> None:
    """The project as its users install it, and the groups a session needs."""
    session.install(f".{extras}", *(requirement for name in groups for requirement in group(name)))


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, against the installed wheel. Arguments go to pytest."""
    install(session, "test")
    session.run("pytest", *(session.posargs or ["-n", "auto"]))


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """The same on every Python the classifiers name: ``nox -s matrix``, or ``matrix-3.13``."""
    tests(session)


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests with branch coverage, subprocesses and xdist's workers included."""
    install(session, "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or ["-n", "auto"]))
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def mutants(session: nox.Session) -> None:
    """Every seeded fault of tests/mutants is found by the test it names."""
    install(session, "test")
    session.run("pytest", *(session.posargs or ["-n", "auto", "-m", "mutants", "tests/mutants"]))


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What it costs, against its floors and peers, in one run: ``nox -s benchmarks -- --short``. Takes some minutes."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def no_extras(session: nox.Session) -> None:
    """Every module imports, and every error names its extra, where no extra is installed."""
    install(session, extras="")
    session.run("python", "tests/packaging/without_extras.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Rules, format, spelling, and the metadata of what would be released."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", "src", "tests", "docs", "examples", "README.md", "CHANGELOG.md", "SECURITY.md", "pyproject.toml")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), silent=True)
    session.run("twine", "check", "--strict", *(str(path) for path in sorted(dist.iterdir())))


@nox.session
def typing(session: nox.Session) -> None:
    """Mypy --strict, and pyright's count of public names whose type is known: all of them."""
    install(session, "lint")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "deliverykit", "--ignoreexternal")


@nox.session
def imports(session: nox.Session) -> None:
    """The floors of the house."""
    install(session, "lint")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, without a warning; tests/docs executes its examples."""
    install(session, "docs")
    session.run("sphinx-build", "-q", "-E", "-W", "-n", "--keep-going", "-b", "html", "docs", "docs/_build/html")
