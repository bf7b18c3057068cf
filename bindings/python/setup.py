"""Puts covey.h, the built library and the default weights inside the package.

What is configured stands in pyproject.toml.  Here only what it cannot say: the
version is the header's; an ordinary (not editable) install copies the header,
$COVEY_LIBRARY, or build/libcovey.so of the checkout, and models/covey-nano.gguf
where they are, and the wheel is then one for this platform.  Documents and manual
page come along where packaging/wheel.sh has put them, in share/.  Without a
library the wheel is pure, and looks for one when it is used: that is said, but pip
shows it with -v only.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("COVEY_LIBRARY") or ROOT / "build" / "libcovey.so")
HEADER = ROOT / "Include" / "covey.h"
MODEL = ROOT / "models" / "covey-nano.gguf"
SHARE = Path("share")
#: Where more about covey is, of whoever passes the package on.
HOMEPAGE = os.environ.get("HOMEPAGE")


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        if not LIBRARY.is_file():
            self.warn(
                f"no library at {LIBRARY}: this package goes without.  To have it inside, build "
                "it first (make lib), or set COVEY_LIBRARY"
            )
        package = Path(self.build_lib) / "covey"
        for source, target in (
            (HEADER, package / "covey.h"),
            (LIBRARY, package / "libcovey.so"),
            (MODEL, package / "models" / MODEL.name),
        ):
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


class WithLibrary(Distribution):
    def has_ext_modules(self) -> bool:
        return LIBRARY.is_file()


class PlatformWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        tag = super().get_tag()
        return tag if self.root_is_pure else ("py3", "none", tag[2])


setup(
    version=".".join(re.findall(r"#define COVEY_VERSION_[A-Z]+ (\d+)", HEADER.read_text())),
    distclass=WithLibrary,
    data_files=[
        (str(folder), [str(file) for file in sorted(folder.iterdir()) if file.is_file()])
        for folder in sorted(SHARE.rglob("*"))
        if folder.is_dir()
    ],
    project_urls={"Homepage": HOMEPAGE} if HOMEPAGE else {},
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
)
