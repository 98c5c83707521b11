"""A few files of each data set."""

from collections.abc import Callable
from pathlib import Path

from owdfa.datasets import lab


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def sample_folder(root: Path) -> str:
    touch(root, "a/1.png", "a/deep/er/2.png", "b/1.png", "_unlabelled/x.png", "y.JPG")
    return str(root)


def sample_csv(root: Path) -> str:
    touch(root, "1.png", "sub/2.png")
    (root / "list.csv").write_text("path,class,group\n1.png,a,g\nsub/2.png,,\n")
    return str(root / "list.csv")


def sample_owdfa40(root: Path) -> str:
    touch(root, "0_Real_FF++/1.png", "0_Real_CelebDF/1.png", "4_Swap_FaceShifter/v_1.png")
    return str(root)


def sample_lab(root: Path) -> str:
    settings = lab.LabSettings(size=32, methods_per_family=1, images_per_method=1, real_images=1)
    lab.draw(root, settings)
    return str(root)


RELEASE = "/Datasets/DeepfakeAttribution/release"
SWAPS = "IdentitySwap/Deepfakes/faceforensics"


def sample_owdfa(root: Path) -> str:
    names = [f"{SWAPS}/c23-000_003-{number}.png" for number in range(3)]
    touch(root, *names, "meta_data/list.csv")
    rows = [
        f"{RELEASE}/{name},0,Deepfakes,FaceForensics++,{tag},0\n" for tag, name in enumerate(names)
    ]
    header = "img_path,label,method,image_source,tag,face_type\n"
    (root / "meta_data/list.csv").write_text(header + "".join(rows))
    return str(root / "meta_data/list.csv")


def sample_df40(root: Path) -> str:
    touch(
        root,
        "DF40/blendface/ff/frames/001_870/000.png",
        "DF40/blendface/cdf/frames/id0_id1_0002/000.png",
        "DF40/DiT/cdf/YouTube-real/00043/458.png",
        "DF40/e4e/ff/inversions/000.png",
        "DF40/StarGANv2/fake/7.png",
        "DF40/StarGANv2/real/7.png",
        "DF40/heygen/fake/frames/3/1.png",
        "DF40_train/simswap/frames/001_872/000.png",
        "DF40_train/StyleGAN2/seed0188.png",
        "FaceForensics++/original_sequences/youtube/c23/frames/001/000.png",
        "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/001_870/000.png",
        "Celeb-DF-v2/Celeb-real/frames/id0_0002/000.png",
    )
    return str(root)


def sample_osma(root: Path) -> str:
    touch(
        root,
        "fake/ProGAN/cat/003041.png",
        "fake/ProGAN/multiseed_lsun/lsun_bedroom_200k_png_seed_v3/ProGAN_1.png",
        "fake/FaceShifter/youtube_c23/t_424_s_046_26/00000010.png",
        "fake/FSGAN/youtube_c23/424_355.mp4/424_355_104.png",
        "fake/AttGAN/celeba/Pale_Skin_951.png",
        "fake/AttGAN/celeba/Male_951.png",
        "fake/starGAN/celeba/1873-images-Male.png",
        "real/FF_c23_youtube/424/424_92.png",
        "real/cat/003807.png",
    )
    return str(root)


def sample_iab(root: Path) -> str:
    touch(
        root,
        "SDXL/AnimalFace/cat/AnimalFace_cat_p7_i0.png",
        "SDXL/COCO/COCO_p7_i0.png",
        "mid-6.0/AnimalFace/cat/AnimalFace_cat_p7_i3.png",
        "real/HumanFace/FFHQ/003638.png",
    )
    return str(root)


SAMPLES: dict[str, Callable[[Path], str]] = {
    "folder": sample_folder,
    "csv": sample_csv,
    "owdfa40": sample_owdfa40,
    "lab": sample_lab,
    "owdfa": sample_owdfa,
    "df40": sample_df40,
    "osma": sample_osma,
    "iab": sample_iab,
}
