"""What is installed stands on its own: the documents, their links, the manual page."""

import gzip
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import HEADER, TOP, VERSION, clean_environment, run

sys.path.insert(0, str(TOP / "Tests/documents"))

import links


@pytest.fixture(scope="module", params=["deb", "tarball", "wheel"])
def installed(request, architecture, tmp_path_factory):
    """(folder of the documents, manual page) of a package."""
    root = tmp_path_factory.mktemp(f"{request.param}-{architecture.name}")
    if request.param == "deb":
        for package in ("libcovey0", "libcovey-dev"):
            run("dpkg-deb", "--extract", architecture.deb(package), root)
        page = gzip.decompress((root / "usr/share/man/man1/covey.1.gz").read_bytes())
        return root / "usr/share/doc/libcovey-dev", page.decode()
    if request.param == "tarball":
        run("tar", "-xzf", architecture.tarball, "--strip-components=1", "-C", root)
        share = root / "share"
    else:
        with zipfile.ZipFile(architecture.wheel) as archive:
            archive.extractall(root)
        share = root / f"covey-{VERSION}.data/data/share"
    return share / "doc/covey", (share / "man/man1/covey.1").read_text()


def test_no_link_is_dead(installed):
    pages = sorted(installed[0].rglob("*.md"))
    assert len(pages) > 15
    assert links.dead(pages) == []


def test_what_is_cited_is_there(installed):
    """By the header and by the manual page."""
    folder, page = installed
    header = re.sub(r"docs/\s*\*\s+(?=[A-Z])", "docs/", HEADER)
    for text in (header, page):
        cited = set(re.findall(r"\bdocs/\w+\.md", text))
        assert cited and [name for name in cited if not (folder / name).is_file()] == []


def test_the_manual_page_has_all_of_the_parser(installed):
    script = (
        "from covey.commands.main import build_parser\n"
        "def show(parser):\n"
        "    for action in parser._actions:\n"
        "        for name in action.option_strings: print(name)\n"
        "        if hasattr(action.choices, 'values'):\n"
        "            for name, one in action.choices.items(): print(one.prog); show(one)\n"
        "show(build_parser())\n"
    )
    environment = clean_environment(PYTHONPATH=str(TOP / "bindings/python/src"))
    said = set(run(sys.executable, "-c", script, env=environment).splitlines()) - {"-h", "--help"}
    assert {"covey plot attention", "--stream", "--steps", "-o"} <= said
    page = installed[1].replace(r"\-", "-")
    assert [name for name in said if name not in page] == []


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_the_manual_page_is_good_troff(installed):
    done = subprocess.run(["groff", "-man", "-Tutf8", "-P-cbou", "-ww"], input=installed[1],
                          capture_output=True, text=True)
    # Lines that cannot be justified are none of troff's mistakes.
    wrong = [line for line in done.stderr.splitlines() if "break" not in line]
    assert (done.returncode, wrong) == (0, [])
    assert re.search(rf"covey {VERSION} ", done.stdout) and "EXIT STATUS" in done.stdout


def test_every_example_builds_where_it_is_installed(architecture, tmp_path):
    if not architecture.native:
        return
    run("tar", "-xzf", architecture.tarball, "--strip-components=1", "-C", tmp_path)
    folder = tmp_path / "share/doc/covey/examples"
    environment = clean_environment(PKG_CONFIG_LIBDIR=f"{tmp_path}/lib/pkgconfig")
    flags = run("pkg-config", "--cflags", "--libs", "covey", env=environment)
    sources = [*folder.glob("*.c"), *folder.glob("*.cpp")]
    assert len(sources) > 3
    for source in sources:
        compiler = "cc -std=gnu99" if source.suffix == ".c" else "c++ -std=c++17"
        run("sh", "-c", f"{compiler} {source.name} {flags.strip()} -lpng -pthread -o {source.stem}",
            cwd=folder)


def test_who_passes_it_on_names_the_homepage(architecture, tmp_path):
    library = TOP / "build" / ("no-blas" if architecture.native else architecture.name) / "libcovey.so"
    home = "https://example.org/covey"
    environment = clean_environment(HOMEPAGE=home, SOURCE_DATE_EPOCH="1")
    run("packaging/tarball.sh", architecture.name, library, "build/man/covey.1", tmp_path,
        cwd=TOP, env=environment)
    run("packaging/deb.sh", architecture.name, library, "build/man/covey.1", tmp_path,
        cwd=TOP, env=environment)
    run("packaging/wheel.sh", sys.executable, architecture.name, library, "build/man/covey.1",
        tmp_path, cwd=TOP, env=environment)
    archive = next(tmp_path.glob("*.tar.gz"))
    assert f"URL: {home}\n" in run("tar", "-xzOf", archive, "--wildcards", "*/covey.pc")
    for package in tmp_path.glob("*.deb"):
        assert run("dpkg-deb", "--field", package, "Homepage").strip() == home
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        metadata = wheel.read(f"covey-{VERSION}.dist-info/METADATA").decode()
    assert f"Project-URL: Homepage, {home}\n" in metadata
